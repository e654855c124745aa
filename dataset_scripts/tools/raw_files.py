"""What lies in a raw folder: compared with its own lists, and records read without keeping their signals."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dataset_scripts.core.builder import store_features
from dataset_scripts.core.labels import Seen
from dataset_scripts.core.shards import Shard, read_all
from dataset_scripts.core.spec import ECGDataset, Scan
from dataset_scripts.tools.download import STATE_FOLDER
from ecg_hub.errors import InputError
from ecg_hub.utils.files import SUMS_FILE, file_matches, parse_sums
from ecg_hub.utils.terminal import progress
from ecg_hub.utils.workers import run

COMMON = 10
SUMS_FILES = (SUMS_FILE, "sha256sums.txt", "MD5SUMS", "MD5SUMS.txt", "md5sums.txt")


def list_folder(folder: Path) -> set[str]:
    """Return every file below a folder, as names relative to it in POSIX form."""
    names: set[str] = set()
    pending = [(folder, "")]
    while pending:
        parent, prefix = pending.pop()
        with os.scandir(parent) as entries:
            for entry in entries:
                if entry.is_dir():
                    # Half-fetched files and lists of `ecg-hub data prepare --download` are no data.
                    if entry.name != STATE_FOLDER:
                        pending.append((Path(entry.path), f"{prefix}{entry.name}/"))
                elif entry.is_file():  # not a link that leads nowhere
                    names.add(prefix + entry.name)
    return names


def absent_records(
    suffixes: Sequence[str], record_ids: Sequence[str], files: Sequence[str], present: set[str]
) -> dict[str, str]:
    """Return record_id -> the file that is missing, for the records of a scan.

    A record may name its file, or the common stem of several (.hea and .dat). An ending that at least a tenth of the
    records have is one that each must have.
    """
    stems = {file: _stem(file, suffixes) for file in files}
    different = set(stems.values())
    count = Counter(suffix for stem in different for suffix in suffixes if stem + suffix in present)
    needed = [suffix for suffix, number in count.items() if COMMON * number >= len(different)]
    missing: dict[str, str] = {}
    for file, stem in stems.items():
        names = [stem + suffix for suffix in needed]
        if file != stem or not names:
            names.append(file)
        first = next((name for name in names if name not in present), None)
        if first is not None:
            missing[file] = first
    return {record: missing[file] for record, file in zip(record_ids, files, strict=True) if file in missing}


def read_sums(folder: Path) -> dict[str, str]:
    """Return the checksum lists in the folder itself as name -> "<algorithm>:<digest>"; {} without one."""
    sums: dict[str, str] = {}
    for name in SUMS_FILES:
        if (folder / name).is_file():
            sums |= parse_sums((folder / name).read_text(encoding="utf-8", errors="replace"))
    return sums


def split_absent(names: Iterable[str], present: set[str], needed: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """Divide listed files that are not there into missing ones and whole folders that nobody fetched.

    A top folder of which nothing at all is there, and which holds no signals in use (records100/ beside records500/),
    was left out on purpose.
    """
    tops = {name.partition("/")[0] for name in present if "/" in name}
    missing: list[str] = []
    folders: Counter[str] = Counter()
    for name in names:
        if name in present:
            continue
        top, slash, _ = name.partition("/")
        in_use = any(folder == "." or f"{name}/".startswith(f"{folder.rstrip('/')}/") for folder in needed)
        if slash and top not in tops and not in_use:
            folders[top] += 1
        else:
            missing.append(name)
    return missing, dict(folders)


def damaged(folder: Path, sums: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Return the files whose content is not what the checksum list says; unreadable ones count as such."""
    wrong = []
    for name in names:
        try:
            if not file_matches(folder / PurePosixPath(name), sums[name]):
                wrong.append(name)
        # A file that cannot be read is no reason to leave the others uncompared.
        except OSError:
            wrong.append(name)
    return wrong


def _stem(file: str, suffixes: Sequence[str]) -> str:
    # The longest first, where one ending is the end of another.
    for suffix in sorted(suffixes, key=len, reverse=True):
        if file.endswith(suffix):
            return file.removesuffix(suffix)
    return file


CHUNK_RECORDS = 256


@dataclass(frozen=True)
class Outcome:
    """What reading one record gave.

    Attributes:
        status: "ok", "lost" or "excluded".
        reason: why it is lost or excluded.
        seen: its length and metadata, where it is ok.
    """

    status: str
    reason: str
    seen: Seen | None


def read_records(dataset: ECGDataset, folder: Path, scan: Scan, sampling_rate: int, num_proc: int = 1) -> list[Outcome]:
    """Read the records of a scan at a sampling rate in Hz and return one outcome per record, in order."""
    if num_proc < 1:
        raise InputError(f"num_proc={num_proc!r} is not a number of processes; pass 1 or more.")
    outcomes: dict[int, list[Outcome]] = {}
    with progress(total=len(scan), unit=" records", desc=f"Reading {dataset.name}") as bar:
        for number, chunk in run(_read_chunk, _tasks(dataset, folder, scan, sampling_rate), num_proc):
            outcomes[number] = chunk
            bar.update(len(chunk))
    # Processes finish in any order; outcomes stand in that of the scan.
    return list(itertools.chain.from_iterable(outcomes[number] for number in sorted(outcomes)))


def _tasks(dataset: ECGDataset, folder: Path, scan: Scan, sampling_rate: int) -> Iterator[tuple[int, Shard]]:
    features = store_features(dataset)
    for number, start in enumerate(range(0, len(scan), CHUNK_RECORDS)):
        records = list(scan.records(start, start + CHUNK_RECORDS))
        yield number, Shard(dataset, folder, records, sampling_rate, features)


def _read_chunk(task: tuple[int, Shard]) -> tuple[int, list[Outcome]]:
    number, shard = task
    outcomes = []
    for line, _, signal in read_all(shard):
        # Length and metadata only: the signals of a whole archive would not fit into memory.
        seen = None if signal is None else Seen(len(signal.samples), dict(signal.metadata))
        outcomes.append(Outcome(line["status"], line["reason"], seen))
    return number, outcomes
