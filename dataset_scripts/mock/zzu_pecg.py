"""Writes a ZZU pECG folder in its true format: three tables, Child_ecg/ with a gain and a baseline per lead.

Every twentieth record has nine leads, every twenty-fifth lasts five seconds. From about 1,000 records on every label of
the benchmark and all 19 disease categories occur, the labels in train, validation and test.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.mock.cases import awkward_cases, case_counts, check_rates, deal
from dataset_scripts.mock.simulator import draw_anatomy, simulate, twelve_leads
from dataset_scripts.mock.zzu_statements import DISEASES, MODIFIED, PLAIN_ROWS, STATEMENTS, Disease, Statement
from dataset_scripts.published.zzu_pecg import ATTRIBUTES, stratified_folds
from dataset_scripts.published.zzu_pecg import DISEASES as DISEASE_FILE
from dataset_scripts.published.zzu_pecg import STATEMENTS as STATEMENT_FILE

SAMPLING_RATE = 500
RECORDS_PER_FLOOR = 250
ILL = 0.26
MIN_SAMPLES = 5000
COLUMNS = (
    *("Filename", "ECG_ID", "Patient_ID", "Age", "Gender", "Acquisition_date", "Sampling_point", "Lead", "AHA_code"),
    *("CHN_code", "ICD-10 code", "pSQI", "basSQI", "bSQI"),
)
STATEMENT_COLUMNS = ("Description", "AHA(Category&Code)", "CHN(Category&Code)")
DISEASE_COLUMNS = ("Disease Type", "Disease Category", "ICD-10 Code", "ICD-10 Description")
LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
NOT_IN_NINE = ("V2", "V4", "V6")
AWKWARD = (
    *("truncated file", "missing file", "empty age", "unknown code", "no code", "repeated code", "missing samples"),
    *("other gender", "lead without number", "blank in codes"),
)
"""What `awkward=True` does to one record each, in this order, at the end of the table."""

CASES = (*STATEMENTS, *MODIFIED)
_BY_AHA = {statement.aha: statement for statement in STATEMENTS if statement.aha}
_NORMAL = ("A1", "A2")
_RHYTHMS = ("C21", "C22", "C23")
_MORPHOLOGY = tuple("IJKL")


@dataclass
class Person:
    """What stays the same in all records of a child."""

    number: int
    age_days: int
    male: bool
    diseases: tuple[Disease, ...]

    @property
    def name(self) -> str:
        """Its surrogate key."""
        return f"P{self.number:05d}"


@dataclass
class ZzuRecord:
    """One record to be written."""

    person: Person
    visit: int
    row: int
    statements: tuple[Statement, ...] = ()
    awkward: str = ""

    @property
    def name(self) -> str:
        """Its key: the child and the number of the visit."""
        return f"{self.person.name}_E{self.visit:02d}"

    @property
    def file(self) -> str:
        """Its files below Child_ecg/, without ending."""
        return f"{self.person.name[:3]}/{self.person.name}/{self.name}"

    @property
    def age_days(self) -> int:
        """Age at this visit."""
        return self.person.age_days + 40 * (self.visit - 1)

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads it has."""
        return tuple(lead for lead in LEADS if lead not in NOT_IN_NINE) if self.row % 20 == 13 else LEADS

    @property
    def seconds(self) -> int:
        """Its length: five or thirty seconds now and then, else ten."""
        # By row and not by chance: any tree of some size has records on both sides of the length rule.
        return 5 if self.row % 25 == 7 else 30 if self.row % 33 == 5 else 10


def write(folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None) -> dict[str, Any]:
    """Write the tree and return the thresholds that suit its size."""
    check_rates("ZZU pECG", (SAMPLING_RATE,), sampling_rates)
    entries = plan(records, seed)
    for entry, kind in awkward_cases(entries, AWKWARD, awkward, records):
        entry.awkward = kind
    for entry in entries:
        stem = folder / "Child_ecg" / entry.file
        stem.parent.mkdir(parents=True, exist_ok=True)
        _write_record(stem, entry, seed)
    _write_tables(folder, entries, seed)
    return {"min_count": _min_count(records)}


def plan(records: int, seed: int) -> list[ZzuRecord]:
    """Draw children, diseases and visits, then deal the statements over the folds that follow from these."""
    rng = np.random.default_rng([seed, 1])
    entries: list[ZzuRecord] = []
    while len(entries) < records:
        person = Person(1 + len(entries), _draw_age(rng), bool(rng.random() < 0.57), ())
        for visit in range(1, 1 + min(int(rng.choice([1, 2, 3], p=[0.84, 0.12, 0.04])), records - len(entries))):
            entries.append(ZzuRecord(person, visit, len(entries)))
    _make_ill(entries, records, rng)
    _state(entries, records, rng)
    return entries


def _min_count(records: int) -> int:
    return max(1, records // RECORDS_PER_FLOOR)


def _draw_age(rng: np.random.Generator) -> int:
    """Return an age from one day to fifteen years; one child in twenty is an infant."""
    return int(rng.integers(1, 365)) if rng.random() < 0.05 else int(rng.integers(365, 5400))


def _make_ill(entries: Sequence[ZzuRecord], records: int, rng: np.random.Generator) -> None:
    """Give a quarter of the children whose first record has twelve leads a disease, some of them two."""
    # A child seen with nine leads only never counts, so a disease given to it would be lost.
    children = [entry.person for entry in entries if entry.visit == 1 and entry.leads == LEADS]
    ill = [children[position] for position in rng.permutation(len(children))[: round(ILL * len(children))]]
    counts = case_counts(len(ill), [disease.weight for disease in DISEASES], records // RECORDS_PER_FLOOR)
    drawn = [disease for disease, count in zip(DISEASES, counts, strict=True) for _ in range(count)]
    for number, (child, disease) in enumerate(zip(ill, drawn, strict=True)):
        other = DISEASES[int(rng.integers(0, len(DISEASES)))]
        child.diseases = (disease, other) if number % 10 == 3 and other != disease else (disease,)


def _state(entries: Sequence[ZzuRecord], records: int, rng: np.random.Generator) -> None:
    """Deal the statements: those records that count get every statement, in all parts of the split."""
    standard = [entry for entry in entries if entry.leads == LEADS]
    # Statements steer no folds here, so they can be dealt over folds that are known already.
    folds = stratified_folds(
        [entry.person.name for entry in standard],
        [[disease.category for disease in entry.person.diseases] for entry in standard],
        [entry.person.male for entry in standard],
        [entry.age_days for entry in standard],
        _min_count(records),
    ).tolist()
    counted = [(entry, fold) for entry, fold in zip(standard, folds, strict=True) if entry.seconds >= 10]
    weights = [statement.weight for statement in CASES]
    counts = case_counts(len(counted), weights, records // RECORDS_PER_FLOOR)
    for (entry, _), case in zip(counted, deal(counts, [fold for _, fold in counted], rng), strict=True):
        entry.statements = _together(CASES[case], entry.person, rng)
    # Records that take part in nothing (nine leads, too short) get theirs by weight alone.
    share = np.array(weights) / np.sum(weights)
    for entry in entries:
        if not entry.statements:
            entry.statements = _together(CASES[int(rng.choice(len(CASES), p=share))], entry.person, rng)


def _together(case: Statement, person: Person, rng: np.random.Generator) -> tuple[Statement, ...]:
    """Return a statement with what the child's diseases bring and, now and then, a sinus rhythm out of range.

    A normal tracing stays alone: a sick child may have one.
    """
    if case.aha in _NORMAL:
        return (case,)
    stated = [case]
    if case.aha.startswith(_MORPHOLOGY) and rng.random() < 0.4:
        stated.append(_BY_AHA[_RHYTHMS[int(rng.integers(0, 3))]])
    return tuple(dict.fromkeys([*stated, *(_BY_AHA[disease.statement] for disease in person.diseases)]))


def _write_record(stem: Path, entry: ZzuRecord, seed: int) -> None:
    """Write one record as the original does: every lead fills the range of 16 bits."""
    anatomy = draw_anatomy(np.random.default_rng([seed, 2, entry.person.number]), 50.0, not entry.person.male)
    findings = {finding for statement in entry.statements for finding in statement.findings}
    rng = np.random.default_rng([seed, 3, entry.row])
    millivolt = twelve_leads(simulate(findings, rng, anatomy, float(entry.seconds), SAMPLING_RATE)).astype(np.float64)
    millivolt = millivolt[:, [LEADS.index(lead) for lead in entry.leads]]
    low, high = millivolt.min(axis=0), millivolt.max(axis=0)
    # Gain and baseline of each lead follow from its own range, as in the release.
    gain = 65_534.0 / (high - low)
    # Down to -32,767: the lowest integer marks a missing sample.
    baseline = np.rint(-32_767.0 - gain * low)
    values = np.clip(np.rint(millivolt * gain + baseline), -32_767, 32_767).astype(np.int16)
    if entry.awkward == "missing samples":
        values[100:160, 1] = -32_768
    sums = values.sum(axis=0, dtype=np.int64) % 65536
    lines = [f"{stem.name} {len(entry.leads)} {SAMPLING_RATE} {len(values)}"]
    lines += [
        f"{stem.name}.dat 16 {float(g)!r}({int(b)})/mV 16 0 {first} {total} 0 {lead}"
        for g, b, first, total, lead in zip(gain, baseline, values[0], sums, entry.leads, strict=True)
    ]
    lines += [f"# {'Male' if entry.person.male else 'Female'} {entry.age_days}d", f"# {_diseases(entry) or 'Null'}"]
    lines += [f"# {';'.join(statement.description for statement in entry.statements)}"]
    stem.with_suffix(".hea").write_text("\n".join(lines) + "\n", encoding="ascii")
    content = values.astype("<i2").tobytes()
    if entry.awkward != "missing file":
        short = content[: len(content) // 3]
        stem.with_suffix(".dat").write_bytes(short if entry.awkward == "truncated file" else content)


def _diseases(entry: ZzuRecord) -> str:
    return ";".join(disease.category for disease in entry.person.diseases)


def _write_tables(folder: Path, entries: Sequence[ZzuRecord], seed: int) -> None:
    rng = np.random.default_rng([seed, 4])
    _write_csv(folder / ATTRIBUTES, COLUMNS, (list(_row(entry, rng).values()) for entry in entries))
    statements = [(s.description, s.aha or "N/A", s.chn or "N/A") for s in STATEMENTS]
    _write_csv(folder / STATEMENT_FILE, STATEMENT_COLUMNS, [*statements, *PLAIN_ROWS])
    # The release breaks this line inside the cell.
    diseases = [(d.kind.replace("Congenital ", "Congenital \n"), d.category, d.code, d.category) for d in DISEASES]
    other = ("Other diseases(OD)", "Other diseases(OD)", "See attribute dictionary file", "Other diseases")
    _write_csv(folder / DISEASE_FILE, DISEASE_COLUMNS, [*diseases, other])


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


def _row(entry: ZzuRecord, rng: np.random.Generator) -> dict[str, Any]:
    """Return one row of AttributesDictionary.csv; codes and gender stand in single quotes."""
    odd = entry.awkward
    aha = _quoted(statement.aha or statement.description for statement in entry.statements)
    if odd in ("unknown code", "no code", "repeated code", "blank in codes"):
        aha = {
            "unknown code": "'Z999';'C21'",
            "no code": "Null",
            "repeated code": "'C21';'C21'",
            "blank in codes": " 'C21'; 'L147' ;",
        }[odd]
    visited = datetime(2018, 1, 1) + timedelta(minutes=int(rng.integers(0, 3_000_000)), days=40 * entry.visit)
    others = ("'J06.9'", "'R01.1'", "")[int(rng.integers(0, 3))]
    diseases = ";".join(filter(None, [_quoted(disease.code for disease in entry.person.diseases), others]))
    return {
        "Filename": entry.file,
        "ECG_ID": entry.name,
        "Patient_ID": entry.person.name,
        "Age": "" if odd == "empty age" else f"{entry.age_days}d",
        "Gender": "'Unknown'" if odd == "other gender" else "'Male'" if entry.person.male else "'Female'",
        "Acquisition_date": visited.isoformat(sep=" "),
        "Sampling_point": entry.seconds * SAMPLING_RATE,
        "Lead": "many" if odd == "lead without number" else len(entry.leads),
        "AHA_code": aha,
        "CHN_code": _quoted(statement.chn or statement.description for statement in entry.statements),
        "ICD-10 code": diseases or "Null",
        "pSQI": _per_lead(entry, rng.uniform(0.2, 0.8, 12)),
        "basSQI": _per_lead(entry, rng.uniform(0.9, 1.0, 12)),
        "bSQI": _per_lead(entry, rng.uniform(0.8, 1.0, 12)),
    }


def _quoted(codes: Iterable[str]) -> str:
    return ";".join(f"'{code}'" for code in codes)


def _per_lead(entry: ZzuRecord, values: np.ndarray) -> str:
    """Return a quality index as the table holds it, "Null" for absent leads."""
    shown = (f"{value:.3f}" if lead in entry.leads else "Null" for lead, value in zip(LEADS, values, strict=True))
    return ";".join(f"'{lead}':{text}" for lead, text in zip(LEADS, shown, strict=True))
