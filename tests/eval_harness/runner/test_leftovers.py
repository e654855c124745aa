"""What killed processes left half written goes away with the next run, and nothing that others may be writing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ecg_hub.utils.files import remove_abandoned
from eval_harness.config.options import RunOptions
from eval_harness.results import folders
from eval_harness.results.folders import FolderRefusedError
from eval_harness.runner.run import evaluate
from eval_harness.training.feature_store import FeatureStore


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("half")
    return path


def test_only_abandoned_files_of_the_folder_itself_are_removed(tmp_path: Path) -> None:
    gone = touch(tmp_path / ".x.json.17-0a1b2c3d.tmp")
    stay = [
        touch(tmp_path / name)
        for name in ("x.json", "x.tmp", ".lock", ".seeds.json.17-0a1b2c3d.tmp", "seed_1/.x.json.17-0a1b2c3d.tmp")
    ]
    remove_abandoned(tmp_path, keep="seeds.json")
    remove_abandoned(tmp_path / "absent")
    assert not gone.exists()
    assert all(path.exists() for path in stay)


@pytest.mark.heavy
def test_a_run_that_continues_leaves_no_half_written_files(options: Callable[..., RunOptions]) -> None:
    asked = options(limit=16)
    folder = asked.output / "random__ecg-cpc-tiny" / "linear"
    parts = ("", "checkpoints", "history", "predictions")
    left = [touch(folder / part / ".ptbxl_super.pt.17-0a1b2c3d.tmp") for part in parts]
    other = touch(folder / "seed_1" / ".run.json.17-0a1b2c3d.tmp")
    (result,) = evaluate(replace(asked), quiet=True)
    assert result.status == "done", result.reason
    assert not any(path.exists() for path in left)
    assert other.exists(), "another process may be working on another seed"


def test_the_store_removes_what_nobody_holds(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 1.0)
    free = [touch(tmp_path / "a.partial"), touch(tmp_path / ".a.json.17-0a1b2c3d.tmp")]
    held = [touch(tmp_path / "b.partial"), touch(tmp_path / ".b.json.17-0a1b2c3d.tmp")]
    with FeatureStore(tmp_path, 1.0).held("b"):
        assert store.make_room(1) is None
        assert [path.exists() for path in free + held] == [False, False, True, True]
    assert store.make_room(1) is None
    assert not any(path.exists() for path in held)


@pytest.mark.heavy
def test_an_overwrite_that_is_killed_leaves_no_results_for_a_run_of_other_settings(
    options: Callable[..., RunOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    (result,) = evaluate(options(limit=16), quiet=True)
    assert result.status == "done", result.reason
    listed = Path.iterdir

    def killed(folder: Path) -> None:
        raise KeyboardInterrupt(folder)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", lambda folder: iter(sorted(listed(folder), key=lambda p: p.name != "run.json")))
        patch.setattr(folders.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(options(limit=16, epochs=3, overwrite=True), quiet=True)
    with pytest.raises(FolderRefusedError, match="epochs"):
        evaluate(options(limit=16, epochs=3), quiet=True)
