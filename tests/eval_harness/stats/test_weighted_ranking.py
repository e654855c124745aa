"""Bags of one class, their sums under weights, and the width of the integers in both."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from eval_harness.stats import weighted_ranking as ranking

TOTAL = 12
#  best score first: two groups without a positive (0.8, 0.3), two with a tie (0.9, 0.5)
SCORES = {3: 0.9, 1: 0.9, 5: 0.8, 0: 0.7, 7: 0.6, 2: 0.5, 6: 0.5, 4: 0.5, 8: 0.4, 9: 0.3, 10: 0.2}
POSITIVES = {3, 0, 7, 6, 4, 8}


def ranked_example() -> ranking.RankedClass:
    records = np.random.default_rng(0).permutation(list(SCORES))
    positive = np.array([record in POSITIVES for record in records])
    return ranking.rank_class(positive, np.array([SCORES[record] for record in records]), records, TOTAL)


def members(bags: csr_array) -> list[list[int]]:
    dense = bags.toarray()
    assert set(np.unique(dense)) <= {0, 1}
    return [np.flatnonzero(row).tolist() for row in dense]


@pytest.mark.parametrize(("width", "products"), [(np.uint16, np.uint32), (np.uint32, np.uint64)])
def test_sums_are_as_wide_as_the_counts(width: type[np.unsignedinteger], products: type[np.unsignedinteger]) -> None:
    """And no wider: a pass over a release with fewer than 65,536 records needs half of the memory."""
    weighed = ranking.weigh(ranked_example(), np.ones((TOTAL, 3), dtype=width))
    assert {weighed.hits.dtype, weighed.alarms.dtype, weighed.remaining.dtype} == {np.dtype(width)}
    assert weighed.ties.dtype == products


def test_bags_are_kept_in_small_integers() -> None:
    ranked = ranked_example()
    for bags in (ranked.negatives, ranked.positives, ranked.tied):
        assert bags.dtype == np.uint16
        assert bags.indices.dtype == bags.indptr.dtype == np.int32
        assert bags.shape[1] == TOTAL


def test_a_class_is_cut_into_bags() -> None:
    ranked = ranked_example()
    # Five groups on a grid of 3 x 2: the sixth is empty, and the last row holds the negatives below every positive.
    assert (ranked.blocks, ranked.size) == (3, 2)
    assert members(ranked.positives) == [[3], [0], [7], [4, 6], [8], []]
    assert members(ranked.negatives) == [[1], [5], [], [2], [], [], [9, 10]]
    assert ranked.tied_groups.tolist() == [0, 3]
    assert members(ranked.tied) == [[1], [2]]


def test_one_group_is_one_block() -> None:
    ranked = ranking.rank_class(np.array([True, False]), np.array([0.9, 0.1]), np.array([0, 1]), 2)
    assert (ranked.blocks, ranked.size) == (1, 1)
    assert members(ranked.positives) == [[0]]
    assert members(ranked.negatives) == [[], [1]]
    assert members(ranked.tied) == []


def test_weights_are_summed_by_bag() -> None:
    counts = np.random.default_rng(1).integers(0, 9, (TOTAL, 4)).astype(np.uint16)
    weighed = ranking.weigh(ranked_example(), counts)

    def weights(*records: int) -> NDArray[np.int64]:
        return counts[list(records)].sum(axis=0, dtype=np.int64)

    np.testing.assert_array_equal(weighed.hits[3], weights(4, 6))
    np.testing.assert_array_equal(weighed.hits[5], 0)
    np.testing.assert_array_equal(weighed.alarms[[0, 2, 5]], [weights(1), weights(1, 5), weights(1, 5, 2)])
    np.testing.assert_array_equal(weighed.remaining, weights(9, 10))
    np.testing.assert_array_equal(weighed.ties, weights(1) * weights(3) + weights(2) * weights(4, 6))


def test_a_replicate_without_an_outcome_has_no_area() -> None:
    ranked = ranking.rank_class(np.array([True, False]), np.array([0.9, 0.1]), np.array([0, 1]), 2)
    weighed = ranking.weigh(ranked, np.array([[1, 1, 0, 0], [1, 0, 1, 0]], dtype=np.uint16))
    nan = np.nan
    np.testing.assert_array_equal(ranking.weighted_auroc(weighed), [1.0, nan, nan, nan])
    np.testing.assert_array_equal(ranking.weighted_average_precision(weighed), [1.0, nan, nan, nan])


@pytest.mark.parametrize(("width", "weight"), [(np.uint16, 2**15 - 1), (np.uint32, 2**31 - 1)])
@pytest.mark.parametrize("scores", [(0.1, 0.9), (0.9, 0.1), (0.5, 0.5)], ids=["below", "above", "tied"])
def test_the_heaviest_weights_of_a_width_do_not_overflow(
    width: type[np.unsignedinteger], weight: int, scores: tuple[float, float]
) -> None:
    """Each outcome has half of the weight that a width allows, so that no product of two can be larger."""
    ranked = ranking.rank_class(np.array([True, False]), np.array(scores), np.array([0, 1]), 2)
    weighed = ranking.weigh(ranked, np.full((2, 1), weight, dtype=width))
    positive, negative = scores
    assert ranking.weighted_auroc(weighed).tolist() == [np.heaviside(positive - negative, 0.5)]
    assert ranking.weighted_average_precision(weighed).tolist() == [1.0 if positive > negative else 0.5]
