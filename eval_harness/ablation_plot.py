"""The figure of an ablation: scores against the fraction of training records, and validation curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eval_harness.atomic import atomic_path
from eval_harness.studies import fraction_name, short_name
from eval_harness.study_results import reasons

COLOURS = {(True, True): "#0072B2", (True, False): "#009E73", (False, True): "#E69F00", (False, False): "#D55E00"}
MARKS = {(True, True): "o", (True, False): "^", (False, True): "s", (False, False): "X"}
TITLES = {"macro_auroc": "macro AUROC", "macro_auprc": "macro AUPRC"}


def write_plot(content: dict[str, Any], path: Path) -> None:
    """Draw the content of `ablation.json`, one row of axes per task and model, and write it as PNG."""
    from matplotlib.figure import Figure

    keys = list(dict.fromkeys((row["task"], row["model"]) for row in content["rows"]))
    fractions = content["fractions"]
    columns = len(TITLES) + len(fractions)
    figure = Figure(figsize=(4.2 * columns, 4.4 * max(len(keys), 1)), layout="constrained")
    grid = figure.subplots(max(len(keys), 1), columns, squeeze=False)
    for axes, key in zip(grid, keys, strict=False):
        rows = [row for row in content["rows"] if (row["task"], row["model"]) == key]
        for axis, (metric, title) in zip(axes, TITLES.items(), strict=False):
            _scores(axis, rows, metric, fractions)
            axis.set_title(f"{key[0]}, {short_name(key[1])}\ntest {title}", fontsize=9)
        for axis, fraction in zip(axes[len(TITLES) :], fractions, strict=True):
            _curves(axis, [row for row in rows if row["fraction"] == fraction])
            axis.set_title(f"validation AUPRC\nfraction {fraction_name(fraction)}", fontsize=9)
        axes[0].legend(fontsize=7)
    figure.supxlabel("\n".join(reasons(content)), fontsize=8)
    with atomic_path(path) as aside:
        figure.savefig(aside, format="png", dpi=150, metadata={"Software": None})


def _look(row: dict[str, Any]) -> dict[str, Any]:
    switches = row["preview"], row["stochastic_depth"]
    return {"color": COLOURS[switches], "linestyle": "-" if row["pretrained"] else "--"}


def _scores(axis: Any, rows: list[dict[str, Any]], metric: str, fractions: list[float]) -> None:
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    for k, arm in enumerate(arms):
        mine = [row for row in rows if row["arm"] == arm and row[metric]["point"] is not None]
        # Arms stand a little apart, or their intervals would cover each other.
        across = np.array([fractions.index(row["fraction"]) for row in mine]) + 0.06 * (k - (len(arms) - 1) / 2)
        values = np.array([row[metric]["point"] for row in mine])
        ends = np.array(
            [
                [row[metric][end] if row[metric][end] is not None else row[metric]["point"] for row in mine]
                for end in ("low", "high")
            ]
        )
        if len(mine):
            switches = mine[0]["preview"], mine[0]["stochastic_depth"]
            name = arm.replace("_", ", ").replace("-", " ")
            axis.errorbar(
                across,
                values,
                yerr=np.abs(ends - values),
                marker=MARKS[switches],
                capsize=2,
                label=name,
                **_look(mine[0]),
            )
    axis.set_xticks(range(len(fractions)), [fraction_name(fraction) for fraction in fractions])
    axis.set_xlabel("fraction of the training records")
    axis.set_ylabel(TITLES[metric])
    axis.grid(True, color="0.9")


def _curves(axis: Any, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        steps = [step for step in row["curve"] if step["validation_auprc"] is not None]
        axis.plot([s["epoch"] for s in steps], [s["validation_auprc"] for s in steps], linewidth=1.2, **_look(row))
        second = [step for step in steps if step["stage"] == 2]
        if row["preview"] and second:  # where stage 2 begins
            axis.plot([second[0]["epoch"]], [second[0]["validation_auprc"]], marker="|", markersize=12, **_look(row))
    axis.set_xlabel("epoch (stage 1, then stage 2 from the mark)")
    axis.set_ylabel("macro AUPRC of validation")
    axis.grid(True, color="0.9")
