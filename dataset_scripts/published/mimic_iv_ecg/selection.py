"""The records table: every ECG with its ICD-10 labels, which ECGs are used; and the dictionaries of item ids.

Labels (scenario `mimic_ed_all_edfirst_all_2000_5A`): each code of `all_diag_all` stripped, cut to five characters, the
X at its end taken off; all its beginnings of three characters or more count too; each once per record. Those in
`min_icd_count` records or more of ALL records are targets.

Used are ECGs taken in the emergency department with at least one code, and of the last two values of `fold` only the
first of each stay. This is the column `fold`; the split into train, validation and test goes by `strat_fold`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dataset_scripts.published.mimic_iv_ecg.engine import Engine, Result, Work
from dataset_scripts.published.mimic_iv_ecg.names import FOLDS
from dataset_scripts.published.mimic_iv_ecg.sources import Source, number
from ecg_hub.errors import DataError

CODE_LENGTH = 5
SHORTEST = 3
_ITEM = r"""'[^']*'|"[^"]*\""""
_LIST = rf"\s*\[\s*(({_ITEM})\s*(,\s*({_ITEM})\s*)*)?\]\s*"
_BLANK = r" \t\n\r\f\v"

# What a cell must be, each as SQL that is true for a damaged row.
_FAULTS = {
    "study_id is not a whole number": "study_id IS NULL",
    "subject_id is not a whole number": "subject_id IS NULL",
    "ecg_time is not a time": "ecg_time IS NULL AND time_text IS NOT NULL",
    "all_diag_all is not a list of codes": "codes IS NULL",
    "ecg_taken_in_ed is neither True nor False": "in_ed IS NULL",
    f"fold is not one of 0 to {FOLDS - 1}": f"fold IS NULL OR fold < 0 OR fold >= {FOLDS} OR fold <> floor(fold)",
    f"strat_fold is not one of 0 to {FOLDS - 1}": (
        f"strat_fold IS NULL OR strat_fold < 0 OR strat_fold >= {FOLDS} OR strat_fold <> floor(strat_fold)"
    ),
    "age is not a number": "age IS NULL AND age_text IS NOT NULL",
}


def read_records(engine: Engine, source: Source) -> Result:
    """Read records_w_diag_icd10.csv into one row per ECG with its labels.

    Columns: row, study_id, subject_id, ecg_time, gender, age, fold, strat_fold, labels, in_ed, coded, selected.
    """

    def build(work: Work) -> None:
        columns = (
            *("study_id", "subject_id", "ecg_time", "all_diag_all", "gender", "age", "ecg_no_within_stay"),
            *("ecg_taken_in_ed", "fold", "strat_fold"),
        )
        work.connection.execute(f"CREATE TEMP TABLE records AS {_parsed(source.rows(*columns))}")
        work.source = source
        _refuse_damaged(work, source)
        # Of all records and not of those in use, as published: the two highest folds are the ones for evaluation.
        limit = work.one("SELECT max(fold) - 1 FROM records")
        rule = f"in_ed AND codes > 0 AND (fold < {limit} OR first_of_stay)"
        total = work.write(
            "SELECT row, study_id, subject_id, ecg_time, gender, age, CAST(fold AS INTEGER) AS fold, "
            f"CAST(strat_fold AS INTEGER) AS strat_fold, labels, in_ed, codes > 0 AS coded, {rule} AS selected "
            "FROM records ORDER BY row"
        )
        _report(work, source, total, int(limit))

    return engine.step("records", "Reading the records and their codes", build, [source])


def _parsed(rows: str) -> str:
    # Stripped first, then cut, then the X: in another order "W19XXXA" would not become "W19".
    cleaned = (
        f"list_transform(regexp_extract_all(all_diag_all, '{_ITEM.replace(chr(39), chr(39) * 2)}'), "
        f"lambda x: rtrim(left(trim(substring(x, 2, length(x) - 2), e'{_BLANK}'), {CODE_LENGTH}), 'X'))"
    )
    beginnings = (
        # Sorted and distinct, so that neither the order nor repeats in a cell show in the result.
        f"list_sort(list_distinct(flatten(list_transform({cleaned}, "
        f"lambda c: list_transform(range({SHORTEST}, length(c) + 1), lambda i: c[1:i])))))"
    )
    is_list = f"regexp_full_match(all_diag_all, '{_LIST.replace(chr(39), chr(39) * 2)}')"
    return f"""
        SELECT row, {whole("study_id")} AS study_id, {whole("subject_id")} AS subject_id,
               TRY_CAST(ecg_time AS TIMESTAMP) AS ecg_time, ecg_time AS time_text, gender,
               {number("age")} AS age, age AS age_text, {number("fold")} AS fold, {number("strat_fold")} AS strat_fold,
               CASE WHEN lower(trim(ecg_taken_in_ed)) IN ('true', 'false') THEN lower(trim(ecg_taken_in_ed)) = 'true'
               END AS in_ed,
               coalesce({number("ecg_no_within_stay")} = 0, false) AS first_of_stay,
               CASE WHEN {is_list} THEN len(regexp_extract_all(all_diag_all, '{_ITEM.replace(chr(39), chr(39) * 2)}'))
               END AS codes,
               {beginnings} AS labels
        FROM {rows}
    """


def whole(column: str) -> str:
    """Return SQL that reads a text column as BIGINT, NULL where it is no whole number."""
    # "12.0" is how pandas writes whole numbers of a column with gaps.
    return f"CASE WHEN regexp_full_match({column}, '\\s*[0-9]+(\\.0*)?\\s*') THEN TRY_CAST({column} AS BIGINT) END"


def _refuse_damaged(work: Work, source: Source) -> None:
    page = f"get {source.spec.release} from {source.spec.page}"
    if not work.one("SELECT count(*) FROM records"):
        raise DataError(f"{str(source.path)!r} holds no record; {page}.")
    for fault, condition in _FAULTS.items():
        count, first = work.all(f"SELECT count(*), min(row) FROM records WHERE {condition}")[0]
        if count:
            raise DataError(
                f"{str(source.path)!r}, row {first + 1} of the data: {fault} ({count} such rows). The file is damaged "
                f"or of another release: {page}."
            )
    twice = work.all("SELECT study_id, count(*) FROM records GROUP BY study_id HAVING count(*) > 1 ORDER BY 1 LIMIT 1")
    if twice:
        raise DataError(f"{str(source.path)!r} lists study_id {twice[0][0]} {twice[0][1]} times, not once; {page}.")


def _report(work: Work, source: Source, total: int, limit: int) -> None:
    name = source.spec.stem
    in_ed, coded, selected = work.all(
        "SELECT count(*) FILTER (in_ed), count(*) FILTER (in_ed AND codes > 0), "
        f"count(*) FILTER (in_ed AND codes > 0 AND (fold < {limit} OR first_of_stay)) FROM records"
    )[0]
    work.note(name, "ECG taken in the emergency department", total, in_ed)
    work.note(name, "at least one ICD-10 code", in_ed, coded)
    work.note(name, f"fold below {limit}, or the first ECG of its stay", coded, selected)
    missing = work.one("SELECT count(*) FROM records WHERE gender NOT IN ('F', 'M') OR gender IS NULL")
    work.note(name, "sex known", total, total - missing, "counts ECGs of all kinds; no row is dropped")


def count_codes(work: Work, records: Result, min_count: int) -> list[tuple[str, int]]:
    """Return the ICD-10 labels that are targets, with their counts over all records, the most frequent first.

    Equal counts are ordered by name; the published order of these is not reproducible.
    """
    counts: Sequence[tuple[Any, ...]] = work.all(
        f"SELECT label, count(*) AS n FROM (SELECT unnest(labels) AS label FROM {records.sql}) GROUP BY label "
        "ORDER BY n DESC, label"
    )
    kept = [(str(label), int(n)) for label, n in counts if n >= min_count]
    work.note("ICD-10 codes", f"in {min_count:,} records or more", len(counts), len(kept), "counts codes, not rows")
    return kept


def read_dictionary(work: Work, source: Source, wanted: str) -> None:
    """Make the temporary table `dictionary` (itemid, label) of the items that meet a condition."""
    work.source = source
    work.connection.execute(
        f"CREATE TEMP TABLE dictionary AS SELECT itemid, label FROM (SELECT {whole('itemid')} AS itemid, label "
        f"FROM {source.rows('itemid', 'label')}) WHERE {wanted}"
    )
    page = f"get {source.spec.release} from {source.spec.page}"
    twice = work.all("SELECT itemid, count(*) FROM dictionary GROUP BY itemid HAVING count(*) > 1 ORDER BY 1 LIMIT 1")
    if twice:
        raise DataError(f"{str(source.path)!r} lists item {twice[0][0]} {twice[0][1]} times, not once; {page}.")
    # A table that stands in for a missing one is empty by nature.
    if not source.absent and not work.one("SELECT count(*) FROM dictionary"):
        raise DataError(f"{str(source.path)!r} holds none of the needed items. It may be of another release: {page}.")
