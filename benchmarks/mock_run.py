"""A prepared mock PTB-XL for the benchmarks of loading and training, as the runner opens it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from dataset_scripts.mock import write
from dataset_scripts.published.ptb_xl import DATABASE, FOLDS
from eval_harness.config.options import RunOptions
from eval_harness.data.records import Datasets, open_run
from eval_harness.data.windows import Windows
from eval_harness.models.loading import LoadedModel, load_model
from eval_harness.runner.plan import plan


def asked(folder: Path, records: int, **changes: Any) -> RunOptions:
    """Options of a run on a mock PTB-XL, which is written into the folder unless it is there."""
    root = folder / "root"
    if not (root / "ptb-xl").is_dir():
        write("ptb-xl", root / "ptb-xl", records=records, seed=0)
        _fold_in_turn(root / "ptb-xl" / DATABASE)
    settings: dict[str, Any] = {
        "models": ("random:ecg-cpc",),
        "tasks": ("ptbxl_all",),
        "modes": ("frozen",),
        "data_root": str(root),
        "cache_dir": folder / "cache",
        "output": folder / "results",
        "device": "cpu",
        "num_proc": 1,
    }
    return RunOptions(**{**settings, **changes})


def _fold_in_turn(table: Path) -> None:
    """Give the splits PTB-XL's proportions, 8 : 1 : 1: a small mock has more to validate on, so that labels occur."""
    with table.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    for number, row in enumerate(rows):
        row["strat_fold"] = str(1 + number % FOLDS)
    with table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def opened(options: RunOptions) -> tuple[LoadedModel, Windows]:
    """The encoder and the windows of the first job of a run."""
    job = plan(options)[0]
    loaded = load_model(job.model, job.mode, options.preset, job.seed)
    data = open_run(job.run, Datasets(options), loaded.extractor.spec().input_seconds)
    return loaded, Windows(data, loaded.extractor)
