"""MERL: the one-dimensional ResNet-18 that encodes the ECG.

Paper: "Zero-Shot ECG Classification with Multimodal Learning and Test-time Clinical Knowledge Enhancement", arXiv
2403.06659 (ICML 2024). Original code: cheliu-computation/MERL-ICML2024 (MIT); as used by
AI4HealthUOL/ecg-fm-benchmarking at 6367295 (`MerlWrapper`, backbone `resnet`). Weights: `res18_best_encoder.pth` in the
authors' Google Drive folder, for which no licence is stated. Written from a description of the network, not from its
code. What differs: the unused layer `linear` (512 to 10) and the parts of the pre-training (report side, attention
pooling, projections) are left out. What it is fed: the pre-training had aVF before aVL and records scaled to 0 .. 1
(preset `native`); the benchmark feeds raw millivolts with aVL first.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.layers import ConvNorm, DropPath
from ecg_hub.modeling.modeling_utils import (
    ECGClassificationMixin,
    ECGModelOutput,
    ECGPreTrainedModel,
    mean_of_tokens,
    run_in_slices,
)
from ecg_hub.models.merl.configuration_merl import MERLConfig


class MERLBlock(GradientCheckpointingLayer):
    """Two convolutions of kernel 3, `stride` on the first: ReLU(shortcut(x) + drop_path(conv(ReLU(conv(x)))))."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, drop_path: DropPath, eps: float) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels_in, channels_out, 3, stride, eps)
        self.conv2 = ConvNorm(channels_out, channels_out, 3, 1, eps)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else ConvNorm(channels_in, channels_out, 1, stride, eps)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels_in, samples) to (batch, channels_out, samples / stride rounded up)."""
        inner = self.conv1(x, relu=True)
        # Activated after the sum, so the tokens that come out last are never negative.
        # Only a branch that is never dropped can be summed on the way.
        if self.drop_path.drops:
            return functional.relu(self.shortcut(x) + self.drop_path(self.conv2(inner)))
        y: Tensor = self.conv2(inner, add=self.shortcut(x), relu=True)
        return y


class MERLPreTrainedModel(ECGPreTrainedModel):
    """Base of the MERL models."""

    config: MERLConfig
    config_class = MERLConfig
    base_model_prefix = "merl"
    _no_split_modules = ("MERLBlock",)


class MERLModel(MERLPreTrainedModel):
    """The MERL encoder.

    Example:
        >>> import torch
        >>> from ecg_hub import AutoModel
        >>> model = AutoModel.from_pretrained("random:merl-tiny")  # "merl" is the published one, of width 512
        >>> with torch.no_grad():
        ...     output = model(torch.zeros(1, 12, 1250))  # 2.5 s at 500 Hz
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 79, 32]), torch.Size([1, 32]))
    """

    def __init__(self, config: MERLConfig) -> None:
        super().__init__(config)
        widths, eps = config.stage_widths, config.batch_norm_eps
        # Without the max pool that a ResNet usually has here: 1,250 samples become 79 tokens.
        self.stem = ConvNorm(len(config.lead_names), widths[0], config.conv_kernel_size, 2, eps)
        self.stages = nn.ModuleList()
        width, block, blocks = widths[0], 0, sum(config.stage_depths)
        for stage, depth in enumerate(config.stage_depths):
            layers = nn.ModuleList()
            # The first block of every stage but the first halves the length.
            for first in [True] + [False] * (depth - 1):
                path = DropPath.for_block(config, block, blocks)
                layers.append(MERLBlock(width, widths[stage], 2 if first and stage > 0 else 1, path, eps))
                width, block = widths[stage], block + 1
            self.stages.append(layers)
        self.post_init()

    @can_return_tuple
    def forward(
        self, input_values: Tensor, output_hidden_states: bool | None = None, output_attentions: bool | None = None
    ) -> ECGModelOutput:
        """Encode windows.

        Args:
            input_values: (batch, 12 leads, samples), float, millivolt, 500 Hz; 1,250 samples are what the benchmark
                feeds, any number from 1 works. NaN is passed on.
            output_hidden_states: return the output of the stem and of each of the four stages.
            output_attentions: accepted for the common interface; there is no attention here.

        Returns:
            `last_hidden_state` (batch, tokens = samples / 16 rounded up, 512), `pooler_output` (batch, 512), its mean
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
        x = self.stem(input_values.to(self.stem.conv.weight.dtype), relu=True)
        maps: tuple[Tensor, ...] = (x,)
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x = block(x)
            maps = (*maps, x) if keep else (x,)
        return maps


class MERLForECGClassification(ECGClassificationMixin, MERLPreTrainedModel):
    """The MERL encoder with a classification head."""

    base_model_class = MERLModel
