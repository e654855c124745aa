"""ECGFounder: a Net1D pre-trained with supervision on 150 diagnostic labels.

Paper: Li et al., "An Electrocardiogram Foundation Model Built on over 10 Million Recordings", NEJM AI 2025,
arXiv 2410.04133. Original code: PKUDigitalHealth/ECGFounder (MIT); weights: Hugging Face PKUDigitalHealth/ECGFounder,
`12_lead_ECGFounder.pth`, for which we know of no licence: see the authors' card. The network is that of
`ecg_hub.models.net1d`; the differences from the original code are listed there. The head of the 150 labels is left out.
What it is fed: the benchmark feeds unfiltered millivolts, though the authors filter and standardise, which they call
mandatory (preset `native`).
"""

from __future__ import annotations

from ecg_hub.modeling.modeling_utils import ECGClassificationMixin, ECGPreTrainedModel
from ecg_hub.models.ecg_founder.configuration_ecg_founder import ECGFounderConfig
from ecg_hub.models.net1d.modeling_net1d import Net1DEncoderMixin


class ECGFounderPreTrainedModel(ECGPreTrainedModel):
    """Base of the ECGFounder models."""

    config: ECGFounderConfig
    config_class = ECGFounderConfig
    base_model_prefix = "ecg_founder"


class ECGFounderModel(Net1DEncoderMixin, ECGFounderPreTrainedModel):
    """The ECGFounder encoder.

    Example:
        >>> import torch
        >>> from ecg_hub import AutoModel
        >>> model = AutoModel.from_pretrained("random:ecg-founder-tiny")  # "ecg-founder" is published, of width 1024
        >>> with torch.no_grad():
        ...     output = model(torch.zeros(1, 12, 1250))  # 2.5 s at 500 Hz
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 5, 32]), torch.Size([1, 32]))
    """


class ECGFounderForECGClassification(ECGClassificationMixin, ECGFounderPreTrainedModel):
    """The ECGFounder encoder with a classification head."""

    base_model_class = ECGFounderModel
