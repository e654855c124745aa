"""For each ECG the nearest value of each kind, and percentiles of long tables in bounded memory.

Equal to numpy's and pandas' linear interpolation to the last bit: the two neighbouring values come from counts of
equal values, the interpolation is numpy's. DuckDB's own `quantile_cont` rounds differently, so that a bound between
two equal values can fall beside them and, the bounds being inclusive, drop every row that holds the value.
"""

from __future__ import annotations

import math

from dataset_scripts.published.mimic_iv_ecg.engine import Engine, Result, Work
from dataset_scripts.published.mimic_iv_ecg.sources import literal

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
