"""What bfloat16 on the CPU does to scores: the same head on features of float32 and of bfloat16, on real records.

    OMP_NUM_THREADS=1 python benchmarks/bfloat16.py FOLDER [NAME ...] [--records 300]

FOLDER is PTB-XL as its publisher ships it. Encoders have full size and seeded random weights: what is asked is how far
rounding moves a score, and no weights file is needed for that. One window of each record is encoded in both precisions,
a logistic regression (in float64, to its optimum, no random numbers) learns the five superclasses from the pooled
features, and the macro AUROC is that of all records, each scored by the head of the other four fifths (by the published
folds). Records are spaced evenly over the table. Also printed are the ratio of CPU time and the root mean square by
which features move from record to record, as a share of their deviation (what moves all records alike is no error).
"""

from __future__ import annotations

import argparse
import ast
import csv
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from models import encoder

import ecg_hub
from ecg_hub import catalog
from eval_harness.metrics.ranking import macro_auroc

BATCH = 16
PENALTY = 1e-3
COLUMNS = ("model", "records", "float32", "bfloat16", "difference", "features move", "time float32 / bfloat16")
PARTS = 5


def records(folder: Path, count: int) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Paths, superclasses (records, 5) and part of each record."""
    with (folder / "scp_statements.csv").open(encoding="utf-8") as file:
        classes = {row[""]: row["diagnostic_class"] for row in csv.DictReader(file) if row["diagnostic_class"]}
    names = sorted(set(classes.values()))
    with (folder / "ptbxl_database.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (folder / f"{row['filename_hr']}.hea").is_file()]
    rows = [rows[index] for index in np.unique(np.linspace(0, len(rows) - 1, count).astype(int))]
    found = [{classes.get(code) for code in ast.literal_eval(row["scp_codes"])} for row in rows]
    labels = np.array([[name in of_row for name in names] for of_row in found])
    return (
        [folder / row["filename_hr"] for row in rows],
        labels,
        np.array([int(row["strat_fold"]) % PARTS for row in rows]),
    )


def features(model: Any, windows: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, float]:
    """Pooled features in float64, and CPU seconds."""
    parts, seconds = [], 0.0
    with torch.inference_mode(), torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        model(windows[:2])  # reorders the weights
        for part in windows.split(BATCH):
            started = time.process_time()
            parts.append(model(part).pooler_output.double())
            seconds += time.process_time() - started
    return torch.cat(parts), seconds


def score(x: torch.Tensor, labels: np.ndarray, parts: np.ndarray) -> float:
    """Macro AUROC of the records, each scored by a head that has not seen it."""
    scores = np.zeros(labels.shape)
    for part in range(PARTS):
        scores[parts == part] = fitted(x, labels, torch.from_numpy(parts != part))[parts == part]
    return macro_auroc(labels.astype(float), scores)


def fitted(x: torch.Tensor, labels: np.ndarray, train: torch.Tensor) -> np.ndarray:
    """Logits of all records by a logistic regression with a fixed penalty."""
    # One scale for all features, as a head of the harness sees them: what hardly varies is not blown up.
    x = (x - x[train].mean(0)) / x[train].std(0).square().mean().sqrt()
    y = torch.from_numpy(labels).double()
    weight = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(y.shape[1], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        errors = torch.nn.functional.binary_cross_entropy_with_logits(x[train] @ weight + bias, y[train])
        total: torch.Tensor = errors + PENALTY * weight.square().sum()
        total.backward()
        return total

    solver.step(loss)
    logits: np.ndarray = (x @ weight + bias).detach().numpy()
    return logits


def row(name: str, folder: Path, count: int) -> tuple[str, ...]:
    paths, labels, parts = records(folder, count)
    extractor, model = ecg_hub.AutoFeatureExtractor.from_pretrained(f"random:{name}"), encoder(name)
    windows = torch.cat([extractor(str(path), return_tensors="pt")["input_values"][:1] for path in paths])
    (full, full_s), (half, half_s) = (features(model, windows, dtype) for dtype in (torch.float32, torch.bfloat16))
    one, other = score(full, labels, parts), score(half, labels, parts)
    moved = float((full - half).std(0).square().mean().sqrt() / full.std(0).square().mean().sqrt())
    return (
        name,
        str(len(paths)),
        f"{one:.4f}",
        f"{other:.4f}",
        f"{other - one:+.4f}",
        f"{moved:.4f}",
        f"{full_s / half_s:.2f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--records", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| {' | '.join(COLUMNS)} |\n|---|" + "---:|" * (len(COLUMNS) - 1))
    for name in options.names or catalog.models():
        print(f"| {' | '.join(row(name, options.folder, options.records))} |", flush=True)


if __name__ == "__main__":
    main()
