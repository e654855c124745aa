"""The ledger of a conversion: every entry of a published checkpoint is moved, ignored with a reason, or an error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from ecg_hub.errors import CheckpointError, did_you_mean

T = TypeVar("T")
_SHOWN = 12
# torch wrote weight norm one way before its parametrizations and another since; checkpoints of both kinds are
# published.
_SPELLINGS = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


@dataclass
class Conversion:
    """What a model's converter returns.

    Attributes:
        config: configuration of the encoder.
        state: state dict of the encoder in our names.
        notes: what a reader of the summary should know.
    """

    config: Any
    state: dict[str, Tensor]
    notes: list[str] = field(default_factory=list)


class StateDictMapper:
    """Entries of a published state dict, ticked off one by one.

    A converter calls `take` for each published name it needs, `ignore` for the ones it leaves out, and finally `close`.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = dict(state)
        self._taken: set[str] = set()
        self._missing: dict[str, tuple[int, ...]] = {}
        self._faults: list[str] = []
        self.ignored: dict[str, str] = {}
        self.heads: dict[str, tuple[int, ...]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._state

    @property
    def names(self) -> list[str]:
        """All published names."""
        return list(self._state)

    @property
    def taken(self) -> int:
        """Number of entries taken so far."""
        return len(self._taken)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of an entry, or None if it is not there."""
        return tuple(self._state[name].shape) if name in self._state else None

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return an entry and tick it off; faults are collected and raised by `close`."""
        # All of them at once: a file of another model is recognised by the list, not by the first name of it.
        self._taken.add(name)
        tensor = self._state.get(name)
        if tensor is None:
            self._missing[name] = shape
        elif tuple(tensor.shape) != shape:
            self._faults.append(f"wrong shape: {name} is {tuple(tensor.shape)}, expected {shape}")
        else:
            return tensor
        return Tensor()

    def ignore(self, matches: Callable[[str], bool], reason: str) -> None:
        """Leave out entries that the encoder does not use."""
        for name in self._state:
            if name not in self._taken and name not in self.ignored and matches(name):
                self.ignored[name] = reason

    def set_head_aside(self, *prefixes: str, reason: str = "head of the authors, beside the encoder") -> None:
        """Leave out the classifier in the authors' file, and remember its shapes, which tell fine-tuned files apart.

        Whether it is kept is the catalogue's matter: see `linear_head`.
        """
        self.ignore(lambda name: name.startswith(prefixes), reason)
        self.heads |= {name: tuple(self._state[name].shape) for name in self.ignored if name.startswith(prefixes)}

    def linear_head(self) -> dict[str, Tensor] | None:
        """Weight and bias of the classifier that was set aside, or None where it is not one linear layer."""
        by_part = {name.rpartition(".")[2]: self._state[name] for name in self.heads}
        stems = {name.rpartition(".")[0] for name in self.heads}
        if len(stems) != 1 or set(by_part) != {"weight", "bias"}:
            return None
        weight, bias = by_part["weight"], by_part["bias"]
        return by_part if weight.ndim == 2 and tuple(bias.shape) == (len(weight),) else None

    def fault(self, text: str) -> None:
        """Note something that makes the conversion impossible."""
        self._faults.append(text)

    def close(self) -> None:
        """Check that every entry is accounted for."""
        spare = [name for name in self._state if name not in self._taken]
        surplus = [name for name in spare if name not in self.ignored]
        count = len(self._missing) + len(self._faults) + len(surplus)
        if not count:
            return
        lines = [
            *(f"missing: {name} {shape}{did_you_mean(name, spare)}" for name, shape in _first(self._missing.items())),
            *_first(self._faults),
            *(f"unknown: {name} {tuple(self._state[name].shape)}" for name in _first(surplus)),
        ]
        shown = "\n  ".join(lines) + (f"\n  and {count - len(lines)} more" if count > len(lines) else "")
        raise CheckpointError(
            f"The checkpoint is not the published model: {count} entries do not fit.\n  {shown}\n"
            "Is it the right file? `ecg-hub info ALIAS` names the page and the file."
        )


def _first(items: Iterable[T]) -> list[T]:
    return list(items)[:_SHOWN]


def weight_norm_name(name: str, entries: StateDictMapper) -> str:
    """Return the spelling that a checkpoint has for an entry of a weight-normed convolution."""
    for newer, older in _SPELLINGS.items():
        if name.endswith(newer) and name not in entries:
            respelt = name.removesuffix(newer) + older
            return respelt if respelt in entries else name
    return name


def take_s4_block(
    entries: StateDictMapper,
    prefix: str,
    target: str,
    block: int,
    *,
    width: int,
    state_size: int,
    channels: int,
    length: int,
) -> dict[str, Tensor]:
    """Take the entries of one block: S4 layer and the norm behind it."""
    # The published layer applies linear maps along the channels, with biases as columns, and keeps a channel axis of
    # one for what all kernels share; here both axes go.
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


def _check_frequencies(entries: StateDictMapper, kernel: str, length: int) -> None:
    """Tick off omega and z, and check that they are the roots of unity of the length."""
    shape = (length // 2 + 1, 2)
    omega, _ = entries.take(f"{kernel}.omega", shape), entries.take(f"{kernel}.z", shape)
    if omega.shape == shape:
        angle = -2 * math.pi / length * torch.arange(shape[0], dtype=torch.float64)
        expected = torch.stack([angle.cos(), angle.sin()], dim=-1)
        # Loosely, because the published code takes powers of a root in complex64, and their errors add up.
        if not torch.allclose(omega.double(), expected, atol=1e-3):
            entries.fault(f"unexpected values: {kernel}.omega is not exp(-2 pi i k / {length})")
