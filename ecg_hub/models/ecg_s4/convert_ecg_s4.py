"""From a benchmark checkpoint of S4 to our names.

There are no published weights: this reads a Lightning checkpoint that the benchmark's own code wrote (entries under
"state_dict", each with the prefix `model.`), or the bare state dict. 54 entries are the encoder. The length that the
stored C belongs to is read off the frequencies `omega`, which are then dropped, as they follow from it; the benchmark's
code doubles it when it meets a longer input.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ecg_hub.hub.entries import Conversion, Entries
from ecg_hub.models.ecg_s4.configuration_ecg_s4 import ECGS4Config

_PREFIX = "model."


def convert(entries: Entries) -> Conversion:
    """Convert the state dict of a benchmark checkpoint.

    Args:
        entries: the checkpoint's entries; all are accounted for.

    Raises:
        CheckpointError: entries are missing, of the wrong shape or unknown.
    """
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in entries.names) else ""
    config = ECGS4Config(kernel_length=_kernel_length(entries, prefix))
    width, leads = config.hidden_size, len(config.lead_names)
    state = {
        "encoder.weight": entries.take(f"{prefix}encoder.weight", (width, leads, 1)).squeeze(-1),
        "encoder.bias": entries.take(f"{prefix}encoder.bias", (width,)),
    }
    for block in range(config.num_hidden_layers):
        state |= _block(entries, config, prefix, block)
    heads = {f"{prefix}decoder.weight", f"{prefix}decoder.bias"}
    entries.ignore(heads.__contains__, "head of the task that it was trained on")
    entries.close()
    note = f"S4 kernels belong to {config.kernel_length} tokens (from the shape of omega)"
    return Conversion(config, state, [note])


def _kernel_length(entries: Entries, prefix: str) -> int:
    shape = entries.shape(f"{prefix}s4_layers.0.kernel.kernel.omega")
    return 2 * (shape[0] - 1) if shape and shape[0] > 1 else ECGS4Config().kernel_length


def _block(entries: Entries, config: ECGS4Config, prefix: str, block: int) -> dict[str, Tensor]:
    width, pairs = config.hidden_size, config.state_size // 2
    source, layer = f"{prefix}s4_layers.{block}", f"blocks.{block}.layer"
    kernel = f"{source}.kernel.kernel"
    state = {
        f"{layer}.convolution.C": entries.take(f"{kernel}.C", (2, width, pairs, 2)),
        f"{layer}.convolution.D": entries.take(f"{source}.D", (1, width)).flatten(),
        f"{layer}.convolution.log_dt": entries.take(f"{kernel}.log_dt", (width,)),
        f"{layer}.convolution.w": entries.take(f"{kernel}.w", (width, pairs, 2)),
        f"{layer}.output.weight": entries.take(f"{source}.output_linear.0.weight", (2 * width, width)),
        f"{layer}.output.bias": entries.take(f"{source}.output_linear.0.bias", (2 * width, 1)).flatten(),
    }
    for name in ("B", "P", "Q"):
        state[f"{layer}.convolution.{name}"] = entries.take(f"{kernel}.{name}", (1, width, pairs, 2)).squeeze(0)
    for name in ("weight", "bias"):
        state[f"blocks.{block}.norm.{name}"] = entries.take(f"{prefix}norms.{block}.{name}", (width,))
    _check_frequencies(entries, kernel, config.kernel_length)
    return state


def _check_frequencies(entries: Entries, kernel: str, length: int) -> None:
    """Tick off omega and z, and check that they are the roots of unity of the length."""
    shape = (length // 2 + 1, 2)
    omega, _ = entries.take(f"{kernel}.omega", shape), entries.take(f"{kernel}.z", shape)
    if omega.shape == shape:
        angle = -2 * math.pi / length * torch.arange(shape[0], dtype=torch.float64)
        expected = torch.stack([angle.cos(), angle.sin()], dim=-1)
        if not torch.allclose(omega.double(), expected, atol=1e-3):
            entries.fault(f"unexpected values: {kernel}.omega is not exp(-2 pi i k / {length})")
