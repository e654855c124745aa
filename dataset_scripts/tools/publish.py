"""A prepared dataset as a repository on a hub: as much of it as its licence lets through.

Three levels. "full" (the licence allows passing on): records, labels and splits as Parquet. "ids" (open, under a
standard licence, but not to be passed on): record names with split and fold, and label counts. "card" (behind an
agreement, or under terms of its own): the card and nothing that comes from the user's folder. What is written is
looked at again, file by file, before it is sent.

Records become Parquet: row groups that are read one at a time, samples packed tightly, pages with checksums.
"""

from __future__ import annotations

import csv
import io
import itertools
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import yaml

from dataset_scripts.core.spec import SPLITS, ECGDataset, PathLike
from dataset_scripts.tools.card import (
    FOLDER,
    HUB_LICENCES,
    card_body,
    dataset_card,
    front_matter,
    parquet_code,
    size_category,
    table,
)
from ecg_hub.errors import InputError
from ecg_hub.hub.client import HubRepository, check_id

if TYPE_CHECKING:
    from datasets import Dataset

    from dataset_scripts.load import Prepared


Level = Literal["full", "ids", "card"]

CARD_FILE, SPLITS_FILE, COUNTS_FILE = "README.md", "splits.csv", "label_counts.csv"
ALLOWED_FILES: Mapping[Level, tuple[str, ...]] = {
    "full": (CARD_FILE, SPLITS_FILE, COUNTS_FILE, "data/*.parquet"),
    "ids": (CARD_FILE, SPLITS_FILE, COUNTS_FILE),
    "card": (CARD_FILE,),
}
COLUMNS: Mapping[str, tuple[str, ...]] = {
    SPLITS_FILE: ("record_id", "split", "fold"),
    COUNTS_FILE: ("column", "label", *SPLITS),
}


@dataclass(frozen=True)
class Publication:
    """A folder ready to be sent.

    Attributes:
        level: how much of the dataset it holds.
        folder: where it lies.
        files: name -> bytes.
    """

    level: Level
    folder: Path
    files: dict[str, int]


def level(dataset: ECGDataset) -> Level:
    """Return how much of a dataset may leave the machine."""
    if dataset.access != "open":
        return "card"
    if dataset.redistribution:
        return "full"
    # Terms of its own may forbid even names and counts, so nothing that comes from the user's folder leaves.
    return "ids" if dataset.licence in HUB_LICENCES else "card"


def write_publication(
    dataset: ECGDataset, folder: PathLike, prepared: Prepared | None = None, repo: str = FOLDER
) -> Publication:
    """Write what may be published into a folder; the code of its card loads the records from `repo`."""
    target = Path(folder).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{str(target)!r} exists and is not an empty folder; choose another one.")
    allowed = level(dataset)
    if allowed != "card" and prepared is None:
        raise InputError(f"{dataset.title} is published with its records: prepare it first and pass the result.")
    target.mkdir(parents=True, exist_ok=True)
    if allowed == "card" or prepared is None:
        (target / CARD_FILE).write_text(dataset_card(dataset), encoding="utf-8")
    else:
        _write_tables(prepared, target)
        if allowed == "full":
            _write_parquet(prepared, target / "data")
        (target / CARD_FILE).write_text(_card(prepared, allowed, repo), encoding="utf-8")
    return check_publication(dataset, target)


def check_publication(dataset: ECGDataset, folder: PathLike) -> Publication:
    """Look at a folder once more before it is sent: nothing may lie there that the licence withholds."""
    root = Path(folder)
    allowed = level(dataset)
    paths = [path for path in sorted(root.rglob("*")) if path.is_file()]
    files = {path.relative_to(root).as_posix(): path.stat().st_size for path in paths}
    for name in files:
        if not any(_fits(name, pattern) for pattern in ALLOWED_FILES[allowed]):
            raise InputError(f"{name} may not be published: {dataset.title} is {dataset.access}, {dataset.licence}.")
        if name in COLUMNS:
            header = (root / name).read_text(encoding="utf-8").partition("\n")[0]
            if header != ",".join(COLUMNS[name]):
                raise InputError(f"{name} has the columns {header}; only {','.join(COLUMNS[name])} may be there.")
    if CARD_FILE not in files:
        raise InputError(f"{str(root)!r} has no {CARD_FILE}.")
    return Publication(allowed, root, files)


def _fits(name: str, pattern: str) -> bool:
    """Tell whether a file is what a pattern names, in the same folder."""
    path, wanted = PurePosixPath(name), PurePosixPath(pattern)
    # fnmatch's * matches a slash too, so the folder is compared by itself.
    return path.parent == wanted.parent and fnmatchcase(path.name, wanted.name)


def push(dataset: ECGDataset, publication: Publication, repo: str, *, private: bool = False, api: Any = None) -> str:
    """Send a publication to a hub and return the address of the commit."""
    remote = HubRepository(check_id(repo), "dataset", api)
    # Looked at again right before sending: the folder may have changed since it was written.
    checked = check_publication(dataset, publication.folder)
    remote.create(private=private)
    return remote.upload(checked.folder, f"{dataset.title}, by ecg-hub")


def _write_tables(prepared: Prepared, folder: Path) -> None:
    """Write splits.csv (names, no labels) and label_counts.csv (numbers, no names)."""
    rows: list[tuple[object, ...]] = []
    counts: list[tuple[object, ...]] = []
    for name in SPLITS:
        part = prepared.splits[name]
        rows += zip(part["record_id"], [name] * len(part), part["fold"], strict=True)
    for column, numbers in label_counts(prepared).items():
        counts += [(column, label, *by_split) for label, by_split in numbers.items()]
    _write_csv(folder / SPLITS_FILE, rows)
    _write_csv(folder / COUNTS_FILE, counts)


def label_counts(prepared: Prepared) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return label column -> label -> records with it in train, validation and test."""
    from dataset_scripts.core.labels import label_matrix

    counts = {}
    for column, names in prepared.labels.items():
        sums = [label_matrix(prepared.splits[name], column).sum(axis=0) for name in SPLITS]
        counts[column] = {label: tuple(int(part[k]) for part in sums) for k, label in enumerate(names)}
    return counts


def _write_csv(path: Path, rows: list[tuple[object, ...]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS[path.name])
    writer.writerows(rows)
    path.write_text(buffer.getvalue(), encoding="utf-8")


def _write_parquet(prepared: Prepared, folder: Path) -> None:
    """Write each split in shards of bounded size."""
    folder.mkdir()
    for name in SPLITS:
        part = prepared.splits[name]
        # `data` is the table underneath, the same for every split: the mean is over all records.
        spans = shard_spans(len(part), part.data.nbytes / max(1, part.data.num_rows), SHARD_BYTES)
        for number, (start, stop) in enumerate(spans):
            path = folder / f"{name}-{number:05d}-of-{len(spans):05d}.parquet"
            write_parquet(part.select(range(start, stop)), path)


def _card(prepared: Prepared, allowed: Level, repo: str) -> str:
    """Return the card with what this copy holds, and with the files of each split for `datasets.load_dataset`."""
    front = front_matter(prepared.dataset)
    if allowed == "full":
        files = [{"split": name, "path": f"data/{name}-*.parquet"} for name in SPLITS if len(prepared.splits[name])]
        # Of what is here, which may be part of a release.
        front["size_categories"] = [size_category(sum(len(prepared.splits[name]) for name in SPLITS))]
        front["configs"] = [{"config_name": "default", "data_files": files}]
    else:
        front["configs"] = [{"config_name": "splits", "data_files": SPLITS_FILE}]
    about = [
        "## This repository",
        "Made by `ecg-hub data push`. "
        + (
            "Parquet files with records, labels and splits; `signal` is (samples, 12) and microvolt are "
            "(signal - baseline) * gain_uv, -32768 = missing."
            if allowed == "full"
            else "The licence keeps signals and labels of single records with their authors: here are the names of the "
            "records with their splits, and label counts."
        ),
        table(("", ""), list(facts(prepared).items())),
    ]
    if prepared.deviations.get("synthetic"):
        about.insert(1, "**Synthetic: simulated signals of invented patients, not medical data.**")
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120)
    body = card_body(prepared.dataset, parquet_code(repo) if allowed == "full" else None)
    return f"---\n{text}---\n\n{body}\n" + "\n\n".join(about) + "\n"


def facts(prepared: Prepared) -> dict[str, str]:
    """Return what a card says about a copy of a dataset: release, rate, records, fingerprint, deviations."""
    sizes = ", ".join(f"{name} {len(prepared.splits[name]):,}" for name in SPLITS)
    deviations = ", ".join(f"{name}: {value}" for name, value in prepared.deviations.items())
    return {
        "release": prepared.version or "not stated by the files",
        "sampling rate": f"{prepared.sampling_rate} Hz",
        "records": sizes,
        "fingerprint": f"`{prepared.fingerprint}`",
        "differs from the published run": deviations or "nothing",
    }


GROUP_RECORDS = 64
GROUP_BYTES = 32 * 2**20
"""Bounds of a row group: what a reader that shuffles has to read for one record."""

SHARD_BYTES = 500 * 10**6
"""Bytes of the records in one file, before packing."""

_SAMPLES = "signal.list.element.list.element"
# Neighbouring samples differ by little; the bytes of floats pack better when each kind stands together.
_ENCODINGS = {"int16": "DELTA_BINARY_PACKED", "float32": "BYTE_STREAM_SPLIT"}


def write_parquet(
    part: Dataset,
    target: Path | BinaryIO,
    *,
    group_records: int = GROUP_RECORDS,
    about: Mapping[str, str] | None = None,
    written: Callable[[int], Any] | None = None,
) -> list[int]:
    """Write a dataset with the column `signal` as one Parquet file.

    Parquet holds int16 as 32 bits; packed as differences and by zstd, a record takes half the bytes of its samples.
    """
    import pyarrow.parquet as pq

    signal = part.features["signal"].dtype
    groups = []
    with pq.ParquetWriter(
        target,
        part.features.arrow_schema,
        compression="zstd",
        # pyarrow refuses column encodings beside a dictionary, which would be as large as the samples anyway.
        use_dictionary=False,
        column_encoding={_SAMPLES: _ENCODINGS[signal]},
        write_page_checksum=True,
    ) as writer:
        for table in part.with_format("arrow").iter(batch_size=group_records):
            # One call, one row group.
            writer.write_table(table)
            groups.append(len(table))
            if written is not None:
                written(len(table))
        writer.add_key_value_metadata(dict(about or {}))
    return groups


def shard_spans(records: int, record_bytes: float, shard_bytes: int = SHARD_BYTES) -> list[tuple[int, int]]:
    """Divide records into files of bounded size."""
    most = max(1, int(shard_bytes / max(record_bytes, 1.0)))
    files = max(1, -(-records // most))
    bounds = [records * number // files for number in range(files + 1)]
    return list(itertools.pairwise(bounds))


def records_per_group(record_bytes: float) -> int:
    """Return how many records a row group holds: 64, fewer where records are long."""
    return max(1, min(GROUP_RECORDS, int(GROUP_BYTES / max(record_bytes, 1.0))))


def discard(publication: Publication) -> None:
    """Remove the folder of a publication."""
    shutil.rmtree(publication.folder, ignore_errors=True)
