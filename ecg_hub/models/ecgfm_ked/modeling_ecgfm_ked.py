"""ECGFM-KED: the one-dimensional xresnet-101 that encodes the ECG.

Paper: "Foundation model of ECG diagnosis: Diagnostics and explanations of any form and rhythm on ECG", Cell Reports
Medicine 2024, doi 10.1016/j.xcrm.2024.101875. Original code: control-spiderman/ECGFM-KED (no licence file); as used by
AI4HealthUOL/ecg-fm-benchmarking at 6367295 (`EcgFmKEDWrapper`). Weights: Zenodo 14881564, under the licence that the
record states. Written from a description of the network, not from its code. What differs: the query network and the
text encoder of the pre-training are left out; each block holds its convolutions once (the published state dict lists
them twice); the weights are loaded strictly (the benchmark's wrapper loads none of the published file, and goes on).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.layers import BatchNorm, ConvNorm, DropPath
from ecg_hub.modeling.modeling_utils import (
    ECGClassificationMixin,
    ECGModelOutput,
    ECGPreTrainedModel,
    mean_of_tokens,
    run_in_slices,
)
from ecg_hub.models.ecgfm_ked.configuration_ecgfm_ked import ECGFMKEDConfig


class ECGFMKEDStem(nn.Module):
    """Three convolutions and a max pool; samples / 4."""

    def __init__(self, config: ECGFMKEDConfig) -> None:
        super().__init__()
        kernel, eps = config.conv_kernel_size, config.batch_norm_eps
        widths = [len(config.lead_names), *config.stem_widths]
        self.layers = nn.ModuleList(
            ConvNorm(widths[layer], widths[layer + 1], kernel, 2 if layer == 0 else 1, eps)
            for layer in range(len(widths) - 1)
        )
        self.pool = nn.MaxPool1d(kernel_size=3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, leads, samples) to (batch, channels, samples / 4 rounded up)."""
        for layer in self.layers:
            x = layer(x, relu=True)
        pooled: Tensor = self.pool(x)
        return pooled


class ECGFMKEDShortcut(nn.Module):
    """The other way around a block: mean over pairs where the block has stride 2, a convolution where widths differ.

    The last pair of an odd length is one sample, and its mean that sample.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, eps: float) -> None:
        super().__init__()
        # With ceil_mode PyTorch divides by the samples that are there. A zero counted in is off by 6 (features of rms
        # 5.5).
        pool = nn.AvgPool1d(stride, ceil_mode=True)
        self.pool = pool if stride > 1 else nn.Identity()
        self.conv = nn.Identity() if channels_in == channels_out else ConvNorm(channels_in, channels_out, 1, 1, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels_in, samples) to (batch, channels_out, samples / stride rounded up)."""
        y: Tensor = self.conv(self.pool(x))
        return y


class ECGFMKEDBlock(GradientCheckpointingLayer):
    """Bottleneck of kernels 1, k, 1 and `width` channels inside: ReLU(drop_path(branch(x)) + shortcut(x))."""

    def __init__(self, config: ECGFMKEDConfig, channels_in: int, width: int, stride: int, drop_path: DropPath) -> None:
        super().__init__()
        eps, channels_out = config.batch_norm_eps, width * config.expansion
        self.conv1 = ConvNorm(channels_in, width, 1, 1, eps)
        # Not on the first convolution, where the first ResNets had it: that is off by 1.9.
        self.conv2 = ConvNorm(width, width, config.conv_kernel_size, stride, eps)
        self.conv3 = ConvNorm(width, channels_out, 1, 1, eps)
        # With weight 0 in its last norm a block begins as its shortcut: without weights from a file, features come from
        # the stem and the shortcuts alone, as perhaps in the published rows.
        self.conv3.norm.starts_at_zero = config.zero_init_residual
        self.shortcut = ECGFMKEDShortcut(channels_in, channels_out, stride, eps)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels_in, samples) to (batch, channels_out, samples / stride rounded up)."""
        inner = self.conv2(self.conv1(x, relu=True), relu=True)
        # Only a branch that is never dropped can be summed on the way.
        if self.drop_path.drops:
            return functional.relu(self.drop_path(self.conv3(inner)) + self.shortcut(x))
        y: Tensor = self.conv3(inner, add=self.shortcut(x), relu=True)
        return y


class ECGFMKEDPreTrainedModel(ECGPreTrainedModel):
    """Base of the ECGFM-KED models."""

    config: ECGFMKEDConfig
    config_class = ECGFMKEDConfig
    base_model_prefix = "ecgfm_ked"
    _no_split_modules = ("ECGFMKEDBlock",)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # As published; only where no file gives a value, since these functions leave loaded tensors alone.
        if isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight)
        elif isinstance(module, BatchNorm) and module.starts_at_zero:
            init.zeros_(module.weight)


class ECGFMKEDModel(ECGFMKEDPreTrainedModel):
    """The ECGFM-KED encoder.

    Example:
        >>> from ecg_hub import AutoModel
        >>> model = AutoModel.from_pretrained("random:ecgfm-ked-tiny")  # "ecgfm-ked" is published, of width 768
        >>> with torch.no_grad():
        ...     output = model(torch.zeros(1, 12, 5000))  # 10 s at 500 Hz
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 157, 32]), torch.Size([1, 32]))
    """

    def __init__(self, config: ECGFMKEDConfig) -> None:
        super().__init__(config)
        self.stem = ECGFMKEDStem(config)
        self.stages = nn.ModuleList()
        channels, block, blocks = config.stem_widths[-1], 0, sum(config.stage_depths)
        for stage, (width, depth) in enumerate(zip(config.stage_widths, config.stage_depths, strict=True)):
            layers = nn.ModuleList()
            # The first block of every stage but the first halves the length.
            for first in [True] + [False] * (depth - 1):
                path = DropPath.for_block(config, block, blocks)
                layers.append(ECGFMKEDBlock(config, channels, width, 2 if first and stage > 0 else 1, path))
                channels, block = width * config.expansion, block + 1
            self.stages.append(layers)
        self.post_init()

    @can_return_tuple
    def forward(
        self, input_values: Tensor, output_hidden_states: bool | None = None, output_attentions: bool | None = None
    ) -> ECGModelOutput:
        """Encode windows.

        Args:
            input_values: (batch, 12 leads, samples), float, millivolt; the benchmark feeds 5,000 samples at 500 Hz,
                the pre-training had 1,000 at 100 Hz, any number from 1 works. NaN is passed on.
            output_hidden_states: return the output of the stem and of each of the four stages.
            output_attentions: accepted for the common interface; there is no attention here.

        Returns:
            `last_hidden_state` (batch, tokens = samples / 32 rounded up, 768), `pooler_output` (batch, 768), its mean
            over tokens. `hidden_states` are (batch, tokens of the stage, channels of the stage).

        Raises:
            InputError: wrong type, number of dimensions, leads or samples.
        """
        self.check_input(input_values)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        maps = run_in_slices(lambda x: self._maps(x, bool(wanted)), input_values, self.training)
        return ECGModelOutput(
            last_hidden_state=maps[-1].transpose(1, 2).contiguous(),
            pooler_output=mean_of_tokens(maps[-1], 2),
            hidden_states=tuple(stage.transpose(1, 2) for stage in maps) if wanted else None,
        )

    def _maps(self, input_values: Tensor, keep: bool) -> tuple[Tensor, ...]:
        """Return the feature maps (batch, channels, tokens) of the stem and of each stage, or the last one only."""
        # The extractor gives float32, whatever the weights are in.
        x = self.stem(input_values.to(next(self.parameters()).dtype))
        maps: tuple[Tensor, ...] = (x,)
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x = block(x)
            maps = (*maps, x) if keep else (x,)
        return maps


class ECGFMKEDForECGClassification(ECGClassificationMixin, ECGFMKEDPreTrainedModel):
    """The ECGFM-KED encoder with a classification head."""

    base_model_class = ECGFMKEDModel
