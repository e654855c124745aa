"""What the page says in words: of a cell, of a row, of the marks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_scripts.core.extent import FOLDS, LABELS, RECORDS
from eval_harness.config.protocol import PROTOCOLS
from eval_harness.leaderboard.board import Cell, Column, Row
from eval_harness.leaderboard.ranking import Pairing, Rank
from eval_harness.metrics.registry import title_of
from eval_harness.results.summary import score_text

SEVERITIES = {"wrong": "Wrong", "doubtful": "Doubtful", "note": "Note"}
STATES = {
    "recomputed": "Recomputed: the predictions lie beside the result and give this score",
    "self-reported": "Self-reported: the predictions are not here",
    "published": "Published by the authors of the paper; not computed here",
}
CONTAMINATION = {
    "clean": "Test set: not in the declared pre-training data",
    "seen-train": "Test set: not in the declared pre-training data, which holds the training records of its dataset",
    "seen": "Test set: in the declared pre-training data",
    "unknown": "Test set: unknown whether it was in the pre-training data",
}
MARKS: Mapping[str, tuple[str, str]] = {
    "recomputed": (
        "●",
        "recomputed: the predictions lie beside the result, and the score was computed from them again",
    ),
    "self-reported": (
        "○",
        "self-reported: the predictions are not here (their data may not be passed on, or they were not sent); a "
        "SHA-256 of them stands in, so that they can be asked for",
    ),
    "seen": ("!", "seen: the dataset is in the pre-training data that the model declares"),
    "seen-train": (
        "~",
        "seen, training folds only: the declared pre-training read the training records of the dataset, not the test "
        "records; the model knows the hospital and its devices",
    ),
    "unknown": ("?", "unknown: the model does not say what it was pre-trained on, or names data nobody has listed"),
    "deviates": ("†", "differs from the protocol in something: epochs, labels, records; the details say in what"),
    "flagged": ("⚑", "a published number with a known fault; the details say which"),
}
PARTS: Mapping[str, tuple[str, str, str]] = {
    "partial": (
        "partial",
        "Other records, labels or folds than the dataset's release has; the details say how many records. Such a score "
        "is shown, and neither ranked nor averaged",
        "Partial, no rank: of the release of {dataset} it has {records}",
    ),
    "unknown": (
        "partial?",
        "The result does not say how much of the dataset's release it is about. It is shown, and neither ranked nor "
        "averaged; scored again, it says so",
        "No rank: unknown whether it is about all of the release of {dataset}",
    ),
}
"""Extent of a cell that is not of all the data -> its word in the cell, what it means, its line in the details."""
SILENT = frozenset({"synthetic", "min_count"})
"""Deviations that have a mark of their own, or come with simulated data."""


def marks(cell: Cell) -> str:
    """Return the marks of a cell, at most four characters."""
    text = MARKS[cell.state][0] if cell.state in MARKS else ""
    text += MARKS[cell.contamination][0] if cell.contamination in MARKS else ""
    text += MARKS["deviates"][0] if deviates(cell) else ""
    return text + (MARKS["flagged"][0] if any(severity != "note" for severity, _ in cell.flags) else "")


def deviates(cell: Cell) -> bool:
    """Whether something about a cell differs from the published protocol."""
    return cell.protocol != "paper" or any(name not in SILENT for name in cell.deviations)


def score(value: float | None) -> str:
    """Return three decimals, a dash for what is not known."""
    return "–" if value is None else f"{value:.3f}"


def millions(parameters: int | None) -> str:
    """Return "2.9 M"; thousands below a tenth of a million."""
    if parameters is None:
        return "size not stated"
    if parameters < 100_000:
        return f"{parameters / 1000:.1f} k" if parameters else "no encoder"
    return f"{parameters / 1e6:.1f} M"


def cell_lines(row: Row, column: Column, cell: Cell, pairing: Pairing, names: Mapping[str, str]) -> list[str]:
    """Return everything about a cell, a fact a line; `names` are those of the rows that have a score on its task."""
    ends = "no interval" if cell.low is None or cell.high is None else f"{score(cell.low)} to {score(cell.high)}"
    lines = [
        f"{row.name}, {column.task.title}, {row.mode}",
        f"{title_of(column.task.metric)} {score(cell.point)}, {_coverage(cell)}interval {ends}",
        *(f"{title_of(name)} {score_text(estimate)}" for name, estimate in cell.others.items()),
    ]
    if cell.labels and cell.records is not None:
        lines.append(f"{cell.labels[0]} of {cell.labels[1]} labels, {cell.records:,} test records")
    if cell.extent in PARTS:
        lines.append(PARTS[cell.extent][2].format(records=_records(cell), dataset=column.task.dataset))
    if not row.published:
        lines.append(tie_line(row, pairing, names))
    lines.append(STATES[cell.state] + (f" (SHA-256 {cell.digest[:12]}…)" if cell.digest else ""))
    lines.append(CONTAMINATION[cell.contamination])
    changed = ", ".join(f"{name} {value}" for name, value in cell.deviations.items())
    lines.append(f"Protocol {cell.protocol}, " + (f"other than it: {changed}" if changed else "unchanged"))
    return lines + [f"{SEVERITIES[severity]}: {text}" for severity, text in cell.flags]


def _coverage(cell: Cell) -> str:
    """The coverage of its interval in words: the published one, or what the run was asked for."""
    asked = cell.deviations.get("confidence", PROTOCOLS["paper"].confidence)
    # Of a stranger's result it may be anything.
    return f"{100 * asked:g} % " if isinstance(asked, float) else ""


def _records(cell: Cell) -> str:
    """What of a partial cell is not the release's."""
    names = {RECORDS: "", LABELS: "labels ", FOLDS: "folds "}
    return "; ".join(f"{names[name]}{cell.deviations[name]}" for name in names if name in cell.deviations)


def tie_line(row: Row, pairing: Pairing, names: Mapping[str, str]) -> str:
    """Return what is known of ties on one task; `names` are those of the rows that have a score on it."""
    others = [key for key in pairing.rows if key != row.key]
    if row.key not in pairing.rows or not others:
        return "Ties: not known, there are no predictions to pair (overlapping intervals would not show one)"
    tied = [names.get(key, key) for key in pairing.tied(row.key)]
    # Said beside the ties: a row that could not be paired may tie as well.
    missing = len(names) - len(pairing.rows)
    rest = f"; {missing} further rows cannot be paired" if missing > 0 else ""
    said = f"not distinguished from {', '.join(tied)}" if tied else f"differs from all {len(others)} others"
    return f"Ties, in pairs on the same records, {pairing.resampled}: {said}{rest}"


def standing_words(standing: Rank | None, row: Row, total: int, done: int, tasks: int) -> str:
    """Return what the place of a row means, or why it has none."""
    if standing is None:
        if row.synthetic:
            return "simulated data is not ranked with real"
        return f"not ranked: {done} of {tasks} tasks of all the data" if done < tasks else "not ranked"
    among = "published" if row.published else "complete"
    by_groups = f"by tie groups on {standing.paired} tasks, by the order of the points on the others"
    return f"mean rank {standing.mean_rank:.2f} over {standing.tasks} tasks among {total} {among} rows; {by_groups}"


def settings_words(settings: Mapping[str, Any]) -> str:
    """Return what was asked for other than the usual: "protocol fast, epochs 2"."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())


def row_words(row: Row) -> str:
    """Return title, size and licence of a row in one line."""
    parts = [row.title] if row.title != row.id else []
    licence = [] if row.baseline else [f"licence {row.licence}" if row.licence == "not stated" else str(row.licence)]
    return " · ".join([*parts, millions(row.parameters), *licence])
