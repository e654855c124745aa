"""Building the page and its numbers as JSON: read, check, rank, write a folder that any web server can show."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ecg_hub.hub.client import Repository, is_there, until_committed
from ecg_hub.utils.files import write_text
from eval_harness.leaderboard.board import (
    Board,
    Cell,
    Row,
    Tab,
    columns_of,
    published_rows,
    rows_of,
    tabs_of,
    task_sets,
)
from eval_harness.leaderboard.entries import Contents, LeaderboardEntry, RecomputeCache, read_repository
from eval_harness.leaderboard.page import page
from eval_harness.leaderboard.ranking import Ranks, rank_all
from eval_harness.publish.repository import Models, UnreachableError, revision_problem
from eval_harness.tasks.registry import tasks

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
                "place": standing.place,
                "mean_rank": standing.mean_rank,
                "tasks_with_tie_groups": standing.paired,
                "mean_auroc": standing.auroc,
                "mean_mae": standing.mae,
            }
            for name, standing in standings.items()
            if standing is not None
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
        **({"metrics": {name: estimate.point for name, estimate in cell.others.items()}} if cell.others else {}),
    }


PAGE, DATA, README = "index.html", "leaderboard.json", "README.md"
TITLE = "ECG leaderboard"


@dataclass(frozen=True)
class Site:
    """A page that was written.

    Attributes:
        folder: where it lies.
        files: names of the page's own files.
        entries: number of entries shown.
        recomputed: how many of them were computed again, now or in an earlier build.
        problems: path -> why it is not shown.
        notes: what could not be confirmed.
    """

    folder: Path
    files: tuple[str, ...]
    entries: int
    recomputed: int
    problems: Mapping[str, str]
    notes: tuple[str, ...]


def build(
    folder: Path,
    output: Path,
    *,
    source: str | None = None,
    link: Callable[[str], str] | None = None,
    published: bool = True,
    memory: RecomputeCache | None = None,
    models: Models | None = None,
    title: str = TITLE,
    told: Callable[[str], None] = lambda text: None,
) -> Site:
    """Build the page of a folder of results."""
    registry, kept = tasks(), memory or RecomputeCache()
    contents = read_repository(folder, registry, kept, lambda path: told(f"computing again: {path}"))
    notes = confirm_revisions(contents, models) if models is not None else []
    board = make_board(contents, source or folder.resolve().name, published, notes)
    ranks = rank_all(board, contents.entries, kept, told)
    # Before the page: what took minutes stays, should writing the page fail.
    kept.save()
    write_text(output / PAGE, page(board, ranks, link or _beside(folder, output), title))
    # NaN is no JSON: it would break every reader but Python, so it raises here.
    text = json.dumps(content(board, ranks), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(output / DATA, text + "\n")
    write_text(output / README, readme(title, board))
    if link is None:
        copy_entries(contents.entries, folder, output)
    again = sum(entry.state == "recomputed" for entry in contents.entries.values())
    files = (PAGE, DATA, README)
    return Site(output, files, len(contents.entries), again, contents.problems, tuple(notes))


def make_board(contents: Contents, source: str, published: bool, notes: list[str]) -> Board:
    """Return what the page shows of a repository."""
    columns = columns_of(tasks())
    rows = [*rows_of(contents.entries.values()), *(published_rows() if published else ())]
    return Board(columns, task_sets(columns), tabs_of(rows), contents.problems, source, notes)


def confirm_revisions(contents: Contents, models: Models) -> list[str]:
    """Ask for the revision of every hub model; entries of one that does not exist are moved to the problems."""
    notes, asked = list[str](), dict[tuple[str, str], str | None]()
    # A list, since entries are removed on the way.
    for path, entry in list(contents.entries.items()):
        model, revision = entry.meta.id, entry.meta.revision
        if revision is None:
            continue
        key = (model, revision)
        if key not in asked:
            try:
                asked[key] = revision_problem(model, revision, models)[0]
            except UnreachableError as error:
                asked[key] = None
                notes.append(f"Not confirmed: commit {revision} of {model} ({error}).")
        problem = asked[key]
        # A revision that does not exist cannot be what was scored; one that could not be asked for stays, with a note.
        if problem is not None:
            del contents.entries[path]
            contents.problems[path] = problem
    return notes


def readme(title: str, board: Board) -> str:
    """Return the README of the folder; its front matter makes a static Space of it."""
    front = "\n".join(
        [
            "---",
            f"title: {json.dumps(title)}",
            "emoji: 🫀",
            "colorFrom: blue",
            "colorTo: gray",
            "sdk: static",
            f"app_file: {PAGE}",
            "pinned: false",
            "---",
        ]
    )
    return (
        f"{front}\n\n# {title}\n\nOne static page, `{PAGE}`, and the same numbers in `{DATA}`; made by `ecg-eval "
        f"leaderboard` from {board.source}. Nothing here is edited by hand.\n\n"
        "Research software, not a medical device.\n"
    )


def copy_entries(entries: Mapping[str, LeaderboardEntry], folder: Path, output: Path) -> None:
    """Put the entries beside the page, so that its links lead somewhere; a page inside the folder needs no copies."""
    if _is_inside(folder, output):
        return
    for path in entries:
        target = output / path
        # Equal files keep their date, so that a web server or rsync sees only what changed.
        if not target.is_file() or target.read_bytes() != (folder / path).read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / path, target)


def publish_space(site: Site, repository: Repository) -> str | None:
    """Send the page and the entries beside it to a static Space; returns its commit, None where nothing changed."""
    names = [*site.files, *(f.relative_to(site.folder).as_posix() for f in site.folder.glob("results/**/*.json"))]
    own = {name: (site.folder / name).read_bytes() for name in names}

    def attempt(_: int) -> str | None:
        head = repository.head()
        there = repository.files(head)
        changed = {name: data for name, data in own.items() if not is_there(there, name, data)}
        return repository.commit(changed, "Leaderboard", head).link if changed else None

    return until_committed(repository.name, attempt)


def _beside(folder: Path, output: Path) -> Callable[[str], str]:
    """Relative links: to the folder itself when the page lies in it, else to the copies."""
    if not _is_inside(folder, output):
        return lambda path: path.replace("+", "%2B")
    prefix = os.path.relpath(folder.resolve(), output.resolve())
    before = "" if prefix == "." else f"{Path(prefix).as_posix()}/"
    return lambda path: (before + path).replace("+", "%2B")


def _is_inside(folder: Path, output: Path) -> bool:
    """Whether the page can reach the folder: it is the folder, or the folder lies in it."""
    # Resolved, since a link among the parts would make a relative address lead elsewhere.
    return folder.resolve().is_relative_to(output.resolve())
