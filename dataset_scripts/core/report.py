"""The report of a preparation: every record of the raw folder, whether it reached the store, and why not.

What each step of a derivation from many tables took in and gave out: for the report file and for the screen.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from dataset_scripts.core.spec import ECGDataset, Rejected
from ecg_hub.errors import DataError
from ecg_hub.leads import LEADS
from ecg_hub.utils.terminal import escaped

COLUMNS = ("record_id", "file", "status", "reason", "samples", "digest")
REPORT_FILE = "report.csv"


def row(record_id: str, file: str, status: str, reason: str = "", samples: int = 0, digest: str = "") -> dict[str, Any]:
    """Return one line of the report; `status` is "ok" (the reason is then a remark), "lost" or "excluded"."""
    # Names in a reason are those of files; record and file stay as they are, since others look them up.
    return dict(zip(COLUMNS, (record_id, file, status, escaped(reason), samples, digest), strict=True))


def rejected_rows(rejected: Iterable[Rejected], status: str) -> list[dict[str, Any]]:
    """Return report lines of records that were rejected before reading."""
    return [row(item.record_id, item.file, status, item.reason) for item in rejected]


def report_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return report lines as CSV without the header."""
    buffer = io.StringIO()
    # The csv module would end lines with a carriage return; the report is the same bytes on every machine.
    csv.DictWriter(buffer, COLUMNS, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def write_report(folder: Path, parts: Iterable[str]) -> None:
    """Write `report.csv` into the folder of a store, from pieces made by `report_text`."""
    with (folder / REPORT_FILE).open("w", encoding="utf-8", newline="") as handle:
        handle.write(",".join(COLUMNS) + "\n")
        handle.writelines(parts)


def read_report(folder: Path) -> pd.DataFrame:
    """Read the report of a store: columns record_id, file, status, reason, samples, digest; text is never NaN."""
    types = {name: "int64" if name == "samples" else "str" for name in COLUMNS}
    # A record may be named 00012, NA or null: names stay text, and nothing becomes NaN.
    return pd.read_csv(folder / REPORT_FILE, dtype=types, keep_default_na=False)


def check_unreadable(dataset: ECGDataset, report: pd.DataFrame, max_unreadable: float) -> None:
    """Stop where too many records are lost; records that a rule excludes are not counted on either side."""
    lost = report[report["status"] == "lost"]
    total = len(lost) + int((report["status"] == "ok").sum())
    # All of them lost is refused whatever is tolerated: nothing would be left to work with.
    if total and len(lost) <= max_unreadable * total and len(lost) < total:
        return
    if not total:
        excluded = f" ({len(report)} are left out by rule)" if len(report) else ""
        raise DataError(f"{dataset.title}: there is no record to read{excluded}. {dataset.how_to_get()}")
    share = (
        f"{len(lost)} of {total} records ({len(lost) / total:.1%}) cannot be read, more than "
        f"max_unreadable={max_unreadable} allows"
    )
    raise DataError(
        f"{dataset.title}: {share if len(lost) < total else f'none of {total} records can be read'}. "
        f"{first_reasons(lost)} Get these files again from {dataset.page}"
        + (
            f", or pass max_unreadable={_round_up(len(lost) / total)} to go on without them."
            if len(lost) < total
            else "."
        )
    )


def first_reasons(lost: pd.DataFrame, number: int = 5) -> str:
    """Return the first lost records with their reasons in one line."""
    shown = [f"{item.record_id} ({item.file}): {item.reason}." for item in lost.head(number).itertuples()]
    rest = len(lost) - len(shown)
    return " ".join(shown) + (f" And {rest} more." if rest > 0 else "")


def counted(reasons: Iterable[str], joined: bool = True) -> list[tuple[str, int]]:
    """Return reasons or remarks with how often each occurs, the most frequent first.

    Those that differ in numbers and in quoted or file names alone count as one, told by the first of them. Remarks
    on one record, which semicolons join, count one by one; why a record was lost is one reason, semicolons or not
    (`joined=False`), so that the counts add up to the records.

    Example:
        >>> counted(["a.edf is cut short: 6 of 10", "b.edf is cut short: 2 of 10", "no lead V1; every sample is 0"])
        [('a.edf is cut short: 6 of 10', 2), ('no lead V1', 1), ('every sample is 0', 1)]
    """
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reason in reasons:
        for part in filter(None, reason.split("; ") if joined else [reason]):
            kind = _VARYING.sub("#", part)
            first.setdefault(kind, part)
            counts[kind] += 1
    return [(first[kind], number) for kind, number in counts.most_common()]


# A number, a quoted text, or a file name; the names of leads have digits too, and tell kinds apart.
_VARYING = re.compile(r"'[^']*'|\S+\.\w{2,7}\b|(?<![\w.])-?\d[\d,.]*")


def absent_everywhere(report: pd.DataFrame) -> list[str]:
    """Return the leads that no record of a store holds, by the remarks of its report."""
    remarks = report.loc[report["status"] == "ok", "reason"]
    found = [set(match[1].split(", ")) if (match := _NO_LEAD.search(remark)) else set() for remark in remarks]
    return [lead for lead in LEADS if lead in set.intersection(*found)] if found else []


_NO_LEAD = re.compile(r"\bno lead ((?:a?V?[IVRLF1-6]+(?:, )?)+)")


def _round_up(fraction: float) -> float:
    """Return the fraction rounded up to a thousandth, so that passing it on lets the same records through."""
    # Rounded to the nearest, the advice in the error could be too small by a hair and fail again.
    return min(1.0, int(fraction * 1000 + 1) / 1000)


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
