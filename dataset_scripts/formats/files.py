"""One file of any format as a recording: the way in of the extractor, of `embed`, `predict` and the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dataset_scripts.formats.channels import NoUnitError
from dataset_scripts.formats.registry import BARE_FORMATS, ENDINGS, format_of, read_signal
from dataset_scripts.formats.tabular import states_rate
from ecg_hub.errors import InputError
from ecg_hub.input.formats.detection import detect_format
from ecg_hub.input.recordings import Recording
from ecg_hub.input.samples import MISSING, Signal, to_millivolt
from ecg_hub.leads import LEADS

_DESCRIBE = (
    "Describe it in a YAML file (docs/your_own_data.md) and give that in its place: "
    "`ecg-hub embed MODEL my_archive.yaml`"
)


@dataclass(frozen=True)
class FileReading:
    """How one file is read that no description mentions; see `dataset_scripts.formats.registry.Reading`."""

    format: str = "auto"
    sampling_rate: int | None = None
    unit: str | None = None
    lead_names: Mapping[str, str | None] = field(default_factory=dict)


def read_file(path: Path, sampling_rate: Any = None, unit: str | None = "mV", fallback: str | None = None) -> Recording:
    """Read one file of a format that own data may have.

    Args:
        path: the file; its ending names the format.
        sampling_rate: Hz, of formats whose files state none.
        unit: of formats whose files state none.
        fallback: unit of files that should state one and state none.

    Returns:
        The leads that hold a sample, in mV.

    Raises:
        InputError: the ending names no format, or a rate is needed and not given.
        DataError: the file is damaged, or holds no ECG.
    """
    form = "auto" if path.suffix.lower() in ENDINGS else _by_content(path)
    if form is None:
        raise InputError(
            f"{str(path)!r}: the ending {path.suffix!r} names no format; known: {', '.join(ENDINGS)}. {_DESCRIBE}."
        )
    bare = format_of(path, FileReading(form)) in BARE_FORMATS
    if bare and sampling_rate is None:
        _check_stated_rate(path)
    about = FileReading(form, sampling_rate=int(sampling_rate) if bare and sampling_rate is not None else None)
    try:
        return signal_recording(read_signal(path, about))
    except NoUnitError:
        said = unit if bare else fallback
        if said is None:
            raise
        return signal_recording(read_signal(path, replace(about, unit=said)), states_unit=False)


def _by_content(path: Path) -> str | None:
    """Return the format of a file without a telling ending: of DICOM, whose files often have none, else None."""
    return "dicom" if detect_format(path) == "dicom" else None


def _check_stated_rate(path: Path) -> None:
    """Refuse a table without a rate, and say how one is given."""
    if not states_rate(path):
        raise InputError(
            f"{str(path)!r} states no sampling rate. {_DESCRIBE}; in Python pass sampling_rate=500 and unit='mV'."
        )


def signal_recording(signal: Signal, name: str = "", states_unit: bool = True) -> Recording:
    """Return a record as stored as a recording: the leads that hold a sample, in mV, NaN where one is missing."""
    values = to_millivolt(signal.samples, signal.gain_uv, signal.baseline).T
    # Leads without any sample are absent, which `missing_leads` decides; gaps are decided by `nan`.
    there = [row for row in range(len(LEADS)) if (signal.samples[:, row] != MISSING).any()]
    names = [LEADS[row] for row in there]
    return Recording(
        values[there], signal.sampling_rate, names, ["mV"] * len(there), name=name, states_unit=states_unit
    )
