"""How much of a dataset's release a result is about: told from the result alone, without the data.

`dataset_scripts.core.extent` compares; here stands what a result says about its data, and what of it counts as a
deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from dataset_scripts.core.extent import RECORDS, Copy, Extent, extent
from eval_harness.results.schema import DataInfo, RecordCounts, ReleaseInfo, Result

NOT_COMPARED = Extent("not compared")


def extent_of(result: Result) -> Extent:
    """Compare what a result says of its data with what is known of the release.

    A result without `data.release` (schema below 1.3, or not finished) is judged by the records that it used.
    """
    data, deviations = result.data, result.protocol.deviations
    if data is None:
        return NOT_COMPARED
    return compare(data.name, copy_of(data), data.records.model_dump(), deviations)


def compare(name: str, copy: Copy | None, used: Mapping[str, int], deviations: Mapping[str, Any]) -> Extent:
    """Compare the records that a run used with the release of a dataset."""
    from dataset_scripts.catalog import datasets

    dataset = datasets().get(name)
    if dataset is None or deviations.get("synthetic"):
        return NOT_COMPARED
    # Results before schema 1.3 name the release only where it deviates.
    version = copy.version if copy is not None else deviations.get("version")
    return extent(dataset.known_release(version, deviations), copy, used)


def deviations_of(result: Result) -> dict[str, JsonValue]:
    """Return the deviations of a result; of an older one with the records that it does not say are missing."""
    extent = extent_of(result)
    # An older result may be of all records or of some: unknown is shown, rather than taken for complete.
    unknown: dict[str, JsonValue] = {RECORDS: "unknown"} if extent.state == "unknown" else {}
    return {**result.protocol.deviations, **extent.differences, **unknown}


def partial_words(result: Result) -> list[str]:
    """Return why a result gets no rank on a leaderboard, as far as its records tell."""
    extent = extent_of(result)
    if extent.state == "partial":
        differences = ", ".join(f"{name}={text}" for name, text in extent.differences.items())
        return [f"partial, so it gets no rank: {differences}"]
    if extent.state == "unknown":
        return ["it gets no rank: nobody can tell whether its data are all of the release; score it again"]
    return []


def copy_of(data: DataInfo) -> Copy | None:
    """Return what a result says of the copy that it was scored on, or None."""
    info = data.release
    return None if info is None else Copy(**info.model_dump())


def release_info(copy: Copy | None, column: str) -> ReleaseInfo | None:
    """Return what a result keeps of a copy: of the labels those of its own column."""
    if copy is None:
        return None
    # Labels of other columns may differ between copies without touching this score.
    labels = {name: digest for name, digest in copy.label_sha256.items() if name == column}
    return ReleaseInfo(
        version=copy.version,
        read=copy.read,
        records=RecordCounts(**copy.records),
        label_sha256=labels,
        fold_sha256=copy.fold_sha256,
    )
