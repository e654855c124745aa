"""The baseline `trivial`: age, sex, heart rate and amplitudes in a regularised linear model.

What an encoder adds must show against it. Per record: age and sex (missing ones marked), heart rate and its
irregularity, and of every lead the standard deviation and the range from the 1st to the 99th percentile. Logistic
regression for classes, ridge regression for values (scikit-learn), the strength of the penalty chosen on validation.
A target that is itself age or sex is predicted without that feature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_hub.leads import LEADS
from ecg_hub.utils.terminal import progress
from eval_harness.data.windows import RunData, Split
from eval_harness.metrics.selection import selection_score

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Strengths of the penalty per record, weakest first."""

# Of a long record the first minute, so that its length does not decide what it costs.
LONGEST_S = 60.0
# 240 beats per minute; peaks nearer to each other are parts of one QRS complex.
REFRACTORY_S = 0.25
PERSON = {"age": (0, 1), "sex": (2, 3)}
"""Target -> the features that give it away."""

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """What came of the baseline: outputs of validation and test, and the penalty that was chosen."""

    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    penalty: float
    score: float


def feature_names() -> list[str]:
    """Names of the features, in order."""
    pairs = [f"{what} {lead}" for what in ("deviation", "range") for lead in LEADS]
    return ["age", "age unknown", "sex", "sex unknown", "heart rate", "irregularity", *pairs]


def fit(data: RunData, quiet: bool = False) -> Fitted:
    """Fit the baseline on the training records and predict validation and test."""
    raw = {split.name: features(split, data.rate, quiet) for split in (data.train, data.validation, data.test)}
    # Of the training records alone, for all three splits.
    medians, mean, scale = _standard(raw["train"])
    tables = {name: (np.where(np.isnan(table), medians, table) - mean) / scale for name, table in raw.items()}
    best: Fitted | None = None
    bar = progress(PENALTIES, desc="trivial", unit=" penalties", leave=False, quiet=quiet)
    for penalty in bar:
        models = _fit_outputs(tables["train"], data, penalty)
        validation = _predict(models, tables["validation"])
        score = selection_score(data.validation.targets, validation, data.classes)
        # Without any score (NaN) no comparison is true, and the first penalty stays.
        if best is None or score > best.score:
            best = Fitted(validation, _predict(models, tables["test"]), penalty, score)
    assert best is not None
    return best


def features(split: Split, rate: float, quiet: bool = False) -> Float:
    """The features of every record of a split, (records, 30); NaN where one cannot be measured."""
    longest = int(LONGEST_S * rate)
    table = np.full((len(split), len(feature_names())), np.nan)
    for position in progress(range(len(split)), desc=f"  {split.name}", unit=" records", leave=False, quiet=quiet):
        row = int(split.rows[position])
        signal = split.reader.window_mv(row, 0, min(int(split.reader.lengths[row]), longest))
        table[position] = record_features(signal, rate, split.ages[position], split.sexes[position])
    return table


def record_features(signal: NDArray[np.float32], rate: float, age: float | None, sex: str | None) -> Float:
    """The features of one record (samples, 12) in mV, NaN where missing; rate in Hz, age in years."""
    clean = np.nan_to_num(signal, nan=0.0)
    # Not the extremes: one spike of an electrode would be the amplitude of the lead.
    low, high = np.percentile(clean, (1, 99), axis=0)
    years = np.nan if age is None else age
    person = [years, float(np.isnan(years)), {"male": 1.0, "female": 0.0}.get(sex or "", 0.5), float(sex is None)]
    return np.array([*person, *heart_rate(clean, rate), *clean.std(axis=0), *(high - low)])


def heart_rate(signal: NDArray[np.float32], rate: float) -> tuple[float, float]:
    """Beats per minute and the irregularity of the beats (deviation over mean of the intervals); NaN under 3 beats.

    Beats are peaks of the summed slope of all leads of a signal (samples, 12) in mV, at least 0.25 s apart and a third
    as high as the highest ones.
    """
    # Two seconds of imports, for this alone.
    from scipy.signal import find_peaks

    # Over all leads, because a beat may be flat in any one of them.
    slope = np.abs(np.diff(signal, axis=0)).sum(axis=1)
    # 80 ms, about a QRS complex: its two slopes become one peak.
    width = max(1, int(0.08 * rate))
    energy = np.convolve(slope, np.ones(width) / width, mode="same")
    # Relative to the 98th percentile, not to the highest peak, which may be an artefact.
    peaks, _ = find_peaks(energy, height=np.percentile(energy, 98) / 3, distance=max(1, int(REFRACTORY_S * rate)))
    intervals = np.diff(peaks) / rate
    if intervals.size < 2:
        return float("nan"), float("nan")
    return 60.0 / float(np.median(intervals)), float(intervals.std() / intervals.mean())


def _standard(train: Float) -> tuple[Float, Float, Float]:
    """Medians to fill in, then means and deviations of the filled training table."""
    medians = np.array(
        [np.median(column[~np.isnan(column)]) if (~np.isnan(column)).any() else 0.0 for column in train.T]
    )
    filled = np.where(np.isnan(train), medians, train)
    scale = filled.std(axis=0)
    # A feature that never varies in training would be divided by 0.
    return medians, filled.mean(axis=0), np.where(scale > 0, scale, 1.0)


Output = Callable[[Float], Float]


def _fit_outputs(table: Float, data: RunData, penalty: float) -> list[Output]:
    return [
        _fit_output(_without(table, label), data.train.targets[:, k], label, k < data.classes, penalty)
        for k, label in enumerate(data.labels)
    ]


def _fit_output(table: Float, target: NDArray[np.float32], label: str, is_class: bool, penalty: float) -> Output:
    """One output: a constant where training has a single value."""
    from sklearn.linear_model import LogisticRegression, Ridge

    has_target = ~np.isnan(target)
    values = target[has_target]
    if values.size == 0 or np.ptp(values) == 0:
        constant = float(values[0]) if values.size else 0.0
        return lambda given: np.full(len(given), constant)
    # scikit-learn weighs the sum over the records against the penalty: per record, it means the same in every size.
    strength = penalty * values.size
    model: Any = LogisticRegression(C=1 / strength, max_iter=1000) if is_class else Ridge(alpha=strength)
    model.fit(table[has_target], values)
    if is_class:
        return lambda given: np.asarray(model.predict_proba(_without(given, label))[:, 1])
    return lambda given: np.asarray(model.predict(_without(given, label)))


def _without(table: Float, label: str) -> Float:
    """The features without those that are the target itself."""
    hidden = PERSON.get(label.casefold(), ())
    if not hidden:
        return table
    copy = table.copy()
    # 0 is the mean after standardising; removing columns would make another table for every output.
    copy[:, list(hidden)] = 0.0
    return copy


def _predict(models: Sequence[Output], table: Float) -> NDArray[np.float32]:
    return np.stack([model(table) for model in models], axis=1).astype(np.float32)
