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

from dataset_scripts.mock.cases import awkward_cases, case_counts, check_rates
from dataset_scripts.mock.simulator import digitise, draw_anatomy, simulate
from dataset_scripts.published._challenge import FOLDS, SAMPLING_RATE, ChallengeDataset, first_rows
from dataset_scripts.published.challenge import CPSC2018, CPSC_EXTRA, GEORGIA, NINGBO
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
class ChallengeRecord:
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


PARTS: Mapping[str, Part] = {
    CPSC2018.name: Part(
        dataset=CPSC2018,
        long=(0.35, 30),
        cut=True,
        mean_age=60,
        written=datetime(2020, 5, 12, 12, 33, 59),
        other="Q0001",
        cases=parse_cases("""
            918 NSR | 976 AF | 1533 RBBB | 172 AF RBBB | 686 IAVB | 10 IAVB RBBB | 179 LBBB | 29 AF LBBB | 532 PAC
            55 PAC RBBB | 607 VEB | 51 VEB RBBB | 784 STD | 30 STD AF | 185 STE | 20 STE RBBB | 12 RBBB PAC VEB
        """),
    ),
    CPSC_EXTRA.name: Part(
        dataset=CPSC_EXTRA,
        long=(0.35, 30),
        cut=True,
        mean_age=63,
        written=datetime(2020, 5, 15, 15, 35, 30),
        other="A0001",
        cases=parse_cases("""
            330 NSSTTA | 300 OldMI | 110 OldMI NSSTTA | 60 OldMI STach | 90 MI | 60 MI NSSTTA | 70 MIs | 60 MIs NSSTTA
            110 STIAb | 60 STIAb NSSTTA | 60 STach NSSTTA | 70 Brady | 40 PVC NSSTTA | 30 PVC OldMI | 45 CMI
            40 LVH NSSTTA | 20 LVH OldMI | 40 AF NSSTTA | 30 CRBBB NSSTTA | 28 IAVB OldMI | 24 IRBBB NSSTTA
            20 PAC NSSTTA | 18 STE MI | 16 AnMI NSSTTA | 16 STD | 14 AFL | 14 SVPB NSSTTA | 12 SB OldMI
            11 ILBBB NSSTTA | 10 LAH NSSTTA | 10 AFAFL | 10 LBBB NSSTTA | 7 CHB | 6 TAb | 6 IIAVB OldMI | 5 RVH NSSTTA
            5 RAH NSSTTA | 4 ATach PAC NSSTTA | 3 SA NSSTTA | 3 VF
        """),
    ),
    GEORGIA.name: Part(
        dataset=GEORGIA,
        cut=True,
        mean_age=61,
        written=datetime(2020, 5, 5, 14, 50, 55),
        other="JS10647",
        cases=parse_cases("""
            175 NSR | 70 TAb | 50 TAb SB | 45 TAb LVH | 40 SB | 35 SB SA | 60 NSSTTA | 35 NSSTTA STach | 25 NSSTTA LAD
            40 STach | 35 STach LAE | 45 LQT TAb | 30 LQT STIAb | 20 LQT LIs | 35 LVH LAE | 25 LVH SB | 35 STIAb
            20 STIAb LAD | 20 LAD IAVB | 30 LIs LVH TAb | 20 LIs IIs | 25 IIs TInv | 20 LAE SB | 25 TInv TAb
            18 TInv STIAb | 30 IAVB | 20 IAVB SB | 30 PAC | 15 PAC QAb | 25 AF NSSTTA | 15 AF TAb | 20 RBBB
            12 RBBB LAD | 18 QAb STIAb | 15 SA | 20 IRBBB | 18 LQRSV TAb | 18 VPB | 10 VPB LAD | 14 AnMIs LIs
            14 AnMIs TInv | 18 LBBB | 6 LBBB LAE | 14 NSIVCB LAD | 12 AFL | 10 LAnFB LAD | 10 ERe SB | 9 STE SB | 8 BBB
            6 ILBBB LVH | 6 RVH RAD | 4 RAD STach | 5 AVB SB | 5 LAA SB | 5 VH TAb | 4 AH LVH | 4 AP | 4 VPP
            3 VEB LQT | 3 STD | 3 SVT | 2 ATach | 2 CRBBB | 2 LPFB RAD | 2 IIAVB | 2 AJR | 2 RAAb STach | 2 ALR SB
            2 RAb TAb
        """),
    ),
    NINGBO.name: Part(
        dataset=NINGBO,
        mean_age=58,
        written=datetime(2021, 3, 25, 14, 20, 37),
        other="JS00001",
        cases=parse_cases("""
            260 SB | 60 SB TAb | 45 SB LVHV | 30 SB SA | 25 SB STC TAb | 20 SB ERe | 20 SB CVCL/CCVCL | 15 SB LAD
            15 SB STIAb | 110 NSR | 30 NSR TAb | 22 NSR LVHV | 20 NSR PAC | 20 NSR PVC | 15 NSR TInv | 12 NSR LQRSV
            10 NSR QAb | 10 NSR RAD | 100 STach | 35 STach STC TAb | 20 STach TInv | 12 STach RAD | 10 STach LQRSV
            80 AFL | 45 AFL STC | 35 AFL TAb | 25 AFL LVHV | 20 AFL PVC | 15 AFL CRBBB | 12 AFL STD | 50 SA
            15 SA STIAb | 35 PR | 25 NSR TInv TAb | 20 STD LVHV NSR | 14 LVH STC SB | 10 LVH LVHV NSR | 22 CRBBB NSR
            12 CRBBB SB | 20 IAVB SB | 12 IAVB NSR | 18 LAD NSR | 16 PRWP NSR | 14 NSIVCB SB | 10 BBB NSR
            10 LAnFB LAD NSR | 9 LQT SB | 8 IRBBB SB | 8 ARH | 8 CLBBB NSR | 3 LBBB SB | 7 TPW STach | 6 RBBB SB
            6 ATach | 5 AVJR | 5 SVT | 4 UAb SB | 4 FB NSR | 4 PVT | 4 PPW NSR | 4 RVH RAD NSR | 4 VEsR | 3 MI SB
            3 AVB SB | 3 CHB | 3 WPW NSR | 3 BPAC NSR | 3 JE SB | 3 AVD SB | 3 VF | 3 IIAVB SB | 3 AnMI NSR
            3 AMI STach | 3 VEsB SB | 2 PWC SB | 2 LPR SB | 2 RAH STach | 2 SARR SB | 2 RAHV NSR | 2 MoI NSR | 2 JTach
            2 SPRI STach | 2 AVRT | 2 AED SB | 2 AAR | 2 AIVR | 2 AJR | 2 JPC SB
        """),
    ),
}
"""The parts with a mock tree, by the name of the dataset; cases are what occurs together, and how often."""


def write(
    name: str, folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None
) -> dict[str, Any]:
    """Write the tree of a part and return the thresholds that suit its size."""
    part = PARTS[name]
    title = part.dataset.title
    check_rates(title, (SAMPLING_RATE,), sampling_rates)
    entries = plan(part, records, seed)
    for entry, kind in awkward_cases(entries, AWKWARD, awkward, records):
        _spoil(entry, kind, part)
    part_folder = folder / "training" / part.dataset.part
    for group in {entry.group for entry in entries}:
        (part_folder / f"g{group}").mkdir(parents=True)
    for entry in entries:
        _write_record(part_folder, entry, seed)
    (folder / "LICENSE.txt").write_text(NOTICE, encoding="ascii")
    return {"min_count": max(1, records // RECORDS_PER_FLOOR), "folds": FOLDS if records >= SMALL else 5}


def plan(part: Part, records: int, seed: int) -> list[ChallengeRecord]:
    """Draw the records in the order of their names: cases, lengths, people."""
    names = part.dataset.names
    most = names.last - names.first + 1
    if records > most:
        raise InputError(f"records={records!r}: {part.dataset.title} has names for {most} records; pass that or fewer.")
    rng = np.random.default_rng([seed, 1])
    # Names must not be taken for positions.
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
        _entry(part, names.name(number), position, drawn[case][1], np.random.default_rng([seed, 2, number]))
        for position, (number, case) in enumerate(zip(numbers, rng.permutation(records), strict=True))
    ]


def _entry(
    part: Part, name: str, position: int, abbreviations: tuple[str, ...], rng: np.random.Generator
) -> ChallengeRecord:
    # Reversed, so that the first code of an abbreviation wins, as in reading.
    code_of = {row["abbreviation"]: row["code"] for row in reversed(first_rows(part.dataset.code_table))}
    share, longest = part.long
    seconds = 10.0 if rng.random() >= share else float(rng.uniform(10, longest))
    samples = round(seconds * SAMPLING_RATE)
    return ChallengeRecord(
        name=name,
        group=1 + position // GROUP,
        codes=tuple(code_of[abbreviation] for abbreviation in abbreviations),
        abbreviations=abbreviations,
        samples=SHORT_SAMPLES if part.cut and position % ONE_SHORT_IN == ONE_SHORT_IN // 2 else samples,
        age=int(np.clip(rng.normal(part.mean_age, 16), 4, 98)),
        female=bool(rng.random() < 0.44),
        written=part.written + timedelta(seconds=11 * position),
        rewritten=bool(rng.random() < 0.2),
    )


def _spoil(entry: ChallengeRecord, kind: str, part: Part) -> None:
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


def _write_record(part_folder: Path, entry: ChallengeRecord, seed: int) -> None:
    # By the record's own number: its signal stays the same when others are added or left out.
    rng = np.random.default_rng([seed, 3, int(entry.name.lstrip("AEJQS"))])
    findings = {finding for abbreviation in entry.abbreviations for finding in FINDINGS_OF[abbreviation]}
    anatomy = draw_anatomy(rng, entry.age, entry.female)
    eight = simulate(sorted(findings), rng, anatomy, seconds=entry.samples / SAMPLING_RATE)
    if "ALR" in entry.abbreviations:
        # Arms exchanged: lead I turns over, and II becomes what III was.
        eight[:, :2] = np.stack([-eight[:, 0], eight[:, 1] - eight[:, 0]], axis=1)
    values = digitise(eight)
    if entry.awkward == "missing samples":
        values[200:260, 7] = MISSING
    elif entry.awkward == "flat leads":
        values[:, 6:] = 0
    stem = part_folder / f"g{entry.group}" / entry.name
    if entry.awkward != "missing header":
        stem.with_suffix(".hea").write_text(header_text(entry, values), encoding="ascii")
    if entry.awkward != "missing signal":
        # 40,000 bytes are a third of ten seconds: enough for a header and not for the samples it announces.
        content = matlab_bytes(values)
        stem.with_suffix(".mat").write_bytes(content[:40_000] if entry.awkward == "truncated file" else content)
    if entry.awkward == "occurs twice":
        for suffix in (".hea", ".mat"):
            (part_folder / f"{entry.name}{suffix}").write_bytes(stem.with_suffix(suffix).read_bytes())


def header_text(entry: ChallengeRecord, values: np.ndarray) -> str:
    """Return the header as released, or as the wfdb package writes it (`rewritten`); both forms are real."""
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
