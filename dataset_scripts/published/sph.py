"""SPH (Liu et al., Scientific Data 2022, 10.1038/s41597-022-01403-5): 12 leads, 10 to 56 s, 500 Hz.

Raw folder: metadata.csv, records/<ECG_ID>.h5 (also records/records/) and, not needed, code.csv, as on figshare.
AHA_Code holds statements joined by ";", each a primary code with modifiers joined by "+" ("60+310;147"). `label_all`
takes the primary codes, `label_with_modifiers` the statements as they stand.

Folds: ten, by patient, by iterative stratification of the unfiltered statements with their modifiers, sex and age
group, over the whole table; so a record whose file is missing or damaged does not change those of the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.codes import read_codes
from dataset_scripts.core.folds import stratify_groups
from dataset_scripts.core.labels import split_by_fold
from dataset_scripts.core.spec import (
    ECGDataset,
    LabelTable,
    RawRecord,
    Rejected,
    Release,
    Scan,
    Signal,
    Source,
    split_sizes,
)
from dataset_scripts.readers.hdf5 import check_rows, opened, stored_array
from dataset_scripts.readers.signal_files import find_files, float_signal
from dataset_scripts.readers.tables import read_text_table
from ecg_hub.errors import DataError
from ecg_hub.leads import LEADS

if TYPE_CHECKING:
    import pandas as pd


TABLE = "metadata.csv"
CODES = "code.csv"
SIGNALS = "records"
NEEDED = ("ECG_ID", "AHA_Code", "Patient_ID", "Age", "Sex", "N")
FOLDS = 10

_NAME = re.compile(r"[\w.-]+")
_SEX = {"M": "male", "F": "female"}

# The published folds come from numbered labels: statements in the order of their text, then one that every record
# has, sex, and age group. "~" sorts behind every digit, so these names stand in the same order.
_EVERY_RECORD = "~0 every record"
_SEX_LABELS = {"male": "~1 male", "female": "~2 other", None: "~2 other"}
_AGE_LABELS = ((20, "~3 under 20"), (40, "~4 under 40"), (60, "~5 under 60"), (80, "~6 under 80"))
_OLDEST = "~7 80 or older"


class SPH(ECGDataset):
    """The database of Shandong Provincial Hospital, 25,770 records."""

    def signal_folders(self, sampling_rate: int) -> tuple[str, ...]:
        """Return records."""
        del sampling_rate
        return (SIGNALS,)

    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        """Read metadata.csv and make the folds; damaged rows are lost records."""
        import pandas as pd

        del sampling_rate
        table = read_text_table(data_dir / TABLE, NEEDED, self.page)
        files = find_files(data_dir, SIGNALS, ".h5")
        lost = [Rejected(f"line {line}", TABLE, reason) for line, reason in table.damaged]
        rows: dict[str, dict[str, Any]] = {}
        for line, cells in table.rows:
            try:
                values = _parse_row(cells)
                name = values["record_id"]
                if name in rows:
                    raise ValueError(f"ECG_ID {name!r} occurs a second time in line {line}")
                rows[name] = values | {"file": files.get(name, f"{SIGNALS}/{name}.h5")}
            except ValueError as error:
                lost.append(Rejected(cells["ECG_ID"].strip() or f"line {line}", TABLE, str(error)))
        for row, fold in zip(rows.values(), _folds(list(rows.values())), strict=True):
            row["strat_fold"] = int(fold)
        columns = ["record_id", "file", "patient_id", "age", "sex", *self.metadata_columns]
        return Scan(pd.DataFrame(list(rows.values()), columns=columns, dtype=object), lost=lost)

    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        """Read one HDF5 file of half-precision millivolts."""
        millivolt = read_h5(data_dir / record.file)
        listed = record.metadata["listed_samples"]
        # The length in the table shows a file that was cut short and can still be read.
        if len(millivolt) != listed:
            raise DataError(f"the file holds {len(millivolt)} samples per lead, {TABLE} says {listed}")
        return float_signal(millivolt.astype(np.float64) * 1000.0, self.sampling_rate)

    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        """Derive primary codes and whole statements; folds as made from the whole table."""
        del data_dir, thresholds
        statements = [cell.split(";") for cell in metadata["aha_code"]]
        # Tasks score the primary codes; with their modifiers they steer the folds.
        primary = [[statement.split("+")[0] for statement in row] for row in statements]
        fold = metadata["strat_fold"].to_numpy(dtype=np.int32)
        labels = {"label_all": primary, "label_with_modifiers": statements}
        return LabelTable(labels, fold, split_by_fold(fold, last=FOLDS - 1))

    def label_title(self, column: str, label: str) -> str:
        """Return a statement in words, its modifiers behind commas."""
        del column
        primary, *modifiers = label.split("+")
        codes = known_codes()
        parts = [codes.get(primary, ("", primary))[1], *(codes.get(code, ("", code))[1].lower() for code in modifiers)]
        return ", ".join(parts)


@lru_cache
def known_codes() -> dict[str, tuple[str, str]]:
    """Return every code of the release: code -> ("primary" or "modifier", description)."""
    return {row["code"]: (row["kind"], row["description"]) for row in read_codes("aha")}


def read_h5(path: Path) -> np.ndarray:
    """Read a file of one record, (samples, 12) float in millivolt as stored, leads in canonical order."""
    try:
        # A lock is of no use for reading, and some network file systems refuse it.
        with opened(path, locking=False) as file:
            array = stored_array(file, "ecg")
            if array is None:
                raise DataError(f"the file holds no array 'ecg', but {', '.join(map(repr, file)) or 'nothing'}")
            if array.ndim != 2 or array.shape[0] != len(LEADS) or array.dtype.kind != "f":
                raise DataError(f"'ecg' is {array.dtype} of shape {array.shape}, not float of ({len(LEADS)}, samples)")
            check_rows(array, len(LEADS), "the file")
            values: np.ndarray = array[:]
    except FileNotFoundError:
        raise DataError("the file is missing") from None
    except DataError:
        raise
    # ValueError and TypeError where the description of its numbers is damaged.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"the file is damaged or no HDF5 file: {reason}") from None
    return values.T


def _parse_row(cells: Mapping[str, str]) -> dict[str, Any]:
    """Return the columns of the store that come from the table; ValueError where a cell is damaged."""
    name, patient, sex = (cells[column].strip() for column in ("ECG_ID", "Patient_ID", "Sex"))
    if not _NAME.fullmatch(name):
        raise ValueError(f"ECG_ID {_short(name)} is not a name of a file")
    if not _NAME.fullmatch(patient):
        raise ValueError(f"Patient_ID {_short(patient)} is not an identifier")
    statements = parse_statements(cells["AHA_Code"])
    if sex and sex not in _SEX:
        raise ValueError(f"Sex {_short(sex)} is neither M nor F")
    return {
        "record_id": name,
        "patient_id": patient,
        "age": _age(cells["Age"]),
        "sex": _SEX.get(sex),
        "aha_code": ";".join(statements),
        "listed_samples": _samples(cells["N"]),
    }


def parse_statements(cell: str) -> list[str]:
    """Parse an AHA_Code cell such as "60+310;147" into its statements, repeats kept."""
    described = known_codes()
    statements = []
    for text in cell.split(";"):
        codes = [code.strip() for code in text.split("+")]
        kinds = [described.get(code, ("",))[0] for code in codes]
        if kinds != ["primary"] + ["modifier"] * (len(codes) - 1):
            raise ValueError(f"AHA_Code {_short(cell)}: {text.strip()!r} is not a primary code with its modifiers")
        statements.append("+".join(codes))
    return statements


def _folds(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the fold of every row; the labels beside the statements balance the numbers of records, sexes and ages."""
    labels = []
    for row in rows:
        age = row["age"]
        # An unknown age counts among the oldest.
        group = next((name for limit, name in _AGE_LABELS if age is not None and age < limit), _OLDEST)
        labels.append([*row["aha_code"].split(";"), _EVERY_RECORD, _SEX_LABELS[row["sex"]], group])
    return stratify_groups([row["patient_id"] for row in rows], labels, FOLDS)


def _age(cell: str) -> float | None:
    try:
        age = float(cell) if cell.strip() else None
    except ValueError:
        age = np.nan
    if age is not None and not 0 <= age <= 130:
        raise ValueError(f"Age {_short(cell)} is not an age in years")
    return age


def _samples(cell: str) -> int:
    if not cell.strip().isdecimal() or int(cell) < 1:
        raise ValueError(f"N {_short(cell)} is not a number of samples")
    return int(cell)


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else cell[:57] + "...")


_PRIMARY_COUNTS = {
    **{"1": 13907, "101": 154, "102": 6, "104": 84, "105": 1259, "106": 710, "108": 27, "120": 161, "121": 138},
    **{"125": 322, "140": 19, "142": 209, "143": 6, "145": 1831, "146": 1063, "147": 2220, "148": 24, "152": 9},
    **{"153": 88, "155": 32, "160": 52, "161": 120, "165": 91, "166": 7, "21": 725, "22": 2712, "23": 1553},
    **{"30": 556, "31": 4, "36": 64, "37": 20, "50": 676, "51": 99, "54": 13, "60": 1089, "80": 11, "81": 3},
    **{"82": 238, "83": 9, "84": 3, "85": 35, "86": 47, "87": 3, "88": 22},
}
_MODIFIED = {
    **{"145": 770, "145+362": 1024, "145+363": 37, "147": 2044, "147+367": 176, "160": 4, "160+330": 1},
    **{"160+332": 47, "161": 1, "161+330": 2, "161+331": 3, "161+332": 114, "165": 3, "165+330": 4, "165+331": 9},
    **{"165+332": 75, "166+332": 7, "30": 220, "30+308": 153, "30+310": 125, "30+340": 11, "30+341": 31},
    **{"30+349": 16, "50": 460, "50+346": 210, "50+347": 6, "60": 427, "60+308": 271, "60+310": 277, "60+340": 3},
    **{"60+341": 70, "60+342": 38, "60+350": 3},
}
"""The primary codes that occur with modifiers; all records of 166 have one."""

_STATEMENT_COUNTS = {code: n for code, n in _PRIMARY_COUNTS.items() if code != "166"} | _MODIFIED

DATASET = SPH(
    name="sph",
    title="SPH",
    versions=("1",),
    sampling_rates=(500,),
    access="open",
    redistribution=True,
    licence="CC-BY-4.0",
    citation=(
        "Liu, H., Chen, D., Chen, D., Zhang, X., Li, H., Bian, L., Shu, M., Wang, Y. A large-scale multi-label 12-lead "
        "electrocardiogram database with standardized diagnostic statements. Scientific Data 9, 272 (2022), "
        "10.1038/s41597-022-01403-5. Data: figshare, 10.6084/m9.figshare.c.5779802.v1. CC BY 4.0."
    ),
    page="https://doi.org/10.6084/m9.figshare.c.5779802.v1",
    label_columns=("label_all", "label_with_modifiers"),
    folds=(
        "ten folds by patient, by iterative stratification of the statements with modifiers, sex and age group: "
        "0 to 7 train, 8 validation, 9 test"
    ),
    metadata_columns={"aha_code": "string", "listed_samples": "int32", "strat_fold": "int32"},
    thresholds={"min_count": 10},
    table_files=(TABLE,),
    optional_files=(CODES,),
    signal_suffixes=(".h5",),
    description=(
        "25,770 records of 24,666 adults, 10 to 56 s at 500 Hz, from Shandong Provincial Hospital in Jinan, China, "
        "August 2019 to August 2020. Recorded with a MedEx MECG-200, which removes mains hum, baseline wander and "
        "muscle noise by itself. Cardiologists' diagnoses are given as AHA/ACC/HRS statements: 44 primary codes in "
        "eleven categories and 15 modifiers; 14.45% of the records carry more than one."
    ),
    problems=(
        "A primary code without its modifiers joins opposites: 145 (ST deviation) is depression with modifier 362 and "
        "elevation with 363. The published target leaves the modifiers out; label_with_modifiers keeps them.",
        "In 44 records a primary code occurs twice. Both count towards the minimum of ten; the label is set once.",
        "Some 320 records go beyond 10 mV and 88 beyond 32 mV, one to 1,590 mV (lost contact). The published "
        "preparation does not clip, so they take part; a lead beyond 32.767 mV is stored in coarser steps, as its "
        "half-precision samples are anyway, and the report says so.",
        "Records differ in length, so those with more windows have steadier scores; length itself may tell something "
        "of the diagnosis.",
        "records.tar.gz is a tar file that is not compressed: unpack it with tar -xf.",
        "Codes with some ten to thirty records (80, 54, 140, 37, 88, 148, 108) have one to three test positives.",
    ),
    releases=(
        Release(
            version="1",
            records=25_770,
            label_counts={"label_all": _PRIMARY_COUNTS, "label_with_modifiers": _STATEMENT_COUNTS},
            label_numbers={"label_all": 35, "label_with_modifiers": 48},
            label_hashes={
                "label_all": "c4684937b8aa616000ff6f989bc43473c3aeff004383a05fcc83816ac2eaac50",
                "label_with_modifiers": "e5aba0fb4f558569a0dae762fdff297da560adef98bfde6cc46b0cfa2a3b6edb",
            },
            fold_sizes=(2577,) * FOLDS,
            fold_sha256="c8d3d736795138828676345c36b99bafa8a0dbd497876d8353a8fc35633d0a4b",
            split_sizes=split_sizes(20_616, 2_577, 2_577),
        ),
    ),
    sources=(
        Source(
            host="figshare",
            ref="collections/5779802",
            files=(TABLE, CODES, "records.tar.gz"),
            unpack=True,
        ),
    ),
)
