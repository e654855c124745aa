"""The blocks of vision transformers as ST-MEM and MERL build them, after the widely copied `vit_pytorch`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from ecg_hub.modeling.kernels import Linear
from ecg_hub.modeling.layers import DropPath, FeedForward
from ecg_hub.modeling.modeling_utils import run_in_slices
from ecg_hub.weights.state_dict import StateDictMapper


class PreNormAttention(nn.Module):
    """Self-attention over all tokens; query, key and value from one map."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, want_weights: bool) -> tuple[Tensor, Tensor | None]:
        """Map (batch, tokens, dim) to the same shape, and weights (batch, heads, tokens, tokens) if wanted."""
        batch, tokens, width = x.shape
        # The map's rows are query, key and value one after the other, heads within each, as `to_qkv` of the published
        # code is cut. Another order has the same shapes and would load without an error.
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        weights = None
        # Fused attention hands out no weights: whoever asks for them gets the single steps, whatever the
        # implementation.
        if want_weights or self.config._attn_implementation == "eager":
            scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
            weights = scores.softmax(dim=-1)
            y = weights @ value
        else:
            y = functional.scaled_dot_product_attention(query, key, value)
        return self.output(y.transpose(1, 2).reshape(batch, tokens, width)), weights if want_weights else None


class PreNormLayer(GradientCheckpointingLayer):
    """A pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)), with exact GELU."""

    def __init__(self, config: Any, index: int) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = PreNormAttention(config)
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        self.mlp = FeedForward(
            Linear(width, config.intermediate_size), nn.GELU(), Linear(config.intermediate_size, width)
        )
        self.drop_path = DropPath.for_block(config, index, config.num_hidden_layers)

    def forward(self, x: Tensor, want_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """Map (batch, tokens, dim) to the same shape, and the attention weights if wanted."""
        y, weights = self.attention(self.attention_norm(x), want_weights)
        x = x + self.drop_path(y)
        return x + self.drop_path(self.mlp(self.mlp_norm(x))), weights


def run_layers(
    model: Any,
    embed: Callable[[Tensor], Tensor],
    input_values: Tensor,
    output_hidden_states: bool | None,
    output_attentions: bool | None,
) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
    """Run the layers of a model over embedded windows, in slices.

    Returns:
        The last tokens; those of each stage and the weights of each layer, None where neither call nor configuration
        asks for them.
    """
    config = model.config
    keep = bool(config.output_hidden_states if output_hidden_states is None else output_hidden_states)
    weigh = bool(config.output_attentions if output_attentions is None else output_attentions)
    outputs = run_in_slices(
        lambda x: _pre_norm_stages(model.layers, embed(x), keep, weigh), input_values, model.training
    )
    # One flat tuple, because slices of a batch are joined tensor by tensor: first the states, then a weight per layer.
    split = len(outputs) - (len(model.layers) if weigh else 0)
    states, weights = outputs[:split], outputs[split:]
    return states[-1], states if keep else None, weights if weigh else None


def _pre_norm_stages(layers: Iterable[Any], x: Tensor, keep: bool, weigh: bool) -> tuple[Tensor, ...]:
    """Return the tokens (of each stage, or the last one only), then the weights of each block if wanted."""
    states, weights = [x], []
    for layer in layers:
        x, weight = layer(x, weigh)
        states = [*states, x] if keep else [x]
        weights += [weight] if weight is not None else []
    return (*states, *weights)


def take_pre_norm_layer(
    entries: StateDictMapper, source: str, target: str, width: int, hidden: int
) -> dict[str, Tensor]:
    """Take the entries of one block under the published names."""
    state = take_norm(entries, f"{source}.attn.norm", f"{target}.attention_norm", width)
    state |= take_norm(entries, f"{source}.ff.norm", f"{target}.mlp_norm", width)
    for theirs, ours, outputs, inputs in (
        ("attn.fn.to_qkv", "attention.qkv", 3 * width, width),
        ("attn.fn.to_out.0", "attention.output", width, width),
        ("ff.fn.net.0", "mlp.0", hidden, width),
        # Theirs has a dropout between the activation and this map.
        ("ff.fn.net.3", "mlp.2", width, hidden),
    ):
        state[f"{target}.{ours}.weight"] = entries.take(f"{source}.{theirs}.weight", (outputs, inputs))
        state[f"{target}.{ours}.bias"] = entries.take(f"{source}.{theirs}.bias", (outputs,))
    return state


def take_norm(entries: StateDictMapper, source: str, target: str, width: int) -> dict[str, Tensor]:
    """Take weight and bias of a norm."""
    return {f"{target}.{name}": entries.take(f"{source}.{name}", (width,)) for name in ("weight", "bias")}
