"""Net1D: a convolutional network of grouped bottleneck blocks with squeeze-and-excitation gates, without normalisation.

Paper: the supervised baseline of "Benchmarking ECG foundation models", arXiv 2509.25095, and the architecture of
ECGFounder, arXiv 2410.04133, whose folder builds on this one. Original code: `net1d.py` of PKUDigitalHealth/ECGFounder,
in AI4HealthUOL/ecg-fm-benchmarking at 6367295; there are no published weights of the baseline. Written from a
description of the network, not from its code. What differs: the batch norms that the original registers and never uses
(66,368 parameters) are left out, and residual branches can be dropped at random (off by default).

Swish is SiLU. "Same" convolutions give ceil(samples / stride) samples; they are padded with zeros, an odd one on the
right.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.kernels import PLAIN, Activation, KeepsWeights, Linear
from ecg_hub.modeling.layers import DropPath, grouped_conv1d
from ecg_hub.modeling.modeling_utils import (
    ECGClassificationMixin,
    ECGModelOutput,
    ECGPreTrainedModel,
    mean_of_tokens,
    run_in_slices,
)
from ecg_hub.models.net1d.configuration_net1d import Net1DConfig

# Where the samples are so few, a 1x1 convolution is faster as one matrix product over all windows.
_FEW_SAMPLES = 40
# More than the common number: activations are small, and the weights, 120 MB, are read once per slice.
_CPU_SLICE = 32


class SameConv1d(nn.Conv1d, KeepsWeights):
    """Convolution that gives ceil(samples / stride) samples, whatever their number."""

    def forward(self, x: Tensor, activation: Activation = "none") -> Tensor:
        """Map (batch, channels, samples) to (batch, channels out, ceil(samples / stride)), and apply an activation."""
        kernel, stride, samples = self.kernel_size[0], self.stride[0], x.shape[-1]
        # An odd zero more goes to the right; on the left it would move ECGFounder's features (rms 0.13) by 0.06.
        padding = max(0, (-(-samples // stride) - 1) * stride + kernel - samples)
        both = (padding // 2, padding - padding // 2)
        tensors = (self.weight, self.bias)
        y = self.convolve(
            x, tensors, lambda: tensors, stride=stride, padding=both, groups=self.groups, activation=activation
        )
        if y is not None:
            return y
        if kernel == stride == self.groups == 1 and samples <= _FEW_SAMPLES and x.device.type == "cpu":
            y = functional.linear(x.transpose(1, 2), self.weight[..., 0], self.bias).transpose(1, 2)
        else:
            y = grouped_conv1d(functional.pad(x, both), self.weight, self.bias, stride, groups=self.groups)
        return PLAIN[activation](y)


class Net1DGate(nn.Module):
    """Squeeze and excitation (arXiv 1709.01507): scales each channel by what the means of all channels say."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.squeeze = Linear(channels, channels // factor)
        self.excite = Linear(channels // factor, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, samples) to the same shape."""
        # SiLU, where the paper of this gate has ReLU.
        gate = torch.sigmoid(self.excite(self.squeeze(x.mean(dim=-1), "swish")))
        return x * gate[..., None]


class Net1DBlock(GradientCheckpointingLayer):
    """Pre-activated bottleneck with a gate: 1x1, grouped, 1x1 convolution, gate, plus the shortcut."""

    def __init__(
        self,
        config: Any,
        channels_in: int,
        channels: int,
        stride: int,
        *,
        activate_input: bool = True,
        drop_path: DropPath | None = None,
    ) -> None:
        super().__init__()
        # Groups of 16 channels, so their number grows with the width. No norm and no dropout: a frozen network gives
        # the same features in train and in evaluation mode.
        inner = config.inner_width(channels)
        groups = inner // config.group_width
        self.channels_added = channels - channels_in
        self.stride = stride
        self.activate_input = activate_input
        self.enter = SameConv1d(channels_in, inner, 1)
        self.mix = SameConv1d(inner, inner, config.kernel_size, stride=stride, groups=groups)
        self.leave = SameConv1d(inner, channels, 1)
        self.gate = Net1DGate(channels, config.squeeze_factor)
        self.drop_path = drop_path or DropPath()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels_in, samples) to (batch, channels, ceil(samples / stride))."""
        # Pre-activation: what comes out of a block is not activated, so the next one does it, and the very first, whose
        # input the stem has activated, does not.
        h = self.enter(functional.silu(x) if self.activate_input else x, "swish")
        h = self.leave(self.mix(h, "swish"))
        return self.drop_path(self.gate(h)) + self._shortcut(x)

    def _shortcut(self, x: Tensor) -> Tensor:
        """Pool to the branch's samples and add zero channels, half of them in front."""
        if self.stride > 1:
            # A zero completes the last pair, not minus infinity: a negative last sample becomes 0.
            x = functional.max_pool1d(functional.pad(x, (0, -x.shape[-1] % self.stride)), self.stride)
        if self.channels_added:
            # There is no projection in any shortcut of this network.
            front = self.channels_added // 2
            x = functional.pad(x, (0, 0, front, self.channels_added - front))
        return x


class Net1DBackbone(nn.Module):
    """Stem and stages; each halves the number of samples, so that 1,250 samples become 5 tokens."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.stem = SameConv1d(len(config.lead_names), config.stem_width, config.kernel_size, stride=2)
        self.stages = nn.ModuleList()
        width, index, total = config.stem_width, 0, sum(config.stage_depths)
        for channels, depth in zip(config.stage_widths, config.stage_depths, strict=True):
            stage = nn.Sequential()
            for block in range(depth):
                stage.append(
                    Net1DBlock(
                        config,
                        width,
                        channels,
                        stride=2 if block == 0 else 1,
                        activate_input=index > 0,
                        drop_path=DropPath.for_block(config, index, total),
                    )
                )
                width, index = channels, index + 1
            self.stages.append(stage)

    def forward(self, input_values: Tensor, keep: bool) -> tuple[Tensor, ...]:
        """Map (batch, leads, samples) to (batch, tokens, channels) of stem and stages, or of the last stage only."""
        # The extractor gives float32, whatever the weights are in.
        x = self.stem(input_values.to(self.stem.weight.dtype), "swish")
        # Every block adds to this sum: rounded to 8 bits after each of them, it would move pooled features by 0.7 %.
        if torch.is_autocast_enabled(x.device.type) and not torch.is_grad_enabled():
            x = x.float()
        states = [x]
        for stage in self.stages:
            x = stage(x)
            states = [*states, x] if keep else [x]
        return tuple(state.transpose(1, 2).contiguous() for state in states)


class Net1DEncoderMixin:
    """Everything of a Net1D encoder but its configuration class; put it before the model's own base class."""

    def __init__(self: Any, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        self.backbone = Net1DBackbone(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self: Any, input_values: Tensor, output_hidden_states: bool | None = None, output_attentions: bool | None = None
    ) -> ECGModelOutput:
        """Encode windows.

        Args:
            input_values: (batch, 12 leads, samples), float, 500 Hz, prepared by a preset; 1,250 samples are what the
                benchmark feeds, any number from 1 works. NaN is passed on.
            output_hidden_states: return the output of the stem and of each stage.
            output_attentions: accepted for the common interface; there is no attention here.

        Returns:
            `last_hidden_state` (batch, tokens = samples / 256 rounded up, 1024), `pooler_output` (batch, 1024), its
            mean over tokens.

        Raises:
            InputError: wrong type, number of dimensions, leads or samples.
        """
        self.check_input(input_values)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        states = run_in_slices(lambda x: self.backbone(x, bool(wanted)), input_values, self.training, _CPU_SLICE)
        return ECGModelOutput(
            last_hidden_state=states[-1],
            pooler_output=mean_of_tokens(states[-1], 1),
            hidden_states=states if wanted else None,
        )


class Net1DPreTrainedModel(ECGPreTrainedModel):
    """Base of the Net1D models."""

    config: Net1DConfig
    config_class = Net1DConfig
    base_model_prefix = "net1d"


class Net1DModel(Net1DEncoderMixin, Net1DPreTrainedModel):
    """The Net1D encoder.

    Example:
        >>> from ecg_hub import AutoModel
        >>> model = AutoModel.from_pretrained("random:net1d-tiny")  # "random:net1d" has the width of the paper, 1024
        >>> with torch.no_grad():
        ...     output = model(torch.zeros(1, 12, 1250))  # 2.5 s at 500 Hz
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 5, 32]), torch.Size([1, 32]))
    """


class Net1DForECGClassification(ECGClassificationMixin, Net1DPreTrainedModel):
    """The Net1D encoder with a classification head."""

    base_model_class = Net1DModel
