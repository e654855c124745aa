"""Tables and name-value lists for the command lines: coloured and wrapped on a terminal, plain and whole elsewhere.

Output that is not a terminal (a pipe, a file, a log) is never cut or wrapped, so that names can be searched and parsed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

GAP = "  "


def print_table(rows: Sequence[Mapping[str, object]], title: str | None = None) -> None:
    """Print rows under their common columns; the columns are the keys of the first row."""
    if not rows:
        print(f"no {title}" if title else "nothing")
        return
    if sys.stdout.isatty():
        _print_rich(*_cells(rows), title)
    else:
        print(table_text(rows))


def table_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows under their common columns as plain text."""
    return plain_table(*_cells(rows))


def _cells(rows: Sequence[Mapping[str, object]]) -> tuple[list[str], list[list[str]], list[bool]]:
    """The columns of some rows, their cells as text, and which columns are numbers."""
    columns = list(rows[0])
    numeric = [all(_is_number(row[column]) for row in rows) for column in columns]
    return columns, [[_text(row[column]) for column in columns] for row in rows], numeric


def print_pairs(pairs: Mapping[str, object]) -> None:
    """Print names and values, one pair a line; values wrap on a terminal only."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in pairs.items():
            grid.add_row(name, _literal(_text(value)))
        Console().print(grid)
        return
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        print(f"{name.ljust(width)}{GAP}{_text(value)}".rstrip())


def plain_table(columns: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    """Return an aligned table as text, two spaces between columns, numbers to the right, no trailing blanks."""
    table = [columns, *cells]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    lines = []
    for row in table:
        parts = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append(GAP.join(parts).rstrip())
    return "\n".join(lines)


def _print_rich(
    columns: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool], title: str | None
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i, (column, right) in enumerate(zip(columns, numeric, strict=True)):
        # The first column holds the names, which people copy: it is never broken.
        table.add_column(column, justify="right" if right else "left", no_wrap=i == 0, overflow="fold")
    for row in cells:
        table.add_row(*(_literal(cell) for cell in row))
    Console().print(table)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _literal(text: str) -> str:
    """Text whose square brackets rich must print rather than read as markup."""
    from rich.markup import escape

    return escape(text)


def _text(value: object) -> str:
    if value is None:
        return "-"
    return "yes" if value is True else "no" if value is False else str(value)
