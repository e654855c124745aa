"""ST-MEM: a vision transformer over patches of all leads, with separators and lead embeddings.

Paper: Na et al., "Guiding Masked Representation Learning to Capture Spatio-Temporal Relationship of Electrocardiogram",
ICLR 2024, arXiv 2402.09450. Authors' code: bakqui/ST-MEM at 69ec702; the benchmark's copy: AI4HealthUOL/
ecg-fm-benchmarking at 6367295 (`StMemWrapper`). Weights: `st_mem_vit_base_full.pth` of the authors, CC BY-NC 4.0 and a
notice of VUNO Inc. against redistribution. Written from a description of the network, not from its code. What differs:
the decoder of the pre-training is left out, the layer groups of fine-tuning hold the encoder (the published ones are
empty, so that its "fine-tuning" trained the head alone), stochastic depth can be switched on, and attention may run
fused.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.kernels import Linear
from ecg_hub.modeling.modeling_utils import ECGClassificationMixin, ECGModelOutput, ECGPreTrainedModel
from ecg_hub.modeling.vit import PreNormLayer, run_layers
from ecg_hub.models.st_mem.configuration_st_mem import STMEMConfig


class STMEMEmbeddings(nn.Module):
    """Cuts leads into patches and adds time positions, separators and lead embeddings."""

    position_embedding: Tensor

    def __init__(self, config: STMEMConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.patch_size = config.patch_size
        self.initializer_range = config.initializer_range
        # Centres and scales each patch of 0.3 s for itself, which takes most of the amplitude away. Of a quiet patch in
        # mV the variance is about as large as eps.
        self.patch_norm = nn.LayerNorm(config.patch_size, eps=eps)
        self.projection = Linear(config.patch_size, width)
        self.projection_norm = nn.LayerNorm(width, eps=eps)
        self.separator = nn.Parameter(torch.empty(width))
        self.lead_embedding = nn.Parameter(torch.empty(len(config.lead_names), width))
        # Row 0 belongs to the left separator, the last one to the right separator, row p + 1 to patch p.
        # Persistent, as transformers gives back no other buffer.
        self.register_buffer("position_embedding", torch.empty(config.max_patches + 2, width))

    def forward(self, input_values: Tensor) -> Tensor:
        """Map (batch, leads, samples) to (batch, leads * (patches + 2), dim), lead by lead."""
        batch, leads, samples = input_values.shape
        patches = samples // self.patch_size
        x = input_values.to(self.projection.weight.dtype).reshape(batch, leads, patches, self.patch_size)
        x = self.projection_norm(self.projection(self.patch_norm(x)))
        position = self.position_embedding
        # The first rows, not the table interpolated to the length, which is off by 1.9.
        x = x + position[1 : patches + 1]
        # The right separator stands at the last position, however few patches the window has. Both rows are zero in the
        # published formula, so that only a file could make a difference here.
        left, right = (
            (self.separator + position[row]).to(x.dtype).expand(batch, leads, 1, -1) for row in (0, len(position) - 1)
        )
        x = torch.cat([left, x, right], dim=2) + self.lead_embedding[:, None]
        return x.flatten(1, 2)

    def initialize(self) -> None:
        """Sine and cosine positions; lead and separator embeddings normal with a small deviation."""
        init.normal_(self.separator, std=self.initializer_range)
        init.normal_(self.lead_embedding, std=self.initializer_range)
        rows, width = self.position_embedding.shape
        init.copy_(self.position_embedding, time_positions(rows - 2, width).to(self.position_embedding))


class STMEMPreTrainedModel(ECGPreTrainedModel):
    """Base of the ST-MEM models."""

    config: STMEMConfig
    config_class = STMEMConfig
    base_model_prefix = "st_mem"
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # The embeddings hold tensors of their own; their layers come by one by one, as all others do.
        if isinstance(module, STMEMEmbeddings):
            module.initialize()
        else:
            super()._init_weights(module)


class STMEMModel(STMEMPreTrainedModel):
    """The ST-MEM encoder.

    Tokens and pooled vector differ in kind, as published: the tokens are the last block's output as it is, the pooled
    vector is their mean after the last layer norm.

    Example:
        >>> from ecg_hub import AutoModel
        >>> model = AutoModel.from_pretrained("random:st-mem-tiny")  # "st-mem" is the published one, of width 768
        >>> with torch.no_grad():
        ...     output = model(torch.randn(1, 12, 600, generator=torch.Generator().manual_seed(0)))  # 2.4 s at 250 Hz
        >>> output.last_hidden_state.shape, output.pooler_output.shape  # 8 tokens per lead, lead by lead
        (torch.Size([1, 96, 32]), torch.Size([1, 32]))
        >>> torch.allclose(output.pooler_output, output.last_hidden_state.mean(dim=1))  # the norm is in between
        False
        >>> torch.allclose(output.pooler_output, model.norm(output.last_hidden_state.mean(dim=1)))
        True
    """

    def __init__(self, config: STMEMConfig) -> None:
        super().__init__(config)
        self.embeddings = STMEMEmbeddings(config)
        self.layers = nn.ModuleList(PreNormLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @can_return_tuple
    def forward(
        self, input_values: Tensor, output_hidden_states: bool | None = None, output_attentions: bool | None = None
    ) -> ECGModelOutput:
        """Encode windows.

        Args:
            input_values: (batch, 12 leads, samples), float, millivolt, 250 Hz; 600 samples are what the benchmark
                feeds, any multiple of 75 up to 2250 works. NaN is passed on.
            output_hidden_states: return the embedded tokens and the output of each block, with the separators: two
                tokens more per lead, one at each end.
            output_attentions: return the weights of each block, (batch, heads, tokens, tokens), separators included.

        Returns:
            `last_hidden_state` (batch, tokens = 12 leads x samples / 75, 768), lead by lead, without separators and
            without the last norm; `pooler_output` (batch, 768), the last norm of their mean.

        Raises:
            InputError: wrong type, number of dimensions, leads or samples.
        """
        self.check_input(input_values)
        last, hidden_states, attentions = run_layers(
            self, self.embeddings, input_values, output_hidden_states, output_attentions
        )
        # The separators are not averaged. The norm comes after the mean: a mean of normed tokens is off by 0.5.
        tokens = self._without_separators(last)
        return ECGModelOutput(
            last_hidden_state=tokens,
            pooler_output=self.norm(tokens.mean(dim=1)),
            hidden_states=hidden_states,
            attentions=attentions,
        )

    def _without_separators(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        leads = len(self.config.lead_names)
        return x.view(batch, leads, tokens // leads, width)[:, :, 1:-1].flatten(1, 2)


class STMEMForECGClassification(ECGClassificationMixin, STMEMPreTrainedModel):
    """The ST-MEM encoder with a classification head."""

    base_model_class = STMEMModel


def time_positions(patches: int, width: int) -> Tensor:
    """Return the published position table, (patches + 2, width) float32.

    Row p + 1 is [sin(p w), cos(p w)] with w_j = 10000^(-2 j / width); the first and the last row are zero.
    """
    # In float32 throughout, as published, where ECG-JEPA's table is made in float64.
    frequency = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float32) / (width / 2))
    angle = torch.arange(patches, dtype=torch.float32)[:, None] * frequency
    return functional.pad(torch.cat([angle.sin(), angle.cos()], dim=1), (0, 0, 1, 1))
