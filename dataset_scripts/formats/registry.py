"""The signal formats by name and by ending, and the one function that reads a file of any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from dataset_scripts.core.spec import Signal
from dataset_scripts.formats.channels import Channels, lead_channels, to_signal
from ecg_hub.errors import DataError
from ecg_hub.input.amplitude import stored_not_millivolt
from ecg_hub.input.formats import reader as hospital
from ecg_hub.input.formats.detection import detect_format
from ecg_hub.input.wfdb import read_digital, read_header
from ecg_hub.utils.untrusted import plain_file, reading

FORMATS = ("auto", "wfdb", "edf", "dicom", "muse", "csv", "parquet", *hospital.READERS)
"""What `format` may be in a description."""

BARE_FORMATS = ("csv", "parquet")
"""Formats whose files state neither unit nor sampling rate."""


ENDINGS = {
    ".hea": "wfdb",
    ".edf": "edf",
    ".dcm": "dicom",
    ".dicom": "dicom",
    ".xml": "muse",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    # JSON is what many archives keep beside their signals, so it is a signal only where the description says so.
    **{ending: form for ending, form in hospital.ENDINGS.items() if ending != ".json"},
}
"""Ending of a signal file (a WFDB record is found by its header) -> its format, where its content does not tell."""

_OTHER_ENDINGS = {".xml": ("aecg", "mortara", "sierra"), ".json": ("kardia",)}
"""Endings that a format shares, or that count only where the description names the format."""

EVERY_ENDING = frozenset({*ENDINGS, *_OTHER_ENDINGS})
"""What a file name may end in that is no part of the record's name."""

# Nothing in these says what they are.
_BY_ENDING = (".hea", ".csv", ".parquet", ".pq")

_CORRECT_FILE = "Correct gain and unit in the file, or write its samples as CSV and describe them with"
_BESIDE = {"wfdb": (".dat", ".mat")}


def endings(form: str) -> tuple[str, ...]:
    """Return the endings of a format's signal files, those of all formats for "auto"."""
    own = tuple(ending for ending, name in ENDINGS.items() if form in ("auto", name))
    return own + tuple(ending for ending, names in _OTHER_ENDINGS.items() if form in names)


def all_endings(form: str) -> tuple[str, ...]:
    """Return the endings of every file that belongs to a record of a format."""
    beside = [ending for name, others in _BESIDE.items() if form in ("auto", name) for ending in others]
    return (*endings(form), *beside)


class Reading(Protocol):
    """What is said about the files besides what they say themselves: the description of an archive, or `FileReading`.

    Attributes:
        format: one of the formats, or "auto" to go by content and ending.
        sampling_rate: Hz, where the files state none.
        unit: where the files state none.
        lead_names: name in the files -> standard lead, None for a channel to leave out.
    """

    @property
    def format(self) -> str:
        """One of the formats, or auto."""
        ...

    @property
    def sampling_rate(self) -> int | None:
        """Hz, where the files state none."""
        ...

    @property
    def unit(self) -> str | None:
        """Where the files state none."""
        ...

    @property
    def lead_names(self) -> Mapping[str, str | None]:
        """Name in the files -> standard lead."""
        ...


def format_of(path: Path, about: Reading) -> str:
    """Return the format of a file: the one described, else by its content, else by its ending."""
    form = about.format if about.format != "auto" else _by_content(path)
    if form is None:
        raise DataError(
            f"{path.name}: the ending {path.suffix!r} names no format ({', '.join(ENDINGS)}); "
            f"say format: {', '.join(FORMATS[1:-1])} or {FORMATS[-1]} in the description"
        )
    return form


def _by_content(path: Path) -> str | None:
    """Return what a file is by its first bytes, since endings such as .xml and .ecg say little."""
    ending = path.suffix.lower()
    found = detect_format(path) if ending not in _BY_ENDING and path.is_file() else None
    return found or ENDINGS.get(ending)


def read_signal(path: Path, about: Reading, replacing: Sequence[str] | None = None) -> Signal:
    """Read one signal file, and refuse one that cannot be in the unit that it, or its description, states.

    Args:
        path: the file.
        about: what is said about it.
        replacing: names of its leads in the order of the file, in place of those that it has.
    """
    form = format_of(path, about)
    signal = _read(path, form, about, replacing)
    if reason := stored_not_millivolt(signal):
        stated = f"The unit is given as {about.unit}; say" if form in BARE_FORMATS else _CORRECT_FILE
        raise DataError(f"{path.name}: {reason} {stated} unit: uV if the samples are in microvolts")
    return signal


def _read(path: Path, form: str, about: Reading, replacing: Sequence[str] | None) -> Signal:
    with reading(path.name, form):
        if not plain_file(path):
            raise DataError(f"{path.name} cannot be read as {form}: it is empty")
        channels = _read_channels(path, form, about)
        names = about.lead_names if replacing is None else _renamed(path, channels.names, replacing)
        return to_signal(channels, names)


def _renamed(path: Path, held: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return name in the file -> name given; readers keep the leads in the order of the file, and no name twice."""
    if len(names) != len(held):
        raise DataError(
            f"{path.name}: {len(names)} lead names are given for its {len(held)} leads ({', '.join(held)}); give one "
            "name per lead, in the order of the file, or none"
        )
    return dict(zip(held, names, strict=True))


def _read_channels(path: Path, form: str, about: Reading) -> Channels:
    if form in hospital.READERS:
        return hospital.read_channels(path, form)
    # Each reader is imported where it is used: every format needs a package of its own, and none is compulsory.
    if form == "wfdb":
        return _read_wfdb(path, about.lead_names, about.unit)
    if form == "edf":
        from dataset_scripts.formats.edf import read_edf

        return read_edf(path, about.lead_names, about.unit)
    if form == "dicom":
        from dataset_scripts.formats.dicom import read_dicom

        return read_dicom(path, about.lead_names, about.unit)
    if form == "muse":
        from dataset_scripts.formats.muse import read_muse

        return read_muse(path, about.lead_names, about.unit)
    from dataset_scripts.formats.tabular import read_columns

    return read_columns(path, form, about.unit, about.sampling_rate, about.lead_names)


def _read_wfdb(path: Path, lead_names: Mapping[str, str | None], unit: str | None) -> Channels:
    """Read the leads of a WFDB record by its header; `unit` is of signals for which it states no voltage."""
    digital = read_digital(read_header(path), lambda names: lead_channels(names, lead_names), unit)
    try:
        gain_uv = np.array([line.gain_uv for line in digital.lines])
    except DataError as error:
        raise DataError(f"{path.name}: {error}; if you know it, say for example unit: uV in the description") from None
    absent = digital.absent()
    return Channels(
        names=[line.name for line in digital.lines],
        values=digital.values,
        gain_uv=gain_uv,
        zero=np.array([float(line.baseline) for line in digital.lines]),
        sampling_rate=digital.sampling_rate,
        missing=absent if absent.any() else None,
        remark=digital.remark,
    )
