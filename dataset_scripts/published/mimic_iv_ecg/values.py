"""Measured values and the nearest of each kind to each ECG.

Vital signs, body measures and lab values, with the rows of chartevents that add to them, cut at percentiles.
"""

from __future__ import annotations

import math

from dataset_scripts.published.mimic_iv_ecg.engine import Engine, Result, Work
from dataset_scripts.published.mimic_iv_ecg.names import (
    BIOMETRICS,
    CHART_HEIGHTS,
    CHART_LAB_WITHOUT_UNIT,
    CHART_LABELS,
    CHART_LABS,
    CHART_VITALS,
    CHART_WEIGHTS,
    LAB_ITEMS,
    LAB_VALUES,
    VITAL_SIGNS,
)
from dataset_scripts.published.mimic_iv_ecg.selection import read_dictionary, whole
from dataset_scripts.published.mimic_iv_ecg.sources import Source, literal, number


def read_chart(engine: Engine, events: Source, items: Source, records: Result) -> Result:
    """Read the wanted rows of chartevents.csv for subjects of the records table, in one pass.

    Columns: row, subject_id, label, time (storetime), value, unit. Rows without a value stay: they count towards the
    minimum that a label must reach.
    """

    def build(work: Work) -> None:
        # By label and not by item: several items carry one label, and the count rule is per label.
        read_dictionary(work, items, f"label IN ({', '.join(map(literal, CHART_LABELS))})")
        wanted = (
            f"SELECT row, {whole('subject_id')} AS subject_id, label, TRY_CAST(storetime AS TIMESTAMP) AS time, "
            f"{number('valuenum')} AS value, valueuom AS unit "
            f"FROM {events.rows('subject_id', 'itemid', 'storetime', 'valuenum', 'valueuom')} e "
            f"JOIN dictionary d ON {whole('e.itemid')} = d.itemid "
            f"WHERE {whole('subject_id')} IN (SELECT DISTINCT subject_id FROM {records.sql})"
        )
        total, written = work.scan(events, wanted)
        work.facts["rows"] = {str(label): int(n) for label, n in _counts(work)}
        work.note(
            events.spec.stem,
            "weights, heights, vital signs, lab values of subjects with an ECG",
            total,
            written,
            "; ".join(f"{label} {n:,}" for label, n in sorted(work.facts["rows"].items())),
        )

    return engine.step("chart", "Reading chartevents", build, [events, items], records)


def _counts(work: Work) -> list[tuple[str, int]]:
    return [(str(label), int(n)) for label, n in work.all(f"SELECT label, count(*) FROM {work.written} GROUP BY label")]


def frequent_labels(chart: Result, min_count: int) -> set[str]:
    """Return the labels of chart events that have the minimum of rows, over all their items and missing values too."""
    return {label for label, rows in chart.facts["rows"].items() if rows >= min_count}


def label_list(labels: set[str]) -> str:
    """Return labels as an SQL list for IN; never empty."""
    # `IN ()` is no SQL; `IN (NULL)` is never true.
    return ", ".join(map(literal, sorted(labels))) or "NULL"


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
        # UNPIVOT leaves out what is NULL, so that rows have a value.
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
            # e0 makes each number a DOUBLE, so that every step rounds as it does in Python.
            f"CASE WHEN label = {literal(CELSIUS)} THEN value * 9e0 / 5e0 + 32e0 ELSE value END, 1, row "
            f"FROM {chart.sql} WHERE label IN ({label_list(used)}) AND value IS NOT NULL"
        )
        low, high = bounds(work, "joined", LOW), bounds(work, "joined", HIGH)
        total = work.one("SELECT count(*) FROM joined")
        kept = work.write(f"SELECT * FROM {within('joined', low, high)}")
        said = f"{note(low, high)}. Chart events: {', '.join(sorted(used)) or 'none frequent enough'}"
        work.note("vital signs", "within the 1st to 99th percentile", total, kept, said)

    return engine.step("vital_signs", "Clipping vital signs", build, [], vitals, chart, sorted(used))


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
        # One bound after the other, as published: the 1st percentile is of what the 99th left over.
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


def read_labs(engine: Engine, events: Source, items: Source) -> Result:
    """Read the rows of labevents.csv with one of the 32 items and a number, of all subjects, in one pass.

    Columns: row, subject_id, itemid, name (label of the item), time (storetime), value, unit.
    """

    def build(work: Work) -> None:
        read_dictionary(work, items, f"itemid IN ({', '.join(map(str, sorted(LAB_ITEMS)))})")
        absent = sorted(set(LAB_VALUES) - {name for (name,) in work.all("SELECT DISTINCT label FROM dictionary")})
        listed = work.one("SELECT count(*) FROM dictionary")
        work.note(
            items.spec.stem,
            "items of the published list",
            len(LAB_ITEMS),
            listed,
            f"no item for {', '.join(absent)}" if absent else "",
        )
        columns = ("subject_id", "itemid", "storetime", "valuenum", "valueuom")
        total, written = work.scan(
            events,
            f"SELECT * FROM (SELECT row, {whole('subject_id')} AS subject_id, d.itemid, d.label AS name, "
            f"TRY_CAST(storetime AS TIMESTAMP) AS time, {number('valuenum')} AS value, valueuom AS unit "
            f"FROM {events.rows(*columns)} e JOIN dictionary d ON {whole('e.itemid')} = d.itemid) "
            "WHERE value IS NOT NULL",
        )
        work.note(events.spec.stem, "one of these items, with a number", total, written)

    return engine.step("labevents", "Reading labevents", build, [events, items])


def lab_values(engine: Engine, labs: Result, chart: Result, records: Result, min_chart_count: int) -> Result:
    """Bring lab values to one item and one unit each, join the chart rows, and drop the outermost two percent twice.

    Columns: name, subject_id, time, value, source, row. Over all subjects: the most frequent item of each label, the
    1st to 99th percentile, the most frequent unit of each item (exact text; rows without a unit go). Then over
    subjects with an ECG, together with the chart rows: the 1st to 99th percentile again. Of equally frequent items and
    units the first in order counts.
    """
    used = frequent_labels(chart, min_chart_count) & set(CHART_LABS)

    def build(work: Work) -> None:
        _first_pass(work, labs)
        subjects = f"(SELECT DISTINCT subject_id FROM {records.sql})"
        names = " ".join(f"WHEN {literal(label)} THEN {literal(name)}" for label, name in CHART_LABS.items())
        work.connection.execute(
            "CREATE TEMP VIEW joined AS SELECT name, subject_id, time, value, 0 AS source, row FROM same_unit "
            f"WHERE subject_id IN {subjects} UNION ALL SELECT CASE label {names} END, subject_id, time, value, 1, row "
            f"FROM {chart.sql} WHERE label IN ({label_list(used)}) AND value IS NOT NULL "
            f"AND (unit IS NOT NULL OR label = {literal(CHART_LAB_WITHOUT_UNIT)})"
        )
        of_subjects = work.one("SELECT count(*) FROM joined WHERE source = 0")
        work.note("lab values", "subjects with an ECG", work.one("SELECT count(*) FROM same_unit"), of_subjects)
        total = work.one("SELECT count(*) FROM joined")
        said = ", ".join(sorted(used)) or "none frequent enough"
        work.note("lab values", "chart events added", of_subjects, total, f"chart events: {said}")
        low, high = bounds(work, "joined", LOW), bounds(work, "joined", HIGH)
        kept = work.write(f"SELECT * FROM {within('joined', low, high)}")
        work.note("lab values", "within the 1st to 99th percentile again", total, kept, note(low, high))

    return engine.step("lab_values", "Clipping lab values", build, [], labs, chart, records, sorted(used))


def _first_pass(work: Work, labs: Result) -> None:
    """Make the view `same_unit`: one item and one unit per label, of all subjects."""
    items = work.all(
        f"SELECT name, itemid FROM (SELECT name, itemid, count(*) AS n FROM {labs.sql} GROUP BY name, itemid) "
        "QUALIFY row_number() OVER (PARTITION BY name ORDER BY n DESC, itemid) = 1 ORDER BY name"
    )
    chosen = ", ".join(str(item) for _, item in items) or "NULL"
    work.connection.execute(f"CREATE TEMP VIEW one_item AS SELECT * FROM {labs.sql} WHERE itemid IN ({chosen})")
    total, of_label = work.one(f"SELECT count(*) FROM {labs.sql}"), work.one("SELECT count(*) FROM one_item")
    said = "; ".join(f"{name} {item}" for name, item in items)
    work.note("lab values", "most frequent item of each label", total, of_label, said)
    low, high = bounds(work, "one_item", LOW), bounds(work, "one_item", HIGH)
    work.connection.execute(f"CREATE TEMP VIEW clipped AS SELECT * FROM {within('one_item', low, high)}")
    clipped = work.one("SELECT count(*) FROM clipped")
    work.note("lab values", "within the 1st to 99th percentile", of_label, clipped, note(low, high))
    units = work.all(
        "SELECT itemid, unit FROM (SELECT itemid, unit, count(*) AS n FROM clipped WHERE unit IS NOT NULL "
        "GROUP BY itemid, unit) QUALIFY row_number() OVER (PARTITION BY itemid ORDER BY n DESC, unit) = 1 "
        "ORDER BY itemid"
    )
    pairs = " OR ".join(f"(itemid = {item} AND unit = {literal(unit)})" for item, unit in units) or "false"
    work.connection.execute(f"CREATE TEMP VIEW same_unit AS SELECT * FROM clipped WHERE {pairs}")
    of_item = dict(units)
    work.facts["units"] = {name: of_item.get(item, "") for name, item in items}
    same = work.one("SELECT count(*) FROM same_unit")
    said = "; ".join(f"{item} {unit}" for item, unit in units)
    work.note("lab values", "most frequent unit of each item", clipped, same, said)


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
        matched = work.write(
            f"SELECT record, name, value FROM ({near}) QUALIFY row_number() OVER "
            f"(PARTITION BY record, name ORDER BY distance, source, {tie}row) = 1 ORDER BY record, name"
        )
        total = work.one(f"SELECT count(*) FROM {values.sql}")
        ecgs_with = work.one(f"SELECT count(DISTINCT record) FROM {work.written}")
        kind = name.replace("_", " ")
        work.note(kind, "nearest value of each kind to an ECG", total, matched, f"{ecgs_with:,} ECGs have one or more")

    return engine.step(f"near_{name}", f"Matching {name.replace('_', ' ')}", build, [], values, records)


LOW, HIGH = 0.01, 0.99


def bounds(work: Work, rows: str, quantile: float) -> dict[str, float]:
    """Return the quantile of `value` for each `name`; names without a value are absent."""
    # Equal to numpy's and pandas' linear interpolation to the last bit: the two neighbours come from counts of equal
    # values (bounded memory), the interpolation is numpy's. DuckDB's own `quantile_cont` rounds differently, so that a
    # bound between two equal values can fall beside them and, bounds being inclusive, drop every row with that value.
    neighbours = work.all(
        f"""
        WITH counts AS (SELECT name, value, count(*) AS n FROM {rows} WHERE value IS NOT NULL GROUP BY name, value),
        running AS (
            SELECT name, value, sum(n) OVER (PARTITION BY name ORDER BY value) AS upto,
                   sum(n) OVER (PARTITION BY name) AS total
            FROM counts
        ),
        placed AS (SELECT *, CAST(floor((total - 1) * {quantile!r}e0) AS BIGINT) AS place FROM running)
        SELECT name, any_value(total), min(value) FILTER (upto > place), min(value) FILTER (upto > place + 1)
        FROM placed GROUP BY name ORDER BY name
        """
    )
    return {
        name: interpolate(int(total), quantile, low, low if high is None else high)
        for name, total, low, high in neighbours
    }


def interpolate(total: int, quantile: float, low: float, high: float) -> float:
    """Return the quantile that lies between two neighbours of `total` sorted values, rounded as numpy rounds it."""
    rank = (total - 1) * quantile
    # numpy counts from the nearer neighbour; the last bit decides whether a value lies on a bound.
    part = rank - math.floor(rank)
    step = high - low
    return high - step * (1 - part) if part >= 0.5 else low + step * part


def bounds_table(limits: dict[str, float]) -> str:
    """Return bounds as SQL of a table (name, bound)."""
    if not limits:
        return "(SELECT NULL::VARCHAR AS name, NULL::DOUBLE AS bound WHERE false)"
    # By repr, which gives the very same double back: a bound off by one bit would keep or drop other rows.
    cells = ", ".join(f"({literal(name)}, {literal(repr(value))}::DOUBLE)" for name, value in limits.items())
    return f"(SELECT * FROM (VALUES {cells}) AS bounds(name, bound))"


def within(rows: str, low: dict[str, float], high: dict[str, float]) -> str:
    """Return SQL of the rows whose value lies within the bounds of its name, bounds included."""
    return (
        f"(SELECT r.* FROM {rows} r JOIN {bounds_table(low)} l ON r.name = l.name JOIN {bounds_table(high)} h "
        "ON r.name = h.name WHERE r.value >= l.bound AND r.value <= h.bound)"
    )


def note(low: dict[str, float], high: dict[str, float]) -> str:
    """Return bounds in words, for the report."""
    return "; ".join(f"{name} {low.get(name, math.nan):g} to {high[name]:g}" for name in sorted(high))
