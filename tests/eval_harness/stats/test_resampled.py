from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import InputError, UnknownNameError
from eval_harness.stats import resampled as statistics
from eval_harness.stats.bootstrap import bootstrap_counts, counts_from_indices
from eval_harness.stats.resampled import (
    Resampled,
    compare,
    difference,
    differences,
    interval,
    macro,
    macro_paper,
    metric_replicates,
    resample_errors,
    resample_ranking,
)
from tests.support.scores import scored

EXACT = 1e-6
NAN = float("nan")


@pytest.fixture(scope="module")
def published(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "protocol" / "bootstrap_golden.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def fixed(published: dict[str, np.ndarray]) -> tuple[Resampled, Resampled]:
    counts = counts_from_indices(published["ids"], 400)
    return tuple(resample_ranking(published["y_true"], published[name], counts)[0] for name in ("y_prob", "y_prob2"))  # type: ignore[return-value]


def same(found: statistics.Interval | statistics.Difference, *expected: float) -> None:
    assert [found.point, found.low, found.high] == pytest.approx(list(expected), abs=EXACT, nan_ok=True)


class TestPaperReading:
    def test_macro_equals_the_reference(
        self, published: dict[str, np.ndarray], fixed: tuple[Resampled, Resampled]
    ) -> None:
        point, replicates = macro_paper(fixed[0])
        np.testing.assert_allclose(replicates, published["fixed_reps"][:, 13], atol=EXACT, rtol=0)
        same(
            interval(point, replicates, paper=True),
            *(float(published[f"fixed_{end}"][13]) for end in ("point", "low", "high")),
        )

    def test_classes_equal_the_reference(
        self, published: dict[str, np.ndarray], fixed: tuple[Resampled, Resampled]
    ) -> None:
        for k in range(12):
            found = interval(float(fixed[0].point[k]), fixed[0].replicates[:, k], paper=True)
            same(found, *(float(published[f"fixed_{end}"][k]) for end in ("point", "low", "high")))

    def test_paired_differences_equal_the_reference(
        self, published: dict[str, np.ndarray], fixed: tuple[Resampled, Resampled]
    ) -> None:
        pairs = [
            (float(fixed[0].point[k]), fixed[0].replicates[:, k], float(fixed[1].point[k]), fixed[1].replicates[:, k])
            for k in range(12)
        ]
        pairs.append((*macro_paper(fixed[0]), *macro_paper(fixed[1])))
        for column, pair in zip([*range(12), 13], pairs, strict=True):
            expected = [float(published[f"fixed_diff_{end}"][column]) for end in ("point", "low", "high")]
            same(difference(*pair, paper=True), *expected)

    def test_monte_carlo_spread(self, published: dict[str, np.ndarray]) -> None:
        for column, name in ((1, "low"), (2, "high")):
            reference = published["mc_macro"][:, column]
            reference_diff = published["mc_diff_macro"][:, column]
            for seed in range(3):
                counts = bootstrap_counts(400, 1000, seed)
                areas = [resample_ranking(published["y_true"], published[y], counts)[0] for y in ("y_prob", "y_prob2")]
                found = getattr(interval(*macro_paper(areas[0]), paper=True), name)
                assert abs(found - reference.mean()) < 5 * reference.std(ddof=1)
                found = getattr(difference(*macro_paper(areas[0]), *macro_paper(areas[1]), paper=True), name)
                assert abs(found - reference_diff.mean()) < 5 * reference_diff.std(ddof=1)


def test_missing_classes_are_skipped_in_our_reading(fixed: tuple[Resampled, Resampled]) -> None:
    point, replicates = macro(fixed[0])
    assert np.percentile(replicates, [2.5, 97.5]).round(3).tolist() == [0.610, 0.759]
    found = interval(point, replicates)
    assert found.high - found.low == pytest.approx(np.diff(np.percentile(replicates, [2.5, 97.5]))[0])


class TestMacro:
    def test_takes_the_classes_that_the_point_has(self) -> None:
        resampled = Resampled(np.array([0.8, NAN, 0.6]), np.array([[0.8, 0.9, 0.4], [NAN, 0.9, 0.5], [NAN, 0.9, NAN]]))
        point, replicates = macro(resampled)
        assert point == pytest.approx(0.7)
        assert replicates.tolist() == pytest.approx([0.6, 0.5, NAN], nan_ok=True)

    def test_paper_counts_the_others_half(self) -> None:
        resampled = Resampled(np.array([0.8, NAN]), np.array([[NAN, 0.9], [0.7, NAN]]))
        point, replicates = macro_paper(resampled)
        assert point == pytest.approx(0.65)
        assert replicates.tolist() == pytest.approx([0.7, 0.6])

    def test_no_class_at_all(self) -> None:
        nothing = Resampled(np.empty(0), np.empty((4, 0)))
        for reading in (macro, macro_paper):
            point, replicates = reading(nothing)
            assert np.isnan(point)
            assert replicates.shape == (4,)
            assert np.isnan(replicates).all()


class TestInterval:
    def test_is_the_percentile_interval(self) -> None:
        replicates = np.linspace(0, 1, 101)
        same(interval(0.5, replicates), 0.5, 0.025, 0.975)
        same(interval(0.5, replicates, confidence=0.8), 0.5, 0.1, 0.9)

    def test_replicates_that_are_all_too_high_do_not_move_it_off_its_point(self) -> None:
        replicates = np.linspace(0.6, 0.8, 101)
        same(interval(0.5, replicates), 0.5, 0.405, 0.595)
        same(interval(0.5, replicates, paper=True), 0.5, 0.605, 0.795)

    def test_a_few_undefined_replicates_are_left_out(self) -> None:
        replicates = np.append(np.linspace(0, 1, 390), [NAN] * 10)
        same(interval(0.5, replicates), 0.5, 0.025, 0.975)
        same(interval(0.5, replicates, paper=True), 0.5, NAN, NAN)

    def test_more_of_them_withhold_the_interval(self) -> None:
        same(interval(0.5, np.append(np.linspace(0, 1, 389), [NAN] * 11)), 0.5, NAN, NAN)

    def test_an_undefined_point_has_none(self) -> None:
        for paper in (False, True):
            same(interval(NAN, np.linspace(0, 1, 9), paper=paper), NAN, NAN, NAN)

    def test_of_one_replicate_it_is_a_point_and_of_none_there_is_none(self) -> None:
        same(interval(0.5, np.array([0.7])), 0.5, 0.5, 0.5)
        same(interval(0.5, np.empty(0)), 0.5, NAN, NAN)

    def test_paper_rounds_replicates_to_float32(self) -> None:
        replicates = np.full(50, 0.1)
        assert interval(0.1, replicates).low == pytest.approx(0.1, abs=1e-16)
        assert interval(0.1, replicates, paper=True).low == pytest.approx(float(np.float32(0.1)), abs=1e-16)


class TestComparison:
    def test_the_same_predictions_do_not_differ(self) -> None:
        y_true, y_score = scored(records=100, classes=8)
        for metric in ("macro_auroc", "macro_auroc_paper", "macro_auprc"):
            found = compare(y_true, y_score, y_score, bootstrap_counts(100, 50), metric)
            assert (found.point, found.low, found.high, found.significant) == (0, 0, 0, False)

    def test_a_clearly_better_model_is_significant_and_the_sign_is_first_minus_second(self) -> None:
        y_true, y_score = scored(records=300, classes=1)
        noise = np.random.default_rng(0).random(y_score.shape)
        counts = bootstrap_counts(300, 200)
        better = compare(y_true, y_score, noise, counts, "macro_auroc")
        assert better.point > 0
        assert better.significant
        assert compare(y_true, noise, y_score, counts, "macro_auroc").point == -better.point

    def test_each_metric_has_replicates_of_its_own(self) -> None:
        y_true, y_score = scored(records=60, classes=8)
        counts = bootstrap_counts(60, 30)
        areas, precisions = resample_ranking(y_true, y_score, counts)
        expected = {
            "macro_auroc": macro(areas),
            "macro_auroc_paper": macro_paper(areas),
            "macro_auprc": macro(precisions),
        }
        assert len({point for point, _ in expected.values()}) == 3
        for metric, (point, replicates) in expected.items():
            found = metric_replicates(metric, y_true, y_score, counts)
            assert found[0] == point
            np.testing.assert_array_equal(found[1], replicates)

    def test_the_published_metric_is_compared_by_the_published_rule(self) -> None:
        y_true, y_score = scored(records=60, classes=8)
        noise = np.random.default_rng(0).random(y_score.shape)
        counts = bootstrap_counts(60, 30)
        for metric in ("macro_auroc", "macro_auroc_paper"):
            parts = [metric_replicates(metric, y_true, score, counts) for score in (y_score, noise)]
            found = compare(y_true, y_score, noise, counts, metric)
            assert found == difference(*parts[0], *parts[1], paper=metric == "macro_auroc_paper")
            assert found != difference(*parts[0], *parts[1], paper=metric != "macro_auroc_paper")

    def test_mae_is_compared_too(self) -> None:
        y_true = np.random.default_rng(0).normal(size=(80, 2))
        found = compare(y_true, y_true, y_true + 1, bootstrap_counts(80, 50), "mae")
        assert found.point == pytest.approx(-1)
        assert found.significant

    def test_is_narrower_than_unpaired(self) -> None:
        y_true, y_score = scored(records=200, classes=1)
        close = y_score + np.random.default_rng(0).normal(0, 0.02, y_score.shape).astype(np.float32)
        counts, others = bootstrap_counts(200, 300, seed=0), bootstrap_counts(200, 300, seed=1)
        paired = compare(y_true, y_score, close, counts, "macro_auroc")
        apart = difference(
            *metric_replicates("macro_auroc", y_true, y_score, counts),
            *metric_replicates("macro_auroc", y_true, close, others),
        )
        assert paired.high - paired.low < 0.5 * (apart.high - apart.low)

    def test_a_difference_is_read_by_our_rule_unless_the_published_one_is_asked_for(self) -> None:
        replicates = np.linspace(0.6, 0.8, 101)
        same(difference(0.9, replicates, 0.4, np.zeros(101)), 0.5, 0.405, 0.595)
        same(difference(0.9, replicates, 0.4, np.zeros(101), paper=True), 0.5, 0.605, 0.795)

    def test_an_undefined_interval_is_not_significant(self) -> None:
        found = difference(0.9, np.full(10, NAN), 0.1, np.full(10, NAN))
        assert not found.significant

    @pytest.mark.parametrize("paper", [False, True])
    def test_one_against_many_is_each_pair_to_the_bit(self, paper: bool) -> None:
        random = np.random.default_rng(0)
        points, replicates = random.random(8), random.random((8, 200))
        # A few undefined replicates, too many of them, and a point that is none.
        replicates[2, :3] = replicates[3, :50] = points[4] = NAN
        points[5], replicates[5] = points[0], replicates[0]
        found = differences(points[0], replicates[0], points[1:], replicates[1:], paper=paper)
        for one, point, own in zip(found, points[1:], replicates[1:], strict=True):
            np.testing.assert_equal(vars(one), vars(difference(points[0], replicates[0], point, own, paper=paper)))

    def test_needs_the_same_resamples(self) -> None:
        with pytest.raises(InputError, match="3 replicates against 4"):
            difference(0.5, np.zeros(3), 0.5, np.zeros(4))

    def test_unknown_metric(self) -> None:
        y_true, y_score = scored(records=20, classes=8)
        with pytest.raises(UnknownNameError, match="Did you mean 'macro_auroc'"):
            compare(y_true, y_score, y_score, bootstrap_counts(20, 5), "macro_aucroc")


def test_errors_carry_points_and_replicates() -> None:
    y_true = np.array([[0.0, NAN], [2.0, NAN]])
    per_target, point, pooled = resample_errors(y_true, np.zeros((2, 2)), bootstrap_counts(2, 10))
    assert per_target.point.tolist() == pytest.approx([1.0, NAN], nan_ok=True)
    assert point == 1.0
    assert set(pooled) <= {0.0, 1.0, 2.0}
