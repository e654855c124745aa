"""Part of the training records, stratified by label, sex and age: what label efficiency is measured with.

The published rule (arXiv 2509.25095) first keeps one record of each patient, also for the whole, then splits the
records by iterative stratification (Sechidis et al., ECML PKDD 2011) into the share asked for and the rest. Subsets of
different shares are drawn independently there; nested ones, where a smaller subset lies in every larger one, are our
addition. The generators and the order of ties are the published ones, so that the same records come out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import DataError, InputError
from eval_harness.config.options import TrainSubset
from eval_harness.data.windows import RunData, Split

SHUFFLE_SEED = 42
AGE_BINS = ("<20", "20-40", "40-60", "60-80", ">=80")
BIN_YEARS = 20


def subset_of(data: RunData, subset: TrainSubset) -> RunData:
    """The data of a run with part of the training records."""
    if data.classes != len(data.labels):
        raise InputError(
            f"Subsets are stratified by labels, and this run of {data.dataset} has regression targets: choose a task "
            "of kind multi_label_classification."
        )
    train, validation, test = (
        # Before anything is drawn: the share is one of the records that are left.
        labelled(split) if subset.labelled_only else split
        for split in (data.train, data.validation, data.test)
    )
    whole = len(train)
    # Sorted: rows of a split ascend, and the order of the draw decides nothing after it.
    train = train.select(np.sort(chosen_rows(train, data.labels, subset)))
    if subset.validation:
        validation = validation.select(np.sort(chosen_rows(validation, data.labels, subset)))
    for split in (train, validation, test):
        if not len(split):
            raise DataError(
                f"A fraction of {subset.fraction:g} leaves no {split.name} record of {data.dataset} ({whole} training "
                "records): ask for a larger fraction."
            )
    deviations = {**data.deviations, **subset.deviations()}
    # A class without a positive cannot be learned, which a small score alone would not show.
    # Not by the sum, which is NaN as soon as one record has no target of the class.
    without = int((~(train.targets == 1).any(axis=0)).sum())
    if without:
        deviations["labels_without_train_positive"] = f"{without}/{len(data.labels)}"
    return dataclasses.replace(data, train=train, validation=validation, test=test, deviations=deviations)


def labelled(split: Split) -> Split:
    """The records of a split that have a label."""
    return split.select(np.flatnonzero((split.targets == 1).any(axis=1)))


def chosen_rows(split: Split, labels: Sequence[str], subset: TrainSubset) -> NDArray[np.int64]:
    """Positions of the records of a split that a subset takes."""
    names = [[labels[int(column)] for column in np.flatnonzero(row == 1)] for row in split.targets]
    patients = [patient or None for patient in split.patient_ids]
    return stratified_subset(
        names, split.sexes, split.ages, patients if subset.one_record_per_patient else None,
        subset.fraction, subset.seed, subset.nested,
    )  # fmt: skip


def stratified_subset(
    labels: Sequence[Sequence[str]],
    sexes: Sequence[str | None],
    ages: Sequence[float | None],
    patients: Sequence[Any] | None,
    fraction: float,
    seed: int = 0,
    nested: bool = False,
) -> NDArray[np.int64]:
    """Rows of a stratified subset, in the order of the shuffled table.

    Args:
        labels: of every row.
        sexes: "male", "female" or None (unknown, a stratum of its own; the published code stops there).
        ages: years or None, as sexes.
        patients: of every row, of which one record each is kept; None (or None in a row) keeps all.
        fraction: share of the rows.
        seed: 0 draws as published.
        nested: cut the rows into halves again and again instead, and take the first ones: subsets lie in each other,
            and those of 1/2, 1/4 ... are stratified by the same rule.

    Example:
        >>> labels = [["NORM"]] * 8 + [["MI"]] * 4
        >>> rows = stratified_subset(labels, ["F"] * 12, [50] * 12, None, fraction=0.5)
        >>> sorted(labels[row][0] for row in rows)
        ['MI', 'MI', 'NORM', 'NORM', 'NORM', 'NORM']
    """
    # RandomState, not default_rng: numpy has frozen its stream, and the published records were drawn from it.
    order = np.random.RandomState(SHUFFLE_SEED + seed).permutation(len(labels))
    # After the shuffle: which record of a patient stays is drawn by lot.
    rows = order if patients is None else order[first_of_each([patients[row] for row in order])]
    tags = [[*labels[row], sexes[row] or "sex unknown", age_bin(ages[row])] for row in map(int, rows)]
    if nested:
        # The largest subset is ordered once for all fractions, which is what makes them lie in each other.
        taken = halved(tags, list(range(len(tags))), seed)[: max(1, round(fraction * len(tags)))]
        return np.asarray(rows[sorted(taken)], dtype=np.int64)
    return np.asarray(rows[first_part(tags, fraction, seed)], dtype=np.int64)


def first_of_each(values: Sequence[Any]) -> NDArray[np.int64]:
    """Positions of the first occurrence of each value, ascending; None is never a repetition.

    Example:
        >>> first_of_each(["a", "b", "a", None, None]).tolist()  # an unknown patient is nobody's double
        [0, 1, 3, 4]
    """
    seen: set[Any] = set()
    kept = []
    for position, value in enumerate(values):
        if value is None or value not in seen:
            kept.append(position)
            seen.add(value)
    return np.array(kept, dtype=np.int64)


def age_bin(age: float | None) -> str:
    """The stratum of an age in years; left edges belong to the bin.

    Example:
        >>> age_bin(20), age_bin(19.9), age_bin(None)
        ('20-40', '<20', 'age unknown')
        >>> age_bin(300)  # PTB-XL writes 300 for everybody above 89
        '>=80'
    """
    if age is None or not np.isfinite(age):
        return "age unknown"
    return AGE_BINS[min(max(int(age // BIN_YEARS), 0), len(AGE_BINS) - 1)]


def halved(tags: Sequence[Sequence[str]], rows: list[int], seed: int) -> list[int]:
    """Order rows so that the first half, quarter, eighth ... are stratified subsets."""
    if len(rows) < 2:
        return rows
    half = {rows[position] for position in first_part([tags[row] for row in rows], 0.5, seed)}
    first, rest = [row for row in rows if row in half], [row for row in rows if row not in half]
    if not first or not rest:
        return rows
    return halved(tags, first, seed) + halved(tags, rest, seed)


def first_part(tags: Sequence[Sequence[str]], fraction: float, seed: int = 0) -> list[int]:
    """Positions of the rows in the first part of an iterative stratification into (fraction, 1 - fraction), ascending.

    Of the tag with the fewest rows left (ties by name), the rows go one by one, the last first, to the part that still
    wants most of it, then to the one with more room, then by lot.
    """
    names = sorted({tag for row in tags for tag in row})
    index = {name: number for number, name in enumerate(names)}
    rows = [sorted({index[tag] for tag in row}) for row in tags]
    holders: list[list[int]] = [[] for _ in names]
    for number, row in enumerate(rows):
        for tag in row:
            holders[tag].append(number)
    shares = (fraction, 1 - fraction)
    left = [len(rows_of_tag) for rows_of_tag in holders]
    wanted = [[share * count for share in shares] for count in left]
    room = [share * len(rows) for share in shares]
    random = np.random.RandomState(seed)
    part = [-1] * len(rows)
    while any(left):
        # The rarest first: its records are the hardest to place once the parts have filled up.
        tag = min((count, number) for number, count in enumerate(left) if count)[1]
        # Last row first, as the published code goes: another order gives other records.
        for number in reversed(holders[tag]):
            # A row with several tags was placed with the rarest of them.
            if part[number] < 0:
                chosen = part[number] = _choose(wanted[tag], room, random)
                room[chosen] -= 1
                for held in rows[number]:
                    wanted[held][chosen] -= 1
                    left[held] -= 1
    return [number for number, chosen in enumerate(part) if chosen == 0]


def _choose(wanted: list[float], room: list[float], random: np.random.RandomState) -> int:
    if wanted[0] != wanted[1]:
        return int(wanted[1] > wanted[0])
    if room[0] != room[1]:
        return int(room[1] > room[0])
    # Drawn only in a tie: a draw too many would shift all that follow.
    return int(random.randint(0, 2))
