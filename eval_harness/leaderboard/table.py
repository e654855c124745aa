"""The table of one mode: plain HTML that stands alone; the script only sorts, filters and hides columns of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ecg_hub.utils.text import number_of
from eval_harness.figures.markup import Html, scroller, tag
from eval_harness.leaderboard import phrases
from eval_harness.leaderboard.board import COUNTED, Board, Cell, Column, Row, Tab
from eval_harness.leaderboard.ranking import Pairing, Rank, Ranks
from eval_harness.metrics.registry import metrics

SHORT = {
    "pediatric_interpretation": "pediatric",
    "cardiac_structure_function": "structure",
    "cardiac_outcomes": "cardiac",
    "noncardiac_outcomes": "non-cardiac",
}
"""Headings of categories that are one column wide."""


@dataclass(frozen=True)
class View:
    """What is drawn and how its entries are linked.

    Attributes:
        board: the data.
        ranks: its ranks.
        link: path of an entry -> address.
    """

    board: Board
    ranks: Ranks
    link: Callable[[str], str]

    @property
    def extra(self) -> frozenset[str]:
        """Columns that the paper's count leaves out."""
        # A repository may hold no task of the count at all.
        counted = next((tasks.tasks for tasks in self.board.sets if tasks.name == COUNTED), ())
        return frozenset(column.name for column in self.board.columns) - set(counted)


def table(view: View, tab: Tab) -> Html:
    """Return the table of a mode in a frame that scrolls sideways."""
    rows = _ordered(view, tab)
    scales = {column.name: _scale(column, rows) for column in view.board.columns}
    best = {column.name: _best(view, tab, column) for column in view.board.columns}
    own = [row for row in tab.rows if not row.published]
    # Of each column the rows that have a score in it: another can neither tie nor be paired.
    names = {
        column.name: {row.key: row.name for row in own if column.name in row.cells} for column in view.board.columns
    }
    body = [_row(view, tab, row, scales, best, names) for row in rows]
    content = tag(
        "table",
        tag("caption", f"Scores in mode {tab.mode}, {number_of(len(tab.rows), 'row')}"),
        _head(view),
        tag("tbody", body),
        class_="board",
    )
    return scroller(content, f"Scores in mode {tab.mode}")


def _ordered(view: View, tab: Tab) -> list[Row]:
    """Rows computed here by place, then those without one; references; published rows by their own place."""
    counted = view.board.sets[0]

    def place(row: Row) -> tuple[bool, bool, float, int, str]:
        standing = view.ranks.get(tab, counted, row)
        # Rows without a place after those with one, the fullest first.
        mean = standing.mean_rank if standing else float("inf")
        return row.published, row.mode != tab.mode, mean, -len(row.cells), row.name.lower()

    return sorted([*tab.rows, *tab.references], key=place)


def _head(view: View) -> Html:
    top = [
        tag("th", "Model", scope="col", rowspan="2", class_="name", data_sort="name"),
        tag("th", "Rank", scope="col", rowspan="2", class_="sum", data_sort="rank"),
        tag("th", "Mean AUROC", scope="col", rowspan="2", class_="sum", data_sort="auroc"),
        tag("th", "Mean MAE ↓", scope="col", rowspan="2", class_="sum end", data_sort="mae"),
    ]
    below, number = [], 0
    for category, group in groupby(view.board.columns, key=lambda column: column.task.category):
        columns = list(group)
        title = columns[0].category
        shown = SHORT.get(category, title)
        top.append(
            tag(
                "th", shown, scope="colgroup", colspan=str(len(columns)), class_="cat", title=title,
                data_from=str(number), data_to=str(number + len(columns)),
            )
        )  # fmt: skip
        for position, column in enumerate(columns):
            more = " x" if column.name in view.extra else ""
            last = " end" if position == len(columns) - 1 else ""
            text = [tag("span", column.task.title), tag("small", metrics()[column.task.metric].column)]
            below.append(
                tag("th", *text, scope="col", class_=f"task c{number}{more}{last}", data_sort=str(number),
                    data_lower=None if column.task.higher_is_better else "1", title=column.task.description)
            )  # fmt: skip
            number += 1
    return tag("thead", tag("tr", top), tag("tr", below))


def _row(
    view: View,
    tab: Tab,
    row: Row,
    scales: dict[str, tuple[float, float]],
    best: dict[str, float | None],
    names: dict[str, dict[str, str]],
) -> Html:
    board, counted = view.board, view.board.sets[0]
    standing = view.ranks.get(tab, counted, row)
    cells = [_name(tab, row), *_sums(view, tab, row, standing)]
    for number, (column, following) in enumerate(zip(board.columns, [*board.columns[1:], None], strict=True)):
        end = following is None or following.task.category != column.task.category
        style = f"c{number}{' x' if column.name in view.extra else ''}{' end' if end else ''}"
        cell = row.cells.get(column.name)
        if cell is None:
            cells.append(tag("td", tag("span", "–", class_="gap"), class_=style, title="not scored"))
            continue
        pairing = view.ranks.pairings.get((tab.mode, column.name), Pairing())
        # A score on part of the data gets no shade: it would be read against scores on other records or labels.
        share = _share(cell.point, scales[column.name], column.task.higher_is_better) if cell.counts else 0.0
        own = not row.published and row.mode == tab.mode and cell.counts
        marked = " best" if own and best[column.name] is not None and cell.point == best[column.name] else ""
        lines = phrases.cell_lines(row, column, cell, pairing, names[column.name])
        cells.append(_cell(view, row, cell, lines, style + marked, share))
    kinds = [name for name, is_it in _kinds(tab, row).items() if is_it]
    return tag(
        "tr",
        cells,
        class_=" ".join(kinds) or None,
        data_name=row.name,
        data_size="" if row.parameters is None else str(row.parameters),
        data_licence=row.licence,
        # Of every set of tasks, so that the script ranks nothing itself and cannot disagree with the JSON.
        data_sets=json.dumps(_sets(view, tab, row), separators=(",", ":")),
    )


def _kinds(tab: Tab, row: Row) -> dict[str, bool]:
    return {
        "published": row.published,
        "baseline": row.baseline,
        "reference": row.mode != tab.mode,
        "synthetic": row.synthetic,
    }


def _name(tab: Tab, row: Row) -> Html:
    badges = {
        "published": row.published,
        "baseline": row.baseline,
        f"mode {row.mode}": row.mode != tab.mode,
        "simulated data": row.synthetic,
    }
    shown = tag("a", row.id, href=row.link, class_="id") if row.link else tag("span", row.id, class_="id")
    identity = (f"commit {row.revision[:12]}" if row.revision else "") or (
        f"weights {row.weights_sha256[:12]}" if row.weights_sha256 else ""
    )
    return tag(
        "th",
        shown,
        [tag("span", name, class_=f"badge b-{name.split()[0]}") for name, is_it in badges.items() if is_it],
        tag("span", phrases.row_words(row), class_="about"),
        tag("span", phrases.settings_words(row.settings), class_="about set") if row.settings else None,
        tag("span", identity, class_="about rev", title=row.revision or row.weights_sha256) if identity else None,
        scope="row",
        class_="name",
    )


def _sums(view: View, tab: Tab, row: Row, standing: Rank | None) -> list[Html]:
    """Rank and means on the paper's count; the script puts in those of other sets."""
    counted = view.board.sets[0]
    total = view.ranks.counts.get((tab.mode, counted.name, row.published), 0)
    said = phrases.standing_words(standing, row, total, _whole(row, counted.tasks), len(counted.tasks))
    if row.mode != tab.mode:
        said = f"not ranked here: it is of mode {row.mode}"
    rank = "–" if standing is None else f"({standing.place})" if row.published else str(standing.place)
    return [
        tag("td", rank, class_="sum rank", title=said),
        tag("td", phrases.score(standing.auroc if standing else None), class_="sum auroc"),
        tag("td", phrases.score(standing.mae if standing else None), class_="sum mae end"),
    ]


def _sets(view: View, tab: Tab, row: Row) -> dict[str, list[object]]:
    """Set -> [place, mean AUROC, mean MAE, words, tasks of all the data] for the script."""
    by_set: dict[str, list[object]] = {}
    for tasks in view.board.sets:
        standing = view.ranks.get(tab, tasks, row)
        done = _whole(row, tasks.tasks)
        total = view.ranks.counts.get((tab.mode, tasks.name, row.published), 0)
        said = phrases.standing_words(standing, row, total, done, len(tasks.tasks))
        if row.mode != tab.mode:
            said = f"not ranked here: it is of mode {row.mode}"
        means = (None, None) if standing is None else (_rounded(standing.auroc), _rounded(standing.mae))
        by_set[tasks.name] = [standing.place if standing else None, *means, said, int(row.complete(tasks.tasks))]
    return by_set


def _cell(view: View, row: Row, cell: Cell, lines: Sequence[str], style: str, share: float) -> Html:
    address = view.link(cell.path) if cell.path else row.link
    text = [phrases.score(cell.point), tag("i", phrases.marks(cell), aria_hidden="true")]
    if cell.extent in phrases.PARTS:
        text.append(tag("i", phrases.PARTS[cell.extent][0], class_="part"))
    content = tag("a", *text, href=address, title="\n".join(lines))
    return tag(
        # More digits than are shown: the script sorts by them what looks equal.
        "td", content, class_=style, data_v=f"{cell.point:.6g}", data_t=cell.contamination[0],
        data_d="1" if phrases.deviates(cell) else None, style=f"--h:{share:.2f}",
    )  # fmt: skip


def _whole(row: Row, tasks: Sequence[str]) -> int:
    """On how many tasks a row has a cell of all the data."""
    cells = [row.cells[name] for name in tasks if name in row.cells]
    return sum(cell.counts for cell in cells)


def _scale(column: Column, rows: Sequence[Row]) -> tuple[float, float]:
    """Lowest and highest score of a column; part of the data is shown without shade."""
    cells = [row.cells[column.name] for row in rows if column.name in row.cells]
    points = [cell.point for cell in cells if cell.counts]
    return (min(points), max(points)) if points else (0.0, 1.0)


def _best(view: View, tab: Tab, column: Column) -> float | None:
    """The best score computed here, parts of the data left out; simulated data never among real."""
    own = [row for row in tab.rows if not row.published and row.synthetic == view.board.synthetic]
    cells = [row.cells[column.name] for row in own if column.name in row.cells]
    points = [cell.point for cell in cells if cell.counts]
    # Alone in its column nothing is the best.
    if len(points) < 2:
        return None
    return max(points) if column.task.higher_is_better else min(points)


def _share(point: float, scale: tuple[float, float], higher: bool) -> float:
    low, high = scale
    # Where all are equal, none is the darkest or the lightest.
    share = (point - low) / (high - low) if high > low else 0.5
    return share if higher else 1 - share


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
