"""`log.jsonl`, the curves drawn from it, and the trackers that Accelerate knows."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError, unknown_name
from ecg_hub.utils.files import write_error, write_text
from eval_harness.figures.plots import GREY, colour, new_figure, write_figure
from eval_harness.metrics.registry import title_of

LOG_FILE = "log.jsonl"


class TrainingLog:
    """The log of a run.

    A line of a step holds `step` (steps done), `loss`, its parts `contrastive_loss` and `beat_loss` where it has two,
    `accuracy` (by tokens ahead), `learning_rate`, `grad_norm` and `records_per_s`; a line of a probe `step` and
    `probe`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None

    def cut(self, step: int) -> list[dict[str, Any]]:
        """Drop what was logged after a step, and a line that a kill left half written; return what stays."""
        self.close()
        kept = [row for row in read_log(self.path) if row["step"] <= step]
        write_text(self.path, "".join(f"{json.dumps(row)}\n" for row in kept))
        return kept

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a line."""
        try:
            if self._file is None:
                self._file = self.path.open("a", encoding="utf-8")
            self._file.write(f"{json.dumps(dict(row))}\n")
            # To the system after every line, so that the log can be watched; to the disk only at checkpoints (`sync`).
            self._file.flush()
        except OSError as error:
            raise write_error(self.path, error) from error

    def sync(self) -> None:
        """Bring what was appended to the disk."""
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise write_error(self.path, error) from error

    def close(self) -> None:
        """Close the file; `add` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a log; a line that is not whole ends it."""
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            # A kill can break the last line only: whatever stands behind a broken one is not trusted.
            break
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            break
        rows.append(row)
    return rows


TRACKERS = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",)}
"""Tracker -> packages, one of which it needs."""

PROJECT = "ecg-hub-pretrain"


def check_trackers(names: Iterable[str]) -> None:
    """Refuse trackers that are not known or not installed."""
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
        if not any(find_spec(package) for package in TRACKERS[name]):
            raise InputError(
                f"--track {name} needs a package that is not installed: pip install {TRACKERS[name][0]}. Without it, "
                "log.jsonl and curves.png show the same numbers."
            )


@contextmanager
def tracked(accelerator: Any, names: tuple[str, ...], settings: Mapping[str, Any]) -> Iterator[None]:
    """Start the trackers with the settings of the run, and end them with it."""
    if not names:
        yield
        return
    flat = {
        # TensorBoard takes numbers, texts and truth values alone as settings.
        name: value if isinstance(value, int | float | str | bool) else str(value)
        for name, value in settings.items()
    }
    accelerator.init_trackers(PROJECT, config=flat)
    try:
        yield
    finally:
        accelerator.end_training()


def tracking_arguments(names: tuple[str, ...], output: Path) -> dict[str, Any]:
    """Arguments of the Accelerator for some trackers; TensorBoard reads `OUTPUT/tensorboard`."""
    return {"log_with": list(names), "project_dir": str(output / "tensorboard")} if names else {}


POINTS = 2000
"""Points of a curve at most; a longer log is drawn by means over equal stretches."""


def write_curves(log: Path, target: Path, chance: float, title: str) -> list[Path]:
    """Draw a log as SVG and PNG; return the files."""
    rows = read_log(log)
    steps, probes = [row for row in rows if "loss" in row], [row for row in rows if "probe" in row]
    if not steps:
        return []
    figure = new_figure(11, 6)
    (loss, accuracy), (norm, last) = figure.subplots(2, 2)
    if "beat_loss" in steps[-1]:
        _curve(loss, steps, [row.get("contrastive_loss") for row in steps], colour(0), "contrastive (nats)")
        _curve(loss, steps, [row.get("beat_loss") for row in steps], colour(1), "beats and rhythm (squared error)")
        loss.set_title("losses", fontsize=9, loc="left")
        loss.legend(fontsize=7)
    else:
        _curve(loss, steps, [row["loss"] for row in steps], colour(0), "loss")
        loss.set_title("contrastive loss (nats)", fontsize=9, loc="left")
    for line, ahead in enumerate(steps[-1]["accuracy"]):
        values = [row["accuracy"].get(ahead) for row in steps]
        _curve(accuracy, steps, values, colour(line), f"{ahead} tokens ahead")
    accuracy.axhline(chance, color=GREY, linestyle="--", linewidth=0.9, label=f"chance, {chance:.4f}")
    accuracy.set_title("contrastive accuracy", fontsize=9, loc="left")
    accuracy.set_ylim(bottom=0)
    accuracy.legend(fontsize=7)
    _curve(norm, steps, [row["grad_norm"] for row in steps], colour(0), "norm")
    norm.set_title("norm of the gradients", fontsize=9, loc="left")
    # Norms fall by orders of magnitude in the first steps, which would press the rest flat.
    norm.set_yscale("log")
    if probes:
        _probe(last, probes)
    else:
        _curve(last, steps, [row["records_per_s"] for row in steps], colour(0), "speed")
        last.set_title("records per second", fontsize=9, loc="left")
        last.set_ylim(bottom=0)
    for axes in (loss, accuracy, norm, last):
        axes.grid(alpha=0.3, linewidth=0.5)
        axes.tick_params(which="both", labelsize=7)
        axes.set_xlabel("optimiser steps", fontsize=7)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return write_figure(figure, target)


def _curve(axes: Any, rows: Sequence[dict[str, Any]], values: Sequence[float | None], shade: str, name: str) -> None:
    """All values pale, their running mean over 2 % of the run strong."""
    steps = np.array([row["step"] for row in rows], dtype=float)
    numbers = np.array([math.nan if value is None else value for value in values], dtype=float)
    steps, numbers = (_thinned(array) for array in (steps, numbers))
    axes.plot(steps, numbers, color=shade, alpha=0.25, linewidth=0.8)
    # Over 2 % of the run: of a thousand steps or a million, the same picture of its course.
    width = max(1, len(numbers) // 50)
    weights = np.ones(width) / width
    axes.plot(
        np.convolve(steps, weights, "valid"),
        np.convolve(numbers, weights, "valid"),
        color=shade,
        linewidth=1.5,
        label=name,
    )


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    stretch = max(1, len(values) // POINTS)
    # The rest, shorter than a stretch, would be a mean of fewer values and jump about.
    whole = len(values) // stretch * stretch
    means: NDArray[np.float64] = values[:whole].reshape(-1, stretch).mean(axis=1)
    return means


def same_probe(row: Mapping[str, Any], probe: Mapping[str, Any]) -> bool:
    """Whether a line is of this probe: a run that goes on with another one has both in its log."""
    there = row.get("probe")
    return there is not None and all(there.get(name) == probe.get(name) for name in ("task", "mode", "epochs"))


def _probe(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    last = rows[-1]["probe"]
    same = [row for row in rows if same_probe(row, last)]
    scored = [(row["step"], row["probe"]) for row in same if row["probe"].get("point") is not None]
    axes.set_title(f"probe: {last['task']}, {last['mode']}", fontsize=9, loc="left")
    if not scored:
        axes.text(0.5, 0.5, "no probe has a score", ha="center", va="center", transform=axes.transAxes, fontsize=8)
        return
    steps = [step for step, _ in scored]
    points = np.array([probe["point"] for _, probe in scored])
    ends = [
        np.array([probe["point"] if probe[end] is None else probe[end] for _, probe in scored])
        for end in ("low", "high")
    ]
    axes.errorbar(
        steps, points, yerr=np.abs(np.array(ends) - points), color=colour(0), marker="o", markersize=4, capsize=2
    )
    axes.set_ylabel(f"{title_of(scored[-1][1]['metric'])}, 95 % interval", fontsize=7)
