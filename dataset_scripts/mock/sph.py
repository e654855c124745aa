"""Writes an SPH folder in its true format: metadata.csv, code.csv, and one HDF5 file of half-precision millivolts each.

Records are drawn from a list of cases (AHA_Code cells). From 1,000 records on each of the 35 published labels has ten
records or more, and some rarer ones stand below the limit. Some patients have several records; most records last 10 s,
some up to 56 s.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.codes import read_codes
from dataset_scripts.mock.cases import awkward_cases, case_counts, check_rates
from dataset_scripts.mock.simulator import draw_anatomy, simulate, twelve_leads
from dataset_scripts.published.sph import CODES, DATASET, SIGNALS, TABLE

COLUMNS = ("ECG_ID", "AHA_Code", "Patient_ID", "Age", "Sex", "N", "Date")
AWKWARD = (
    *("all zero", "missing samples", "lost contact", "missing file", "truncated file", "other length", "no array"),
    *("shifted columns", "unknown code", "repeated name"),
)
"""What `awkward=True` does to one record each, in this order, at the end of the table."""

UNREADABLE = frozenset(AWKWARD) - {"all zero", "missing samples", "lost contact"}
RECORDS_PER_FLOOR = 100
FEWEST_FOR_RARE = 500
SHARED_PATIENTS = 0.043

_CASES = """
5000 1 | 1312 22 | 1115 147 | 878 23 | 838 105 | 520 145+362 | 505 146 | 468 145 | 390 106 | 385 21 | 269 22;147
247 22;23 | 175 60 | 169 50 | 165 125 | 135 60+308 | 133 60+310 | 102 120 | 86 30 | 83 50+346 | 83 121 | 72 147+367
65 30+308 | 56 101 | 46 104 | 45 60+341 | 37 142;153 | 32 161+332 | 29 36 | 29 155 | 21 108 | 18 60+342 | 18 165+332
16 82 | 15 160+332 | 15 145+363 | 12 147;147+367 | 11 51;86 | 10 51;85;146 | 10 148 | 9 80 | 8 54 | 8 140 | 8 37
8 88
"""
CASES: list[tuple[float, str]] = [
    (float(weight), code)
    for weight, code in (c.split() for row in _CASES.split("\n") for c in row.split("|") if c.strip())
]
"""(weight, AHA_Code): what occurs together and how often."""

_RARE = ("31", "81;51", "83", "84", "87", "102;105", "143;120", "152", "166+332")
"""Cells with primary codes below the published limit, one record each."""

FINDINGS: dict[str, tuple[str, ...]] = {
    **{"1": ("NORM",), "21": ("STACH",), "22": ("SBRAD",), "23": ("SARRH",), "30": ("PAC",), "31": ("PAC", "PAUSE")},
    **{"36": ("PRC(S)",), "37": ("JESC",), "50": ("AFIB",), "51": ("AFLT",), "54": ("JTACH",), "60": ("PVC",)},
    **{"60+341": ("BIGU",), "60+342": ("TRIGU",), "80": ("SHPR",), "81": ("AVB",), "82": ("1AVB",), "83": ("2AVB",)},
    **{"84": ("2AVB",), "85": ("2TO1AVB",), "86": ("AVB",), "87": ("2TO1AVB",), "88": ("3AVB",), "101": ("LAFB",)},
    **{"102": ("LPFB",), "104": ("CLBBB",), "105": ("IRBBB",), "106": ("CRBBB",), "108": ("WPW",), "120": ("RAD",)},
    **{"121": ("LAD",), "125": ("LVOLT",), "140": ("LAO/LAE",), "142": ("LVH",), "143": ("RVH",), "145": ("STD_",)},
    **{"145+363": ("STE_",), "146": ("ISC_", "NDT"), "147": ("NT_",), "147+367": ("INVT",), "148": ("LNGQT",)},
    **{"152": ("UWAVE",), "153": ("ISCLA",), "155": ("EARLY_REPOLARISATION",), "160": ("AMI",), "161": ("IMI",)},
    **{"165": ("ASMI",), "166": ("ALMI",)},
}
"""Statement, or primary code for all its other statements -> what the simulator draws for it."""

_RHYTHMS = frozenset({"SR", "STACH", "SBRAD", "SARRH", "AFIB", "AFLT", "JESC", "JTACH", "2AVB", "3AVB", "2TO1AVB"})
_LENGTHS = {
    **{5000: 0.731, 5500: 0.058, 6000: 0.111, 6500: 0.024, 7000: 0.017, 7500: 0.021, 8000: 0.01, 8500: 0.008},
    **{9000: 0.006, 10000: 0.006, 12000: 0.004, 16000: 0.003, 28000: 0.001},
}
"""Samples per record and how often they occur."""


@dataclass
class SphRecord:
    """One record to be written."""

    number: int
    patient: int
    age: int
    female: bool
    code: str
    samples: int
    awkward: str = ""

    @property
    def name(self) -> str:
        """Its ECG_ID."""
        return f"A{self.number + 1:05d}"


def write(folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None) -> dict[str, Any]:
    """Write the tree and return the thresholds that suit its size."""
    check_rates("SPH", (500,), sampling_rates)
    entries = plan(records, seed)
    for entry, kind in awkward_cases(entries, AWKWARD, awkward, records):
        entry.awkward = kind
    (folder / SIGNALS).mkdir()
    for entry in entries:
        _write_signal(folder / SIGNALS / f"{entry.name}.h5", entry, seed)
    _write_tables(folder, entries, seed)
    return {"min_count": max(1, floor(records))}


def floor(records: int) -> int:
    """Return how many records each case has at least: what the published limit asks for, from 1,000 records on."""
    return min(records // RECORDS_PER_FLOOR, DATASET.thresholds["min_count"])


def plan(records: int, seed: int) -> list[SphRecord]:
    """Draw the records in the order of the table."""
    rng = np.random.default_rng([seed, 1])
    rare = _RARE if records >= FEWEST_FOR_RARE else ()
    counts = case_counts(records - len(rare), [weight for weight, _ in CASES], floor(records))
    drawn = [code for (_, code), count in zip(CASES, counts, strict=True) for _ in range(count)] + list(rare)
    shares = np.array(list(_LENGTHS.values()))
    lengths = rng.choice(list(_LENGTHS), size=records, p=shares / shares.sum())
    entries: list[SphRecord] = []
    patients = 0
    for number, position in enumerate(rng.permutation(records)):
        if entries and rng.random() < SHARED_PATIENTS:
            patient = entries[int(rng.integers(len(entries)))].patient
        else:
            patients += 1
            patient = patients
        person = np.random.default_rng([seed, 2, patient])
        age, female = int(np.clip(person.normal(50, 16), 18, 95)), bool(person.random() < 0.446)
        entries.append(SphRecord(number, patient, age, female, drawn[position], int(lengths[number])))
    return entries


def findings_of(code: str) -> list[str]:
    """Return the simulator's findings for an AHA_Code cell; sinus rhythm where it names no other rhythm."""
    findings = [f for text in code.split(";") for f in FINDINGS.get(text, FINDINGS[text.split("+")[0]])]
    # Statements name a rhythm only where it is not sinus rhythm.
    return findings if _RHYTHMS & set(findings) else [*findings, "SR"]


def _write_signal(path: Path, entry: SphRecord, seed: int) -> None:
    """Write one record as the original does: `ecg`, (12, samples) float16 in millivolt, in twelve or more chunks."""
    import h5py

    if entry.awkward == "missing file":
        return
    anatomy = draw_anatomy(np.random.default_rng([seed, 3, entry.patient]), entry.age, entry.female)
    rng = np.random.default_rng([seed, 4, entry.number])
    samples = entry.samples - 500 * (entry.awkward == "other length")
    millivolt = twelve_leads(simulate(findings_of(entry.code), rng, anatomy, seconds=samples / 500)).T
    if entry.awkward == "all zero":
        millivolt = np.zeros_like(millivolt)
    elif entry.awkward == "missing samples":
        millivolt[7, 200:260] = np.nan
        millivolt[11] = np.nan
    elif entry.awkward == "lost contact":
        # The largest value of the release, of an electrode that came off.
        millivolt[8, 1000:1400] += 1590.0
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "signal" if entry.awkward == "no array" else "ecg",
            # Half precision, as published; beyond 32 mV its steps are coarser than a microvolt by far.
            data=millivolt.astype(np.float16),
            chunks=(3, samples // 4),
            compression="gzip",
            compression_opts=9,
        )
    if entry.awkward == "truncated file":
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 3])


def _write_tables(folder: Path, entries: Sequence[SphRecord], seed: int) -> None:
    rng = np.random.default_rng([seed, 5])
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(_row(entry, rng) for entry in entries)
    with (folder / CODES).open("w", encoding="utf-8", newline="") as handle:
        # Other line ends than those of metadata.csv, so that readers meet both.
        table = csv.writer(handle, lineterminator="\r\n")
        table.writerow(("Category", "Code", "Description"))
        table.writerows((row["category"] or "Modifier", row["code"], row["description"]) for row in read_codes("aha"))


def _row(entry: SphRecord, rng: np.random.Generator) -> list[Any]:
    """Return one row of metadata.csv."""
    day = date(2019, 8, 1) + timedelta(days=int(rng.integers(0, 390)))
    name = "A00001" if entry.awkward == "repeated name" else entry.name
    code = f"{entry.code};999" if entry.awkward == "unknown code" else entry.code
    sex = "F" if entry.female else "M"
    row = [name, code, f"S{entry.patient:05d}", entry.age, sex, entry.samples, day.isoformat()]
    return [name, "", *row[1:-1]] if entry.awkward == "shifted columns" else row
