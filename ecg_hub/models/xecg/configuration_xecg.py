"""Configuration of xECG."""

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.

from dataclasses import field
from typing import Literal

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import ECGConfig


@strict
class XECGConfig(ECGConfig):
    """Configuration of xECG; the defaults are the published model.

    Attributes:
        block_types: kind of each block, "s" (sLSTM) or "m" (mLSTM).
        num_heads: heads of both kinds of blocks.
        patch_size: samples of a token.
        conv_kernel_size: taps of the causal convolution in each block.
        expansion: inner width of an mLSTM block over `hidden_size`.
        projection_block_size: width of the blocks of the block-diagonal query, key and value maps.
        intermediate_size: inner width of the feed-forward part of an sLSTM block.
        layer_norm_eps: epsilon of every norm.
    """

    model_type = "xecg"

    hidden_size: int = 1024
    sampling_rate: float | int = 100
    input_seconds: float | int = 10
    block_types: list[Literal["s", "m"]] | tuple[Literal["s", "m"], ...] = ("s", "s", "m", "m", "s", "s", "m", "m", "s")
    num_heads: int = 4
    patch_size: int = 25
    conv_kernel_size: int = 4
    expansion: int = 2
    projection_block_size: int = 4
    intermediate_size: int = 1344
    layer_norm_eps: float = 1e-5
    # Not from the benchmark, which has no xECG: the upper four blocks, as it groups its other models by halves.
    layer_groups: dict[str, list[str]] = field(
        default_factory=lambda: {
            "late": [f"blocks.{block}." for block in range(5, 9)],
            "early": ["patch_embedding.", *(f"blocks.{block}." for block in range(5))],
        }
    )

    @property
    def min_samples(self) -> int:
        """Shortest input in samples."""
        return self.patch_size

    @property
    def max_samples(self) -> int:
        """Longest input in samples: the published code stores a mask of 8,000 tokens."""
        return 8000 * self.patch_size

    @property
    def sample_multiple(self) -> int:
        """The input's length in samples has to be a multiple of this."""
        return self.patch_size

    def validate_widths(self) -> None:
        """Part of the strict validation."""
        if not self.block_types:
            raise ValueError("block_types is empty: give 's' or 'm' for each block.")
        inner = self.expansion * self.hidden_size
        for name, divisor in (("num_heads", self.num_heads), ("projection_block_size", self.projection_block_size)):
            if divisor < 1 or self.hidden_size % divisor or inner % divisor:
                raise ValueError(f"{name} is {divisor!r}; it must divide hidden_size, {self.hidden_size!r}.")
