"""The predictions of a run as one parquet file: records of validation and test, targets and outputs.

They are written before any metric is computed, so that metrics can be computed again without the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ecg_hub.errors import DataError, InputError, ResultError
from ecg_hub.utils.files import atomic_path, file_sha256
from ecg_hub.utils.untrusted import plain_file

SPLITS = ("validation", "test")
METADATA_KEY = b"ecg_hub"
# Raised only when old readers would go wrong: columns and entries that they may ignore need no new version.
FORMAT_VERSION = "1"
OPTIONAL = {"patient_id": pa.string(), "age": pa.float32(), "sex": pa.string()}
"""Columns that a dataset may lack, with their types."""


@dataclass(frozen=True)
class Predictions:
    """Targets and outputs of one run, rows = records of validation and test.

    Attributes:
        run: name of the training run.
        kind: multi_label_classification, regression or mixed.
        labels: names of the outputs, in the order of the columns; each once.
        split: (records,) "validation" or "test".
        record_id: (records,) the dataset's own names.
        y_true: (records, outputs) float32, NaN = no target.
        y_prob: (records, outputs) float32: probabilities of classes, raw values of regression targets.
        patient_id: (records,) with None where unknown; None when the dataset has no patients.
        regression_targets: the outputs that are regression targets.
        age: (records,) years, None where unknown; None when the dataset has no ages.
        sex: (records,) "female", "male" or None; None when the dataset has none.
        scales: regression target -> (standard deviation, unit) that turns its z-scores into clinical units.
        groups: target group of the dataset -> its names among the labels, where the dataset groups them.
    """

    run: str
    kind: str
    labels: tuple[str, ...]
    split: Sequence[str]
    record_id: Sequence[str]
    y_true: NDArray[np.float32]
    y_prob: NDArray[np.float32]
    patient_id: Sequence[str | None] | None = None
    regression_targets: tuple[str, ...] = ()
    age: Sequence[float | None] | None = None
    sex: Sequence[str | None] | None = None
    scales: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that lengths, shapes, splits and names fit together."""
        records, shape = len(self.record_id), (len(self.record_id), len(self.labels))
        lengths = {"split": len(self.split)}
        lengths |= {name: len(values) for name, values in self._optional().items() if values is not None}
        for name, length in lengths.items():
            if length != records:
                raise InputError(f"{name} has {length} entries for {records} records.")
        for name in ("y_true", "y_prob"):
            actual = getattr(self, name).shape
            if actual != shape:
                raise InputError(f"{name} has the shape {actual!r}; (records, labels) = {shape!r} is expected.")
        odd = sorted(set(self.split) - set(SPLITS))
        if odd:
            raise InputError(f"Unknown split {odd[0]!r}; allowed: {', '.join(SPLITS)}.")
        if len(set(self.labels)) != len(self.labels) or not set(self.regression_targets) <= set(self.labels):
            raise InputError("Labels must be unique, and regression targets among them.")
        values = self.labels if self.kind == "regression" else self.regression_targets
        # By column and past NaN, without a copy: a joint run has a thousand labels of 100,000 records.
        ends = (np.fmin.reduce(self.y_prob, axis=0, initial=0.0), np.fmax.reduce(self.y_prob, axis=0, initial=1.0))
        for label, least, most in zip(self.labels, *ends, strict=True):
            if label not in values and (least < 0 or most > 1):
                value = least if least < 0 else most
                raise InputError(
                    f"y_prob has {value:.4g} for the class {label!r}; probabilities lie from 0 to 1, logits do not."
                )

    def part(self, split: str) -> Predictions:
        """Return the records of one split, in the same order."""
        if split not in SPLITS:
            raise InputError(f"Unknown split {split!r}; allowed: {', '.join(SPLITS)}.")
        rows = [row for row, name in enumerate(self.split) if name == split]
        return Predictions(
            run=self.run,
            kind=self.kind,
            labels=self.labels,
            split=[split] * len(rows),
            record_id=[self.record_id[i] for i in rows],
            y_true=self.y_true[rows],
            y_prob=self.y_prob[rows],
            regression_targets=self.regression_targets,
            scales=self.scales,
            groups=self.groups,
            **{
                name: None if values is None else [values[i] for i in rows] for name, values in self._optional().items()
            },
        )

    def _optional(self) -> dict[str, Any]:
        """The columns that a dataset may lack."""
        return {name: getattr(self, name) for name in OPTIONAL}


def write_predictions(path: Path, predictions: Predictions) -> str:
    """Write predictions atomically and return the SHA-256 of the file.

    Columns: split, record_id, patient_id, age, sex (where known), y_true and y_prob as fixed-size lists of float32.
    Run, kind, label names, groups and scales are in the file's metadata.
    """
    columns: dict[str, Any] = {
        # Two words in a million rows: as a dictionary they cost a byte each.
        "split": pa.array(list(predictions.split), pa.string()).dictionary_encode(),
        "record_id": pa.array(list(predictions.record_id), pa.string()),
    }
    for name, values in predictions._optional().items():
        if values is not None:
            columns[name] = pa.array(list(values), OPTIONAL[name])
    columns |= {"y_true": _fixed_lists(predictions.y_true), "y_prob": _fixed_lists(predictions.y_prob)}
    about = {
        "format_version": FORMAT_VERSION,
        "run": predictions.run,
        "kind": predictions.kind,
        "labels": list(predictions.labels),
        "regression_targets": list(predictions.regression_targets),
        "scales": {name: list(scale) for name, scale in predictions.scales.items()},
        "groups": {name: list(members) for name, members in predictions.groups.items()},
    }
    # In the file itself: predictions that are copied without their folder still say what they are.
    table = pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(about, ensure_ascii=False).encode()})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return predictions_sha256(path)


def read_predictions(path: Path, sha256: str | None = None) -> Predictions:
    """Read predictions, after checking their digest where one is given."""
    _check_plain(path)
    # Before anything is parsed: a changed file is refused whatever it holds.
    if sha256 is not None and (actual := predictions_sha256(path)) != sha256:
        raise ResultError(f"{str(path)!r} was changed after it was scored: SHA-256 {actual}, recorded {sha256}.")
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[METADATA_KEY])
        if about["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version {about['format_version']!r}, this ecg-hub reads {FORMAT_VERSION!r}")
        optional = {name: kind for name, kind in OPTIONAL.items() if name in table.column_names}
        return Predictions(
            run=_text(about["run"]),
            kind=_text(about["kind"]),
            labels=tuple(_texts(about["labels"])),
            split=table["split"].to_pylist(),
            record_id=table["record_id"].cast(pa.string()).to_pylist(),
            y_true=_matrix(table["y_true"], len(about["labels"])),
            y_prob=_matrix(table["y_prob"], len(about["labels"])),
            regression_targets=tuple(_texts(about["regression_targets"])),
            # Files written before there were scales and groups lack them.
            scales={name: (float(scale), str(unit)) for name, (scale, unit) in about.get("scales", {}).items()},
            groups={name: _texts(labels) for name, labels in about.get("groups", {}).items()},
            **{name: table[name].cast(kind).to_pylist() for name, kind in optional.items()},
        )
    # Whatever a stranger may have written there: nested brackets, a list or a number in place of what is read.
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RecursionError, pa.ArrowException) as error:
        raise ResultError(f"{str(path)!r} cannot be read as predictions of a run ({error}).") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text is expected, not {str(value)[:50]!r}")
    return value


def _texts(values: object) -> list[str]:
    if not isinstance(values, list):
        raise ValueError(f"a list of texts is expected, not {str(values)[:50]!r}")
    return [_text(value) for value in values]


def predictions_sha256(path: Path) -> str:
    """Return the SHA-256 of a file of predictions in hexadecimal."""
    _check_plain(path)
    return file_sha256(path)


def _check_plain(path: Path) -> None:
    # A link of a stranger may lead to a pipe or device, which never ends.
    try:
        plain_file(path, math.inf)
    except DataError as error:
        raise ResultError(f"{str(path)!r} cannot be read ({error}).") from error
    except OSError as error:
        raise ResultError(f"{str(path)!r} cannot be read ({error.strerror or error}).") from error


def _fixed_lists(matrix: NDArray[np.float32]) -> Any:
    # One flat buffer with a fixed width: neither writing nor reading makes a Python object of every number.
    values = pa.array(np.ascontiguousarray(matrix, dtype=np.float32).ravel(), pa.float32())
    return pa.FixedSizeListArray.from_arrays(values, matrix.shape[1])


def _matrix(column: Any, width: int) -> NDArray[np.float32]:
    lists = column.combine_chunks()
    # A column without rows has lost its width, which an empty matrix must still have.
    if len(lists) == 0:
        return np.empty((0, width), dtype=np.float32)
    values: NDArray[np.float32] = lists.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(lists), width)
