"""One shard of a record store: some hundred records, read, checked, written and marked as finished.

A shard is an Arrow file, its part of the report and, written last, a marker that both are whole. Each appears under
its name only when complete, so a killed preparation leaves finished shards and nothing that could be taken for one;
the next run keeps those and writes the others.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from datasets import Features
from datasets.arrow_writer import ArrowWriter
from datasets.features.features import Array2DExtensionType

from dataset_scripts.core.fingerprint import record_digest
from dataset_scripts.core.report import report_text, row
from dataset_scripts.core.spec import OWN_COLUMNS, ECGDataset, RawRecord, RecordExcluded, Signal
from ecg_hub.errors import DataError, RemoteError
from ecg_hub.input.samples import MISSING
from ecg_hub.leads import LEADS
from ecg_hub.utils.files import replacing
from ecg_hub.utils.remote import fetch_all, publish, ready, release, url_of
from ecg_hub.utils.untrusted import check_values, plain_file, reading, record_bounds, stated_record_mb

# How much is held in memory while a shard is written, by whichever bound comes first.
BATCH_RECORDS = 64
BATCH_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Shard:
    """What a worker needs to write one shard; `shared` names files of its records that hold others' records, too."""

    dataset: ECGDataset
    folder: Path
    records: Sequence[RawRecord]
    sampling_rate: int
    features: Features
    max_record_mb: float | None = None
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ShardFiles:
    """The three files of a shard in the making: signals, report, and the marker that says both are whole."""

    folder: Path
    name: str

    @property
    def signals(self) -> Path:
        """The Arrow file."""
        return self.folder / f"{self.name}.arrow"

    @property
    def report(self) -> Path:
        """The lines of this shard in the report."""
        return self.folder / f"{self.name}.csv"

    @property
    def marker(self) -> Path:
        """Written last: rows, Arrow bytes, and the sizes of the other two files."""
        return self.folder / f"{self.name}.json"

    def publish(self) -> None:
        """Send the files to the place that the folder stands for, the marker last."""
        for path in (self.signals, self.report, self.marker):
            publish(path)

    def finished(self) -> dict[str, int] | None:
        """Return the marker's content if an earlier run finished this shard, else None."""
        try:
            state: dict[str, int] = json.loads(self.marker.read_text())
            # Sizes and no digests: they show a file that was cut off, and cost nothing for hundreds of shards.
            whole = [state["signals"], state["report"]] == [f.stat().st_size for f in (self.signals, self.report)]
        except (OSError, ValueError, KeyError):
            return None
        return state if whole else None


def files_of(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the files of the names given, with whatever ending; none of a folder of this machine."""
    if url_of(folder) is None:
        return []
    wanted: dict[Path, set[str]] = {}
    for name in names:
        path = folder / name
        wanted.setdefault(path.parent, set()).update((path.name, path.stem))
    # A record inside a zip file lies in no folder; its archive is fetched when it is opened.
    found = [(path, stems) for parent, stems in wanted.items() if parent.is_dir() for path in parent.iterdir()]
    return [path for path, stems in found if path.name in stems or path.stem in stems]


def write_shard(shard: Shard, files: ShardFiles) -> dict[str, int]:
    """Write a shard: signals, report, marker, each atomically and in this order."""
    # All at once, since one after the other would wait for the network most of the time.
    ready(shard.folder)
    names = {record.file for record in shard.records}
    fetch_all(files_of(shard.folder, names))
    report: list[dict[str, Any]] = []
    with appearing(files.signals) as stream:
        writer = ArrowWriter(features=shard.features, stream=stream, writer_batch_size=BATCH_RECORDS)
        for batch in _batches(shard, report):
            writer.write_table(_to_table(batch, shard.features))
        # `appearing` has to flush the stream before it is renamed, and closes it itself.
        rows, num_bytes = writer.finalize(close_stream=False)
    with appearing(files.report) as stream:
        stream.write(report_text(report).encode())
    sizes = {"signals": files.signals.stat().st_size, "report": files.report.stat().st_size}
    state = {"rows": int(rows), "num_bytes": int(num_bytes), **sizes}
    # Last: whoever sees the marker may rely on the other two files.
    with appearing(files.marker) as stream:
        stream.write(json.dumps(state).encode())
    files.publish()
    # An archive that is larger than the disk passes through: what nobody else needs goes as soon as it is written.
    release(files_of(shard.folder, names - shard.shared))
    return state


@contextmanager
def appearing(target: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name only when it is complete and on the disk."""
    with (
        replacing(target, target.with_name(f"{target.name}.{os.getpid()}.partial")) as partial,
        partial.open("wb") as stream,
    ):
        yield stream


def read_all(shard: Shard) -> Iterator[tuple[dict[str, Any], RawRecord, Signal | None]]:
    """Read the records of a shard in order: report line, record, and its signal where it is usable."""
    for record in shard.records:
        try:
            signal = read_record(shard.dataset, shard.folder, record, shard.max_record_mb)
            _check(signal, shard)
        except RecordExcluded as rule:
            yield row(record.record_id, record.file, "excluded", str(rule)), record, None
        # No fault of the file: with more memory, or a network, the record can be read, so it must not count as lost.
        except (MemoryError, RemoteError):
            raise
        except Exception as error:  # whatever a damaged file provokes: the record is lost, the reason is kept
            reason = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            yield row(record.record_id, record.file, "lost", reason), record, None
        else:
            digest = record_digest(record, signal)
            remark = "; ".join(filter(None, (signal.remark, _emptiness(signal))))
            yield row(record.record_id, record.file, "ok", remark, len(signal.samples), digest), record, signal


def read_record(dataset: ECGDataset, folder: Path, record: RawRecord, max_record_mb: float | None = None) -> Signal:
    """Read one record of a raw folder: the one way from files to signals.

    Raises:
        RecordExcluded: a rule of the dataset leaves it out.
        DataError: its files are damaged, lie outside of the folder, or would become larger than the bound in MB.
    """
    with (
        record_bounds(max_record_mb or stated_record_mb() or dataset.max_record_mb, folder, dataset.links(folder)),
        reading(record.file or record.record_id, passing=(RecordExcluded,)),
    ):
        # Archives whose files hold many records are larger than any of these.
        if (folder / record.file).exists():
            plain_file(folder / record.file, math.inf)
        signal = dataset.read(folder, record)
        check_values(signal.samples.size, record.file or record.record_id)
        return signal


def example(record: RawRecord, signal: Signal, features: Features) -> dict[str, Any]:
    """Return one row of the store; what the record's own file says wins over the tables."""
    identity = {"record_id": record.record_id, "patient_id": record.patient_id, "age": record.age, "sex": record.sex}
    values = {**identity, **record.metadata, **signal.metadata}
    own = {"signal": signal.samples, "gain_uv": signal.gain_uv, "baseline": signal.baseline}
    values |= {**own, "sampling_rate": signal.sampling_rate}
    unknown = set(values) - set(features)
    if unknown:
        raise TypeError(f"metadata_columns does not declare {', '.join(sorted(unknown))}")
    return {name: values.get(name) for name in features}


def _batches(shard: Shard, report: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield rows in batches bounded by number and by bytes, and collect the report on the way."""
    batch: list[dict[str, Any]] = []
    held = 0
    for line, record, signal in read_all(shard):
        # Lost and excluded records have a line too: every record of the raw folder is accounted for.
        report.append(line)
        if signal is None:
            continue
        # By bytes too: two minutes at 1000 Hz (PTB) take 24 times the room of ten seconds at 500 Hz.
        if batch and (len(batch) == BATCH_RECORDS or held + signal.samples.nbytes > BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(example(record, signal, shard.features))
        held += signal.samples.nbytes
    if batch:
        yield batch


def _to_table(batch: Sequence[dict[str, Any]], features: Features) -> pa.Table:
    schema = features.arrow_schema
    columns = []
    for name in features:
        values = [item[name] for item in batch]
        if name == "signal":
            columns.append(_signal_array(values, features["signal"].dtype))
        elif name in ("gain_uv", "baseline"):
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(values)), len(LEADS)))
        else:
            columns.append(pa.array(values, type=schema.field(name).type))
    return pa.Table.from_arrays(columns, schema=schema)


def _signal_array(signals: Sequence[np.ndarray], dtype: str) -> pa.ExtensionArray:
    """Return signals (samples, 12) of different lengths as one Arrow array; the samples are copied once."""
    # Built from flat samples and offsets: made from nested lists, every sample would be a Python object on the way.
    values = pa.array(np.concatenate([signal.reshape(-1) for signal in signals]))
    # Arrow's plain lists have 32-bit offsets; BATCH_BYTES keeps a batch far below 2**31 samples.
    ends = np.cumsum([0, *map(len, signals)], dtype=np.int32)
    rows = pa.ListArray.from_arrays(pa.array(np.arange(ends[-1] + 1, dtype=np.int32) * len(LEADS)), values)
    storage = pa.ListArray.from_arrays(pa.array(ends), rows)
    return pa.ExtensionArray.from_storage(Array2DExtensionType((None, len(LEADS)), dtype), storage)


def _check(signal: Signal, shard: Shard) -> None:
    """Check what `read` returned against the declared columns."""
    expected = shard.features["signal"].dtype
    if signal.samples.ndim != 2 or signal.samples.shape[1] != len(LEADS):
        raise DataError(f"the signal has shape {signal.samples.shape}, not (samples, {len(LEADS)})")
    if not len(signal.samples):
        raise DataError("the record has no samples")
    if signal.samples.dtype != expected:
        raise DataError(f"the signal is {signal.samples.dtype}, not {expected}")
    if signal.sampling_rate != shard.sampling_rate:
        raise DataError(f"the record is sampled at {signal.sampling_rate} Hz, not {shard.sampling_rate} Hz")
    misplaced = set(signal.metadata) & (set(OWN_COLUMNS) - {"patient_id", "age", "sex"})
    if misplaced:
        raise TypeError(f"Signal.metadata may not set {', '.join(sorted(misplaced))}")


def _emptiness(signal: Signal) -> str:
    """Return a remark on a record without content."""
    # Named and not left out: the published preparations keep such records.
    if signal.samples.dtype == np.int16 and (signal.samples == MISSING).all():
        return "every sample is missing"
    return "" if signal.samples.any() else "every sample is 0"
