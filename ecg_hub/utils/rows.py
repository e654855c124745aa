"""Rows of a listing that show themselves as a table, in a terminal and in a notebook; pandas is loaded on demand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ecg_hub.utils.text import text_table

if TYPE_CHECKING:
    import pandas as pd


class Rows(list[dict[str, Any]]):
    """A list of rows with the same columns, each a dict.

    Example:
        >>> rows = Rows([{"model": "ecg-cpc", "rate_hz": 240.0}, {"model": "s4", "rate_hz": 100.0}])
        >>> rows
        model    rate_hz
        ecg-cpc    240.0
        s4         100.0
        >>> rows.column("model"), len(rows.to_frame())
        (['ecg-cpc', 's4'], 2)
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        super().__init__(dict(row) for row in rows)

    def column(self, name: str) -> list[Any]:
        """Return the values of one column."""
        return [row[name] for row in self]

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(list(self))

    def __repr__(self) -> str:
        return text_table([{name: _cell(value) for name, value in row.items()} for row in self]) if self else "nothing"

    def _repr_html_(self) -> str:
        return html_table(self) if self else "<p>nothing</p>"


def html_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as an HTML table; texts are escaped and not cut."""
    import pandas as pd

    shown = [{name: _cell(value) for name, value in row.items()} for row in rows]
    with pd.option_context("display.max_colwidth", None, "display.max_rows", None):
        return pd.DataFrame(shown).to_html(index=False, border=0)


def _cell(value: object) -> object:
    """A value as a table shows it: lists as comma lists, nothing for None."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else value
