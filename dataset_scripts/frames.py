"""The table that label functions see, made from a scan alone or with what the records' own files say.

`load.prepare` takes it from the record store; here it exists without one, for looking at a raw folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataset_scripts.spec import ECGDataset, Scan

if TYPE_CHECKING:
    import pandas as pd

LONG_SAMPLES = 2**31 - 1
"""The length of a record that was not read: no length rule leaves it out."""

_OWN = {"record_id": "string", "patient_id": "string", "sampling_rate": "int32", "age": "float32", "sex": "string"}


@dataclass(frozen=True)
class Seen:
    """What a record's own file says: samples per lead, and metadata that win over the tables."""

    samples: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


def from_headers(dataset: ECGDataset, scan: Scan) -> list[str]:
    """Return the metadata columns that the tables lack or leave empty, so that only reading the records gives them."""
    return [name for name in dataset.metadata_columns if name not in scan.table or scan.table[name].isna().all()]


def label_frame(
    dataset: ECGDataset, table: pd.DataFrame, sampling_rate: int, seen: Sequence[Seen] | None = None
) -> pd.DataFrame:
    """Return the metadata that `ECGDataset.label_table` takes, in the types that the store gives them.

    Args:
        dataset: whose columns to make.
        table: rows of `Scan.table`.
        sampling_rate: Hz.
        seen: one per row; None takes every record for long enough.
    """
    import pyarrow as pa

    types = {**_OWN, **dataset.metadata_columns}
    arrays = []
    for name, kind in types.items():
        values = [sampling_rate] * len(table) if name == "sampling_rate" else _values(table, name)
        if seen is not None:
            values = [item.metadata.get(name, value) for item, value in zip(seen, values, strict=True)]
        arrays.append(pa.array(values, type=_arrow_type(kind)))
    frame: pd.DataFrame = pa.table(arrays, names=list(types)).to_pandas()
    frame["samples"] = [LONG_SAMPLES] * len(table) if seen is None else [item.samples for item in seen]
    return frame


def _values(table: pd.DataFrame, name: str) -> list[Any]:
    """Return a column with None for what is missing, also for the whole of an absent one."""
    if name not in table:
        return [None] * len(table)
    column = table[name]
    values: list[Any] = column.astype(object).where(column.notna(), None).tolist()
    return values


def _arrow_type(name: str) -> Any:
    import pyarrow as pa

    return pa.string() if name == "string" else pa.type_for_alias(name)
