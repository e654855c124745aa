"""docs/python_api.ipynb: every cell runs and gives what the committed notebook shows."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "python_api.ipynb"


def shown(cell: Any) -> list[str]:
    """The kinds of a cell's outputs and its texts, without numbers: other processors round otherwise."""
    outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    texts = [output.get("text") or output["data"]["text/plain"] for output in outputs]
    kinds = [",".join(sorted(output.get("data", {"stream": ""}))) for output in outputs]
    # Columns are as wide as their longest number.
    return [*kinds, *(re.sub(r"[\d.+-]+|\s+", " ", text) for text in texts)]


@pytest.fixture(scope="module")
def committed() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_committed_notebook_was_run_from_top_to_bottom(committed: Any) -> None:
    nbformat.validate(committed)
    cells = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert NOTEBOOK.stat().st_size < 100_000
    for cell in cells:
        compile(cell.source, "cell", "exec")


@pytest.mark.heavy
def test_every_cell_gives_what_is_shown(committed: Any, tmp_path: Path) -> None:
    again = copy.deepcopy(committed)
    NotebookClient(again, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    for old, new in zip(committed.cells, again.cells, strict=True):
        if old.cell_type == "code":
            assert shown(new) == shown(old), old.source
    outputs = [output for cell in again.cells for output in cell.get("outputs", ())]
    said = "".join(output.text for output in outputs if output.get("name") == "stderr")
    assert "\x1b" not in said, "no escapes of a terminal"
