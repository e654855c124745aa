"""Each formula against values worked out by another way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, norm, t

from eval_harness.stats.influence import Floats, Units
from eval_harness.stats.intervals import Ends, auroc_ends, error_ends, f1_ends, macro_ends, normal_quantile, share_ends

Z = 1.959963984540054


def newcombe(area: float, positives: float, negatives: float, inflation: float = 1.0) -> Ends:
    return auroc_ends(*(np.array([value]) for value in (area, positives, negatives, inflation)), confidence=0.95)


def roots(area: float, m: int, n: int) -> list[float]:
    """Ends of method 5 as roots of its quartic, which clearing the denominators of the variance gives."""
    x, h = np.poly1d([1.0, 0.0]), (m + n) / 2 - 1
    quartic = m * n * (area - x) ** 2 * (2 - x) * (1 + x) - Z**2 * x * (1 - x) * (2 + h + (1 + 2 * h) * x * (1 - x))
    found = sorted(
        float(root.real) for root in quartic.roots if abs(root.imag) < 1e-9 and -1e-9 <= root.real <= 1 + 1e-9
    )
    return [max(root for root in found if root < area), min((root for root in found if root > area), default=1.0)]


class TestAuroc:
    @pytest.mark.parametrize(("area", "m", "n"), [(0.9, 10, 200), (0.75, 4, 996), (0.5, 7, 7), (0.98, 100, 50)])
    def test_is_newcombes_method_5(self, area: float, m: int, n: int) -> None:
        found = newcombe(area, m, n)
        assert [found.low[0], found.high[0]] == pytest.approx(roots(area, m, n), abs=1e-9)

    def test_one_pair_in_order_by_hand(self) -> None:
        """(1 - x)^2 = z^2 x (1 - x), so x = 1 / (1 + z^2)."""
        found = newcombe(1.0, 1, 1)
        assert found.low[0] == pytest.approx(1 / (1 + Z**2), abs=1e-12)
        assert found.high[0] == 1

    def test_four_positives_ranked_perfectly_are_no_proof(self) -> None:
        found = newcombe(1.0, 4, 996)
        assert 0.5 < found.low[0] < 0.9
        assert found.error[0] > 0

    def test_is_symmetric_in_outcomes_and_in_direction(self) -> None:
        plain, swapped, mirrored = newcombe(0.8, 5, 50), newcombe(0.8, 50, 5), newcombe(0.2, 5, 50)
        assert plain.low[0] == pytest.approx(swapped.low[0])
        assert plain.low[0] == pytest.approx(1 - mirrored.high[0])

    def test_repeated_records_widen_it(self) -> None:
        once, twice = newcombe(0.8, 20, 200), newcombe(0.8, 20, 200, inflation=2.0)
        assert (0.8 - twice.low[0]) ** 2 / (0.8 - once.low[0]) ** 2 == pytest.approx(2, abs=0.35)

    def test_the_error_is_that_of_hanley_and_mcneil_in_the_middle(self) -> None:
        """Five of each: at theta 0.5, V = 0.25 (1 + 4 (1/3 + 1/3)) / 25."""
        assert newcombe(0.5, 5, 5).error[0] == pytest.approx(np.sqrt(0.25 * (1 + 8 / 3) / 25))


class TestShare:
    @pytest.mark.parametrize(("hits", "number"), [(0, 5), (3, 10), (10, 10), (1, 1)])
    def test_is_wilsons(self, hits: int, number: int) -> None:
        expected = binomtest(hits, number).proportion_ci(method="wilson")
        found = share_ends(np.array([hits / number]), np.array([float(number)]), 0.95)
        assert [found.low[0], found.high[0]] == pytest.approx([expected.low, expected.high], abs=1e-12)

    def test_f1_is_the_share_of_hits_among_positive_or_called(self) -> None:
        """3 hits, 2 alarms, 5 missed: F1 = 6 / 13, and J = 3 / 10."""
        expected = binomtest(3, 10).proportion_ci(method="wilson")
        found = f1_ends(np.array([6 / 13]), np.array([10.0]), 0.95)
        assert found.low[0] == pytest.approx(2 * expected.low / (1 + expected.low))
        assert found.high[0] == pytest.approx(2 * expected.high / (1 + expected.high))
        middle = (expected.low + expected.high) / 2
        assert found.error[0] == pytest.approx(np.sqrt(middle * (1 - middle) / 10) * 2 / (1 + middle) ** 2)


class TestError:
    def test_is_student_on_the_logarithm(self) -> None:
        found = error_ends(np.array([0.8]), np.array([0.01]), np.array([5]), 0.95)
        reach = t.ppf(0.975, 4) * 0.1 / 0.8
        assert found.low[0] == pytest.approx(0.8 * np.exp(-reach))
        assert found.high[0] == pytest.approx(0.8 * np.exp(reach))
        assert found.error[0] * Z == pytest.approx(0.1 * t.ppf(0.975, 4))

    def test_one_record_has_none_and_no_error_is_exact(self) -> None:
        found = error_ends(np.array([0.8, 0.0]), np.array([np.inf, 0.0]), np.array([1, 9]), 0.95)
        assert np.isnan([found.low[0], found.high[0], found.error[0]]).all()
        assert [found.low[1], found.high[1]] == [0, 0]


def ends(error: Floats) -> Ends:
    return Ends(np.zeros_like(error), np.ones_like(error), error)


class TestMacro:
    none = np.zeros(2)
    point = np.array([0.6, 0.8])

    def reach(self, influence: Floats, error: Floats) -> float:
        low, high = macro_ends(self.point, self.none, ends(error), influence, Units(), 0.95, 1.0)
        assert low + high == pytest.approx(2 * 0.7)
        return (high - low) / 2

    def test_independent_outputs_add_their_variances(self) -> None:
        influence = np.array([[1.0, 1.0], [1.0, -1.0]])
        assert self.reach(influence, np.array([0.03, 0.04])) == pytest.approx(Z * 0.05 / 2)

    def test_outputs_that_move_together_add_their_errors(self) -> None:
        influence = np.array([[1.0, 2.0], [-1.0, -2.0]])
        assert self.reach(influence, np.array([0.03, 0.04])) == pytest.approx(Z * 0.07 / 2)

    def test_outputs_that_nothing_moves_are_independent(self) -> None:
        assert self.reach(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([0.03, 0.04])) == pytest.approx(Z * 0.05 / 2)

    def test_one_output_keeps_its_interval(self) -> None:
        found = Ends(np.array([0.4]), np.array([0.9]), np.array([0.1]))
        assert macro_ends(np.array([0.8]), np.zeros(1), found, np.ones((3, 1)), Units(), 0.95, 1.0) == (0.4, 0.9)

    def test_bias_lengthens_the_lower_side_and_the_range_ends_it(self) -> None:
        influence, error = np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([0.03, 0.04])
        low, high = macro_ends(self.point, np.array([0.1, 0.3]), ends(error), influence, Units(), 0.95, 1.0)
        assert low == pytest.approx(0.7 - 0.2 - Z * 0.025)
        assert high == pytest.approx(0.7 + Z * 0.025)
        assert macro_ends(self.point, self.none, ends(20 * error), influence, Units(), 0.95, 1.0) == (0, 1)


def test_the_quantile_is_two_sided() -> None:
    assert normal_quantile(0.95) == pytest.approx(Z)
    assert normal_quantile(0.5) == pytest.approx(norm.ppf(0.75))
