"""ECG-FM: a wav2vec 2.0 encoder over twelve leads.

Paper: McKeen et al., "ECG-FM: An Open Electrocardiogram Foundation Model", arXiv 2408.05178. Original code:
bowang-lab/ECG-FM at 9cc0d3f and Jwoo5/fairseq-signals at 6b9e137; weights: Hugging Face wanglab/ecg-fm; all MIT.
Written from a description of the network, not from its code: it is transformers' Wav2Vec2Model but for the first
convolution, which takes all twelve leads. What differs: quantizer and projections of the pre-training are left out.
As published, the convolutions do not train in fine-tuning (`freeze_feature_extractor`).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.modeling_utils import ECGClassificationMixin, ECGModelOutput
from ecg_hub.modeling.wav2vec2 import Wav2Vec2FamilyPreTrainedModel
from ecg_hub.models.ecg_fm.configuration_ecg_fm import ECGFMConfig


class ECGFMPreTrainedModel(Wav2Vec2FamilyPreTrainedModel):
    """Base of the ECG-FM models."""

    config: ECGFMConfig
    config_class = ECGFMConfig
    base_model_prefix = "ecg_fm"

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load weights as every model of the package, and freeze the convolutions again."""
        # transformers puts new parameters in the place of those that `__init__` froze, all of them trainable.
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.base_model.freeze_feature_extractor()
        return loaded


class ECGFMModel(ECGFMPreTrainedModel):
    """The ECG-FM encoder.

    Example:
        >>> import torch
        >>> from ecg_hub import AutoModel
        >>> model = AutoModel.from_pretrained("random:ecg-fm-tiny")  # "ecg-fm" is the published one, of width 768
        >>> with torch.no_grad():
        ...     output = model(torch.zeros(1, 12, 2500))  # 5 s at 500 Hz
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 156, 32]), torch.Size([1, 32]))
        >>> any(weight.requires_grad for weight in model.feature_extractor.parameters())  # frozen, as published
        False
    """

    def __init__(self, config: ECGFMConfig) -> None:
        super().__init__(config)
        self._build(channels=len(config.lead_names))
        self.freeze_feature_extractor()
        self.post_init()

    def freeze_feature_extractor(self) -> None:
        """Take the convolutions out of training, if the configuration says so."""
        if self.config.freeze_feature_extractor:
            self.feature_extractor.requires_grad_(False)

    def train_all_weights(self) -> None:
        """Let every weight train, the convolutions too, also after saving and loading."""
        self.config.freeze_feature_extractor = False
        super().train_all_weights()

    @can_return_tuple
    def forward(
        self, input_values: Tensor, output_hidden_states: bool | None = None, output_attentions: bool | None = None
    ) -> ECGModelOutput:
        """Encode windows.

        Args:
            input_values: (batch, 12 leads, samples), float, millivolt, 500 Hz; 2,500 samples are what the benchmark
                feeds, any number from 16 works. NaN is passed on.
            output_hidden_states: return the input of the first transformer block and the output of each.
            output_attentions: return the attention weights of each block, (batch, heads, tokens, tokens).

        Returns:
            `last_hidden_state` (batch, tokens = samples / 16 rounded down, 768), `pooler_output` (batch, 768), its mean
            over tokens.

        Raises:
            InputError: wrong type, number of dimensions, leads or samples.
        """
        self.check_input(input_values)
        return self._encode(input_values, output_hidden_states, output_attentions)

    def _tokens(self, input_values: Tensor) -> Tensor:
        # The first convolution has no bias, and a norm per channel over time follows it: an offset of a lead and a
        # scale common to all leads cancel, up to eps. Of the authors' z-score only the scales of the leads to each
        # other count.
        tokens: Tensor
        tokens, _ = self.feature_projection(self.feature_extractor(input_values))
        return tokens


class ECGFMForECGClassification(ECGClassificationMixin, ECGFMPreTrainedModel):
    """The ECG-FM encoder with a classification head."""

    base_model_class = ECGFMModel
