"""Results as files for other programs: the tidy table as CSV, JSON or Parquet, the printed one as Markdown or LaTeX."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from dataset_scripts.tools.card import table
from ecg_hub.errors import InputError
from ecg_hub.utils.files import atomic_path, write_error, write_text
from eval_harness.results.runfile import RUN_FILE
from eval_harness.results.schema import Result
from eval_harness.results.summary import SYNTHETIC, text_rows
from eval_harness.results.table import results_frame

if TYPE_CHECKING:
    import pandas as pd

ENDINGS: Mapping[str, str] = MappingProxyType(
    {"csv": ".csv", "json": ".json", "latex": ".tex", "markdown": ".md", "parquet": ".parquet"}
)
"""Format -> ending of its files."""


def format_of(path: Path) -> str:
    """Return the format that a file's ending stands for.

    Example:
        >>> format_of(Path("scores.tex"))
        'latex'
    """
    for form, ending in ENDINGS.items():
        if path.suffix.lower() == ending:
            return form
    raise InputError(f"{str(path)!r}: the ending says no format; use {', '.join(ENDINGS.values())}, or pass --format.")


def export_text(results: Sequence[Result], form: str, per_label: bool = False) -> str:
    """Return results in a format of text: "csv", "json", "markdown" or "latex".

    The first two hold the tidy table (`results_frame`), the others a row for every task as a run prints it; below that
    stands a sentence where results are of simulated ECGs, which the tidy table says in every row.
    """
    if form in _TIDY:
        return _TIDY[form](results_frame(results, per_label))
    if form not in _PRINTED:
        raise InputError(f"{form!r} is no format of text; choose csv, json, latex or markdown.")
    if per_label:
        raise InputError(f"A table of labels is written as csv, json or parquet, not as {form}.")
    return _PRINTED[form](text_rows(results), SYNTHETIC if any(r.is_synthetic for r in results) else "")


def export_table(results: Sequence[Result], path: Path, form: str, per_label: bool = False) -> None:
    """Write results as a file of one of `ENDINGS`; it appears under its name when it is whole."""
    if form == "json" and (path.parent / RUN_FILE).exists():
        raise InputError(
            f"{str(path)!r} would lie beside results, where every .json is read as one: choose another -o."
        )
    text = None if form == "parquet" else export_text(results, form, per_label)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            write_text(path, text)
            return
        with atomic_path(path) as temporary:
            results_frame(results, per_label).to_parquet(temporary, index=False)
    except OSError as error:
        raise write_error(path, error) from error


def _json(frame: pd.DataFrame) -> str:
    # Not by pandas, whose 15 decimals do not give every double back.
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def _markdown(rows: Sequence[Mapping[str, str]], note: str) -> str:
    shown = table([*rows[0]], [[*row.values()] for row in rows]) if rows else "no results"
    return f"{shown}\n" + (f"\n{note}\n" if note else "")


def _latex(rows: Sequence[Mapping[str, str]], note: str) -> str:
    import pandas as pd

    head = "% needs \\usepackage{booktabs}\n" + (f"% {note}\n" if note else "")
    # Names of tasks and models hold underscores, which LaTeX takes for the beginning of an index.
    return head + pd.DataFrame(rows).to_latex(index=False, escape=True, caption=note or None)


_TIDY: Mapping[str, Callable[[pd.DataFrame], str]] = {"csv": lambda frame: frame.to_csv(index=False), "json": _json}
_PRINTED: Mapping[str, Callable[[Sequence[Mapping[str, str]], str], str]] = {"markdown": _markdown, "latex": _latex}
