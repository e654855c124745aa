from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ecg_hub.errors import InputError
from eval_harness.metrics.ranking import average_precision, descending, macro_average_precision
from tests.support.scores import scored


def test_ties_and_missing_targets_as_in_scikit_learn() -> None:
    y_true, y_score = scored(records=250, classes=11, seed=2)
    found = average_precision(y_true, y_score)
    for k in range(11):
        known = ~np.isnan(y_true[:, k])
        if len(set(y_true[known, k])) == 2:
            expected = average_precision_score(y_true[known, k], y_score[known, k])
            assert found[k] == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(found[k])


def test_by_hand() -> None:
    # best first: hit, miss, hit: precision 1 at recall 1/2, 2/3 at recall 1
    y_true, y_score = np.array([[1.0], [0.0], [1.0]]), np.array([[0.9], [0.8], [0.7]])
    assert average_precision(y_true, y_score)[0] == pytest.approx((1 + 2 / 3) / 2)


def test_macro_leaves_out_what_cannot_be_evaluated() -> None:
    y_true = np.array([[1.0, 1.0], [0.0, 1.0]])
    y_score = np.array([[0.9, 0.1], [0.2, 0.3]])
    assert macro_average_precision(y_true, y_score) == 1.0
    assert np.isnan(macro_average_precision(y_true[:, 1:], y_score[:, 1:]))


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        average_precision(np.zeros((1, 1)), np.array([[np.nan]]))
    with pytest.raises(InputError, match="Targets must be 0, 1 or NaN"):
        average_precision(np.array([[0.5]]), np.zeros((1, 1)))


def test_tied_records_stay_in_their_order() -> None:
    ranked = descending(np.arange(100) % 2.0, np.repeat([0.1, 0.9], 50))
    assert ranked is not None
    order, positive, last = ranked
    assert order.tolist() == [*range(50, 100), *range(50)]
    assert positive.tolist() == [False, True] * 50
    assert last.tolist() == [49, 99]
