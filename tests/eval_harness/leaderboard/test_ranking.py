"""Ranks and means only over complete rows; ties only where predictions can be paired."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval_harness.leaderboard import ranking
from eval_harness.leaderboard.board import Board, TaskSet
from eval_harness.leaderboard.entries import Contents, RecomputeCache, read_repository
from eval_harness.leaderboard.phrases import cell_lines, tie_line
from eval_harness.leaderboard.ranking import Pairing, Ranks, rank_all, task_ranks
from eval_harness.leaderboard.site import content, make_board
from eval_harness.leaderboard.table import View, table
from eval_harness.publish.push import prepare, push
from eval_harness.publish.repository import FolderRepository
from eval_harness.results import comparison
from eval_harness.results.folders import find_runs
from eval_harness.results.schema import Result
from eval_harness.tasks.registry import tasks
from tests.support.board import counted, made_up, write_board, write_scored
from tests.support.results import predictions


def ranked(folder: Path, published: bool = False) -> tuple[Board, Ranks, Contents]:
    contents = read_repository(folder, tasks(), RecomputeCache())
    board = make_board(contents, "here", published, [])
    return board, rank_all(board, contents.entries, RecomputeCache(), lambda _: None), contents


def places(board: Board, ranks: Ranks, name: str = "all") -> dict[str, int | None]:
    tab = board.tabs[0]
    tasks_of = next(found for found in board.sets if found.name == name)
    return {row.id: getattr(ranks.get(tab, tasks_of, row), "place", None) for row in tab.rows}


def row_of(model: str, points: dict[str, float] | float, leave_out: tuple[str, ...] = ()) -> list[Result]:
    known = tasks()
    found = []
    for task in counted():
        if task in leave_out:
            continue
        value = points if isinstance(points, float) else points.get(task, 0.7)
        found.append(made_up(model, task, point=value if known[task].higher_is_better else round(1 - value, 6)))
    return found


def test_without_pairs_the_order_of_points_counts() -> None:
    points = {"a": 0.9, "b": 0.8, "c": 0.8, "d": 0.7}
    assert task_ranks(points, True, Pairing()) == ({"a": 1, "b": 2, "c": 2, "d": 4}, False)
    assert task_ranks(points, False, Pairing())[0] == {"d": 1, "b": 2, "c": 2, "a": 4}


def test_tie_groups_where_all_can_be_paired() -> None:
    points = {"a": 0.9, "b": 0.89, "c": 0.8, "d": 0.79}
    ties = frozenset({frozenset("ab"), frozenset("cd"), frozenset("bc")})
    assert task_ranks(points, True, Pairing(frozenset("abcd"), ties)) == ({"a": 1, "b": 1, "c": 3, "d": 3}, True)
    assert task_ranks(points, True, Pairing(frozenset("abc"), ties)) == ({"a": 1, "b": 2, "c": 3, "d": 4}, False)


def test_overlapping_intervals_are_no_tie(tmp_path: Path) -> None:
    write_board(tmp_path, row_of("ecg-cpc", 0.801) + row_of("ecg-fm", 0.8))
    board, ranks, _ = ranked(tmp_path)
    assert places(board, ranks) == {"ecg-cpc": 1, "ecg-fm": 2}
    assert all(pairing == Pairing() for pairing in ranks.pairings.values())


def test_gaps_and_parts_of_the_data_are_not_ranked(tmp_path: Path) -> None:
    partial = row_of("merl", 0.99)
    partial[0] = made_up("merl", partial[0].task, point=0.99, protocol={"name": "paper", "deviations": {"limit": 9}})
    write_board(tmp_path, row_of("ecg-cpc", 0.8) + row_of("ecg-fm", 0.95, leave_out=("mimic_sex",)))
    board, ranks, _ = ranked(tmp_path)
    assert places(board, ranks) == {"ecg-cpc": 1, "ecg-fm": None}
    assert places(board, ranks, "open") == {"ecg-cpc": 2, "ecg-fm": 1}
    assert places(board, ranks, "category:acute_care") == {"ecg-cpc": 2, "ecg-fm": 1}


def test_a_limited_row_is_not_complete(tmp_path: Path) -> None:
    limited = [
        result.model_copy(update={"protocol": result.protocol.model_copy(update={"deviations": {"limit": 9}})})
        for result in row_of("merl", 0.99)
    ]
    write_board(tmp_path, row_of("ecg-cpc", 0.8) + limited)
    board, ranks, _ = ranked(tmp_path)
    assert places(board, ranks) == {"ecg-cpc": 1, "merl": None}


def test_means_keep_kinds_apart(tmp_path: Path) -> None:
    write_board(tmp_path, row_of("ecg-cpc", 0.8))
    board, ranks, _ = ranked(tmp_path)
    standing = ranks.get(board.tabs[0], board.sets[0], board.tabs[0].rows[0])
    assert standing is not None
    assert standing.auroc == pytest.approx(0.8)
    assert standing.mae == pytest.approx(0.2)
    assert standing.tasks == 26


def test_simulated_rows_are_never_ranked_with_real(tmp_path: Path) -> None:
    simulated = [
        result.model_copy(update={"protocol": result.protocol.model_copy(update={"deviations": {"synthetic": True}})})
        for result in row_of("merl", 0.99)
    ]
    write_board(tmp_path / "mixed", row_of("ecg-cpc", 0.8) + simulated)
    board, ranks, _ = ranked(tmp_path / "mixed")
    assert not board.synthetic
    assert places(board, ranks) == {"ecg-cpc": 1, "merl": None}
    write_board(tmp_path / "test", simulated)
    board, ranks, _ = ranked(tmp_path / "test")
    assert board.synthetic
    assert places(board, ranks) == {"merl": 1}


def test_published_rows_have_places_of_their_own(tmp_path: Path) -> None:
    write_board(tmp_path, row_of("merl", 0.5))
    board, ranks, _ = ranked(tmp_path, published=True)
    tab = next(tab for tab in board.tabs if tab.mode == "linear")
    found = {
        (row.id, row.published): standing.place
        for row in tab.rows
        if (standing := ranks.get(tab, board.sets[0], row)) is not None
    }
    assert found["merl", False] == 1
    assert sorted(place for (_, published), place in found.items() if published) == list(range(1, 9))


def test_baselines_of_another_mode_stand_beside(tmp_path: Path) -> None:
    write_board(tmp_path, [made_up("trivial", "ptb"), made_up("ecg-cpc", "ptb", "frozen")])
    board, ranks, _ = ranked(tmp_path)
    frozen = next(tab for tab in board.tabs if tab.mode == "frozen")
    assert [row.id for row in frozen.references] == ["trivial"]
    assert all(ranks.get(frozen, tasks_of, frozen.references[0]) is None for tasks_of in board.sets)


def test_pairs_from_predictions(tmp_path: Path) -> None:
    """Two equal models tie, a third of other records cannot be paired."""
    write_scored(tmp_path / "runs" / "a", "random:ecg-cpc-tiny", given=predictions(seed=1, test=200))
    write_scored(tmp_path / "runs" / "b", "random:merl-tiny", given=predictions(seed=1, test=200))
    write_scored(tmp_path / "runs" / "c", "random:ecg-fm-tiny", given=predictions(seed=2, test=150))
    ready = prepare(find_runs([tmp_path / "runs"]), tasks(), predictions=True)
    push(ready, FolderRepository(tmp_path / "board"), tasks().values())
    board, ranks, _ = ranked(tmp_path / "board")
    pairing = ranks.pairings["linear", "ptbxl_super"]
    keys = {row.id: row.key for row in board.tabs[0].rows}
    assert pairing.rows == {keys["random:ecg-cpc-tiny"], keys["random:merl-tiny"]}
    assert pairing.tied(keys["random:ecg-cpc-tiny"]) == [keys["random:merl-tiny"]]
    assert pairing.tied(keys["random:ecg-fm-tiny"]) == []
    assert (pairing.unit, pairing.resampled) == ("patient", "resampled by patient (100 patients, 200 records)")
    assert Pairing.of(json.loads(json.dumps(pairing.content()))) == pairing
    row = next(row for row in board.tabs[0].rows if row.id == "random:merl-tiny")
    names = {row.key: row.name for row in board.tabs[0].rows}
    said = tie_line(row, pairing, names)
    assert said == (
        "Ties, in pairs on the same records, resampled by patient (100 patients, 200 records): "
        "not distinguished from random:ecg-cpc-tiny (resamples=50); 1 further rows cannot be paired"
    )
    scores = [row["scores"]["ptbxl_super"] for row in content(board, ranks)["rows"] if row["mode"] == "linear"]
    assert sorted(str(score["ties_resampled_by"]) for score in scores) == ["None", "patient", "patient"]


def test_rows_without_a_score_on_a_task_are_none_that_cannot_be_paired(tmp_path: Path) -> None:
    write_scored(tmp_path / "runs" / "a", "random:ecg-cpc-tiny", given=predictions(seed=1, test=200))
    write_scored(tmp_path / "runs" / "b", "random:merl-tiny", given=predictions(seed=1, test=200))
    ready = prepare(find_runs([tmp_path / "runs"]), tasks(), predictions=True)
    push(ready, FolderRepository(tmp_path / "board"), tasks().values())
    write_board(tmp_path / "board", [made_up("merl", "ptb")])
    board, ranks, _ = ranked(tmp_path / "board")
    page = table(View(board, ranks, lambda path: path), board.tabs[0])
    assert "not distinguished from" in page
    assert "cannot be paired" not in page


def test_ties_are_decided_with_all_pairs_in_view() -> None:
    """Eight equal models: unadjusted intervals separate some, the adjusted comparison none."""
    noise = np.random.default_rng(0)
    models, files = "abcdefgh", {}
    for model in models:
        given = predictions(seed=1, test=200, patients=False)
        prob = (0.2 * given.y_true + 0.8 * noise.random(given.y_true.shape)).astype(np.float32)
        files[model] = replace(given, y_prob=prob)
    found = ranking._compare(tasks()["ptbxl_super"], files)
    assert found.rows == frozenset(models)
    assert len(found.ties) == 28
    assert found.resampled == "resampled by record (200 records, their patients are not named)"
    pairs = comparison.compare_models(tasks()["ptbxl_super"], files).pairs
    assert any(pair.difference.significant for pair in pairs)


def test_comparisons_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scored(tmp_path / "runs" / "a", "random:ecg-cpc-tiny")
    write_scored(tmp_path / "runs" / "b", "random:merl-tiny")
    ready = prepare(find_runs([tmp_path / "runs"]), tasks(), predictions=True)
    push(ready, FolderRepository(tmp_path / "board"), tasks().values())
    contents, memory, told = (
        read_repository(tmp_path / "board", tasks(), RecomputeCache()),
        RecomputeCache(),
        list[str](),
    )
    board = make_board(contents, "here", False, [])
    first = rank_all(board, contents.entries, memory, told.append)
    again = rank_all(board, contents.entries, memory, told.append)
    assert len(told) == 1
    assert first.pairings == again.pairings
    monkeypatch.setattr(comparison, "METHOD", "another")
    rank_all(board, contents.entries, memory, told.append)
    assert len(told) == 2, "what another method found is not taken over"


def test_sets_are_the_suites() -> None:
    from eval_harness.leaderboard.board import columns_of, task_sets

    columns = columns_of(tasks())
    sets = {found.name: len(found.tasks) for found in task_sets(columns)}
    assert len(columns) == 28
    assert (sets["all"], sets["published"]) == (26, 28)
    assert isinstance(task_sets(columns)[0], TaskSet)
    assert task_sets(columns)[0].name == "all"
    assert len({column.category for column in columns}) == 7


@pytest.mark.parametrize(
    ("deviations", "said"),
    [
        ({}, ", 95 % interval 0.700 to 0.900"),
        ({"confidence": 0.9}, ", 90 % interval 0.700 to 0.900"),
        ({"confidence": "x"}, ", interval 0.700 to 0.900"),
    ],
)
def test_an_interval_has_the_coverage_that_the_run_was_asked_for(
    tmp_path: Path, deviations: dict[str, object], said: str
) -> None:
    write_board(tmp_path, row_of("ecg-cpc", 0.8))
    board, _, _ = ranked(tmp_path)
    column, row = board.columns[0], board.tabs[0].rows[0]
    cell = replace(row.cells[column.name], low=0.7, high=0.9, deviations=deviations)
    assert said in cell_lines(row, column, cell, Pairing(), {})[1]
