"""A file of a hospital as a recording: the way in of the extractor, of `embed`, `predict` and the pipeline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecg_hub.errors import DataError, InputError
from ecg_hub.input.formats.detection import detect_format
from ecg_hub.input.formats.reader import ENDINGS, READERS, read_channels
from ecg_hub.input.recordings import Recording, file_recording
from ecg_hub.leads import LEADS, find_lead
from ecg_hub.utils.remote import bring_record, place
from ecg_hub.utils.untrusted import check_values, reading

_REMEDY = "Correct gain and unit in the file, or pass its samples as an array with unit='uV'."


def stored_recording(
    path: str | os.PathLike[str],
    sampling_rate: Any = None,
    unit: str | None = None,
    lead_names: Sequence[str] | None = None,
) -> Recording:
    """Read a file by its content: a format of `READERS`, else as `file_recording` does.

    Args:
        path: the file; of a WFDB record with or without extension.
        sampling_rate: Hz, of files that state none; see `file_recording`.
        unit: of files that state none.
        lead_names: the names that the caller gives the channels: then those that are no known lead are wanted as well.

    Raises:
        InputError: the file is damaged, holds no lead, or is none of these.
    """
    given = bring_record(place(path))
    form = _format(given)
    if form is None:
        return file_recording(path, sampling_rate, unit, lead_names)
    try:
        channels = read_channels(given, form)
        # Counted as what becomes of it: twelve leads, however few the file has.
        check_values(len(channels.values) * len(LEADS), f"{given.name}, with twelve leads,")
    except DataError as error:
        raise InputError(f"Cannot read record {os.fspath(path)!r}: {error}.") from error
    rows = (
        list(range(len(channels.names)))
        if lead_names is not None
        else [row for row, name in enumerate(channels.names) if find_lead(name)]
    )
    names = [channels.names[row] for row in rows]
    if not names:
        shown = ", ".join(map(repr, channels.names))
        raise InputError(f"Cannot read record {os.fspath(path)!r}: none of its channels is a lead: {shown}.")
    rate = channels.sampling_rate
    with reading(given.name, form):
        values = channels.microvolt()[rows]
    return Recording(values, int(rate) if rate == int(rate) else rate, names, ["uV"] * len(names), _REMEDY)


def _format(path: Path) -> str | None:
    """Return the format by content, else by an ending that no other kind of file has."""
    if not path.is_file():
        return None
    form = detect_format(path) or ENDINGS.get(path.suffix.lower())
    return form if form in READERS else None
