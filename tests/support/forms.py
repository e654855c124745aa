"""Facts of the published datasets that tests hold the mock trees and code tables against.

`tests/golden/labels/forms.json` holds them, so that those tests need no sample files; where these are at hand, a test
reads them anew. No row and no signal is among them: names of columns and keys, codes, and lines with the free parts
blanked.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

CHALLENGE = ("ningbo", "cpsc2018", "cpsc_extra", "georgia")
CELLS = ("patient_id", "age", "sex", "strat_fold", "second_opinion", "recording_date", "device")
STATEMENT_FACTS = ("", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a comma-separated table."""
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def forms(data: Path) -> dict[str, Any]:
    """All facts of the sample files in the folder `data`."""
    return {
        "ptb-xl": _ptb_xl(data / "ptbxl" / "mini"),
        "ptb": _ptb(data / "ptb" / "patient001" / "s0010_re.hea"),
        "challenge": {name: header_forms((data / name).glob("*.hea")) for name in CHALLENGE},
        "chapman": {kind: _acronyms(data / "chapman" / f"{kind}Names.xlsx") for kind in ("Condition", "Rhythm")},
        "sph": [[row[name] for name in ("Category", "Code", "Description")] for row in read_csv(data / "sph/code.csv")],
    }


def _ptb_xl(folder: Path) -> dict[str, Any]:
    rows, statements = read_csv(folder / "ptbxl_database.csv"), read_csv(folder / "scp_statements.csv")
    headers = {rate: folder / f"records{rate}/00000/00001_{suffix}.hea" for rate, suffix in ((500, "hr"), (100, "lr"))}
    return {
        "columns": list(rows[0]),
        "cells": {column: sorted({cell_form(row[column]) for row in rows}) for column in CELLS},
        "statement_columns": list(statements[0]),
        "statements": [[row[column] for column in STATEMENT_FACTS] for row in statements],
        # All but the first sample and the checksum of each signal.
        "headers": {str(rate): blanked(path.read_text().splitlines(), (5, 6)) for rate, path in headers.items()},
    }


def _ptb(header: Path) -> dict[str, Any]:
    lines = header.read_bytes().decode("latin-1").split("\r\n")
    return {"signals": blanked(lines[:16], (0, 5, 6)), "keys": [line.split(":")[0] for line in lines[16:]]}


def blanked(lines: Sequence[str], free: Iterable[int]) -> list[list[str]]:
    """The words of header lines; those of signals at the positions `free` are blank."""
    places = set(free)
    words = [line.split() for line in lines]
    return words[:1] + [["" if k in places else word for k, word in enumerate(line)] for line in words[1:]]


def _acronyms(workbook: Path) -> list[str]:
    import pandas as pd

    return sorted({str(cell).strip() for cell in pd.read_excel(workbook)["Acronym Name"]})


def cell_form(cell: str) -> str:
    """A cell with digits as 9 and letters as a."""
    text = "".join("9" if c.isdigit() else "a" if c.isalpha() else c for c in cell)
    return text.replace("99", "9").replace("99", "9")


def header_forms(paths: Iterable[Path]) -> list[list[str]]:
    """The distinct forms of headers of the Challenge."""
    return sorted(map(list, {header_form(path) for path in paths}))


def header_form(path: Path) -> tuple[str, ...]:
    """The lines of a header of the Challenge with names, dates, numbers and codes replaced."""
    return tuple(map(line_form, path.read_text().splitlines()))


def line_form(line: str) -> str:
    """A header line with its free parts replaced: names, dates, numbers, codes."""
    line = re.sub(r"\d\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d", "DATE", line)
    line = re.sub(r"^(JS|[AQE])\d+", "ID", line)
    line = re.sub(r" 16 0 -?\d+ -?\d+ 0 ", " 16 0 FIRST SUM 0 ", line)
    line = re.sub(r"(ID 12 500) \d+", r"\1 N", line)
    line = re.sub(r"(Age:) (\d+|NaN)$", r"\1 AGE", line)
    line = re.sub(r"(Sex:) (Male|Female)$", r"\1 SEX", line)
    return re.sub(r"(Dx:) [\d,]+$", r"\1 DX", line)
