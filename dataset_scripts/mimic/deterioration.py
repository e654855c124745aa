"""The fifteen outcomes of MDS-ED: one row per ECG, the one with the earliest arrival."""

from __future__ import annotations

from dataset_scripts.mimic.engine import Engine, Result, Work
from dataset_scripts.mimic.names import EVENTS, MISSING_EVENT
from dataset_scripts.mimic.selection import whole
from dataset_scripts.mimic.sources import Source, number
from ecg_hub.errors import DataError


def read_deterioration(engine: Engine, source: Source, records: Result) -> Result:
    """Read mds_ed.csv: study_id and the fifteen columns as DOUBLE, -999 as NULL.

    An ECG may be listed several times, once per stay whose first 90 minutes it falls into; the row with the earliest
    `general_intime` counts, of equal times the first in the file. Joined on the study, and reported where
    `general_data`, the row number that the published code joins on, names another one.

    Raises:
        DataError: a value is neither 0, 1, -999 nor empty, or a study or a time cannot be read.
    """
    events = [name for name in source.header if name in EVENTS]

    def build(work: Work) -> None:
        work.source = source
        rows = source.rows("general_study_id", "general_data", "general_intime", *events)
        values = ", ".join(f'{number(_quoted(name))} AS "{name}", {_quoted(name)} AS "{name} text"' for name in events)
        work.connection.execute(
            f"CREATE TEMP TABLE stays AS SELECT row, {whole('general_study_id')} AS study_id, "
            f"{whole('general_data')} AS data, TRY_CAST(general_intime AS TIMESTAMP) AS intime, "
            f"general_intime AS intime_text, {values} FROM {rows}"
        )
        _refuse_damaged(work, source, events)
        total = work.one("SELECT count(*) FROM stays")
        kept = ", ".join(f'CASE WHEN "{name}" <> {MISSING_EVENT} THEN "{name}" END AS "{name}"' for name in events)
        written = work.write(
            f"SELECT study_id, {kept} FROM stays QUALIFY row_number() OVER "
            "(PARTITION BY study_id ORDER BY intime NULLS LAST, row) = 1 ORDER BY study_id"
        )
        other = work.one(
            f"SELECT count(*) FROM stays s LEFT JOIN {records.sql} r ON s.data = r.row "
            "WHERE s.study_id IS DISTINCT FROM r.study_id"
        )
        work.note(
            source.spec.stem,
            "earliest arrival per ECG",
            total,
            written,
            f"general_data names another study in {other:,} rows: joined on the study" if other else "",
        )

    return engine.step("deterioration", "Reading the outcomes of MDS-ED", build, [source], records)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _refuse_damaged(work: Work, source: Source, events: list[str]) -> None:
    faults = {"general_study_id is not a whole number": "study_id IS NULL"}
    faults["general_intime is not a time"] = "intime IS NULL AND intime_text IS NOT NULL"
    for name in events:
        odd = f'("{name}" IS NULL AND "{name} text" IS NOT NULL)'
        faults[f"{name} is none of 0, 1 and -999"] = f'{odd} OR "{name}" NOT IN (0, 1, {MISSING_EVENT})'
    for fault, condition in faults.items():
        count, first = work.all(f"SELECT count(*), min(row) FROM stays WHERE {condition}")[0]
        if count:
            raise DataError(
                f"{str(source.path)!r}, row {first + 1} of the data: {fault} ({count} such rows). The file is damaged "
                f"or of another release: get {source.spec.release} from {source.spec.page}."
            )
