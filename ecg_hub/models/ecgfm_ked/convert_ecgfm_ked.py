"""From the published ECGFM-KED checkpoint to our names.

Source: Zenodo 14881564, `best_valid_all_increase_with_augment_epoch_3.pt`. The authors save the encoder's state dict
under "ecg_model", beside the query network ("model"), the text encoder and the optimiser. The benchmark's wrapper
expects the entries at the top, with or without the prefix `ecg_model.`. All three layouts are accepted, and every entry
is accounted for. The main path of a block is listed twice, as `G.b.convs.*` and `G.b.convpath.0.*`: both must be equal.
The xresnet1d101 of the PTB-XL benchmark (fastai, under "model") has the same names and a head of its own behind them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ecg_hub.models.ecgfm_ked.configuration_ecgfm_ked import ECGFMKEDConfig
from ecg_hub.weights.state_dict import Conversion, StateDictMapper

_FLAT = "ecg_model."
_OTHERS = ("model.", "text_encoder.")
_STATISTICS = ("weight", "bias", "running_mean", "running_var")
_FIRST_STAGE = 4  # published names are places in a sequence: three convolutions, the pool, then the stages


def convert(entries: StateDictMapper, config: ECGFMKEDConfig | None = None) -> Conversion:
    """Convert a published state dict; raises CheckpointError unless all is accounted for and copies agree."""
    config = config or ECGFMKEDConfig()
    prefix = _FLAT if any(name.startswith(_FLAT) for name in entries.names) else ""
    state = _stem(entries, config, prefix)
    channels = config.stem_widths[-1]
    for stage, blocks in enumerate(config.stage_depths):
        for block in range(blocks):
            source, target = f"{prefix}{_FIRST_STAGE + stage}.{block}", f"stages.{stage}.{block}"
            width = config.stage_widths[stage]
            state |= _main_path(entries, config, source, target, channels, width)
            # The pool of a strided shortcut has index 0 and no parameters.
            pooled = int(block == 0 and stage > 0)
            if channels != width * config.expansion:
                shape = (width * config.expansion, channels, 1)
                state |= _conv_norm(entries, f"{source}.idpath.{pooled}", f"{target}.shortcut.conv", shape)
            channels = width * config.expansion
    entries.set_head_aside(f"{prefix}{_FIRST_STAGE + len(config.stage_depths)}.")
    if prefix:
        entries.ignore(lambda name: name.startswith(_OTHERS), "outside the encoder: only the pre-training used it")
    entries.close()
    return Conversion(config, state, [f"the flat layout with the prefix {prefix!r}"] if prefix else [])


def _stem(entries: StateDictMapper, config: ECGFMKEDConfig, prefix: str) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    channels = len(config.lead_names)
    for layer, width in enumerate(config.stem_widths):
        shape = (width, channels, config.conv_kernel_size)
        state |= _conv_norm(entries, f"{prefix}{layer}", f"stem.layers.{layer}", shape)
        channels = width
    return state


def _main_path(
    entries: StateDictMapper, config: ECGFMKEDConfig, source: str, target: str, channels: int, width: int
) -> dict[str, Tensor]:
    shapes = ((width, channels, 1), (width, width, config.conv_kernel_size), (width * config.expansion, width, 1))
    state: dict[str, Tensor] = {}
    for index, shape in enumerate(shapes):
        first = _conv_norm(entries, f"{source}.convs.{index}", f"{target}.conv{index + 1}", shape)
        second = _conv_norm(entries, f"{source}.convpath.0.{index}", f"{target}.conv{index + 1}", shape)
        for name, tensor in first.items():
            # PyTorch would load `convs` first and `convpath` over it, so copies that differ mean a damaged file.
            if tensor.shape == second[name].shape and not torch.equal(tensor, second[name]):
                leaf = name.removeprefix(f"{target}.conv{index + 1}.")
                entries.fault(f"two values: {source}.convs.{index} and {source}.convpath.0.{index} differ in {leaf}")
        state |= first
    return state


def _conv_norm(entries: StateDictMapper, source: str, target: str, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """Take a convolution and its batch norm."""
    state = {f"{target}.conv.weight": entries.take(f"{source}.0.weight", shape)}
    for name in _STATISTICS:
        state[f"{target}.norm.{name}"] = entries.take(f"{source}.1.{name}", shape[:1])
    state[f"{target}.norm.num_batches_tracked"] = entries.take(f"{source}.1.num_batches_tracked", ())
    return state
