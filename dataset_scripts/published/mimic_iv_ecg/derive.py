"""The whole derivation: nine tables in, one table of targets and a report of every step out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

import dataset_scripts.published.mimic_iv_ecg.sources as sources
from dataset_scripts.core.report import Step, steps_csv
from dataset_scripts.published.mimic_iv_ecg.engine import Engine, Result, Settings, Work
from dataset_scripts.published.mimic_iv_ecg.names import (
    CARDIAC_CHAPTER,
    EVENTS,
    FOLDS,
    GROUPS,
    MEASURED,
    MISSING_EVENT,
    UNITS,
)
from dataset_scripts.published.mimic_iv_ecg.selection import count_codes, read_records, whole
from dataset_scripts.published.mimic_iv_ecg.sources import Source, number
from dataset_scripts.published.mimic_iv_ecg.values import (
    biometrics,
    lab_values,
    nearest_by_day,
    nearest_by_time,
    read_chart,
    read_labs,
    read_omr,
    read_vitals,
    vital_signs,
)
from ecg_hub.errors import DataError
from ecg_hub.utils.terminal import say

MIN_ICD_COUNT = 2000
MIN_CHART_COUNT = 1000


@dataclass(frozen=True)
class Derived:
    """What was derived.

    Attributes:
        path: parquet with one row per used ECG; see `assemble`.
        fingerprint: of tables and parameters.
        report: CSV of the steps.
        steps: the same.
        codes: the ICD-10 targets with their counts over all records, the most frequent first.
        scale: measured target -> mean, standard deviation, number of training values.
        units: measured target -> unit; of lab values the most frequent one in the data.
        absent: tables that the raw folder lacks, or that say nothing without one that it lacks.
    """

    path: Path
    fingerprint: str
    report: Path
    steps: tuple[Step, ...]
    codes: tuple[tuple[str, int], ...]
    scale: Mapping[str, Sequence[float]]
    units: Mapping[str, str]
    absent: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The targets in the published order: codes, outcomes, sex, measured values."""
        return [*(code for code, _ in self.codes), *EVENTS, "sex", *MEASURED]

    @property
    def groups(self) -> dict[str, list[str]]:
        """Target group -> its names; every target is in one group."""
        codes = [code for code, _ in self.codes]
        cardiac = {
            "cardiac": [code for code in codes if code.startswith(CARDIAC_CHAPTER)],
            "noncardiac": [code for code in codes if not code.startswith(CARDIAC_CHAPTER)],
        }
        return {**cardiac, **{name: list(names) for name, names in GROUPS.items()}}


def derive(
    folder: Path,
    work: Path,
    min_icd_count: int = MIN_ICD_COUNT,
    min_chart_count: int = MIN_CHART_COUNT,
    settings: Settings | None = None,
) -> Derived:
    """Derive the targets from the nine tables, or find them derived.

    One pass over each table. Steps that are done are kept in the work folder and found again by tables (name, size,
    time) and parameters, so the same command continues after an interruption. The tables' rows never leave that
    folder.
    """
    tables = sources.open_tables(folder, work)
    absent = tuple(spec.stem for spec, source in tables.items() if source.absent)
    if absent:
        say(sources.describe_missing(sources.find_tables(folder)), important=True)
    # A second process would write the same steps; it waits and finds them done.
    with FileLock(work / "derive.lock"):
        results = _results(
            Engine(work, settings or Settings.from_environment()), tables, min_icd_count, min_chart_count
        )
    last = results[-1]
    steps = tuple(step for result in results for step in result.steps)
    report = last.path.with_name(f"report-{last.fingerprint}.csv")
    # Also when every step was found done: the report always says what these targets come from.
    report.write_text(steps_csv(steps), encoding="utf-8")
    # Facts come back from JSON, which knows no tuples.
    codes = tuple((str(code), int(count)) for code, count in last.facts["codes"])
    units = {**UNITS, **next(result.facts["units"] for result in results if "units" in result.facts)}
    return Derived(last.path, last.fingerprint, report, steps, codes, last.facts["scale"], units, absent)


def _results(engine: Engine, tables: Mapping[Any, sources.Source], min_icd: int, min_chart: int) -> list[Result]:
    records = read_records(engine, tables[sources.RECORDS])
    outcomes = read_deterioration(engine, tables[sources.MDS_ED], records)
    measured = read_measurements(engine, tables[sources.MEASUREMENTS], records)
    omr = read_omr(engine, tables[sources.OMR])
    vitals = read_vitals(engine, tables[sources.VITAL_SIGN])
    labs = read_labs(engine, tables[sources.LAB_EVENTS], tables[sources.LAB_ITEMS])
    chart = read_chart(engine, tables[sources.CHART_EVENTS], tables[sources.CHART_ITEMS], records)
    sizes = biometrics(engine, omr, chart, min_chart)
    signs = vital_signs(engine, vitals, chart, min_chart)
    values = lab_values(engine, labs, chart, records, min_chart)
    near = [
        nearest_by_day(engine, "biometrics", sizes, records),
        nearest_by_time(engine, "vital_signs", signs, records),
        nearest_by_time(engine, "lab_values", values, records),
    ]
    targets = assemble(engine, records, outcomes, measured, near, min_icd)
    return [records, outcomes, measured, omr, vitals, labs, chart, sizes, signs, values, *near, targets]


def read_deterioration(engine: Engine, source: Source, records: Result) -> Result:
    """Read mds_ed.csv: study_id and the fifteen columns as DOUBLE, -999 as NULL.

    An ECG may be listed several times, once per stay whose first 90 minutes it falls into; the row with the earliest
    `general_intime` counts, of equal times the first in the file. Joined on the study, and reported where
    `general_data`, the row number that the published code joins on, names another one.
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
        # Before anything is joined: one shifted row would give outcomes to the wrong ECG.
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


AXES = ("p_axis", "qrs_axis", "t_axis")
TIMES = ("rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end")
LARGEST_AXIS = 360
LARGEST_TIME = 5000


def read_measurements(engine: Engine, source: Source, records: Result) -> Result:
    """Read machine_measurements.csv: study_id, RR, QRS, QT, QTc (ms) and the axes (degrees), NULL for no value.

    Axes outside -360 to 360 and times outside 0 to 5000 are no value, the bounds themselves are. QRS = qrs_end -
    qrs_onset, QT = t_end - qrs_onset (negative ones stay), QTc = QT / sqrt(RR in seconds), none where RR is 0. The
    published code joins by row number; this one by study, which is the same where both tables agree row by row.
    """

    def build(work: Work) -> None:
        work.source = source
        limited = [f"{_limited(name, -LARGEST_AXIS, LARGEST_AXIS)} AS {name}" for name in AXES]
        limited += [f"{_limited(name, 0, LARGEST_TIME)} AS {name}" for name in TIMES]
        work.connection.execute(
            f"CREATE TEMP TABLE measured AS SELECT row, {whole('study_id')} AS study_id, {', '.join(limited)}, "
            f"{_dropped()} AS dropped FROM {source.rows('study_id', *AXES, *TIMES)}"
        )
        _refuse_damaged_measurements(work, source)
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


def _refuse_damaged_measurements(work: Work, source: Source) -> None:
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


RAW = "measured "
"""Prefix of the columns that hold a measured value before its z-score."""


def assemble(
    engine: Engine,
    records: Result,
    deterioration: Result,
    measurements: Result,
    near: Sequence[Result],
    min_icd_count: int,
) -> Result:
    """Join everything into one row per used ECG, in the order of the records table.

    Columns: study_id, strat_fold, labels (the kept codes), the fifteen outcomes, sex (0 female, 1 male), the 35
    values as measured (`measured age`, ...) and as z-scores, DOUBLE with NULL for no value. Facts: `codes` (name,
    count) in falling order of count, `scale` (mean, standard deviation, values) per measured column.

    Mean and standard deviation (of the population) come from the ECGs of strat_fold 0 to 17.
    """

    def build(work: Work) -> None:
        codes = count_codes(work, records, min_icd_count)
        work.facts["codes"] = codes
        frame = _one_row_per_ecg(work, records, deterioration, measurements, near)
        rows = frame["study_id"].size
        # Records are selected by the column `fold` and split by `strat_fold`, as published: two columns, two divisions.
        train = frame["strat_fold"] < FOLDS - 2
        scale: dict[str, tuple[float, float, int]] = {}
        for name in MEASURED:
            frame[name], scale[name] = z_scores(frame[RAW + name], train)
            measured = int(np.isfinite(frame[RAW + name]).sum())
            mean, deviation, number = scale[name]
            note = f"mean {mean:g}, standard deviation {deviation:g} of {number:,} training values"
            work.note("targets", f"{name}: ECGs with a value", rows, measured, note)
        work.facts["scale"] = scale
        for name in EVENTS:
            work.note("targets", f"{name}: ECGs with a value", rows, int(np.isfinite(frame[name]).sum()))
        _write(work, frame, records, [name for name, _ in codes])

    return engine.step("targets", "Joining the targets", build, [], *_all(records, deterioration, measurements, near),
                       min_icd_count)  # fmt: skip


def _all(*results: Any) -> list[Result]:
    return [item for part in results for item in ([part] if isinstance(part, Result) else part)]


def z_scores(values: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, tuple[float, float, int]]:
    """Return z-scores by mean and population deviation of the training values, and (mean, deviation, their number)."""
    measured = values[train & np.isfinite(values)]
    if not measured.size:
        return np.full_like(values, np.nan), (float("nan"), float("nan"), 0)
    mean, deviation = float(measured.mean()), float(measured.std())
    # A rest of rounding is no spread: what scikit-learn's StandardScaler takes for constant.
    rounding = np.finfo(np.float64).eps * measured.size
    constant = deviation**2 <= rounding * deviation**2 + (rounding * mean) ** 2
    return (values - mean) / (1.0 if constant else deviation), (mean, deviation, int(measured.size))


def _one_row_per_ecg(
    work: Work, records: Result, deterioration: Result, measurements: Result, near: Sequence[Result]
) -> dict[str, np.ndarray]:
    features = [name for name in MEASURED if name in ("RR", "QRS", "QT", "QTc") or name.endswith("_axis")]
    columns = ", ".join([f'd."{name}"' for name in EVENTS] + [f'm."{name}" AS "{RAW}{name}"' for name in features])
    table = work.connection.execute(
        f"SELECT r.row AS record, r.study_id, r.strat_fold, CASE r.gender WHEN 'F' THEN 0e0 WHEN 'M' THEN 1e0 END "
        f'AS sex, r.age AS "{RAW}age", {columns} FROM {records.sql} r '
        f"LEFT JOIN {deterioration.sql} d ON r.study_id = d.study_id "
        f"LEFT JOIN {measurements.sql} m ON r.study_id = m.study_id WHERE r.selected ORDER BY r.row"
    ).fetchnumpy()
    frame = {name: _floats(table[name]) for name in table if name not in ("record", "study_id", "strat_fold")}
    frame |= {name: np.asarray(table[name], dtype=np.int64) for name in ("record", "study_id", "strat_fold")}
    for name in MEASURED:
        if RAW + name not in frame:
            frame[RAW + name] = np.full(frame["record"].size, np.nan)
    for result in near:
        nearest = work.connection.execute(f"SELECT record, name, value FROM {result.sql}").fetchnumpy()
        # The frame is ordered by row (ORDER BY above), so that a search finds the place.
        rows = np.searchsorted(frame["record"], np.asarray(nearest["record"], dtype=np.int64))
        names, values = np.asarray(nearest["name"], dtype=object), _floats(nearest["value"])
        for name in set(names) & set(MEASURED):
            chosen = names == name
            frame[RAW + name][rows[chosen]] = values[chosen]
    return frame


def _floats(column: Any) -> np.ndarray:
    # DuckDB hands a column with NULL out as a masked array, one without as a plain array.
    return np.array(np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan), dtype=np.float64)


def _write(work: Work, frame: dict[str, np.ndarray], records: Result, codes: list[str]) -> None:
    import pyarrow as pa

    order = ["record", "study_id", "strat_fold", *EVENTS, "sex", *(RAW + name for name in MEASURED), *MEASURED]
    # `from_pandas` makes NULL of NaN; without it Arrow takes NaN for a value.
    arrays = {name: pa.array(frame[name], from_pandas=frame[name].dtype == np.float64) for name in order}
    work.connection.register("frame", pa.table(arrays))
    work.connection.register("kept", pa.table({"label": pa.array(codes, pa.string())}))
    listed = ", ".join(f'f."{name}"' for name in order if name != "record")
    work.write(
        f"SELECT list_filter(r.labels, lambda x: list_contains(k.names, x)) AS labels, {listed} FROM frame f "
        f"JOIN {records.sql} r ON f.record = r.row, (SELECT coalesce(list(label), []) AS names FROM kept) k "
        "ORDER BY f.record"
    )
