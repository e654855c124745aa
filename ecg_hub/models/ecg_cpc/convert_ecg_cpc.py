"""From the published ECG-CPC checkpoint to our names.

Source: figshare 30192604, `last_11597276.ckpt` (a Lightning checkpoint, entries under "state_dict"). 76 entries are the
encoder; the projection of the contrastive loss is left out. The length that the stored C of S4 belongs to is read off
the frequencies `omega`, which are then dropped, as they follow from it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ecg_hub.hub.entries import Conversion, Entries
from ecg_hub.models.ecg_cpc.configuration_ecg_cpc import ECGCPCConfig

_CONV, _S4 = "ts_encoder.encoder.", "ts_encoder.predictor.predictor."
_STATISTICS = ("weight", "bias", "running_mean", "running_var")


def convert(entries: Entries) -> Conversion:
    """Convert the published state dict.

    Args:
        entries: the published entries; all are accounted for.

    Raises:
        CheckpointError: entries are missing, of the wrong shape or unknown.
    """
    config = ECGCPCConfig(kernel_length=_kernel_length(entries))
    state = _conv_encoder(entries, config)
    for block in range(config.num_hidden_layers):
        state |= _s4_block(entries, config, block)
    entries.ignore(lambda name: name.startswith("ts_encoder.head_ssl."), "projection of the contrastive loss")
    entries.ignore(lambda name: not name.startswith((_CONV, _S4)), "outside the encoder: only the pre-training used it")
    entries.close()
    note = f"S4 kernels belong to {config.kernel_length} tokens (from the shape of omega)"
    return Conversion(config, state, [note])


def _kernel_length(entries: Entries) -> int:
    shape = entries.shape(f"{_S4}s4_layers.0.kernel.kernel.omega")
    return ECGCPCConfig().kernel_length if shape is None else 2 * (shape[0] - 1)


def _conv_encoder(entries: Entries, config: ECGCPCConfig) -> dict[str, Tensor]:
    width, state = config.hidden_size, {}
    for layer in range(config.num_conv_layers):
        source, target = f"{_CONV}layers.{layer}", f"encoder.layers.{layer}"
        inputs = (len(config.lead_names), config.conv_kernel_size) if layer == 0 else (width, 1)
        state[f"{target}.conv.weight"] = entries.take(f"{source}.0.weight", (width, *inputs))
        for name in _STATISTICS:
            state[f"{target}.norm.{name}"] = entries.take(f"{source}.1.{name}", (width,))
        state[f"{target}.norm.num_batches_tracked"] = entries.take(f"{source}.1.num_batches_tracked", ())
    return state


def _s4_block(entries: Entries, config: ECGCPCConfig, block: int) -> dict[str, Tensor]:
    width, pairs = config.hidden_size, config.state_size // 2
    source, kernel = f"{_S4}s4_layers.{block}", f"{_S4}s4_layers.{block}.kernel.kernel"
    layer = f"predictor.{block}.layer"
    state = {
        f"{layer}.convolution.C": entries.take(f"{kernel}.C", (1, width, pairs, 2)),
        f"{layer}.convolution.D": entries.take(f"{source}.D", (1, width)).flatten(),
        f"{layer}.convolution.log_dt": entries.take(f"{kernel}.log_dt", (width,)),
        f"{layer}.convolution.w": entries.take(f"{kernel}.w", (width, pairs, 2)),
        f"{layer}.output.weight": entries.take(f"{source}.output_linear.0.weight", (2 * width, width)),
        f"{layer}.output.bias": entries.take(f"{source}.output_linear.0.bias", (2 * width, 1)).flatten(),
    }
    for name in ("B", "P", "Q"):
        stored = entries.take(f"{kernel}.{name}", (1, width, pairs, 2))
        state[f"{layer}.convolution.{name}"] = stored.flatten(0, 1) if stored.ndim == 4 else stored
    for name in ("weight", "bias"):
        state[f"predictor.{block}.norm.{name}"] = entries.take(f"{_S4}norms.{block}.{name}", (width,))
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
