"""Generated pages are as `python docs/pages.py` writes them, and an error writes none."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ecg_hub
from ecg_hub import catalog

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "pages.py"))


def test_every_generated_page_is_current(program: dict[str, Any]) -> None:
    made = program["pages"]()
    stale = [
        str(path.relative_to(ROOT)) for path, text in made.items() if not path.is_file() or path.read_text() != text
    ]
    assert not stale, f"run `python docs/pages.py`: it writes {', '.join(stale)} anew"


def test_a_new_class_gets_its_lines(program: dict[str, Any]) -> None:
    homes = ecg_hub._HOMES | catalog.public_classes()
    name = "ALongNameOfANewModelForECGClassification"
    code = program["with_public_names"](
        program["NAMES"].read_text(), {**homes, name: "ecg_hub.models.new.modeling_new"}
    )
    assert f"    from ecg_hub.models.new.modeling_new import (\n        {name} as {name},\n    )\n" in code
    assert f'__all__ = [\n    "{name}",\n' in code


@pytest.mark.parametrize(
    ("write", "page"),
    [
        (lambda program, page: program["with_counts"](page), "# A README without counts\n"),
        (lambda program, page: program["with_classes"](page), "# A reference without marks\n"),
        (lambda program, page: program["with_public_names"](page, {}), "NAMES = []\n"),
    ],
)
def test_a_page_without_its_place_is_refused(
    program: dict[str, Any], write: Callable[[dict[str, Any], str], str], page: str
) -> None:
    with pytest.raises(ValueError, match=r"(README|ecg_hub)\S* (has 0 places|lacks the lines)"):
        write(program, page)


def test_an_error_writes_nothing(program: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    names = program["main"].__globals__
    monkeypatch.setitem(names, "count_new", lambda: None)
    monkeypatch.setitem(names, "with_counts", lambda page: 1 / 0)
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: pytest.fail("written"))
    with pytest.raises(ZeroDivisionError):
        program["main"]()


def test_what_is_missing_is_one_sentence() -> None:
    code = (
        "import runpy, sys; from model_cards import __main__ as cards; from ecg_hub.errors import EcgHubError\n"
        "def stop(): raise EcgHubError('model.yaml lacks parity')\n"
        "cards.count_new = stop; runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    words = [sys.executable, "-c", code, str(ROOT / "docs" / "pages.py")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (1, "error: model.yaml lacks parity\nNo page was written.\n")
