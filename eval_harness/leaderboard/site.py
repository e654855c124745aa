"""Building the page: read, check, rank, write a folder that any web server, a static Space or a browser can show."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ecg_hub.errors import InputError
from ecg_hub.hub.client import StaleParentError, same
from eval_harness.atomic import write_text
from eval_harness.leaderboard.board import Board, columns_of, published_rows, rows_of, tabs_of, task_sets
from eval_harness.leaderboard.entries import Contents, Entry, read_repository
from eval_harness.leaderboard.export import content
from eval_harness.leaderboard.memory import Memory
from eval_harness.leaderboard.page import page
from eval_harness.leaderboard.ranking import rank_all
from eval_harness.publish.hub import Models, UnreachableError, revision_problem
from eval_harness.publish.publisher import Publisher
from eval_harness.registry import tasks

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
    memory: Memory | None = None,
    models: Models | None = None,
    title: str = TITLE,
    told: Callable[[str], None] = lambda text: None,
) -> Site:
    """Build the page of a folder of results.

    Args:
        folder: that holds `results/`.
        output: folder of the page; its own files are replaced, others stay.
        source: what the page says it was built from; default the folder's name.
        link: path of an entry -> address; default copies the entries beside the page.
        published: whether the paper's rows are shown.
        memory: of what was computed again before.
        models: who knows the revisions of hub models; None asks nobody.
        title: of the page.
        told: is called with what takes time.

    Raises:
        ResultError: no `results/` in the folder, or the output cannot be written.
    """
    known, kept = tasks(), memory or Memory()
    contents = read_repository(folder, known, kept, lambda path: told(f"computing again: {path}"))
    notes = confirm_revisions(contents, models) if models is not None else []
    board = make_board(contents, source or folder.resolve().name, published, notes)
    ranks = rank_all(board, contents.entries, kept, told)
    kept.save()
    write_text(output / PAGE, page(board, ranks, link or _beside(folder, output), title))
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
    """Ask for the revision of every hub model; entries of one that does not exist are moved to the problems.

    Args:
        contents: changed in place.
        models: who knows.

    Returns:
        What could not be asked.
    """
    notes, asked = list[str](), dict[tuple[str, str], str | None]()
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


def copy_entries(entries: Mapping[str, Entry], folder: Path, output: Path) -> None:
    """Put the entries beside the page, so that its links lead somewhere; a page inside the folder needs no copies."""
    if _is_inside(folder, output):
        return
    for path in entries:
        target = output / path
        if not target.is_file() or target.read_bytes() != (folder / path).read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / path, target)


def publish_space(site: Site, publisher: Publisher) -> str | None:
    """Send the page and the entries beside it to a static Space; returns its commit, None where nothing changed.

    Args:
        site: as built.
        publisher: the Space.

    Raises:
        InputError: the hub refuses, or somebody else keeps changing the Space.
    """
    names = [*site.files, *(f.relative_to(site.folder).as_posix() for f in site.folder.glob("results/**/*.json"))]
    own = {name: (site.folder / name).read_bytes() for name in names}
    for _ in range(5):
        head = publisher.head()
        there = publisher.files(head, "")
        changed = {name: data for name, data in own.items() if not same(there.get(name), data)}
        if not changed:
            return None
        try:
            return publisher.commit(changed, "Leaderboard", head)
        except StaleParentError:
            continue
    raise InputError(f"{publisher.name} kept changing. Give the same command again later.")


def _beside(folder: Path, output: Path) -> Callable[[str], str]:
    """Relative links: to the folder itself when the page lies in it, else to the copies."""
    if not _is_inside(folder, output):
        return lambda path: path.replace("+", "%2B")
    prefix = os.path.relpath(folder.resolve(), output.resolve())
    before = "" if prefix == "." else f"{Path(prefix).as_posix()}/"
    return lambda path: (before + path).replace("+", "%2B")


def _is_inside(folder: Path, output: Path) -> bool:
    """Whether the page can reach the folder: it is the folder, or the folder lies in it."""
    return folder.resolve().is_relative_to(output.resolve())
