"""The table of checkpoints in docs/models.md."""

from __future__ import annotations

import pytest

from ecg_hub import catalog
from ecg_hub.errors import EcgHubError
from model_cards import table


def test_a_page_without_the_marks() -> None:
    with pytest.raises(EcgHubError, match="lacks the lines"):
        table.with_table("# Models\n")


def test_what_is_inferred_is_marked() -> None:
    rows = table.checkpoint_table().splitlines()
    for entry in catalog.built_in().values():
        (row,) = [row for row in rows if f"`{entry.alias}` |" in row and row.split("|")[1].strip(" -`") == entry.alias]
        assert ("(?)" in row) == (entry.note is not None)
