"""Writes a Chapman-Shaoxing folder in its true format: workbooks, and one CSV file of microvolts per record.

Records are drawn from a list of cases (a rhythm and the conditions that go with it). From 1,000 records on each of
the 42 published labels has ten records or more, and some rarer ones stand below the limit. A record of ten seconds
takes 0.37 MB, as in the original.

Excel workbooks for mock trees, equal byte by byte for equal content.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.codes import read_codes
from dataset_scripts.mock.cases import awkward_cases, case_counts, check_rates
from dataset_scripts.mock.simulator import digitise, draw_anatomy, simulate
from dataset_scripts.published.chapman import DATASET, NO_CONDITION, SIGNALS, STEP_UV, TABLE
from ecg_hub.leads import LEADS

_MOMENT = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can state
_STAMPS = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")


def write_workbook(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows to the sheet "Sheet1" of an .xlsx file; the times of writing, which Excel keeps, are made constant."""
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    for row in rows:
        sheet.append(list(row))
    buffer = io.BytesIO()
    book.save(buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":
                # The same seed has to give the same bytes.
                content = _STAMPS.sub(rb"\g<1>1980-01-01T00:00:00Z", content)
            target.writestr(zipfile.ZipInfo(name, _MOMENT), content, zipfile.ZIP_DEFLATED)


COLUMNS = (
    *("FileName", "Rhythm", "Beat", "PatientAge", "Gender", "VentricularRate", "AtrialRate", "QRSDuration"),
    *("QTInterval", "QTCorrected", "RAxis", "TAxis", "QRSCount", "QOnset", "QOffset", "TOffset"),
)
AWKWARD = (
    *("all zero", "missing samples", "missing file", "truncated file", "missing lead", "shifted columns"),
    *("other encoding", "repeated name", "damaged row"),
)
"""What `awkward=True` does to one record each, in this order, at the end of the table."""

UNREADABLE = frozenset(AWKWARD) - {"all zero", "missing samples"}
RECORDS_PER_FLOOR = 100
FEWEST_FOR_RARE = 500

_CASES = """
2200 SB | 361 SB LVHV | 291 SB TWC | 73 SB 1AVB | 73 SB STTC | 67 SB RBBB | 44 SB ALS | 42 SB APB | 31 SB CCR
22 SB STTU | 19 SB VPB | 17 SB IVB | 13 SB ERV | 10 SB UW | 10 SB JEB
1366 SR | 107 SR TWC | 40 SR AQW | 20 SR CR | 30 SR LFBBB ALS | 20 SR QTIE | 12 SR MIFW AQW | 10 SR MILW AQW
8 SR LVH LVHV | 8 SR PRIE | 8 SR VPE
643 ST | 146 ST STTC | 30 ST PWC | 24 ST ARS | 30 ST LVQRSCL | 17 ST STDD STTC TWC
413 AFIB | 209 AFIB TWC | 103 AFIB LVHV | 57 AFIB STDD STTC TWC | 35 AFIB RBBB | 24 AFIB IDC | 25 AFIB LVQRSLL
25 AFIB LBBB | 14 AFIB STDD STTC TWO | 9 AFIB LRRI
87 AF | 53 AF AVB | 379 SVT | 30 SVT RBBB | 291 SA | 16 SA VPB | 34 AT | 16 AVNRT
"""
_RARE = ("AVRT", "SAAWR", "SB VEB", "SR 2AVB", "AF VET", "SR WPW", "ST RAHV ARS", "SR JPS")
"""Cases with labels below the published limit, one record each."""


def _parse(text: str) -> list[tuple[float, tuple[str, ...]]]:
    cases = (case.split() for line in text.strip().splitlines() for case in line.split("|"))
    return [(float(weight), tuple(labels)) for weight, *labels in cases]


CASES = _parse(_CASES)
"""(weight, rhythm and conditions): what occurs together and how often."""

FINDINGS: dict[str, tuple[str, ...]] = {
    **{"SB": ("SBRAD",), "SR": ("SR",), "AFIB": ("AFIB",), "ST": ("STACH",), "AF": ("AFLT",), "SA": ("SARRH",)},
    **{"SVT": ("SVTAC",), "AT": ("ATACH",), "AVNRT": ("PSVT",), "AVRT": ("PSVT", "STD_"), "SAAWR": ("WANDERING",)},
    **{"1AVB": ("1AVB",), "2AVB": ("2AVB",), "ALS": ("LAD",), "APB": ("PAC",), "AQW": ("QWAVE",), "ARS": ("RAD",)},
    **{"AVB": ("AVB",), "CCR": ("COUNTERCLOCKWISE",), "CR": ("CLOCKWISE",), "ERV": ("EARLY_REPOLARISATION",)},
    **{"IDC": ("ABQRS",), "IVB": ("IVCD",), "JEB": ("JESC",), "JPS": ("STE_",), "LBBB": ("CLBBB",)},
    **{"LFBBB": ("LAFB",), "LRRI": ("PAUSE",), "LVH": ("LVH",), "LVHV": ("VCLVH",), "LVQRSCL": ("LVOLT_CHEST",)},
    **{"LVQRSLL": ("LVOLT_LIMB",), "MIFW": ("AMI",), "MILW": ("IMI",), "PRIE": ("LPR",), "PWC": ("PWAVE",)},
    **{"QTIE": ("LNGQT",), "RAHV": ("RAO/RAE",), "RBBB": ("CRBBB",), "STDD": ("STD_",), "STTC": ("NST_", "NDT")},
    **{"STTU": ("STE_",), "TWC": ("NT_",), "TWO": ("INVT",), "UW": ("UWAVE",), "VEB": ("VESC",), "VET": ("VESC",)},
    **{"VPB": ("PVC",), "VPE": ("WPW",), "WPW": ("WPW",)},
}
"""Label -> what the simulator draws for it."""

_RATES = {
    **{"SB": (40, 59), "SR": (60, 99), "AFIB": (60, 130), "ST": (100, 140), "AF": (60, 150), "SA": (55, 90)},
    **{"SVT": (140, 170), "AT": (110, 150), "AVNRT": (160, 200), "AVRT": (160, 200), "SAAWR": (55, 90)},
}
_HEADER = (",".join(LEADS) + "\n").encode()
_MEASURED = (
    *(("FileName", "String", None, "name of the ECG file"), ("Rhythm", "String", None, "rhythm")),
    *(("Beat", "String", None, "other conditions"), ("PatientAge", "Numeric", "0-999", "age")),
    ("Gender", "String", "MALE/FEMALE", "sex"),
)


@dataclass
class ChapmanRecord:
    """One record to be written."""

    number: int
    name: str
    age: int
    female: bool
    labels: tuple[str, ...]
    awkward: str = ""


def write(folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None) -> dict[str, Any]:
    """Write the tree and return the thresholds that suit its size."""
    check_rates("Chapman-Shaoxing", (500,), sampling_rates)
    entries = plan(records, seed)
    for entry, kind in awkward_cases(entries, AWKWARD, awkward, records):
        entry.awkward = kind
    (folder / SIGNALS).mkdir()
    for entry in entries:
        _write_signal(folder / SIGNALS / f"{entry.name}.csv", entry, seed)
    _write_tables(folder, entries, seed)
    return {"min_count": max(1, floor(records))}


def floor(records: int) -> int:
    """Return how many records each case has at least: what the published limit asks for, from 1,000 records on."""
    return min(records // RECORDS_PER_FLOOR, DATASET.thresholds["min_count"])


def plan(records: int, seed: int) -> list[ChapmanRecord]:
    """Draw the records in the order of the table."""
    rng = np.random.default_rng([seed, 1])
    rare = [tuple(case.split()) for case in _RARE] if records >= FEWEST_FOR_RARE else []
    counts = case_counts(records - len(rare), [weight for weight, _ in CASES], floor(records))
    drawn = [labels for (_, labels), count in zip(CASES, counts, strict=True) for _ in range(count)] + rare
    return [_entry(number, drawn[position], seed) for number, position in enumerate(rng.permutation(records))]


def _entry(number: int, labels: tuple[str, ...], seed: int) -> ChapmanRecord:
    person = np.random.default_rng([seed, 2, number])
    moment = datetime(2018, 1, 12, 7, 33) + timedelta(minutes=37 * number, seconds=int(person.integers(0, 60)))
    name = f"MUSE_{moment:%Y%m%d_%H%M%S}_{number % 100:02d}000"
    mean = 45 if labels[0] in ("SR", "SA") else 62
    age = int(np.clip(person.normal(mean, 16), 10, 98))
    return ChapmanRecord(number, name, age, bool(person.random() < 0.44), labels)


def _write_signal(path: Path, entry: ChapmanRecord, seed: int) -> None:
    """Write one record as the original does: names of the leads, then 5,000 rows in multiples of 4.88 microvolt."""
    if entry.awkward == "missing file":
        return
    findings = [finding for label in entry.labels for finding in FINDINGS[label]]
    rng = np.random.default_rng([seed, 3, entry.number])
    anatomy = draw_anatomy(rng, entry.age, entry.female)
    # In whole units of the recorder, so that reading finds the multiples again.
    steps = digitise(simulate(findings, rng, anatomy), 1000.0 / STEP_UV)
    content = _HEADER + _csv(np.round(steps * STEP_UV, 2) * (entry.awkward != "all zero"))
    path.write_bytes(_damage(content, entry.awkward))


def _csv(microvolt: np.ndarray) -> bytes:
    """Return rows of numbers as text, each as short as it can be written."""
    import pyarrow as pa
    from pyarrow import csv

    sink = pa.BufferOutputStream()
    table = pa.table(list(microvolt.T), names=list(LEADS))
    csv.write_csv(table, sink, csv.WriteOptions(include_header=False, batch_size=len(microvolt)))
    return bytes(sink.getvalue())


def _damage(content: bytes, awkward: str) -> bytes:
    """Return a file's content with one of the damages that show in the file itself."""
    lines = content.split(b"\n")
    if awkward == "missing samples":
        for row in range(201, 261):
            lines[row] = b",".join([*lines[row].split(b",")[:11], b"NaN"])
        return b"\n".join(lines)
    if awkward == "truncated file":
        return content[: len(content) // 3]
    if awkward == "missing lead":
        return b"\n".join(line.rpartition(b",")[0] for line in lines[:-1]) + b"\n"
    if awkward == "shifted columns":
        return b"\n".join([lines[0], *(b"%d,%s" % item for item in enumerate(lines[1:-1]))]) + b"\n"
    return content.decode().encode("utf-16") if awkward == "other encoding" else content


def _write_tables(folder: Path, entries: Sequence[ChapmanRecord], seed: int) -> None:
    rng = np.random.default_rng([seed, 4])
    rows = [_row(entry, rng) for entry in entries]
    for entry, row in zip(entries, rows, strict=True):
        if entry.awkward == "repeated name":
            row[0] = rows[0][0]
        elif entry.awkward == "damaged row":
            # A cell too many at the front, as a slip of the hand leaves it in a spreadsheet.
            row[1:] = [None, *row[1:-1]]
    write_workbook(folder / TABLE, [COLUMNS, *rows])
    names = {
        kind: [(r["code"], r["description"]) for r in read_codes("chapman") if r["kind"] == kind] for kind in _KINDS
    }
    # The release writes SI here and SA in the table of diagnoses, and pads the names.
    rhythms = [(f"{'SI' if code == 'SA' else code:<5}", name) for code, name in names["rhythm"]]
    header = ("Acronym Name", "Full Name")
    write_workbook(folder / "RhythmNames.xlsx", [header, *rhythms])
    write_workbook(folder / "ConditionNames.xlsx", [header, *names["condition"]])
    measured = [(name, "Numeric", None, f"{name} as measured by the recorder") for name in COLUMNS[len(_MEASURED) :]]
    dictionary = [("Attributes", "Type", "ValueRange", "Description"), *_MEASURED, *measured]
    write_workbook(folder / "AttributesDictionary.xlsx", dictionary)


_KINDS = ("rhythm", "condition")


def _row(entry: ChapmanRecord, rng: np.random.Generator) -> list[Any]:
    """Return one row of Diagnostics.xlsx; ages are text there, measurements whole numbers."""
    rhythm, *conditions = entry.labels
    rate = int(rng.integers(*_RATES[rhythm], endpoint=True))
    qrs = int(rng.integers(120, 160) if {"RBBB", "LBBB", "IVB"} & set(conditions) else rng.integers(78, 108))
    qt = int(rng.integers(480, 540) if "QTIE" in conditions else 250 + 9000 / rate + rng.integers(-20, 20))
    onset = int(rng.integers(200, 225))
    corrected = round(qt / (60 / rate) ** 0.5)
    atrial = 300 if rhythm == "AF" else rate
    axis = -45 if "ALS" in conditions else 105 if "ARS" in conditions else int(rng.integers(-20, 80))
    ends = (onset + qrs // 2, onset + qt // 2)
    return [
        *(entry.name, rhythm, " ".join(conditions) or NO_CONDITION, str(entry.age)),
        *("FEMALE" if entry.female else "MALE", rate, atrial, qrs, qt, corrected, axis, int(rng.integers(-10, 80))),
        *(rate // 6, onset, *ends),
    ]
