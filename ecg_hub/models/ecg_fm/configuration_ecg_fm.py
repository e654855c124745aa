"""Configuration of ECG-FM."""

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import Wav2Vec2FamilyConfig


@strict
class ECGFMConfig(Wav2Vec2FamilyConfig):
    """Configuration of ECG-FM; the defaults are the published model.

    Attributes:
        freeze_feature_extractor: whether the convolutions are left as they are in fine-tuning, as published.
    """

    model_type = "ecg_fm"

    sampling_rate: float | int = 500
    input_seconds: float | int = 5
    conv_dim: list[int] | tuple[int, ...] = (256, 256, 256, 256)
    conv_kernel: list[int] | tuple[int, ...] = (2, 2, 2, 2)
    conv_stride: list[int] | tuple[int, ...] = (2, 2, 2, 2)
    # The benchmark lists the convolutions in a group of its optimiser and runs them without gradients.
    freeze_feature_extractor: bool = True
