"""How a transfer is shown: every concept at home and on the other dataset, and what could not be mapped."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from eval_harness.analyses.registry import AnalysisKind, run_title
from eval_harness.analyses.transfer.schema import TransferResult, TransferTask, concept_rows
from eval_harness.figures.charts import Forest, Line, forest
from eval_harness.figures.markup import Html, details, scroller, state, table, tag
from eval_harness.figures.plots import draw_forest, new_figure, write_figure
from eval_harness.metrics.registry import MACRO_AUROC, metrics
from eval_harness.results.schema import Estimate

INTRODUCTION = (
    "The trained head scored as it is on another dataset, through a map of labels; thresholds are those of the run's "
    "own validation records. A label that means something slightly different in two hospitals looks like a weaker "
    "model; the figure cannot tell the two apart."
)
NONE = Estimate(point=None)
ROW_INCH = 0.3


def transfer_part(result: TransferResult, tasks: Collection[str] | None) -> list[Html]:
    """Return the chart and tables of every task of a transfer."""
    about = [f"From {result.source} to {result.target}, {result.records:,} records of its split {result.split}. "]
    parts = [tag("p", INTRODUCTION, class_="soft"), tag("p", *about, "Test set: ", state(result.contamination), ".")]
    for name, task in result.tasks.items():
        if tasks is not None and name not in tasks:
            continue
        if len(result.tasks) > 1:
            parts.append(tag("h3", name))
        if task.status == "failed":
            parts.append(tag("p", f"{name}: failed: {task.reason}", class_="notice"))
        else:
            parts += [_concepts(result, name, task), details("Concepts as a table", _numbers(result, name))]
            parts += [
                tag("p", f"Doubtful: {link.name}: {link.flag}.", class_="notice") for link in task.mapped if link.flag
            ]
        parts.append(_unmapped(result, task))
    return parts


def _concepts(result: TransferResult, name: str, task: TransferTask) -> Html:
    drawn = forest(concepts(result, name, task))
    caption = "AUROC with intervals; without: too few positives for one (below about four). Dashed: chance."
    return tag("figure", scroller(drawn, _title(result, name)), tag("figcaption", caption), class_="wide")


def concepts(result: TransferResult, name: str, task: TransferTask) -> Forest:
    """Return the scores of every concept and their mean on the other dataset and at home."""
    away, home = f"on {result.target}", f"at home, {result.source}"
    there, here = task.metrics[MACRO_AUROC], task.at_home[MACRO_AUROC]
    heading = f"macro mean over {there.classes} concepts ({here.classes} at home)"
    groups: list[tuple[str, list[Line]]] = [(heading, [Line(away, there, 0), Line(home, here, 1)])]
    for label, own in zip(task.per_label, task.per_label_at_home, strict=True):
        # Of the other dataset: it is there that few positives make a wide interval.
        positives = "" if label.positives is None else f" ({label.positives:,} positive on {result.target})"
        lines = [Line(away, label.auroc or NONE, 0), Line(home, own.auroc or NONE, 1)]
        groups.append((f"{label.label}{positives}", lines))
    return Forest(_title(result, name), "AUROC", groups, metrics()[MACRO_AUROC].chance, (0.0, 1.0))


def _title(result: TransferResult, name: str) -> str:
    return f"{name}: AUROC of every concept on {result.target} and at home"


def _numbers(result: TransferResult, name: str) -> Html:
    rows = concept_rows(result, name)
    cells = [["-" if value is None else value for value in row.values()] for row in rows]
    caption = f"{name}: concepts, their labels on both sides, who links them, and scores with intervals"
    return table(list(rows[0]), cells, caption=caption, class_="figures")


def _unmapped(result: TransferResult, task: TransferTask) -> Html:
    lists = [
        table(["label", "why not"], list(reasons.items()), caption=f"Not mapped, {side}")
        for side, reasons in _sides(result, task).items()
        if reasons
    ]
    count = sum(len(reasons) for reasons in _sides(result, task).values())
    return details(f"Not mapped: {count} labels", lists or "Every label has a partner.")


def _sides(result: TransferResult, task: TransferTask) -> Mapping[str, Mapping[str, str]]:
    return {result.source: task.unmapped_source, f"{result.target} (target)": task.unmapped_target}


def write_dumbbells(result: TransferResult, folder: Path) -> list[Path]:
    """Write the figure of every finished task as SVG and PNG; return the files."""
    written = []
    for name, task in result.tasks.items():
        if task.status == "done":
            described = concepts(result, name, task)
            figure = new_figure(8.0, 1.6 + ROW_INCH * len(described.groups))
            draw_forest(figure.add_subplot(), described)
            figure.suptitle(f"{result.model.id}, {result.mode}, {name}, with intervals", fontsize=10, x=0.01, ha="left")
            written += write_figure(figure, folder / f"transfer_{name}_to_{result.target}")
    return written


ANALYSIS = AnalysisKind(
    "transfer_*_to_*.json",
    TransferResult,
    lambda result: f"Transfer: {run_title(result)} to {result.target}",
    transfer_part,
    lambda result: set(result.tasks),
)
