"""PTB-XL (Wagner et al., Scientific Data 2020, 10.1038/s41597-020-0495-6): 12 leads, 10 s, 500 or 100 Hz.

Raw folder: ptbxl_database.csv, scp_statements.csv, records500/ (and records100/), as on PhysioNet.
Labels: every key of `scp_codes` counts, whatever its likelihood, 0.0 included. `label_diag`, `label_form` and
`label_rhythm` take the statements that scp_statements.csv flags so; `label_sub` and `label_super` map the diagnostic
ones to their subclass and class; `label_all` takes them all. Folds and splits are the shipped ones: 1-8, 9, 10.

Releases: 1.0.3 writes ages over 89 as 300 and lacks 38 records that 1.0.1 holds. An age of 300 becomes 90 with
`age_over_89` true (the true age is 90 or more); ages that 1.0.1 gives in clear stay. The 38 records take part unless
`exclude_removed=True`.

Facts about PTB-XL 1.0.3: occurrences of every label over all records, label hashes, folds.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.codes import read_codes
from dataset_scripts.core.labels import split_by_fold
from dataset_scripts.core.spec import (
    ECGDataset,
    Exclusion,
    LabelTable,
    RawRecord,
    Rejected,
    Release,
    Scan,
    Signal,
    Source,
    split_sizes,
)
from dataset_scripts.readers.tables import OLDEST, CellError, TextTable, flag, read_text_table
from ecg_hub.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


ALL = {
    "1AVB": 793, "2AVB": 14, "3AVB": 16, "ABQRS": 3327, "AFIB": 1514, "AFLT": 73, "ALMI": 288, "AMI": 353, "ANEUR":
    104, "ASMI": 2357, "BIGU": 82, "CLBBB": 536, "CRBBB": 541, "DIG": 181, "EL": 96, "HVOLT": 62, "ILBBB": 77,
    "ILMI": 478, "IMI": 2676, "INJAL": 145, "INJAS": 214, "INJIL": 15, "INJIN": 18, "INJLA": 17, "INVT": 294,
    "IPLMI": 51, "IPMI": 33, "IRBBB": 1118, "ISCAL": 659, "ISCAN": 44, "ISCAS": 169, "ISCIL": 179, "ISCIN": 218,
    "ISCLA": 140, "ISC_": 1272, "IVCD": 787, "LAFB": 1623, "LAO/LAE": 426, "LMI": 201, "LNGQT": 117, "LOWT": 438,
    "LPFB": 177, "LPR": 340, "LVH": 2132, "LVOLT": 182, "NDT": 1825, "NORM": 9514, "NST_": 767, "NT_": 423, "PAC":
    398, "PACE": 294, "PMI": 17, "PRC(S)": 10, "PSVT": 24, "PVC": 1143, "QWAVE": 548, "RAO/RAE": 99, "RVH": 126,
    "SARRH": 772, "SBRAD": 637, "SEHYP": 29, "SR": 16748, "STACH": 826, "STD_": 1009, "STE_": 28, "SVARR": 157,
    "SVTAC": 27, "TAB_": 35, "TRIGU": 20, "VCLVH": 875, "WPW": 79,
}  # fmt: skip
FORM = [
    "ABQRS",
    "DIG",
    "HVOLT",
    "INVT",
    "LNGQT",
    "LOWT",
    "LPR",
    "LVOLT",
    "NDT",
    "NST_",
    "NT_",
    "PAC",
    "PRC(S)",
    "PVC",
    "QWAVE",
    "STD_",
    "STE_",
    "TAB_",
    "VCLVH",
]
RHYTHM = ["AFIB", "AFLT", "BIGU", "PACE", "PSVT", "SARRH", "SBRAD", "SR", "STACH", "SVARR", "SVTAC", "TRIGU"]
BOTH = ["DIG", "LNGQT", "NDT", "NST_"]
"""Statements that are diagnostic and of form."""

SUPER = {"CD": 5761, "HYP": 2812, "MI": 6863, "NORM": 9514, "STTC": 5771}
SUB = {
    "AMI": 3374, "CLBBB": 536, "CRBBB": 541, "ILBBB": 77, "IMI": 3271, "IRBBB": 1118, "ISCA": 1012, "ISCI": 397,
    "ISC_": 1272, "IVCD": 787, "LAFB/LPFB": 1800, "LAO/LAE": 426, "LMI": 201, "LVH": 2132, "NORM": 9514, "NST_":
    767, "PMI": 17, "RAO/RAE": 99, "RVH": 126, "SEHYP": 29, "STTC": 2323, "WPW": 79, "_AVB": 823,
}  # fmt: skip

RELEASE = Release(
    version="1.0.3",
    records=21_799,
    label_counts={
        "label_all": ALL,
        "label_diag": {name: count for name, count in ALL.items() if name not in {*FORM, *RHYTHM} or name in BOTH},
        "label_form": {name: ALL[name] for name in FORM},
        "label_rhythm": {name: ALL[name] for name in RHYTHM},
        "label_sub": SUB,
        "label_super": SUPER,
    },
    label_numbers={
        "label_all": 71,
        "label_diag": 44,
        "label_form": 19,
        "label_rhythm": 12,
        "label_sub": 23,
        "label_super": 5,
    },
    label_hashes={
        "label_all": "d1e8d45a3fb09bd284f4ec7820318789df5e6d46b763d2ca4dbd158faf45e962",
        "label_diag": "b3acb79d8c7f0be3056cb32e48876af79726b7046abb543ff309a4e2e7aa1db4",
        "label_form": "755efef33e1702ec02cf1936e1fa455db166ab8da915fa07c70a10ef7096b8d4",
        "label_rhythm": "50198f24c06e7ca2af642e2549b9074ca6435bcff3d30d3fc73a4e517b09ea43",
        "label_sub": "2c423d45852ed3bd384b7bea0e9bb41e3395d1ce69ad2907f5d7509349563d69",
        "label_super": "fac0019a44c20e2344d52831e136834d5d34f5cfb1a43a446d9226db9688c8a6",
    },
    fold_sizes=(2175, 2181, 2192, 2174, 2174, 2173, 2176, 2173, 2183, 2198),
    fold_sha256="1e438abb8b5737e91871bd02a40302ac611c63e4f587bb12c0d95df1f4c7132b",
    split_sizes=split_sizes(17_418, 2_183, 2_198),
)
"""`label_super` and `label_sub` count a class once for every statement that maps to it."""

FIRST_RELEASE = Release(version="1.0.1", records=21_837)
"""38 records more; in which folds they stand is not known without its table."""


DATABASE = "ptbxl_database.csv"
STATEMENTS = "scp_statements.csv"
FOLDS = 10
AGE_OVER_89 = 300.0
FILE_COLUMNS = {500: "filename_hr", 100: "filename_lr"}
NEEDED = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold")
STATEMENT_COLUMNS = ("", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")

# ecg_id 1 to 21837 of release 1.0.1 that release 1.0.3 no longer holds.
REMOVED_IN_1_0_3 = frozenset(
    {137, 139, 140, 141, 142, 143, 145, 456, 458, 459, 461, 462, 2506, 2511, 3795, 3798, 3800, 3801, 3832, 5817}
    | {7777, 7779, 7782, 9821, 9825, 9888, 11810, 11814, 11815, 11817, 11838, 13791, 13793, 13796, 13797, 13799}
    | {15742, 18150}
)


@dataclass(frozen=True)
class Statement:
    """One row of scp_statements.csv.

    Attributes:
        diagnostic, form, rhythm: which kinds it is of.
        superclass: NORM, MI, STTC, CD, HYP, or "".
        subclass: one of the 23 subclasses, or "".
    """

    diagnostic: bool
    form: bool
    rhythm: bool
    superclass: str
    subclass: str


class PTBXL(ECGDataset):
    """PTB-XL, releases 1.0.1 and 1.0.3."""

    def label_title(self, column: str, label: str) -> str:
        """Return what a statement, class or subclass says."""
        kind = {"label_super": "superclass", "label_sub": "subclass"}.get(column, "statement")
        titles = {row["code"]: row["description"] for row in read_codes("scp") if row["column"] == kind}
        return titles.get(label, label)

    def known_release(self, version: str | None, thresholds: Mapping[str, Any]) -> Release | None:
        """Return the facts of 1.0.3 also for a copy of 1.0.1 without the records that 1.0.3 removed."""
        return super().known_release(None if thresholds.get("exclude_removed") else version, thresholds)

    def signal_folders(self, sampling_rate: int) -> tuple[str, ...]:
        """Return records500 or records100."""
        return (f"records{sampling_rate}",)

    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        """Read ptbxl_database.csv; damaged rows are lost records."""
        import pandas as pd

        file_column = FILE_COLUMNS[sampling_rate]
        table = read_text_table(data_dir / DATABASE, (*NEEDED, file_column), self.page)
        statements = read_statements(data_dir, self.page)
        rows: dict[int, dict[str, Any]] = {}
        lost = [Rejected(f"line {line}", DATABASE, reason) for line, reason in table.damaged]
        for line, cells in table.rows:
            try:
                number, values = _parse_row(cells, file_column, statements)
                if number in rows:
                    raise ValueError(f"ecg_id {number} occurs a second time in line {line}")
                rows[number] = values
            except ValueError as error:
                lost.append(Rejected(cells["ecg_id"] or f"line {line}", DATABASE, str(error)))
        columns = ["record_id", "file", "patient_id", "age", "sex", *self.metadata_columns]
        # By ecg_id: the hashes of the release run over the records in this order.
        ordered = pd.DataFrame([rows[number] for number in sorted(rows)], columns=columns, dtype=object)
        return Scan(ordered, lost=lost, version=detect_version(set(rows), table))

    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        """Read one WFDB record."""
        from ecg_hub.input.wfdb import read_record

        return read_record(data_dir / f"{record.file}.hea")

    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        """Derive the six label columns; folds and splits are as shipped."""
        statements = read_statements(data_dir, self.page)
        codes = [list(parse_codes(cell)) for cell in metadata["scp_codes"]]
        labels = {column: [_select(row, statements, column) for row in codes] for column in self.label_columns}
        fold = metadata["strat_fold"].to_numpy(dtype=np.int32)
        exclusions = []
        if thresholds["exclude_removed"]:
            removed = metadata["record_id"].astype(int).isin(REMOVED_IN_1_0_3).to_numpy()
            # Not counted, so that a copy of 1.0.1 gives the label lists of 1.0.3.
            exclusions.append(Exclusion("removed in release 1.0.3", removed, counted=False))
        return LabelTable(labels, fold, split_by_fold(fold, last=FOLDS), exclusions=exclusions)


def read_statements(data_dir: Path, page: str) -> dict[str, Statement]:
    """Read scp_statements.csv: code -> kinds and classes."""
    table = read_text_table(data_dir / STATEMENTS, STATEMENT_COLUMNS, page)
    try:
        return {
            cells[""]: Statement(
                diagnostic=bool(flag(cells, "diagnostic")),
                form=bool(flag(cells, "form")),
                rhythm=bool(flag(cells, "rhythm")),
                superclass=cells["diagnostic_class"],
                subclass=cells["diagnostic_subclass"],
            )
            for _, cells in table.rows
        }
    # Taken for "no", it would take the statement out of label columns in silence.
    except CellError as error:
        raise DataError(f"{str(data_dir / STATEMENTS)!r}: {error}. Get it again from {page}.") from None


def parse_codes(cell: str) -> dict[str, float]:
    """Parse an scp_codes cell such as "{'NORM': 100.0, 'SR': 0.0}"."""
    try:
        # The cell is a Python dictionary, whose single quotes are not JSON.
        codes = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        codes = None
    if not isinstance(codes, dict) or not all(isinstance(code, str) for code in codes):
        raise ValueError(f"scp_codes {_short(cell)} is not a dictionary of statements")
    return codes


def detect_version(ecg_ids: set[int], table: TextTable) -> str | None:
    """Return "1.0.1" if records are there that 1.0.3 removed, "1.0.3" if an age is written as 300, else None."""
    # No table states its release; it shows in what 1.0.3 removed and in how it hides high ages.
    if ecg_ids & REMOVED_IN_1_0_3:
        return "1.0.1"
    ages = [_number(cells["age"]) for _, cells in table.rows]
    if AGE_OVER_89 in ages:
        return "1.0.3"
    return "1.0.1" if any(age is not None and age > 89 for age in ages) else None


def _parse_row(
    cells: Mapping[str, str], file_column: str, statements: Mapping[str, Statement]
) -> tuple[int, dict[str, Any]]:
    """Return ecg_id and the columns of the store that come from the table; ValueError where a cell is damaged."""
    number = _whole(cells, "ecg_id")
    fold = _whole(cells, "strat_fold")
    if not 1 <= fold <= FOLDS:
        raise ValueError(f"strat_fold {fold} is not one of 1 to {FOLDS}")
    unknown = [code for code in parse_codes(cells["scp_codes"]) if code not in statements]
    if unknown:
        raise ValueError(f"scp_codes names {', '.join(map(repr, unknown))}, which {STATEMENTS} does not list")
    age = _cell_number(cells, "age")
    if age is not None and age != AGE_OVER_89 and not 0 <= age <= OLDEST:
        raise ValueError(f"age {_short(cells['age'])} is neither an age in years nor {AGE_OVER_89:g} (over 89)")
    return number, {
        "record_id": str(number),
        "file": _inside(cells[file_column], file_column),
        "patient_id": str(_whole(cells, "patient_id")) if cells["patient_id"] else None,
        # Release 1.0.3 writes 300 for every age over 89.
        "age": 90.0 if age == AGE_OVER_89 else age,
        "sex": _sex(cells),
        "age_over_89": None if age is None else age > 89,
        "strat_fold": fold,
        "scp_codes": cells["scp_codes"],
    }


def _sex(cells: Mapping[str, str]) -> str | None:
    value = _cell_number(cells, "sex")
    if value not in (None, 0.0, 1.0):
        raise ValueError(f"sex {cells['sex']!r} is neither 0 (male) nor 1 (female)")
    return None if value is None else ("male", "female")[int(value)]


def _select(codes: list[str], statements: Mapping[str, Statement], column: str) -> list[str]:
    """Return the labels of one record for one label column, repeats kept."""
    described = [(code, statements[code]) for code in codes]
    # Every statement counts whatever its likelihood, 0 included, as published; form and rhythm ones carry none.
    if column == "label_all":
        return codes
    # A class counts once for every statement that maps to it, which the count rule sees and the targets do not.
    if column == "label_super":
        return [s.superclass for _, s in described if s.diagnostic and s.superclass]
    if column == "label_sub":
        return [s.subclass for _, s in described if s.diagnostic and s.subclass]
    kind = {"label_diag": "diagnostic", "label_form": "form", "label_rhythm": "rhythm"}[column]
    return [code for code, s in described if getattr(s, kind)]


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _cell_number(cells: Mapping[str, str], name: str) -> float | None:
    """Return a cell as a number, None where it is empty; ValueError where it is something else."""
    value = _number(cells[name])
    if cells[name].strip() and (value is None or not np.isfinite(value)):
        raise ValueError(f"{name} {_short(cells[name])} is not a number")
    return value


def _whole(cells: Mapping[str, str], name: str) -> int:
    value = _number(cells[name])
    if value is None or not np.isfinite(value) or value != int(value):
        raise ValueError(f"{name} {_short(cells[name])} is not a whole number")
    return int(value)


def _inside(name: str, column: str) -> str:
    """Return a file name of the table after checking that it lies below the raw folder."""
    # A table from elsewhere must not make the reader leave the raw folder.
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{column} {_short(name)} is not a file of the raw folder")
    return name


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else cell[:57] + "...")


DATASET = PTBXL(
    name="ptb-xl",
    title="PTB-XL",
    versions=("1.0.3", "1.0.1"),
    sampling_rates=(500, 100),
    access="open",
    redistribution=True,
    licence="CC-BY-4.0",
    citation=(
        "Wagner, P., Strodthoff, N., Bousseljot, R., Samek, W., Schaeffter, T. PTB-XL, a large publicly available "
        "electrocardiography dataset (version 1.0.3). PhysioNet, 10.13026/kfzx-aw45. CC BY 4.0. "
        "Goldberger et al., PhysioBank, PhysioToolkit, and PhysioNet, Circulation 101(23), 2000."
    ),
    page="https://physionet.org/content/ptb-xl/1.0.3/",
    label_columns=("label_all", "label_diag", "label_form", "label_rhythm", "label_sub", "label_super"),
    folds="strat_fold as shipped, by patient: 1 to 8 train, 9 validation, 10 test",
    metadata_columns={"strat_fold": "int32", "scp_codes": "string", "age_over_89": "bool"},
    thresholds={"min_count": 10, "exclude_removed": False},
    table_files=(DATABASE, STATEMENTS),
    optional_files=("SHA256SUMS.txt",),
    description=(
        "21,799 clinical 12-lead ECGs of ten seconds from 18,869 patients, recorded with devices of Schiller AG "
        "between 1989 and 1996 and published by the Physikalisch-Technische Bundesanstalt. Up to two cardiologists "
        "annotated each record with SCP-ECG statements and their likelihoods; the statements are diagnostic, of form, "
        "or of rhythm."
    ),
    problems=(
        "Every statement counts as a label, whatever its likelihood, 0 included; form and rhythm ones carry none.",
        "Release 1.0.3 writes ages over 89 as 300; they become 90 here, with age_over_89 true.",
        "Release 1.0.3 lacks 38 records that 1.0.1 holds, so results on the two releases differ a little.",
        "22 of the 71 statements have fewer than ten positive records in fold 10: their AUROC has a wide interval.",
        "label_super, label_sub and label_diag are empty for 411 records, which stay in all splits without a label.",
    ),
    releases=(RELEASE, FIRST_RELEASE),
    sources=(Source(host="physionet", ref="ptb-xl/1.0.3"),),
)
