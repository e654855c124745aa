from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ecg_hub.errors import InputError
from eval_harness.metrics.ranking import auroc, macro_auroc, macro_auroc_paper, micro_auroc
from tests.support.scores import scored

TOLERANCE = 1e-7


@pytest.fixture(scope="module")
def published(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "protocol" / "metrics_golden.npz") as file:
        return dict(file)


def test_per_class_equals_the_reference(published: dict[str, np.ndarray]) -> None:
    found = auroc(published["y_true"], published["y_prob"])
    np.testing.assert_array_equal(np.isnan(found), np.isnan(published["auc"]))
    np.testing.assert_allclose(found, published["auc"], atol=TOLERANCE, rtol=0)


def test_macro_and_micro_equal_the_reference(published: dict[str, np.ndarray]) -> None:
    pair = published["y_true"], published["y_prob"]
    assert macro_auroc_paper(*pair) == pytest.approx(float(published["macro"]), abs=TOLERANCE)
    assert macro_auroc(*pair) == pytest.approx(float(published["macro_nan_dropped"]), abs=TOLERANCE)
    assert micro_auroc(*pair) == pytest.approx(float(published["micro"]), abs=TOLERANCE)


def test_a_class_without_an_outcome_counts_half_only_in_the_paper_reading() -> None:
    y_true = np.array([[1.0, 0.0], [0.0, 0.0]])
    y_score = np.array([[0.9, 0.1], [0.2, 0.3]])
    assert auroc(y_true, y_score).tolist()[0] == 1.0
    assert np.isnan(auroc(y_true, y_score)[1])
    assert macro_auroc(y_true, y_score) == 1.0
    assert macro_auroc_paper(y_true, y_score) == 0.75


def test_nothing_to_evaluate_is_nan_and_half() -> None:
    y_true = np.zeros((3, 2))
    assert np.isnan(macro_auroc(y_true, y_true))
    assert np.isnan(micro_auroc(y_true, y_true))
    assert macro_auroc_paper(y_true, y_true) == 0.5


def test_all_targets_nan_is_undefined_rather_than_an_error() -> None:
    assert np.isnan(auroc(np.full((4, 1), np.nan), np.zeros((4, 1)))).all()


def test_ties_and_missing_targets_as_in_scikit_learn() -> None:
    y_true, y_score = scored(records=300, classes=8, seed=1)
    found = auroc(y_true, y_score)
    for k in range(8):
        known = ~np.isnan(y_true[:, k])
        if len(set(y_true[known, k])) == 2:
            expected = roc_auc_score(y_true[known, k], y_score[known, k])
            assert found[k] == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(found[k])


@pytest.mark.parametrize(
    ("y_true", "y_score", "words"),
    [
        (np.zeros((3, 2)), np.zeros((3, 1)), r"\(3, 2\) and scores \(3, 1\)"),
        (np.zeros(3), np.zeros(3), r"y\[:, None\]"),
        (
            np.zeros((2, 1)),
            np.array([[0.1], [np.nan]]),
            "Scores must be finite numbers; found nan in record 1, output 0",
        ),
        (np.zeros((2, 1)), np.array([[np.inf], [0.0]]), "found inf in record 0"),
        (np.array([[0.0], [2.0]]), np.zeros((2, 1)), "Targets must be 0, 1 or NaN .* found 2.0 in record 1"),
        ([["a"]], [["b"]], "targets are not numbers"),
    ],
)
def test_bad_input_is_refused_with_the_value(y_true: object, y_score: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        micro_auroc(y_true, y_score)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=words):
        auroc(y_true, y_score)  # type: ignore[arg-type]


def test_no_class_at_all_has_no_area() -> None:
    assert np.isnan(macro_auroc_paper(np.zeros((3, 0)), np.zeros((3, 0))))
