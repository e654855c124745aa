"""Paired comparison: differences, p-values, Holm, ranks with tie groups."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import InputError
from eval_harness.analyses.studies import score_run
from eval_harness.results import comparison
from eval_harness.results.comparison import Comparison, compare_models, holm, p_text, p_value, repeated_patients
from eval_harness.results.predictions import Predictions, write_predictions
from eval_harness.stats.bootstrap import bootstrap_counts
from eval_harness.stats.resampled import compare, interval, metric_replicates
from eval_harness.tasks.registry import get_task
from tests.support.results import predictions, result

SUPER = get_task("ptbxl_super")
RESAMPLES = 200


def model(skill: float, seed: int = 0) -> Predictions:
    """Predictions of the shared records: noise and, with some weight, the target."""
    given = predictions(validation=5, test=80)
    noise = np.random.default_rng(seed).random(given.y_true.shape)
    return dataclasses.replace(given, y_prob=(skill * given.y_true + (1 - skill) * noise).astype(np.float32))


def test_differences_are_those_of_the_statistics_on_the_same_resamples() -> None:
    good, poor = model(0.5), model(0.0, 1)
    found = compare_models(SUPER, {"poor": poor, "good": good}, resamples=RESAMPLES, seed=3, by="record")
    assert [standing.model for standing in found.standings] == ["good", "poor"]
    (pair,) = found.pairs
    counts = bootstrap_counts(80, RESAMPLES, 3)
    expected = compare(good.y_true[5:], good.y_prob[5:], poor.y_prob[5:], counts, "macro_auroc")
    assert pair.difference == expected
    assert pair.difference.significant
    assert pair.distinguished
    assert pair.p == pair.p_holm < 1e-6


def test_every_number_comes_from_the_same_resamples() -> None:
    runs = {"a": model(0.1, 1), "b": model(0.3, 2)}
    found = compare_models(SUPER, runs, by="record")
    assert found == compare_models(SUPER, runs, by="record", resamples=1000, seed=0)
    assert (found.task, found.metric) == ("ptbxl_super", "macro_auroc")
    assert [standing.model for standing in found.standings] == ["b", "a"]
    true, counts = runs["a"].y_true[5:], bootstrap_counts(80, 1000, 0)
    scores = {name: metric_replicates("macro_auroc", true, run.y_prob[5:], counts) for name, run in runs.items()}
    assert [standing.score for standing in found.standings] == [interval(*scores["b"]), interval(*scores["a"])]
    (pair,) = found.pairs
    assert (pair.first, pair.second) == ("b", "a")
    assert pair.p == p_value(scores["b"][0] - scores["a"][0], scores["b"][1] - scores["a"][1])


def test_the_published_metric_is_compared_by_its_own_rule() -> None:
    first, second = model(0.1, 1), model(0.3, 2)
    (pair,) = compare_models(SUPER, {"a": first, "b": second}, "macro_auroc_paper", RESAMPLES).pairs
    counts = bootstrap_counts(80, RESAMPLES, 0)
    expected = compare(second.y_true[5:], second.y_prob[5:], first.y_prob[5:], counts, "macro_auroc_paper")
    assert pair.difference == expected
    assert pair.difference != compare(second.y_true[5:], second.y_prob[5:], first.y_prob[5:], counts, "macro_auroc"), (
        "it is rounded and not centred"
    )


def test_of_errors_the_lower_one_is_better() -> None:
    """Two lab values, one record without the second."""
    lab = get_task("mimic_lab_values")
    names = ("Albumin", "Ferritin")
    true = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    true[3, 1] = np.nan
    runs = {
        name: Predictions(
            run=lab.run,
            kind="regression",
            labels=names,
            split=["test"] * 40,
            record_id=[str(i) for i in range(40)],
            y_true=true,
            y_prob=np.nan_to_num(true) + error,
        )
        for name, error in (("a", np.float32(0.5)), ("b", np.float32(0.25)))
    }
    found = compare_models(lab, runs, resamples=20)
    assert [standing.model for standing in found.standings] == ["b", "a"]
    assert found.standings[0].score.point == pytest.approx(0.25, abs=1e-6)
    assert (found.metric, found.labels) == ("mae", names)


def test_labels_of_a_group_are_those_that_the_run_names() -> None:
    runs = {
        name: dataclasses.replace(model(0.3, seed), groups={"label_all": list(SUPER.labels[1:4])})
        for seed, name in enumerate("ab")
    }
    assert compare_models(get_task("zzu_pecg"), runs, resamples=20).labels == SUPER.labels[1:4]


def test_an_adjusted_p_value_of_5_percent_does_not_distinguish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "holm", lambda values: [0.05] * len(values))
    (pair,) = compare_models(SUPER, {"a": model(0.5), "b": model(0.0, 1)}, resamples=20).pairs
    assert not pair.distinguished


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


def test_the_published_metric_is_the_same_however_it_is_written() -> None:
    runs = several(2, 0.1, 0.3)
    plain, written = (compare_models(SUPER, runs, name) for name in ("macro_auroc_paper", "Macro-AUROC paper"))
    assert written == plain
    assert (written.metric, written.unit) == ("macro_auroc_paper", "record")


def test_a_metric_of_another_kind_is_refused() -> None:
    """Of probabilities an error can be computed, and as the task's scores are better when higher, the worst led."""
    with pytest.raises(InputError, match="mae is no metric of a task of kind multi_label_classification; its own is"):
        compare_models(SUPER, {"good": model(0.9), "poor": model(0.0)}, "mae", resamples=RESAMPLES)


def several(ecgs: int, *skills: float) -> dict[str, Predictions]:
    """Models of given skills on 60 test records, each as often as its patient has ECGs."""
    found = {}
    for seed, skill in enumerate(skills):
        noise = np.random.default_rng(seed).random((60, 5)).astype(np.float32)
        true = np.repeat(predictions(validation=0, test=60).y_true, ecgs, axis=0)
        records = [f"{i:03d}" for i in range(len(true))]
        found[f"model {seed}"] = Predictions(
            run="ptbxl_super",
            kind="multi_label_classification",
            labels=SUPER.labels,
            split=["test"] * len(true),
            record_id=records,
            y_true=true,
            y_prob=(skill * true + (1 - skill) * np.repeat(noise, ecgs, axis=0)).astype(np.float32),
            patient_id=[f"{i // ecgs:03d}" for i in range(len(true))],
        )
    return found


def test_the_same_ecg_five_times_is_no_more_evidence_than_once() -> None:
    once, often = (compare_models(SUPER, several(ecgs, 0.3, 0.25), resamples=RESAMPLES) for ecgs in (1, 5))
    assert (once.unit, often.unit) == ("record", "patient")
    assert often.pairs == once.pairs
    by_record = compare_models(SUPER, several(5, 0.3, 0.25), resamples=RESAMPLES, by="record")
    assert by_record.pairs[0].p < 0.5 * once.pairs[0].p


def test_what_was_drawn_is_said() -> None:
    def drawn(ecgs: int, **changes: object) -> Comparison:
        return compare_models(SUPER, several(ecgs, 0.3, 0.2), resamples=20, **changes)  # type: ignore[arg-type]

    assert drawn(2).resampled == "resampled by patient (60 patients, 120 records)"
    assert drawn(1).resampled == "resampled by record (60 records, each of another patient)"
    assert drawn(2, by="record").resampled == "resampled by record (120 records of 60 patients)"
    assert drawn(1, by="patient").resampled == "resampled by patient (60 patients, 60 records)"
    nameless = {name: dataclasses.replace(given, patient_id=None) for name, given in several(2, 0.3, 0.2).items()}
    found = compare_models(SUPER, nameless, resamples=20)
    assert found.resampled == "resampled by record (120 records, their patients are not named)"
    with pytest.raises(InputError, match="name no patients; resample by record"):
        compare_models(SUPER, nameless, resamples=20, by="patient")


def test_the_published_metric_is_drawn_by_record_as_published() -> None:
    runs = several(2, 0.3, 0.2)
    assert compare_models(SUPER, runs, "macro_auroc_paper", 20).unit == "record"
    assert compare_models(SUPER, runs, "macro_auroc_paper", 20, by="patient").unit == "patient"
    assert compare_models(SUPER, runs, "macro_auprc", 20).unit == "patient"


def test_patients_are_drawn_as_soon_as_one_has_two_records() -> None:
    assert repeated_patients(None, ["a", "b"]) is None
    assert repeated_patients([None, None], ["a", "b"]) is None
    assert repeated_patients(["p", "q"], ["a", "b"]) is None
    with pytest.raises(ValueError, match="zip"):
        repeated_patients(["p", "p"], ["a"])
    found = repeated_patients(["p", "", "p", None, "a"], ["a", "b", "c", "d", "e"])
    assert found is not None
    assert found.tolist() == ["patient p", "record b", "patient p", "record d", "patient a"]


def test_the_best_of_eight_equal_models_is_not_distinguished_though_published_rules_separate_it() -> None:
    found = compare_models(SUPER, several(1, *[0.2] * 8), resamples=RESAMPLES)
    assert any(pair.difference.significant for pair in found.pairs)
    assert not any(pair.distinguished for pair in found.pairs)
    assert {standing.rank for standing in found.standings} == {1}
    assert {standing.rank_published for standing in found.standings} == {1, 8}


def test_a_better_one_of_eight_models_can_be_distinguished() -> None:
    """Counted resamples gave no p below 2 / 1001, times 28 pairs."""
    found = compare_models(SUPER, several(1, 0.5, *[0.2] * 7))
    assert [standing.rank for standing in found.standings] == [1] + [2] * 7
    assert max(pair.p_holm for pair in found.pairs[:7]) < 0.05


def test_nothing_is_distinguished_where_no_interval_is_defined() -> None:
    lone = {name: dataclasses.replace(given, y_true=given.y_true * 0) for name, given in several(1, 0.3, 0.2).items()}
    for given in lone.values():
        given.y_true[0] = 1
    found = compare_models(SUPER, lone, resamples=RESAMPLES)
    (pair,) = found.pairs
    assert np.isnan([pair.p, pair.p_holm]).all()
    assert not pair.distinguished
    assert [standing.rank for standing in found.standings] == [1, 1]


def test_p_values_are_those_of_the_normal_distribution() -> None:
    replicates = np.array([0.0, 2.0, np.nan, 4.0])  # standard deviation 2
    assert p_value(2 * 1.959964, replicates) == pytest.approx(0.05, abs=1e-6)
    assert p_value(-2 * 2.575829, replicates) == pytest.approx(0.01, abs=1e-6)
    assert p_value(1.0, np.array([0.0, 2.0])) == pytest.approx(0.4795, abs=1e-4), "two have a spread"
    assert p_value(0.0, np.zeros(9)) == 1.0
    assert p_value(0.1, np.full(9, 0.1)) == 0.0
    assert p_value(0.1, np.array([0.2])) == 1.0, "one resample says nothing of chance"


def test_small_p_values_are_not_printed_as_nothing() -> None:
    assert [p_text(p) for p in (0.0, 0.0009, 0.001, 0.25, float("nan"))] == [
        "< 0.001",
        "< 0.001",
        "0.001",
        "0.250",
        "-",
    ]


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([float("nan"), 0.02]) == pytest.approx([float("nan"), 0.04], nan_ok=True)
    assert holm([]) == []


def test_runs_of_a_study_draw_patients_too(tmp_path: Path) -> None:
    found = []
    for ecgs in (1, 2):
        (given,) = several(ecgs, 0.3).values()
        digest = write_predictions(tmp_path / f"{ecgs}.parquet", given)
        about = result(predictions={"file": f"{ecgs}.parquet", "sha256": digest})
        found.append(score_run(tmp_path, about, SUPER, RESAMPLES).replicates["macro_auroc"])
    assert np.std(found[1]) == pytest.approx(np.std(found[0]), rel=0.2), "by record it would be 1 / sqrt(2) of it"
