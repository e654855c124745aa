"""Labels: counting, vocabularies, encoding, and a text that proves a label function against published hashes.

The counting rule (official `map_and_filter_labels`): count every occurrence of a label over all records, before any
length rule and over all folds, a label that stands twice in a record counting twice; keep those with `min_count` or
more; sort the kept ones by name. A vocabulary is only ever the filtered list, and indices only ever point into it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset


def count_occurrences(lists: Iterable[Sequence[str]]) -> Counter[str]:
    """Return how often each label occurs; repeats within a record count."""
    return Counter(label for labels in lists for label in labels)


def vocabulary(lists: Iterable[Sequence[str]], min_count: int) -> list[str]:
    """Return the labels that occur at least `min_count` times, sorted by name."""
    return sorted(label for label, count in count_occurrences(lists).items() if count >= min_count)


def encode(lists: Iterable[Sequence[str]], names: Sequence[str]) -> list[list[int]]:
    """Return each record's labels as ascending indices into `names`; repeats become one, other labels are dropped."""
    index = {name: position for position, name in enumerate(names)}
    return [sorted({index[label] for label in labels if label in index}) for labels in lists]


def multi_hot(indices: Iterable[Sequence[int]], classes: int) -> np.ndarray:
    """Return indices as a float32 matrix (records, classes) of 0 and 1; a repeated index gives 1.

    Raises:
        ValueError: an index lies outside 0 to classes - 1.
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
    """
    classes = len(split.features[column].feature.names)
    lists = split.with_format("arrow").select_columns([column])[:][column].combine_chunks()
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
    """Return one line per record, `<id>:<labels sorted and made unique, joined by comma>` and a newline."""
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
    """
    split = np.full(len(fold), "train", dtype=object)
    split[fold == last - 1] = "validation"
    split[fold == last] = "test"
    return split
