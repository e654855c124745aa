"""A prepared dataset as a folder of Parquet shards: for pre-training, for another machine, for `datasets.load_dataset`.

Every record of the store is written, in the columns of the store (without raw label columns) and with its fold and
split; files are named by split. A shard appears under its name only when it is whole. The same command again keeps the
shards that are finished and writes the others, whatever ended the earlier run.

`shards.json`: what a folder of shards holds, so that a reader knows every row group without opening a file.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataset_scripts.core.shards import appearing
from dataset_scripts.core.spec import OWN_COLUMNS, SPLITS, PathLike
from dataset_scripts.tools.card import front_matter, parquet_code, size_category, table
from dataset_scripts.tools.publish import SHARD_BYTES, facts, records_per_group, shard_spans, write_parquet
from ecg_hub.errors import DataError, InputError
from ecg_hub.utils.files import resumed
from ecg_hub.utils.remote import bring, place, publish
from ecg_hub.utils.terminal import progress
from ecg_hub.utils.workers import usable_processors

if TYPE_CHECKING:
    from datasets import Dataset

    from dataset_scripts.load import Prepared


MANIFEST_FILE = "shards.json"
SCHEMA_VERSION = "1.0"
UNSPLIT = "unsplit"
"""The name that files of records in no split begin with."""

_STRICT = ConfigDict(frozen=True, extra="forbid")
Count = Annotated[int, Field(ge=0)]


class ShardEntry(BaseModel):
    """One file.

    Attributes:
        file: its path below the folder, in POSIX form.
        split: train, validation, test or unsplit.
        size: bytes.
        groups: records of each row group.
    """

    model_config = _STRICT

    file: Annotated[str, Field(pattern=r"^data/[a-z]+-\d{5}-of-\d{5}\.parquet$")]
    split: Literal["train", "validation", "test", "unsplit"]
    size: Count
    groups: tuple[Count, ...]

    @property
    def records(self) -> int:
        """Records of the file."""
        return sum(self.groups)


class Manifest(BaseModel):
    """What a folder of shards holds.

    Attributes:
        schema_version: of this file and of the columns.
        dataset: name of the dataset.
        fingerprint: of its records and splits, as `ecg-hub data prepare` prints it.
        sampling_rate: Hz.
        unit: "mV" (int16 with gain and baseline), or "zscore" (float32).
        synthetic: whether the signals are simulated.
        redistribution: whether signals may be passed on.
        shard_bytes: bytes of the records in one file, before packing.
        complete: whether every file is there.
        files: the shards; () until complete.
    """

    model_config = _STRICT

    schema_version: Literal["1.0"] = "1.0"
    dataset: str
    fingerprint: str
    sampling_rate: int
    unit: Literal["mV", "zscore"]
    synthetic: bool
    redistribution: bool
    shard_bytes: int
    complete: bool = False
    files: tuple[ShardEntry, ...] = ()

    @property
    def records(self) -> dict[str, int]:
        """Records of each split."""
        sums: dict[str, int] = {}
        for entry in self.files:
            sums[entry.split] = sums.get(entry.split, 0) + entry.records
        return sums


def parse_manifest(text: str, path: str) -> Manifest:
    """Return the content of a manifest."""
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(
            f"{path!r} is no list of shards of version {SCHEMA_VERSION}: {where}: {first['msg']}. Write the folder "
            "again with `ecg-hub data prepare NAME --shards DIR`."
        ) from None
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a folder; None where there is none."""
    path = folder / MANIFEST_FILE
    return parse_manifest(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else None


COLUMNS = (*OWN_COLUMNS, "fold", "split")
DATA_FOLDER, CARD_FILE = "data", "README.md"
_ABOUT = "ecg_hub.shard"
_MOST_THREADS = 8


@dataclass(frozen=True)
class _Shard:
    """One file to be written: some records of a split."""

    name: str
    split: str
    part: Dataset
    start: int
    stop: int


def write_shards(
    prepared: Prepared, folder: PathLike, *, shard_bytes: int = SHARD_BYTES, num_proc: int | None = None
) -> Manifest:
    """Write every record of a prepared dataset as shards, or finish what an earlier run began."""
    target = place(folder)
    bring(target, needed=False)
    begun = _begin(prepared, target, shard_bytes)
    try:
        entries = _write_all(prepared, target, begun, num_proc)
        manifest = begun.model_copy(update={"complete": True, "files": tuple(entries)})
        _write(target / CARD_FILE, _card(prepared, manifest))
        # Last: `complete` means that card and shards are there.
        _write(target / MANIFEST_FILE, manifest.model_dump_json(indent=1) + "\n")
        publish(target)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full" if full else str(error)
        raise DataError(
            f"Writing shards to {str(target)!r} failed: {what}. Make room or choose another folder; the same command "
            "continues where it stopped."
        ) from error
    return manifest


def _begin(prepared: Prepared, target: Path, shard_bytes: int) -> Manifest:
    """Check the folder and mark it as begun, before the first shard."""
    dataset = prepared.dataset
    begun = Manifest(
        dataset=dataset.name,
        fingerprint=prepared.fingerprint,
        sampling_rate=prepared.sampling_rate,
        unit=dataset.unit,
        synthetic=bool(prepared.deviations.get("synthetic")),
        redistribution=dataset.redistribution,
        shard_bytes=shard_bytes,
    )
    if target.exists() and not target.is_dir():
        raise InputError(f"{str(target)!r} is not a folder; choose another one for the shards.")
    stored, left = read_manifest(target), _half_written(target)
    if stored is None and target.is_dir() and set(target.iterdir()) - set(left):
        raise InputError(f"{str(target)!r} exists and holds no shards; choose an empty folder.")

    def refusal(different: Sequence[str]) -> InputError:
        listed = ", ".join(different)
        return InputError(f"{str(target)!r} holds shards of other data ({listed}); choose another folder, or empty it.")

    resumed(stored, lambda manifest: _other_data(manifest, begun), refusal)
    try:
        for path in left:
            # Half a file has no use, and its name would stay for ever.
            path.rmdir() if path.is_dir() else path.unlink()
        (target / DATA_FOLDER).mkdir(parents=True, exist_ok=True)
        # Before the first shard: what a killed run leaves then says which data its shards are of.
        if stored is None:
            _write(target / MANIFEST_FILE, begun.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise DataError(f"The folder {str(target)!r} cannot be written: {error}. Choose another one.") from error
    return begun


def _half_written(target: Path) -> list[Path]:
    """What a killed run left beside whole files, its folder of shards last where nothing else is in it."""
    data = target / DATA_FOLDER
    left = [path for name in (MANIFEST_FILE, CARD_FILE) for path in target.glob(f"{name}.*.partial")]
    left += data.glob("*.partial")
    return [*left, data] if data.is_dir() and set(data.iterdir()) <= set(left) else left


def _other_data(stored: Manifest, asked: Manifest) -> list[str]:
    return [
        f"{name} {getattr(stored, name)!r} instead of {getattr(asked, name)!r}"
        for name in ("dataset", "fingerprint", "sampling_rate", "shard_bytes")
        if getattr(stored, name) != getattr(asked, name)
    ]


def _write_all(prepared: Prepared, target: Path, begun: Manifest, num_proc: int | None) -> list[ShardEntry]:
    """Write the shards that are not there, several at once, with a progress bar; pyarrow works outside of the GIL."""
    record_bytes = _record_bytes(prepared)
    group = records_per_group(record_bytes)
    shards = list(_plan(prepared, record_bytes, begun.shard_bytes))
    about = {"dataset": begun.dataset, "fingerprint": begun.fingerprint, "shard_bytes": begun.shard_bytes}
    total = sum(shard.stop - shard.start for shard in shards)
    threads = min(usable_processors(), _MOST_THREADS) if num_proc is None else num_proc
    with progress(total=total, unit=" records", desc=f"Writing shards of {prepared.dataset.name}") as bar:

        def write(shard: _Shard) -> ShardEntry:
            path = target / DATA_FOLDER / shard.name
            # In the shard itself, because files get copied without their folder.
            mark = json.dumps({**about, "shard": shard.name})
            groups = _finished(path, mark, shard.stop - shard.start)
            if groups is None:
                piece = shard.part.select(range(shard.start, shard.stop))
                with appearing(path) as stream:
                    groups = write_parquet(piece, stream, group_records=group, about={_ABOUT: mark}, written=bar.update)
            else:
                bar.update(shard.stop - shard.start)
            return ShardEntry.model_validate(
                {
                    "file": f"{DATA_FOLDER}/{shard.name}",
                    "split": shard.split,
                    "size": path.stat().st_size,
                    "groups": tuple(groups),
                }
            )

        with ThreadPoolExecutor(max(threads, 1)) as pool:
            pending = [pool.submit(write, shard) for shard in shards]
            try:
                return [future.result() for future in pending]
            finally:
                for future in pending:
                    # After an error (a full disk, mostly) shards that were not begun would only fail again.
                    future.cancel()


def _plan(prepared: Prepared, record_bytes: float, shard_bytes: int) -> Iterator[_Shard]:
    """Yield the files of each split that has records."""
    parts = {**{name: prepared.splits[name] for name in SPLITS}, UNSPLIT: prepared.left_out}
    for split, part in parts.items():
        if not len(part):
            continue
        spans = shard_spans(len(part), record_bytes, shard_bytes)
        columns = part.select_columns(list(COLUMNS))
        for number, (start, stop) in enumerate(spans):
            yield _Shard(f"{split}-{number:05d}-of-{len(spans):05d}.parquet", split, columns, start, stop)


def _record_bytes(prepared: Prepared) -> float:
    """Return the mean bytes of a record's samples."""
    samples = prepared.report.loc[prepared.report["status"] == "ok", "samples"]
    # From the report: lengths read from the signals would cost a pass over all of them.
    return float(samples.mean()) * 12 * (4 if prepared.dataset.unit == "zscore" else 2)


def _finished(path: Path, mark: str, records: int) -> list[int] | None:
    """Return the records of each row group if an earlier run finished this very shard, else None."""
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
    except (OSError, pa.ArrowInvalid):
        return None
    # The mark inside decides, not the name: a shard of other data may be named alike. A cut file has no footer to read.
    stored_mark = (metadata.metadata or {}).get(_ABOUT.encode(), b"").decode()
    if stored_mark != mark or metadata.num_rows != records:
        return None
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def _write(path: Path, text: str) -> None:
    with appearing(path) as stream:
        stream.write(text.encode())


def _card(prepared: Prepared, manifest: Manifest) -> str:
    """Return the card of the folder, with the files of each split for `datasets.load_dataset`."""
    dataset = prepared.dataset
    front = front_matter(dataset)
    # Of these files, which may hold part of a release or an archive that has none.
    front["size_categories"] = [size_category(sum(manifest.records.values()))]
    files = [{"split": split, "path": f"{DATA_FOLDER}/{split}-*.parquet"} for split in manifest.records]
    front["configs"] = [{"config_name": "default", "data_files": files}]
    passing = "may be passed on" if dataset.redistribution else "may not be passed on: keep these files to yourself"
    parts = [
        f"# {dataset.title}: records in shards",
        "Made by `ecg-hub data prepare --shards`. `signal` is (samples, 12), leads I, II, III, aVR, aVL, aVF, V1-V6; "
        + (
            "microvolt are (signal - baseline) * gain_uv, -32768 = missing."
            if dataset.unit == "mV"
            else "z-scored as published, without a physical unit."
        ),
        parquet_code(),
        table(("", ""), list(facts(prepared).items())),
        f"Licence: {dataset.licence.rstrip('.')}. The signals {passing}.",
    ]
    if manifest.synthetic:
        parts.insert(1, "**Synthetic: simulated signals of invented patients, not medical data.**")
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{text}---\n\n" + "\n\n".join(parts) + "\n"
