"""Files that others made: what one may name, how large a record may become, and which errors reading it ends in.

Every way from a file to a recording goes through `reading`. The readers inside ask `plain_file` and `file_below` before
they open something, and `check_values` before they allocate what a header announces. Both take the bounds in force
from `record_bounds`, since the readers of twenty formats lie between the one who sets them and the one who asks.
"""

from __future__ import annotations

import math
import os
import re
import stat
import sys
import traceback
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ecg_hub.errors import DataError, EcgHubError, InputError
from ecg_hub.utils.files import is_inside
from ecg_hub.utils.remote import fetch

MAX_RECORD_MB = 512
"""Largest record that is read by default: megabytes (2**20 bytes) of its samples as float32."""

MAX_CHANNELS = 10_000
"""Most channels of a file, or columns of a table: EDF cannot describe more."""

MAX_HEADER_BYTES = 16 * 2**20
"""Largest text that describes signals and holds none."""

Links = Literal["followed", "alike", "inside"]

_VALUE_BYTES = 4
_VARIABLE = "ECG_HUB_MAX_RECORD_MB"


@dataclass(frozen=True)
class _Bounds:
    """What holds while files are read: megabytes of a record, and the folder that no file may lie outside of."""

    megabytes: float | None = None
    top: Path | None = None
    links: Links = "followed"


_NO_BOUNDS = _Bounds()
_BOUNDS: ContextVar[_Bounds] = ContextVar("bounds", default=_NO_BOUNDS)


@contextmanager
def record_bounds(
    max_record_mb: float | None = None, top: Path | None = None, links: Links = "followed"
) -> Iterator[None]:
    """Set bounds for everything that is read inside the block.

    Args:
        max_record_mb: the largest record, in MB of its samples as float32; None takes what holds outside the block, in
            the end ECG_HUB_MAX_RECORD_MB or 512.
        top: folder of the archive; no header may name a file outside of it. None: not outside the header's folder.
        links: of files that are symbolic links out of `top`: all are "followed"; only those to a file with the same
            ending, as somebody makes who picks records ("alike"); or none ("inside"). Links to folders always are.

    Example:
        >>> with record_bounds(max_record_mb=1):
        ...     check_values(10**9, "r.hea")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.DataError: r.hea announces 1,000,000,000 samples, 3,814.7 MB as float32; ...
    """
    megabytes = _BOUNDS.get().megabytes if max_record_mb is None else checked_megabytes(max_record_mb)
    token = _BOUNDS.set(_Bounds(megabytes, top, links))
    try:
        yield
    finally:
        _BOUNDS.reset(token)


def checked_megabytes(value: float) -> float:
    """Return a bound in MB after checking that it is a positive number."""
    # True would pass for 1 MB.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"max_record_mb={value!r} is not a size in MB; pass a positive number, by default 512.")
    return value


def stated_record_mb() -> float | None:
    """Return the bound that a caller set by `record_bounds`, None where none did."""
    return _BOUNDS.get().megabytes


def max_record_mb() -> float:
    """Return the bound in force: that of `record_bounds`, else ECG_HUB_MAX_RECORD_MB, else 512."""
    megabytes = stated_record_mb()
    if megabytes is not None:
        return megabytes
    text = os.environ.get(_VARIABLE)
    if not text:
        return MAX_RECORD_MB
    try:
        return checked_megabytes(float(text))
    except ValueError:
        raise InputError(f"{_VARIABLE}={text!r} is not a size in MB; give a positive number, by default 512.") from None


def max_bytes() -> int:
    """Return the bound in force in bytes: of a record as float32, and of a file that is read as a whole."""
    return int(max_record_mb() * 2**20)


def check_values(count: int, what: str) -> None:
    """Refuse, before anything is allocated, more values than a record may have.

    Args:
        count: samples of all leads.
        what: says so, for example the name of the file.

    Raises:
        DataError: the values would exceed `max_record_mb` as float32.
    """
    if count * _VALUE_BYTES > max_bytes():
        raise DataError(
            f"{what} announces {count:,} samples, {count * _VALUE_BYTES / 2**20:,.1f} MB as float32; {_allowed()}"
        )


def _allowed() -> str:
    return (
        f"records of up to {max_record_mb():g} MB are read (--max-record-mb of `ecg-hub data prepare`, max_record_mb "
        f"in a description and in Python, {_VARIABLE})"
    )


def check_channels(count: int, what: str) -> None:
    """Refuse a file that describes more channels than any recorder has."""
    if count > MAX_CHANNELS:
        raise DataError(f"{what} has {count:,} channels; up to {MAX_CHANNELS:,} are read")


def plain_file(path: Path, largest: float | None = None) -> int:
    """Return the bytes of a file after checking that it is a plain one; a pipe or a device may never end.

    Args:
        path: the file.
        largest: bytes that it may have; None for one that is read as a whole, math.inf for one that is read in parts.

    Raises:
        FileNotFoundError: it does not exist.
        DataError: it is no plain file, too large, or a link out of a folder whose links may not lead out.
    """
    state = path.stat()
    if not state.st_size:
        fetch(path)
        state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"{path.name} is {_kind(state.st_mode)} and not a plain file")
    bounds = _BOUNDS.get()
    if bounds.top is not None and path.is_symlink() and _leads_astray(path, bounds.top, bounds.links):
        raise DataError(f"{path.name} is a link that leads out of the data folder; put a copy in its place")
    if largest is None and state.st_size > max_bytes():
        raise DataError(f"{path.name} has {state.st_size / 2**20:,.1f} MB; {_allowed()}")
    if largest is not None and state.st_size > largest:
        raise DataError(f"{path.name} has {state.st_size:,} bytes; up to {largest:,.0f} are read")
    return state.st_size


def _leads_astray(path: Path, top: Path, links: Links) -> bool:
    # Both sides resolved, here and below: the archive's own folder may be reached by a link (/tmp is one on macOS).
    target = Path(os.path.realpath(path))
    alike = links == "alike" and target.suffix.lower() == path.suffix.lower()
    return links != "followed" and not alike and not target.is_relative_to(os.path.realpath(top))


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for test, name in kinds.items() if test(mode)), "a device")


def file_below(folder: Path, name: str, source: str) -> Path:
    """Return the file that a header names.

    Args:
        folder: where the header lies.
        name: as the header has it, relative to that folder.
        source: the header, for the error.

    Raises:
        DataError: it lies neither beside or below the header nor below the folder of the archive.
    """
    top = _BOUNDS.get().top
    path = folder / name
    below = top is not None and is_inside(name.replace("..", "up")) and _lexical(path).is_relative_to(_lexical(top))
    if "\0" in name or not (is_inside(name) or below):
        raise DataError(
            f"{source} names the file {name!r}, which lies outside the folder of the record; it is not read"
        )
    # Without "..", which a link to a folder before it would send elsewhere.
    return Path(os.path.normpath(path))


def _lexical(path: Path) -> Path:
    return Path(os.path.abspath(path))


def check_zip(archive: zipfile.ZipFile, name: str, held: int, largest: float = math.inf) -> None:
    """Refuse a zip archive by what it says of its members, before one of them is opened.

    `zipfile` makes room for what a member is said to take in the file before it reads it, and stops where it is said
    to end unpacked: a false number in the one direction is found here, in the other it gains nothing.

    Args:
        archive: the archive.
        name: of it, as messages show it.
        held: bytes of its file.
        largest: bytes that its members may expand to, together.
    """
    parts = archive.infolist()
    packed, expanded = sum(part.compress_size for part in parts), sum(part.file_size for part in parts)
    if packed > held:
        raise DataError(f"{name} has {held:,} bytes, and its members are said to take {packed:,} of them")
    if expanded > largest:
        raise DataError(f"{name} expands to {expanded / 2**20:,.0f} MB; up to {largest / 2**20:,.0f} MB are read")


@contextmanager
def reading(name: str, form: str = "", passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn whatever reading a file provokes into a DataError that names the file.

    Errors of this project pass as they are, so do Ctrl-C and a machine without memory. Under ECG_HUB_TRACEBACK the
    error behind a DataError is printed, so that a fault of this program does not pass for damage.

    Args:
        name: of the file, as messages show it.
        form: its format.
        passing: other exceptions that say something else than damage.

    Example:
        >>> with reading("r1.edf", "edf"):
        ...     int("no number")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.DataError: r1.edf cannot be read as edf: ValueError: invalid literal for int() with base ...
    """
    try:
        yield
    except EcgHubError:
        raise
    # Named apart from damage: the file may only have been forgotten while copying.
    except FileNotFoundError:
        raise DataError(f"{name} is missing") from None
    except MemoryError as error:
        # What asks for more than any record may take was announced by the file: more memory would not help.
        if not _is_absurd(error):
            raise
        raise _damaged(name, form, error) from error
    except passing:
        raise
    except Exception as error:  # a damaged file may provoke anything in the library that reads it
        raise _damaged(name, form, error) from error


_ARROW_SIZE = re.compile(r"of size (\d+) failed")


def _is_absurd(error: MemoryError) -> bool:
    """Whether numpy or Arrow, which say how much they asked for, asked for more than any record takes."""
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)
    if shape is not None and dtype is not None:
        return math.prod(shape) * dtype.itemsize > 4 * max_bytes()
    # A page of Parquet says its size in its own header, which nothing compares with the table's before.
    stated = _ARROW_SIZE.search(str(error))
    return stated is not None and int(stated[1]) > 4 * max_bytes()


def _damaged(name: str, form: str, error: Exception) -> DataError:
    if os.environ.get("ECG_HUB_TRACEBACK"):
        traceback.print_exception(error, file=sys.stderr)
    kind = f" as {form}" if form else ""
    return DataError(f"{name} cannot be read{kind}: {type(error).__name__}: {reason(error)}")


_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|\S*\d{4,}\S*|\S*@\S*")


def reason(error: Exception) -> str:
    """Return what a library says of a damaged file, without what it quotes: fields may hold a name or a birth date."""
    # Cut first: a library may quote a whole file.
    text = " ".join(str(error)[:4000].split())
    return _QUOTED.sub("'...'", text)[:200] or "no further reason"
