"""ECG-CPC: a strided convolutional encoder followed by a causal S4 stack.

Paper: "Benchmarking ECG foundation models", arXiv 2509.25095. Original code: AI4HealthUOL/ecg-fm-benchmarking at
6367295 (`CPCWrapper`); weights: figshare 30192604, CC BY 4.0. Written from a description of the network, not from its
code. What differs: the contrastive head of the pre-training is left out (the published wrapper keeps computing its
loss), the S4 kernel is exact at every length without editing parameters, and layouts are chosen for speed.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.kernels import KeepsWeights
from ecg_hub.modeling.layers import DropPath, folded, norm_tensors
from ecg_hub.modeling.modeling_utils import (
    ECGClassificationMixin,
    ECGModelOutput,
    ECGPreTrainedModel,
    mean_of_tokens,
    run_in_slices,
)
from ecg_hub.modeling.s4 import S4Block, S4Convolution
from ecg_hub.models.ecg_cpc.configuration_ecg_cpc import ECGCPCConfig


class ECGCPCConvLayer(KeepsWeights):
    """Convolution without bias, batch norm, ReLU; (batch, tokens, channels) to the same with `channels_out`."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, stride: int, eps: float) -> None:
        super().__init__()
        # Half a kernel on both sides: the stem looks one sample ahead, all behind it is causal.
        self.conv = nn.Conv1d(
            channels_in, channels_out, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
        )
        # PyTorch's own: gradient checkpointing, which would count a batch twice, takes in the S4 blocks alone.
        self.norm = nn.BatchNorm1d(channels_out, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, channels) to (batch, tokens / stride rounded up, channels_out)."""
        # Matrix products instead of convolutions, because the S4 blocks want tokens before features: nothing is
        # transposed in between. Flat, the norm sees the same numbers per channel as over batch and time.
        columns = self._columns(x)
        batch, tokens, width = columns.shape
        flat = columns.reshape(batch * tokens, width)
        weight = self.conv.weight
        if self.norm.training:
            y = functional.relu(self.norm(functional.linear(flat, weight.flatten(1))))
        else:
            # With fixed statistics the norm is a scale and a shift, which the matrix product takes along.
            sources = (weight, *norm_tensors(self.norm))
            y = self.linear(flat, sources, lambda: folded(weight.flatten(1), self.norm), "relu")
        return y.view(batch, tokens, -1)

    def _columns(self, x: Tensor) -> Tensor:
        """Gather what each output token sees, (batch, tokens out, channels * kernel)."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if kernel == 1 and stride == 1:
            return x
        pad = kernel // 2
        # Channel by channel, taps within each: the order of a flattened convolution weight.
        return functional.pad(x, (0, 0, pad, pad)).unfold(1, kernel, stride).flatten(2)


class ECGCPCConvEncoder(nn.Module):
    """A strided stem and point-wise layers; 600 samples become 300 tokens."""

    def __init__(self, config: ECGCPCConfig) -> None:
        super().__init__()
        leads, width, eps = len(config.lead_names), config.hidden_size, config.batch_norm_eps
        stem = ECGCPCConvLayer(leads, width, config.conv_kernel_size, config.conv_stride, eps)
        rest = [ECGCPCConvLayer(width, width, 1, 1, eps) for _ in range(config.num_conv_layers - 1)]
        self.layers = nn.ModuleList([stem, *rest])

    def forward(self, input_values: Tensor) -> Tensor:
        """Map (batch, leads, samples) to (batch, tokens, dim)."""
        x = input_values.transpose(1, 2).to(next(self.parameters()).dtype)
        for layer in self.layers:
            x = layer(x)
        return x


class ECGCPCPreTrainedModel(ECGPreTrainedModel):
    """Base of the ECG-CPC models."""

    config: ECGCPCConfig
    config_class = ECGCPCConfig
    base_model_prefix = "ecg_cpc"
    # What `ECGCPCForPreTraining` saved is loaded as an encoder as well; the heads of its losses are no part of that.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"^head\.", r"^projections\.", r"^beat_head\."]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, S4Convolution):
            module.initialize()
        else:
            super()._init_weights(module)


class ECGCPCModel(ECGCPCPreTrainedModel):
    """The ECG-CPC encoder.

    Example:
        >>> from ecg_hub import AutoModel
        >>> model = AutoModel.from_pretrained("random:ecg-cpc-tiny")  # "ecg-cpc" is the published one, of width 512
        >>> with torch.no_grad():
        ...     output = model(torch.zeros(1, 12, 600))  # 2.5 s at 240 Hz
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 300, 32]), torch.Size([1, 32]))
    """

    def __init__(self, config: ECGCPCConfig) -> None:
        super().__init__(config)
        self.encoder = ECGCPCConvEncoder(config)
        depth = config.num_hidden_layers
        # No linear map between the two and no further norm behind them: the widths are equal, and the published stack
        # leaves both out. (A port that puts a random 512 -> 512 map here is known.)
        self.predictor = nn.ModuleList(
            S4Block(
                config.hidden_size,
                config.state_size,
                config.kernel_length,
                config.dropout,
                bidirectional=config.bidirectional,
                drop_path=DropPath.for_block(config, block, depth),
                layer_norm_eps=config.layer_norm_eps,
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
            input_values: (batch, 12 leads, samples), float, millivolt, 240 Hz; 600 samples are what the benchmark
                feeds, any number from 3 works. NaN is passed on.
            output_hidden_states: return the output of the convolutional encoder and of each S4 block.
            output_attentions: accepted for the common interface; there is no attention here.

        Returns:
            `last_hidden_state` (batch, tokens = samples / 2 rounded up, 512), `pooler_output` (batch, 512), its mean
            over tokens.

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
        x = self.encoder(input_values)
        states: tuple[Tensor, ...] = (x,)
        for block in self.predictor:
            x = block(x)
            states = (*states, x) if keep else (x,)
        return states


class ECGCPCForECGClassification(ECGClassificationMixin, ECGCPCPreTrainedModel):
    """The ECG-CPC encoder with a classification head."""

    base_model_class = ECGCPCModel
