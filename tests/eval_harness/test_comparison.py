"""Paired comparison: differences, p-values, Holm, ranks with tie groups."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ecg_hub.errors import InputError
from eval_harness.bootstrap import bootstrap_counts
from eval_harness.comparison import compare_models, holm, p_value
from eval_harness.predictions import Predictions
from eval_harness.registry import get_task
from eval_harness.statistics import compare
from tests.support.results import predictions

SUPER = get_task("ptbxl_super")
RESAMPLES = 200


def model(skill: float, seed: int = 0) -> Predictions:
    """Predictions of the shared records: noise and, with some weight, the target."""
    given = predictions(validation=5, test=80)
    noise = np.random.default_rng(seed).random(given.y_true.shape)
    return dataclasses.replace(given, y_prob=(skill * given.y_true + (1 - skill) * noise).astype(np.float32))


def test_differences_are_those_of_the_statistics_on_the_same_resamples() -> None:
    good, poor = model(0.5), model(0.0, 1)
    found = compare_models(SUPER, {"poor": poor, "good": good}, resamples=RESAMPLES, seed=3)
    assert [standing.model for standing in found.standings] == ["good", "poor"]
    (pair,) = found.pairs
    counts = bootstrap_counts(80, RESAMPLES, 3)
    expected = compare(good.y_true[5:], good.y_prob[5:], poor.y_prob[5:], counts, "macro_auroc")
    assert pair.difference == expected
    assert pair.difference.significant
    assert pair.p == pytest.approx(2 / (RESAMPLES + 1))


def test_ties_share_a_rank_and_the_next_group_goes_on_after_them() -> None:
    runs = {"a": model(0.6, 1), "b": model(0.6, 2), "c": model(0.0, 3), "d": model(0.0, 4)}
    found = compare_models(SUPER, runs, resamples=RESAMPLES)
    ranks = {standing.model: standing.rank for standing in found.standings}
    assert (ranks["a"], ranks["b"], ranks["c"], ranks["d"]) == (1, 1, 3, 3)
    ties = {standing.model: standing.ties for standing in found.standings}
    assert ties["a"] == ("b",)
    assert ties["d"] == ("c",)
    assert len(found.pairs) == 6


def test_rows_are_matched_by_record_not_by_place() -> None:
    first, second = model(0.5), model(0.3, 1)
    order = np.r_[np.arange(5), 5 + np.random.default_rng(0).permutation(80)]
    shuffled = dataclasses.replace(
        second,
        record_id=[second.record_id[i] for i in order],
        y_true=second.y_true[order],
        y_prob=second.y_prob[order],
        patient_id=None if second.patient_id is None else [second.patient_id[i] for i in order],
    )
    plain = compare_models(SUPER, {"a": first, "b": second}, resamples=50)
    assert compare_models(SUPER, {"a": first, "b": shuffled}, resamples=50) == plain


def test_only_common_labels_are_compared() -> None:
    full, part = model(0.5), model(0.4, 1)
    fewer = dataclasses.replace(part, labels=part.labels[:3], y_true=part.y_true[:, :3], y_prob=part.y_prob[:, :3])
    assert compare_models(SUPER, {"a": full, "b": fewer}, resamples=20).labels == part.labels[:3]


def test_what_cannot_be_compared_is_refused() -> None:
    one, other = model(0.5), model(0.4, 1)
    with pytest.raises(InputError, match="two models or more, here is a"):
        compare_models(SUPER, {"a": one})
    with pytest.raises(InputError, match="did not predict the same records"):
        compare_models(SUPER, {"a": one, "b": dataclasses.replace(other, record_id=["x", *other.record_id[:-1]])})
    with pytest.raises(InputError, match="other targets"):
        compare_models(SUPER, {"a": one, "b": dataclasses.replace(other, y_true=1 - other.y_true)})
    foreign = dataclasses.replace(other, labels=tuple("vwxyz"))
    with pytest.raises(InputError, match="no label that all of a, b"):
        compare_models(SUPER, {"a": one, "b": foreign})


def test_p_values() -> None:
    assert p_value(np.array([1.0] * 99)) == pytest.approx(2 / 100)
    assert p_value(np.array([1.0, -1.0] * 50)) == 1.0
    assert p_value(np.array([1.0] * 95 + [-1.0] * 4 + [np.nan] * 7)) == pytest.approx(2 * 5 / 100)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
