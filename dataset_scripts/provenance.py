"""What is known of a dataset's releases, and where its raw files come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Release:
    """Facts about one release that a raw folder can be compared with; what is not known stays empty.

    Attributes:
        version: its name.
        records: records of the raw release, those that a rule leaves out included.
        label_counts: label column -> label -> occurrences over all records, repeats within a record counted.
        label_numbers: label column -> number of labels after the count filter.
        label_hashes: label column -> SHA-256 of the canonical text (`labels.canonical_sha256`).
        fold_sizes: records per fold, from the lowest fold on.
        fold_sha256: SHA-256 of a line "<record_id>,<fold>" per record, in the order of the store.
        split_sizes: split -> its records in the published run, after every rule; {} where only `records` is known.
        files: file below the raw folder -> its SHA-256.
    """

    version: str
    records: int
    label_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    label_numbers: Mapping[str, int] = field(default_factory=dict)
    label_hashes: Mapping[str, str] = field(default_factory=dict)
    fold_sizes: Sequence[int] = ()
    fold_sha256: str | None = None
    split_sizes: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def split_text(self) -> str:
        """Records of each split in words: "339 train, 104 validation, 106 test", or what is known in their place."""
        if not self.split_sizes:
            return f"{self.records:,} in all, of each split unknown"
        return ", ".join(f"{number:,} {split}" for split, number in self.split_sizes.items())


def split_sizes(train: int, validation: int, test: int) -> dict[str, int]:
    """Return `Release.split_sizes` of three numbers of records."""
    return {"train": train, "validation": validation, "test": test}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where raw files can be downloaded from.

    Attributes:
        host: the kind of server, which decides how files are listed and checked.
        ref: "ptb-xl/1.0.3" on PhysioNet, the record on Zenodo, the article or collection on figshare, or a URL.
        files: names or patterns to take; () takes all.
        unpack: whether archives are unpacked after the download.
        folder: where the files go, below the raw folder.
    """

    host: Literal["physionet", "zenodo", "figshare", "url"]
    ref: str
    files: Sequence[str] = ()
    unpack: bool = False
    folder: str = "."
