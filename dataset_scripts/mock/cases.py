"""Cases of mock trees: dealt to records whose folds are known, awkward ones last; and what every writer refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from ecg_hub.errors import InputError

T = TypeVar("T")


def check_rates(title: str, offered: Sequence[int], asked: Sequence[int] | None) -> None:
    """Refuse sampling rates (Hz) that a dataset does not have; None asks for the published one."""
    if set(asked or ()) - set(offered):
        rates = " and ".join(map(str, offered))
        raise InputError(f"sampling_rates={asked!r}: {title} comes at {rates} Hz only.")


def awkward_cases(entries: Sequence[T], kinds: Sequence[str], awkward: bool, records: int) -> Iterator[tuple[T, str]]:
    """Return the last entries with what is done to each; nothing unless awkward cases are wanted."""
    if not awkward:
        return iter(())
    if len(entries) <= len(kinds):
        raise InputError(f"records={records!r} is too few for the {len(kinds)} awkward cases.")
    # The last ones: what comes before is the same tree as without awkward cases.
    return zip(entries[-len(kinds) :], kinds, strict=True)


def case_counts(records: int, weights: Sequence[float], floor: int) -> list[int]:
    """Return how many records each case gets: `floor` each, the rest by weight; the sum is `records`.

    Where there are too few records for the floor, only the weights count.
    """
    # In small trees a floor would leave nothing for the frequent cases.
    base = floor if floor * len(weights) <= records else 0
    share = np.asarray(weights, dtype=float) / float(np.sum(weights)) * (records - base * len(weights))
    counts = np.floor(share).astype(int)
    rest = records - base * len(weights) - int(counts.sum())
    # Largest remainders; stable, so that equal ones go by their order on every machine.
    counts[np.argsort(counts - share, kind="stable")[:rest]] += 1
    return [int(count) + base for count in counts]


def deal(counts: Sequence[int], folds: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Return the case of every record, (records,).

    The first record of a case is one for training, the second for test, the third for validation, the following ones
    for training until the turn comes round again. All cases take their first record before any takes its second, the
    frequent ones before the rare ones. A case whose part of the split is used up takes a record of another one.
    """
    last = max(folds, default=0)
    pools: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for record in rng.permutation(len(folds)):
        pools[_part(folds[record], last)].append(int(record))
    # As often as the smallest part of the split allows.
    turn = max(3, round(len(folds) / max(1, min(map(len, pools.values())))))
    dealt = [0] * len(folds)
    wanted = sorted((number, -counts[case], case) for case in range(len(counts)) for number in range(counts[case]))
    for number, _, case in wanted:
        part = {1: "test", 2: "validation"}.get(number % turn, "train")
        pool = pools[part] or max(pools.values(), key=len)
        dealt[pool.pop()] = case
    return dealt


def _part(fold: int, last: int) -> str:
    return {last: "test", last - 1: "validation"}.get(fold, "train")
