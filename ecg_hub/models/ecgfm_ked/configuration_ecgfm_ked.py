"""Configuration of ECGFM-KED."""

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.

from dataclasses import field

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import ECGConfig


@strict
class ECGFMKEDConfig(ECGConfig):
    """Configuration of the xresnet1d-101 of ECGFM-KED; the defaults are the published model.

    Attributes:
        conv_kernel_size: kernel of the stem and of the middle convolution of each block, in samples.
        stem_widths: channels of the convolutions of the stem; the first has stride 2, and a max pool follows.
        stage_widths: inner channels of the blocks of each of the four stages.
        stage_depths: residual blocks of each stage.
        expansion: a block has `expansion` times as many channels outside as inside.
        batch_norm_eps: epsilon of the batch norms.
        zero_init_residual: start each residual branch at zero, as published; for a model with random weights.
    """

    model_type = "ecgfm_ked"

    hidden_size: int = 768
    sampling_rate: float | int = 500
    input_seconds: float | int = 10
    conv_kernel_size: int = 5
    stem_widths: list[int] | tuple[int, ...] = (32, 32, 64)
    stage_widths: list[int] | tuple[int, ...] = (64, 128, 128, 192)  # sic, where other ResNets have 64, 128, 256, 512
    stage_depths: list[int] | tuple[int, ...] = (3, 4, 23, 3)
    expansion: int = 4
    batch_norm_eps: float = 1e-5
    zero_init_residual: bool = True
    layer_groups: dict[str, list[str]] = field(default_factory=lambda: {"late": ["stages."], "early": ["stem."]})

    def validate_stages(self) -> None:
        """Part of the strict validation."""
        widths, depths = self.stage_widths, self.stage_depths
        if not widths or len(widths) != len(depths) or min(depths) < 1:
            raise ValueError(f"stage_depths {depths!r} must give one number of blocks to each width of {widths!r}.")
        if widths[-1] * self.expansion != self.hidden_size:
            raise ValueError(
                f"hidden_size is {self.hidden_size!r}; it must be expansion ({self.expansion!r}) times the last of "
                f"stage_widths, {widths!r}."
            )
