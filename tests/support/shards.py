"""Small shards of made-up records, written without the code under test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecg_hub.input.feature_extraction import ECGFeatureExtractor
from ecg_hub.leads import LEADS

RATE = 100


def extractor(rate: int = 50, seconds: float = 2.0) -> ECGFeatureExtractor:
    """A quick stand-in for the extractor of pre-training: windows of two seconds at 50 Hz, clipped to 3 mV."""
    preset = {
        "sampling_rate": rate,
        "input_seconds": seconds,
        "lead_names": list(LEADS),
        "steps": [{"name": "clip", "low_mv": -3.0, "high_mv": 3.0}],
    }
    return ECGFeatureExtractor(presets={"native": preset}, preset="native")


def record(name: str, samples: int = 2 * RATE, rate: int = RATE, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """One record with noise of some 0.2 mV; its columns can be replaced."""
    rng = np.random.default_rng([seed, sum(name.encode())])
    made = {
        "record_id": name,
        "patient_id": f"patient of {name}",
        "signal": rng.integers(-400, 400, (samples, len(LEADS))).astype(np.int16),
        "gain_uv": np.full(len(LEADS), 1.0, np.float32),
        "baseline": np.zeros(len(LEADS), np.int32),
        "sampling_rate": rate,
        "age": 50.0,
        "sex": "female",
        "fold": 0,
        "split": "train",
    }
    return made | changes


def records(count: int, prefix: str = "r", **changes: Any) -> list[dict[str, Any]]:
    """Records r0, r1, ..."""
    return [record(f"{prefix}{number}", seed=number, **changes) for number in range(count)]


def table(rows: Sequence[dict[str, Any]], without: Sequence[str] = ()) -> pa.Table:
    """Records as a table in canonical form; a signal may be None or of other leads."""
    kinds = {
        "record_id": pa.string(), "patient_id": pa.string(), "signal": pa.list_(pa.list_(_kind(rows))),
        "gain_uv": pa.list_(pa.float32(), 12), "baseline": pa.list_(pa.int32(), 12), "sampling_rate": pa.int32(),
        "age": pa.float32(), "sex": pa.string(), "fold": pa.int32(), "split": pa.string(),
    }  # fmt: skip
    columns = {name: [row[name] for row in rows] for name in kinds}
    columns["signal"] = [None if signal is None else list(signal) for signal in columns["signal"]]
    kept = {name: pa.array(values, kinds[name]) for name, values in columns.items() if name not in without}
    return pa.table(kept)


def _kind(rows: Sequence[dict[str, Any]]) -> pa.DataType:
    known = [row["signal"].dtype for row in rows if isinstance(row["signal"], np.ndarray)]
    return pa.from_numpy_dtype(known[0] if known else np.int16)


def write_parquet(
    path: Path, rows: Sequence[dict[str, Any]], group: int = 8, without: Sequence[str] = (), **options: Any
) -> Path:
    """Write records as one Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(rows, without), path, row_group_size=group, write_page_checksum=True, **options)
    return path


def write_arrow(path: Path, rows: Sequence[dict[str, Any]], batch: int = 8, file: bool = False) -> Path:
    """Write records as one Arrow file: a stream, or the form for random access."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = table(rows)
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(str(path), whole.schema) as writer:
        writer.write_table(whole, max_chunksize=batch)
    return path
