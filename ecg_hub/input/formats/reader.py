"""The formats by name, and the one function that reads a file of any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from ecg_hub.errors import DataError, InputError, unknown_name
from ecg_hub.input.formats.aecg import read_aecg
from ecg_hub.input.formats.bdf import read_bdf
from ecg_hub.input.formats.channels import Channels
from ecg_hub.input.formats.ishne import read_ishne
from ecg_hub.input.formats.kardia import read_kardia
from ecg_hub.input.formats.mfer import read_mfer
from ecg_hub.input.formats.mortara import read_mortara
from ecg_hub.input.formats.scp import read_scp
from ecg_hub.input.formats.sierra import read_sierra
from ecg_hub.utils.untrusted import plain_file, reading

READERS: Mapping[str, Callable[[Path], Channels]] = MappingProxyType(
    {
        "aecg": read_aecg,
        "bdf": read_bdf,
        "ishne": read_ishne,
        "kardia": read_kardia,
        "mfer": read_mfer,
        "mortara": read_mortara,
        "scp": read_scp,
        "sierra": read_sierra,
    }
)
"""Name of a format -> its reader; docs/formats.md says what each reads and refuses."""

ENDINGS: Mapping[str, str] = MappingProxyType(
    {".bdf": "bdf", ".ecg": "ishne", ".json": "kardia", ".mfer": "mfer", ".mwf": "mfer", ".scp": "scp"}
)
"""Endings that files of these formats usually have; what counts is the content."""


def read_channels(path: Path, form: str) -> Channels:
    """Read one file, as it stores its samples; of the patient nothing is read.

    Args:
        path: the file.
        form: a key of READERS.

    Returns:
        The channels with names, integers, gain, zero and rate.

    Raises:
        DataError: the file is missing, damaged, or of another kind than its format; names the file.
        InputError: the format is unknown.
    """
    if form not in READERS:
        raise unknown_name("format", form, READERS)
    try:
        with reading(path.name, form):
            plain_file(path)
            return READERS[form](path)
    except (DataError, InputError) as error:
        text = str(error)
        # From the cause: the text of the error itself is in this one already.
        raise DataError(text if path.name in text else f"{path.name}: {text}") from error.__cause__
