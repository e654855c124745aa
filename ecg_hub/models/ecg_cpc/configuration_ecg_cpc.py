"""Configuration of ECG-CPC."""

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.

import math
from dataclasses import field

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import ECGConfig


@strict
class ECGCPCConfig(ECGConfig):
    """Configuration of ECG-CPC; the defaults are the published model.

    Attributes:
        num_conv_layers: layers of the convolutional encoder, the strided stem included.
        conv_kernel_size: kernel of the stem in samples; the other layers have kernel 1.
        conv_stride: stride of the stem; samples per token.
        num_hidden_layers: S4 blocks.
        state_size: states per feature of S4.
        kernel_length: length in tokens that the stored C of S4 belongs to (10 s at 240 Hz, stride 2).
        bidirectional: S4 reads both ways, as in the encoders of data2vec, JEPA and the like that the authors compare.
        dropout: probability of dropping a feature of a sample for all tokens, in the S4 blocks.
        layer_norm_eps: epsilon of the layer norms.
        batch_norm_eps: epsilon of the batch norms.
        prediction_steps: pre-training only: tokens ahead that are predicted, each by a projection of its own.
        num_negatives: pre-training only: tokens of the same sequence drawn against each positive.
        contrastive_temperature: pre-training only: divides the scores.
        normalize_contrast: pre-training only: compare directions instead of dot products.
        beat_weight: pre-training only: of the error with which a head on the mean token tells the average beat and the
            rhythm of the clean window, beside the contrastive loss; 0 is without.
    """

    model_type = "ecg_cpc"

    hidden_size: int = 512
    sampling_rate: float | int = 240
    input_seconds: float | int = 2.5
    num_conv_layers: int = 4
    conv_kernel_size: int = 3
    conv_stride: int = 2
    num_hidden_layers: int = 4
    state_size: int = 8
    kernel_length: int = 1200  # of the pre-training, though the benchmark feeds 300 tokens
    bidirectional: bool = False
    dropout: float | int = 0.2
    layer_norm_eps: float = 1e-5
    batch_norm_eps: float = 1e-5
    prediction_steps: list[int] | tuple[int, ...] = (14,)
    num_negatives: int = 128
    contrastive_temperature: float | int = 1.0
    normalize_contrast: bool = False
    beat_weight: float | int = 0.0
    # The published groups: the S4 stack is trained at a tenth of the head's rate, the convolutions at a hundredth.
    layer_groups: dict[str, list[str]] = field(default_factory=lambda: {"late": ["predictor."], "early": ["encoder."]})

    @property
    def min_samples(self) -> int:
        """Shortest input in samples: one stem kernel."""
        return self.conv_kernel_size

    def validate_contrast(self) -> None:
        """Part of the strict validation."""
        steps = list(self.prediction_steps)
        if not steps or min(steps) < 1 or len(set(steps)) != len(steps):
            raise ValueError(f"prediction_steps is {steps!r}; allowed: different numbers of tokens from 1 up.")
        if self.num_negatives < 1:
            raise ValueError(f"num_negatives is {self.num_negatives!r}; allowed: at least 1.")
        if not self.contrastive_temperature > 0:
            raise ValueError(f"contrastive_temperature is {self.contrastive_temperature!r}; allowed: above 0.")
        if not 0 <= self.beat_weight < math.inf:
            raise ValueError(f"beat_weight is {self.beat_weight!r}; allowed: 0 (without) or more.")
