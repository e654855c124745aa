"""From a benchmark checkpoint of Net1D to our names.

There are no published weights: this reads a Lightning checkpoint that the benchmark's own code wrote (entries under
"state_dict", each with the prefix `model.`), or the bare state dict. 202 entries are the encoder; 305 belong to batch
norms that the network registers and never uses, and the head is that of the task it was trained on. The files of CLEF
are Lightning checkpoints too, with the network under `backbone.` beside the heads of its contrast.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ecg_hub.models.net1d.configuration_net1d import Net1DConfig
from ecg_hub.weights.state_dict import Conversion, StateDictMapper

_PREFIXES = ("model.", "backbone.")
_STATISTICS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def convert(entries: StateDictMapper, config: Net1DConfig | None = None) -> Conversion:
    """Convert the state dict of a benchmark checkpoint; raises CheckpointError unless every entry is accounted for."""
    config = config or Net1DConfig()
    prefix = next((prefix for prefix in _PREFIXES if any(name.startswith(prefix) for name in entries.names)), "")
    state = backbone_state(entries, config, prefix)
    heads = (f"{prefix}dense.weight", f"{prefix}dense.bias")
    entries.set_head_aside(*heads, reason="head of the task that it was trained on")
    if prefix == "backbone.":
        entries.ignore(lambda name: not name.startswith(prefix), "outside the encoder: only the pre-training used it")
    entries.close()
    return Conversion(config, state)


def backbone_state(entries: StateDictMapper, config: Net1DConfig, prefix: str = "") -> dict[str, Tensor]:
    """Take the entries of the network, each after `prefix`, and leave out its unused batch norms."""
    stem = (config.stem_width, len(config.lead_names), config.kernel_size)
    state = _layer(entries, f"{prefix}first_conv.conv", "backbone.stem", stem)
    unused = set(_norm_entries(f"{prefix}first_bn"))
    width = config.stem_width
    for stage, (channels, depth) in enumerate(zip(config.stage_widths, config.stage_depths, strict=True)):
        for block in range(depth):
            source = f"{prefix}stage_list.{stage}.block_list.{block}"
            state |= _block(entries, config, source, f"backbone.stages.{stage}.{block}", width, channels)
            unused |= {name for norm in ("bn1", "bn2", "bn3") for name in _norm_entries(f"{source}.{norm}")}
            width = channels
    # Ignored by their full names, not taken: a file without them is whole, one with other norms is another network.
    entries.ignore(unused.__contains__, "batch norm that the network registers and never uses")
    return state


def _block(
    entries: StateDictMapper, config: Net1DConfig, source: str, target: str, channels_in: int, channels: int
) -> dict[str, Tensor]:
    narrow, inner = channels // config.squeeze_factor, config.inner_width(channels)
    return {
        **_layer(entries, f"{source}.conv1.conv", f"{target}.enter", (inner, channels_in, 1)),
        **_layer(entries, f"{source}.conv2.conv", f"{target}.mix", (inner, config.group_width, config.kernel_size)),
        **_layer(entries, f"{source}.conv3.conv", f"{target}.leave", (channels, inner, 1)),
        **_layer(entries, f"{source}.se_fc1", f"{target}.gate.squeeze", (narrow, channels)),
        **_layer(entries, f"{source}.se_fc2", f"{target}.gate.excite", (channels, narrow)),
    }


def _layer(entries: StateDictMapper, source: str, target: str, shape: tuple[int, ...]) -> dict[str, Tensor]:
    return {
        f"{target}.weight": entries.take(f"{source}.weight", shape),
        f"{target}.bias": entries.take(f"{source}.bias", shape[:1]),
    }


def _norm_entries(norm: str) -> Iterator[str]:
    return (f"{norm}.{name}" for name in _STATISTICS)
