"""Influences equal the derivative of the weighted metric, and say what repeated records are worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.metrics import average_precision_score, roc_auc_score

from eval_harness.stats.influence import (
    Units,
    auroc_influence,
    average_precision_bias,
    average_precision_influence,
    mean_influence,
)
from tests.support.scores import scored

STEP = 1e-5


def derivative(metric: Callable[..., float], true: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Of the metric by the weight of each record that has a target."""
    known = ~np.isnan(true)
    found = np.zeros(true.size)
    for i in np.flatnonzero(known):
        values = []
        for change in (STEP, -STEP):
            weight = np.ones(true.size)
            weight[i] += change
            values.append(metric(true[known], score[known].astype(float), sample_weight=weight[known]))
        found[i] = (values[0] - values[1]) / (2 * STEP)
    return found


@pytest.mark.parametrize("k", [0, 1, 3])
def test_ranking_influences_are_derivatives(k: int) -> None:
    true, score = scored(records=60, seed=2)
    pairs = ((auroc_influence, roc_auc_score), (average_precision_influence, average_precision_score))
    for influence, metric in pairs:
        found = influence(true, score)[:, k]
        np.testing.assert_allclose(found, derivative(metric, true[:, k], score[:, k]), atol=1e-7)
        assert found.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("k", [5, 6, 7])
def test_a_class_without_an_outcome_is_moved_by_nothing(k: int) -> None:
    true, score = scored(records=60)
    assert not auroc_influence(true, score)[:, k].any()
    assert not average_precision_influence(true, score)[:, k].any()
    assert average_precision_bias(true, score)[k] == 0


def test_of_a_mean_it_is_the_distance_from_it() -> None:
    values, mask = np.array([[1.0], [4.0], [9.0]]), np.array([[True], [True], [False]])
    assert mean_influence(values, mask)[:, 0].tolist() == [-0.75, 0.75, 0]


def test_bias_of_average_precision_by_hand() -> None:
    """Ranked + - + -: precision 1 and 2/3; without itself the second is 1/2, so (2/3 - 1/2) / 2."""
    true, score = np.array([[1.0], [0.0], [1.0], [0.0]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    assert average_precision_bias(true, score)[0] == pytest.approx(1 / 12)
    assert average_precision_bias(true, -np.abs(true - 1))[0] == 0, "positives first: nothing to lose"


class TestUnits:
    groups = np.array(["a", "a", "b", "b"])
    all_ = np.ones((4, 1), dtype=bool)

    def test_records_are_units_where_no_patient_repeats(self) -> None:
        assert Units.of(None).members is None
        assert Units.of(np.array(["a", "b", "c"])).members is None
        assert Units().inflation(np.ones((3, 2)), np.ones((3, 2), dtype=bool), 0.95).tolist() == [1, 1]

    def test_variance_over_patients_by_hand(self) -> None:
        influence = np.array([[0.1], [0.2], [-0.1], [-0.2]])
        assert Units.of(self.groups).variance(influence, self.all_)[0] == pytest.approx(2 / 1 * (0.09 + 0.09))
        assert Units().variance(influence, self.all_)[0] == pytest.approx(4 / 3 * 0.1)
        assert Units().variance(influence, np.eye(4, 1, dtype=bool))[0] == np.inf

    def test_copies_are_worth_one(self) -> None:
        """Ten patients of three equal ECGs each."""
        values = np.repeat(np.random.default_rng(0).normal(size=(10, 1)), 3, axis=0)
        mask = np.ones(values.shape, dtype=bool)
        units = Units.of(np.repeat(np.arange(10), 3))
        assert units.copies(mask)[0] == 3
        assert units.inflation(mean_influence(values, mask), mask, 0.95)[0] == 3

    def test_inflation_by_hand(self) -> None:
        """Sums of patients 1, -1, 1, -1 over records 1, 0: variance 4/3 * 4 by 8/7 * 4, times (t / z)^2."""
        influence = np.array([[1.0], [0], [-1], [0], [1], [0], [-1], [0]])
        units, mask = Units.of(np.repeat(np.arange(4), 2)), np.ones((8, 1), dtype=bool)
        few = (t.ppf(0.75, 3) / norm.ppf(0.75)) ** 2
        assert units.inflation(influence, mask, 0.5)[0] == pytest.approx(4 / 3 / (8 / 7) * few)

    def test_is_at_least_one_and_where_unknown_that_of_copies(self) -> None:
        units = Units.of(self.groups)
        assert units.inflation(np.array([[1.0], [-1], [1], [-1]]), self.all_, 0.95)[0] == 1
        assert units.inflation(np.zeros((4, 1)), self.all_, 0.95)[0] == 2
        assert units.inflation(np.ones((4, 1)), np.eye(4, 1, dtype=bool), 0.95)[0] == 1
