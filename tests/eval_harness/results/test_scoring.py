from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import InputError, ResultError
from eval_harness.metrics import checks
from eval_harness.metrics.calibration import brier, calibration_error
from eval_harness.metrics.ranking import (
    auroc,
    average_precision,
    macro_auroc,
    macro_auroc_paper,
    macro_average_precision,
)
from eval_harness.metrics.registry import Metric, of_kind
from eval_harness.metrics.regression import mae, mean_mae, pooled_mae
from eval_harness.metrics.thresholds import choose_thresholds, threshold_metrics
from eval_harness.results import scoring
from eval_harness.results.predictions import Predictions
from eval_harness.results.scoring import (
    ResampleUnit,
    ScoringError,
    age_band,
    label_coverage,
    patient_groups,
    score_task,
    subgroups,
)
from eval_harness.results.verify import differences
from eval_harness.stats import estimates
from eval_harness.stats.bootstrap import bootstrap_counts
from eval_harness.stats.influence import Units
from eval_harness.stats.resampled import interval, macro_paper, resample_ranking
from eval_harness.tasks.registry import get_task
from eval_harness.tasks.task import Task
from tests.support.results import predictions

SUPER = get_task("ptbxl_super")
RESAMPLES = 60


def regression_task() -> Task:
    fields = SUPER.model_dump() | {
        "name": "vitals", "kind": "regression", "metric": "mae", "higher_is_better": False, "labels": ("age", "bmi"),
    }  # fmt: skip
    return Task.model_validate(fields)


def regression_predictions(records: int = 30) -> Predictions:
    rng = np.random.default_rng(0)
    y_true = rng.normal(size=(records, 3)).astype(np.float32)
    y_true[rng.random(y_true.shape) < 0.3] = np.nan
    return dataclasses.replace(
        predictions(labels=("age", "bmi", "rr"), validation=0, test=records),
        kind="regression",
        regression_targets=("age", "bmi", "rr"),
        y_true=y_true,
        y_prob=rng.normal(size=(records, 3)).astype(np.float32),
    )


class TestClassification:
    def test_points_are_the_metrics_of_the_test_split(self) -> None:
        given = predictions()
        found = score_task(SUPER, given, RESAMPLES)
        y_true, y_prob = given.y_true[10:], given.y_prob[10:]
        assert found.records == 40
        assert found.metrics["macro_auroc"].point == pytest.approx(macro_auroc(y_true, y_prob))
        assert found.metrics["macro_auroc_paper"].point == pytest.approx(macro_auroc_paper(y_true, y_prob))
        assert found.metrics["macro_auprc"].point == pytest.approx(macro_average_precision(y_true, y_prob))
        assert [label.auroc.point for label in found.per_label if label.auroc] == pytest.approx(
            auroc(y_true, y_prob).tolist()
        )
        assert [label.auprc.point for label in found.per_label if label.auprc] == pytest.approx(
            average_precision(y_true, y_prob).tolist()
        )
        assert [label.positives for label in found.per_label] == (y_true == 1).sum(axis=0).tolist()

    def test_a_listed_metric_without_a_formula_is_a_point_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It gets targets, outputs and the thresholds of validation, and only if it is of this kind of task."""

        def function(true: np.ndarray, prob: np.ndarray, cut: np.ndarray) -> np.ndarray:
            return np.where(np.arange(5) == 1, np.nan, true.mean(axis=0) + (prob >= cut).mean(axis=0))

        kind = "multi_label_classification"
        own = Metric("own", "own", kind, higher_is_better=True, function=function, description="", thresholds=True)
        monkeypatch.setattr(scoring, "of_kind", lambda asked: [own] if asked == kind else [])
        given = predictions()
        expected = function(
            given.y_true[10:], given.y_prob[10:], choose_thresholds(given.y_true[:10], given.y_prob[:10])
        )
        found = score_task(SUPER, given, RESAMPLES).metrics["own"]
        assert found.point == pytest.approx(np.nanmean(expected))
        assert (found.low, found.high, found.classes) == (None, None, 4)

    def test_a_listed_metric_of_all_labels_at_once_has_no_number_of_labels(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kind = "multi_label_classification"
        share = Metric("share", "share", kind, higher_is_better=True, function=lambda true, prob: 0.25, description="")
        monkeypatch.setattr(scoring, "of_kind", lambda asked: [share] if asked == kind else [])
        found = score_task(SUPER, predictions(), RESAMPLES).metrics["share"]
        assert (found.point, found.classes) == (0.25, None)

    def test_intervals_are_those_of_the_estimates(self) -> None:
        given = predictions()
        found = score_task(SUPER, given, RESAMPLES)
        expected = estimates.ranking(given.y_true[10:], given.y_prob[10:], Units(), 0.95)["auroc"]
        estimate, together = found.metrics["macro_auroc"], expected.macro(Units(), 0.95)
        assert (estimate.low, estimate.high) == (together.low, together.high)
        assert estimate.classes == 5
        label, single = found.per_label[2].auroc, expected.output(2)
        assert label is not None
        assert (label.point, label.low, label.high) == (single.point, single.low, single.high)

    def test_the_published_reading_has_its_percentiles(self) -> None:
        given = predictions()
        found = score_task(SUPER, given, RESAMPLES, seed=3).metrics["macro_auroc_paper"]
        areas, _ = resample_ranking(given.y_true[10:], given.y_prob[10:], bootstrap_counts(40, RESAMPLES, 3))
        expected = interval(*macro_paper(areas), paper=True)
        assert (found.low, found.high) == (expected.low, expected.high)

    def test_the_published_reading_has_1000_resamples_and_the_coverage_asked_for(self) -> None:
        given = predictions()
        areas, _ = resample_ranking(given.y_true[10:], given.y_prob[10:], bootstrap_counts(40, 1000, 0))
        for confidence in (0.95, 0.5):
            found = score_task(SUPER, given, confidence=confidence).metrics["macro_auroc_paper"]
            expected = interval(*macro_paper(areas), confidence=confidence, paper=True)
            assert (found.low, found.high) == (expected.low, expected.high)

    def test_every_label_has_its_calibration_error(self) -> None:
        given = predictions()
        points = [
            label.calibration_error.point
            for label in score_task(SUPER, given, RESAMPLES).per_label
            if label.calibration_error
        ]
        assert points == pytest.approx(calibration_error(given.y_true[10:], given.y_prob[10:]).tolist())

    def test_the_plain_calibration_error_has_no_interval(self) -> None:
        found = score_task(SUPER, predictions(), RESAMPLES)
        plain, debiased = (found.metrics[f"macro_calibration_{name}"] for name in ("error", "rms"))
        assert plain.point is not None
        assert plain.low is plain.high is None
        assert debiased.low is not None
        assert debiased.classes == 5

    def test_validation_records_decide_thresholds_and_nothing_else(self) -> None:
        given = predictions()
        other = dataclasses.replace(given, y_prob=given.y_prob.copy())
        other.y_prob[:10] = 0.5
        first, second = (score_task(SUPER, each, RESAMPLES).metrics for each in (given, other))
        decisions = {metric.name for metric in of_kind(SUPER.kind) if metric.thresholds}
        assert {"macro_f1", "macro_sensitivity", "macro_specificity"} <= decisions
        assert {name for name in first if first[name] != second[name]} == decisions

    def test_decisions_are_taken_at_the_threshold_of_the_validation_records(self) -> None:
        given = predictions()
        found = score_task(SUPER, given, RESAMPLES)
        cut = choose_thresholds(given.y_true[:10], given.y_prob[:10])
        expected = threshold_metrics(given.y_true[10:], given.y_prob[10:], cut)
        for k, label in enumerate(found.per_label):
            assert label.threshold == (None if np.isnan(cut[k]) else pytest.approx(cut[k]))
            for name in ("f1", "sensitivity", "specificity"):
                point = getattr(label, name).point
                assert point == (None if np.isnan(v := getattr(expected, name)[k]) else pytest.approx(v))
        points = [label.brier.point for label in found.per_label if label.brier]
        assert points == pytest.approx(brier(given.y_true[10:], given.y_prob[10:]).tolist())

    def test_subgroups_are_scored_among_themselves(self) -> None:
        given = predictions()
        sexes = ["female"] * 10 + ["female", "male"] * 20
        ages = [30.0] * 10 + [15.0] * 25 + [70.0] * 12 + [None] * 3
        found = score_task(SUPER, dataclasses.replace(given, sex=sexes, age=ages), RESAMPLES).subgroups
        assert [(part.name, part.value, part.records) for part in found] == [
            ("sex", "female", 20), ("sex", "male", 20), ("age", "12-17", 25), ("age", "60-79", 12),
        ]  # fmt: skip
        rows = slice(10, 50, 2)
        expected = macro_auroc(given.y_true[rows], given.y_prob[rows])
        assert found[0].metrics["macro_auroc"].point == pytest.approx(expected)
        low, high = found[0].metrics["macro_auroc"].low, found[0].metrics["macro_auroc"].high
        assert low is not None
        assert high is not None
        assert low < expected < high
        assert score_task(SUPER, given, RESAMPLES).subgroups == []

    def test_age_bands(self) -> None:
        ages = (0.0, 0.99, 1, 4.9, 5, 12, 17.9, 18, 40, 59.9, 60, 80, 101)
        names = "under 1|under 1|1-4|1-4|5-11|12-17|12-17|18-39|40-59|40-59|60-79|80 and over|80 and over"
        assert [age_band(age) for age in ages] == names.split("|")

    def test_a_task_is_columns_of_its_run(self) -> None:
        everything, diag = get_task("ptbxl_all"), get_task("ptbxl_diag")
        given = predictions(labels=everything.labels, run="ptbxl_all")
        found = score_task(diag, given, RESAMPLES)
        columns = [everything.labels.index(label) for label in diag.labels]
        assert [label.label for label in found.per_label] == list(diag.labels)
        expected = macro_auroc(given.y_true[10:, columns], given.y_prob[10:, columns])
        assert found.metrics["macro_auroc"].point == pytest.approx(expected)
        assert found.labels.published == found.labels.scored == 44

    def test_columns_are_found_by_name_not_by_place(self) -> None:
        given = predictions()
        order = [3, 0, 4, 2, 1]
        shuffled = dataclasses.replace(
            given,
            labels=tuple(given.labels[k] for k in order),
            y_true=given.y_true[:, order],
            y_prob=given.y_prob[:, order],
        )
        assert score_task(SUPER, shuffled, RESAMPLES) == score_task(SUPER, given, RESAMPLES)

    def test_missing_labels_are_listed_and_the_rest_scored(self) -> None:
        found = score_task(SUPER, predictions(labels=("CD", "MI", "NORM", "STTC")), RESAMPLES)
        assert (found.labels.published, found.labels.scored, found.labels.missing) == (5, 4, ["HYP"])
        assert [label.label for label in found.per_label] == ["CD", "MI", "NORM", "STTC"]
        assert found.metrics["macro_auroc"].classes == 4

    def test_a_label_without_positives_counts_half_only_in_the_paper_reading(self) -> None:
        given = predictions()
        given.y_true[10:, 1] = 0
        found = score_task(SUPER, given, RESAMPLES)
        assert found.labels.scored == 5
        assert found.metrics["macro_auroc"].classes == 4
        assert found.metrics["macro_auroc_paper"].classes == 5
        empty = found.per_label[1]
        assert empty.positives == 0
        assert empty.auroc is not None
        assert empty.auroc.point is empty.auroc.low is None

    def test_missing_targets_are_not_records_of_the_label(self) -> None:
        given = predictions()
        given.y_true[10:30, 0] = np.nan
        assert score_task(SUPER, given, RESAMPLES).per_label[0].records == 20


class TestRegression:
    def test_points_are_the_metrics_of_the_test_split(self) -> None:
        given = regression_predictions()
        found = score_task(regression_task(), given, RESAMPLES)
        pair = given.y_true[:, :2], given.y_prob[:, :2]
        assert found.metrics["mae"].point == pytest.approx(pooled_mae(*pair))
        assert found.metrics["macro_mae"].point == pytest.approx(mean_mae(*pair))
        assert [label.mae.point for label in found.per_label if label.mae] == pytest.approx(mae(*pair).tolist())
        assert found.per_label[0].positives is None
        assert found.per_label[0].auroc is None
        assert found.metrics["mae"].low is not None

    def test_errors_in_clinical_units(self) -> None:
        given = dataclasses.replace(regression_predictions(), scales={"age": (17.5, "years")})
        age, bmi = score_task(regression_task(), given, RESAMPLES).per_label
        assert age.mae is not None
        assert age.mae_clinical is not None
        assert (age.unit, bmi.unit, bmi.mae_clinical) == ("years", None, None)
        assert age.mae_clinical.point == pytest.approx(17.5 * (age.mae.point or 0))
        assert age.mae_clinical.low == pytest.approx(17.5 * (age.mae.low or 0))
        assert age.mae_clinical.high == pytest.approx(17.5 * (age.mae.high or 0))

    def test_no_target_at_all(self) -> None:
        given = regression_predictions()
        given.y_true[:] = np.nan
        with pytest.raises(ScoringError, match="no target has a value on the 30 records"):
            score_task(regression_task(), given, RESAMPLES)


class TestByPatient:
    def test_intervals_differ_and_points_do_not(self) -> None:
        given = predictions()
        one, other = score_task(SUPER, given, RESAMPLES), score_task(SUPER, given, RESAMPLES, by="patient")
        assert one.metrics["macro_auroc"].point == other.metrics["macro_auroc"].point
        assert one.metrics["macro_auroc"].low != other.metrics["macro_auroc"].low

    def test_one_record_each_draws_like_records(self) -> None:
        given = predictions()
        single = dataclasses.replace(given, patient_id=[f"{i:03d}" for i in range(50)])
        unknown = dataclasses.replace(given, patient_id=[*[f"{i:03d}" for i in range(49)], None])
        assert score_task(SUPER, single, RESAMPLES, by="patient") == score_task(SUPER, given, RESAMPLES)
        assert score_task(SUPER, unknown, RESAMPLES, by="patient").metrics["macro_auroc"].low is not None

    @pytest.mark.parametrize("patients", [None, [None] * 50])
    def test_needs_patients(self, patients: list[str | None] | None) -> None:
        with pytest.raises(InputError, match="name no patients; resample by record"):
            score_task(SUPER, dataclasses.replace(predictions(), patient_id=patients), RESAMPLES, by="patient")


class TestNoScore:
    def test_no_test_records(self) -> None:
        with pytest.raises(ScoringError, match="the test split holds no record"):
            score_task(SUPER, predictions(validation=12, test=0), RESAMPLES)

    def test_none_of_the_labels(self) -> None:
        with pytest.raises(ScoringError, match="no output for any of its 5 labels"):
            score_task(SUPER, predictions(labels=("AF",)), RESAMPLES)

    def test_no_label_with_both_outcomes(self) -> None:
        given = predictions()
        given.y_true[10:] = 0
        with pytest.raises(ScoringError, match=r"^ptbxl_super: none of 5 labels has both .* among the 40"):
            score_task(SUPER, given, RESAMPLES)

    def test_another_run(self) -> None:
        with pytest.raises(InputError, match="these are predictions of 'sph'"):
            score_task(SUPER, predictions(run="sph"), RESAMPLES)

    def test_predictions_that_are_not_finite(self) -> None:
        given = predictions()
        given.y_prob[20, 2] = np.nan
        with pytest.raises(InputError, match="Scores must be finite numbers; found nan in record 10, output 2"):
            score_task(SUPER, given, RESAMPLES)

    def test_both_splits_are_checked_once_at_the_door(self, monkeypatch: pytest.MonkeyPatch) -> None:
        checked = []
        check = checks._refuse
        monkeypatch.setattr(checks, "_refuse", lambda bad, *about: (checked.append(bad.shape), check(bad, *about)))
        score_task(SUPER, predictions(), RESAMPLES)
        assert checked == [(40, 5)] * 2 + [(10, 5)] * 2, "scores and targets, of test and of validation"

    def test_is_a_result_error(self) -> None:
        assert issubclass(ScoringError, ResultError)


def test_subgroups_of_values_have_the_error_of_their_records() -> None:
    given = regression_predictions()
    test = [row for row, split in enumerate(given.split) if split == "test"]
    groups = {"female": test[::2], "male": test[1::3]}
    sex: list[str | None] = [None] * len(given.split)
    for name, rows in groups.items():
        for row in rows:
            sex[row] = name
    given = dataclasses.replace(given, sex=sex)
    parts = {part.value: part for part in score_task(regression_task(), given, RESAMPLES).subgroups}
    kept = [index for index, value in enumerate(sex) if value == "female"]
    alone = dataclasses.replace(
        given,
        split=["test"] * len(kept),
        record_id=[given.record_id[row] for row in kept],
        y_true=given.y_true[kept],
        y_prob=given.y_prob[kept],
        sex=None,
        patient_id=None,
    )
    assert parts["female"].metrics == {"mae": score_task(regression_task(), alone, RESAMPLES).metrics["mae"]}
    assert parts["female"].metrics["mae"].low is not None
    males = [row for row in groups["male"] if sex[row] == "male"]
    given.y_true[males] = np.nan
    assert [part.value for part in score_task(regression_task(), given, RESAMPLES).subgroups] == ["female"]


def test_a_lone_sex_leaves_the_ages_and_ten_records_are_enough() -> None:
    given = dataclasses.replace(
        predictions(validation=0, test=29), sex=["female"] * 29, age=[30.0] * 10 + [70.0] * 10 + [10.0] * 9
    )
    found = [(name, value, rows.tolist()) for name, value, rows in subgroups(given)]
    assert found == [("age", age_band(30), list(range(10))), ("age", age_band(70), list(range(10, 20)))]


def test_a_record_without_a_patient_is_one_of_its_own() -> None:
    given = dataclasses.replace(predictions(validation=0, test=4), patient_id=["a", None, "a", None])
    assert patient_groups(given).tolist() == ["patient a", "record 1", "patient a", "record 3"]


def test_the_calibration_error_says_of_how_many_labels_it_is() -> None:
    found = score_task(SUPER, predictions(), RESAMPLES).metrics
    assert found["macro_calibration_error"].classes == found["macro_auroc"].classes == 5


def test_a_value_without_an_interval_is_scaled_without_one() -> None:
    given = dataclasses.replace(regression_predictions(), scales={"age": (17.5, "years")})
    test = [row for row, split in enumerate(given.split) if split == "test"]
    column = given.labels.index("age")
    given.y_true[test[0], column], given.y_true[test[1:], column] = 1, np.nan
    age, _ = score_task(regression_task(), given, RESAMPLES).per_label
    assert age.mae is not None
    assert age.mae_clinical is not None
    assert age.mae_clinical.point == pytest.approx(17.5 * (age.mae.point or 0))
    assert age.mae_clinical.low is age.mae_clinical.high is None


def test_coverage_needs_no_predictions() -> None:
    assert label_coverage(SUPER, ["NORM", "other"]).missing == ["CD", "HYP", "MI", "STTC"]


@pytest.mark.parametrize(("outputs", "unnamed"), [(2, 56), (58, 0), (60, 0)])
def test_coverage_of_labels_that_only_the_run_names(outputs: int, unnamed: int) -> None:
    names = [f"label {number}" for number in range(outputs)]
    found = label_coverage(get_task("zzu_pecg"), ["age", *names], {"label_all": names})
    assert (found.published, found.scored, found.missing, found.unnamed) == (58, outputs, [], unnamed)


def test_a_task_whose_labels_only_the_run_names_is_scored_by_its_group() -> None:
    given = predictions(labels=("a", "b", "c"), run="zzu_pecg")
    found = score_task(get_task("zzu_pecg"), dataclasses.replace(given, groups={"label_all": ["c", "a"]}), RESAMPLES)
    assert (found.labels.published, found.labels.scored, found.labels.unnamed) == (58, 2, 56)
    assert sorted(label.label for label in found.per_label) == ["a", "c"]


def test_confidence_widens_the_interval() -> None:
    narrow = score_task(SUPER, predictions(), RESAMPLES, confidence=0.5).metrics["macro_auroc"]
    wide = score_task(SUPER, predictions(), RESAMPLES, confidence=0.95).metrics["macro_auroc"]
    assert (wide.low or 0) < (narrow.low or 0) < (narrow.high or 0) < (wide.high or 0)


@pytest.mark.parametrize("name", ["classes", "classes by patient", "values"])
def test_statistics_version_1_is_as_it_was(golden: Path, name: str) -> None:
    """Scores that the code of version 1 gave, so that results of then are still checked to the digit."""
    expected = json.loads((golden / "results" / "score_statistics_1.json").read_text())[name]
    classes = dataclasses.replace(predictions(), sex=["female", "male"] * 25)
    task, given = (regression_task(), regression_predictions()) if name == "values" else (SUPER, classes)
    by: ResampleUnit = "patient" if "patient" in name else "record"
    found = score_task(task, given, RESAMPLES, by=by, statistics=1)
    parts = {
        "metrics": {metric: estimate.model_dump() for metric, estimate in found.metrics.items()},
        "per_label": [label.model_dump(exclude_none=True) for label in found.per_label],
        "subgroups": [part.model_dump() for part in found.subgroups],
    }
    for part, values in parts.items():
        assert list(differences(part, expected[part], values)) == []
        assert list(differences(part, values, expected[part])) == []
