"""The seven ECG features from the machine's own measurements."""

from __future__ import annotations

from dataset_scripts.mimic.engine import Engine, Result, Work
from dataset_scripts.mimic.selection import whole
from dataset_scripts.mimic.sources import Source, number
from ecg_hub.errors import DataError

AXES = ("p_axis", "qrs_axis", "t_axis")
TIMES = ("rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end")
LARGEST_AXIS = 360
LARGEST_TIME = 5000


def read_measurements(engine: Engine, source: Source, records: Result) -> Result:
    """Read machine_measurements.csv: study_id, RR, QRS, QT, QTc (ms) and the axes (degrees), NULL for no value.

    Axes outside -360 to 360 and times outside 0 to 5000 are no value, the bounds themselves are. QRS = qrs_end -
    qrs_onset, QT = t_end - qrs_onset (negative ones stay), QTc = QT / sqrt(RR in seconds), none where RR is 0. The
    published code joins by row number; this one by study, which is the same where both tables agree row by row.

    Raises:
        DataError: a study_id cannot be read or occurs twice.
    """

    def build(work: Work) -> None:
        work.source = source
        limited = [f"{_limited(name, -LARGEST_AXIS, LARGEST_AXIS)} AS {name}" for name in AXES]
        limited += [f"{_limited(name, 0, LARGEST_TIME)} AS {name}" for name in TIMES]
        work.connection.execute(
            f"CREATE TEMP TABLE measured AS SELECT row, {whole('study_id')} AS study_id, {', '.join(limited)}, "
            f"{_dropped()} AS dropped FROM {source.rows('study_id', *AXES, *TIMES)}"
        )
        _refuse_damaged(work, source)
        total = work.write(
            "SELECT study_id, rr_interval AS RR, qrs_end - qrs_onset AS QRS, t_end - qrs_onset AS QT, "
            "CASE WHEN rr_interval <> 0 THEN (t_end - qrs_onset) / sqrt(rr_interval / 1000e0) END AS QTc, "
            "p_axis AS P_wave_axis, qrs_axis AS QRS_axis, t_axis AS T_wave_axis FROM measured ORDER BY row"
        )
        other = work.one(
            f"SELECT count(*) FROM measured m FULL JOIN {records.sql} r ON m.row = r.row "
            "WHERE m.study_id IS DISTINCT FROM r.study_id"
        )
        dropped = work.one("SELECT sum(dropped) FROM measured")
        note = f"{int(dropped or 0):,} cells are no value"
        if other:
            note += f"; {other:,} rows name another study than {records.path.stem.split('-')[0]}: joined on the study"
        work.note(source.spec.stem, "values within their bounds", total, total, note)

    return engine.step("measurements", "Reading the machine measurements", build, [source], records)


def _limited(name: str, low: int, high: int) -> str:
    value = number(name)
    return f"CASE WHEN ({value}) BETWEEN {low} AND {high} THEN {value} END"


def _dropped() -> str:
    """SQL of how many cells of a row hold text that is no value within its bounds."""
    cells = [(name, _limited(name, -LARGEST_AXIS, LARGEST_AXIS)) for name in AXES]
    cells += [(name, _limited(name, 0, LARGEST_TIME)) for name in TIMES]
    return " + ".join(f"CAST({name} IS NOT NULL AND ({value}) IS NULL AS INTEGER)" for name, value in cells)


def _refuse_damaged(work: Work, source: Source) -> None:
    page = f"get {source.spec.release} from {source.spec.page}"
    count, first = work.all("SELECT count(*), min(row) FROM measured WHERE study_id IS NULL")[0]
    if count:
        raise DataError(
            f"{str(source.path)!r}, row {first + 1} of the data: study_id is not a whole number ({count} such rows); "
            f"{page}."
        )
    twice = work.all("SELECT study_id, count(*) FROM measured GROUP BY study_id HAVING count(*) > 1 ORDER BY 1 LIMIT 1")
    if twice:
        raise DataError(f"{str(source.path)!r} lists study_id {twice[0][0]} {twice[0][1]} times, not once; {page}.")
