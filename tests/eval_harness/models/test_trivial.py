"""The baseline `trivial`: its features by hand, what it may not see, and a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from eval_harness.config.options import RunOptions
from eval_harness.data.windows import RunData, Split
from eval_harness.models.trivial import feature_names, fit, heart_rate, record_features
from eval_harness.runner.plan import plan
from eval_harness.runner.run import evaluate

Options = Callable[..., RunOptions]


def beats(times: list[float], rate: float = 500.0, seconds: float = 10.0) -> np.ndarray:
    """A 12-lead record with a narrow spike of 1 mV at each time (s) and a flat T wave."""
    t = np.arange(int(seconds * rate)) / rate
    wave = sum(np.exp(-((t - at) ** 2) / (2 * 0.01**2)) + 0.2 * np.exp(-((t - at - 0.3) ** 2) / 0.005) for at in times)
    return np.repeat(np.asarray(wave, dtype=np.float32)[:, None], 12, axis=1)


@pytest.mark.parametrize("rate", [250.0, 500.0, 1000.0])
@pytest.mark.parametrize("bpm", [45, 72, 150])
def test_the_heart_rate_of_a_regular_rhythm(bpm: int, rate: float) -> None:
    times = list(np.arange(0.5, 9.5, 60 / bpm))
    found, irregularity = heart_rate(beats(times, rate), rate)
    assert found == pytest.approx(bpm, abs=1)
    assert irregularity < 0.02


def test_an_irregular_rhythm_and_a_flat_record() -> None:
    _, irregularity = heart_rate(beats([0.5, 1.1, 2.3, 2.8, 4.2, 4.9, 6.5, 7.0, 8.4]), 500)
    assert irregularity > 0.3
    assert np.isnan(heart_rate(np.zeros((5000, 12), dtype=np.float32), 500)).all()


def test_features_by_hand() -> None:
    signal = np.zeros((1000, 12), dtype=np.float32)
    signal[::2, 3] = 1.0
    signal[5, 0] = np.nan
    found = dict(zip(feature_names(), record_features(signal, 100, None, "male"), strict=True))
    assert np.isnan(found["age"])
    assert (found["age unknown"], found["sex"], found["sex unknown"]) == (1, 1, 0)
    assert found["deviation aVR"] == pytest.approx(0.5)
    assert found["range aVR"] == 1.0
    assert found["range I"] == 0.0
    assert len(found) == 30


class Reader:
    def __init__(self, records: int) -> None:
        self.lengths = np.full(records, 1000)

    def window_mv(self, i: int, start: int, stop: int) -> Any:
        return np.random.default_rng(i).normal(size=(stop - start, 12)).astype(np.float32)


def data(labels: list[str], classes: int) -> RunData:
    """Targets that follow age (first output) and sex (second), on signals of noise."""
    rng = np.random.default_rng(0)

    def split(name: str, records: int) -> Split:
        ages = rng.uniform(20, 90, records)
        male = rng.random(records) < 0.5
        targets = np.stack([(ages - 55) / 20 if classes < 1 else ages > 55, male], axis=1).astype(np.float32)
        sexes: list[str | None] = ["male" if value else "female" for value in male]
        names = [str(i) for i in range(records)]
        return Split(name, Reader(records), np.arange(records), names, names, list(ages), sexes, targets, 0)

    train, validation, test = split("train", 150), split("validation", 60), split("test", 60)
    return RunData(train, validation, test, labels, classes, 100, "f", "fake", {})


@pytest.mark.heavy
def test_classes_and_values_are_learnt_from_age_and_sex() -> None:
    given = data(["old", "tall"], 2)
    found = fit(given, quiet=True)
    assert found.score > 0.95
    assert found.test.shape == (60, 2)
    assert found.validation.min() >= 0
    assert found.validation.max() <= 1
    values = fit(data(["rate", "height"], 0), quiet=True)
    assert np.corrcoef(values.test[:, 0], data(["rate", "height"], 0).test.targets[:, 0])[0, 1] > 0.8


@pytest.mark.heavy
def test_a_target_is_never_predicted_from_itself() -> None:
    found = fit(data(["Age", "sex"], 2), quiet=True)
    assert 0.3 < found.score < 0.7


def test_missing_targets_and_constant_outputs() -> None:
    given = data(["a", "b"], 2)
    given.train.targets[:, 0] = np.nan
    given.train.targets[:, 1] = 1
    found = fit(given, quiet=True)
    assert (found.test == [0, 1]).all()


def test_a_run_of_the_baseline(options: Options) -> None:
    asked = options(models=("trivial",), modes=())
    assert [job.mode for job in plan(asked)] == ["linear"]
    (result,) = evaluate(asked, quiet=True)
    assert result.status == "done", result.reason
    assert result.data is not None
    assert result.data.contamination == "clean"
    assert result.metrics["macro_auroc"].point is not None
    (again,) = evaluate(asked, quiet=True)
    assert again == result
    (skipped,) = evaluate(options(models=("trivial",), modes=("finetune",)), quiet=True)
    assert (skipped.status, skipped.reason) == ("skipped", "trivial is a linear model without an encoder (mode linear)")
