"""For each ECG the nearest value of each kind, before or after."""

from __future__ import annotations

from dataset_scripts.mimic.engine import Engine, Result, Work

MOST_DAYS = 30
MOST_SECONDS = 3600
_DAY_US = 86_400_000_000
_GAP_US = "abs(epoch_us(v.time) - epoch_us(r.ecg_time))"


def nearest_by_day(engine: Engine, name: str, values: Result, records: Result) -> Result:
    """Match values within 30 whole days: |difference| cut to days, so just under 31 days; nearest by whole days too."""
    return _nearest(engine, name, values, records, f"{_GAP_US} // {_DAY_US}", MOST_DAYS)


def nearest_by_time(engine: Engine, name: str, values: Result, records: Result) -> Result:
    """Match values within one hour, the hour included, on either side."""
    return _nearest(engine, name, values, records, _GAP_US, MOST_SECONDS * 1_000_000)


def _nearest(engine: Engine, name: str, values: Result, records: Result, distance: str, limit: int) -> Result:
    """Return record (row of the records table), name and value of the nearest value of each kind.

    Of equal distances the first wins: by source, then (values of the emergency department are sorted by time) by time
    within source 0 of the vital signs, then by row of the file.
    """
    tie = "CASE WHEN source = 0 THEN time END, " if name == "vital_signs" else ""

    def build(work: Work) -> None:
        ecgs = f"(SELECT row AS record, subject_id, ecg_time FROM {records.sql} WHERE selected)"
        near = (
            f"SELECT r.record, v.name, v.value, v.source, v.time, v.row, {distance} AS distance "
            f"FROM {values.sql} v JOIN {ecgs} r ON v.subject_id = r.subject_id WHERE {distance} <= {limit}"
        )
        found = work.write(
            f"SELECT record, name, value FROM ({near}) QUALIFY row_number() OVER "
            f"(PARTITION BY record, name ORDER BY distance, source, {tie}row) = 1 ORDER BY record, name"
        )
        total = work.one(f"SELECT count(*) FROM {values.sql}")
        ecgs_with = work.one(f"SELECT count(DISTINCT record) FROM {work.written}")
        kind = name.replace("_", " ")
        work.note(kind, "nearest value of each kind to an ECG", total, found, f"{ecgs_with:,} ECGs have one or more")

    return engine.step(f"near_{name}", f"Matching {name.replace('_', ' ')}", build, [], values, records)
