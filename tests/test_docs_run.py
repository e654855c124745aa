"""README and docs: Python blocks run, command lines parse, links lead somewhere."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

from dataset_scripts import mock
from ecg_hub.packages import DATASETS, MODELS, TASKS
from eval_harness.cli.eval import main as evaluate
from eval_harness.cli.hub import main as hub
from tests.support.checkpoints import convert_filled
from tests.support.pages import CARDS, PAGES, ROOT, commands, fences

# Pages whose Python blocks stand by themselves; the templates and file readers of other pages have their own tests.
RUNNABLE = [
    ROOT / "README.md",
    ROOT / "docs" / "models.md",
    ROOT / "docs" / "python_api.md",
    ROOT / "docs" / "your_own_data.md",
]
# Pages that say where things are.
WHERE = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "docs" / "architecture.md",
    *sorted((ROOT / "docs" / "contributing").glob("*.md")),
]
PACKAGES = "ecg_hub|dataset_scripts|eval_harness|model_cards"


def blocks(kind: str, pages: list[Path]) -> list[pytest.ParameterSet]:
    found = []
    for page in pages:
        found += [pytest.param(page, text, id=f"{page.stem}-{k}") for k, text in enumerate(fences(page, kind))]
    return found


@pytest.mark.parametrize(("page", "text"), blocks("python", RUNNABLE))
def test_python_blocks_run(page: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A mock of twelve records a fold does for the pages: the usual thousand take seconds to write.
    monkeypatch.setattr(mock.mock_root, "__defaults__", (120, 0))
    if '"ecg-cpc"' in text:
        convert_filled("ecg-cpc", tmp_path / "authors")  # what a page fetches
    exec(compile(text, str(page), "exec"), {"__name__": "page"})


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=lambda page: str(page.relative_to(ROOT)))
def test_command_lines_parse(page: Path) -> None:
    for command in commands(page):
        if words := command.ours:
            {"ecg-eval": evaluate, "ecg-hub": hub}[words[0]].build_parser().parse_args(words[1:])


@pytest.mark.parametrize(("program", "module"), [("ecg-eval", evaluate), ("ecg-hub", hub)])
def test_every_verb_stands_on_a_page(program: str, module: ModuleType) -> None:
    verbs = next(action.choices for action in module.build_parser()._actions if action.dest == "verb")
    ours = [command.ours or [] for page in PAGES for command in commands(page)]
    shown = {words[1] for words in ours if words[:1] == [program]}
    missing = sorted({*verbs} - shown)
    assert not missing, f"no page shows `$ {program} {missing[0]} ...`: docs/contributing/command.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", WHERE, ids=lambda page: page.stem)
def test_modules_functions_and_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    # Groups of entry points look like modules and are none.
    for name in {*re.findall(rf"`((?:{PACKAGES})(?:\.\w+)+)`", text)} - {MODELS, DATASETS, TASKS}:
        pkgutil.resolve_name(name)
    paths = re.findall(rf"`((?:{PACKAGES}|docs|tests)/[\w./-]*\w/?)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^\$ make ([\w-]+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
