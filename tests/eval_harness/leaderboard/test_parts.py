"""A score on part of a release is shown, marked, and neither ranked nor averaged nor best."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dataset_scripts.core.extent import Extent, State
from eval_harness.leaderboard import board as board_module
from eval_harness.leaderboard.entries import Contents, RecomputeCache, read_repository
from eval_harness.leaderboard.ranking import rank_all
from eval_harness.leaderboard.site import build, make_board
from eval_harness.publish.push import prepare, push
from eval_harness.publish.repository import FolderRepository
from eval_harness.results.folders import find_runs
from eval_harness.results.schema import Result
from eval_harness.tasks.registry import tasks
from tests.support.board import counted, made_up, write_board, write_scored
from tests.support.results import SUPER, predictions

TASK = "ptbxl_super"
STATES: dict[int, State] = {60: "partial", 70: "whole"}
"""Test records of a fabricated result -> how much of the release they are taken for."""


def changed(made: Result, records: dict[str, int] | None, release: bool = True) -> Result:
    """The result with other records, or as a schema before 1.3 held it."""
    assert made.data is not None
    update: dict[str, Any] = {} if release else {"release": None}
    if records:
        update["records"] = made.data.records.model_copy(update=records)
    return made.model_copy(update={"data": made.data.model_copy(update=update)})


def rows_of(model: str, point: float, *, part: dict[str, int] | None = None, release: bool = True) -> list[Result]:
    """A complete row, of which the result on one task is on part of the records or does not say."""
    found = []
    for task in counted():
        value = point if tasks()[task].higher_is_better else round(1 - point, 6)
        made = made_up(model, task, point=value)
        if task == TASK and part:
            text = f"{part['test']}/2198 test"
            made = changed(made, part).model_copy(
                update={"protocol": made.protocol.model_copy(update={"deviations": {"records": text}})}
            )
        found.append(made if release or task != "cpsc2018" else changed(made, None, release=False))
    return found


def places(contents: Contents) -> dict[str, int | None]:
    board = make_board(contents, "here", False, [])
    ranks = rank_all(board, contents.entries, RecomputeCache(), lambda _: None)
    return {row.id: getattr(ranks.get(board.tabs[0], board.sets[0], row), "place", None) for row in board.tabs[0].rows}


def test_a_part_has_no_rank_however_good(tmp_path: Path) -> None:
    write_board(tmp_path, rows_of("ecg-cpc", 0.8) + rows_of("merl", 0.99, part={"test": 273}))
    contents = read_repository(tmp_path, tasks(), RecomputeCache())
    assert contents.problems == {}
    assert places(contents) == {"ecg-cpc": 1, "merl": None}


def test_what_nobody_can_tell_has_no_rank(tmp_path: Path) -> None:
    write_board(tmp_path, rows_of("ecg-cpc", 0.8) + rows_of("merl", 0.99, release=False))
    assert places(read_repository(tmp_path, tasks(), RecomputeCache())) == {"ecg-cpc": 1, "merl": None}


def test_the_page_and_its_numbers_say_it(tmp_path: Path) -> None:
    entries = [*rows_of("ecg-cpc", 0.8), *rows_of("ecg-fm", 0.7), *rows_of("merl", 0.99, part={"test": 273})]
    write_board(tmp_path / "board", [*entries, *rows_of("st-mem", 0.9, release=False)])
    build(tmp_path / "board", tmp_path / "page", published=False)
    text = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    rows = {name: re.search(rf'<tr[^>]*data-name="{name}".*?</tr>', text, re.DOTALL) for name in ("merl", "st-mem")}
    merl, st_mem = (row[0] if row else "" for row in rows.values())
    assert '<i class="part">partial</i>' in merl
    assert "Partial, no rank: of the release of ptb-xl it has 273/2198 test" in merl
    assert '<i class="part">partial?</i>' in st_mem
    assert "No rank: unknown whether it is about all of the release of cpsc2018" in st_mem
    (cell,) = re.findall(r"<td[^>]*>(?:(?!</td>).)*partial</i>", merl, re.DOTALL)
    assert " best" not in cell
    assert "--h:0.00" in cell
    content = json.loads((tmp_path / "page" / "leaderboard.json").read_text(encoding="utf-8"))
    scores = {row["model"]: row["scores"] for row in content["rows"]}
    assert scores["merl"][TASK]["extent"] == "partial"
    assert scores["merl"][TASK]["deviations"] == {"records": "273/2198 test"}
    assert scores["ecg-cpc"][TASK]["extent"] == "whole"
    assert scores["st-mem"]["cpsc2018"]["extent"] == "unknown"
    assert all("all" not in row["standings"] for row in content["rows"] if row["model"] in ("merl", "st-mem"))


def with_fewer_labels(made: Result) -> Result:
    """The result over three of the five labels, of all records."""
    assert made.data is not None
    labels = made.data.labels.model_copy(update={"scored": 3, "missing": ["HYP", "MI"]})
    protocol = made.protocol.model_copy(update={"deviations": {"labels": "3/5"}})
    return made.model_copy(update={"data": made.data.model_copy(update={"labels": labels}), "protocol": protocol})


def test_a_mean_over_fewer_labels_is_not_the_best_of_its_column(tmp_path: Path) -> None:
    few = [with_fewer_labels(made) if made.task == TASK else made for made in rows_of("merl", 0.99)]
    write_board(tmp_path / "board", [*rows_of("ecg-cpc", 0.8), *rows_of("ecg-fm", 0.7), *few])
    build(tmp_path / "board", tmp_path / "page", published=False)
    text = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    cells = {
        name: next(cell for cell in re.findall(r"<td.*?</td>", row, re.DOTALL) if f"/{TASK}.json" in cell)
        for name, row in re.findall(r'<tr[^>]*data-name="([^"]*)"(.*?)</tr>', text, re.DOTALL)
    }
    assert "3 of 5 labels" in cells["merl"]
    assert [name for name, cell in cells.items() if " best" in cell] == ["ecg-cpc"]
    shades = {name: cell.partition("--h:")[2][:4] for name, cell in cells.items()}
    assert shades == {"ecg-cpc": "1.00", "ecg-fm": "0.00", "merl": "0.00"}


def test_parts_do_not_crowd_out_the_rows_that_are_ranked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three models on the same part, two on other records that count as the whole: the two are compared."""
    for number, model in enumerate(("random:ecg-cpc-tiny", "random:merl-tiny", "random:ecg-fm-tiny")):
        write_scored(tmp_path / f"part{number}", model, given=predictions(seed=1, test=60))
    for number, model in enumerate(("random:st-mem-tiny", "random:hubert-ecg-tiny")):
        write_scored(tmp_path / f"whole{number}", model, given=predictions(seed=2, test=70))
    ready = prepare(find_runs([tmp_path]), tasks(), predictions=True)
    push(ready, FolderRepository(tmp_path / "board"), tasks().values())
    contents = read_repository(tmp_path / "board", tasks(), RecomputeCache())
    monkeypatch.setattr(board_module, "extent_of", lambda made: Extent(STATES[made.data.records.test]))
    board = make_board(contents, "here", False, [])
    pairing = rank_all(board, contents.entries, RecomputeCache(), lambda _: None).pairings["linear", TASK]
    ids = {row.key: row.id for row in board.tabs[0].rows}
    assert {ids[key] for key in pairing.rows} == {"random:st-mem-tiny", "random:hubert-ecg-tiny"}


def test_rows_over_fewer_labels_do_not_crowd_out_the_rows_that_are_ranked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, model in enumerate(("random:ecg-cpc-tiny", "random:merl-tiny", "random:ecg-fm-tiny")):
        write_scored(tmp_path / f"few{number}", model, given=predictions(labels=SUPER[:3], seed=1))
    for number, model in enumerate(("random:st-mem-tiny", "random:hubert-ecg-tiny")):
        write_scored(tmp_path / f"all{number}", model, given=predictions(seed=1))
    ready = prepare(find_runs([tmp_path]), tasks(), predictions=True)
    push(ready, FolderRepository(tmp_path / "board"), tasks().values())
    contents = read_repository(tmp_path / "board", tasks(), RecomputeCache())
    monkeypatch.setattr(board_module, "extent_of", lambda made: Extent("whole"))
    board = make_board(contents, "here", False, [])
    pairing = rank_all(board, contents.entries, RecomputeCache(), lambda _: None).pairings["linear", TASK]
    ids = {row.key: row.id for row in board.tabs[0].rows}
    assert {ids[key] for key in pairing.rows} == {"random:st-mem-tiny", "random:hubert-ecg-tiny"}
