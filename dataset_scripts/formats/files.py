"""One file of any format as a recording: the way in of the extractor, of `embed`, `predict` and the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dataset_scripts.formats.channels import NoUnitError
from dataset_scripts.formats.registry import BARE_FORMATS, ENDINGS, format_of, read_signal
from dataset_scripts.formats.tabular import states_rate
from ecg_hub.errors import InputError
from ecg_hub.input.formats.detection import detect_format
from ecg_hub.input.recordings import Recording
from ecg_hub.input.resampling import as_rate
from ecg_hub.input.samples import MISSING, Signal, to_millivolt
from ecg_hub.leads import LEADS

_DESCRIBE = (
    "describe it in a YAML file (docs/your_own_data.md) and give that in its place: "
    "`ecg-hub embed MODEL my_archive.yaml`"
)


@dataclass(frozen=True)
class FileReading:
    """How one file is read that no description mentions; see `dataset_scripts.formats.registry.Reading`."""

    format: str = "auto"
    sampling_rate: int | None = None
    unit: str | None = None
    lead_names: Mapping[str, str | None] = field(default_factory=dict)


def read_file(
    path: Path, sampling_rate: Any = None, unit: str | None = None, lead_names: Sequence[str] | None = None
) -> Recording:
    """Read one file of a format that own data may have.

    Args:
        path: the file; its ending names the format.
        sampling_rate: Hz, of formats whose files state none.
        unit: of files that state none.
        lead_names: one name per lead of the file, in its order, in place of the file's own.

    Returns:
        The leads that hold a sample, in mV.

    Raises:
        InputError: the ending names no format, or a rate or unit is needed and not given.
        DataError: the file is damaged, or holds no ECG.
    """
    form = "auto" if path.suffix.lower() in ENDINGS else _by_content(path)
    if form is None:
        raise InputError(
            f"{str(path)!r}: the ending {path.suffix!r} names no format; known: {', '.join(ENDINGS)}. "
            f"If it is a signal, {_DESCRIBE}."
        )
    bare = format_of(path, FileReading(form)) in BARE_FORMATS
    # A rate that the file states is compared by the caller, in the caller's words.
    needs_rate = bare and not states_rate(path)
    if needs_rate and sampling_rate is None:
        raise _not_stated(path, "sampling rate", "sampling_rate=500, with unit='mV' where it states no unit either")
    rate = as_rate(sampling_rate) if needs_rate else None
    if rate is not None and rate.denominator != 1:
        raise InputError(
            f"{str(path)!r}: sampling_rate={sampling_rate!r} is no whole number of Hz, as a table is read at. Pass its "
            "samples as an array (leads, samples) with this rate."
        )
    about = FileReading(form, sampling_rate=None if rate is None else int(rate))
    try:
        return signal_recording(read_signal(path, about, lead_names))
    except NoUnitError as error:
        if unit is None:
            raise _not_stated(path, "unit", "unit='mV'") from error
        return signal_recording(read_signal(path, replace(about, unit=unit), lead_names), states_unit=False)


def _by_content(path: Path) -> str | None:
    """Return the format of a file without a telling ending: of DICOM, whose files often have none, else None."""
    return "dicom" if detect_format(path) == "dicom" else None


def _not_stated(path: Path, what: str, given: str) -> InputError:
    """The error for a file that does not say all of itself, and the ways to say it."""
    return InputError(f"{str(path)!r} states no {what}: give it, for example {given}; or {_DESCRIBE}.")


def signal_recording(signal: Signal, name: str = "", states_unit: bool = True) -> Recording:
    """Return a record as stored as a recording: the leads that hold a sample, in mV, NaN where one is missing."""
    values = to_millivolt(signal.samples, signal.gain_uv, signal.baseline).T
    # Leads without any sample are absent, which `missing_leads` decides; gaps are decided by `nan`.
    there = [row for row in range(len(LEADS)) if (signal.samples[:, row] != MISSING).any()]
    names = [LEADS[row] for row in there]
    return Recording(
        values[there], signal.sampling_rate, names, ["mV"] * len(there), name=name, states_unit=states_unit
    )
