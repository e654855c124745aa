"""`shards.json`: what a folder of shards holds, so that a reader knows every row group without opening a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecg_hub.errors import DataError

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
    """Return the content of a manifest.

    Args:
        text: of the file.
        path: for messages.

    Raises:
        DataError: it is damaged, of another version, or the shards are not complete.
    """
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
    """Return the manifest of a folder; None where there is none.

    Raises:
        DataError: as `parse_manifest`.
    """
    path = folder / MANIFEST_FILE
    return parse_manifest(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else None
