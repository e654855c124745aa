"""The dataset in docs/contributing/dataset.md works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_scripts import catalog
from dataset_scripts.core.spec import ECGDataset
from dataset_scripts.load import prepare
from dataset_scripts.reader import SignalReader
from dataset_scripts.tools.croissant import creators
from ecg_hub.leads import LEADS

PAGE = Path(__file__).resolve().parents[2] / "docs/contributing/dataset.md"


def block(number: int) -> dict[str, Any]:
    """The names of a code block of the page: the dataset, and its mock writer."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {"__name__": "example_ecg"}
    exec(compile(blocks[number], str(PAGE), "exec"), names)
    return names


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ECGDataset:
    """The dataset of the page, registered."""
    dataset = block(0)["DATASET"]
    assert isinstance(dataset, ECGDataset)
    monkeypatch.setattr(catalog, "get", lambda name, data_dir=None: dataset)
    return dataset


def test_the_example_prepares(example: ECGDataset, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    raw = tmp_path / "raw"
    (raw / "signals").mkdir(parents=True)
    rows = ["id,patient,age,sex,diagnoses,fold"]
    signals = {}
    for number in range(24):
        signals[f"e{number}"] = rng.normal(0, 0.5, size=(40 if number == 5 else 50, 12)).round(3)
        text = "\n".join(",".join(f"{v:.3f}" for v in line) for line in signals[f"e{number}"])
        (raw / f"signals/e{number}.csv").write_text(",".join(LEADS) + "\n" + text + "\n")
        rows.append(
            f"e{number},p{number // 2},{40 + number},{'FM'[number % 2]},{'A;B' if number % 3 else 'A'},{number // 6}"
        )
    (raw / "table.csv").write_text("\n".join(rows) + "\n")
    found = prepare(example.name, raw, cache_dir=tmp_path / "cache", min_samples=50)
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 11, "validation": 6, "test": 6}
    assert found.labels == {"label_all": ["A", "B"]}
    assert found.exclusions == {"shorter than 10 s": 1}
    assert found.deviations == {
        "min_samples": 50,
        "records": "11/960 train; 6/120 validation; 6/120 test",
    }
    split = found.splits["test"]
    for index, name in enumerate(split["record_id"]):
        np.testing.assert_allclose(SignalReader(split).window_mv(index), signals[name], atol=5e-4)


@pytest.mark.parametrize("awkward", [False, True])
def test_its_mock_writer_writes_what_it_reads(example: ECGDataset, tmp_path: Path, awkward: bool) -> None:
    trees = [tmp_path / name for name in ("first", "second")]
    for tree in trees:
        thresholds = block(1)["write"](tree, 60, 1, awkward, None)
    first, second = ({file.name: file.read_bytes() for file in tree.rglob("*.csv")} for tree in trees)
    assert first == second
    found = prepare(example.name, trees[0], cache_dir=tmp_path / "cache", max_unreadable=0.1, **thresholds)
    assert found.labels == {"label_all": ["AF", "NORM"]}
    assert (found.report["status"] == "lost").sum() == awkward
    assert sum(found.exclusions.values()) == awkward


def test_its_citation_names_authors(example: ECGDataset) -> None:
    assert creators(example.citation) == ["Nobody, N."]
