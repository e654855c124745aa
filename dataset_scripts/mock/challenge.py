"""Writes a part of the PhysioNet/CinC Challenge 2021 in its true format: WFDB headers, MATLAB v4 files, groups.

A part names its cases: sets of codes that go together, as abbreviations of its code table, with weights. From 250
records on every label of the published count filter occurs. Every record is a person of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.challenge import FOLDS, SAMPLING_RATE, ChallengeDataset, first_rows
from dataset_scripts.mock.cases import awkward_cases, case_counts, check_rates
from dataset_scripts.mock.simulator import digitise, draw_anatomy, simulate
from ecg_hub.errors import InputError
from ecg_hub.input.samples import MISSING

AWKWARD = (
    *("missing samples", "truncated file", "missing signal", "missing header", "name with a dot", "occurs twice"),
    *("record of another part", "unknown code", "empty Dx", "no Dx line", "blank after a comma", "repeated code"),
    *("short record", "flat leads", "impossible age"),
)
"""What `awkward=True` does to one record each, in this order, to the last records by name.

The first six are left out when the data are prepared (four lost, one with missing samples by rule, and the second copy
of one lost), the seventh by rule; the others stay, most with a remark.
"""

GROUP = 1000
RECORDS_PER_FLOOR = 250
SMALL = 200
"""Fewer records than this are cut into five folds, so that validation and test hold more than a handful."""

SHORT_SAMPLES = 2500
ONE_SHORT_IN = 100
UNKNOWN_CODE = "999999999"
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
NOTICE = (
    "Synthetic signals and invented patients, written by ecg-hub in the file format of the PhysioNet/CinC Challenge "
    "2021. Not medical data.\n"
)

_FINDINGS = """
NSR SR | SB SBRAD | Brady SBRAD | STach STACH | SA SARRH | AF AFIB | AFAFL AFIB | AFL AFLT | PR PACE | VPP PACE
AP ATRIAL_PACING | ATach ATACH | SVT PSVT | AVRT PSVT | ARH ATRIAL_RHYTHM | AAR ATRIAL_RHYTHM | AED PAC SBRAD
AVJR JESC | JE JESC | AJR AJR | JTach JTACH | JPC PAC | AIVR AIVR | VEsR VESC | VEsB VESC | PVT VT | VF VFIB
SARR PAUSE | BPAC PAC PAUSE | PAC PAC | SVPB PAC | PVC PVC | VPB PVC | VEB PVC | FB PVC
IAVB 1AVB | LPR LPR | SPRI SHPR | AVB AVB | IIAVB 2AVB | MoI 2AVB | CHB 3AVB | AVD 3AVB
LBBB CLBBB | CLBBB CLBBB | ILBBB ILBBB | RBBB CRBBB | CRBBB CRBBB | IRBBB IRBBB | BBB CLBBB | NSIVCB IVCD
LAnFB LAFB | LPFB LPFB | WPW WPW | LAD LAD | RAD RAD | CVCL/CCVCL COUNTERCLOCKWISE | PRWP PRWP | RAb PRWP
LVH LVH | VH LVH | RVH RVH | LVHV VCLVH | LQRSV LVOLT | LAE LAO/LAE | LAA LAO/LAE | LAH LAO/LAE | PPW LAO/LAE
RAH RAO/RAE | RAAb RAO/RAE | RAHV RAO/RAE | TPW RAO/RAE | AH LAO/LAE RAO/RAE | PWC PWAVE
MI IMI | OldMI IMI | AMI AMI STE_ | AnMI AMI | QAb QWAVE | ERe EARLY_REPOLARISATION | STE STE_ | STD STD_
MIs ISC_ | CMI ISC_ | AnMIs ISCAS | IIs ISCIN | LIs ISCLA | NSSTTA NST_ | STIAb NST_ | STC STD_ | TAb NDT
TInv INVT | LQT LNGQT | UAb UWAVE | ALR NORM
"""
FINDINGS_OF: Mapping[str, tuple[str, ...]] = {
    abbreviation: tuple(findings)
    for abbreviation, *findings in (item.split() for line in _FINDINGS.strip().splitlines() for item in line.split("|"))
}
"""Abbreviation of a code -> what the simulator draws for it; reversed arm leads (ALR) are drawn by exchanging leads."""

Case = tuple[float, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What differs between the parts.

    Attributes:
        dataset: the part.
        cases: (weight, abbreviations of codes) of what goes together.
        long: the share of records longer than ten seconds, and their longest length in seconds.
        cut: whether one record in a hundred is shorter than ten seconds.
        mean_age: years.
        written: when the first header was written; those that follow come eleven seconds later each.
        other: a record name of another part.
    """

    dataset: ChallengeDataset
    cases: Sequence[Case]
    long: tuple[float, int] = (0.0, 10)
    cut: bool = False
    mean_age: int = 60
    written: datetime
    other: str


@dataclass
class MockRecord:
    """One record to be written."""

    name: str
    group: int
    codes: tuple[str, ...]
    abbreviations: tuple[str, ...]
    samples: int
    age: int
    female: bool
    written: datetime
    rewritten: bool
    awkward: str = ""


def parse_cases(text: str) -> tuple[Case, ...]:
    """Return cases written as "weight code code | weight code", in lines."""
    items = [item.split() for line in text.strip().splitlines() for item in line.split("|")]
    return tuple((float(weight), tuple(codes)) for weight, *codes in items)


def write_part(
    part: Part, folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None
) -> dict[str, Any]:
    """Write the tree of a part and return the thresholds that suit its size."""
    title = part.dataset.title
    check_rates(title, (SAMPLING_RATE,), sampling_rates)
    entries = plan(part, records, seed)
    for entry, kind in awkward_cases(entries, AWKWARD, awkward, records):
        _spoil(entry, kind, part)
    place = folder / "training" / part.dataset.part
    for group in {entry.group for entry in entries}:
        (place / f"g{group}").mkdir(parents=True)
    for entry in entries:
        _write_record(place, entry, seed)
    (folder / "LICENSE.txt").write_text(NOTICE, encoding="ascii")
    return {"min_count": max(1, records // RECORDS_PER_FLOOR), "folds": FOLDS if records >= SMALL else 5}


def plan(part: Part, records: int, seed: int) -> list[MockRecord]:
    """Draw the records in the order of their names: cases, lengths, people."""
    names = part.dataset.names
    most = names.last - names.first + 1
    if records > most:
        raise InputError(f"records={records!r}: {part.dataset.title} has names for {most} records; pass that or fewer.")
    rng = np.random.default_rng([seed, 1])
    gaps = min(most - records, records // 30)  # some numbers are not given, as in CPSC-Extra
    skipped = {int(number) for number in rng.choice(records + gaps, size=gaps, replace=False)}
    numbers = [names.first + number for number in range(records + gaps) if number not in skipped]
    drawn = [
        codes
        for codes, count in zip(
            part.cases,
            case_counts(records, [weight for weight, _ in part.cases], records // RECORDS_PER_FLOOR),
            strict=True,
        )
        for _ in range(count)
    ]
    return [
        _entry(part, names.name(number), place, drawn[case][1], np.random.default_rng([seed, 2, number]))
        for place, (number, case) in enumerate(zip(numbers, rng.permutation(records), strict=True))
    ]


def _entry(part: Part, name: str, place: int, abbreviations: tuple[str, ...], rng: np.random.Generator) -> MockRecord:
    code_of = {row["abbreviation"]: row["code"] for row in reversed(first_rows(part.dataset.code_table))}
    share, longest = part.long
    seconds = 10.0 if rng.random() >= share else float(rng.uniform(10, longest))
    samples = round(seconds * SAMPLING_RATE)
    return MockRecord(
        name=name,
        group=1 + place // GROUP,
        codes=tuple(code_of[abbreviation] for abbreviation in abbreviations),
        abbreviations=abbreviations,
        samples=SHORT_SAMPLES if part.cut and place % ONE_SHORT_IN == ONE_SHORT_IN // 2 else samples,
        age=int(np.clip(rng.normal(part.mean_age, 16), 4, 98)),
        female=bool(rng.random() < 0.44),
        written=part.written + timedelta(seconds=11 * place),
        rewritten=bool(rng.random() < 0.2),
    )


def _spoil(entry: MockRecord, kind: str, part: Part) -> None:
    """Make a record awkward as far as its name, codes and length go; the rest is done when it is written."""
    entry.awkward = kind
    if kind == "record of another part":
        entry.name = part.other
    elif kind == "unknown code":
        entry.codes = (*entry.codes, UNKNOWN_CODE)
    elif kind == "repeated code":
        entry.codes = (*entry.codes, entry.codes[0])
    elif kind == "blank after a comma":
        entry.codes = (entry.codes[0], f" {entry.codes[0]}")
    elif kind == "short record":
        entry.samples = SHORT_SAMPLES


def _write_record(place: Path, entry: MockRecord, seed: int) -> None:
    rng = np.random.default_rng([seed, 3, int(entry.name.lstrip("AEJQS"))])
    findings = {finding for abbreviation in entry.abbreviations for finding in FINDINGS_OF[abbreviation]}
    anatomy = draw_anatomy(rng, entry.age, entry.female)
    eight = simulate(sorted(findings), rng, anatomy, seconds=entry.samples / SAMPLING_RATE)
    if "ALR" in entry.abbreviations:
        eight[:, :2] = np.stack([-eight[:, 0], eight[:, 1] - eight[:, 0]], axis=1)
    values = digitise(eight)
    if entry.awkward == "missing samples":
        values[200:260, 7] = MISSING
    elif entry.awkward == "flat leads":
        values[:, 6:] = 0
    stem = place / f"g{entry.group}" / entry.name
    if entry.awkward != "missing header":
        stem.with_suffix(".hea").write_text(header_text(entry, values), encoding="ascii")
    if entry.awkward != "missing signal":
        content = matlab_bytes(values)
        stem.with_suffix(".mat").write_bytes(content[:40_000] if entry.awkward == "truncated file" else content)
    if entry.awkward == "occurs twice":
        for suffix in (".hea", ".mat"):
            (place / f"{entry.name}{suffix}").write_bytes(stem.with_suffix(suffix).read_bytes())


def header_text(entry: MockRecord, values: np.ndarray) -> str:
    """Return the header as released, or as the wfdb package writes it (`MockRecord.rewritten`); both forms are real."""
    name = f"{entry.name}.mat" if entry.awkward == "name with a dot" else entry.name
    form, gain, mark, date = "16+24", "1000/mV", "#", f" {entry.written:%d-%b-%Y %H:%M:%S}"
    if entry.rewritten and entry.awkward != "name with a dot":
        form, gain, mark, date = "16x1+24", "1000.0(0)/mV", "# ", ""
    sums = values.sum(axis=0, dtype=np.int64).astype(np.int16)  # signed in the release, unlike in most WFDB headers
    lines = [f"{name} 12 {SAMPLING_RATE} {len(values)}{date}"]
    lines += [
        f"{entry.name}.mat {form} {gain} 16 0 {first} {total} 0 {lead}"
        for lead, first, total in zip(LEADS, values[0], sums, strict=True)
    ]
    number = int(entry.name.lstrip("AEJQS"))
    age = "300" if entry.awkward == "impossible age" else "NaN" if number % 60 == 7 else str(entry.age)
    dx = "" if entry.awkward == "empty Dx" else ",".join(entry.codes)
    notes = [f"Age: {age}", f"Sex: {'Female' if entry.female else 'Male'}"]
    notes += [] if entry.awkward == "no Dx line" else [f"Dx: {dx}"]
    notes += ["Rx: Unknown", "Hx: Unknown"] + ([] if entry.name.startswith("E") else ["Sx: Unknown"])
    return "\n".join([*lines, *(f"{mark}{note}" for note in notes)]) + "\n"


def matlab_bytes(values: np.ndarray) -> bytes:
    """Return samples (samples, 12) int16 as a MATLAB v4 file with the matrix `val` (12, samples); 24 bytes come first.

    Format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf, level 4 MAT-files
    """
    return struct.pack("<5i4s", 30, values.shape[1], len(values), 0, 4, b"val\0") + values.astype("<i2").tobytes()
