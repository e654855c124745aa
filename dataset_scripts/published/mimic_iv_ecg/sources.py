"""The nine tables: where they lie, what their header must hold, and how DuckDB reads them row by row."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.published.mimic_iv_ecg.names import EVENTS, VITAL_SIGNS
from ecg_hub.errors import DataError
from ecg_hub.utils.remote import fetch

# What pandas reads as "no value": the published preparation reads every table with it.
NO_VALUE = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
)


@dataclass(frozen=True)
class TableSpec:
    """One of the nine tables.

    Attributes:
        stem: its file name without .gz.
        home: the folder it lies in within its release, "" for the top.
        columns: what must be there.
        page: where to get it.
        release: the release it is of, in words.
    """

    stem: str
    home: str
    columns: tuple[str, ...]
    page: str
    release: str


_PHYSIONET = "https://physionet.org/content"
_MIMIC_IV = (f"{_PHYSIONET}/mimiciv/3.1/", "MIMIC-IV")

RECORDS = TableSpec(
    "records_w_diag_icd10.csv",
    "",
    (
        *("study_id", "subject_id", "ecg_time", "all_diag_all", "gender", "age", "ecg_no_within_stay"),
        *("ecg_taken_in_ed", "fold", "strat_fold"),
    ),
    f"{_PHYSIONET}/mimic-iv-ecg-ext-icd-labels/1.0.1/",
    "MIMIC-IV-ECG-Ext-ICD",
)
MDS_ED = TableSpec(
    "mds_ed.csv",
    "",
    ("general_study_id", "general_data", "general_intime", *EVENTS),
    f"{_PHYSIONET}/multimodal-emergency-benchmark/1.0.0/",
    "MDS-ED",
)
MEASUREMENTS = TableSpec(
    "machine_measurements.csv",
    "",
    (
        *("study_id", "rr_interval", "qrs_onset", "qrs_end", "t_end", "p_axis", "qrs_axis", "t_axis"),
        *("p_onset", "p_end"),
    ),
    f"{_PHYSIONET}/mimic-iv-ecg/1.0/",
    "MIMIC-IV-ECG",
)
OMR = TableSpec("omr.csv", "hosp", ("subject_id", "chartdate", "result_name", "result_value"), *_MIMIC_IV)
LAB_ITEMS = TableSpec("d_labitems.csv", "hosp", ("itemid", "label"), *_MIMIC_IV)
LAB_EVENTS = TableSpec(
    "labevents.csv", "hosp", ("subject_id", "itemid", "storetime", "valuenum", "valueuom"), *_MIMIC_IV
)
CHART_ITEMS = TableSpec("d_items.csv", "icu", ("itemid", "label"), *_MIMIC_IV)
CHART_EVENTS = TableSpec(
    "chartevents.csv", "icu", ("subject_id", "itemid", "storetime", "valuenum", "valueuom"), *_MIMIC_IV
)
VITAL_SIGN = TableSpec(
    "vitalsign.csv",
    "ed",
    ("subject_id", "charttime", *sorted(VITAL_SIGNS)),
    f"{_PHYSIONET}/mimic-iv-ed/2.2/",
    "MIMIC-IV-ED",
)
PARTNERS = ((LAB_ITEMS, LAB_EVENTS), (CHART_ITEMS, CHART_EVENTS))
"""Tables that say nothing without each other."""

USED_FOR: Mapping[TableSpec, tuple[str, ...]] = {
    MDS_ED: ("mimic_deterioration", "mimic_icu", "mimic_mortality"),
    MEASUREMENTS: ("mimic_ecg_features",),
    OMR: ("mimic_biometrics",),
    LAB_EVENTS: ("mimic_lab_values",),
    CHART_EVENTS: ("mimic_biometrics", "mimic_lab_values", "mimic_vital_signs"),
    VITAL_SIGN: ("mimic_vital_signs",),
}
"""The tasks whose targets a table holds, or part of them; codes, age and sex are in the table of records."""

TABLES = (RECORDS, MDS_ED, MEASUREMENTS, OMR, LAB_ITEMS, LAB_EVENTS, CHART_ITEMS, CHART_EVENTS, VITAL_SIGN)


@dataclass(frozen=True)
class Source:
    """A table that was found and whose header is right.

    Attributes:
        spec: what it is.
        path: the file, plain or gzip.
        header: its columns.
        absent: whether the raw folder lacks it: the file is then an empty one that stands in.
    """

    spec: TableSpec
    path: Path
    header: tuple[str, ...]
    absent: bool = False

    @property
    def identity(self) -> str:
        """Name, size and time: what decides whether a step is done again."""
        # No time: the stand-in is written anew for each run, and that must not do a step again.
        if self.absent:
            return f"{self.path.name}\tabsent"
        state = self.path.stat()
        return f"{self.path.name}\t{state.st_size}\t{state.st_mtime_ns}"

    def rows(self, *columns: str) -> str:
        """Return SQL that yields `row` (0 for the first row of the file) and columns as text, NULL for no value."""
        # Columns that nobody reads get names of their own: a header may hold one twice, which DuckDB refuses.
        declared = {name if name in columns else f"{name}#{n}": "VARCHAR" for n, name in enumerate(self.header)}
        listed = ", ".join(f"{literal(name)}: '{kind}'" for name, kind in declared.items())
        absent = ", ".join(map(literal, NO_VALUE))
        taken = ", ".join(f'"{name}"' for name in columns)
        # One reader per file: a file that is read in pieces has no row numbers, and gzip cannot be anyway.
        return (
            f"(SELECT row_number() OVER () - 1 AS row, {taken} FROM read_csv({literal(self.path)}, auto_detect=false, "
            f"header=true, delim=',', quote='\"', escape='\"', parallel=false, nullstr=[{absent}], "
            f"columns={{{listed}}}))"
        )


def literal(value: object) -> str:
    """Return a value as an SQL text literal."""
    return "'" + str(value).replace("'", "''") + "'"


def number(column: str) -> str:
    """Return SQL that reads a text column as DOUBLE, NULL where it is no plain decimal number."""
    # By pattern first: DuckDB's cast takes words such as "inf" and "nan" too.
    pattern = r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*"
    return f"CASE WHEN regexp_full_match({column}, '{pattern}') THEN TRY_CAST(trim({column}) AS DOUBLE) END"


def find_tables(folder: Path, how_to_get: str = "") -> dict[TableSpec, Path]:
    """Return the files of the nine tables that are there.

    Each may lie at the top of the raw folder, in `data/`, or in the folder it has in its own release (hosp, icu, ed),
    plain or gzip; the first that exists is taken.
    """
    tables: dict[TableSpec, Path] = {}
    for spec in TABLES:
        candidates = [folder / home / (spec.stem + end) for home in ("", "data", spec.home) for end in ("", ".gz")]
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        if path is not None:
            tables[spec] = path
    if RECORDS not in tables:
        raise DataError(
            f"{str(folder)!r} lacks {RECORDS.stem}, without which there are no records, labels and folds. "
            f"{describe_missing(tables)} {how_to_get}".rstrip()
        )
    return tables


def describe_missing(present: Collection[TableSpec]) -> str:
    """Say which of the nine tables are not there, where they come from, and which tasks work without them."""
    missing = [spec for spec in TABLES if spec not in present]
    if not missing:
        return ""
    named = [f"{spec.home}/{spec.stem}.gz" if spec.home else spec.stem for spec in missing]
    listed = "; ".join(f"{name} ({spec.release}, {spec.page})" for name, spec in zip(named, missing, strict=True))
    hit = sorted({task for spec in missing for task in USED_FOR.get(spec, USED_FOR.get(_partner(spec), ()))})
    text = f"Missing are {len(missing)} of the nine tables of MIMIC-IV-ECG: {listed}. Access is credentialed: sign in "
    text += "on these pages, then put the files at the top of the folder."
    if RECORDS in missing:
        return text
    return f"{text} Without them {', '.join(hit)} lack targets or part of them; the other tasks are as published."


def _partner(spec: TableSpec) -> TableSpec:
    pairs = {one: other for pair in PARTNERS for one, other in (pair, pair[::-1])}
    return pairs.get(spec, spec)


def open_tables(folder: Path, work: Path) -> Mapping[TableSpec, Source]:
    """Return the nine tables after checking their headers; an empty one stands in for each that is not there."""
    tables = find_tables(folder)
    opened = {spec: open_table(spec, path) for spec, path in tables.items()}
    for spec in TABLES:
        if spec not in opened or _partner(spec) not in tables:
            opened[spec] = _stand_in(spec, work)
    return {spec: opened[spec] for spec in TABLES}


def _stand_in(spec: TableSpec, work: Path) -> Source:
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"absent-{spec.stem}"
    # A header without rows: every step runs as usual and finds nothing.
    path.write_text(",".join(spec.columns) + "\n", encoding="utf-8")
    return Source(spec, path, spec.columns, absent=True)


def open_table(spec: TableSpec, path: Path) -> Source:
    """Return one table after checking its header."""
    fetch(path)
    header = read_header(spec, path)
    absent = [name for name in spec.columns if name not in header]
    if absent:
        shown = ", ".join(map(repr, header[:12])) + (", ..." if len(header) > 12 else "")
        raise DataError(
            f"{str(path)!r} lacks the column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))}; it has "
            f"{shown or 'no columns'}. It may be of another release: get {spec.release} from {spec.page}."
        )
    repeated = sorted({name for name in spec.columns if header.count(name) > 1})
    if repeated:
        raise DataError(f"{str(path)!r} names the column {repeated[0]!r} twice; get it again from {spec.page}.")
    surplus = [name for name in header if "deterioration" in name and name not in EVENTS] if spec is MDS_ED else []
    if surplus:
        raise DataError(
            f"{str(path)!r} has the unknown target {surplus[0]!r}: the published tasks know fifteen deterioration "
            f"columns. It may be of another release: see {spec.page}."
        )
    return Source(spec, path, tuple(header))


def read_header(spec: TableSpec, path: Path) -> Sequence[str]:
    """Return the first line of a table as a list of names."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            return next(csv.reader(text), [])
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}). Get it again from {spec.page}.") from None
