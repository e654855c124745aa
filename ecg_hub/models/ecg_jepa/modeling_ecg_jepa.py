"""ECG-JEPA: a transformer whose tokens attend to their own lead and to their own time (cross-pattern attention).

Paper: Kim, "Learning General Representation of 12-Lead Electrocardiogram with a Joint-Embedding Predictive
Architecture", arXiv 2410.08559. Authors' code: sehunfromdaegu/ECG_JEPA at d937ad2 (MIT); the benchmark's copy:
AI4HealthUOL/ecg-fm-benchmarking at 6367295 (`ECGJEPAWrapper`). Weights: `multiblock_epoch100.pth`, linked from the
authors' repository, without a licence of their own. Written from a description of the network, not from its code. What
differs: attention reads only the 57 of 400 keys that the pattern allows instead of masking all the others (the same
result), windows shorter than 10 s work, and stochastic depth can be switched on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.kernels import Linear
from ecg_hub.modeling.layers import DropPath, FeedForward
from ecg_hub.modeling.modeling_utils import ECGClassificationMixin, ECGModelOutput, ECGPreTrainedModel
from ecg_hub.models.ecg_jepa.configuration_ecg_jepa import ECGJEPAConfig

# On the CPU, activations of more windows leave the allocator's arenas, and every operation pays for fresh pages.
_CPU_SLICE = 4


class ECGJEPALinear(Linear):
    """Linear map that knows the standard deviation of its matrix in a model that starts from scratch."""

    # transformers initialises one module at a time and does not say where in the model it stands.

    def __init__(self, inputs: int, outputs: int, deviation: float, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.deviation = deviation

    def initialize(self) -> None:
        """Normal matrix, bias 0."""
        # Cut at plus and minus 2 (not at 2 deviations), as published: in effect never.
        init.trunc_normal_(self.weight, std=self.deviation)
        if self.bias is not None:
            init.zeros_(self.bias)


class ECGJEPAAttention(nn.Module):
    """Self-attention of each token to the tokens of its lead and to those of its time in the other leads."""

    def __init__(self, config: ECGJEPAConfig, index: int) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        width = config.hidden_size
        # Without bias, unlike ST-MEM and ViT.
        self.qkv = ECGJEPALinear(width, 3 * width, config.initializer_range, bias=False)
        self.output = ECGJEPALinear(width, width, residual_deviation(config, index))

    def forward(self, x: Tensor, want_weights: bool) -> tuple[Tensor, Tensor | None]:
        """Map (batch, leads, patches, dim) to the same shape, with weights (batch, heads, tokens, tokens) if wanted."""
        # One matrix for queries, keys and values, in this order; within each, a head is a run of consecutive rows.
        batch, leads, patches, width = x.shape
        qkv = self.qkv(x).view(batch, leads, patches, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(3, 0, 4, 1, 2, 5)
        weights = None
        # Only the plain way has the weights of all pairs, tokens lead by lead.
        if want_weights or self.config._attn_implementation == "eager":
            y, weights = masked_attention(query, key, value)
        elif self.config.structured_attention:
            y = cross_pattern_attention(query, key, value)
        else:
            mask = cross_pattern_mask(leads, patches, x.device)
            q, k, v = (tensor.flatten(2, 3) for tensor in (query, key, value))
            y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).view(query.shape)
        return self.output(y.permute(0, 2, 3, 1, 4).flatten(3)), weights if want_weights else None


class ECGJEPALayer(GradientCheckpointingLayer):
    """Pre-norm transformer block; the positions are added to its input."""

    def __init__(self, config: ECGJEPAConfig, index: int) -> None:
        super().__init__()
        width, hidden, eps = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = ECGJEPAAttention(config, index)
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        self.mlp = FeedForward(
            ECGJEPALinear(width, hidden, config.initializer_range),
            nn.GELU(),  # the exact one; the tanh approximation moves the features by 3e-4
            ECGJEPALinear(hidden, width, residual_deviation(config, index)),
        )
        self.drop_path = DropPath.for_block(config, index, config.num_hidden_layers)

    def forward(self, x: Tensor, want_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """Map (batch, leads, patches, dim) to the same shape, and the attention weights if wanted."""
        y, weights = self.attention(self.attention_norm(x), want_weights)
        x = x + self.drop_path(y)
        return x + self.drop_path(self.mlp(self.mlp_norm(x))), weights


class ECGJEPAPreTrainedModel(ECGPreTrainedModel):
    """Base of the ECG-JEPA models."""

    config: ECGJEPAConfig
    config_class = ECGJEPAConfig
    base_model_prefix = "ecg_jepa"
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # The model itself comes by as well, since it holds the position table.
        if isinstance(module, ECGJEPAModel | ECGJEPALinear):
            module.initialize()
        else:
            super()._init_weights(module)


class ECGJEPAModel(ECGJEPAPreTrainedModel):
    """The ECG-JEPA encoder.

    Example:
        >>> from ecg_hub import AutoModel
        >>> model = AutoModel.from_pretrained("random:ecg-jepa-tiny")  # "ecg-jepa" is published, of width 768
        >>> with torch.no_grad():
        ...     output = model(torch.zeros(1, 8, 2500))  # 10 s at 250 Hz of I, II, V1 to V6
        >>> output.last_hidden_state.shape, output.pooler_output.shape  # 50 tokens per lead, lead by lead
        (torch.Size([1, 400, 32]), torch.Size([1, 32]))
        >>> model(torch.zeros(1, 12, 2500))
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: ECGJEPAModel takes float input_values (batch, leads = 8, samples) in mV in the ...
    """

    position_embedding: Tensor

    def __init__(self, config: ECGJEPAConfig) -> None:
        super().__init__(config)
        leads, width = len(config.lead_names), config.hidden_size
        self.patch_embedding = ECGJEPALinear(config.patch_size, width, config.initializer_range)
        # Persistent: a buffer that the checkpoint lacks comes back from transformers as whatever its memory held.
        self.register_buffer("position_embedding", torch.empty(leads, config.max_patches, width))
        self.layers = nn.ModuleList(ECGJEPALayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.post_init()

    @can_return_tuple
    def forward(
        self, input_values: Tensor, output_hidden_states: bool | None = None, output_attentions: bool | None = None
    ) -> ECGModelOutput:
        """Encode windows.

        Args:
            input_values: (batch, 8 leads I, II, V1-V6, samples), float, millivolt, 250 Hz; 2500 samples are what the
                benchmark feeds, any multiple of 50 up to that works. NaN is passed on.
            output_hidden_states: return the input of the first block and the output of each block, before the last
                norm.
            output_attentions: return the weights of each block, (batch, heads, tokens, tokens).

        Returns:
            `last_hidden_state` (batch, tokens = 8 leads x samples / 50, 768), lead by lead, after the last norm;
            `pooler_output` (batch, 768), its mean over tokens.

        Raises:
            InputError: wrong type, number of dimensions, leads or samples.
        """
        self.check_input(input_values)
        keep = bool(self.config.output_hidden_states if output_hidden_states is None else output_hidden_states)
        weigh = bool(self.config.output_attentions if output_attentions is None else output_attentions)
        parts = [self._stages(part, keep, weigh) for part in self._slices(input_values)]
        outputs = parts[0] if len(parts) == 1 else tuple(torch.cat(stage) for stage in zip(*parts, strict=True))
        split = len(outputs) - (len(self.layers) if weigh else 0)
        *states, tokens = outputs[:split]
        return ECGModelOutput(
            last_hidden_state=tokens,
            pooler_output=tokens.mean(dim=1),
            hidden_states=tuple(states) if keep else None,
            attentions=outputs[split:] if weigh else None,
        )

    def _slices(self, input_values: Tensor) -> tuple[Tensor, ...]:
        if self.training or torch.is_grad_enabled() or input_values.device.type != "cpu":
            return (input_values,)
        # Fewer windows than `run_in_slices` takes: 400 tokens of width 768 are large activations.
        return torch.split(input_values, _CPU_SLICE)

    def _stages(self, input_values: Tensor, keep: bool, weigh: bool) -> tuple[Tensor, ...]:
        """Return the hidden states if kept, the normed tokens, then the weights of each block if wanted."""
        batch, leads, _ = input_values.shape
        patches = input_values.reshape(batch, leads, -1, self.config.patch_size)
        x = self.patch_embedding(patches.to(self.patch_embedding.weight.dtype))
        position = self.position_embedding[:, : x.shape[2]]
        states, weights = [x + position] if keep else [], []
        for layer in self.layers:
            # The published model adds the positions before every block; adding them once is off by 2.5.
            x, weight = layer(x + position, weigh)
            states += [x] if keep else []
            weights += [weight] if weight is not None else []
        tokens = self.norm(x)
        return (*(tensor.flatten(1, 2) for tensor in (*states, tokens)), *weights)

    def initialize(self) -> None:
        """Sine and cosine positions of time and lead."""
        leads, patches, width = self.position_embedding.shape
        init.copy_(self.position_embedding, time_and_lead_positions(leads, patches, width).to(self.position_embedding))


class ECGJEPAForECGClassification(ECGClassificationMixin, ECGJEPAPreTrainedModel):
    """The ECG-JEPA encoder with a classification head."""

    base_model_class = ECGJEPAModel


def residual_deviation(config: ECGJEPAConfig, index: int) -> float:
    """Return the deviation for what a block adds to the residual stream: it falls with the depth, as published."""
    return config.initializer_range / math.sqrt(2 * (index + 1))


def cross_pattern_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend within each lead and, at each time, across leads, computing nothing else.

    A token's keys are the patches of its lead and the other leads at its time; both sets of scores go through one
    softmax, so this equals attention over all tokens with the others masked. For 8 leads of 50 patches that is 58
    scores per query (one of them, its own in the second set, is masked) instead of 400. All shapes are (batch, heads,
    leads, patches, head width).
    """
    leads, patches = query.shape[2:4]
    # By the width of a head, 48 (not the 64 of most transformers of this size). Scaling the queries scales both
    # products.
    query = query * query.shape[-1] ** -0.5
    along = query @ key.transpose(-1, -2)
    across = query.transpose(2, 3) @ key.permute(0, 1, 3, 4, 2)
    # A token is among the patches of its lead already; in the second set as well, it would count twice.
    itself = torch.eye(leads, dtype=torch.bool, device=query.device)
    across = across.masked_fill(itself, float("-inf")).transpose(2, 3)
    weights = torch.cat([along, across], dim=-1).softmax(dim=-1)
    from_lead = weights[..., :patches] @ value
    from_time = weights[..., patches:].transpose(2, 3) @ value.transpose(2, 3)
    return from_lead + from_time.transpose(2, 3)


def masked_attention(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Attend by computing all scores and masking; shapes as above, weights (batch, heads, tokens, tokens)."""
    # The reference for the two fast ways. No row is masked as a whole, since every token may see itself.
    leads, patches = query.shape[2:4]
    scores = query.flatten(2, 3) @ key.flatten(2, 3).transpose(-1, -2) * query.shape[-1] ** -0.5
    scores = scores.masked_fill(~cross_pattern_mask(leads, patches, query.device), float("-inf"))
    weights = scores.softmax(dim=-1)
    return (weights @ value.flatten(2, 3)).view(query.shape), weights


def cross_pattern_mask(leads: int, patches: int, device: torch.device | None = None) -> Tensor:
    """Return which tokens may see each other, (tokens, tokens) bool: same lead or same time.

    Token i is patch i % patches of lead i // patches.
    """
    token = torch.arange(leads * patches, device=device)
    lead, time = token // patches, token % patches
    return (lead[:, None] == lead) | (time[:, None] == time)


def time_and_lead_positions(leads: int, patches: int, width: int) -> Tensor:
    """Return the published position table, (leads, patches, width), computed in float64, as float32."""
    # The first half of the columns encodes time, the second the lead (exchanged: off by 2.2); in each half all sines
    # come first, then all cosines, where other transformers interleave them.
    frequency = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4))

    def encode(count: int) -> Tensor:
        angle = torch.arange(count, dtype=torch.float64)[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    time = encode(patches)[None].expand(leads, -1, -1)
    lead = encode(leads)[:, None].expand(-1, patches, -1)
    return torch.cat([time, lead], dim=-1).float()
