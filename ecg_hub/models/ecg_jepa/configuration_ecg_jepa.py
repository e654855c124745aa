"""Configuration of ECG-JEPA."""

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.

from typing import Any

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import PatchECGConfig

LEADS_OF_ECG_JEPA = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


@strict
class ECGJEPAConfig(PatchECGConfig):
    """Configuration of ECG-JEPA; the defaults are the published model.

    Attributes:
        patch_size: samples per patch of one lead.
        max_patches: patches per lead that the position table holds (10 s at 250 Hz).
        num_hidden_layers: transformer blocks.
        num_attention_heads: attention heads of a block.
        intermediate_size: width of the blocks' hidden layer.
        layer_norm_eps: epsilon of all layer norms.
        initializer_range: standard deviation of the matrices of a model that starts from scratch.
        structured_attention: read only the keys that the attention pattern allows, 57 of 400; the same result as
            masking the others. False computes all scores and masks them, in one fused operation.
    """

    model_type = "ecg_jepa"

    hidden_size: int = 768
    sampling_rate: float | int = 250
    lead_names: list[str] | tuple[str, ...] = LEADS_OF_ECG_JEPA
    input_seconds: float | int = 10
    patch_size: int = 50
    max_patches: int = 50
    num_hidden_layers: int = 12
    num_attention_heads: int = 16
    intermediate_size: int = 3072
    layer_norm_eps: float = 1e-5  # with ViT's 1e-12 features move by 1e-5 only: too little for most tests to notice
    initializer_range: float = 0.02
    structured_attention: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        # By the number of blocks, which a default of the field cannot look at.
        if not self.layer_groups:
            self.layer_groups = _layer_groups(self.num_hidden_layers)
        super().__post_init__(**kwargs)

    def validate_width(self) -> None:
        """Part of the strict validation."""
        heads = self.num_attention_heads
        if self.hidden_size % 4 or self.hidden_size % heads:
            raise ValueError(
                f"hidden_size is {self.hidden_size!r}; it must be a multiple of 4 (sines and cosines of time and lead) "
                f"and of num_attention_heads, {heads!r}."
            )


def _layer_groups(layers: int) -> dict[str, list[str]]:
    """The first quarter of the blocks and the patch projection are early, the rest and the last norm late."""
    first_late = max(layers // 4, 1)
    return {
        "late": [*(f"layers.{k}." for k in range(first_late, layers)), "norm."],
        "early": ["patch_embedding.", *(f"layers.{k}." for k in range(first_late))],
    }
