"""What every metric does: check its input (shapes, finite scores, binary targets), and divide where it is defined."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecg_hub.errors import InputError

Values = NDArray[np.floating[Any]]
"""Targets or scores that `checked_pair` returned, and parts of them: functions that take these check nothing again."""


def checked_pair(y_true: ArrayLike, y_score: ArrayLike, *, binary: bool) -> tuple[Values, Values]:
    """Return targets and scores as two float arrays of the same shape (records, outputs).

    Args:
        y_true: targets, NaN = no target.
        y_score: scores or predicted values, finite.
        binary: whether targets other than 0, 1 and NaN are refused.

    Raises:
        InputError: shapes that differ or are not two-dimensional, scores that are NaN or infinite,
            infinite targets, targets that are not 0, 1 or NaN.
    """
    true, score = _floats(y_true, "targets"), _floats(y_score, "scores")
    if true.shape != score.shape:
        raise InputError(f"Targets have the shape {true.shape!r} and scores {score.shape!r}; both must be equal.")
    if true.ndim != 2:
        raise InputError(
            f"Targets and scores have the shape {true.shape!r}; two dimensions (records, outputs) are expected. "
            "Write y[:, None] for one output."
        )
    _refuse(~np.isfinite(score), score, "Scores", "finite numbers")
    if binary:
        _refuse(~(np.isnan(true) | (true == 0) | (true == 1)), true, "Targets", "0, 1 or NaN (no target)")
    else:
        _refuse(np.isinf(true), true, "Targets", "finite numbers or NaN (no target)")
    return true, score


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return part / whole, NaN where the whole is 0; shapes alike."""
    # `where` leaves those out, so that numpy neither divides by 0 nor warns.
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _floats(values: ArrayLike, what: str) -> NDArray[np.floating]:
    try:
        array = np.asarray(values)
        # float32 stays float32: outputs of a large run would double their memory for digits that they do not have.
        return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"The {what} are not numbers: {error}.") from error


def _refuse(bad: NDArray[np.bool_], values: NDArray[np.floating], what: str, allowed: str) -> None:
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{what} must be {allowed}; found {float(values[row, column])!r} in record {row}, output {column} "
            f"({int(bad.sum())} such values)."
        )
