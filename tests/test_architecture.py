"""The house stays as docs/architecture.md says: who imports whom, its picture, and figures that must not get worse."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Modules that stand in no room, `__init__` and `__main__` aside.
LOOSE = {"ecg_hub": 16, "dataset_scripts": 4, "eval_harness": 8}
LONGEST = 500


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look types up
    spec.loader.exec_module(module)
    return module


def test_every_import_is_allowed() -> None:
    # In a process of its own: import-linter configures logging, which closes what other libraries log to.
    code = "import sys; from importlinter import cli; sys.exit(cli.lint_imports(no_cache=True))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_the_picture_shows_todays_imports(picture: ModuleType) -> None:
    drawn = picture.draw(picture.import_graph())
    assert picture.FILE.read_text(encoding="utf-8") == drawn, "run `python docs/pages.py`"


def test_a_picture_of_rooms_that_import_each_other_is_refused(picture: ModuleType) -> None:
    both = {"left": frozenset({"right"}), "right": frozenset({"left"}), "other": frozenset({"left"})}
    with pytest.raises(ValueError, match="left, other, right"):
        picture.levels(both)


def test_arrows_that_follow_from_others_are_left_out(picture: ModuleType) -> None:
    edges = {"top": frozenset({"middle", "base"}), "middle": frozenset({"base"}), "base": frozenset[str]()}
    assert picture.levels(edges) == {"base": 0, "middle": 1, "top": 2}
    assert picture.needed(edges) == [("top", "middle"), ("middle", "base")]


@pytest.mark.parametrize("package", ["ecg_hub", "eval_harness"])
def test_loose_modules_and_folders_do_not_import_each_other(package: str, picture: ModuleType) -> None:
    """Together they are a room; in dataset_scripts `load` and `catalog` are its door, and stand above and below."""
    graph = picture.import_graph()
    is_folder = picture.rooms(graph, package)
    edges: dict[str, set[str]] = {}
    for name, imported in picture.arrows(graph, package, list(is_folder)).items():
        room = name if is_folder[name] else "(loose)"
        edges.setdefault(room, set()).update(other if is_folder[other] else "(loose)" for other in imported)
    picture.levels({room: frozenset(others - {room}) for room, others in edges.items()})


@pytest.mark.parametrize("package", LOOSE)
def test_few_modules_stand_in_no_room(package: str) -> None:
    loose = sorted(path.stem for path in (ROOT / package).glob("*.py") if not path.stem.startswith("__"))
    assert len(loose) <= LOOSE[package], loose


def test_no_module_is_too_long() -> None:
    files = [file for package in (*LOOSE, "model_cards") for file in (ROOT / package).rglob("*.py")]
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}
