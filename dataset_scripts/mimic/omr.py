"""Height, weight and body mass index from omr.csv and from chart events."""

from __future__ import annotations

from dataset_scripts.mimic.chart import frequent_labels, label_list
from dataset_scripts.mimic.engine import Engine, Result, Work
from dataset_scripts.mimic.names import BIOMETRICS, CHART_HEIGHTS, CHART_WEIGHTS
from dataset_scripts.mimic.percentiles import HIGH, LOW, bounds, bounds_table, note
from dataset_scripts.mimic.selection import whole
from dataset_scripts.mimic.sources import Source, literal, number


def read_omr(engine: Engine, source: Source) -> Result:
    """Read the rows of omr.csv that hold a height, a weight or a body mass index as a number.

    Columns: row, subject_id, name, time (midnight of the day), value.
    """

    def build(work: Work) -> None:
        rows = source.rows("subject_id", "chartdate", "result_name", "result_value")
        total, written = work.scan(
            source,
            f"SELECT row, {whole('subject_id')} AS subject_id, result_name AS name, TRY_CAST(chartdate AS TIMESTAMP) "
            f"AS time, {number('result_value')} AS value FROM {rows} "
            f"WHERE result_name IN ({', '.join(map(literal, BIOMETRICS))}) AND result_value IS NOT NULL",
        )
        numbers = work.one(f"SELECT count(value) FROM {work.written}")
        work.note(source.spec.stem, "height, weight, body mass index", total, written)
        work.note(source.spec.stem, "value is a number", written, numbers)

    return engine.step("omr", "Reading omr", build, [source])


def biometrics(engine: Engine, omr: Result, chart: Result, min_chart_count: int) -> Result:
    """Join omr and chart events, and drop what lies outside the 1st to 99th percentile of its kind.

    Columns: name, subject_id, time, value, source, row; ties in distance go by source and row. Order of the rules:
    above the 99th percentile first, then below the 1st of what is left, over all subjects of omr and the chart rows of
    subjects with an ECG.
    """
    used = frequent_labels(chart, min_chart_count)

    def build(work: Work) -> None:
        work.connection.execute(
            f"CREATE TEMP VIEW joined AS SELECT name, subject_id, time, value, 0 AS source, row FROM {omr.sql} "
            f"WHERE value IS NOT NULL UNION ALL {_chart_rows(chart, used)}"
        )
        high = bounds(work, "joined", HIGH)
        work.connection.execute(
            "CREATE TEMP VIEW below AS SELECT j.* FROM joined j JOIN "
            f"{bounds_table(high)} h ON j.name = h.name WHERE j.value <= h.bound"
        )
        low = bounds(work, "below", LOW)
        total = work.one("SELECT count(*) FROM joined")
        middle = work.one("SELECT count(*) FROM below")
        kept = work.write(f"SELECT b.* FROM below b JOIN {bounds_table(low)} l ON b.name = l.name WHERE value >= bound")
        work.note("biometrics", "not above the 99th percentile", total, middle, f"chart events: {_said(used)}")
        work.note("biometrics", "not below the 1st percentile of the rest", middle, kept, note(low, high))

    return engine.step("biometrics", "Clipping heights, weights, BMI", build, [], omr, chart, sorted(used))


def _chart_rows(chart: Result, used: set[str]) -> str:
    """SQL of the chart rows as pounds and inches: weights before heights, as the published code appends them."""
    factors = " ".join(f"WHEN {literal(label)} THEN {factor!r}e0" for label, factor in _factors().items())
    return (
        f"SELECT CASE WHEN label IN ({label_list(set(CHART_WEIGHTS))}) THEN 'Weight (Lbs)' ELSE 'Height (Inches)' END, "
        f"subject_id, time, value * CASE label {factors} END, "
        f"CASE WHEN label IN ({label_list(set(CHART_WEIGHTS))}) THEN 1 ELSE 2 END, row "
        f"FROM {chart.sql} WHERE label IN ({label_list(used & set(_factors()))}) AND value IS NOT NULL"
    )


def _factors() -> dict[str, float]:
    return {**CHART_WEIGHTS, **CHART_HEIGHTS}


def _said(used: set[str]) -> str:
    return ", ".join(sorted(used & set(_factors()))) or "none frequent enough"
