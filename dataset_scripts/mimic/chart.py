"""The rows of chartevents that add to other tables: weights, heights, vital signs, some lab values."""

from __future__ import annotations

from dataset_scripts.mimic.dictionary import read_dictionary
from dataset_scripts.mimic.engine import Engine, Result, Work
from dataset_scripts.mimic.names import CHART_LABELS
from dataset_scripts.mimic.selection import whole
from dataset_scripts.mimic.sources import Source, literal, number


def read_chart(engine: Engine, events: Source, items: Source, records: Result) -> Result:
    """Read the wanted rows of chartevents.csv for subjects of the records table, in one pass.

    Columns: row, subject_id, label, time (storetime), value, unit. Rows without a value stay: they count towards the
    minimum that a label must reach.
    """

    def build(work: Work) -> None:
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
    return ", ".join(map(literal, sorted(labels))) or "NULL"
