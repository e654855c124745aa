"""Every replicate of every metric equals the same metric on the resampled rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ecg_hub.errors import InputError
from eval_harness.stats import bootstrap
from eval_harness.stats import weighted_ranking as ranking
from eval_harness.stats.bootstrap import (
    auroc_replicates,
    bootstrap_counts,
    counts_from_indices,
    mae_replicates,
    micro_auroc_replicates,
    ranking_replicates,
)
from tests.support.scores import scored

EXACT = 1e-12


def sklearn_or_nan(metric: object, target: np.ndarray, score: np.ndarray) -> float:
    known = ~np.isnan(target)
    target, score = target[known], score[known]
    return float(metric(target, score)) if len(set(target)) == 2 else float("nan")  # type: ignore[operator]


def brute_force(metric: object, y_true: np.ndarray, y_score: np.ndarray, counts: np.ndarray) -> np.ndarray:
    found = np.empty((counts.shape[1], y_true.shape[1]))
    for r in range(counts.shape[1]):
        rows = np.repeat(np.arange(len(y_true)), counts[:, r])
        for k in range(y_true.shape[1]):
            found[r, k] = sklearn_or_nan(metric, y_true[rows, k], y_score[rows, k])
    return found


@pytest.mark.parametrize("records", [7, 60, 211])
@pytest.mark.parametrize("wide", [False, True], ids=["16 bit", "32 bit"])
def test_ranking_equals_scikit_learn_on_resampled_rows(
    records: int, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wide:
        monkeypatch.setattr(ranking, "NARROW_LIMIT", 1)
    monkeypatch.setattr(bootstrap, "CHUNK", 7)
    monkeypatch.setattr(bootstrap, "PIECE_CELLS", 0)
    y_true, y_score = scored(records=records, classes=9, seed=records)
    counts = bootstrap_counts(records, 24, seed=5)
    areas, precisions = ranking_replicates(y_true, y_score, counts)
    np.testing.assert_allclose(areas, brute_force(roc_auc_score, y_true, y_score, counts), atol=EXACT, rtol=0)
    np.testing.assert_allclose(
        precisions, brute_force(average_precision_score, y_true, y_score, counts), atol=EXACT, rtol=0
    )
    np.testing.assert_array_equal(auroc_replicates(y_true, y_score, counts), areas)


@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_heavy_ties(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    y_true = (rng.random((150, 5)) < [0.02, 0.2, 0.5, 0.8, 0.98]).astype(np.float32)
    y_score = np.round(rng.random((150, 5)), decimals)
    counts = bootstrap_counts(150, 20, seed=1)
    areas, precisions = ranking_replicates(y_true, y_score, counts)
    np.testing.assert_allclose(areas, brute_force(roc_auc_score, y_true, y_score, counts), atol=EXACT, rtol=0)
    np.testing.assert_allclose(
        precisions, brute_force(average_precision_score, y_true, y_score, counts), atol=EXACT, rtol=0
    )


def test_micro_equals_scikit_learn_on_resampled_rows() -> None:
    y_true, y_score = scored(records=50, classes=9, seed=4)
    counts = bootstrap_counts(50, 15, seed=2)
    found = micro_auroc_replicates(y_true, y_score, counts)
    for r in range(15):
        rows = np.repeat(np.arange(50), counts[:, r])
        expected = sklearn_or_nan(roc_auc_score, y_true[rows].ravel(), y_score[rows].ravel())
        assert found[r] == pytest.approx(expected, abs=EXACT)


def test_replicates_equal_the_reference(golden: Path) -> None:
    with np.load(golden / "protocol" / "bootstrap_golden.npz") as file:
        counts = counts_from_indices(file["ids"], len(file["y_true"]))
        areas = auroc_replicates(file["y_true"], file["y_prob"], counts)
        micro = micro_auroc_replicates(file["y_true"], file["y_prob"], counts)
        np.testing.assert_allclose(areas, file["fixed_reps"][:, :12], atol=1e-6, rtol=0)
        np.testing.assert_allclose(micro, file["fixed_reps"][:, 12], atol=1e-6, rtol=0)


def test_mae_equals_the_mean_over_resampled_rows() -> None:
    rng = np.random.default_rng(0)
    y_true = rng.normal(size=(40, 3))
    y_true[rng.random((40, 3)) < 0.3] = np.nan
    y_true[1:, 2] = np.nan  # one known value: absent from many replicates
    y_pred = rng.normal(size=(40, 3))
    counts = bootstrap_counts(40, 300, seed=3)
    per_target, pooled = mae_replicates(y_true, y_pred, counts)
    assert np.isnan(per_target[:, 2]).any()
    for r in range(300):
        rows = np.repeat(np.arange(40), counts[:, r])
        error = np.abs(y_true - y_pred)[rows]
        assert pooled[r] == pytest.approx(np.nanmean(error), abs=EXACT)
        for k in range(3):
            expected = np.nanmean(error[:, k]) if (~np.isnan(error[:, k])).any() else np.nan
            assert per_target[r, k] == pytest.approx(expected, abs=EXACT, nan_ok=True)


def test_sums_beyond_16_bit_are_exact() -> None:
    records = 70_000
    rng = np.random.default_rng(0)
    y_true = (rng.random((records, 1)) < 0.5).astype(np.float32)
    y_score = np.round(rng.random((records, 1)), 3)
    counts = bootstrap_counts(records, 2, seed=0)
    areas, precisions = ranking_replicates(y_true, y_score, counts)
    for r in range(2):
        weights = counts[:, r]
        assert areas[r, 0] == pytest.approx(
            roc_auc_score(y_true[:, 0], y_score[:, 0], sample_weight=weights), abs=1e-10
        )
        expected = average_precision_score(y_true[:, 0], y_score[:, 0], sample_weight=weights)
        assert precisions[r, 0] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("weight", "width"), [(255, np.uint16), (256, np.uint32)])
def test_what_a_single_replicate_weighs_decides_the_width(
    weight: int, width: type[np.unsignedinteger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 records of weight 256 weigh 65,536, one more than 16 bits hold; replicates are not added up."""
    widths, weigh = [], ranking.weigh
    monkeypatch.setattr(ranking, "weigh", lambda ranked, counts: widths.append(counts.dtype) or weigh(ranked, counts))
    auroc_replicates([[0.0], [1.0]] * 128, [[0.1], [0.9]] * 128, np.full((256, 2), weight, dtype=np.uint16))
    assert widths == [width]


def test_a_patient_with_many_records_can_leave_16_bit() -> None:
    # 400 records, but the replicate that draws the big patient 300 times weighs far more than 65,535
    counts = np.ones((400, 1), dtype=np.uint16)
    counts[:300, 0] = 300
    y_true, y_score = scored(records=400, classes=8, seed=8)
    found, _ = ranking_replicates(y_true, y_score, counts)
    for k in (0, 1, 3):
        known = ~np.isnan(y_true[:, k])
        expected = roc_auc_score(y_true[known, k], y_score[known, k], sample_weight=counts[known, 0])
        assert found[0, k] == pytest.approx(expected, abs=EXACT)


class TestCounts:
    def test_each_replicate_draws_as_many_records_as_there_are(self) -> None:
        counts = bootstrap_counts(100, 150, seed=0)
        assert counts.shape == (100, 150)
        assert counts.dtype == np.uint16
        assert (counts.sum(axis=0) == 100).all()

    def test_are_poisson_like_and_unrelated_between_replicates(self) -> None:
        counts = bootstrap_counts(2000, 100, seed=0)
        assert (counts == 0).mean() == pytest.approx(np.exp(-1), abs=0.01)
        assert abs(np.corrcoef(counts[:, 0], counts[:, 1])[0, 1]) < 0.1

    def test_seed_decides(self) -> None:
        first, other = (bootstrap_counts(50, 10, seed=seed) for seed in (1, 2))
        bootstrap._kept.cache_clear()
        again = bootstrap_counts(50, 10, seed=1)
        assert again is not first
        assert (first == again).all()
        assert (first != other).any()

    def test_what_was_just_drawn_is_given_again_and_cannot_be_written_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        counts = bootstrap_counts(50, 10, seed=1)
        assert bootstrap_counts(50, 10, seed=1) is counts
        with pytest.raises(ValueError, match="read-only"):
            counts[0, 0] = 1
        monkeypatch.setattr(bootstrap, "KEPT_CELLS", 499)
        assert bootstrap_counts(50, 10, seed=1) is not counts, "large ones are not kept"

    def test_more_resamples_only_add(self) -> None:
        assert (bootstrap_counts(30, 200, seed=1)[:, :70] == bootstrap_counts(30, 70, seed=1)).all()

    def test_records_of_a_patient_come_together(self) -> None:
        groups = ["a", "b", "a", "c", "b", "a"]
        counts = bootstrap_counts(6, 200, seed=0, groups=groups)
        assert (counts[[0, 0]] == counts[[2, 5]]).all()
        assert (counts[1] == counts[4]).all()
        assert (counts[0].astype(int) + counts[1] + counts[3] == 3).all()

    def test_one_group_is_always_drawn_whole(self) -> None:
        assert (bootstrap_counts(4, 5, seed=0, groups=["p"] * 4) == 1).all()

    @pytest.mark.parametrize(("records", "resamples"), [(0, 10), (10, 0), (-1, 5)])
    def test_nothing_to_draw_is_refused(self, records: int, resamples: int) -> None:
        with pytest.raises(InputError, match="needs records and resamples"):
            bootstrap_counts(records, resamples)

    def test_groups_must_match(self) -> None:
        with pytest.raises(InputError, match="2 patients are given for 3 records"):
            bootstrap_counts(3, 5, groups=["a", "b"])

    def test_are_small_integers(self) -> None:
        counts = counts_from_indices(np.array([[0, 0, 2]]), 3)
        assert counts.dtype == np.uint16
        assert counts.tolist() == [[2], [0], [1]]

    def test_indices_out_of_range_are_refused(self) -> None:
        with pytest.raises(InputError, match="run from 0 to 4; 0 to 3 are allowed"):
            counts_from_indices(np.array([[0, 4]]), 4)


def test_counts_must_fit_the_records() -> None:
    y_true, y_score = scored(records=10, classes=8)
    for wrong in (bootstrap_counts(9, 5), np.zeros((10, 0), dtype=np.uint16)):
        with pytest.raises(InputError, match="Use `bootstrap_counts`"):
            auroc_replicates(y_true, y_score, wrong)
        with pytest.raises(InputError, match="Use `bootstrap_counts`"):
            mae_replicates(y_true, y_score, wrong)


def test_the_micro_area_of_many_entries_does_not_overflow() -> None:
    """Of 400 records of 200 classes 72,000 entries are negative, more than 16 bits hold."""
    rng = np.random.default_rng(0)
    true = (rng.random((400, 200)) < 0.1).astype(np.float32)
    score = rng.random(true.shape).astype(np.float32)
    found = micro_auroc_replicates(true, score, np.ones((400, 2), np.uint16))
    expected = roc_auc_score(true.ravel(), score.ravel())
    assert found.tolist() == pytest.approx([expected, expected], abs=1e-9)


def test_the_pairs_of_one_score_do_not_overflow() -> None:
    """300 positives and 300 negatives of one score are 90,000 pairs, more than 16 bits hold."""
    true = np.repeat([[1.0], [0.0]], 300, axis=0)
    areas, precisions = ranking_replicates(true, np.zeros((600, 1)), np.ones((600, 2), np.uint16))
    assert areas.tolist() == precisions.tolist() == [[0.5], [0.5]]


@pytest.mark.parametrize("metric", [micro_auroc_replicates, auroc_replicates, ranking_replicates])
def test_areas_refuse_targets_that_are_no_outcomes(metric: Callable[..., object]) -> None:
    with pytest.raises(InputError, match="Targets must be 0, 1 or NaN"):
        metric([[0.5]], [[0.5]], np.ones((1, 1), np.uint16))


def test_what_is_drawn_unless_said_otherwise_and_by_patient() -> None:
    """1,000 resamples of the seed 0; of patients as many as there are, by the same seed."""
    assert bootstrap_counts(5).tobytes() == bootstrap_counts(5, 1000, 0).tobytes()
    assert bootstrap_counts(5, 1).shape == (5, 1)
    found = bootstrap_counts(5, 20, 3, groups=["b", "a", "b", "c", "a"])
    assert found.tolist() == bootstrap_counts(3, 20, 3)[[1, 0, 1, 2, 0]].tolist()


def test_one_record_drawn_once_has_an_error() -> None:
    counts = np.array([[1, 0], [0, 0]], np.uint16)
    each, pooled = mae_replicates([[1.0], [2.0]], [[0.5], [0.0]], counts)
    for replicates in (each[:, 0], pooled):
        assert replicates.tolist() == pytest.approx([0.5, np.nan], nan_ok=True)
