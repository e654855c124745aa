"""Configuration of MERL's vision transformer."""

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.

from typing import Any

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import PatchECGConfig


@strict
class MERLViTConfig(PatchECGConfig):
    """Configuration of the ViT-tiny of MERL; the defaults are the published model.

    Attributes:
        patch_size: samples of a token, which holds all leads.
        max_patches: tokens that the position table holds.
        num_hidden_layers: transformer blocks.
        num_attention_heads: heads of a block.
        intermediate_size: width of the blocks' hidden layer.
        layer_norm_eps: epsilon of all layer norms.
    """

    model_type = "merl_vit"

    hidden_size: int = 192
    sampling_rate: float | int = 500
    input_seconds: float | int = 10
    patch_size: int = 50
    max_patches: int = 100
    num_hidden_layers: int = 12
    num_attention_heads: int = 3
    intermediate_size: int = 768
    layer_norm_eps: float = 1e-5

    def __post_init__(self, **kwargs: Any) -> None:
        if not self.layer_groups:
            half, depth = self.num_hidden_layers // 2, self.num_hidden_layers
            self.layer_groups = {
                "late": ["norm.", *(f"layers.{layer}." for layer in range(half, depth))],
                "early": ["patch_embedding.", "position_embedding", *(f"layers.{layer}." for layer in range(half))],
            }
        super().__post_init__(**kwargs)

    def validate_heads(self) -> None:
        """Part of the strict validation."""
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads is {self.num_attention_heads!r}; it must divide hidden_size, "
                f"{self.hidden_size!r}."
            )
