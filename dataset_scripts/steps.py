"""What each step of a derivation from many tables took in and gave out: for the report file and for the screen."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One rule at work.

    Attributes:
        table: the file it works on, or the group of targets.
        step: the rule in a few words.
        rows_in: rows before it, or None where they are not counted.
        rows_out: rows after it.
        note: bounds, units, thresholds: the numbers that the rule found in the data.
    """

    table: str
    step: str
    rows_in: int | None
    rows_out: int
    note: str = ""


def steps_csv(steps: Iterable[Step]) -> str:
    """Return steps as CSV with a header line."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in fields(Step)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(step) for step in steps)
    return buffer.getvalue()


def read_steps(path: Path) -> list[Step]:
    """Return the steps of a file written with `steps_csv`."""
    with path.open(encoding="utf-8", newline="") as handle:
        return [
            Step(
                row["table"],
                row["step"],
                int(row["rows_in"]) if row["rows_in"] else None,
                int(row["rows_out"]),
                row["note"],
            )
            for row in csv.DictReader(handle)
        ]


def steps_text(steps: Sequence[Step]) -> str:
    """Return steps as lines of aligned columns."""
    rows = [("table", "rule", "rows before", "rows after", "")]
    rows += [
        (step.table, step.step, "" if step.rows_in is None else f"{step.rows_in:,}", f"{step.rows_out:,}", step.note)
        for step in steps
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}".rstrip()
        for row in rows
    )
