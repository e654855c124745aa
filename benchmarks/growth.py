"""Time and memory of the tool as its input grows: records (prepare, embed, frozen run), models (compare, report, page).

    python benchmarks/growth.py [--records 250,1000,4000] [--models 10,100,1000] [--plot docs/pictures/growth.webp]

Every step is the command a user gives, in a process of its own: CPU seconds are those that the system counted for it,
memory is the most that it held for itself (RssAnon of Linux, looked at twenty times a second). Records are simulated
ones of PTB-XL and the model is the tiny ECG-CPC, so that the tool and not the encoder is what is measured. Results of
many models are one real result with its predictions perturbed: 240 test records, 5 labels. Ends with an error where a
step grows faster than its input by more than a tenth, the start of the process left out, or where memory grows by more
than `MEMORY_MB` per 1,000 records.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from turns import load

MODEL = "random:ecg-cpc-tiny"
MEMORY_MB = {"prepare": 5.0, "embed": 3.0, "frozen run": 5.0}
"""Per 1,000 records. Labels and paths are held, signals are not: 1,000 records of PTB-XL are 120 MB as stored."""
EXPONENT = 1.1
LOOK_S = 0.05
NOISE_S = 0.5
"""What the start of a process differs by from one time to the next; a step that takes less has no growth to be seen."""
PAIRS = ("compare",)
"""Steps whose output is one row for each pair, so that they may grow as the square."""


def measured(words: list[str], home: Path) -> tuple[float, float]:
    """CPU seconds and largest memory of its own (MB) of a command."""
    environment = {**os.environ, "ECG_HUB_HOME": str(home), "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    with (home / "output.txt").open("ab") as output:
        process = subprocess.Popen([sys.executable, *words], env=environment, stdout=output, stderr=output, cwd=home)
        largest, ended = 0.0, 0
        while not ended:
            largest = max(largest, own_memory(process.pid))
            # Not wait(): that leaves the counts of this child among those of all others.
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            time.sleep(0 if ended else LOOK_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)[:300]} failed: {(home / 'output.txt').read_text()[-2000:]}")
    return used.ru_utime + used.ru_stime, largest


def own_memory(pid: int) -> float:
    """Memory (MB) that a process holds for itself: pages of mapped files are the system's, who drops them at will."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


def record_steps(records: int, folder: Path) -> dict[str, list[str]]:
    """The commands over a mock archive, which is written first, in the order they need each other."""
    from dataset_scripts.mock import write

    root = folder / "raw"
    write("ptb-xl", root / "ptb-xl", records=records, seed=0)
    # By a description: the names of 100,000 files are more than a command line may hold.
    archive = folder / "archive.yaml"
    archive.write_text("name: archive\nsignals: raw/ptb-xl/records500\n", encoding="utf-8")
    scored = ["--tasks", "ptbxl_super", "--mode", "frozen", "--epochs", "1", "--data-root", str(root)]
    return {
        "prepare": ["-m", "eval_harness.cli.hub", "data", "prepare", "ptb-xl", "--data-dir", str(root / "ptb-xl")],
        "embed": ["-m", "eval_harness.cli.hub", "embed", MODEL, str(archive), "-o", str(folder / "features.parquet")],
        "frozen run": ["-m", "eval_harness", "--model", MODEL, *scored, "--output", str(folder / "frozen")],
    }


def model_steps(models: int, folder: Path) -> dict[str, list[str]]:
    """The commands over results of many models."""
    from tests.support.board import made_up, write_board

    names = [f"lab/model-{number}" for number in range(models)]
    write_board(folder / "board", [made_up(name, "ptbxl_super") for name in names])
    write_results(folder / "results", names)
    eval_ = ["-m", "eval_harness"]
    page = ["leaderboard", "--folder", str(folder / "board"), "--output", str(folder / "page")]
    return {
        "read": [*eval_, "export", str(folder / "results"), "-o", str(folder / "scores.csv")],
        "compare": [*eval_, "compare", str(folder / "results")],
        "report": [*eval_, "report", str(folder / "results"), "--output", str(folder / "report.html")],
        "leaderboard": [*eval_, *page],
    }


def write_results(folder: Path, names: list[str]) -> None:
    """Result folders of one task, of perturbed predictions; points and intervals are those of the first."""
    from eval_harness.results.predictions import predictions_sha256, write_predictions
    from eval_harness.results.runfile import fingerprint, read_run, write_run
    from eval_harness.results.schema import read_result, write_result
    from tests.support.board import write_scored
    from tests.support.results import predictions

    given = predictions(validation=60, test=240)
    first = write_scored(folder, names[0], given=given)
    run, result = read_run(first / "run.json"), read_result(first / "ptbxl_super.json")
    random = np.random.default_rng(0)
    for name in names[1:]:
        place = folder / name.replace("/", "__") / "linear"
        changed = given.y_prob + random.normal(0, 0.1, given.y_prob.shape).astype(np.float32)
        file = place / str(result.predictions.file if result.predictions else "")
        write_predictions(file, given.__class__(**{**vars(given), "y_prob": np.clip(changed, 0, 1)}))
        settings = run.settings.model_copy(update={"model": run.settings.model.model_copy(update={"id": name})})
        write_run(place, run.model_copy(update={"settings": settings, "fingerprint": fingerprint(settings)}))
        about: dict[str, Any] = {"model": result.model.model_copy(update={"id": name})}
        assert result.predictions is not None
        about["predictions"] = result.predictions.model_copy(update={"sha256": predictions_sha256(file)})
        write_result(place / "ptbxl_super.json", result.model_copy(update=about))


def grown(steps: Callable[[int, Path], dict[str, list[str]]], sizes: list[int]) -> dict[str, list[dict[str, float]]]:
    """What each step takes at each size."""
    table: dict[str, list[dict[str, float]]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            for step, words in steps(size, Path(name)).items():
                seconds, peak = measured(words, Path(name))
                table.setdefault(step, []).append({"size": size, "cpu_s": round(seconds, 2), "peak_mb": round(peak)})
                print(step, table[step][-1], flush=True)
    return table


def faults(table: dict[str, list[dict[str, float]]]) -> list[str]:
    """Which steps grow faster than their input, or hold more of it than they should."""
    found = []
    for step, rows in table.items():
        # What the smallest size takes is the start of the process, nearly: it is taken off the others.
        start, *grown_rows = rows
        if len(grown_rows) > 1:
            a, b = grown_rows[-2:]
            gains = [max(row["cpu_s"] - start["cpu_s"], NOISE_S) / (row["size"] - start["size"]) for row in (a, b)]
            allowed = (b["size"] / a["size"]) ** ((2.0 if step in PAIRS else EXPONENT) - 1)
            if gains[1] > gains[0] * allowed:
                found.append(f"{step}: {gains[1] / gains[0]:.2f} times as long per item at {b['size']} as {a['size']}")
        if len(rows) == 1:
            continue
        more = (rows[-1]["peak_mb"] - start["peak_mb"]) / (rows[-1]["size"] - start["size"]) * 1000
        if more > MEMORY_MB.get(step, float("inf")):
            found.append(f"{step}: {more:.0f} MB per 1,000 records; allowed {MEMORY_MB[step]:g}")
    return found


def draw(tables: dict[str, dict[str, list[dict[str, float]]]], path: Path) -> None:
    """Time and memory over size, doubly logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, 2)
    for column, (of, table) in enumerate(tables.items()):
        for row, (key, title) in enumerate((("cpu_s", "CPU seconds"), ("peak_mb", "peak memory, MB"))):
            panel = axes[row][column]
            for step, rows in table.items():
                panel.plot([r["size"] for r in rows], [r[key] for r in rows], marker="o", label=step)
            panel.set(xscale="log", yscale="log", xlabel=of, ylabel=title)
            panel.grid(visible=True, which="both", alpha=0.25)
            panel.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", default="250,1000,4000", help="sizes; empty: none")
    parser.add_argument("--models", default="10,100,1000", help="sizes; empty: none")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path, help="write the table there; tables that are in it already are kept")
    options = parser.parse_args()
    started = load()
    tables = json.loads(options.json.read_text()) if options.json and options.json.is_file() else {}
    for of, steps, sizes in (("records", record_steps, options.records), ("models", model_steps, options.models)):
        if sizes:
            tables[of] = grown(steps, [int(size) for size in sizes.split(",")])
    if options.json:
        options.json.write_text(json.dumps(tables, indent=1))
    if options.plot:
        draw(tables, options.plot)
    print(f"load {started}, then {load()}")
    problems = [fault for table in tables.values() for fault in faults(table)]
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
