"""Iterative stratification into folds, after Sechidis et al. (ECML PKDD 2011), as the published folds were made.

Nine details decide every fold: the generator, the order of labels and rows, and how ties are broken. They are followed
exactly, with integers (what has been given to a fold) instead of the published floats (what it still wants): all
folds start alike, so the comparison is the same. Counting instead of rebuilding lists makes it fast: 10,646 records
with 54 labels take a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecg_hub.errors import InputError


def stratify(
    labels: Sequence[Sequence[str]], folds: int, seed: int = 0, sizes: Sequence[int] | None = None
) -> np.ndarray:
    """Return the fold of every row, (rows,) int32; -1 for rows without a label.

    Args:
        labels: the labels of every row, repeats counted as often as they stand there.
        folds: number of folds, all of the same size.
        seed: of the generator that breaks the last ties.
        sizes: the weight of every row (records of a patient); default 1.

    Raises:
        InputError: fewer than two folds, or `sizes` of another length.

    Example:
        >>> stratify([["a"], ["a"], ["b"], ["b"], []], folds=2).tolist()  # no label: -1, which trains
        [1, 0, 0, 1, -1]
    """
    if folds < 2:
        raise InputError(f"folds={folds!r}: a split needs two folds or more.")
    weights = [1] * len(labels) if sizes is None else [int(size) for size in sizes]
    if len(weights) != len(labels):
        raise InputError(f"{len(weights)} sizes for {len(labels)} rows; pass one per row.")
    return _Stratifier(labels, weights, folds, seed).run()


def stratify_groups(
    groups: Sequence[str],
    labels: Sequence[Sequence[str]],
    folds: int,
    seed: int = 0,
    *,
    numeric: bool = False,
    batch: int | None = None,
) -> np.ndarray:
    """Return the fold of every row, (rows,) int32, with all rows of a group (a patient) in one fold.

    A group carries all labels of its rows, one after the other, and weighs as many rows as it has.

    Args:
        groups: the group of every row.
        labels: the labels of every row.
        folds: number of folds.
        seed: of the generator, which starts anew in every batch.
        numeric: whether groups are sorted as numbers instead of as text.
        batch: groups that are stratified together; None takes all at once.

    Raises:
        InputError: rows without group, or (numeric) a group that is no whole number.

    Example:
        >>> patients = ["p", "p", "q", "r"]
        >>> fold = stratify_groups(patients, [["a"], ["b"], ["a"], ["b"]], folds=2)
        >>> bool(fold[0] == fold[1])  # no patient is in two folds
        True
    """
    if len(groups) != len(labels):
        raise InputError(f"{len(groups)} groups for {len(labels)} rows; pass one per row.")
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    try:
        # CODE-15 and EchoNext sort patients as numbers, SPH and ZZU pECG as text; the order decides ties.
        names = sorted(members, key=int) if numeric else sorted(members)
    except (TypeError, ValueError) as error:
        raise InputError(f"A group cannot be sorted as a {'whole number' if numeric else 'text'}: {error}.") from None
    fold = np.full(len(labels), -1, dtype=np.int32)
    for part in batches(len(names), batch):
        chosen = [members[name] for name in names[part]]
        merged = [[label for row in rows for label in labels[row]] for rows in chosen]
        for rows, value in zip(chosen, stratify(merged, folds, seed, [len(rows) for rows in chosen]), strict=True):
            fold[rows] = value
    return fold


def batches(number: int, size: int | None) -> list[slice]:
    """Return how many things are stratified together: number // size batches, at least one, the last one the longest.

    All but the last hold `size + rest // batches` things, the last one what remains.

    Example:
        >>> batches(10, 4)  # two batches; what is left over is shared out
        [slice(0, 5, None), slice(5, 10, None)]
    """
    count = max(1, number // size) if size else 1
    if count == 1:
        return [slice(0, number)]
    assert size is not None
    width = size + (number - count * size) // count
    starts = [index * width for index in range(count)]
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], number], strict=True)]


class _Stratifier:
    """The state of one run: what is unassigned, and what every fold has been given."""

    def __init__(self, labels: Sequence[Sequence[str]], sizes: Sequence[int], folds: int, seed: int) -> None:
        # The order of the classes decides ties, so it is part of the result.
        names = sorted({label for row in labels for label in row})
        index = {name: number for number, name in enumerate(names)}
        self.rows = [[index[label] for label in row] for row in labels]
        self.sizes = sizes
        # The legacy generator: published folds were drawn with it, and newer ones draw other numbers.
        self.random = np.random.RandomState(seed)
        self.fold = np.full(len(labels), -1, dtype=np.int32)
        self.left = [0] * len(names)
        self.holders: list[dict[int, int]] = [{} for _ in names]
        for number, row in enumerate(self.rows):
            for label in row:
                self.left[label] += 1
                self.holders[label][number] = self.holders[label].get(number, 0) + 1
        self.given = [[0] * folds for _ in names]
        self.load = [0] * folds

    def run(self) -> np.ndarray:
        """Take the rarest label left, give its rows to folds, and go on until no label is left."""
        while (label := self._rarest()) is not None:
            self._assign(label)
        return self.fold

    def _rarest(self) -> int | None:
        """Return the label with the fewest occurrences in unassigned rows; ties by name."""
        # Pairs compare by count, then by the number of the class.
        present = [(count, label) for label, count in enumerate(self.left) if count > 0]
        return min(present)[1] if present else None

    def _assign(self, label: int) -> None:
        """Give the unassigned rows of a label to folds: most occurrences first, then the last row."""
        waiting = [row for row in self.holders[label] if self.fold[row] < 0]
        # Among equals the last row comes first, as in the published code; the first one would change nearly all folds.
        for row in sorted(waiting, key=lambda row: (-self.holders[label][row], -row)):
            self._give(row, self._choose(label))

    def _choose(self, label: int) -> int:
        """Return the fold that wants the label most, then the one with the most room, then one by lot."""
        given = self.given[label]
        # Folds are of one size, so the one that was given least wants the label most.
        fewest = min(given)
        wanting = [fold for fold, count in enumerate(given) if count == fewest]
        # No draw where one fold stands out: every draw moves the generator, and with it all later ties.
        if len(wanting) == 1:
            return wanting[0]
        lightest = min(self.load[fold] for fold in wanting)
        roomy = [fold for fold in wanting if self.load[fold] == lightest]
        return roomy[self.random.randint(0, len(roomy))]

    def _give(self, row: int, fold: int) -> None:
        self.fold[row] = fold
        self.load[fold] += self.sizes[row]
        # Repeats within a row count here too, as they do in the count rule.
        for label in self.rows[row]:
            self.given[label][fold] += 1
            self.left[label] -= 1
