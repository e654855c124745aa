"""Percentiles of long tables by kind, exact and in bounded memory.

Equal to numpy's and pandas' linear interpolation to the last bit: the two neighbouring values come from counts of
equal values, the interpolation is numpy's. DuckDB's own `quantile_cont` rounds differently, so that a bound between
two equal values can fall beside them and, the bounds being inclusive, drop every row that holds the value.
"""

from __future__ import annotations

import math

from dataset_scripts.mimic.engine import Work
from dataset_scripts.mimic.sources import literal

LOW, HIGH = 0.01, 0.99


def bounds(work: Work, rows: str, quantile: float) -> dict[str, float]:
    """Return the quantile of `value` for each `name`; names without a value are absent.

    Args:
        work: the step that asks.
        rows: SQL of a table with the columns name and value.
        quantile: in 0..1.
    """
    found = work.all(
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
        name: interpolate(int(total), quantile, low, low if high is None else high) for name, total, low, high in found
    }


def interpolate(total: int, quantile: float, low: float, high: float) -> float:
    """Return the quantile that lies between two neighbours of `total` sorted values, rounded as numpy rounds it."""
    place = (total - 1) * quantile
    part = place - math.floor(place)
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
