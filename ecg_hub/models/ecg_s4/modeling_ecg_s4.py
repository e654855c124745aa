"""S4: a bidirectional S4 stack on the raw signal, one token per sample.

Paper: the supervised baseline of "Benchmarking ECG foundation models", arXiv 2509.25095; for S4 on the ECG see Mehari
and Strodthoff, arXiv 2308.15291. Original code: AI4HealthUOL/ecg-fm-benchmarking at 6367295 (`s4_model.py`); there are
no published weights, the benchmark trains it from scratch. Written from a description of the network, not from its
code. What differs: the S4 kernel is exact at every length without editing parameters, it needs no compiled extension,
and the layout is (batch, tokens, features).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.kernels import Linear
from ecg_hub.modeling.layers import DropPath
from ecg_hub.modeling.modeling_utils import (
    ECGClassificationMixin,
    ECGModelOutput,
    ECGPreTrainedModel,
    mean_of_tokens,
    run_in_slices,
)
from ecg_hub.modeling.s4 import S4Block, S4Convolution
from ecg_hub.models.ecg_s4.configuration_ecg_s4 import ECGS4Config


class ECGS4PreTrainedModel(ECGPreTrainedModel):
    """Base of the S4 models."""

    config: ECGS4Config
    config_class = ECGS4Config
    base_model_prefix = "ecg_s4"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, S4Convolution):
            module.initialize()
        else:
            super()._init_weights(module)


class ECGS4Model(ECGS4PreTrainedModel):
    """The S4 encoder.

    Example:
        >>> from ecg_hub import AutoModel
        >>> model = AutoModel.from_pretrained("random:s4-tiny")  # "random:s4" has the width of the paper, 512
        >>> with torch.no_grad():
        ...     output = model(torch.zeros(1, 12, 250))  # 2.5 s at 100 Hz; one token per sample
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 250, 64]), torch.Size([1, 64]))
    """

    def __init__(self, config: ECGS4Config) -> None:
        super().__init__(config)
        # Published as a convolution of kernel 1, which is a linear map of each sample.
        self.encoder = Linear(len(config.lead_names), config.hidden_size)
        depth = config.num_hidden_layers
        # Post-norm with layer norms whatever the options of the published script say: it parses them and uses none.
        self.blocks = nn.ModuleList(
            S4Block(
                config.hidden_size,
                config.state_size,
                config.kernel_length,
                config.dropout,
                drop_path=DropPath.for_block(config, block, depth),
                layer_norm_eps=config.layer_norm_eps,
                bidirectional=True,
            )
            for block in range(depth)
        )
        self.post_init()

    @can_return_tuple
    def forward(
        self, input_values: Tensor, output_hidden_states: bool | None = None, output_attentions: bool | None = None
    ) -> ECGModelOutput:
        """Encode windows.

        Args:
            input_values: (batch, 12 leads, samples), float, millivolt, 100 Hz; 250 samples are what the benchmark
                feeds, any number from 1 works. NaN is passed on.
            output_hidden_states: return the output of the encoder and of each S4 block.
            output_attentions: accepted for the common interface; there is no attention here.

        Returns:
            `last_hidden_state` (batch, tokens = samples, 512), `pooler_output` (batch, 512), its mean over tokens.

        Raises:
            InputError: wrong type, number of dimensions, leads or samples.
        """
        self.check_input(input_values)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        states = run_in_slices(lambda x: self._states(x, bool(wanted)), input_values, self.training)
        return ECGModelOutput(
            last_hidden_state=states[-1],
            pooler_output=mean_of_tokens(states[-1], 1),
            hidden_states=states if wanted else None,
        )

    def _states(self, input_values: Tensor, keep: bool) -> tuple[Tensor, ...]:
        """Return the outputs of the encoder and of each block, or the last one only."""
        x = self.encoder(input_values.transpose(1, 2).to(self.encoder.weight.dtype))
        states: tuple[Tensor, ...] = (x,)
        for block in self.blocks:
            x = block(x)
            states = (*states, x) if keep else (x,)
        return states


class ECGS4ForECGClassification(ECGClassificationMixin, ECGS4PreTrainedModel):
    """The S4 encoder with a classification head."""

    base_model_class = ECGS4Model
