"""Rows and batches of `load_dataset` as recordings: signal, gain, baseline, rate and leads are all in them.

The samples become millivolts by the function that a run reads them with, so that a model is fed the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ecg_hub.errors import InputError
from ecg_hub.input.recordings import Recording, real_matrix
from ecg_hub.input.samples import Repair, to_millivolt
from ecg_hub.leads import LEADS

COLUMNS = ("signal", "gain_uv", "baseline", "sampling_rate")
"""What a row has to hold; `record_id` names it in errors, `clip_mv` says which repair its dataset declares."""

_REMEDY = "The gain of the row is wrong: if its archive is in microvolts, prepare it again with unit: uV."


def is_batch(signals: Any) -> bool:
    """Return whether this is a batch `ds[:8]`, columns of equal length, and not a row `ds[0]`."""
    return isinstance(signals, Mapping) and "sampling_rate" in signals and np.ndim(signals["sampling_rate"]) > 0


def rows_of(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a batch, with the columns that are used alone: formatting the others takes time."""
    _check_columns(batch)
    used = {"signal": _signals(batch)}
    used |= {name: batch[name] for name in (*COLUMNS[1:], "record_id", "clip_mv") if name in batch}
    return [{name: column[row] for name, column in used.items()} for row in range(len(used["signal"]))]


def row_recording(row: Mapping[str, Any]) -> Recording:
    """Return a row as recording: the twelve leads in canonical order, mV or z-scores, repaired as its dataset declares.

    Example:
        >>> row = {"signal": [[200] * 12, [-32768] * 12], "gain_uv": [5.0] * 12, "baseline": [0] * 12}
        >>> recording = row_recording({**row, "sampling_rate": 500})
        >>> recording.values[0], recording.units[0]  # -32768 stands for a missing sample
        (array([ 1., nan], dtype=float32), 'mV')
        >>> row_recording(row)
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: A row of load_dataset has the columns signal, gain_uv, baseline, sampling_rate; ...
    """
    _check_columns(row)
    stored = real_matrix(row["signal"])
    if stored.shape[1] != len(LEADS):
        raise InputError(f"The signal of a row is (samples, {len(LEADS)}), not of shape {stored.shape}.")
    stated = float(row["sampling_rate"])
    rate = int(stated) if stated.is_integer() else stated
    gain_uv = np.asarray(row["gain_uv"], dtype=np.float32)
    if np.isnan(gain_uv).all():
        return Recording(stored.astype(np.float32).T, rate, LEADS, ["zscore"] * len(LEADS))
    baseline = np.asarray(row["baseline"], dtype=np.int32)
    values = to_millivolt(stored, gain_uv, baseline)
    if row.get("clip_mv") is not None:
        Repair(float(row["clip_mv"])).apply(values, 0, stored, gain_uv, baseline)
    return Recording(values.T, rate, LEADS, ["mV"] * len(LEADS), _REMEDY)


def _signals(batch: Mapping[str, Any]) -> Any:
    """Return the signals of a batch, one by one."""
    # `map` hands over an Arrow table that becomes Python objects column by column, on demand: of a thousand records
    # sixty million integers, 2.7 GB. The table is there, and its samples are read without a copy.
    untouched = "signal" in getattr(batch, "keys_to_format", ())
    column = batch.pa_table.column("signal") if untouched else None  # type: ignore[attr-defined]
    if column is None or not hasattr(column.type, "storage_type"):
        return batch["signal"]
    signals: list[Any] = []
    for chunk in column.chunks:
        flat = chunk.storage.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, chunk.type.shape[1])
        signals += np.split(flat, np.cumsum(chunk.storage.value_lengths().to_numpy())[:-1])
    return signals


def _check_columns(row: Mapping[str, Any]) -> None:
    absent = [name for name in COLUMNS if name not in row]
    if absent:
        raise InputError(
            f"A row of load_dataset has the columns {', '.join(COLUMNS)}; this one lacks {', '.join(absent)}. "
            "Leave them in, or pass the signal as an array (leads, samples) with sampling_rate and lead_names."
        )
