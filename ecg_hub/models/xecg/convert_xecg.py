"""From the published xECG checkpoint to our names.

Source: `model.safetensors` of huggingface.co/riccardolunelli/xECG_base_model_v1, 123 entries, of which `mask_token` is
of the pre-training alone. The sLSTM tensors of the file are in the layout of xlstm's CUDA kernel, which is ours as
well: kernels (head, in, gate * size + out), biases by head, gate and unit. (A file saved by xlstm without a GPU has
kernels of another shape and is refused.) The names `igate` and `fgate` of an sLSTM are exchanged in the published code;
here each has the name of what it does.
"""

from __future__ import annotations

from torch import Tensor

from ecg_hub.models.xecg.configuration_xecg import XECGConfig
from ecg_hub.weights.state_dict import Conversion, StateDictMapper

_GATES = {"fgate": "input_gate", "igate": "forget_gate", "zgate": "cell_gate", "ogate": "output_gate"}
"""Module of an sLSTM in the file -> the gate that it feeds."""


def convert(entries: StateDictMapper, config: XECGConfig | None = None) -> Conversion:
    """Convert a published state dict; raises CheckpointError unless every entry is accounted for."""
    config = config or XECGConfig()
    width = config.hidden_size
    shape = (width, len(config.lead_names), config.patch_size)
    state = {"patch_embedding.weight": entries.take("patch_embedding.conv.weight", shape)}
    for index, kind in enumerate(config.block_types):
        source, target = f"core.model.blocks.{index}", f"blocks.{index}"
        state[f"{target}.norm.weight"] = entries.take(f"{source}.xlstm_norm.weight", (width,))
        mixer = _scalar if kind == "s" else _matrix
        state |= mixer(entries, f"{source}.xlstm", f"{target}.mixer", config)
        if kind == "s":
            state |= _feed_forward(entries, source, target, config)
    entries.ignore(lambda name: name == "mask_token", "stands for masked patches in the pre-training")
    entries.close()
    return Conversion(config, state, [])


def _scalar(entries: StateDictMapper, source: str, target: str, config: XECGConfig) -> dict[str, Tensor]:
    width, heads = config.hidden_size, config.num_heads
    size = width // heads
    state = _convolution(entries, source, target, width, config.conv_kernel_size)
    for name, gate in _GATES.items():
        state[f"{target}.{gate}.weight"] = entries.take(f"{source}.{name}.weight", (heads, size, size))
    cell = f"{source}.slstm_cell"
    state[f"{target}.recurrent_kernel"] = entries.take(f"{cell}._recurrent_kernel_", (heads, size, 4 * size))
    state[f"{target}.recurrent_bias"] = entries.take(f"{cell}._bias_", (4 * width,))
    state[f"{target}.head_norm.weight"] = entries.take(f"{source}.group_norm.weight", (width,))
    return state


def _matrix(entries: StateDictMapper, source: str, target: str, config: XECGConfig) -> dict[str, Tensor]:
    width, inner, heads = config.hidden_size, config.expansion * config.hidden_size, config.num_heads
    state = _convolution(entries, source, target, inner, config.conv_kernel_size)
    part = config.projection_block_size
    for name, map_name in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
        state[f"{target}.{map_name}.weight"] = entries.take(f"{source}.{name}.weight", (inner // part, part, part))
    for name, gate in (("igate", "input_gate"), ("fgate", "forget_gate")):
        cell = f"{source}.mlstm_cell.{name}"
        state[f"{target}.{gate}.weight"] = entries.take(f"{cell}.weight", (heads, 3 * inner))
        state[f"{target}.{gate}.bias"] = entries.take(f"{cell}.bias", (heads,))
    state[f"{target}.head_norm.weight"] = entries.take(f"{source}.mlstm_cell.outnorm.weight", (inner,))
    state[f"{target}.skip"] = entries.take(f"{source}.learnable_skip", (inner,))
    state[f"{target}.up.weight"] = entries.take(f"{source}.proj_up.weight", (2 * inner, width))
    state[f"{target}.down.weight"] = entries.take(f"{source}.proj_down.weight", (width, inner))
    return state


def _convolution(entries: StateDictMapper, source: str, target: str, width: int, taps: int) -> dict[str, Tensor]:
    conv = f"{source}.conv1d.conv"
    return {
        f"{target}.conv.weight": entries.take(f"{conv}.weight", (width, 1, taps)),
        f"{target}.conv.bias": entries.take(f"{conv}.bias", (width,)),
    }


def _feed_forward(entries: StateDictMapper, source: str, target: str, config: XECGConfig) -> dict[str, Tensor]:
    width, inner = config.hidden_size, config.intermediate_size
    return {
        f"{target}.feed_forward_norm.weight": entries.take(f"{source}.ffn_norm.weight", (width,)),
        f"{target}.feed_forward.up.weight": entries.take(f"{source}.ffn.proj_up.weight", (2 * inner, width)),
        f"{target}.feed_forward.down.weight": entries.take(f"{source}.ffn.proj_down.weight", (width, inner)),
    }
