"""Configuration of MERL."""

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.

from dataclasses import field

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import ECGConfig


@strict
class MERLConfig(ECGConfig):
    """Configuration of the ResNet-18 of MERL; the defaults are the published model.

    Attributes:
        conv_kernel_size: kernel of the strided stem in samples.
        stage_widths: channels of each of the four stages; the stem has the first, the tokens have the last.
        stage_depths: residual blocks of each stage.
        batch_norm_eps: epsilon of the batch norms.
    """

    model_type = "merl"

    hidden_size: int = 512
    sampling_rate: float | int = 500
    input_seconds: float | int = 2.5
    conv_kernel_size: int = 7
    stage_widths: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    stage_depths: list[int] | tuple[int, ...] = (2, 2, 2, 2)
    batch_norm_eps: float = 1e-5
    # As published for this backbone (the groups of the ViT that the benchmark's file offers as well are wrong).
    layer_groups: dict[str, list[str]] = field(
        default_factory=lambda: {"late": ["stages.2.", "stages.3."], "early": ["stem.", "stages.0.", "stages.1."]}
    )

    def validate_stages(self) -> None:
        """Part of the strict validation."""
        widths, depths = self.stage_widths, self.stage_depths
        if len(widths) != 4 or len(depths) != 4 or min(depths) < 1:
            raise ValueError(f"stage_widths {widths!r} and stage_depths {depths!r} must have four values each, not 0.")
        if widths[-1] != self.hidden_size:
            raise ValueError(f"hidden_size is {self.hidden_size!r}; it must be the last of stage_widths, {widths!r}.")
