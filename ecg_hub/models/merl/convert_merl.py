"""From the published MERL checkpoint to our names.

Source: the authors' Google Drive folder. `res18_best_encoder.pth` is the state dict of the encoder itself, 120 entries
and the unused layer `linear`. The file of the whole model (`res18_best_ckpt.pth`) has the same entries under the prefix
`ecg_encoder.` beside the report side of the pre-training, which is left out. Both are accepted.
"""

from __future__ import annotations

from torch import Tensor

from ecg_hub.models.merl.configuration_merl import MERLConfig
from ecg_hub.weights.state_dict import Conversion, StateDictMapper

_WHOLE = "ecg_encoder."
_STATISTICS = ("weight", "bias", "running_mean", "running_var")


def convert(entries: StateDictMapper, config: MERLConfig | None = None) -> Conversion:
    """Convert a published state dict; raises CheckpointError unless every entry is accounted for."""
    config = config or MERLConfig()
    prefix = _WHOLE if any(name.startswith(_WHOLE) for name in entries.names) else ""
    width = config.stage_widths[0]
    shape = (width, len(config.lead_names), config.conv_kernel_size)
    state = _conv_norm(entries, f"{prefix}conv1", f"{prefix}bn1", "stem", shape)
    for stage, blocks in enumerate(config.stage_depths):
        for block in range(blocks):
            out = config.stage_widths[stage]
            source = f"{prefix}layer{stage + 1}.{block}"
            state |= _block(entries, source, f"stages.{stage}.{block}", width, out)
            width = out
    # By name, before the rule for everything else: in the encoder's own file there is no such rule.
    entries.ignore(lambda name: name.startswith(f"{prefix}linear."), "a layer that nothing uses")
    if prefix:
        entries.ignore(lambda name: not name.startswith(prefix), "outside the encoder: only the pre-training used it")
    entries.close()
    notes = [f"the file of the whole model: the encoder is what begins with {prefix!r}"] if prefix else []
    return Conversion(config, state, notes)


def _block(entries: StateDictMapper, source: str, target: str, width: int, out: int) -> dict[str, Tensor]:
    state = _conv_norm(entries, f"{source}.conv1", f"{source}.bn1", f"{target}.conv1", (out, width, 3))
    state |= _conv_norm(entries, f"{source}.conv2", f"{source}.bn2", f"{target}.conv2", (out, out, 3))
    if width != out:
        names = (f"{source}.shortcut.0", f"{source}.shortcut.1", f"{target}.shortcut")
        state |= _conv_norm(entries, *names, (out, width, 1))
    return state


def _conv_norm(
    entries: StateDictMapper, conv: str, norm: str, target: str, shape: tuple[int, int, int]
) -> dict[str, Tensor]:
    """Take a convolution and its batch norm."""
    state = {f"{target}.conv.weight": entries.take(f"{conv}.weight", shape)}
    for name in _STATISTICS:
        state[f"{target}.norm.{name}"] = entries.take(f"{norm}.{name}", shape[:1])
    state[f"{target}.norm.num_batches_tracked"] = entries.take(f"{norm}.num_batches_tracked", ())
    return state
