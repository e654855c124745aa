"""The runner learns what is in the signals, and nothing where there is nothing: mock data with visible labels."""

from __future__ import annotations

import csv
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from dataset_scripts.mock import write
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import protocol
from eval_harness.runner.run import evaluate

pytestmark = pytest.mark.heavy

RECORDS = 900
TABLE = "ptbxl_database.csv"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("visible")
    write("ptb-xl", folder / "ptb-xl", records=RECORDS, seed=0)
    return folder


@pytest.fixture(scope="module")
def shuffled(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same signals, patients and folds; every record has the statements of another one."""
    folder = tmp_path_factory.mktemp("shuffled")
    shutil.copytree(root / "ptb-xl", folder / "ptb-xl", copy_function=os.link)
    table = folder / "ptb-xl" / TABLE
    with table.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    codes = [row["scp_codes"] for row in rows]
    random.Random(0).shuffle(codes)
    for row, code in zip(rows, codes, strict=True):
        row["scp_codes"] = code
    table.unlink()  # a link to the other tree's
    with table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def scored(root: Path, folder: Path) -> Any:
    """A frozen run of a random encoder by the numbers of protocol `fast`, without a change."""
    asked = RunOptions(
        models=("random:ecg-cpc-tiny",),
        tasks=("ptbxl_super",),
        modes=("frozen",),
        data_root=str(root),
        cache_dir=folder / "cache",
        output=folder / "results",
        device="cpu",
        protocol=protocol("fast"),
    )
    (result,) = evaluate(asked, quiet=True)
    assert result.status == "done", result.reason
    assert set(result.protocol.deviations) <= {"min_count", "synthetic"}
    return result


def test_labels_that_show_in_the_signal_are_learned(root: Path, tmp_path: Path) -> None:
    result = scored(root, tmp_path)
    macro = result.metrics["macro_auroc"]
    assert macro.point > 0.9
    assert macro.low > 0.8
    assert macro.classes == 5
    assert min(label.auroc.point for label in result.per_label) > 0.75


def test_of_shuffled_labels_nothing_is_learned(shuffled: Path, tmp_path: Path) -> None:
    result = scored(shuffled, tmp_path)
    macro = result.metrics["macro_auroc"]
    assert macro.low < 0.5 < macro.high
    assert 0.35 < macro.point < 0.65
    held = [label.auroc.low < 0.5 < label.auroc.high for label in result.per_label]
    assert sum(held) >= 4, "of five intervals of 95 % one may miss"
