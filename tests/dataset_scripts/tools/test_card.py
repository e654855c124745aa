"""Dataset cards: up to date for every registered dataset, valid on the hub, complete."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, DatasetCardData

from dataset_scripts.catalog import datasets, get
from dataset_scripts.core.spec import Release, Source
from dataset_scripts.tools.card import (
    HUB_LICENCES,
    dataset_card,
    front_matter,
    index_table,
    pages,
    replace_table,
    short_licence,
    size_category,
    table,
)

DOCS = Path(__file__).resolve().parents[3] / "docs"
REMEDY = "run `python docs/pages.py`"
NAMES = sorted(datasets())
TASKS = {"other", "time-series-forecasting", "tabular-classification", "feature-extraction"}
SIZES = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M"}


@pytest.mark.parametrize("name", NAMES)
def test_the_card_in_the_documentation_is_up_to_date(name: str) -> None:
    page = DOCS / "datasets" / f"{name}.md"
    assert page.is_file(), REMEDY
    assert page.read_text(encoding="utf-8") == dataset_card(get(name)), REMEDY


def test_the_table_in_the_documentation_is_up_to_date() -> None:
    page = (DOCS / "datasets.md").read_text(encoding="utf-8")
    assert replace_table(page, index_table(list(datasets().values()))) == page, REMEDY
    assert {path.stem for path in (DOCS / "datasets").glob("*.md")} == set(NAMES), "a card of no dataset"


@pytest.mark.parametrize("name", NAMES)
def test_the_front_matter_is_what_the_hub_takes(name: str) -> None:
    card = DatasetCard(dataset_card(get(name)), ignore_metadata_errors=False)
    data = card.data
    assert isinstance(data, DatasetCardData)
    assert data.to_dict() == front_matter(get(name))
    assert data.license in {*HUB_LICENCES.values(), "other"}
    if data.license == "other":
        assert re.fullmatch(r"[a-z0-9.-]+", data.to_dict()["license_name"])
        assert data.to_dict()["license_link"].startswith("https://")
    assert set(data.task_categories or ()) <= TASKS
    assert set(data.size_categories or ()) <= SIZES
    assert data.pretty_name == get(name).title
    assert all(re.fullmatch(r"[a-z0-9-]+", tag) for tag in data.to_dict()["tags"])


@pytest.mark.parametrize("name", NAMES)
def test_what_a_reader_looks_for_is_there(name: str) -> None:
    dataset = get(name)
    text = dataset_card(dataset)
    headings = ["## Get it", "## Raw folder", "## Folds and splits", "## Licence", "## Citation", "## Labels"]
    assert [heading for heading in headings if heading not in text] == []
    for part in (dataset.page, dataset.citation, *dataset.table_files, *dataset.problems):
        assert part in text
    assert ("--download" in text) == (dataset.access == "open" and bool(dataset.sources))
    for column in dataset.label_columns:
        assert f"### `{column}`" in text
    assert "None" not in text.split("## Labels")[0]


def example(**changes: object) -> str:
    release = Release(version="1", records=12_345, label_counts={"label_all": {"B": 7, "A|C": 20}}, fold_sizes=(6, 6))
    return dataset_card(replace(get("ptb-xl"), releases=(release,), **changes))  # type: ignore[arg-type]


def test_labels_with_counts_and_rare_ones_not_counted() -> None:
    text = example()
    assert "### `label_all`: 1 label" in text
    assert text.index("| `A\\|C` |") < text.index("| `B` |"), "the frequent ones first"
    assert "10K<n<100K" in text
    assert "Records per fold: 6, 6." in text


def test_licences_that_the_hub_does_not_know() -> None:
    text = example(licence="PhysioNet Restricted Health Data License 1.5.0; no sharing", access="restricted")
    assert "license: other\nlicense_name: physionet-restricted-health-data-license-1.5.0\n" in text
    assert short_licence(replace(get("ptb-xl"), licence="CC-BY-4.0")) == "CC-BY-4.0"
    assert short_licence(get("mimic-iv-ecg")) == "ODbL 1.0 and PhysioNet Credentialed Health Data License 1.5.0"


def test_closed_data_come_with_the_command_that_the_user_runs() -> None:
    sources = (Source(host="physionet", ref="mimic-iv-ecg/1.0"),)
    text = example(access="credentialed", redistribution=False, sources=sources)
    assert "$ wget -r -N -c -np -nH --cut-dirs=3" in text
    assert "may not be passed on" in text


@pytest.mark.parametrize(("records", "name"), [(999, "n<1K"), (1000, "1K<n<10K"), (800_035, "100K<n<1M")])
def test_size_categories(records: int, name: str) -> None:
    assert size_category(records) == name


def test_writing_replaces_the_table_and_nothing_else(tmp_path: Path) -> None:
    page = (DOCS / "datasets.md").read_text(encoding="utf-8")
    (tmp_path / "datasets.md").write_text(page.replace("| --- |", "| old |"), encoding="utf-8")
    made = pages(tmp_path)
    assert made[tmp_path / "datasets.md"] == page
    assert len(made) == len(NAMES) + 1


def test_a_page_without_markers() -> None:
    with pytest.raises(ValueError, match="lacks"):
        replace_table("# Datasets\n", "table")


def test_bars_in_cells_are_escaped() -> None:
    assert table(("a",), [("x|y",)]).splitlines()[-1] == "| x\\|y |"
