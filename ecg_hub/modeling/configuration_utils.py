"""What every model configuration carries besides its architecture: the input contract, the head, the layer groups.

And what two families share: models that read patches, and those that are wav2vec 2.0 encoders.
"""

import math
from dataclasses import field
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ecg_hub.errors import InputError
from ecg_hub.leads import LEADS
from ecg_hub.origin import refuse_authors_layout

# A config.json of a few bytes could else keep a processor for hours, or fill the memory with names of labels, before
# any weight is looked at. Published models have some tens of layers and hundreds of labels.
MOST_LAYERS, MOST_LABELS = 1_000, 100_000

_OF_THE_HEAD = ("thresholds", "record_maximum", "target_scales", "published_head")

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.


@strict
class ECGConfig(PreTrainedConfig):
    """Base of all model configurations.

    Attributes:
        hidden_size: width of tokens and pooled vector.
        sampling_rate: rate in Hz of the input, as in the preset `benchmark`.
        lead_names: order of the leads of the input.
        input_seconds: length of the input in seconds, as in the preset `benchmark`.
        unit: unit of the input.
        layer_groups: {"late": prefixes, "early": prefixes} of the base model's parameters, for layer-wise rates.
        drop_path_rate: stochastic depth of the last residual block, in train mode.
        drop_path_schedule: "linear" (from 0 at the first block) or "constant".
        pooling: head of the classifier, "mean" or "attention".
        num_attention_pooling_heads: heads of the attention pooling.
        num_classification_labels: with problem_type "mixed", how many leading outputs are classes.
        thresholds: decision threshold of each output's probability, from validation; None of a label that has none.
        record_maximum: labels of which a record has the largest probability of its windows; of the others it has the
            mean, as it has of all where this is None.
        target_scales: regression output -> "mean", "deviation" and "unit" of the training records, on whose z-scores
            the head was trained; None where its outputs are values as they are.
        published_head: of a head that the authors of the weights trained: short name of the checkpoint ("model") and
            preset whose input it was trained on ("preset"); None of any other head.
        source: file name, size and SHA-256 of the published checkpoint that was converted.
        conversion: short name of the model that `source` was converted to, digest of the tensors that came of it, and
            of those of the authors' head, if it was kept.
        random_weights: `random:` name and seed of weights that were drawn and never trained; stays when they are saved.
        pretraining: how `ecg-hub pretrain` made the weights: "corpora", "train_only" (those of which it read training
            records alone), steps, seed, digest of the data, versions.
        training: what `ecg-eval --save-model` trained the encoder on, one entry per run: "dataset", "run", "mode",
            "seed", and "began" with weights of which origin.
        credentialed: datasets for credentialed users whose real records or labels made weights of the folder, those of
            a head included; what their agreements ask of derived models then holds for it.

    Raises:
        StrictDataclassFieldValidationError: a value of the wrong type, or none of the words that are allowed.
        StrictDataclassClassValidationError: a value out of range, or values that do not fit together.

    Example:
        >>> config = ECGConfig(input_seconds=2.5, num_labels=3)
        >>> config.samples, config.problem_type  # at 500 Hz
        (1250, 'multi_label_classification')
        >>> ECGConfig(drop_path_rate=1.5)
        Traceback (most recent call last):
            ...
        huggingface_hub.errors.StrictDataclassClassValidationError: Class validation error for validator ...
        >>> ECGConfig(hiden_size=3).hidden_size  # a misspelt name is kept beside the fields, without a word
        512
    """

    hidden_size: int = 512
    sampling_rate: float | int = 500
    lead_names: list[str] | tuple[str, ...] = LEADS
    input_seconds: float | int = 10
    unit: str = "mV"
    layer_groups: dict[str, list[str]] = field(default_factory=dict)
    drop_path_rate: float | int = 0.0
    drop_path_schedule: Literal["linear", "constant"] = "linear"
    pooling: Literal["mean", "attention"] = "mean"
    num_attention_pooling_heads: int = 16
    num_classification_labels: int | None = None
    thresholds: list[float | None] | None = None
    record_maximum: list[str] | None = None
    target_scales: dict[str, dict[str, Any]] | None = None
    published_head: dict[str, Any] | None = None
    source: dict[str, Any] | None = None
    conversion: dict[str, Any] | None = None
    random_weights: dict[str, Any] | None = None
    pretraining: dict[str, Any] | None = None
    training: list[dict[str, Any]] | None = None
    credentialed: list[str] | None = None
    problem_type: Literal["multi_label_classification", "regression", "mixed"] = "multi_label_classification"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make a configuration of the content of a config.json."""
        # Here, because AutoConfig and every `from_pretrained` come by.
        refuse_authors_layout(config_dict, str(kwargs.get("name_or_path") or "config.json"))
        labels = config_dict.get("num_labels")
        if isinstance(labels, int) and labels > MOST_LABELS:
            raise InputError(f"num_labels is {labels:,}; up to {MOST_LABELS:,} are read.")
        return super().from_dict(_of_another_head(config_dict, kwargs), **kwargs)

    @property
    def min_samples(self) -> int:
        """Shortest input in samples."""
        return 1

    @property
    def max_samples(self) -> int | None:
        """Longest input in samples, or None if any length works."""
        return None

    @property
    def sample_multiple(self) -> int:
        """The input's length in samples has to be a multiple of this."""
        return 1

    @property
    def samples(self) -> int:
        """Length in samples of the input of the preset `benchmark`."""
        return round(self.input_seconds * self.sampling_rate)

    def forget_head(self) -> None:
        """Leave out what was said of a head that is not there any more: thresholds, scales, rules of records, whose."""
        for name in _OF_THE_HEAD:
            setattr(self, name, None)

    # `strict` calls every method whose name begins with `validate_`, once all fields are set.

    def validate_drop_path(self) -> None:
        """Part of the strict validation."""
        if not 0.0 <= self.drop_path_rate < 1.0:
            raise ValueError(f"drop_path_rate is {self.drop_path_rate!r}; allowed: 0 <= rate < 1.")

    def validate_layers(self) -> None:
        """Part of the strict validation."""
        for name, value in vars(self).items():
            sizes = isinstance(value, list | tuple) and all(isinstance(item, int) for item in value)
            layers = (sum(value) if name.endswith("_depths") else len(value)) if sizes else value
            if (sizes or name.endswith("_layers")) and isinstance(layers, int) and layers > MOST_LAYERS:
                raise ValueError(f"{name} makes {layers:,} layers; allowed: up to {MOST_LAYERS:,}.")

    def validate_outputs(self) -> None:
        """Part of the strict validation."""
        # An encoder has outputs as well: transformers counts 2 where nobody says how many.
        outputs, classes = self.num_labels, self.num_classification_labels
        if self.problem_type == "mixed" and classes is not None and not 0 <= classes <= (outputs or 0):
            raise ValueError(f"num_classification_labels is {classes!r}; allowed: 0 to num_labels, {outputs!r}.")
        if self.thresholds is not None and len(self.thresholds) != outputs:
            raise ValueError(f"thresholds has {len(self.thresholds)} values for {outputs!r} outputs; give one each.")

    def validate_target_scales(self) -> None:
        """Part of the strict validation."""
        for label, scale in (self.target_scales or {}).items():
            numbers = [scale.get(name) for name in ("mean", "deviation")]
            sound = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
            if not sound or not isinstance(scale.get("unit"), str):
                raise ValueError(f"target_scales[{label!r}] is {scale!r}; it has a mean, a deviation and a unit.")


def _of_another_head(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The content of a config.json without what it says of a head of another size, and by the names that are given."""
    names = changes.get("id2label")
    had = content.get("id2label") or {}
    size = changes.get("num_labels") if names is None else len(names)
    if size is not None and size != (len(had) or content.get("num_labels")):
        left_out = (*_OF_THE_HEAD, "id2label", "label2id")
        content = {name: value for name, value in content.items() if name not in left_out}
    elif names is not None:
        called = {label: names.get(int(index), names.get(index)) for index, label in had.items()}
        maximum, scales = content.get("record_maximum"), content.get("target_scales")
        content = content | {
            "record_maximum": None if maximum is None else [called.get(label, label) for label in maximum],
            "target_scales": None if scales is None else {called.get(name, name): scales[name] for name in scales},
        }
    if names is not None:
        changes.setdefault("label2id", {label: int(index) for index, label in names.items()})
    return content


@strict
class PatchECGConfig(ECGConfig):
    """Base of the configurations of models that cut the input into patches, each with a position of a table.

    Attributes:
        patch_size: samples per patch.
        max_patches: patches in time that the position table holds.
    """

    patch_size: int = 50
    max_patches: int = 100

    @property
    def min_samples(self) -> int:
        """Shortest input in samples: one patch."""
        return self.patch_size

    @property
    def max_samples(self) -> int:
        """Longest input in samples: as many patches as there are positions."""
        return self.patch_size * self.max_patches

    @property
    def sample_multiple(self) -> int:
        """The input's length in samples has to be a multiple of this: whole patches."""
        return self.patch_size


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
