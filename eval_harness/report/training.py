"""Training curves: loss and validation score by epoch, read from the folder `history` of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval_harness.figures.markup import Html, details, join, table, tag
from eval_harness.figures.svg import axis, chart, curve, horizontal, mark, series, vertical
from eval_harness.report.content import ReportRun


@dataclass(frozen=True)
class History:
    """The epochs of one training run.

    Attributes:
        entry: the run it belongs to.
        epochs: numbers of the epochs, from 1.
        loss: mean training loss; NaN where it was not a number.
        validation: score on validation (macro AUROC, or MAE of regression); NaN where undefined.
        best: the epoch whose weights were kept, or None.
    """

    entry: ReportRun
    epochs: tuple[int, ...]
    loss: tuple[float, ...]
    validation: tuple[float, ...]
    best: int | None


def read_history(entry: ReportRun, training_run: str) -> History | None:
    """Read the history of a training run; None where there is none or it cannot be read."""
    path = Path(entry.run.folder) / "history" / f"{training_run}.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        steps = [step for step in content["history"] if isinstance(step["epoch"], int)]
        best = content.get("best_epoch")
        return History(
            entry,
            tuple(step["epoch"] for step in steps),
            tuple(_value(step.get("loss")) for step in steps),
            tuple(_value(step.get("validation")) for step in steps),
            best if isinstance(best, int) else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def training_charts(name: str, histories: Sequence[History], score_title: str) -> Html:
    """Return loss and validation curves of one training run of several models, and the numbers as a table."""
    charts = [
        tag("figure", _curves(f"{name}: training loss by epoch", "training loss", histories, "loss")),
        tag("figure", _curves(f"{name}: {score_title} by epoch", score_title, histories, "validation")),
    ]
    rows = [
        [h.entry.name, f"{epoch}{' (kept)' if epoch == h.best else ''}", _text(loss), _text(value)]
        for h in histories
        for epoch, loss, value in zip(h.epochs, h.loss, h.validation, strict=True)
        if len(h.epochs) <= 10 or epoch in (1, h.best, h.epochs[-1]) or epoch % 10 == 0
    ]
    numbers = table(["model, mode", "epoch", "training loss", score_title], rows, caption=f"Training of {name}")
    return join(
        [tag("div", charts, class_="many pair"), details("Numbers: first, every tenth, kept and last epoch", numbers)]
    )


def _curves(title: str, axis_title: str, histories: Sequence[History], field: str) -> Html:
    left, right, top, bottom = 56.0, 372.0, 10.0, 210.0
    last = max((history.epochs[-1] for history in histories if history.epochs), default=1)
    across = axis([1.0, float(max(last, 2))], left, right, room=0.0, whole=True)
    values = [value for history in histories for value in getattr(history, field)]
    upward = axis(values, bottom, top, count=5)
    parts: list[object] = [*horizontal(across, top, bottom, "epoch"), *vertical(upward, left, right, axis_title)]
    ends = []
    for history in histories:
        index = history.entry.index
        points = [
            (across(float(epoch)), upward(value), epoch, value)
            for epoch, value in zip(history.epochs, getattr(history, field), strict=True)
            if math.isfinite(value)
        ]
        if not points:
            continue
        parts.append(curve([(x, y) for x, y, _, _ in points], f"curve {series(index)}"))
        for x, y, epoch, value in points:
            if epoch == history.best or (history.best is None and epoch == history.epochs[-1]):
                hint = f"{history.entry.name}: epoch {epoch}, {value:.4f}"
                parts.append(mark(index, x, y, title=hint))
                ends.append(hint)
    return chart(384, bottom + 44, title, f"Marks: the epoch that was kept. {'; '.join(ends)}.", *parts)


def _value(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
