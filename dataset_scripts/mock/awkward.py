"""What every writer is asked and must refuse alike: sampling rates, and awkward cases for the last records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from ecg_hub.errors import InputError

T = TypeVar("T")


def check_rates(title: str, offered: Sequence[int], asked: Sequence[int] | None) -> None:
    """Refuse sampling rates that a dataset does not have; None asks for the published one.

    Args:
        title: of the dataset.
        offered: Hz.
        asked: Hz.

    Raises:
        InputError: names the rates that there are.
    """
    if set(asked or ()) - set(offered):
        rates = " and ".join(map(str, offered))
        raise InputError(f"sampling_rates={asked!r}: {title} comes at {rates} Hz only.")


def awkward_cases(entries: Sequence[T], kinds: Sequence[str], awkward: bool, records: int) -> Iterator[tuple[T, str]]:
    """Return the last entries with what is done to each; nothing unless awkward cases are wanted.

    Args:
        entries: the records that may be spoilt, in their order.
        kinds: what is done, one record each.
        awkward: whether awkward cases are wanted.
        records: how many records were asked for, for the error text.

    Raises:
        InputError: no entry would be left as it is.
    """
    if not awkward:
        return iter(())
    if len(entries) <= len(kinds):
        raise InputError(f"records={records!r} is too few for the {len(kinds)} awkward cases.")
    return zip(entries[-len(kinds) :], kinds, strict=True)
