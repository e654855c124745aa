"""Running a model over records: windows of several records share a batch, a damaged record becomes a row."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecg_hub.errors import EcgHubError, InputError
from ecg_hub.input.recordings import array_recording
from ecg_hub.utils import terminal
from ecg_hub.utils.memory import freed_memory_kept


@dataclass(frozen=True)
class RecordSource:
    """A record that a function of somebody else's reads: what stands for a path where no file holds just one record.

    Attributes:
        name: of the record, as it appears in the output.
        read: returns the signal (leads, samples) in millivolts with NaN for missing samples, its rate in Hz, and one
            lead name per row; raises an EcgHubError for a record that cannot be used.

    Example:
        >>> import numpy as np
        >>> source = RecordSource("night-3", lambda: (np.zeros((2, 2500), np.float32), 250, ["I", "II"]))
        >>> signal, rate, leads = source.read()
        >>> signal.shape, rate, leads
        ((2, 2500), 250, ['I', 'II'])
    """

    name: str
    read: Callable[[], tuple[NDArray[np.float32], int, Sequence[str]]]


RecordInput = str | os.PathLike[str] | RecordSource
"""What `embed` and `predict` take: the path of a record in any format, or a `RecordSource`."""


@dataclass(frozen=True)
class RecordOutput:
    """What the model gave for one file.

    Attributes:
        record: path as it was given, or the name of the source.
        outputs: (windows, values) float32, or None if the file could not be used.
        reason: why it could not.
    """

    record: str
    outputs: NDArray[np.float32] | None
    reason: str | None = None


def usable_device(name: str) -> torch.device:
    """Return a device that tensors can be put on."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(f"Device {name!r} cannot be used here ({error}). Take 'cpu', or see --device.") from error
    return torch.device(name)


def run_records(
    records: Sequence[RecordInput],
    extractor: Any,
    encode: Callable[[torch.Tensor], torch.Tensor],
    *,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    progress: bool = True,
    part: int | None = None,
    **prepare: Any,
) -> Iterator[RecordOutput]:
    """Run all windows of all records through a function, in batches, and yield one output per file, in order.

    Args:
        records: paths of records, or sources.
        extractor: an ECGFeatureExtractor.
        encode: maps (batch, leads, samples) on `device` to (batch, values).
        batch_size: windows per batch.
        device: where `encode` runs.
        progress: show a progress bar on a terminal.
        part: so many records share batches with no others: parts that are run elsewhere give the same numbers.
        **prepare: passed to the extractor, for example preset, nan, missing_leads.

    Raises:
        InputError: no records, or a batch size that is not positive.

    Example:
        >>> from ecg_hub.input.feature_extraction import ECGFeatureExtractor
        >>> from ecg_hub.leads import LEADS
        >>> good = RecordSource("good", lambda: (np.eye(12, 2500, dtype=np.float32), 250, LEADS))
        >>> short = RecordSource("short", lambda: (np.ones((12, 250), np.float32), 250, LEADS))
        >>> outputs = run_records([good, short], ECGFeatureExtractor(), lambda x: x.mean(-1), progress=False)
        >>> for output in outputs:  # a record that cannot be used is a row with the reason, no exception
        ...     print(output.record, None if output.outputs is None else output.outputs.shape, output.reason)
        good (4, 12) None
        short None The signal holds 250 samples (1 s at 250 Hz), shorter than the window of 2.5 s of preset ...
    """
    if not records:
        raise InputError("There are no records: give at least one file, or a description of an archive.")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size!r}; allowed: 1 or more.")
    # Every batch takes the same large tensors again.
    with freed_memory_kept(torch.device(device).type):
        waiting: list[tuple[str, NDArray[np.float32] | None, str | None]] = []
        windows = 0
        shown = terminal.progress(records, desc="records", unit="files", leave=False, quiet=not progress)
        for number, record in enumerate(shown):
            if part is not None and number and number % part == 0:
                yield from _flush(waiting, encode, batch_size, device)
                waiting, windows = [], 0
            waiting.append(_read(record, extractor, prepare))
            values = waiting[-1][1]
            windows += 0 if values is None else len(values)
            # Collected until a batch is full: a record may have a single window; one with many makes several batches.
            if windows >= batch_size:
                yield from _flush(waiting, encode, batch_size, device)
                waiting, windows = [], 0
        yield from _flush(waiting, encode, batch_size, device)


def _read(
    item: RecordInput, extractor: Any, prepare: dict[str, Any]
) -> tuple[str, NDArray[np.float32] | None, str | None]:
    record = item.name if isinstance(item, RecordSource) else os.fspath(item)
    try:
        if isinstance(item, RecordSource):
            signal, rate, leads = item.read()
            # As a recording, so that warnings name it.
            recording = array_recording(signal, rate, leads, "mV")
            batch = extractor(replace(recording, name=item.name), window="all", **prepare)
        else:
            batch = extractor(record, window="all", **prepare)
        values: NDArray[np.float32] = batch["input_values"]
    # What is wrong with a record becomes its row; a fault of the program stays an exception.
    except (EcgHubError, OSError) as error:
        return record, None, str(error)
    return record, values, None


@torch.no_grad()
def _encode(
    windows: NDArray[np.float32],
    encode: Callable[[torch.Tensor], torch.Tensor],
    batch_size: int,
    device: str | torch.device,
) -> NDArray[np.float32]:
    parts = [
        encode(torch.from_numpy(windows[start : start + batch_size]).to(device)).float().cpu().numpy()
        for start in range(0, len(windows), batch_size)
    ]
    return np.concatenate(parts)


def _flush(
    waiting: Iterable[tuple[str, NDArray[np.float32] | None, str | None]],
    encode: Callable[[torch.Tensor], torch.Tensor],
    batch_size: int,
    device: str | torch.device,
) -> Iterator[RecordOutput]:
    good = [values for _, values, _ in waiting if values is not None]
    outputs = _encode(np.concatenate(good), encode, batch_size, device) if good else np.zeros((0, 0), np.float32)
    start = 0
    for record, values, reason in waiting:
        if values is None:
            yield RecordOutput(record, None, reason)
        else:
            yield RecordOutput(record, outputs[start : start + len(values)])
            start += len(values)
