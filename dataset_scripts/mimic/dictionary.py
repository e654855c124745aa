"""The two dictionaries of item ids, d_labitems and d_items."""

from __future__ import annotations

from dataset_scripts.mimic.engine import Work
from dataset_scripts.mimic.selection import whole
from dataset_scripts.mimic.sources import Source
from ecg_hub.errors import DataError


def read_dictionary(work: Work, source: Source, wanted: str) -> None:
    """Make the temporary table `dictionary` (itemid, label) of the items that meet a condition.

    Args:
        work: the step that needs it.
        source: d_labitems.csv or d_items.csv.
        wanted: SQL over itemid and label.

    Raises:
        DataError: an item is listed twice, or no item meets the condition.
    """
    work.source = source
    work.connection.execute(
        f"CREATE TEMP TABLE dictionary AS SELECT itemid, label FROM (SELECT {whole('itemid')} AS itemid, label "
        f"FROM {source.rows('itemid', 'label')}) WHERE {wanted}"
    )
    page = f"get {source.spec.release} from {source.spec.page}"
    twice = work.all("SELECT itemid, count(*) FROM dictionary GROUP BY itemid HAVING count(*) > 1 ORDER BY 1 LIMIT 1")
    if twice:
        raise DataError(f"{str(source.path)!r} lists item {twice[0][0]} {twice[0][1]} times, not once; {page}.")
    if not source.absent and not work.one("SELECT count(*) FROM dictionary"):
        raise DataError(f"{str(source.path)!r} holds none of the needed items. It may be of another release: {page}.")
