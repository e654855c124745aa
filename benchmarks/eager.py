"""Every encoder once more in the plainest form: the same mathematics on the same weights, one operation after another.

What the models of the package do differently, and what these functions therefore do not: attention fused or structured
(here: all scores, softmax, weighted sum), batch norm folded into the convolution before it (here: two operations),
padding inside the convolution (here: `pad`, then an unpadded convolution), S4 kernels kept between passes (here: built
in every pass), large batches in slices (here: whole).

`features(model, x)` is the way in. `benchmarks/models.py` times the models against it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from s4_forward import straightforward
from torch import Tensor
from torch.nn import functional

Features = tuple[Tensor, Tensor]


def features(model: Any, x: Tensor) -> Features:
    """Return tokens (batch, tokens, dim) and the pooled vector (batch, dim) of an encoder in evaluation mode.

    Args:
        model: an encoder of the package; its weights are read.
        x: (batch, leads, samples).
    """
    return PLAIN[model.config.model_type](model, x)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Weighted sums (batch, heads, tokens, width); `mask` is True where a key may be seen."""
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return torch.softmax(scores, dim=-1) @ value


def heads(x: Tensor, count: int) -> Tensor:
    """Split (batch, tokens, dim) into (batch, heads, tokens, dim / heads)."""
    return x.view(*x.shape[:2], count, -1).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    """The opposite of `heads`."""
    return x.transpose(1, 2).flatten(2)


def padded_conv(layer: Any, x: Tensor, left: int, right: int) -> Tensor:
    """Zeros on both sides, then the convolution without padding of its own."""
    x = functional.pad(x, (left, right))
    return functional.conv1d(x, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)


def conv_norm(unit: Any, x: Tensor) -> Tensor:
    """Convolution, then batch norm with the running statistics."""
    conv, norm = unit.conv, unit.norm
    y = padded_conv(conv, x, *2 * conv.padding)
    return functional.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def identity_or(unit: Any, x: Tensor) -> Tensor:
    """What a shortcut does: a convolution with norm, or nothing."""
    return conv_norm(unit, x) if hasattr(unit, "conv") else x


def s4_stack(model: Any, x: Tensor) -> Features:
    """ECG-CPC and S4."""
    tokens = straightforward(model, x)
    return tokens, tokens.mean(dim=1)


def merl(model: Any, x: Tensor) -> Features:
    """ResNet-18."""
    x = functional.relu(conv_norm(model.stem, x))
    for stage in model.stages:
        for block in stage:
            branch = conv_norm(block.conv2, functional.relu(conv_norm(block.conv1, x)))
            x = functional.relu(identity_or(block.shortcut, x) + branch)
    tokens = x.transpose(1, 2)
    return tokens, tokens.mean(dim=1)


def ecgfm_ked(model: Any, x: Tensor) -> Features:
    """xresnet-101."""
    for layer in model.stem.layers:
        x = functional.relu(conv_norm(layer, x))
    x = functional.max_pool1d(x, 3, 2, 1)
    for stage in model.stages:
        for block in stage:
            h = functional.relu(conv_norm(block.conv1, x))
            h = conv_norm(block.conv3, functional.relu(conv_norm(block.conv2, h)))
            if hasattr(block.shortcut.pool, "kernel_size"):
                x = functional.avg_pool1d(x, 2, ceil_mode=True)
            x = functional.relu(h + identity_or(block.shortcut.conv, x))
    tokens = x.transpose(1, 2)
    return tokens, tokens.mean(dim=1)


def same_conv(layer: Any, x: Tensor) -> Tensor:
    """Convolution that gives ceil(samples / stride) samples: an odd zero lies on the right."""
    kernel, stride, samples = layer.kernel_size[0], layer.stride[0], x.shape[-1]
    zeros = max(0, (-(-samples // stride) - 1) * stride + kernel - samples)
    return padded_conv(layer, x, zeros // 2, zeros - zeros // 2)


def swish(x: Tensor) -> Tensor:
    """Multiply by the sigmoid."""
    return x * torch.sigmoid(x)


def net1d(model: Any, x: Tensor) -> Features:
    """Net1D and ECGFounder."""
    x = swish(same_conv(model.backbone.stem, x))
    for stage in model.backbone.stages:
        for block in stage:
            h = same_conv(block.enter, swish(x) if block.activate_input else x)
            h = same_conv(block.leave, swish(same_conv(block.mix, swish(h))))
            gate = block.gate.excite(swish(block.gate.squeeze(h.mean(dim=-1))))
            h = h * torch.sigmoid(gate)[:, :, None]
            if block.stride > 1:
                x = functional.max_pool1d(functional.pad(x, (0, -x.shape[-1] % 2)), 2)
            front = block.channels_added // 2
            x = h + functional.pad(x, (0, 0, front, block.channels_added - front))
    tokens = x.transpose(1, 2)
    return tokens, tokens.mean(dim=1)


def vit_block(layer: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Pre-norm transformer block on (batch, tokens, dim)."""
    query, key, value = layer.attention.qkv(layer.attention_norm(x)).chunk(3, dim=-1)
    count = layer.attention.num_heads
    y = attention(heads(query, count), heads(key, count), heads(value, count), mask)
    x = x + layer.attention.output(joined(y))
    out: Tensor = x + layer.mlp(layer.mlp_norm(x))
    return out


def st_mem(model: Any, x: Tensor) -> Features:
    """Vision transformer over the patches of all leads, with a separator at both ends of each lead."""
    part, leads = model.embeddings, x.shape[1]
    patches = x.view(len(x), leads, -1, part.patch_size)
    y = part.projection_norm(part.projection(part.patch_norm(patches)))
    y = y + part.position_embedding[1 : y.shape[2] + 1]
    left = (part.separator + part.position_embedding[0]).expand(len(x), leads, 1, -1)
    right = (part.separator + part.position_embedding[-1]).expand(len(x), leads, 1, -1)
    y = torch.cat([left, y, right], dim=2) + part.lead_embedding[:, None]
    y = y.flatten(1, 2)
    for layer in model.layers:
        y = vit_block(layer, y)
    tokens = y.view(len(y), leads, -1, y.shape[2])[:, :, 1:-1].flatten(1, 2)
    return tokens, model.norm(tokens.mean(dim=1))


def ecg_jepa(model: Any, x: Tensor) -> Features:
    """Vision transformer that computes all scores and masks those of another lead and time."""
    y = model.patch_embedding(x.view(*x.shape[:2], -1, model.config.patch_size))
    leads, times = y.shape[1:3]
    token = torch.arange(leads * times)
    lead, time = token // times, token % times
    mask = (lead[:, None] == lead) | (time[:, None] == time)
    position = model.position_embedding[:, :times].flatten(0, 1)
    y = y.flatten(1, 2)
    for layer in model.layers:
        y = vit_block(layer, y + position, mask)
    tokens = model.norm(y)
    return tokens, tokens.mean(dim=1)


def wav2vec2(model: Any, x: Tensor) -> Features:
    """HuBERT-ECG, over the leads laid end to end, and ECG-FM, over twelve channels."""
    if model.config.model_type == "hubert_ecg":
        x = x.flatten(1)[:, None]
    for layer in model.feature_extractor.conv_layers:
        x = functional.conv1d(x, layer.conv.weight, layer.conv.bias, layer.conv.stride)
        if hasattr(layer, "layer_norm"):
            x = layer.layer_norm(x)
        x = functional.gelu(x)
    project = model.feature_projection
    x = project.projection(project.layer_norm(x.transpose(1, 2)))
    x = model.encoder.layer_norm(x + positions(model.encoder.pos_conv_embed.conv, x))
    for layer in model.encoder.layers:
        part = layer.attention
        query, key, value = (heads(to(x), part.num_heads) for to in (part.q_proj, part.k_proj, part.v_proj))
        x = layer.layer_norm(x + part.out_proj(joined(attention(query, key, value))))
        hidden = functional.gelu(layer.feed_forward.intermediate_dense(x))
        x = layer.final_layer_norm(x + layer.feed_forward.output_dense(hidden))
    return x, x.mean(dim=1)


def positions(conv: Any, x: Tensor) -> Tensor:
    """The weight-normed positional convolution: direction v / |v| times scale g, the last of its outputs dropped."""
    scale, direction = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
    weight = scale * direction / direction.norm(dim=(0, 1), keepdim=True)
    y = functional.pad(x.transpose(1, 2), 2 * conv.padding)
    y = functional.conv1d(y, weight, conv.bias, groups=conv.groups)
    tokens: Tensor = functional.gelu(y[..., : x.shape[1]]).transpose(1, 2)
    return tokens


def merl_vit(model: Any, x: Tensor) -> Features:
    """Vision transformer over patches of all leads."""
    y = functional.conv1d(x, model.patch_embedding.weight, stride=model.config.patch_size).transpose(1, 2)
    y = y + model.position_embedding[: y.shape[1]]
    for layer in model.layers:
        y = vit_block(layer, y)
    return y, model.norm(y.mean(dim=1))


def melp(model: Any, x: Tensor) -> Features:
    """Learned queries that read the tokens of ECG-FM's encoder."""
    pooler, (tokens, _) = model.pooler, wav2vec2(model.encoder, x)
    reader, keys = pooler.attention, pooler.token_norm(tokens)
    bias_q, bias_k, bias_v = reader.in_proj_bias.chunk(3)
    query = pooler.query_norm(pooler.query).expand(len(x), -1, -1) @ reader.q_proj_weight.T + bias_q
    key, value = keys @ reader.k_proj_weight.T + bias_k, keys @ reader.v_proj_weight.T + bias_v
    read = attention(*(heads(part, reader.num_heads) for part in (query, key, value)))
    y = pooler.norm(reader.out_proj(joined(read)))
    return y, y.mean(dim=1)


def xecg(model: Any, x: Tensor) -> Features:
    """XLSTM blocks in their recurrent form, token by token; every second one backwards."""
    y = functional.conv1d(x, model.patch_embedding.weight, stride=model.config.patch_size).transpose(1, 2)
    for number, block in enumerate(model.blocks):
        y = y.flip(1) if number % 2 else y
        mixer, z = block.mixer, gain_norm(block.norm, y)
        if block.feed_forward is None:
            y = y + matrix_memory(mixer, z)
        else:
            y = y + scalar_memory(mixer, z)
            a, b = block.feed_forward.up(gain_norm(block.feed_forward_norm, y)).chunk(2, dim=-1)
            y = y + block.feed_forward.down(functional.gelu(a) * b)
        y = y.flip(1) if number % 2 else y
    present = (x[:, :, :: model.config.patch_size] != 0).any(dim=1)[..., None]
    return y, (y * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)


def gain_norm(norm: Any, x: Tensor) -> Tensor:
    """Norm of each head without bias, with a gain of 1 + weight."""
    parts = x.view(*x.shape[:-1], norm.heads, -1)
    centred = parts - parts.mean(dim=-1, keepdim=True)
    normed = centred / (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
    return normed.view(x.shape) * (1 + norm.weight)


def causal_conv(conv: Any, x: Tensor) -> Tensor:
    """SiLU of a convolution of each channel over this token and those before it."""
    y = functional.pad(x.transpose(1, 2), (conv.kernel_size[0] - 1, 0))
    return functional.silu(functional.conv1d(y, conv.weight, conv.bias, groups=conv.groups)).transpose(1, 2)


def block_map(layer: Any, x: Tensor) -> Tensor:
    """A block-diagonal map as one dense matrix."""
    return x @ torch.block_diag(*layer.weight).T


def scalar_memory(cell: Any, x: Tensor) -> Tensor:
    """SLSTM (arXiv 2405.04517, equations 8 to 18)."""
    smooth, shape = causal_conv(cell.conv, x), (len(x), cell.heads, cell.size)
    given = [block_map(cell.input_gate, smooth), block_map(cell.forget_gate, smooth)]
    given += [block_map(cell.cell_gate, x), block_map(cell.output_gate, x)]
    kernel = cell.recurrent_kernel.view(cell.heads, cell.size, 4, cell.size)
    bias = cell.recurrent_bias.view(cell.heads, 4, cell.size)
    hidden = memory = count = level = torch.zeros(shape)
    outputs = []
    for step in range(x.shape[1]):
        again = torch.einsum("bhi,higo->gbho", hidden, kernel) + bias.transpose(0, 1)[:, None]
        i, f, z, o = (part[:, step].view(shape) + more for part, more in zip(given, again, strict=True))
        decay = functional.logsigmoid(f) + level
        level = torch.maximum(i, decay) if step else i
        enter, keep = torch.exp(i - level), torch.exp(decay - level)
        memory, count = keep * memory + enter * torch.tanh(z), keep * count + enter
        hidden = torch.sigmoid(o) * memory / count
        outputs.append(hidden.flatten(1))
    return gain_norm(cell.head_norm, torch.stack(outputs, dim=1))


def matrix_memory(cell: Any, x: Tensor) -> Tensor:
    """MLSTM (arXiv 2405.04517, equations 19 to 27)."""
    u, gate = cell.up(x).chunk(2, dim=-1)
    smooth = causal_conv(cell.conv, u)
    query, key, value = block_map(cell.query, smooth), block_map(cell.key, smooth), block_map(cell.value, u)
    all_three = torch.cat([query, key, value], dim=-1)
    enter_gate, keep_gate = cell.input_gate(all_three), functional.logsigmoid(cell.forget_gate(all_three))
    q, k, v = (part.view(*part.shape[:2], cell.heads, -1) for part in (query, key, value))
    size = q.shape[-1]
    memory, count = torch.zeros(len(x), cell.heads, size, size), torch.zeros(len(x), cell.heads, size)
    level = torch.full((len(x), cell.heads), -torch.inf)
    outputs = []
    for step in range(x.shape[1]):
        new = torch.maximum(keep_gate[:, step] + level, enter_gate[:, step])
        keep, enter = torch.exp(keep_gate[:, step] + level - new), torch.exp(enter_gate[:, step] - new)
        scaled = enter[..., None] * k[:, step] / size**0.5
        memory = keep[..., None, None] * memory + v[:, step][..., None] * scaled[..., None, :]
        count, level = keep[..., None] * count + scaled, new
        below = torch.maximum((count * q[:, step]).sum(dim=-1).abs(), torch.exp(-level)) + 1e-6
        outputs.append((torch.einsum("bhoi,bhi->bho", memory, q[:, step]) / below[..., None]).flatten(1))
    remembered = gain_norm(cell.head_norm, torch.stack(outputs, dim=1))
    y: Tensor = cell.down((remembered + cell.skip * smooth) * functional.silu(gate))
    return y


PLAIN: dict[str, Callable[[Any, Tensor], Features]] = {
    "ecg_cpc": s4_stack,
    "ecg_fm": wav2vec2,
    "ecg_founder": net1d,
    "ecg_jepa": ecg_jepa,
    "ecg_s4": s4_stack,
    "ecgfm_ked": ecgfm_ked,
    "hubert_ecg": wav2vec2,
    "melp": melp,
    "merl": merl,
    "merl_vit": merl_vit,
    "net1d": net1d,
    "st_mem": st_mem,
    "xecg": xecg,
}
