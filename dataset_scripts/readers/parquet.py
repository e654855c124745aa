"""Records as Parquet: row groups that are read one at a time, samples packed tightly, pages with checksums."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow.parquet as pq

if TYPE_CHECKING:
    from datasets import Dataset


GROUP_RECORDS = 64
GROUP_BYTES = 32 * 2**20
"""Bounds of a row group: what a reader that shuffles has to read for one record."""

SHARD_BYTES = 500 * 10**6
"""Bytes of the records in one file, before packing."""

_SAMPLES = "signal.list.element.list.element"
# Neighbouring samples differ by little; the bytes of floats pack better when each kind stands together.
_ENCODINGS = {"int16": "DELTA_BINARY_PACKED", "float32": "BYTE_STREAM_SPLIT"}


def write_parquet(
    part: Dataset,
    target: Path | BinaryIO,
    *,
    group_records: int = GROUP_RECORDS,
    about: Mapping[str, str] | None = None,
    written: Callable[[int], Any] | None = None,
) -> list[int]:
    """Write a dataset with the column `signal` as one Parquet file.

    Parquet holds int16 as 32 bits; packed as differences and by zstd, a record takes half the bytes of its samples.
    """
    signal = part.features["signal"].dtype
    groups = []
    with pq.ParquetWriter(
        target,
        part.features.arrow_schema,
        compression="zstd",
        # pyarrow refuses column encodings beside a dictionary, which would be as large as the samples anyway.
        use_dictionary=False,
        column_encoding={_SAMPLES: _ENCODINGS[signal]},
        write_page_checksum=True,
    ) as writer:
        for table in part.with_format("arrow").iter(batch_size=group_records):
            # One call, one row group.
            writer.write_table(table)
            groups.append(len(table))
            if written is not None:
                written(len(table))
        writer.add_key_value_metadata(dict(about or {}))
    return groups


def shard_spans(records: int, record_bytes: float, shard_bytes: int = SHARD_BYTES) -> list[tuple[int, int]]:
    """Divide records into files of bounded size."""
    most = max(1, int(shard_bytes / max(record_bytes, 1.0)))
    files = max(1, -(-records // most))
    bounds = [records * number // files for number in range(files + 1)]
    return list(itertools.pairwise(bounds))


def records_per_group(record_bytes: float) -> int:
    """Return how many records a row group holds: 64, fewer where records are long."""
    return max(1, min(GROUP_RECORDS, int(GROUP_BYTES / max(record_bytes, 1.0))))
