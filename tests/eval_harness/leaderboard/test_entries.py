"""A repository is believed only as far as it agrees with itself, with the tasks and with its predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.errors import ResultError
from eval_harness.leaderboard.entries import Contents, RecomputeCache, open_recompute_cache, read_repository
from eval_harness.leaderboard.site import confirm_revisions
from eval_harness.publish.layout import digest
from eval_harness.publish.push import MAX_ENTRY_BYTES, prepare, push
from eval_harness.publish.repository import FolderRepository, ModelFacts, UnreachableError
from eval_harness.results.folders import read_found
from eval_harness.results.predictions import write_predictions
from eval_harness.tasks.registry import tasks
from tests.support.board import made_up, write_board, write_scored
from tests.support.results import predictions


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """One entry with predictions."""
    ready = prepare([read_found(write_scored(tmp_path / "run"))], tasks(), predictions=True)
    push(ready, FolderRepository(tmp_path / "board"), tasks().values())
    return tmp_path / "board"


def read(folder: Path, memory: RecomputeCache | None = None, told: Callable[[str], None] | None = None) -> Contents:
    return read_repository(folder, tasks(), memory or RecomputeCache(), told)


def entry(board: Path) -> Path:
    return next(board.glob("results/*/*/linear/*.json"))


def forge(board: Path, edit: Callable[[dict[str, Any]], None], mend_index: bool = True) -> None:
    """Change an entry, and as a careful forger would, its digest in the description."""
    path = entry(board)
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    if mend_index:
        meta_path = path.parent.parent / "model_meta.json"
        meta = json.loads(meta_path.read_text(encoding="utf-8"))
        meta["entries"]["linear/ptbxl_super"] = digest(path.read_bytes())
        meta_path.write_text(json.dumps(meta), encoding="utf-8")


def only_problem(board: Path) -> str:
    found = read(board)
    assert found.entries == {}
    (problem,) = found.problems.values()
    return problem


def test_an_entry_with_predictions_is_recomputed(board: Path) -> None:
    (found,) = read(board).entries.values()
    assert found.state == "recomputed"


def test_without_them_it_is_self_reported(board: Path) -> None:
    next(board.glob("results/*/*/linear/predictions/*")).unlink()
    (found,) = read(board).entries.values()
    assert found.state == "self-reported"


def test_a_forged_score_is_refused(board: Path) -> None:
    forge(board, lambda content: content["metrics"]["macro_auroc"].update(point=0.99))
    assert "computed again from its predictions, it differs: metrics.macro_auroc.point: 0.99" in only_problem(board)


def test_a_careless_change_is_refused(board: Path) -> None:
    forge(board, lambda content: content.update(created="2027-01-01T00:00:00Z"), mend_index=False)
    assert "changed after it was published" in only_problem(board)


def test_borrowed_predictions_are_refused(board: Path) -> None:
    file = next(board.glob("results/*/*/linear/predictions/*"))
    sha256 = write_predictions(file, predictions(seed=77))
    forge(board, lambda content: content["predictions"].update(sha256=sha256))
    assert "it differs" in only_problem(board)


def test_exchanged_predictions_are_refused(board: Path) -> None:
    write_predictions(next(board.glob("results/*/*/linear/predictions/*")), predictions(seed=77))
    assert "was changed after it was scored" in only_problem(board)


def test_another_model_in_the_place_is_refused(board: Path) -> None:
    forge(board, lambda content: content["model"].update(weights_sha256="e" * 64))
    assert "by its content it belongs at results/" in only_problem(board)


def test_a_missing_entry_is_told(board: Path) -> None:
    entry(board).unlink()
    assert "lists it, and it is not there" in only_problem(board)


def test_an_entry_that_nobody_lists(board: Path) -> None:
    path = entry(board).parent.parent / "model_meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "entries": {}}), encoding="utf-8")
    assert "does not list it" in only_problem(board)


def test_a_copied_entry_is_refused(board: Path) -> None:
    path = entry(board)
    (path.parent / "ptbxl_sub.json").write_bytes(path.read_bytes())
    assert "by its content it belongs at" in next(iter(read(board).problems.values()))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"[" * 100_000, b'{"schema_version": "9.9"}', b"\xff\xfe", b"{}"]
)
def test_what_is_no_result(board: Path, content: bytes) -> None:
    entry(board).write_bytes(content)
    assert only_problem(board)


def test_a_huge_file_is_not_read(board: Path) -> None:
    with entry(board).open("wb") as file:
        file.truncate(MAX_ENTRY_BYTES + 1)
    assert "at most 4,000,000 are read" in only_problem(board)


def test_a_link_is_not_followed(board: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.json"
    target.write_bytes(entry(board).read_bytes())
    path = entry(board)
    path.unlink()
    path.symlink_to(target)
    assert "it is a link" in only_problem(board)


def test_a_model_without_description(board: Path) -> None:
    next(board.glob("results/*/*/model_meta.json")).unlink()
    assert next(iter(read(board).problems)).endswith("model_meta.json")


def test_closed_predictions_in_the_repository_are_told(tmp_path: Path) -> None:
    write_board(tmp_path, [made_up("ecg-cpc", "echonext")])
    (place,) = tmp_path.glob("results/*/*/linear")
    (place / "predictions").mkdir()
    (place / "predictions" / "echonext.parquet").write_bytes(b"PAR1")
    found = read(tmp_path)
    assert [entry.state for entry in found.entries.values()] == ["self-reported"]
    assert "must not be published" in next(iter(found.problems.values()))


def test_what_was_computed_is_remembered(board: Path, tmp_path: Path) -> None:
    told: list[str] = []
    memory = open_recompute_cache(tmp_path / "memory.json")
    read(board, memory, told.append)
    memory.save()
    read(board, open_recompute_cache(tmp_path / "memory.json"), told.append)
    assert len(told) == 1
    write_predictions(next(board.glob("results/*/*/linear/predictions/*")), predictions(seed=77))
    assert read(board, open_recompute_cache(tmp_path / "memory.json")).entries == {}


def test_a_broken_memory_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text('{"checks": 3}')
    assert open_recompute_cache(tmp_path / "memory.json").checks == {}


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="ecg-eval push"):
        read(tmp_path)


class Nobody:
    def look_up(self, model: str, revision: str) -> ModelFacts | None:
        return None


class Away:
    def look_up(self, model: str, revision: str) -> ModelFacts | None:
        raise UnreachableError("away")


def test_made_up_revisions_are_moved_out(tmp_path: Path) -> None:
    write_board(tmp_path, [made_up("lab/model", "ptb"), made_up("lab/model", "sph"), made_up("ecg-cpc", "ptb")])
    found = read(tmp_path)
    assert confirm_revisions(found, Nobody()) == []
    assert [entry.meta.id for entry in found.entries.values()] == ["ecg-cpc"]
    assert all("there is no commit" in problem for problem in found.problems.values())
    again = read(tmp_path)
    assert len(confirm_revisions(again, Away())) == 1
    assert len(again.entries) == 3
