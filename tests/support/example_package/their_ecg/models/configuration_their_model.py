"""Configuration of the model."""

from dataclasses import field

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import ECGConfig


@strict
class TheirConfig(ECGConfig):
    """Width and kernel of the convolution."""

    model_type = "their_model"

    hidden_size: int = 32
    sampling_rate: float | int = 100
    input_seconds: float | int = 2
    kernel: int = 25
    layer_groups: dict[str, list[str]] = field(default_factory=lambda: {"late": ["conv."], "early": []})

    @property
    def min_samples(self) -> int:
        """Shortest input in samples."""
        return self.kernel
