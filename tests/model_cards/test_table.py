"""The table of checkpoints in docs/models.md, and the numbers in the README."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecg_hub import catalog
from ecg_hub.errors import EcgHubError
from model_cards import table

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_current() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert page == table.with_table(page), "run `python -m model_cards.table`"
    assert all(f"`{alias}`" in page for alias in catalog.built_in())


def test_a_page_without_the_marks() -> None:
    with pytest.raises(EcgHubError, match="lacks the lines"):
        table.with_table("# Models\n")


def test_what_is_inferred_is_marked() -> None:
    rows = table.checkpoint_table().splitlines()
    for entry in catalog.built_in().values():
        (row,) = [row for row in rows if f"`{entry.alias}` |" in row and row.split("|")[1].strip(" -`") == entry.alias]
        assert ("(?)" in row) == (entry.note is not None)


def test_the_readme_counts() -> None:
    readme, numbers = (ROOT / "README.md").read_text(encoding="utf-8"), table.counts()
    assert f"{numbers['architectures']} architectures" in readme
    assert f"{numbers['checkpoints']} published checkpoints" in readme
    assert f"{numbers['checkpoints']} checkpoints {numbers['proved']} have such a proof" in " ".join(readme.split())
