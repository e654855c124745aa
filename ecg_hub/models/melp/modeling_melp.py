"""MELP: learned queries that read the tokens of ECG-FM's encoder, pre-trained on ECGs with their reports.

Paper: Wang, Xu, Yu, "From Token to Rhythm: A Multi-Scale Approach for ECG-Language Pretraining", ICML 2025, arXiv
2506.21803. Original code: HKU-MedAI/MELP at 088741d (MIT). Weights: Hugging Face fuyingw/MELP_Encoder, Apache-2.0 as
its page says. Written from a description of the network, not from its code. What differs: the projection of the
contrastive loss and the caption queries are left out, so that the pooled vector is what the authors probe, not what
their class returns; the convolutions learn at the rate of their group, without the published factor of 0.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.modeling_utils import ECGClassificationMixin, ECGModelOutput, ECGPreTrainedModel
from ecg_hub.models.ecg_fm.modeling_ecg_fm import ECGFMModel
from ecg_hub.models.melp.configuration_melp import MELPConfig


class MELPPooler(nn.Module):
    """Reads tokens by learned queries: norm(attention(norm(queries), norm(tokens))), without a skip."""

    def __init__(self, config: MELPConfig) -> None:
        super().__init__()
        width, inner, eps = config.hidden_size, config.encoder_hidden_size, config.layer_norm_eps
        self.query = nn.Parameter(torch.empty(config.num_queries, width))
        self.query_norm = nn.LayerNorm(width, eps=eps)
        self.token_norm = nn.LayerNorm(inner, eps=eps)
        # With keys of another width PyTorch holds three maps instead of one `in_proj_weight`, as the published file
        # does.
        self.attention = nn.MultiheadAttention(
            width, config.num_pooling_heads, kdim=inner, vdim=inner, batch_first=True
        )
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, encoder width) to (batch, queries, width)."""
        query = self.query_norm(self.query).expand(len(tokens), -1, -1)
        tokens = self.token_norm(tokens)
        # Without weights, or PyTorch would not use its fused attention.
        read, _ = self.attention(query, tokens, tokens, need_weights=False)
        pooled: Tensor = self.norm(read)
        return pooled

    def initialize(self) -> None:
        """Queries of the size of normed tokens, far apart."""
        init.normal_(self.query)


class MELPPreTrainedModel(ECGPreTrainedModel):
    """Base of the MELP models."""

    config: MELPConfig
    config_class = MELPConfig
    base_model_prefix = "melp"
    _supports_sdpa = True
    _no_split_modules = ("Wav2Vec2EncoderLayer", "ParametrizedConv1d", "MELPPooler")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, MELPPooler):
            module.initialize()
        elif isinstance(module, nn.MultiheadAttention):
            # As PyTorch does it; its output map comes by as a linear layer of its own.
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                init.xavier_uniform_(getattr(module, name))
            init.zeros_(module.in_proj_bias)
        else:
            super()._init_weights(module)


class MELPModel(MELPPreTrainedModel):
    """The MELP encoder: its tokens are what the queries read, one for each query, in no order of time.

    Example:
        >>> from ecg_hub import AutoModel
        >>> model = AutoModel.from_pretrained("random:melp-tiny")  # "melp" is the published one, of width 256
        >>> with torch.no_grad():
        ...     output = model(torch.zeros(1, 12, 5000))  # 10 s at 500 Hz
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 14, 16]), torch.Size([1, 16]))
    """

    def __init__(self, config: MELPConfig) -> None:
        super().__init__(config)
        self.encoder = ECGFMModel(config.encoder_config())
        self.pooler = MELPPooler(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self, input_values: Tensor, output_hidden_states: bool | None = None, output_attentions: bool | None = None
    ) -> ECGModelOutput:
        """Encode windows.

        Args:
            input_values: (batch, 12 leads, samples), float, 500 Hz, each record scaled to 0 .. 1 by its extremes in
                pre-training; any number of samples from 16 works. NaN is passed on.
            output_hidden_states: return the input of the first transformer block and the output of each.
            output_attentions: return the attention weights of each block, (batch, heads, tokens, tokens).

        Returns:
            `last_hidden_state` (batch, queries = 14, 256), `pooler_output` (batch, 256), its mean over the queries;
            `hidden_states` and `attentions` are those of the encoder, (batch, samples / 16, 768).

        Raises:
            InputError: wrong type, number of dimensions, leads or samples.
        """
        self.check_input(input_values)
        keep = bool(self.config.output_hidden_states if output_hidden_states is None else output_hidden_states)
        weigh = bool(self.config.output_attentions if output_attentions is None else output_attentions)
        read = self.encoder(input_values, output_hidden_states=keep, output_attentions=weigh, return_dict=True)
        tokens = self.pooler(read.last_hidden_state)
        return ECGModelOutput(
            last_hidden_state=tokens,
            pooler_output=tokens.mean(dim=1),
            hidden_states=read.hidden_states,
            attentions=read.attentions,
        )


class MELPForECGClassification(ECGClassificationMixin, MELPPreTrainedModel):
    """The MELP encoder with a classification head."""

    base_model_class = MELPModel
