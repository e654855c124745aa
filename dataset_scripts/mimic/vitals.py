"""Vital signs from vitalsign.csv of the emergency department and from chart events."""

from __future__ import annotations

from dataset_scripts.mimic.chart import frequent_labels, label_list
from dataset_scripts.mimic.engine import Engine, Result, Work
from dataset_scripts.mimic.names import CHART_VITALS, VITAL_SIGNS
from dataset_scripts.mimic.percentiles import HIGH, LOW, bounds, note, within
from dataset_scripts.mimic.selection import whole
from dataset_scripts.mimic.sources import Source, literal, number

CELSIUS = "Temperature Celsius"


def read_vitals(engine: Engine, source: Source) -> Result:
    """Read vitalsign.csv in long form: row, subject_id, time (charttime), name, value."""

    def build(work: Work) -> None:
        columns = ", ".join(f"{number(name)} AS {name}" for name in VITAL_SIGNS)
        rows = source.rows("subject_id", "charttime", *VITAL_SIGNS)
        wide = (
            f"SELECT row, {whole('subject_id')} AS subject_id, TRY_CAST(charttime AS TIMESTAMP) AS time, {columns} "
            f"FROM {rows}"
        )
        total, written = work.scan(
            source, f"SELECT * FROM ({wide}) UNPIVOT (value FOR name IN ({', '.join(VITAL_SIGNS)}))"
        )
        work.note(source.spec.stem, "one row per value", total, written)

    return engine.step("vitalsign", "Reading vitalsign", build, [source])


def vital_signs(engine: Engine, vitals: Result, chart: Result, min_chart_count: int) -> Result:
    """Join the emergency department's values and chart events, and drop what lies outside the 1st to 99th percentile.

    Columns: name, subject_id, time, value, source, row. Both bounds come from the same rows: all subjects of
    vitalsign.csv and the chart rows of subjects with an ECG. Fahrenheit throughout.
    """
    used = frequent_labels(chart, min_chart_count) & set(CHART_VITALS)

    def build(work: Work) -> None:
        names = " ".join(f"WHEN {literal(label)} THEN {literal(name)}" for label, name in CHART_VITALS.items())
        work.connection.execute(
            f"CREATE TEMP VIEW joined AS SELECT name, subject_id, time, value, 0 AS source, row FROM {vitals.sql} "
            f"UNION ALL SELECT CASE label {names} END, subject_id, time, "
            f"CASE WHEN label = {literal(CELSIUS)} THEN value * 9e0 / 5e0 + 32e0 ELSE value END, 1, row "
            f"FROM {chart.sql} WHERE label IN ({label_list(used)}) AND value IS NOT NULL"
        )
        low, high = bounds(work, "joined", LOW), bounds(work, "joined", HIGH)
        total = work.one("SELECT count(*) FROM joined")
        kept = work.write(f"SELECT * FROM {within('joined', low, high)}")
        said = f"{note(low, high)}. Chart events: {', '.join(sorted(used)) or 'none frequent enough'}"
        work.note("vital signs", "within the 1st to 99th percentile", total, kept, said)

    return engine.step("vital_signs", "Clipping vital signs", build, [], vitals, chart, sorted(used))
