"""The model and its classifier."""

from __future__ import annotations

from torch import Tensor, nn
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.modeling_utils import ECGClassificationMixin, ECGModelOutput, ECGPreTrainedModel
from their_ecg.models.configuration_their_model import TheirConfig


class TheirPreTrainedModel(ECGPreTrainedModel):
    """Base of the two."""

    config: TheirConfig
    config_class = TheirConfig
    base_model_prefix = "their_model"


class TheirModel(TheirPreTrainedModel):
    """The encoder."""

    def __init__(self, config: TheirConfig) -> None:
        super().__init__(config)
        self.conv = nn.Conv1d(len(config.lead_names), config.hidden_size, config.kernel, config.kernel)
        self.post_init()

    @can_return_tuple
    def forward(
        self, input_values: Tensor, output_hidden_states: bool | None = None, **kwargs: object
    ) -> ECGModelOutput:
        """Map (batch, leads, samples) to tokens (batch, tokens, dim)."""
        self.check_input(input_values)
        first = self.conv(input_values.to(self.conv.weight.dtype)).transpose(1, 2)
        tokens = first.tanh().contiguous()
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        states = (first, tokens) if output_hidden_states else None
        return ECGModelOutput(last_hidden_state=tokens, pooler_output=tokens.mean(1), hidden_states=states)


class TheirForECGClassification(ECGClassificationMixin, TheirPreTrainedModel):
    """Encoder and head."""

    base_model_class = TheirModel
