"""Lab values from labevents.csv and from chart events."""

from __future__ import annotations

from dataset_scripts.mimic.chart import frequent_labels, label_list
from dataset_scripts.mimic.dictionary import read_dictionary
from dataset_scripts.mimic.engine import Engine, Result, Work
from dataset_scripts.mimic.names import CHART_LAB_WITHOUT_UNIT, CHART_LABS, LAB_ITEMS, LAB_VALUES
from dataset_scripts.mimic.percentiles import HIGH, LOW, bounds, note, within
from dataset_scripts.mimic.selection import whole
from dataset_scripts.mimic.sources import Source, literal, number


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
