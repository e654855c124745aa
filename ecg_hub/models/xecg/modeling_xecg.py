"""xECG: sLSTM and mLSTM blocks (xLSTM) over patches of an ECG, each block reading the other way round.

Paper: "BenchECG and xECG: a benchmark and baseline for ECG foundation models", npj Digital Medicine 2026, arXiv
2509.10151; the blocks: "xLSTM: Extended Long Short-Term Memory", arXiv 2405.04517 (equations 8 to 27). Original
code: `xECG.py` of huggingface.co/riccardolunelli/xECG_base_model_v1 over the package `xlstm` 2.0.4 (Apache-2.0).
Weights: the same repository, MIT. Written from a description of the network, not from its code. What differs: one
layout of the sLSTM tensors, that of the published file (the published path without a GPU reads its biases in another
order, see the card); float32 everywhere (the published GPU kernel rounds states to bfloat16); masks are built for the
length at hand.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.generic import can_return_tuple

from ecg_hub.modeling.kernels import Linear
from ecg_hub.modeling.layers import DropPath
from ecg_hub.modeling.modeling_utils import ECGClassificationMixin, ECGModelOutput, ECGPreTrainedModel, run_in_slices
from ecg_hub.models.xecg.configuration_xecg import XECGConfig


class XECGNorm(nn.Module):
    """Layer norm over each of `heads` parts of the last dimension, without bias; the gain is 1 + `weight`."""

    def __init__(self, width: int, eps: float, heads: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.eps, self.heads = eps, heads

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same."""
        parts = x.reshape(*x.shape[:-1], self.heads, -1)
        normed = functional.layer_norm(parts, parts.shape[-1:], eps=self.eps).flatten(-2)
        return normed * (1 + self.weight)


class XECGCausalConv(nn.Conv1d):
    """A convolution over time, channel by channel, that sees this token and those before it; then SiLU."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__(width, width, kernel_size, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same."""
        # On the left alone: padding on both sides would show a token those that come after it.
        padded = functional.pad(x.transpose(1, 2), (self.kernel_size[0] - 1, 0))
        return functional.silu(super().forward(padded)).transpose(1, 2)


class XECGBlockDiagonal(nn.Module):
    """A linear map without bias that mixes only the features of one block; weight (blocks, out, in)."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(blocks, width // blocks, width // blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same."""
        parts = x.reshape(*x.shape[:-1], *self.weight.shape[::2])
        return torch.einsum("btki,koi->btko", parts, self.weight).flatten(-2)


class XECGLinear(Linear):
    """A linear layer without bias that begins normal with a deviation of its own."""

    def __init__(self, width_in: int, width_out: int, std: float) -> None:
        super().__init__(width_in, width_out, bias=False)
        self.std = std


def _wide(width: int) -> float:
    """Deviation at first of every map into a block; the width is that of the tokens, inside an mLSTM as well."""
    return (2 / (5 * width)) ** 0.5


def _narrow(config: XECGConfig) -> float:
    """Deviation at first of the maps out of a block: small, so that many blocks in a row keep their size."""
    return 2 / len(config.block_types) / config.hidden_size**0.5


class XECGSLSTM(nn.Module):
    """Scalar memory with exponential gates: every unit of a head sees the last output of the whole head.

    Gates in the order input, forget, cell, output: `recurrent_kernel` (head, in, gate * size + out), `recurrent_bias`
    (head * 4 * size + gate * size + unit).
    """

    def __init__(self, config: XECGConfig, index: int) -> None:
        super().__init__()
        width, heads = config.hidden_size, config.num_heads
        self.heads, self.size = heads, width // heads
        self.depth = index / max(1, len(config.block_types) - 1)
        self.conv = XECGCausalConv(width, config.conv_kernel_size)
        self.input_gate, self.forget_gate, self.cell_gate, self.output_gate = (
            XECGBlockDiagonal(width, heads) for _ in range(4)
        )
        self.recurrent_kernel = nn.Parameter(torch.empty(heads, self.size, 4 * self.size))
        self.recurrent_bias = nn.Parameter(torch.empty(4 * width))
        self.head_norm = XECGNorm(width, config.layer_norm_eps, heads)

    def initialize(self) -> None:
        """Set the recurrent kernel to 0 and the forget gates from open to shut over the units of a head."""
        init.zeros_(self.recurrent_kernel)
        bias = torch.zeros(self.heads, 4, self.size)
        # The deeper the block, the more of its units remember for long (xlstm's "powerlaw_blockdependent").
        bias[:, 1] = 5 - 12 * torch.linspace(0, 1, self.size) ** (0.3 + 1.3 * self.depth)
        init.copy_(self.recurrent_bias, bias.flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same."""
        smooth = self.conv(x)
        pre = (self.input_gate(smooth), self.forget_gate(smooth), self.cell_gate(x), self.output_gate(x))
        # (tokens, heads, batch, 4 * size): one product of a batch of heads per token, below.
        gates = torch.cat([part.reshape(*part.shape[:2], self.heads, self.size) for part in pre], dim=-1).permute(
            1, 2, 0, 3
        )
        gates = gates + self.recurrent_bias.view(self.heads, 1, 4 * self.size)
        return self.head_norm(self._recurrence(gates).permute(2, 0, 1, 3).flatten(-2))

    def _recurrence(self, gates: Tensor) -> Tensor:
        """Run over the tokens; returns the outputs (tokens, heads, batch, size)."""
        hidden = cell = count = level = gates.new_zeros(*gates.shape[1:3], self.size)
        outputs = []
        for step, given in enumerate(gates):
            i, f, z, o = torch.baddbmm(given, hidden, self.recurrent_kernel).chunk(4, dim=-1)
            decay = functional.logsigmoid(f) + level
            # The largest exponent so far is taken out of both gates, which are so at most 1; nothing is kept at first.
            level = i if step == 0 else torch.maximum(i, decay)
            entering, kept = torch.exp(i - level), torch.exp(decay - level)
            cell = kept * cell + entering * torch.tanh(z)
            count = kept * count + entering
            # Never by 0: of `entering` and `kept` one is 1 at every token.
            hidden = torch.sigmoid(o) * cell / count
            outputs.append(hidden)
        return torch.stack(outputs)


class XECGGate(Linear):
    """The input or the forget gate of a matrix memory: a number per head and token."""

    def __init__(self, width: int, heads: int, forget: bool) -> None:
        super().__init__(width, heads)
        self.forget = forget

    def initialize(self) -> None:
        """Begin with gates that do not look at the token; the forget gates nearly open, more so from head to head."""
        init.zeros_(self.weight)
        if self.forget:
            init.copy_(self.bias, torch.linspace(3, 6, self.out_features))
        else:
            init.normal_(self.bias, std=0.1)


class XECGMLSTM(nn.Module):
    """Matrix memory with exponential gates, in its parallel form: attention without softmax that decays with time."""

    def __init__(self, config: XECGConfig) -> None:
        super().__init__()
        width, heads = config.hidden_size, config.num_heads
        inner = config.expansion * width
        blocks = inner // config.projection_block_size
        self.heads = heads
        self.up = XECGLinear(width, 2 * inner, _wide(width))
        self.conv = XECGCausalConv(inner, config.conv_kernel_size)
        self.query, self.key, self.value = (XECGBlockDiagonal(inner, blocks) for _ in range(3))
        self.input_gate, self.forget_gate = (XECGGate(3 * inner, heads, forget) for forget in (False, True))
        self.head_norm = XECGNorm(inner, config.layer_norm_eps, heads)
        self.skip = nn.Parameter(torch.ones(inner))
        self.down = XECGLinear(inner, width, _narrow(config))

    def initialize(self) -> None:
        """Let the convolution through beside the memory."""
        init.ones_(self.skip)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same."""
        u, gate = self.up(x).chunk(2, dim=-1)
        smooth = self.conv(u)
        query, key, value = self.query(smooth), self.key(smooth), self.value(u)
        remembered = self.head_norm(self._remember(query, key, value))
        return self.down((remembered + self.skip * smooth) * functional.silu(gate))

    def _remember(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Read the memory at every token, (batch, tokens, inner)."""
        joined = torch.cat([query, key, value], dim=-1)
        entering, kept = (gate(joined).transpose(1, 2) for gate in (self.input_gate, self.forget_gate))
        query, key, value = (
            part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in (query, key, value)
        )
        decay = functional.logsigmoid(kept).cumsum(dim=-1)
        # What token s still weighs at token t: the input gate of s, and every forget gate after it.
        weight = decay[..., :, None] - decay[..., None, :] + entering[..., None, :]
        tokens = weight.shape[-1]
        past = torch.ones(tokens, tokens, dtype=torch.bool, device=weight.device).tril()
        weight = weight.masked_fill(~past, -torch.inf)
        level = weight.amax(dim=-1, keepdim=True)
        seen = (query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5 * torch.exp(weight - level)
        # exp(-level) is the 1 of the paper's max(|n q|, 1), as the level is taken out of the sums beside it.
        total = torch.maximum(seen.sum(dim=-1, keepdim=True).abs(), torch.exp(-level)) + 1e-6
        return (seen @ value / total).transpose(1, 2).flatten(-2)


class XECGFeedForward(nn.Module):
    """Gated by GELU: down(GELU(a) * b) with a, b the halves of up(x)."""

    def __init__(self, config: XECGConfig) -> None:
        super().__init__()
        self.up = XECGLinear(config.hidden_size, 2 * config.intermediate_size, _wide(config.hidden_size))
        self.down = XECGLinear(config.intermediate_size, config.hidden_size, _narrow(config))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same."""
        a, b = self.up(x).chunk(2, dim=-1)
        return self.down(functional.gelu(a) * b)


class XECGBlock(GradientCheckpointingLayer):
    """A norm and an sLSTM or mLSTM around a skip; behind an sLSTM a feed-forward part of the same form."""

    def __init__(self, config: XECGConfig, index: int) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        scalar = config.block_types[index] == "s"
        self.norm = XECGNorm(width, eps)
        self.mixer: nn.Module = XECGSLSTM(config, index) if scalar else XECGMLSTM(config)
        self.feed_forward_norm = XECGNorm(width, eps) if scalar else None
        self.feed_forward = XECGFeedForward(config) if scalar else None
        self.drop_path = DropPath.for_block(config, index, len(config.block_types))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same."""
        x = x + self.drop_path(self.mixer(self.norm(x)))
        if self.feed_forward is not None and self.feed_forward_norm is not None:
            x = x + self.drop_path(self.feed_forward(self.feed_forward_norm(x)))
        return x


class XECGPreTrainedModel(ECGPreTrainedModel):
    """Base of the xECG models."""

    config: XECGConfig
    config_class = XECGConfig
    base_model_prefix = "xecg"
    _no_split_modules = ("XECGBlock",)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, XECGNorm):
            init.zeros_(module.weight)
        elif isinstance(module, XECGBlockDiagonal):
            init.normal_(module.weight, std=_wide(self.config.hidden_size))
        elif isinstance(module, XECGLinear):
            init.normal_(module.weight, std=module.std)
        elif isinstance(module, XECGGate | XECGSLSTM | XECGMLSTM):
            module.initialize()
        else:
            super()._init_weights(module)


class XECGModel(XECGPreTrainedModel):
    """The xECG encoder.

    Example:
        >>> from ecg_hub import AutoModel
        >>> model = AutoModel.from_pretrained("random:xecg-tiny")  # "xecg" is the published one, of width 1,024
        >>> ecg = torch.randn(1, 12, 1000, generator=torch.Generator().manual_seed(0))  # 10 s at 100 Hz
        >>> with torch.no_grad():
        ...     output = model(ecg)
        >>> output.last_hidden_state.shape, output.pooler_output.shape  # a token for 0.25 s
        (torch.Size([1, 40, 32]), torch.Size([1, 32]))
        >>> ecg[:, :, 500:] = 0  # a patch whose first sample is exactly 0 in all leads is taken for padding
        >>> with torch.no_grad():
        ...     output = model(ecg)
        >>> torch.allclose(output.pooler_output, output.last_hidden_state[:, :20].mean(dim=1), atol=1e-6)
        True
    """

    def __init__(self, config: XECGConfig) -> None:
        super().__init__(config)
        self.patch_embedding = nn.Conv1d(
            len(config.lead_names), config.hidden_size, config.patch_size, stride=config.patch_size, bias=False
        )
        self.blocks = nn.ModuleList(XECGBlock(config, index) for index in range(len(config.block_types)))
        self.post_init()

    @can_return_tuple
    def forward(
        self, input_values: Tensor, output_hidden_states: bool | None = None, output_attentions: bool | None = None
    ) -> ECGModelOutput:
        """Encode windows.

        Args:
            input_values: (batch, 12 leads, samples), float, millivolt, 100 Hz; 1,000 samples are what the preset
                `benchmark` feeds, any multiple of 25 works. NaN is passed on. Absent leads are zeros.
            output_hidden_states: return the patch embedding and the output of each block, in the order of time.
            output_attentions: accepted for the common interface; there is no attention here.

        Returns:
            `last_hidden_state` (batch, tokens = samples / 25, 1024), `pooler_output` (batch, 1024), its mean over the
            patches that are not padding.

        Raises:
            InputError: wrong type, number of dimensions, leads or samples.
        """
        self.check_input(input_values)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        states = run_in_slices(lambda x: self._states(x, bool(wanted)), input_values, self.training)
        # As published: the first sample of a patch decides, whatever the other 24 are; the blocks do see the padding.
        present = (input_values[:, :, :: self.config.patch_size] != 0).any(dim=1, keepdim=True).to(states[-1].dtype)
        pooled = (present @ states[-1]).squeeze(1) / present.sum(dim=-1).clamp(min=1)
        return ECGModelOutput(
            last_hidden_state=states[-1], pooler_output=pooled, hidden_states=states if wanted else None
        )

    def _states(self, input_values: Tensor, keep: bool) -> tuple[Tensor, ...]:
        """Return the embedding and the output of each block, (batch, tokens, width), or the last one only."""
        x = self.patch_embedding(input_values.to(self.patch_embedding.weight.dtype)).transpose(1, 2).contiguous()
        states: tuple[Tensor, ...] = (x,)
        for index, block in enumerate(self.blocks):
            # Every second block reads the tokens backwards: all there is of two directions, states are not handed on.
            x = block(x.flip(1)).flip(1) if index % 2 else block(x)
            states = (*states, x) if keep else (x,)
        return states


class XECGForECGClassification(ECGClassificationMixin, XECGPreTrainedModel):
    """The xECG encoder with a classification head."""

    base_model_class = XECGModel
