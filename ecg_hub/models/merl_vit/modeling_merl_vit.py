"""MERL-ViT: the vision transformer that MERL's authors trained beside their ResNet.

Paper: "Zero-Shot ECG Classification with Multimodal Learning and Test-time Clinical Knowledge Enhancement", arXiv
2403.06659 (ICML 2024). Original code: cheliu-computation/MERL-ICML2024 at 38799b7 (MIT). Weights:
`vit_tiny_best_encoder.pth` in the authors' Google Drive folder, for which no licence is stated. Written from a
description of the network, not from its code. What differs: the report side of the pre-training is left out, and
attention may run fused. The benchmark has no row of it: its file offers this backbone, with layer groups that match no
parameter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.modeling_utils import ECGClassificationMixin, ECGModelOutput, ECGPreTrainedModel
from ecg_hub.modeling.vit import PreNormLayer, run_layers
from ecg_hub.models.merl_vit.configuration_merl_vit import MERLViTConfig


class MERLViTPreTrainedModel(ECGPreTrainedModel):
    """Base of the MERL-ViT models."""

    config: MERLViTConfig
    config_class = MERLViTConfig
    base_model_prefix = "merl_vit"
    _no_split_modules = ("PreNormLayer",)
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # The model comes by because it holds the positions itself.
        if isinstance(module, MERLViTModel):
            init.normal_(module.position_embedding)
        else:
            super()._init_weights(module)


class MERLViTModel(MERLViTPreTrainedModel):
    """The MERL-ViT encoder.

    Tokens and pooled vector differ in kind, as published: the tokens are the last block's output as it is, the pooled
    vector is their mean after the last layer norm.

    Example:
        >>> from ecg_hub import AutoModel
        >>> model = AutoModel.from_pretrained("random:merl-vit-tiny")  # "merl-vit" is the published one, of width 192
        >>> with torch.no_grad():
        ...     output = model(torch.zeros(1, 12, 5000))  # 10 s at 500 Hz
        >>> output.last_hidden_state.shape, output.pooler_output.shape  # a token for 0.1 s of all leads
        (torch.Size([1, 100, 32]), torch.Size([1, 32]))
    """

    def __init__(self, config: MERLViTConfig) -> None:
        super().__init__(config)
        leads, width, patch = len(config.lead_names), config.hidden_size, config.patch_size
        self.patch_embedding = nn.Conv1d(leads, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Parameter(torch.empty(config.max_patches, width))
        self.layers = nn.ModuleList(PreNormLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.post_init()

    @can_return_tuple
    def forward(
        self, input_values: Tensor, output_hidden_states: bool | None = None, output_attentions: bool | None = None
    ) -> ECGModelOutput:
        """Encode windows.

        Args:
            input_values: (batch, 12 leads, samples), float, 500 Hz, each record scaled to 0 .. 1 by its extremes in
                pre-training; 5,000 samples or any multiple of 50 below. NaN is passed on.
            output_hidden_states: return the embedded tokens and the output of each block.
            output_attentions: return the weights of each block, (batch, heads, tokens, tokens).

        Returns:
            `last_hidden_state` (batch, tokens = samples / 50, 192), without the last norm; `pooler_output` (batch,
            192), the last norm of their mean.

        Raises:
            InputError: wrong type, number of dimensions, leads or samples.
        """
        self.check_input(input_values)
        last, hidden_states, attentions = run_layers(
            self, self._embedded, input_values, output_hidden_states, output_attentions
        )
        return ECGModelOutput(
            last_hidden_state=last,
            # The mean first: normed tokens before it are off by 0.15.
            pooler_output=self.norm(last.mean(dim=1)),
            hidden_states=hidden_states,
            attentions=attentions,
        )

    def _embedded(self, input_values: Tensor) -> Tensor:
        tokens: Tensor = self.patch_embedding(input_values.to(self.patch_embedding.weight.dtype)).transpose(1, 2)
        # Tokens before features in memory: sums with the skip keep the order of the first operand.
        tokens = tokens.contiguous()
        return tokens + self.position_embedding[: tokens.shape[1]]


class MERLViTForECGClassification(ECGClassificationMixin, MERLViTPreTrainedModel):
    """The MERL-ViT encoder with a classification head."""

    base_model_class = MERLViTModel
