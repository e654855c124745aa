"""No interval excludes its own point: a contract over all metrics and data that are hard on intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from eval_harness.results.predictions import Predictions
from eval_harness.results.schema import Estimate
from eval_harness.results.scoring import Score, score_task
from eval_harness.stats import estimates
from eval_harness.stats.influence import Units
from eval_harness.tasks.registry import get_task
from tests.support.results import predictions
from tests.support.scores import scored

ALL = get_task("ptbxl_all")
PUBLISHED = "macro_auroc_paper"
KINDS = ("awkward", "rare", "perfect", "reversed", "constant", "few records", "sure and wrong")


def hard(kind: str, patients: bool) -> Predictions:
    """Predictions of 71 labels on 200 test records (few: 12), by patients of up to five records."""
    records = 20 if kind == "few records" else 208
    given = predictions(labels=ALL.labels, run=ALL.run, validation=8, test=records - 8)
    rng = np.random.default_rng(5)
    if kind == "awkward":
        true, prob = scored(records=records, classes=len(ALL.labels), seed=4)
    else:
        true = (rng.random(given.y_true.shape) < rng.uniform(0.003, 0.03, len(ALL.labels))).astype(np.float32)
        true[-1, ::2] = 1
        prob = np.clip(0.3 * true + 0.7 * rng.random(true.shape), 0, 1).astype(np.float32)
    made = {"perfect": true, "reversed": 1 - true, "constant": np.full_like(true, 0.5)}
    prob = made.get(kind, prob)
    if kind == "sure and wrong":
        prob = np.where(rng.random(true.shape) < 0.02, 1 - true, true).astype(np.float32)
    groups = [f"p{i // 5 if i % 3 else i}" for i in range(records)] if patients else None
    return dataclasses.replace(
        given,
        y_true=true,
        y_prob=prob,
        patient_id=groups,
        sex=["female", "male"] * (records // 2),
        age=[float(i % 90) for i in range(records)],
    )


def every(found: Score) -> Iterator[tuple[str, Estimate]]:
    """Name and estimate of all metrics, labels and subgroups."""
    yield from found.metrics.items()
    for label in found.per_label:
        values = {name: getattr(label, name) for name in type(label).model_fields}
        yield from ((f"{label.label} {name}", value) for name, value in values.items() if isinstance(value, Estimate))
    for part in found.subgroups:
        yield from ((f"{part.name} {part.value} {name}", value) for name, value in part.metrics.items())


def check(name: str, estimate: Estimate, highest: float) -> None:
    if estimate.low is None or estimate.high is None:
        assert estimate.low is estimate.high is None, name
        return
    assert estimate.point is not None, name
    assert 0 <= estimate.low <= estimate.point <= estimate.high <= highest, f"{name}: {estimate}"


@pytest.mark.parametrize("patients", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_no_interval_of_a_class_excludes_its_point(kind: str, patients: bool) -> None:
    found = score_task(ALL, hard(kind, patients), resamples=5, by="patient" if patients else "record")
    named = dict(every(found))
    assert len(named) > 71 * 8
    for name, estimate in named.items():
        if name != PUBLISHED:
            check(name, estimate, 1.0)
    always = ("auroc", "auprc", "f1", "sensitivity", "specificity", "brier", "calibration_rms")
    for name in always[: 6 if patients else 7]:
        assert named[f"macro_{name}"].low is not None or named[f"macro_{name}"].point is None, name


@pytest.mark.parametrize("patients", [False, True])
def test_no_interval_of_a_value_excludes_its_point(patients: bool) -> None:
    rng = np.random.default_rng(0)
    true = rng.standard_cauchy((60, 5))
    true[:, 1] = 0
    true[3:, 2] = np.nan
    true[1:, 3] = np.nan
    true[:, 4] = np.nan
    units = Units.of(np.arange(60) // 4 if patients else None)
    each, pooled = estimates.errors(true, np.zeros_like(true), units, 0.95)
    for found in (pooled, *(each.output(k) for k in range(3))):
        if not np.isnan(found.low):
            assert 0 <= found.low <= found.point <= found.high
    assert not np.isnan(pooled.low)
    assert np.isnan(each.output(3).low), "one record has no spread"
    assert np.isnan(each.macro(units, 0.95).low)


def test_four_positives_do_not_make_a_narrow_interval() -> None:
    """Percentiles of the bootstrap give [1, 1] to four positives that are ranked first."""
    true, prob = np.zeros((400, 1)), np.linspace(0, 1, 400)[:, None]
    true[-4:] = 1
    found = estimates.ranking(true, prob, Units(), 0.95)
    assert found["auroc"].output(0).low < 0.8
    assert found["auprc"].output(0).low < 0.6


def test_the_lower_end_of_auprc_allows_for_its_bias() -> None:
    true, prob = np.zeros((100, 1)), np.linspace(1, 0, 100)[:, None]
    true[[1, 4]] = 1
    found = estimates.ranking(true, prob, Units(), 0.95)["auprc"]
    assert found.point[0] == pytest.approx((1 / 2 + 2 / 5) / 2)
    assert found.bias[0] == pytest.approx((1 / 2 + (2 / 5 - 1 / 4)) / 2)
    unbiased = estimates.intervals.share_ends(found.point - found.bias, np.array([2.0]), 0.95)
    assert found.ends.low[0] == unbiased.low[0]


def test_intervals_by_patient_are_wider_where_records_of_a_patient_are_alike() -> None:
    true, prob = scored(records=80, classes=1, seed=3)
    true, prob = np.repeat(true, 4, axis=0), np.repeat(prob, 4, axis=0)
    units, alone = Units.of(np.arange(320) // 4), Units()
    pairs = [
        (function(true, prob, units, 0.95), function(true, prob, alone, 0.95))
        for function in (estimates.ranking, estimates.brier_scores)
    ]
    pairs.append(tuple(estimates.decisions(true, prob, [0.5], each, 0.95) for each in (units, alone)))  # type: ignore[arg-type]
    for patients, records in pairs:
        for name in patients:
            wide, narrow = patients[name].output(0), records[name].output(0)
            assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low), name
    (wide,), together = estimates.calibration(true, prob, units, 0.95)
    (narrow,), records_alone = estimates.calibration(true, prob, alone, 0.95)
    assert wide.high > narrow.high
    assert together.point == records_alone.point
    assert np.isnan(together.low), "it would not cover"


def test_outputs_that_are_no_probabilities_have_a_brier_score_without_an_interval() -> None:
    true = np.array([[1.0, 1.0], [0.0, 0.0]])
    found = estimates.brier_scores(true, np.array([[3.0, 0.9], [-2.0, 0.1]]), Units(), 0.95)["brier"]
    assert found.output(0).point == 4
    assert np.isnan(found.output(0).low)
    assert found.output(1).high < 1
    assert np.isnan(found.macro(Units(), 0.95).low)


def test_macro_calibration_averages_squares() -> None:
    """Two labels, each off by 0.2 in its one bin of constant probability."""
    true = np.tile([1.0, 0.0], 500)[:, None].repeat(2, axis=1)
    each, together = estimates.calibration(true, np.full(true.shape, 0.3), Units(), 0.95)
    assert each[0].point == pytest.approx(np.sqrt(0.04 - true[:, 0].var(ddof=1) / 1000))
    assert together.point == pytest.approx(each[0].point)
    assert together.low < 0.2 < together.high
