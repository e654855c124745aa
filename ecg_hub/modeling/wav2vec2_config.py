"""Configuration shared by the models that are wav2vec 2.0 encoders: HuBERT-ECG and ECG-FM."""

from typing import Any

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import ECGConfig

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.


@strict
class Wav2Vec2FamilyConfig(ECGConfig):
    """Base of the configurations; field names are those of transformers' Wav2Vec2Config and HubertConfig.

    Attributes:
        num_hidden_layers: transformer blocks.
        num_attention_heads: heads of each block.
        intermediate_size: width of the feed-forward layers.
        hidden_act: activation of the feed-forward layers; "gelu" is the exact one.
        hidden_dropout: dropout at the end of each residual branch and before the first block.
        attention_dropout: dropout of the attention weights.
        activation_dropout: dropout inside the feed-forward layers.
        feat_proj_dropout: dropout after the projection of the convolutional features.
        layerdrop: probability of leaving out a whole block while training.
        initializer_range: standard deviation of random linear layers.
        layer_norm_eps: epsilon of the layer norms.
        conv_dim: channels of each convolution of the feature extractor.
        conv_kernel: kernel of each in samples.
        conv_stride: stride of each in samples.
        conv_bias: whether they have a bias.
        feat_extract_activation: activation of the convolutions, the positional one included.
        num_conv_pos_embeddings: kernel of the positional convolution in tokens.
        num_conv_pos_embedding_groups: its groups.
        layer_groups: as everywhere; by default the upper half of the blocks is "late", all else "early".
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout: float | int = 0.0
    attention_dropout: float | int = 0.0
    activation_dropout: float | int = 0.1
    feat_proj_dropout: float | int = 0.0
    layerdrop: float | int = 0.0  # transformers' own default is 0.1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    conv_dim: list[int] | tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    conv_kernel: list[int] | tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: list[int] | tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_activation: str = "gelu"
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16

    def __post_init__(self, **kwargs: Any) -> None:
        if not self.layer_groups:
            # As the benchmark groups both models: blocks 6 to 11 at a tenth of the head's rate, all else at a
            # hundredth.
            half, depth = self.num_hidden_layers // 2, self.num_hidden_layers
            early = ["feature_extractor.", "feature_projection.", "encoder.pos_conv_embed.", "encoder.layer_norm."]
            self.layer_groups = {
                "late": [f"encoder.layers.{block}." for block in range(half, depth)],
                "early": early + [f"encoder.layers.{block}." for block in range(half)],
            }
        super().__post_init__(**kwargs)

    @property
    def receptive_field(self) -> int:
        """Samples that one token of the feature extractor sees, so its shortest input."""
        field = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            field = (field - 1) * stride + kernel
        return field

    @property
    def min_samples(self) -> int:
        """Shortest input in samples."""
        return self.receptive_field

    def validate_convolutions(self) -> None:
        """Part of the strict validation."""
        lengths = {len(self.conv_dim), len(self.conv_kernel), len(self.conv_stride)}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(
                "conv_dim, conv_kernel and conv_stride give one number per convolution, so they are equally long; got "
                f"{self.conv_dim!r}, {self.conv_kernel!r} and {self.conv_stride!r}."
            )

    def validate_layerdrop(self) -> None:
        """Part of the strict validation."""
        if not 0.0 <= self.layerdrop < 1.0:
            raise ValueError(f"layerdrop is {self.layerdrop!r}; allowed: 0 <= layerdrop < 1.")
