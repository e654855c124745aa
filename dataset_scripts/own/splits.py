"""Folds, splits and targets of a user's archive: as the table says, else made by rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dataset_scripts.folds import stratify_groups
from dataset_scripts.labels import split_by_fold
from dataset_scripts.own.description import Description, Folds
from ecg_hub.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def folds_and_splits(
    about: Description, metadata: pd.DataFrame, labels: Sequence[Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return fold and split of every row: as in the table, else stratified with all records of a patient together.

    Args:
        about: the description.
        metadata: columns record_id, patient_id and table_fold.
        labels: of every row.

    Raises:
        DataError: the folds of the table put a patient into several splits.
    """
    ids, patients = metadata["record_id"].tolist(), metadata["patient_id"].tolist()
    # A record without patient is a group of its own; the prefix keeps the two kinds of names apart.
    groups = [f"record {i}" if p is None or p != p else f"patient {p}" for i, p in zip(ids, patients, strict=True)]
    cells = metadata["table_fold"].tolist()
    if about.columns is not None and about.columns.split:
        order = {"train": 0, "validation": 1, "test": 2}
        split = np.array(cells, dtype=object)
        fold = np.array([order.get(cell, -1) for cell in cells], dtype=np.int32)
    elif about.columns is not None and about.columns.fold:
        fold = np.array([int(cell) if cell else -1 for cell in cells], dtype=np.int32)
        split = split_by_fold(fold, last=int(fold.max(initial=0)))
        split[fold < 0] = ""
    else:
        rule = about.folds or Folds()
        # Records without a label are a stratum too; by the published rule alone they would have no fold.
        fold = stratify_groups(groups, [row or [""] for row in labels], rule.number, rule.seed)
        return fold, split_by_fold(fold, last=rule.number - 1)
    _refuse_shared_patients(groups, split)
    return fold, split


def _refuse_shared_patients(groups: Sequence[str], split: np.ndarray) -> None:
    seen: dict[str, str] = {}
    shared: dict[str, None] = {}
    for group, part in zip(groups, split, strict=True):
        if part and seen.setdefault(group, part) != part:
            shared[group.removeprefix("patient ")] = None
    if shared:
        first = ", ".join(repr(name) for name in list(shared)[:3])
        raise DataError(
            f"{len(shared)} patients have records in several splits ({first}); scores would be too good. Correct the "
            "folds of the table, or leave them out of the description to have them made by patient."
        )


def fold_rule(about: Description) -> str:
    """Return the fold and split rule in one sentence."""
    columns = about.columns
    if columns is not None and columns.split:
        return f"column {columns.split!r} of the table"
    if columns is not None and columns.fold:
        return f"column {columns.fold!r} of the table: the highest fold is test, the one below validation"
    rule = about.folds or Folds()
    unit = "patient" if columns is not None and columns.patient else "record"
    return (
        f"{rule.number} folds stratified by label, by {unit}, seed {rule.seed}: the last one test, the one before "
        "validation"
    )


def standardised(values: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Return targets (records, targets) as float32 z-scores of the training records, and their deviations.

    The deviation is that of the population (ddof 0); a target that does not vary in training is only centred. NaN stays
    NaN; a target without any value in training is NaN throughout.

    Args:
        values: (records, targets).
        train: (records,) bool.
    """
    out = np.full(values.shape, np.nan, dtype=np.float32)
    deviations = [1.0] * values.shape[1]
    for column in range(values.shape[1]):
        known = values[train & np.isfinite(values[:, column]), column]
        if len(known):
            deviations[column] = float(known.std()) or 1.0
            out[:, column] = (values[:, column] - known.mean()) / deviations[column]
    return out, deviations
