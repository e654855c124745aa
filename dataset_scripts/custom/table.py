"""The table of a user's archive, each row checked for itself, and the folds, splits and targets that it gives."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.core.folds import stratify_groups
from dataset_scripts.core.labels import split_by_fold
from dataset_scripts.custom.cells import (
    check_separator,
    decoded_table,
    is_unknown,
    label_parts,
    refuse_guessed_letters,
    shown,
)
from dataset_scripts.custom.description import Columns, Description, Folds
from dataset_scripts.custom.files import same_name
from dataset_scripts.formats.channels import need
from dataset_scripts.readers.tables import TextTable, check_workbook, is_nothing
from ecg_hub.errors import DataError, did_you_mean
from ecg_hub.utils.untrusted import check_channels, plain_file, reading

if TYPE_CHECKING:
    import pandas as pd


logger = logging.getLogger(__name__)

TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".xlsx")
SPLIT_WORDS = {
    **{"train": "train", "training": "train", "validation": "validation", "val": "validation", "valid": "validation"},
    **{"test": "test", "testing": "test"},
}
OLDEST = 130.0
MAX_CELLS = 50_000_000
"""Most cells of a table of own data: a million records with fifty columns."""

_FEW_WORDS = 5
_FAR = 20.0
"""Times the distance between the quartiles, beyond which a value that repeats is hardly a measured one."""
# 089Y, 018M, 006W and 045D are the ages of DICOM (PS3.5, value representation AS); people write the words.
_AGE = re.compile(
    r"(\d{1,3}(?:[.,]\d+)?)\s*-?(y(?:(?:ea)?rs?)?|yo|a(?:n(?:s|nos|os|ni)?|ños?)?|j(?:ahre?|aar)?|m(?:o(?:nths?|nate?)?)?|w(?:eeks?)?|"
    r"d(?:ays?)?)\.?(?:\s*old)?",
    re.IGNORECASE,
)
_SEX_OR_MONTHS = re.compile(r"(?!\d{3}M$)\d{1,3}\s*-?m\.?|\d{1,3}\s*-?f\.?", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[-+]?(?:\d+,(?:\d{1,2}|\d{4,})|0,\d+)(?:[eE][-+]?\d+)?")
# By the first letter: year, an, año; Jahr, jaar; month, week, day.
_YEARS = {"y": 1.0, "a": 1.0, "j": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}
_OLDER = re.compile(
    r"(?:[<>≥≤]=?\s*\d{1,3}|\d{1,3}\s*\+|(?:over|above|older than|under)\s*\d{1,3})\s*(?:y|years?)?", re.IGNORECASE
)
_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


@dataclass(frozen=True)
class Row:
    """One row of the table, checked.

    Attributes:
        record: name of the record.
        file: the cell of the column `file`, or "".
        patient, age, sex: None where the cell is empty or there is no such column.
        labels: as derived, repeats kept.
        targets: one per target, None where the cell is empty.
        fold: the cell of the column `fold` or `split`, or "".
        remark: what of the row is odd and no reason to lose the record.
    """

    record: str
    file: str
    patient: str | None
    age: float | None
    sex: str | None
    labels: list[str]
    targets: list[float | None]
    fold: str
    remark: str = ""


def read_table(path: Path, columns: Columns, encoding: str | None = None) -> TextTable:
    """Read a table as text."""
    ending = path.suffix.lower()
    if ending not in TABLE_ENDINGS:
        raise DataError(f"{str(path)!r}: a table ends in {', '.join(TABLE_ENDINGS)}.")
    if not path.is_file():
        raise DataError(f"The table {str(path)!r} does not exist. Correct `table` or `folder` in the description.")
    if ending in (".csv", ".tsv", ".txt"):
        names, table = _text_table(path, columns, encoding)
    else:
        names, table = _typed_table(path, ending)
    _check_columns(path, names, columns)
    if not table.rows and not table.damaged:
        raise DataError(f"The table {str(path)!r} has no rows.")
    _check_words(path, table, columns)
    if columns.age:
        _refuse_sex_in_age(path, [cells[columns.age].strip() for _, cells in table.rows], columns.age)
    check_separator(path, table, columns)
    return table


def parse_row(cells: Mapping[str, str], columns: Columns) -> Row:
    """Check the cells of one row."""
    record = cells[columns.record].strip()
    # Of words for "nothing" the empty cell and NaN alone: a record may be named NA or null.
    if not record or record.lower() == "nan":
        raise ValueError(f"column {columns.record!r} (record) is empty")
    age, remark = _age(cells, columns.age) if columns.age else (None, "")
    return Row(
        record=record,
        file=cells[columns.file].strip() if columns.file else "",
        patient=_known(cells, columns.patient) if columns.patient else None,
        age=age,
        sex=_sex(cells, columns),
        labels=_labels(cells, columns),
        targets=[_number(cells, column) for column in columns.target_columns()],
        fold=_fold(cells, columns),
        remark=remark,
    )


def _known(cells: Mapping[str, str], column: str) -> str | None:
    """Return a cell without outer blanks, None where it says that nothing is known."""
    cell = cells[column].strip()
    return None if is_unknown(cell) else cell


def _sex(cells: Mapping[str, str], columns: Columns) -> str | None:
    cell = cells[columns.sex].strip().lower() if columns.sex else ""
    return columns.sexes().get(cell) if cell else None


def _labels(cells: Mapping[str, str], columns: Columns) -> list[str]:
    if isinstance(columns.labels, str):
        return label_parts(cells[columns.labels], columns.labels, columns.separator)
    labels = []
    for column, label in columns.label_columns().items():
        cell = cells[column].strip().lower()
        if cell not in _FLAGS:
            raise ValueError(f"column {column!r} holds {shown(cells[column])}; 0 or 1 is expected")
        if _FLAGS[cell]:
            labels.append(label)
    return labels


def _number(cells: Mapping[str, str], column: str) -> float | None:
    cell = cells[column].strip()
    if is_nothing(cell):
        return None
    value = _decimal(cell)
    if not math.isfinite(value):
        raise ValueError(f"column {column!r} holds {shown(cells[column])}; a number is expected")
    return value


def _decimal(text: str) -> float:
    """Return a number, also with a decimal comma; NaN for anything else."""
    try:
        # 1,234 may be a thousand: one comma with three digits behind it is never taken for a decimal one.
        return float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text)
    except ValueError:
        return math.nan


def _age(cells: Mapping[str, str], column: str) -> tuple[float | None, str]:
    """Return an age in years, or None with a remark: no record is lost for it, as in the published datasets."""
    cell = _known(cells, column)
    if cell is None:
        return None, ""
    if _OLDER.fullmatch(cell):
        return None, f"the age {cell} is no number of years and counts as unknown"
    spelled = _AGE.fullmatch(cell)
    age = _decimal(spelled[1]) * _YEARS[spelled[2][:1].lower()] if spelled else _number(cells, column)
    if age is not None and not 0 <= age <= OLDEST:
        # A column of birth dates is no column of ages, and no remark repeats one.
        if age >= 1000:
            return None, f"the age is not within 0 to {OLDEST:g} years and counts as unknown"
        # Releases write 300 where somebody is older than 89, others 999 or -1 where nothing is known.
        return None, f"the age {age:g} is not within 0 to {OLDEST:g} years and counts as unknown"
    return age, ""


def _fold(cells: Mapping[str, str], columns: Columns) -> str:
    if columns.split:
        cell = cells[columns.split].strip().lower()
        return "" if is_unknown(cell) else SPLIT_WORDS[cell]
    value = _number(cells, columns.fold) if columns.fold and _known(cells, columns.fold) else None
    if value is None:
        return ""
    if value != int(value) or value < 0:
        held = shown(cells[str(columns.fold)])
        raise ValueError(f"column {columns.fold!r} holds {held}; a fold is a whole number from 0")
    return str(int(value))


def _check_columns(path: Path, names: list[str], columns: Columns) -> None:
    absent = [name for name in columns.needed() if name not in names]
    if absent:
        hints = "".join(did_you_mean(name, names) for name in absent[:3])
        held = ", ".join(map(repr, names)) or "no columns"
        # A table without a header begins with a patient.
        if not hints and len(absent) == len(columns.needed()):
            held = f"{len(names)} columns, none of them named in the description; its first line must hold their names"
        raise DataError(
            f"The table {str(path)!r} lacks the column{'s' if len(absent) > 1 else ''} "
            f"{', '.join(map(repr, absent))}.{hints} It has: {held}."
        )
    twice = [name for name in columns.needed() if names.count(name) > 1]
    if twice:
        raise DataError(f"The table {str(path)!r} has the column {twice[0]!r} twice; rename or delete one of them.")


def _check_words(path: Path, table: TextTable, columns: Columns) -> None:
    """Refuse words that nobody explained, for the whole table at once: they are a matter of the description."""
    checks: list[tuple[str, Mapping[str, object], str]] = []
    if columns.sex:
        remedy = (
            f"say what it means, e.g. sex_values: {{'%s': null}} under columns (known: {', '.join(columns.sexes())})"
        )
        checks.append((columns.sex, columns.sexes(), remedy))
    if columns.split:
        checks.append((columns.split, SPLIT_WORDS, f"%s is none of {', '.join(SPLIT_WORDS)}"))
    for column, allowed, remedy in checks:
        cells = (cells[column].strip() for _, cells in table.rows)
        unknown = sorted({cell for cell in cells if not is_unknown(cell) and cell.lower() not in allowed})
        # Many different words are another column's, perhaps one of names: none of them is repeated.
        if len(unknown) > min(_FEW_WORDS, max(1, len(table.rows) // 4)):
            raise DataError(
                f"The table {str(path)!r}: column {column!r} holds {len(unknown)} different words besides "
                f"{', '.join(map(repr, allowed))}: is it the right column?"
            )
        if unknown:
            raise DataError(
                f"The table {str(path)!r}: column {column!r} holds {', '.join(map(repr, unknown))}; "
                f"{remedy % unknown[0]}."
            )


def _refuse_sex_in_age(path: Path, cells: Sequence[str], column: str) -> None:
    """Refuse 45M, a man of 45 or 45 months, in a column that states no other unit of age; 018M of DICOM is months."""
    doubtful = [cell for cell in cells if _SEX_OR_MONTHS.fullmatch(cell)]
    women = [cell for cell in doubtful if cell.strip(".")[-1] in "fF"]
    units = any(_AGE.fullmatch(cell) for cell in cells if cell not in doubtful)
    if women or (doubtful and not units):
        raise DataError(
            f"The table {str(path)!r}: column {column!r} holds {(women or doubtful)[0]!r}, and nothing says whether "
            "letters there are the sex or a unit. Write plain numbers of years and the sex in a column of its own, or "
            "the unit in words (45 months, 45 years)."
        )


def _text_table(path: Path, columns: Columns, encoding: str | None) -> tuple[list[str], TextTable]:
    """Read CSV: comma, semicolon or tab. A row whose cells do not fit the header is damaged."""
    rows: list[tuple[int, Mapping[str, str]]] = []
    damaged: list[tuple[int, str]] = []
    try:
        plain_file(path)
        text, guessed = decoded_table(path, encoding)
        content, skipped, separator = _below_remarks(text.replace("\0", ""))
        # Kept line by line with its ends: a cell in quotation marks may hold a line break.
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator)
        names = [name.strip() for name in next(reader, [])]
        check_channels(len(names), f"the table {str(path)!r}")
        for cells in reader:
            line = reader.line_num + skipped
            # Some programs end every row with a separator, and the line of names without one.
            while len(cells) > len(names) and not cells[-1].strip():
                cells.pop()
            if len(cells) == len(names):
                rows.append((line, dict(zip(names, cells, strict=True))))
            elif any(cell.strip() for cell in cells):
                damaged.append((line, f"{len(cells)} cells in a table of {len(names)} columns"))
    except (csv.Error, OSError) as error:
        raise DataError(f"The table {str(path)!r} cannot be read as CSV: {error}.") from None
    if guessed:
        refuse_guessed_letters(path, columns.needed(), names, rows)
    return names, TextTable(rows, damaged)


def _below_remarks(text: str) -> tuple[str, int, str]:
    """Return a table from its line of names on, how many lines stand before that, and its separator.

    Before it: empty lines, remarks that begin with #, and Excel's "sep=;".
    """
    lines = io.StringIO(text, newline="")
    skipped, begin, said = 0, 0, ""
    while line := lines.readline():
        bare = line.strip()
        directive = re.fullmatch(r'"?sep=(.)"?', bare, re.IGNORECASE)
        if bare and not bare.startswith("#") and directive is None:
            break
        said = directive[1] if directive else said
        skipped, begin = skipped + 1, lines.tell()
    return text[begin:], skipped, said or max(",;\t|", key=line.count)


def _typed_table(path: Path, ending: str) -> tuple[list[str], TextTable]:
    """Read Parquet or Excel and turn every cell into text."""
    import pandas as pd

    with reading(f"The table {str(path)!r}"):
        if ending == ".xlsx":
            need("openpyxl")
            check_workbook(path)
            frame = pd.read_excel(path, dtype=object, keep_default_na=False, na_values=[""])
        else:
            frame = _parquet_frame(path)
        # Column names of a workbook may be numbers or dates.
        names = [str(name).strip() for name in frame.columns]
        # Text of Parquet is decoded where it is looked at, and may be none.
        columns = [[_cell(value) for value in frame.iloc[:, k]] for k in range(len(names))]
    first = 2 if ending == ".xlsx" else 1
    rows = [(first + n, dict(zip(names, cells, strict=True))) for n, cells in enumerate(zip(*columns, strict=True))]
    return names, TextTable(rows, ())


def _parquet_frame(path: Path) -> pd.DataFrame:
    """Read a table, unless it has more cells than fit into memory; a cell that repeats takes no room in the file."""
    import pyarrow.parquet as pq

    plain_file(path)
    about = pq.read_metadata(path)
    cells = about.num_rows * about.num_columns
    if cells > MAX_CELLS:
        raise DataError(f"The table {str(path)!r} has {cells:,} cells; up to {MAX_CELLS:,} are read")
    # As they are in the file: pandas makes floats of whole numbers beside an empty cell, and two patients or codes of
    # more than 15 digits then become one; its own types have marks for "nothing" that refuse comparison.
    frame: pd.DataFrame = pq.read_table(path).to_pandas(integer_object_nulls=True, ignore_metadata=True)
    return frame


def _cell(value: Any) -> str:
    """Return a typed cell as text: whole numbers without decimals, nothing for missing, lists as JSON."""
    if isinstance(value, list | tuple | np.ndarray):
        # Not joined by the separator, which a label may hold.
        return json.dumps([_cell(item) for item in value], ensure_ascii=False)
    if isinstance(value, dict):
        return json.dumps({key: item for key, item in value.items() if item is not None}, default=float)
    # NaN is not equal to itself; pandas' other marks for "nothing" refuse comparison and show by their text.
    if value is None or value != value or str(value) in ("<NA>", "NaT"):
        return ""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    # A column of whole numbers with a gap holds floats: record 101.0 is record 101.
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def folds_and_splits(
    about: Description, metadata: pd.DataFrame, labels: Sequence[Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return fold and split of every row: as in the table, else stratified with all records of a patient together."""
    ids, patients = metadata["record_id"].tolist(), metadata["patient_id"].tolist()
    # A record without patient is a group of its own; the prefix keeps the two kinds of names apart.
    spelled: dict[str, str] = {}
    for patient in patients:
        if patient is not None and patient == patient:
            # P01 and p01, 007 and 7 are one patient: two groups of them could stand on both sides of a split.
            spelled.setdefault(same_name(patient), patient)
    groups = [
        f"record {i}" if p is None or p != p else f"patient {spelled[same_name(p)]}"
        for i, p in zip(ids, patients, strict=True)
    ]
    _warn_of_one_patient(groups)
    cells = metadata["table_fold"].tolist()
    if about.columns is not None and about.columns.split:
        order = {"train": 0, "validation": 1, "test": 2}
        split = np.array(cells, dtype=object)
        fold = np.array([order.get(cell, -1) for cell in cells], dtype=np.int32)
    elif about.columns is not None and about.columns.fold:
        fold = np.array([int(cell) if cell else -1 for cell in cells], dtype=np.int32)
        # The two highest that there are: of the folds 1, 2 and 4, nothing would be validation by their numbers.
        present = np.unique(fold[fold >= 0]).tolist()
        parts = dict(zip(reversed(present), ("test", "validation"), strict=False))
        split = np.array([parts.get(number, "train") if number >= 0 else "" for number in fold.tolist()], dtype=object)
    else:
        rule = about.folds or Folds()
        # Records without a label are a stratum too; by the published rule alone they would have no fold.
        fold = stratify_groups(groups, [row or [""] for row in labels], rule.number, rule.seed)
        return fold, split_by_fold(fold, last=rule.number - 1)
    # Checked where folds come from the table; those made above are by patient anyway.
    _refuse_shared_patients(groups, split, ids)
    return fold, split


def _warn_of_one_patient(groups: Sequence[str]) -> None:
    """Say where one patient has most of an archive's records: 0 or -1 is how many tables write "unknown"."""
    (_, most), *others = Counter(groups).most_common() or [("", 0)]
    if most >= 10 and most > len(groups) / 4 and len(others) >= 4:
        logger.warning(
            "One of %d patients has %d of %d records. If its number stands for unknown (0, -1), leave those cells of "
            "the table empty: the records of a patient all lie in one fold.",
            len(others) + 1,
            most,
            len(groups),
        )


def warn_of_spellings(labels: Sequence[Sequence[str]]) -> None:
    """Say which labels differ in case or blanks alone: each has part of the records, and is scored for itself."""
    alike: dict[str, set[str]] = defaultdict(set)
    for label in {label for row in labels for label in row}:
        alike[" ".join(label.casefold().split())].add(label)
    if twins := sorted(sorted(names) for names in alike.values() if len(names) > 1):
        logger.warning(
            "Labels that differ in case or blanks alone are labels of their own: %s. If they mean the same, spell them "
            "alike in the table.",
            "; ".join(", ".join(map(repr, names)) for names in twins[:3]),
        )


def warn_of_codes(name: str, values: np.ndarray) -> None:
    """Say where a target has one value several times, far from the others: -999 and 9999 often stand for unknown."""
    measured = values[np.isfinite(values)]
    if not len(measured):
        return
    low, middle, high = np.percentile(measured, (25, 50, 75))
    for extreme in dict.fromkeys((measured.min(), measured.max())):
        times = int((measured == extreme).sum())
        if times > 1 and high > low and abs(extreme - middle) > _FAR * (high - low):
            logger.warning(
                "The target %r is %g in %d records, far from the others (half of them lie within %g to %g). If that "
                "stands for unknown, leave those cells of the table empty: it counts as measured.",
                *(name, extreme, times, low, high),
            )


def _refuse_shared_patients(groups: Sequence[str], split: np.ndarray, ids: Sequence[str]) -> None:
    """Refuse a patient in several splits; named by records, because a patient's own number is nobody's to repeat."""
    seen: dict[str, tuple[str, str]] = {}
    shared: dict[str, str] = {}
    for group, part, record in zip(groups, split, ids, strict=True):
        if part and seen.setdefault(group, (part, record))[0] != part:
            shared.setdefault(group, f"records {seen[group][1]!r} and {record!r}")
    if shared:
        first = "; ".join(list(shared.values())[:3])
        raise DataError(
            f"{len(shared)} patients have records in several splits ({first}); scores would be too good. Correct the "
            "folds of the table, or leave them out of the description to have them made by patient."
        )


def fold_rule(about: Description) -> str:
    """Return the fold and split rule in one sentence."""
    columns = about.columns
    if columns is not None and columns.split:
        return f"column {columns.split!r} of the table"
    if columns is not None and columns.fold:
        return f"column {columns.fold!r} of the table: the highest fold is test, the one below validation"
    rule = about.folds or Folds()
    unit = "patient" if columns is not None and columns.patient else "record"
    return (
        f"{rule.number} folds stratified by label, by {unit}, seed {rule.seed}: the last one test, the one before "
        "validation"
    )


def standardised(values: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, list[float], list[float]]:
    """Return targets (records, targets) as float32 z-scores of the training records, the means and the deviations."""
    out = np.full(values.shape, np.nan, dtype=np.float32)
    means, deviations = [0.0] * values.shape[1], [1.0] * values.shape[1]
    for column in range(values.shape[1]):
        # Of training records alone: mean and deviation must not know the test set.
        measured = values[train & np.isfinite(values[:, column]), column]
        if len(measured):
            # Of the population, as elsewhere; what does not vary in training is only centred.
            means[column], deviations[column] = float(measured.mean()), float(measured.std()) or 1.0
            out[:, column] = (values[:, column] - means[column]) / deviations[column]
    return out, means, deviations
