"""An S4 block as the published checkpoints of ECG-CPC and of the supervised S4 store it, in our names."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ecg_hub.hub.entries import Entries


def take_s4_block(
    entries: Entries, prefix: str, target: str, block: int, *, width: int, state_size: int, channels: int, length: int
) -> dict[str, Tensor]:
    """Take the entries of one block: S4 layer and the norm behind it.

    Args:
        entries: the published entries.
        prefix: what stands before `s4_layers` and `norms` in the published names.
        target: name of the block in our model.
        block: its number.
        width: number of features.
        state_size: states per feature; half of them are stored.
        channels: 1 for a causal layer, 2 for one of both directions.
        length: the length in tokens that the stored C belongs to.

    Returns:
        The block's part of the state dict.
    """
    pairs = state_size // 2
    source, layer = f"{prefix}s4_layers.{block}", f"{target}.layer"
    kernel = f"{source}.kernel.kernel"
    state = {
        f"{layer}.convolution.C": entries.take(f"{kernel}.C", (channels, width, pairs, 2)),
        f"{layer}.convolution.D": entries.take(f"{source}.D", (1, width)).flatten(),
        f"{layer}.convolution.log_dt": entries.take(f"{kernel}.log_dt", (width,)),
        f"{layer}.convolution.w": entries.take(f"{kernel}.w", (width, pairs, 2)),
        f"{layer}.output.weight": entries.take(f"{source}.output_linear.0.weight", (2 * width, width)),
        f"{layer}.output.bias": entries.take(f"{source}.output_linear.0.bias", (2 * width, 1)).flatten(),
    }
    for name in ("B", "P", "Q"):
        state[f"{layer}.convolution.{name}"] = entries.take(f"{kernel}.{name}", (1, width, pairs, 2)).squeeze(0)
    for name in ("weight", "bias"):
        state[f"{target}.norm.{name}"] = entries.take(f"{prefix}norms.{block}.{name}", (width,))
    _check_frequencies(entries, kernel, length)
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
