"""From a benchmark checkpoint of S4 to our names.

There are no published weights: this reads a Lightning checkpoint that the benchmark's own code wrote (entries under
"state_dict", each with the prefix `model.`), or the bare state dict. 54 entries are the encoder. The length that the
stored C belongs to is read off the frequencies `omega`, which are then dropped, as they follow from it; the benchmark's
code doubles it when it meets a longer input.
"""

from __future__ import annotations

from ecg_hub.models.ecg_s4.configuration_ecg_s4 import ECGS4Config
from ecg_hub.weights.state_dict import Conversion, StateDictMapper, take_s4_block

_PREFIX = "model."


def convert(entries: StateDictMapper, config: ECGS4Config | None = None) -> Conversion:
    """Convert the state dict of a benchmark checkpoint; raises CheckpointError unless every entry is accounted for."""
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in entries.names) else ""
    config = config or ECGS4Config()
    config.kernel_length = _kernel_length(entries, prefix, config)
    width, leads = config.hidden_size, len(config.lead_names)
    state = {
        "encoder.weight": entries.take(f"{prefix}encoder.weight", (width, leads, 1)).squeeze(-1),
        "encoder.bias": entries.take(f"{prefix}encoder.bias", (width,)),
    }
    for block in range(config.num_hidden_layers):
        state |= take_s4_block(
            entries,
            prefix,
            f"blocks.{block}",
            block,
            width=config.hidden_size,
            state_size=config.state_size,
            channels=2,
            length=config.kernel_length,
        )
    heads = {f"{prefix}decoder.weight", f"{prefix}decoder.bias"}
    entries.ignore(heads.__contains__, "head of the task that it was trained on")
    entries.close()
    note = f"S4 kernels belong to {config.kernel_length} tokens (from the shape of omega)"
    return Conversion(config, state, [note])


def _kernel_length(entries: StateDictMapper, prefix: str, config: ECGS4Config) -> int:
    # L0 / 2 + 1 frequencies; the C of a file whose length was doubled belongs to the doubled one.
    shape = entries.shape(f"{prefix}s4_layers.0.kernel.kernel.omega")
    return 2 * (shape[0] - 1) if shape and shape[0] > 1 else config.kernel_length
