"""Configuration of Net1D."""

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.

from typing import Any

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import ECGConfig


@strict
class Net1DConfig(ECGConfig):
    """Configuration of Net1D; the defaults are the network of the benchmark.

    Attributes:
        stem_width: channels of the stem.
        stage_widths: channels of each stage; each stage halves the number of samples. The last one is `hidden_size`.
        stage_depths: blocks of each stage.
        kernel_size: kernel in samples of the stem and of the grouped convolutions.
        group_width: channels per group of the grouped convolutions; every width is a multiple of it.
        bottleneck_ratio: inner width of a block over the width of its stage.
        squeeze_factor: the gate of a block narrows its channels by this factor.
        layer_groups: as everywhere; by default the upper half of the stages is "late", all else "early".
    """

    model_type = "net1d"

    hidden_size: int = 1024
    sampling_rate: float | int = 500
    input_seconds: float | int = 2.5
    stem_width: int = 64
    stage_widths: list[int] | tuple[int, ...] = (64, 160, 160, 400, 400, 1024, 1024)
    stage_depths: list[int] | tuple[int, ...] = (2, 2, 2, 3, 3, 4, 4)
    kernel_size: int = 16
    group_width: int = 16
    bottleneck_ratio: float | int = 1
    squeeze_factor: int = 2

    def __post_init__(self, **kwargs: Any) -> None:
        if not self.layer_groups:
            # ECGFounder's published groups, of seven stages the last four; 98 % of the weights are in them.
            stages = [f"backbone.stages.{stage}." for stage in range(len(self.stage_widths))]
            half = len(stages) // 2
            self.layer_groups = {"late": stages[half:], "early": ["backbone.stem.", *stages[:half]]}
        super().__post_init__(**kwargs)

    def validate_stages(self) -> None:
        """Part of the strict validation."""
        widths, depths = list(self.stage_widths), list(self.stage_depths)
        if not widths or len(widths) != len(depths) or min(depths) < 1:
            raise ValueError(f"stage_depths {depths!r} must give one number of blocks to each width of {widths!r}.")
        if widths[-1] != self.hidden_size:
            raise ValueError(f"hidden_size is {self.hidden_size!r}; it must be the last of stage_widths, {widths!r}.")
        if sorted([self.stem_width, *widths]) != [self.stem_width, *widths]:
            raise ValueError(f"Widths {[self.stem_width, *widths]!r} fall; shortcuts can only add channels.")
        inner = [self.inner_width(width) for width in widths]
        if any(width < 1 or width % self.group_width for width in inner):
            raise ValueError(
                f"Inner widths of the stages are {inner!r}, stage_widths {widths!r} times bottleneck_ratio "
                f"{self.bottleneck_ratio!r}; they must be multiples of group_width, {self.group_width!r}."
            )

    def inner_width(self, channels: int) -> int:
        """Channels of the grouped convolution of a block."""
        return int(channels * self.bottleneck_ratio)
