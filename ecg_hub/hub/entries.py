"""The ledger of a conversion: every entry of a published checkpoint is moved, ignored with a reason, or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from ecg_hub.errors import CheckpointError, did_you_mean

T = TypeVar("T")
_SHOWN = 12


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


class Entries:
    """Entries of a published state dict, ticked off one by one.

    A converter calls `take` for each published name it needs, `ignore` for the ones it leaves out, and finally `close`.

    Args:
        state: published names and tensors.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = dict(state)
        self._taken: set[str] = set()
        self._missing: dict[str, tuple[int, ...]] = {}
        self._faults: list[str] = []
        self.ignored: dict[str, str] = {}

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
        """Return the shape of an entry, or None if it is not there.

        Args:
            name: published name.
        """
        return tuple(self._state[name].shape) if name in self._state else None

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return an entry and tick it off; faults are collected and raised by `close`.

        Args:
            name: published name.
            shape: the shape it must have.
        """
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
        """Leave out entries that the encoder does not use.

        Args:
            matches: tells whether a published name is meant.
            reason: why; shown in the summary.
        """
        for name in self._state:
            if name not in self._taken and name not in self.ignored and matches(name):
                self.ignored[name] = reason

    def fault(self, text: str) -> None:
        """Note something that makes the conversion impossible.

        Args:
            text: one line.
        """
        self._faults.append(text)

    def close(self) -> None:
        """Check that every entry is accounted for.

        Raises:
            CheckpointError: entries are missing, of the wrong shape or unknown; lists them with suggestions.
        """
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
