"""Raw files of an open dataset from where its authors publish them: continued, checked, unpacked.

Data behind an agreement are never fetched, and no password is ever asked for or kept: `instructions` gives the page
and the command that the user runs.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from dataset_scripts.core.spec import ECGDataset, PathLike, Source, is_mock
from dataset_scripts.tools.hosts import Hosts, RemoteFile, Transport, list_files, physionet_parts, unpack
from ecg_hub.errors import DataError, InputError
from ecg_hub.utils.files import SUMS_FILE, parse_sums, replacing, sums_text, take_lock
from ecg_hub.utils.remote import is_url
from ecg_hub.utils.terminal import progress

STATE_FOLDER = ".ecg-hub-download"
"""Below the raw folder: the lock, lists of the hosts, and which archives are unpacked."""

MANY_FILES = 20
"""More files than this are fetched by several connections under one progress bar."""

SAMPLED = 8
"""Files of one ending that are asked for their size, where a host lists none."""

UNFINISHED = "unfinished"
MOST_FAILURES = 10
CONNECTIONS = 8

_PAGE = re.compile(r"https://physionet\.org/content/([^/]+/[^/]+)/?")
_ACCESS = {
    "restricted": "for those who have signed its data use agreement",
    "credentialed": "for credentialed users with training in human subjects research and a signed agreement",
}


@dataclass(frozen=True)
class Downloaded:
    """What a download did.

    Attributes:
        folder: the raw folder.
        files: files of the sources that were compared or fetched.
        unpacked: archive -> number of its files, for archives unpacked by this call.
        unchecked: files for which nobody states a checksum.
    """

    folder: Path
    files: int
    unpacked: dict[str, int]
    unchecked: tuple[str, ...]


@dataclass(frozen=True)
class Remaining:
    """What a download would fetch.

    Attributes:
        files: that are not in the raw folder.
        size: of these, in bytes; None where no host says it.
        estimated: whether the host lists no sizes, and some files stand for the others of their ending.
    """

    files: int
    size: int | None
    estimated: bool = False

    def __str__(self) -> str:
        if self.size is None:
            return f"{self.files:,} files, of a size that the host does not state"
        return f"{self.files:,} files, {'about ' * self.estimated}{self.size / 1e9:,.2f} GB"


def instructions(dataset: ECGDataset, folder: str = "DIR") -> list[str]:
    """Return, line by line, how a user gets the raw files."""
    if dataset.access == "open" and dataset.sources:
        return [dataset.prepare_command(folder)]
    if dataset.access == "open":
        return [f"Download it from {dataset.page} into {folder}."]
    about = f"{dataset.title} is {_ACCESS[dataset.access]}: {dataset.page}. Once you have access,"
    page = _PAGE.fullmatch(dataset.page)
    sources = [source for source in dataset.sources if source.host == "physionet"]
    if not sources and page is not None:
        sources = [Source(host="physionet", ref=page[1])]
    commands = [_wget(source, folder) for source in sources]
    return [f"{about} run", *commands] if commands else [f"{about} put its files into {folder}."]


def refuse_url(data_dir: PathLike) -> Path:
    """Return the folder to download to, which lies on this machine."""
    if is_url(data_dir):
        raise InputError(
            f"{os.fspath(data_dir)!r} is on another machine; download to a folder here, then copy it (`aws s3 sync`)."
        )
    return Path(data_dir).expanduser()


def download(
    dataset: ECGDataset,
    data_dir: PathLike,
    transport: Transport,
    *,
    hosts: Hosts | None = None,
    quiet: bool = False,
) -> Downloaded:
    """Fetch what is missing of a dataset's raw files; the same call again continues."""
    folder = refuse_url(data_dir)
    # First of all: nothing is asked of a host, and no folder made, for data that nobody may fetch unseen.
    _check_may(dataset, folder)
    state = folder / STATE_FOLDER
    with _local_errors(folder), _alone(state):
        # Tables often come first: a folder that a kill left with them alone would pass for the dataset.
        (state / UNFINISHED).touch()
        wanted: list[RemoteFile] = []
        for source in dataset.sources:
            files = list_files(source, transport, hosts or Hosts(), state)
            wanted += _with_known_sums(dataset, files)
            if source.host == "physionet":
                _keep_sums(files, state / SUMS_FILE, folder, source.folder)
        done = _read_state(state)
        missing = [file for file in wanted if not _is_unpacked(file, done, folder)]
        _check_space(missing, folder)
        unpacked: dict[str, int] = {}
        plain = [file for file in missing if not file.unpack]
        _fetch_all(plain, folder, transport, quiet)
        for file in missing:
            if file.unpack:  # one after the other, so that only one archive takes up space beside its content
                _fetch_all([file], folder, transport, quiet)
                names = unpack(folder / file.path, (folder / file.path).parent, quiet)
                unpacked[file.path] = len(names)
                done[file.path] = [_identity(file), *names]
                # Remembered before the archive goes: killed in between, it stays as a surplus file; the other way round
                # it would be fetched again.
                _write_state(state, done)
                (folder / file.path).unlink()
        (state / UNFINISHED).unlink()
    return Downloaded(folder, len(wanted), unpacked, tuple(file.path for file in wanted if file.checksum is None))


def is_unfinished(folder: Path) -> bool:
    """Tell whether a download into a raw folder has begun and not ended."""
    return (folder / STATE_FOLDER / UNFINISHED).is_file()


def remaining(
    dataset: ECGDataset, data_dir: PathLike, transport: Transport, *, hosts: Hosts | None = None
) -> Remaining:
    """Return what `download` would fetch; asks the hosts for their lists and writes nothing to the raw folder."""
    folder = refuse_url(data_dir)
    _check_may(dataset, folder)
    with TemporaryDirectory() as scratch:
        listed = [list_files(source, transport, hosts or Hosts(), Path(scratch)) for source in dataset.sources]
    done = _read_state(folder / STATE_FOLDER)
    absent = [
        file
        for files in listed
        for file in _with_known_sums(dataset, files)
        if not (folder / file.path).is_file() and not _is_unpacked(file, done, folder)
    ]
    unstated = [file for file in absent if file.size is None]
    estimate = _estimated_size(unstated, transport)
    stated = sum(file.size or 0 for file in absent)
    return Remaining(len(absent), None if estimate is None else stated + estimate, bool(unstated))


def _estimated_size(files: Sequence[RemoteFile], transport: Transport) -> int | None:
    """Return the bytes of files whose host lists no sizes, from some of each ending; None where it states none."""
    by_ending: dict[str, list[RemoteFile]] = {}
    for file in files:
        by_ending.setdefault(PurePosixPath(file.path).suffix, []).append(file)
    # Signals of one ending are much alike in size, and asking for tens of thousands would take an hour.
    samples = {ending: group[:: -(-len(group) // SAMPLED)] for ending, group in by_ending.items()}
    asked = [file.url for group in samples.values() for file in group]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        sizes = dict(zip(asked, pool.map(transport.size, asked), strict=True))
    total = 0.0
    for ending, group in samples.items():
        known = [size for file in group if (size := sizes[file.url]) is not None]
        if not known:
            return None
        total += len(by_ending[ending]) * sum(known) / len(known)
    return round(total)


def _check_may(dataset: ECGDataset, folder: Path) -> None:
    """Refuse before anything is asked of a host."""
    if dataset.access != "open":
        text = "\n  ".join(instructions(dataset, str(folder)))
        raise InputError(f"No program may fetch {dataset.access} data for you. {text}")
    if not dataset.sources:
        raise InputError(f"No program can fetch {dataset.title}: there is only a page, {dataset.page}")
    if is_mock(folder):
        raise InputError(f"{str(folder)!r} holds a synthetic tree; choose another folder for the real files.")


def _wget(source: Source, folder: str) -> str:
    project, below = physionet_parts(source.ref)
    # The command keeps the user's password out of this program altogether.
    path = "/".join(part for part in ("files", project, below) if part)
    target = folder if source.folder == "." else f"{folder}/{source.folder}"
    # wget makes the folders of the address below the target, unless told how many to leave out.
    cut = len(path.split("/"))
    return (
        f"wget -r -N -c -np -nH --cut-dirs={cut} -R 'index.html*' -P {target} --user USERNAME --ask-password "
        f"https://physionet.org/{path}/"
    )


def _with_known_sums(dataset: ECGDataset, files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Add the checksums that the dataset's published release is known by, where the host states none."""
    stated = dict(dataset.releases[0].files) if dataset.releases else {}
    return [
        replace(file, checksum=f"sha256:{stated[file.path]}") if file.checksum is None and file.path in stated else file
        for file in files
    ]


def _keep_sums(chosen: Sequence[RemoteFile], listing: Path, folder: Path, below: str) -> None:
    """Put the host's list, cut to the chosen files, beside them for `ecg-hub data verify` and `sha256sum --check`."""
    target = folder / below / SUMS_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    every = parse_sums(listing.read_text(encoding="utf-8"))
    sums = {PurePosixPath(file.path).relative_to(PurePosixPath(below)).as_posix(): file.checksum for file in chosen}
    if sums == every:
        # Word for word where no file was left out, so that it can be compared with the host's.
        shutil.copyfile(listing, target)
    else:
        target.write_text(sums_text({name: checksum for name, checksum in sums.items() if checksum}), encoding="utf-8")


def _check_space(files: Sequence[RemoteFile], folder: Path) -> None:
    """Refuse where the stated sizes do not fit, an archive counting once for itself while it is unpacked."""
    absent = [file for file in files if not (folder / file.path).is_file()]
    # Checked before the first byte: a disk that fills after hours helps nobody.
    needed = sum(file.size or 0 for file in absent) + max((file.size or 0 for file in absent if file.unpack), default=0)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed:,} bytes are missing, {free:,} are free")


def _fetch_all(files: Sequence[RemoteFile], folder: Path, transport: Transport, quiet: bool) -> None:
    """Fetch files; goes on after one that cannot be had, and tells them all at the end."""
    many = len(files) > MANY_FILES

    def fetch(file: RemoteFile) -> None:
        transport.file(file.url, folder / PurePosixPath(file.path), file.size, file.checksum, quiet or many)

    failed: list[str] = []
    with progress(total=len(files), desc="Fetching", unit=" files", quiet=quiet or not many) as bar:
        for outcome in _outcomes(fetch, files, CONNECTIONS if many else 1):
            bar.update()
            if outcome is not None:
                failed.append(str(outcome))
            if len(failed) == MOST_FAILURES:
                break
    if len(failed) == 1:
        raise DataError(failed[0])
    if failed:
        shown = "\n  ".join(failed[:3])
        stopped = f"{len(failed)} of {len(files):,} files" if len(failed) < MOST_FAILURES else f"{len(failed)} files"
        raise DataError(f"{stopped} could not be fetched; the same command continues. The first:\n  {shown}")


def _outcomes(
    fetch: Callable[[RemoteFile], None], files: Sequence[RemoteFile], connections: int
) -> Iterator[DataError | None]:
    """Yield, file by file, None or why it could not be fetched."""

    def attempt(file: RemoteFile) -> DataError | None:
        try:
            fetch(file)
        except DataError as error:
            return error
        return None

    if connections == 1:  # in this thread, so that Ctrl-C stops a long file at once
        yield from map(attempt, files)
        return
    pool = ThreadPoolExecutor(connections)
    try:
        for future in as_completed([pool.submit(attempt, file) for file in files]):
            yield future.result()
    finally:
        # Reached also when the caller stops after too many failures, which closes this generator.
        pool.shutdown(cancel_futures=True)


def _alone(state: Path) -> AbstractContextManager[Any]:
    """Keep a second process from writing to the same folder."""
    state.mkdir(parents=True, exist_ok=True)
    busy = DataError(f"Another process is downloading into {str(state.parent)!r}. Wait for it.")
    return take_lock(state / "lock", busy)


@contextmanager
def _local_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the file system into one that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"The disk of {str(folder)!r} is full ({reason}). Free space or choose another folder"
        else:
            text = f"{str(folder)!r} cannot be written ({reason}). Choose a folder that can"
        raise DataError(f"{text}; the same command continues.") from error


def _identity(file: RemoteFile) -> str:
    return file.checksum or f"{file.url} {file.size}"


def _is_unpacked(file: RemoteFile, done: dict[str, list[str]], folder: Path) -> bool:
    """Tell whether an archive was unpacked and what was in it is still there."""
    identity, *names = done.get(file.path, [""])
    beside = (folder / file.path).parent
    return file.unpack and identity == _identity(file) and all((beside / name).is_file() for name in names)


def _read_state(state: Path) -> dict[str, list[str]]:
    """Return archive -> its identity and the files that were in it."""
    try:
        content: Any = json.loads((state / "unpacked.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    # Identities alone are what earlier versions wrote.
    return {str(name): list(map(str, held if isinstance(held, list) else [held])) for name, held in content.items()}


def _write_state(state: Path, done: dict[str, list[str]]) -> None:
    with replacing(state / "unpacked.json") as partial:
        partial.write_text(json.dumps(done, indent=1), encoding="utf-8")
