"""Configuration of MELP."""

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.

from typing import Any

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import ECGConfig
from ecg_hub.models.ecg_fm.configuration_ecg_fm import ECGFMConfig

_TO_THE_ENCODER = (
    *("num_hidden_layers", "num_attention_heads", "intermediate_size", "conv_dim", "num_conv_pos_embeddings"),
    *("num_conv_pos_embedding_groups", "sampling_rate", "input_seconds", "lead_names", "freeze_feature_extractor"),
    *("drop_path_rate", "drop_path_schedule"),
)


@strict
class MELPConfig(ECGConfig):
    """Configuration of MELP; the defaults are the published model.

    Attributes:
        hidden_size: width of the queries, so of the tokens and of the pooled vector.
        encoder_hidden_size: width of the encoder that they read.
        num_queries: learned queries, each of which gives a token.
        num_pooling_heads: heads of the attention by which they read.
        num_hidden_layers: transformer blocks of the encoder.
        num_attention_heads: heads of each block.
        intermediate_size: width of the blocks' hidden layer.
        conv_dim: channels of the convolutions in front of the blocks.
        num_conv_pos_embeddings: kernel of the positional convolution in tokens.
        num_conv_pos_embedding_groups: its groups.
        freeze_feature_extractor: whether the convolutions are left as they are in fine-tuning.
        layer_norm_eps: epsilon of the norms around the queries.
    """

    model_type = "melp"

    hidden_size: int = 256
    sampling_rate: float | int = 500
    input_seconds: float | int = 10
    encoder_hidden_size: int = 768
    num_queries: int = 14
    num_pooling_heads: int = 8
    num_hidden_layers: int = 8
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    conv_dim: list[int] | tuple[int, ...] = (256, 256, 256, 256)
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    freeze_feature_extractor: bool = False
    layer_norm_eps: float = 1e-5

    def __post_init__(self, **kwargs: Any) -> None:
        if not self.layer_groups:
            half, depth = self.num_hidden_layers // 2, self.num_hidden_layers
            stem = ["feature_extractor.", "feature_projection.", "encoder.pos_conv_embed.", "encoder.layer_norm."]
            blocks = [f"encoder.encoder.layers.{block}." for block in range(depth)]
            self.layer_groups = {
                "late": ["pooler.", *blocks[half:]],
                "early": [*(f"encoder.{name}" for name in stem), *blocks[:half]],
            }
        super().__post_init__(**kwargs)

    def encoder_config(self) -> ECGFMConfig:
        """Return the configuration of the encoder, that of ECG-FM with other sizes."""
        given = {name: getattr(self, name) for name in _TO_THE_ENCODER}
        return ECGFMConfig(hidden_size=self.encoder_hidden_size, **given)

    @property
    def min_samples(self) -> int:
        """Shortest input in samples: what one token of the encoder sees."""
        return self.encoder_config().min_samples

    def validate_heads(self) -> None:
        """Part of the strict validation."""
        if self.num_pooling_heads < 1 or self.hidden_size % self.num_pooling_heads:
            raise ValueError(
                f"num_pooling_heads is {self.num_pooling_heads!r}; it must divide hidden_size, {self.hidden_size!r}."
            )
