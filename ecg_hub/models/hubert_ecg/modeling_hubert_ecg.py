"""HuBERT-ECG: a HuBERT encoder over the twelve leads laid end to end.

Paper: Coppola et al., "HuBERT-ECG as a self-supervised foundation model for broad and scalable cardiac applications",
medRxiv 2024.11.14.24317328. Original code: Edoar-do/HuBERT-ECG at affe1f9; weights: Hugging Face
Edoardo-BS/hubert-ecg-base; both CC BY-NC 4.0. Written from a description of the network, not from its code: it is
transformers' HubertModel, parameter names included. What differs: masking and LayerDrop are off while training unless
the configuration asks for them, the mask vector is a buffer (nothing trains it), and the heads of the pre-training are
left out. The preparation of the signal (filter, scaling) is the feature extractor's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.modeling_utils import ECGClassificationMixin, ECGModelOutput
from ecg_hub.modeling.wav2vec2 import Wav2Vec2FamilyPreTrainedModel
from ecg_hub.models.hubert_ecg.configuration_hubert_ecg import HuBERTECGConfig


class HuBERTECGPreTrainedModel(Wav2Vec2FamilyPreTrainedModel):
    """Base of the HuBERT-ECG models."""

    config: HuBERTECGConfig
    config_class = HuBERTECGConfig
    base_model_prefix = "hubert_ecg"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # As in transformers; for whoever masks without weights from a file.
        if isinstance(module, HuBERTECGModel):
            init.uniform_(module.masked_spec_embed)


class HuBERTECGModel(HuBERTECGPreTrainedModel):
    """The HuBERT-ECG encoder.

    It takes no raw millivolts: the band-pass and the scaling to -1 .. 1 that it was trained with are the extractor's.

    Example:
        >>> import numpy as np
        >>> from ecg_hub import AutoFeatureExtractor, AutoModel
        >>> from ecg_hub.leads import LEADS
        >>> model = AutoModel.from_pretrained("random:hubert-ecg-tiny")  # "hubert-ecg" is published, of width 768
        >>> extractor = AutoFeatureExtractor.from_pretrained("random:hubert-ecg-tiny")
        >>> signal = np.random.default_rng(0).normal(size=(12, 2500))  # 5 s at 500 Hz
        >>> batch = extractor(signal, sampling_rate=500, lead_names=LEADS, return_tensors="pt")
        >>> batch["input_values"].shape, batch["input_values"].min().item()
        (torch.Size([1, 12, 500]), -1.0)
        >>> with torch.no_grad():
        ...     output = model(**batch)
        >>> output.last_hidden_state.shape, output.pooler_output.shape  # a token is no part of one lead
        (torch.Size([1, 93, 32]), torch.Size([1, 32]))
    """

    masked_spec_embed: Tensor

    def __init__(self, config: HuBERTECGConfig) -> None:
        super().__init__(config)
        self._build(channels=1)
        # In the published code a parameter that no group of the optimiser holds, so it is a constant there too.
        self.register_buffer("masked_spec_embed", torch.zeros(config.hidden_size))
        self.post_init()

    @can_return_tuple
    def forward(
        self, input_values: Tensor, output_hidden_states: bool | None = None, output_attentions: bool | None = None
    ) -> ECGModelOutput:
        """Encode windows.

        Args:
            input_values: (batch, 12 leads, samples), float, 100 Hz, prepared by the feature extractor (band-pass, each
                lead scaled to -1 .. 1); 500 samples are what the benchmark feeds, any number from 7 works.
            output_hidden_states: return the input of the first transformer block and the output of each.
            output_attentions: return the attention weights of each block, (batch, heads, tokens, tokens).

        Returns:
            `last_hidden_state` (batch, tokens, 768), 93 tokens for 500 samples: a token spans 0.82 s of the leads laid
            end to end, so that some straddle two leads; `pooler_output` (batch, 768), its mean over tokens.

        Raises:
            InputError: wrong type, number of dimensions, leads or samples.
        """
        self.check_input(input_values)
        return self._encode(input_values, output_hidden_states, output_attentions)

    def _tokens(self, input_values: Tensor) -> Tensor:
        # All samples of lead I, then all of lead II, and so on (the other way round is off by 0.9). Nothing marks where
        # a lead ends, and no attention mask is passed: every token sees all leads.
        features = self.feature_extractor(input_values.flatten(1)[:, None])
        tokens, _ = self.feature_projection(features)
        return self._mask(tokens)

    def _mask(self, tokens: Tensor) -> Tensor:
        """Mask spans of tokens and of features as in the pre-training, if asked for and in train mode."""
        config = self.config
        rows, length, width = tokens.shape
        if self.training and config.mask_time_prob > 0:
            spans = (config.mask_time_prob, config.mask_time_length, config.mask_time_min_masks)
            mask = span_mask(rows, length, *spans, device=tokens.device)
            tokens = torch.where(mask[:, :, None], self.masked_spec_embed.to(tokens.dtype), tokens)
        if self.training and config.mask_feature_prob > 0:
            spans = (config.mask_feature_prob, config.mask_feature_length, config.mask_feature_min_masks)
            mask = span_mask(rows, width, *spans, device=tokens.device)
            tokens = tokens.masked_fill(mask[:, None, :], 0.0)
        return tokens


class HuBERTECGForECGClassification(ECGClassificationMixin, HuBERTECGPreTrainedModel):
    """The HuBERT-ECG encoder with a classification head."""

    base_model_class = HuBERTECGModel


def span_mask(
    rows: int, length: int, probability: float, span: int, fewest: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Draw masks made of spans, (rows, length) bool, by the rule of SpecAugment in transformers.

    The number of spans is probability * length / span, rounded up or down at random, at least `fewest`, at most what
    fits side by side; their starts are drawn without replacement, and spans may overlap.
    """
    # transformers draws with numpy, row by row; here all rows at once, on the device, by torch's seed.
    span = min(span, length)
    drawn = int(probability * length / span + torch.rand(()).item())
    count = min(max(drawn, fewest), length // span)
    starts = torch.rand(rows, length - span + 1, device=device).topk(count, dim=1).indices
    inside = (starts[:, :, None] + torch.arange(span, device=device)).flatten(1)
    return torch.zeros(rows, length, dtype=torch.bool, device=device).scatter_(1, inside, True)
