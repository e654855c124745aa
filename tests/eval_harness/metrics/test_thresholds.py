from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from ecg_hub.errors import InputError
from eval_harness.metrics import thresholds
from eval_harness.metrics.thresholds import Criterion, choose_thresholds, threshold_metrics
from tests.support.scores import scored

Y_TRUE, Y_SCORE = scored(records=200, classes=8, seed=3)
EVALUABLE = (0, 1, 2, 3, 4)


@pytest.mark.heavy
@pytest.mark.parametrize("by", ["f1", "youden"])
def test_no_other_threshold_is_better(by: Criterion) -> None:
    chosen = choose_thresholds(Y_TRUE, Y_SCORE, by)
    for k in EVALUABLE:
        known = ~np.isnan(Y_TRUE[:, k])
        target, score = Y_TRUE[known, k], Y_SCORE[known, k]

        def gain(cut: float, target: np.ndarray = target, score: np.ndarray = score) -> float:
            called = score >= cut
            if by == "f1":
                return float(f1_score(target, called))
            return float(recall_score(target, called) + recall_score(1 - target, ~called) - 1)

        gains = {float(cut): gain(float(cut)) for cut in np.unique(score)}
        best = max(gains.values())
        assert gain(chosen[k]) == pytest.approx(best, abs=1e-12)
        assert chosen[k] == max(cut for cut, value in gains.items() if value > best - 1e-12)


def test_all_positives_count_also_the_one_with_the_lowest_score() -> None:
    assert choose_thresholds(np.array([[1.0], [0], [1]]), np.array([[0.9], [0.5], [0.1]])).tolist() == [0.1]


def test_of_two_thresholds_with_one_f1_the_higher_is_taken() -> None:
    """One of two positives with one called, and both with four called: F1 of 2/3 each."""
    true, score = np.array([[1.0], [0], [0], [1]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    assert choose_thresholds(true, score).tolist() == [0.9]


def test_metrics_as_in_scikit_learn() -> None:
    chosen = choose_thresholds(Y_TRUE, Y_SCORE)
    found = threshold_metrics(Y_TRUE, Y_SCORE, chosen)
    for k in EVALUABLE:
        known = ~np.isnan(Y_TRUE[:, k])
        target, called = Y_TRUE[known, k], Y_SCORE[known, k] >= chosen[k]
        assert found.f1[k] == pytest.approx(f1_score(target, called))
        assert found.sensitivity[k] == pytest.approx(recall_score(target, called))
        assert found.specificity[k] == pytest.approx(recall_score(1 - target, ~called))


def test_classes_without_an_outcome_have_no_threshold_and_no_metrics() -> None:
    chosen = choose_thresholds(Y_TRUE, Y_SCORE)
    assert np.isnan(chosen[[5, 6, 7]]).all()
    found = threshold_metrics(Y_TRUE, Y_SCORE, chosen)
    for values in (found.f1, found.sensitivity, found.specificity):
        assert np.isnan(values[[5, 6, 7]]).all()


def test_sensitivity_needs_positives_and_specificity_negatives() -> None:
    found = threshold_metrics(np.array([[0.0, 1.0]]), np.array([[0.4, 0.6]]), [0.5, 0.5])
    assert np.isnan(found.sensitivity[0])
    assert found.specificity[0] == 1.0
    assert found.sensitivity[1] == 1.0
    assert np.isnan(found.specificity[1])
    assert np.isnan(found.f1[0])
    assert found.f1[1] == 1.0


def test_without_positives_a_false_alarm_is_no_f1_of_0() -> None:
    found = threshold_metrics(np.array([[0.0], [0.0]]), np.array([[0.4], [0.6]]), [0.5])
    assert np.isnan(found.f1[0])
    assert found.specificity[0] == 0.5


def test_thresholds_of_whole_numbers_and_of_none_are_taken() -> None:
    found = threshold_metrics(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[0.5, 1.0], [2.0, 2.0]]), [1, None])
    assert found.sensitivity[0] == found.specificity[0] == 1.0
    assert np.isnan(found.sensitivity[1])


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="Targets must be 0, 1 or NaN"):
        threshold_metrics(np.array([[0.5]]), np.array([[0.5]]), [0.5])
    with pytest.raises(InputError, match="Targets must be 0, 1 or NaN"):
        choose_thresholds(np.array([[0.5]]), np.array([[0.5]]))
    with pytest.raises(InputError, match=r"Unknown criterion 'auc'; allowed: 'f1', 'youden'"):
        choose_thresholds(Y_TRUE, Y_SCORE, "auc")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"one per class is expected: \(8,\)"):
        threshold_metrics(Y_TRUE, Y_SCORE, [0.5])


def test_youden_weighs_both_outcomes_by_their_own_number() -> None:
    """Of 2 positives and 8 negatives: 0.5 + 1 - 1 at 0.9, 1 + 5/8 - 1 at 0.3; F1 would take 0.9."""
    targets = np.array([1, 1] + [0] * 8)[:, None]
    scores = np.array([0.9, 0.3, 0.5, 0.4, 0.35, 0.2, 0.2, 0.1, 0.1, 0.0])[:, None]
    assert thresholds.choose_thresholds(targets, scores, by="youden").tolist() == [0.3]
    assert thresholds.choose_thresholds(targets, scores).tolist() == [0.9]
    # 3 of 8 negatives more for the second half of the positives pay, 5 of 8 do not.
    scores[5:7] = 0.6
    assert thresholds.choose_thresholds(targets, scores, by="youden").tolist() == [0.9]


def test_entries_give_their_field_at_the_thresholds() -> None:
    targets, scores = np.array([[1.0], [1.0], [0.0], [0.0], [0.0]]), np.array([[0.9], [0.3], [0.6], [0.1], [0.2]])
    found = {entry.name: entry.values(targets, scores, [0.5]) for entry in thresholds.METRICS}
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(
        {"macro_f1": 0.5, "macro_sensitivity": 0.5, "macro_specificity": 2 / 3}
    )
