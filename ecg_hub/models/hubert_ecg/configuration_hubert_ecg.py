"""Configuration of HuBERT-ECG."""

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import Wav2Vec2FamilyConfig


@strict
class HuBERTECGConfig(Wav2Vec2FamilyConfig):
    """Configuration of HuBERT-ECG; the defaults are the published base model, without masking and LayerDrop.

    In fine-tuning, the published code switches masking off and leaves LayerDrop at 0.1; `layerdrop=0.1` brings it back.
    The pre-training had both: `layerdrop=0.1, mask_time_prob=0.33, mask_time_length=1`.

    Attributes:
        mask_time_prob: share of the tokens that is masked in train mode, before overlap; 0 is off.
        mask_time_length: tokens per masked span.
        mask_time_min_masks: fewest spans per window, if mask_time_prob is not 0.
        mask_feature_prob: share of the features that is set to 0 in train mode, before overlap; 0 is off.
        mask_feature_length: features per masked span.
        mask_feature_min_masks: fewest spans per window, if mask_feature_prob is not 0.
    """

    model_type = "hubert_ecg"

    sampling_rate: float | int = 100
    input_seconds: float | int = 5
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    activation_dropout: float | int = 0.1
    conv_dim: list[int] | tuple[int, ...] = (512, 512, 512, 512, 512)
    conv_kernel: list[int] | tuple[int, ...] = (10, 3, 3, 2, 2)
    conv_stride: list[int] | tuple[int, ...] = (4, 2, 2, 2, 2)
    # Off, though the configuration published with the weights says 0.33: the classification class switches it off
    # before use.
    mask_time_prob: float | int = 0.0
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: float | int = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = 0

    @property
    def min_samples(self) -> int:
        """Shortest input in samples per lead: all leads together give one token."""
        return -(-self.receptive_field // len(self.lead_names))

    def validate_masking(self) -> None:
        """Part of the strict validation."""
        for name in ("mask_time_prob", "mask_feature_prob"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: 0 to 1.")
        for name in ("mask_time_length", "mask_feature_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: 1 or more.")
