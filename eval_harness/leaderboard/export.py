"""The numbers of the page as JSON: everything it shows, for programs."""

from __future__ import annotations

from typing import Any, Final

from eval_harness.leaderboard.board import Board, Cell, Row, Tab
from eval_harness.leaderboard.ranking import Ranks

VERSION: Final = "1.0"


def content(board: Board, ranks: Ranks) -> dict[str, Any]:
    """Return the content of leaderboard.json; docs/leaderboard.md describes the fields."""
    return {
        "schema_version": VERSION,
        "source": board.source,
        "synthetic": board.synthetic,
        "tasks": [
            {
                "name": column.name,
                "title": column.task.title,
                "category": column.task.category,
                "dataset": column.task.dataset,
                "metric": column.task.metric,
                "higher_is_better": column.task.higher_is_better,
                "version": column.task.version,
            }
            for column in board.columns
        ],
        "sets": {tasks.name: list(tasks.tasks) for tasks in board.sets},
        "rows": [_row(board, ranks, tab, row) for tab in board.tabs for row in tab.rows],
        "refused": dict(board.problems),
        "notes": list(board.notes),
    }


def _row(board: Board, ranks: Ranks, tab: Tab, row: Row) -> dict[str, Any]:
    names = {other.key: other.name for other in tab.rows}
    standings = {tasks.name: ranks.get(tab, tasks, row) for tasks in board.sets}
    return {
        "model": row.id,
        "mode": row.mode,
        "title": row.title,
        "kind": row.kind,
        "revision": row.revision,
        "weights_sha256": row.weights_sha256,
        "parameters": row.parameters,
        "licence": row.licence,
        "settings": dict(row.settings),
        "published": row.published,
        "synthetic": row.synthetic,
        "standings": {
            name: {
                "place": found.place,
                "mean_rank": found.mean_rank,
                "tasks_with_tie_groups": found.paired,
                "mean_auroc": found.auroc,
                "mean_mae": found.mae,
            }
            for name, found in standings.items()
            if found is not None
        },
        "scores": {task: _cell(cell, *_ties(ranks, tab, task, row, names)) for task, cell in sorted(row.cells.items())},
    }


def _ties(ranks: Ranks, tab: Tab, task: str, row: Row, names: dict[str, str]) -> tuple[list[str] | None, str | None]:
    """Names of the rows that are not distinguished from one, and what was drawn; None where nobody can tell."""
    pairing = ranks.pairings.get((tab.mode, task))
    if pairing is None or row.key not in pairing.rows:
        return None, None
    return [names.get(key, key) for key in pairing.tied(row.key)], pairing.unit


def _cell(cell: Cell, ties: list[str] | None, unit: str | None) -> dict[str, Any]:
    return {
        "point": cell.point,
        "low": cell.low,
        "high": cell.high,
        "state": cell.state,
        "contamination": cell.contamination,
        "protocol": cell.protocol,
        "deviations": dict(cell.deviations),
        "extent": cell.extent,
        "test_records": cell.records,
        "labels_scored": cell.labels[0] if cell.labels else None,
        "labels_published": cell.labels[1] if cell.labels else None,
        "ties": ties,
        "ties_resampled_by": unit,
        "path": cell.path,
        "predictions_sha256": cell.digest,
        "created": cell.created,
        "flags": [{"severity": severity, "text": text} for severity, text in cell.flags],
    }
