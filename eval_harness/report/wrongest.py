"""Which ECGs a run scored most wrongly: the strongest false alarm and the strongest miss of its worst labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval_harness.predictions import Predictions
from eval_harness.report.content import Scored, TaskContent


@dataclass(frozen=True)
class Example:
    """One record and why it is shown.

    Attributes:
        record_id: the dataset's own name.
        label: label or target that was scored wrongly.
        words: what was predicted and what is true, in a sentence.
        true_labels: the record's labels of this task; () for regression.
        age, sex: None where unknown.
    """

    record_id: str
    label: str
    words: str
    true_labels: tuple[str, ...]
    age: float | None
    sex: str | None


def choose(content: TaskContent, item: Scored, most: int) -> list[Example]:
    """Return the examples of a task, each record once.

    Classes: labels by rising AUROC; of each in turn the negative record with the highest score and the positive one
    with the lowest, then the labels again. Regression: targets by falling error; of each in turn the largest
    overestimate and the largest underestimate.

    Args:
        content: of the task.
        item: the result whose errors are shown, with its predictions.
        most: how many.
    """
    if item.predictions is None or most < 1:
        return []
    test = item.predictions.part("test")
    queues = [
        (label, iter(rows))
        for label in _worst(content, item)
        for rows in _errors(content, test, test.labels.index(label))
    ]
    found: dict[int, Example] = {}
    while queues and len(found) < most:
        left = []
        for label, rows in queues:
            row = next((row for row in rows if row not in found), None)
            if row is None:
                continue
            left.append((label, rows))
            if len(found) < most:
                found[row] = _example(content, item, test, label, row)
        queues = left
    return list(found.values())


def _worst(content: TaskContent, item: Scored) -> list[str]:
    """Labels with an interval (all that have a point where none has one), worst first."""
    points, certain = {}, set()
    for entry in item.result.per_label:
        estimate = entry.mae if content.regression else entry.auroc
        if estimate is not None and estimate.point is not None:
            points[entry.label] = -estimate.point if content.regression else estimate.point
            certain |= {entry.label} if estimate.low is not None else set()
    return sorted(certain or points, key=lambda label: (points[label], label))


def _errors(content: TaskContent, test: Predictions, column: int) -> tuple[list[int], list[int]]:
    """Rows that were scored too high and too low, the worst first."""
    true, score = test.y_true[:, column], test.y_prob[:, column].astype(np.float64)
    if content.regression:
        error = score - true
        high, low = np.flatnonzero(error > 0), np.flatnonzero(error < 0)
    else:
        error = score
        high, low = np.flatnonzero(true == 0), np.flatnonzero(true == 1)
    return _sorted(high, -error), _sorted(low, error)


def _sorted(rows: NDArray[np.intp], by: NDArray[np.float64]) -> list[int]:
    return [int(row) for row in rows[np.argsort(by[rows], kind="stable")]]


def _example(content: TaskContent, item: Scored, test: Predictions, label: str, row: int) -> Example:
    column = test.labels.index(label)
    words = _value_words(test, label, row) if content.regression else _class_words(item, test, label, row)
    scored = [entry.label for entry in item.result.per_label]
    true = () if content.regression else tuple(n for n in scored if test.y_true[row, test.labels.index(n)] == 1)
    age = test.age[row] if test.age is not None else None
    sex = test.sex[row] if test.sex is not None else None
    assert not np.isnan(test.y_true[row, column])
    return Example(test.record_id[row], label, words, true, None if age is None or np.isnan(age) else age, sex)


def _class_words(item: Scored, test: Predictions, label: str, row: int) -> str:
    column = test.labels.index(label)
    true, score = test.y_true[:, column], test.y_prob[:, column]
    threshold = next((e.threshold for e in item.result.per_label if e.label == label), None)
    against = "" if threshold is None else f" (threshold {threshold:.3f})"
    if true[row] == 0:
        passed = int((score[true == 1] < score[row]).sum())
        return (
            f"{label} scored {score[row]:.3f}{against}, but the record is not labelled so; higher than {passed:,} "
            f"of the {int((true == 1).sum()):,} records that are."
        )
    passed = int((score[true == 0] > score[row]).sum())
    return (
        f"{label} scored only {score[row]:.3f}{against}, but the record is labelled so; lower than {passed:,} of the "
        f"{int((true == 0).sum()):,} records that are not."
    )


def _value_words(test: Predictions, label: str, row: int) -> str:
    column = test.labels.index(label)
    true, score = float(test.y_true[row, column]), float(test.y_prob[row, column])
    error = score - true
    which = "too high" if error > 0 else "too low"
    clinical = ""
    if label in test.scales:
        deviation, unit = test.scales[label]
        clinical = f", {abs(error) * deviation:.3g} {unit}"
    return f"{label} predicted {score:.2f}, true {true:.2f} (z-scores): {abs(error):.2f}{clinical} {which}."
