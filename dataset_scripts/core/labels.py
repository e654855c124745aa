"""Labels: counting, vocabularies, encoding, and a text that proves a label function against published hashes.

The counting rule (official `map_and_filter_labels`): count every occurrence of a label over all records, before any
length rule and over all folds, a label that stands twice in a record counting twice; keep those with `min_count` or
more; sort the kept ones by name. A vocabulary is only ever the filtered list, and indices only ever point into it.

The table that label functions see, made from a scan alone or with what the records' own files say.

`load.prepare` takes it from the record store; here it exists without one, for looking at a raw folder.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.core.spec import ECGDataset, Scan

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset


def count_occurrences(lists: Iterable[Sequence[str]]) -> Counter[str]:
    """Return how often each label occurs; repeats within a record count."""
    return Counter(label for labels in lists for label in labels)


def vocabulary(lists: Iterable[Sequence[str]], min_count: int) -> list[str]:
    """Return the labels that occur at least `min_count` times, sorted by name.

    Example:
        >>> vocabulary([["NORM"], ["AFIB", "AFIB"], ["NORM"]], min_count=2)  # repeats within a record count
        ['AFIB', 'NORM']
    """
    return sorted(label for label, count in count_occurrences(lists).items() if count >= min_count)


def encode(lists: Iterable[Sequence[str]], names: Sequence[str]) -> list[list[int]]:
    """Return each record's labels as ascending indices into `names`; repeats become one, other labels are dropped.

    Example:
        >>> encode([["NORM", "AFIB", "NORM"], ["rare"]], names=["AFIB", "NORM"])  # a record may end up without a label
        [[0, 1], []]
    """
    # PTB-XL names classes, SPH primary codes twice in a record; models are trained on 0 and 1.
    index = {name: position for position, name in enumerate(names)}
    return [sorted({index[label] for label in labels if label in index}) for labels in lists]


def multi_hot(indices: Iterable[Sequence[int]], classes: int) -> np.ndarray:
    """Return indices as a float32 matrix (records, classes) of 0 and 1; a repeated index gives 1.

    Raises:
        ValueError: an index lies outside 0 to classes - 1.

    Example:
        >>> multi_hot([[0, 2], []], classes=3)
        array([[1., 0., 1.],
               [0., 0., 0.]], dtype=float32)
        >>> multi_hot([[3]], classes=3)
        Traceback (most recent call last):
            ...
        ValueError: label indices run from 3 to 3, there are 3 classes
    """
    rows = list(indices)
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    columns = np.fromiter((c for row in rows for c in row), dtype=np.int64, count=int(lengths.sum()))
    return _fill(len(rows), classes, np.repeat(np.arange(len(rows)), lengths), columns)


def label_matrix(split: Dataset, column: str) -> np.ndarray:
    """Return a label column of a split as float32 matrix (records, labels) of 0 and 1.

    Args:
        split: a split of `dataset_scripts.load_dataset`, also after select or shuffle.
        column: a label column, e.g. "label_all".

    Example:
        >>> import datasets
        >>> labels = datasets.ClassLabel(names=["AFIB", "MI", "NORM"])
        >>> features = datasets.Features({"label": datasets.List(labels)})
        >>> split = datasets.Dataset.from_dict({"label": [[2], [0, 1], []]}, features=features)
        >>> label_matrix(split.select([1, 2]), "label")
        array([[1., 1., 0.],
               [0., 0., 0.]], dtype=float32)
    """
    classes = len(split.features[column].feature.names)
    # `[:]` follows `select` and `shuffle`, which the table underneath does not.
    lists = split.with_format("arrow").select_columns([column])[:][column].combine_chunks()
    # Not `.values`, which of a sliced array holds all that lies before and behind the slice as well.
    columns = lists.flatten().to_numpy(zero_copy_only=False)
    lengths = np.diff(lists.offsets.to_numpy(zero_copy_only=False))
    return _fill(len(lists), classes, np.repeat(np.arange(len(lists)), lengths), columns)


def _fill(records: int, classes: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    if columns.size and not 0 <= columns.min() <= columns.max() < classes:
        raise ValueError(f"label indices run from {columns.min()} to {columns.max()}, there are {classes} classes")
    matrix = np.zeros((records, classes), dtype=np.float32)
    matrix[rows, columns] = 1.0
    return matrix


def canonical_text(record_ids: Iterable[str], lists: Iterable[Sequence[str]]) -> str:
    """Return one line per record, `<id>:<labels sorted and made unique, joined by comma>` and a newline.

    Example:
        >>> print(canonical_text(["00001"], [["NORM", "AFIB", "NORM"]]), end="")
        00001:AFIB,NORM
    """
    return "".join(f"{i}:{','.join(sorted(set(labels)))}\n" for i, labels in zip(record_ids, lists, strict=True))


def canonical_sha256(record_ids: Iterable[str], lists: Iterable[Sequence[str]]) -> str:
    """Return the SHA-256 of the canonical text in UTF-8: equal hashes mean equal labels for every record."""
    return hashlib.sha256(canonical_text(record_ids, lists).encode()).hexdigest()


def fold_sha256(record_ids: Iterable[str], fold: Iterable[int]) -> str:
    """Return the SHA-256 of a line "<record_id>,<fold>" per record: equal hashes mean equal folds for every record."""
    lines = "".join(f"{record},{number}\n" for record, number in zip(record_ids, fold, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def split_by_fold(fold: np.ndarray, last: int) -> np.ndarray:
    """Return "test" for the last fold, "validation" for the one before, "train" for all lower ones (-1 included).

    Args:
        fold: (records,) int.
        last: the fold that is the test set.

    Example:
        >>> split_by_fold(np.array([-1, 1, 9, 10]), last=10).tolist()
        ['train', 'train', 'validation', 'test']
    """
    # A record without a label has fold -1, which lies below the others and trains, as published.
    split = np.full(len(fold), "train", dtype=object)
    split[fold == last - 1] = "validation"
    split[fold == last] = "test"
    return split


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
    """Return the metadata that `ECGDataset.label_table` takes, in the store's types; without `seen` none is short."""
    import pyarrow as pa

    types = {**_OWN, **dataset.metadata_columns}
    arrays = []
    for name, kind in types.items():
        values = [sampling_rate] * len(table) if name == "sampling_rate" else _values(table, name)
        if seen is not None:
            values = [item.metadata.get(name, value) for item, value in zip(seen, values, strict=True)]
        # Through Arrow's types, so that label functions see the very values that a record store would give them.
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
