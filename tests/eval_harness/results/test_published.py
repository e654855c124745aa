"""The published tables: complete, as published, and every flag holds what it claims where the numbers can show it."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from ecg_hub import catalog
from eval_harness.results.published import Score, scores, study

SEVERITIES = {"wrong", "doubtful", "note"}
TITLES = {entry.title: entry.alias for entry in catalog.models().values()}


def points(model: str, mode: str) -> dict[str, float]:
    return {score.task: score.point for score in scores() if (score.model, score.mode) == (model, mode)}


def flagged(name: str) -> list[Score]:
    return [score for score in scores() if name in [flag.name for flag in score.flags]]


def test_every_model_has_every_task_in_its_modes() -> None:
    assert len(study().tasks) == 28
    cells = Counter((score.model, score.mode) for score in scores())
    # The eight of the paper and its two baselines; what came later has no published rows.
    compared = [entry for entry in catalog.models().values() if entry.alias in {model for model, _ in cells}]
    assert len(compared) == 10
    for entry in compared:
        modes = ("scratch",) if entry.kind == "supervised" else ("linear", "frozen", "finetune")
        assert {mode for model, mode in cells if model == entry.alias} == set(modes)
    assert set(cells.values()) == {28}
    assert len(scores()) == len({(score.model, score.task, score.mode) for score in scores()}) == 728
    assert Counter(score.metric for score in scores()) == {"macro_auroc": 598, "mae": 130}


def test_order_follows_the_paper() -> None:
    tasks = list(study().tasks)
    places = [(score.model, tasks.index(score.task)) for score in scores()]
    assert places == sorted(places)


def test_the_numbers_are_the_published_ones(golden: Path) -> None:
    with (golden / "published/al_masud_2026.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    modes = {"supervised": "scratch"}
    metrics = {"mae_z": "mae", "macro_auroc": "macro_auroc"}
    theirs = {
        (TITLES[row["model"]], row["task"], modes.get(row["mode"], row["mode"])): (
            metrics[row["metric"]],
            *(float(row[name]) for name in ("point", "low", "high")),
        )
        for row in rows
    }
    ours = {(s.model, s.task, s.mode): (s.metric, s.point, s.low, s.high) for s in scores()}
    assert ours == theirs


@pytest.mark.parametrize("name", study().flags)
def test_a_flag_touches_rows_and_says_why(name: str) -> None:
    flag = study().flags[name]
    assert flag.severity in SEVERITIES
    assert len(flag.text) > 30
    assert flagged(name)
    assert flag.models <= set(catalog.models())
    assert flag.tasks <= set(study().tasks)
    assert flag.models or flag.when == "point_outside_interval"


def test_worst_flags_come_first() -> None:
    order = ["wrong", "doubtful", "note"]
    for score in scores():
        places = [order.index(flag.severity) for flag in score.flags]
        assert places == sorted(places)


def test_st_mem_fine_tuned_is_a_linear_probe() -> None:
    tuned, linear = points("st-mem", "finetune"), points("st-mem", "linear")
    assert {(score.model, score.mode) for score in flagged("head_only")} == {("st-mem", "finetune")}
    for task in ("ptbxl_all", "ptbxl_super", "echonext", "mimic_cardiac"):
        assert abs(tuned[task] - linear[task]) < 0.006


def test_hubert_ecg_has_eleven_pairs_of_equal_rows() -> None:
    tuned, linear = points("hubert-ecg", "finetune"), points("hubert-ecg", "linear")
    equal = {task for task in tuned if tuned[task] == linear[task]}
    assert equal == study().flags["copied_or_not_run"].tasks
    assert len(equal) == 11
    assert len(flagged("copied_or_not_run")) == 22


def test_equal_points_of_a_task_are_flagged_wherever_they_stand() -> None:
    """Six digits of one task hardly agree by chance: where two do, one was copied or not run."""
    by_point: dict[tuple[str, float], list[Score]] = {}
    for score in scores():
        by_point.setdefault((score.task, score.point), []).append(score)
    equal = [found for found in by_point.values() if len(found) > 1]
    assert len(equal) == 12
    assert all(len({score.model for score in found}) == 1 for found in equal), "no model's row is another model's"
    names = {"copied_or_not_run", "copied_or_not_run_echonext"}
    told = {(s.model, s.task, s.mode) for name in names for s in flagged(name)}
    assert told == {(s.model, s.task, s.mode) for found in equal for s in found}
    assert {(s.model, s.task) for s in flagged("copied_or_not_run_echonext")} == {("ecg-fm", "echonext")}


def test_ecg_fm_linear_is_worse_than_a_constant_where_flagged() -> None:
    constant = 0.798  # mean of |z| for a normal z: sqrt(2 / pi)
    worse = {score.task for score in scores() if score.metric == "mae" and score.point > constant}
    assert {score.task for score in flagged("head_did_not_converge")} <= worse
    assert {(s.model, s.mode) for s in flagged("head_did_not_converge")} == {("ecg-fm", "linear")}


def test_sixteen_intervals_miss_their_point_all_in_zzu() -> None:
    outside = [score for score in scores() if not score.low <= score.point <= score.high]
    assert flagged("point_outside_interval") == outside
    assert len(outside) == 16
    assert {score.task for score in outside} == {"zzu_pecg"}
    assert any("16 of 598" in caveat for caveat in study().caveats)


def test_ecgfm_ked_is_doubtful_throughout() -> None:
    assert len(flagged("perhaps_random_weights")) == 3 * 28
    assert {score.model for score in flagged("perhaps_random_weights")} == {"ecgfm-ked"}


def test_models_without_a_known_fault_are_not_flagged() -> None:
    for alias in ("ecg-cpc", "ecg-jepa", "s4", "net1d"):
        names = {flag.name for score in scores() if score.model == alias for flag in score.flags}
        assert names <= {"point_outside_interval"}, alias
