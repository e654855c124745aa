"""Tables and name-value lists for people: laid out for the width of the terminal, whole in a file.

Names and scores are never broken or cut. What is the same in all rows stands once below the table, and so do texts too
long for a column, numbered, with the numbers in the rows that they hold for. In a pipe or a file lines are as long as
they get.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ecg_hub.utils import terminal

Row = Mapping[str, object]
GAP = "  "
NOTES = "notes"
TIE = "\N{NO-BREAK SPACE}"
"""In a cell that may be wrapped: a space that keeps a name and its value together."""
# A table in more parts than this is harder to read than its rows one after another.
MAX_PARTS = 3


def print_table(
    rows: Sequence[Row],
    title: str | None = None,
    *,
    heading: str | None = None,
    keep: Collection[str] = (),
    prose: Collection[str] = (),
    notes: Collection[str] = (),
) -> None:
    """Print rows under their common columns; the columns are the keys of the first row.

    Args:
        rows: column name -> value; an empty string is for a row that the column does not apply to.
        title: what the rows are, for "no TITLE" where there is none.
        heading: a line above.
        keep: columns that stay in the table though all rows have the same value (default: the first).
        prose: columns that may be wrapped between words.
        notes: columns of long texts (a string, or several) that stand below the table: without a number what holds for
            all rows, numbered what holds for some. None is for a row that the column does not apply to.
    """
    if heading is not None:
        print(_bold(terminal.escaped(heading), terminal.styles()))
    if not rows:
        print(f"no {title}" if title else "nothing")
        return
    print(text_table(rows, terminal.width(), keep=keep, prose=prose, notes=notes, styles=terminal.styles()))


def text_table(
    rows: Sequence[Row],
    width: int | None = None,
    *,
    keep: Collection[str] = (),
    prose: Collection[str] = (),
    notes: Collection[str] = (),
    styles: bool = False,
) -> str:
    """Return rows as a table in text.

    Args:
        rows: column name -> value; at least one.
        width: columns of the terminal; None never wraps.
        keep: columns that stay in the table though all rows have the same value (default: the first).
        prose: columns that may be wrapped between words.
        notes: columns of texts below the table, as in `print_table`.
        styles: write the heads bold.

    Example:
        >>> rows = [{"task": t, "mode": "linear", "score": s, "why": why} for t, s, why in
        ...         [("ptb", 0.81, ["limit=96"]), ("sph", 0.79, ["limit=96", "labels=4/71"])]]
        >>> print(text_table(rows, notes=["why"]))
        task  score  notes
        ptb    0.81
        sph    0.79  1
        <BLANKLINE>
        in all rows: mode linear
        why: limit=96
        1  why: labels=4/71
    """
    below = _collect_notes(rows, [column for column in rows[0] if column in notes])
    marked = [
        {**{column: value for column, value in row.items() if column not in notes}, **mark}
        for row, mark in zip(rows, below.marks, strict=True)
    ]
    shown, common = _split_common(marked, keep)
    table = _Columns.of(shown, {*prose})
    lines = _render(table, width, styles)
    more = [*_common_lines(common, below.common, len(rows)), *below.lines]
    lines += ["", *(terminal.wrap(line, width, 3) for line in more)] if more else []
    # Only now, when nothing is wrapped any more.
    return "\n".join(lines).replace(TIE, " ")


def number_of(count: int, what: str, several: str = "") -> str:
    """Return a count with its noun, in the plural unless it is one; `several` is a plural that does not end in s.

    Example:
        >>> number_of(1, "run"), number_of(1200, "record")
        ('1 run', '1,200 records')
    """
    return f"{count:,} {what if count == 1 else several or f'{what}s'}"


def print_pairs(pairs: Mapping[str, object]) -> None:
    """Print names and values, one pair a line; values wrap between words, on a terminal only."""
    width, bold = terminal.width(), terminal.styles()
    names = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        lines = _text(value).splitlines() or [""]
        # On fewer columns a value would be a ladder of single words; the terminal's own line breaks read better.
        if width is not None and width - names - len(GAP) >= 20:
            lines = [part for line in lines for part in _words(line, width - names - len(GAP))]
        print(f"{_bold(terminal.escaped(name).ljust(names), bold)}{GAP}{lines[0]}".rstrip())
        for line in lines[1:]:
            print(" " * (names + len(GAP)) + line)


def print_lines(lines: Iterable[str]) -> None:
    """Print sentences, wrapped between words on a terminal; indented lines (commands, paths) stay whole."""
    for line in lines:
        print(terminal.wrapped(line, terminal.width()))


@dataclass(frozen=True)
class _Notes:
    """Texts below a table: per row the numbers it shows, one line per number, and what holds for all rows."""

    marks: list[dict[str, str]]
    lines: list[str]
    common: dict[str, str]


def _collect_notes(rows: Sequence[Row], columns: Sequence[str]) -> _Notes:
    parts = {column: [_parts(row[column]) for row in rows] for column in columns}
    common = {
        column: [part for part in applying[0] if all(part in others for others in applying)]
        for column in columns
        if (applying := [of_row for of_row, row in zip(parts[column], rows, strict=True) if row[column] is not None])
    }
    numbers: dict[tuple[str, str], int] = {}
    marks: list[list[int]] = [[] for _ in rows]
    for k in range(len(rows)):
        for column in columns:
            for part in parts[column][k]:
                if part not in common.get(column, ()):
                    marks[k].append(numbers.setdefault((column, part), len(numbers) + 1))
    texts = {
        column: ", ".join(shared) or "none"
        for column, shared in common.items()
        # Of a column in which some rows have something, what all of them share may be nothing: not worth a line.
        if shared or not any(parts[column])
    }
    cells = [{NOTES: ",".join(map(str, mark))} if numbers else {} for mark in marks]
    return _Notes(cells, [f"{number}{GAP}{column}: {part}" for (column, part), number in numbers.items()], texts)


def _parts(value: object) -> list[str]:
    if value is None or value == "":
        return []
    return [str(part) for part in value] if isinstance(value, list | tuple) else [str(value)]


def _split_common(rows: Sequence[Row], keep: Collection[str]) -> tuple[list[Row], dict[str, str]]:
    """The rows without what all of them share, and that."""
    columns = list(rows[0])
    # A single row shares everything with itself; then only who asks to keep some columns wants the others below.
    if len(rows) == 1 and not keep:
        return list(rows), {}
    kept = {NOTES, *(keep or columns[:1])}
    # Rows that a column does not apply to ("") do not keep it from being the same in all others.
    texts = {column: {_text(row[column]) for row in rows} - {""} for column in columns}
    same = {column: "".join(of) for column, of in texts.items() if len(of) < 2 and column not in kept}
    shown: list[Row] = [{column: row[column] for column in columns if column not in same} for row in rows]
    # Where no row has anything there is nothing to say below.
    return shown, {column: text for column, text in same.items() if text not in ("-", "")}


def _common_lines(same: Mapping[str, str], notes: Mapping[str, str], rows: int) -> list[str]:
    said = ("in all rows: " if rows > 1 else "") + "; ".join(
        f"{name} {text}".replace(" ", TIE) for name, text in same.items()
    )
    return [*([said] if same else []), *(f"{name}: {text}" for name, text in notes.items())]


@dataclass(frozen=True)
class _Columns:
    """A table as text: heads, cells by row, which columns hold numbers, and which may be wrapped."""

    heads: list[str]
    cells: list[list[str]]
    right: list[bool]
    prose: list[bool]

    @classmethod
    def of(cls, rows: Sequence[Row], prose: Collection[str]) -> _Columns:
        heads = list(rows[0])
        return cls(
            [terminal.escaped(head) for head in heads],
            [[_text(row[head]).replace("\n", "\\n") for head in heads] for row in rows],
            [all(_is_number(row[head]) for row in rows) for head in heads],
            [head in prose for head in heads],
        )

    def take(self, numbers: Sequence[int]) -> _Columns:
        """Some of the columns."""
        picked = [[row[i] for i in numbers] for row in (self.heads, *self.cells)]
        return _Columns(picked[0], picked[1:], [self.right[i] for i in numbers], [self.prose[i] for i in numbers])

    def widths(self, limit: int | None) -> list[int]:
        """Widths that keep to a limit, as far as heads and prose can be wrapped."""
        texts = [[row[i] for row in self.cells] for i in range(len(self.heads))]
        wide = [max(map(len, [head, *column])) for head, column in zip(self.heads, texts, strict=True)]
        if limit is None:
            return wide
        # Heads first, since a broken head costs one line and a broken cell one per row.
        least = [max(_longest_word(head), *map(len, column)) for head, column in zip(self.heads, texts, strict=True)]
        wide = _shrunk(wide, least, limit)
        least = [
            max(map(_longest_word, [head, *column])) if may else width
            for head, column, may, width in zip(self.heads, texts, self.prose, wide, strict=True)
        ]
        return _shrunk(wide, least, limit)


def _render(table: _Columns, width: int | None, styles: bool) -> list[str]:
    widths = table.widths(width)
    if width is None or _total(widths) <= width:
        return _lines(table, widths, styles)
    parts = _parted(table, widths, width)
    if parts is None:
        return _stacked(table, width, styles)
    lines: list[str] = []
    for numbers in parts:
        part = table.take(numbers)
        lines += [*([""] if lines else []), *_lines(part, part.widths(width), styles)]
    return lines


def _parted(table: _Columns, widths: Sequence[int], limit: int) -> list[list[int]] | None:
    """The columns in parts one below another, each with those that name a row; None where that is no help."""
    named = next(
        (n for n in range(1, len(widths)) if len({*(tuple(r[:n]) for r in table.cells)}) == len(table.cells)), 1
    )
    parts: list[list[int]] = []
    for i in range(named, len(widths)):
        if parts and _total([widths[j] for j in (*parts[-1], i)]) <= limit:
            parts[-1].append(i)
        else:
            parts.append([*range(named), i])
    fits = all(_total([widths[j] for j in part]) <= limit for part in parts)
    return parts if fits and len(parts) <= MAX_PARTS else None


def _stacked(table: _Columns, width: int, styles: bool) -> list[str]:
    """Each row as lines of its own: its first cell, then heads and values."""
    lines: list[str] = []
    names = max(map(len, table.heads[1:]), default=0)
    for first, *others in table.cells:
        lines.append(_bold(first, styles))
        for head, text, prose in zip(table.heads[1:], others, table.prose[1:], strict=True):
            if text:
                line = f"{GAP}{head.ljust(names)}{GAP}{text}"
                lines.append(terminal.wrap(line, width if prose else None, names + 2 * len(GAP)))
    return lines


def _lines(table: _Columns, widths: Sequence[int], styles: bool) -> list[str]:
    heads = [_words(head, width) for head, width in zip(table.heads, widths, strict=True)]
    height = max(map(len, heads))
    # Heads stand on their columns, texts hang from their row.
    above = _row_lines([[""] * (height - len(head)) + head for head in heads], table.right, widths)
    # Bold last: escape codes would count as characters of the width.
    lines = [_bold(line, styles) for line in above]
    for cells in table.cells:
        parts = [_words(cell, width) for cell, width in zip(cells, widths, strict=True)]
        lines += _row_lines(parts, table.right, widths)
    return lines


def _row_lines(cells: Sequence[Sequence[str]], right: Sequence[bool], widths: Sequence[int]) -> list[str]:
    """A row as lines, from cells that are lines themselves."""
    lines = []
    for parts in zip_longest(*cells, fillvalue=""):
        aligned = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, to_right, width in zip(parts, right, widths, strict=True)
        ]
        lines.append(GAP.join(aligned).rstrip())
    return lines


def _shrunk(wide: Sequence[int], least: Sequence[int], limit: int) -> list[int]:
    """Widths made smaller, the widest first, down to the least ones, until all of them fit."""
    widths = list(wide)
    while _total(widths) > limit and (free := [i for i, size in enumerate(widths) if size > least[i]]):
        widths[max(free, key=lambda i: widths[i])] -= 1
    return widths


def _total(widths: Iterable[int]) -> int:
    widths = list(widths)
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _words(text: str, width: int) -> list[str]:
    """A text in lines of a width, broken between words only."""
    # Not at hyphens: names and options (`ecg-cpc`, `--data-root`) stay in one piece, to be copied.
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) if len(text) > width else []
    return lines or [text]


def _longest_word(text: str) -> int:
    # At plain blanks alone: `split()` would part at TIE too.
    return max(map(len, text.split(" ")))


def _bold(text: str, styles: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if styles and text else text


def _is_number(value: object) -> bool:
    # A bool is an int to Python, and stands in a table as yes or no.
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: object) -> str:
    if value is None:
        return "-"
    return "yes" if value is True else "no" if value is False else terminal.escaped(str(value))
