"""What a dataset declares about itself, and what it hands to the record store and to the label layer.

A dataset is one file in `dataset_scripts/published/` with an instance `DATASET` of a subclass of `ECGDataset`. The file
must import without torch, transformers, datasets or pandas, because listings read its metadata.

Three steps, each a method: `scan` reads the tables (cheap, once), `read` reads one record (in parallel, its failures
are loss), `label_table` turns the store's metadata into labels, folds and splits (in seconds, by parameters).

What is known of a dataset's releases, and where its raw files come from.
"""

from __future__ import annotations

import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ecg_hub.errors import DataError, InputError, did_you_mean
from ecg_hub.home import home
from ecg_hub.input.samples import Repair as Repair
from ecg_hub.input.samples import Signal as Signal
from ecg_hub.utils.remote import bring, data_root, place, shown
from ecg_hub.utils.untrusted import Links

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


_KINDS: tuple[tuple[type, tuple[Any, str]], ...] = (
    (bool, (bool, "true or false")),
    (int, (Integral, "a whole number from 0")),
    (float, (Real, "a number from 0")),
)
"""Type of a threshold's default -> what a value of it may be, in code and in words."""


MOCK_FILE = "mock.json"
"""In every folder of raw files or records that ecg-hub has made up."""


def is_mock(folder: Path) -> bool:
    """Tell whether the records of a folder are simulated."""
    return (folder / MOCK_FILE).is_file()


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


PathLike = str | os.PathLike[str]
SPLITS = ("train", "validation", "test")
OWN_COLUMNS = ("record_id", "patient_id", "signal", "gain_uv", "baseline", "sampling_rate", "age", "sex")


# Not one of the package's errors: those are for users, and nothing here is wrong.
class RecordExcluded(Exception):  # noqa: N818 - not an error: a rule of the dataset at work
    """Raised by `ECGDataset.read` for a record that a rule leaves out (nine leads, NaN); the text is the rule."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One row of a scan: where a record lies and what the tables say about it.

    Attributes:
        record_id: the dataset's own name of the record.
        file: its file below the raw folder, in POSIX form; what the report shows.
        key: the row in a file that holds many records, else 0.
        patient_id: the patient, or None where the dataset names none.
        age: years, or None.
        sex: "male", "female" or None.
        metadata: the columns named in `ECGDataset.metadata_columns` that the tables hold.
    """

    record_id: str
    file: str
    key: int = 0
    patient_id: str | None = None
    age: float | None = None
    sex: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that does not reach the store, with its file and the reason."""

    record_id: str
    file: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """What the tables of a raw folder hold.

    Attributes:
        table: one row per record in the order of the store; columns record_id, file and, where known, key,
            patient_id, age, sex and metadata columns. Missing values are None or NaN.
        lost: rows that are damaged in the table itself; they count as loss.
        excluded: rows that a rule of the dataset leaves out before reading; they do not count as loss.
        version: the release that the tables reveal, or None.
    """

    table: pd.DataFrame
    lost: Sequence[Rejected] = ()
    excluded: Sequence[Rejected] = ()
    version: str | None = None

    def __len__(self) -> int:
        return len(self.table)

    def records(self, start: int, stop: int) -> Iterator[RawRecord]:
        """Yield rows start to stop as `RawRecord`s."""
        own = [name for name in ("record_id", "file", "key", "patient_id", "age", "sex") if name in self.table]
        rest = [name for name in self.table.columns if name not in own]
        rows = self.table.iloc[start:stop]
        # Objects first: where a column is of numbers, None would turn into NaN again.
        for values in rows.astype(object).where(rows.notna(), None).to_dict("records"):
            yield RawRecord(**{str(n): values[n] for n in own}, metadata={str(n): values[n] for n in rest})


@dataclass(frozen=True)
class Exclusion:
    """Rows of the store that a rule keeps out of the splits.

    Attributes:
        reason: the rule in a few words, e.g. "shorter than 10 s".
        rows: boolean (records,).
        counted: whether these rows still take part in counting labels (the published length rules count first).
    """

    reason: str
    rows: np.ndarray
    counted: bool = True


@dataclass(frozen=True)
class LabelTable:
    """Labels and folds of every row of the store, in its order.

    Attributes:
        labels: label column -> one list of label names per row, as derived, unfiltered, repeats kept.
        fold: (records,) int; -1 where there is none.
        split: (records,) object array of "train", "validation", "test" or "" for no split.
        fixed: label columns whose vocabulary is fixed (no counting), with that vocabulary in order.
        targets: names of the targets and the float32 array (records, targets), NaN = none; or None. Regression
            targets, unless `target_groups` says otherwise.
        exclusions: the rules that keep rows out of the splits.
        target_groups: group of `ECGDataset.target_groups` -> its targets; {} for regression targets without groups.
        derivation: CSV file with every step of a derivation from many tables, or None.
        target_scales: regression target -> (standard deviation, unit) that turns its z-scores into clinical units.
        target_means: regression target -> the mean, in that unit, which a z-score of 0 stands for; where it is known.
        deviations: what of the published derivation could not be done, shown beside every score.
    """

    labels: Mapping[str, Sequence[Sequence[str]]]
    fold: np.ndarray
    split: np.ndarray
    fixed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    targets: tuple[Sequence[str], np.ndarray] | None = None
    exclusions: Sequence[Exclusion] = ()
    target_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    derivation: Path | None = None
    target_scales: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    target_means: Mapping[str, float] = field(default_factory=dict)
    deviations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TargetGroup:
    """Targets that belong together: one row of the published tables.

    Attributes:
        title: what they are, in words.
        kind: classes (0, 1 or NaN) or regression targets (z-scores or NaN).
        published: how many there are in the published preparation.
        targets: name -> unit ("" for classes), where the names are known without the data.
    """

    title: str
    kind: Literal["multi_label_classification", "regression"]
    published: int
    targets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ECGDataset(ABC):
    """Metadata and the three steps of one dataset.

    Attributes:
        name: its name everywhere: hub id, folder below the data root, `dataset:` in task files.
        title: the name in prose.
        versions: releases this file reads; the first is the published one.
        sampling_rates: Hz that the raw folder offers; the first is the published one.
        access: "open", "restricted" (an agreement) or "credentialed" (an agreement and training).
        redistribution: whether signals and per-record predictions may be passed on.
        licence: SPDX identifier, or the licence in words.
        citation: the text to print.
        page: where to get the data.
        label_columns: names of the label columns; `label_all` is the published target list.
        folds: the fold and split rule in one sentence.
        metadata_columns: raw columns kept in the store for the label layer, with their Arrow type names.
        thresholds: parameters of the label layer with their published values; `min_count` is always one.
        table_files: files below the raw folder that must be there; their content is part of the store's key.
        optional_files: files that, where present, are part of the key by content.
        signal_suffixes: endings of the files that hold signals; part of the key by name, size and time.
        unit: "mV", or "zscore" for data published without a physical unit (stored as float32).
        store_version: raise it whenever `scan` or `read` changes what it returns.
        description: what was recorded, where, when, by which device, and who annotated it; a paragraph for the card.
        derivation: how labels and targets come about, a sentence or two for each step, for the card.
        problems: known problems of the data and of the published preparation, each with its effect.
        releases: what is known of the releases, that of the published run first: what `ecg-hub data verify` compares a
            folder with, and what tells part of a dataset from the dataset (`dataset_scripts.core.extent`).
        sources: where the raw files can be downloaded from; () where there is only a page.
        repair: what is done to signals while they are read, or None.
        target_groups: the groups of the column `targets`, where it holds classes too.
        mock: "module:function" that writes its mock tree; "" takes the module of that name in `dataset_scripts.mock`.
    """

    name: str
    title: str
    versions: tuple[str, ...]
    sampling_rates: tuple[int, ...]
    access: Literal["open", "restricted", "credentialed"]
    redistribution: bool
    licence: str
    citation: str
    page: str
    label_columns: tuple[str, ...]
    folds: str
    metadata_columns: Mapping[str, str]
    thresholds: Mapping[str, Any]
    table_files: tuple[str, ...]
    optional_files: tuple[str, ...] = ()
    signal_suffixes: tuple[str, ...] = (".hea", ".dat")
    unit: Literal["mV", "zscore"] = "mV"
    store_version: int = 1
    description: str = ""
    derivation: Sequence[str] = ()
    problems: Sequence[str] = ()
    releases: Sequence[Release] = ()
    sources: Sequence[Source] = ()
    repair: Repair | None = None
    target_groups: Mapping[str, TargetGroup] = field(default_factory=dict)
    mock: str = ""

    @property
    def sampling_rate(self) -> int:
        """The published sampling rate in Hz."""
        return self.sampling_rates[0]

    def links(self, data_dir: Path) -> Links:
        """Which symbolic links out of the raw folder are followed: none where the folder was downloaded."""
        # Downloads hold no links; a folder elsewhere may be one that somebody put together of picked records.
        return "inside" if Path(os.path.abspath(data_dir)).is_relative_to(home() / "data") else "alike"

    @property
    def max_record_mb(self) -> float | None:
        """The largest record in MB as float32, where the dataset has a bound of its own."""
        return None

    @property
    def place(self) -> str:
        """The page, and where on it the raw files are."""
        return self.page

    def prepare_command(self, folder: PathLike | None = None) -> str:
        """The command that gets the raw files; `folder` is named where it is not the default one."""
        place = "" if folder in (None, data_root() / self.name) else f" --data-dir {shlex.quote(shown(folder or ''))}"
        return f"ecg-hub data prepare {self.name}{place} --download"

    def how_to_get(self, folder: PathLike | None = None) -> str:
        """What to do without its raw files, as the end of every error about them: page, command, simulated records.

        Args:
            folder: where they are to lie; None is the default place.

        Example:
            >>> from dataset_scripts.catalog import get
            >>> print(get("ptb").how_to_get("/data/ptb"))
            Get PTB Diagnostic ECG Database from https://physionet.org/content/ptbdb/1.0.0/.
            `ecg-hub data prepare ptb --data-dir /data/ptb --download` does that; simulated records stand in with
            --data-root mock (`ecg-hub data`: --mock; Python: mock=True).
        """
        does = "does that" if self.access == "open" else f"says how, since it is {self.access}"
        command = f". `{self.prepare_command(folder)}` {does}" if self.sources or self.access != "open" else ""
        return (
            f"Get {self.title} from {self.place}{command}; simulated records stand in "
            "with --data-root mock (`ecg-hub data`: --mock; Python: mock=True)."
        )

    def check_rate(self, sampling_rate: int | None) -> int:
        """Return the sampling rate to use; None means the published one."""
        rate = self.sampling_rate if sampling_rate is None else sampling_rate
        if rate not in self.sampling_rates:
            offered = ", ".join(str(r) for r in self.sampling_rates)
            raise InputError(f"{self.title} has no records at sampling_rate={sampling_rate!r}; offered: {offered} Hz.")
        return rate

    def check_thresholds(self, given: Mapping[str, Any]) -> None:
        """Refuse parameters that the label layer does not have, and values of another kind than the default."""
        for name, value in given.items():
            if name not in self.thresholds:
                raise InputError(
                    f"{self.name!r} has no threshold {name!r}.{did_you_mean(name, self.thresholds)} "
                    f"It has: {', '.join(sorted(self.thresholds))}."
                )
            default = self.thresholds[name]
            # A word would count as true, or end in a comparison. Of Python's numbers True is one.
            for allowed, what in (fitting for kind, fitting in _KINDS if type(default) is kind):
                is_flag = allowed is bool
                fits = isinstance(value, allowed) and isinstance(value, bool) == is_flag
                if not fits or not (is_flag or value >= 0):
                    raise InputError(f"{name}={value!r} is not {what}; the default is {name}={default!r}.")

    def check_folder(self, data_dir: PathLike | None, sampling_rate: int) -> Path:
        """Return the raw folder after checking that what is needed is there."""
        if data_dir is None:
            raise DataError(f"No folder given for {self.name!r}: pass data_dir. {self.how_to_get()}")
        folder = bring(place(data_dir), lazily=True)
        if not folder.is_dir():
            raise DataError(f"The folder {str(folder)!r} of {self.name!r} does not exist. {self.how_to_get(folder)}")
        needed = [*self.table_files, *self.signal_folders(sampling_rate)]
        missing = [name for name in needed if not (folder / name).exists()]
        if missing:
            raise DataError(f"{str(folder)!r} lacks {', '.join(missing)}. {self.how_to_get(folder)}")
        return folder

    def label_title(self, column: str, label: str) -> str:
        """Return what a label means in words; the label itself where the dataset has no words for it."""
        del column
        return label

    def known_release(self, version: str | None, thresholds: Mapping[str, Any]) -> Release | None:
        """Return what a copy is compared with; the published release where its version is unknown."""
        del thresholds
        named = [release for release in self.releases if release.version == version]
        # A copy whose release nobody can tell is compared with the published one, so that part of it does not pass
        # unseen.
        return next(iter([*named, *self.releases]), None)

    def belongs(self, record_id: str) -> bool:
        """Whether a record that lies in the raw folder is one of the release's, as far as its name tells."""
        del record_id
        return True

    def signal_folders(self, sampling_rate: int) -> tuple[str, ...]:
        """Folders below the raw folder that hold the signals at this rate."""
        del sampling_rate
        return (".",)

    @abstractmethod
    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        """Read the tables of the raw folder."""

    @abstractmethod
    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        """Read one record."""

    @abstractmethod
    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        """Derive labels, folds and splits from the store's metadata.

        Args:
            metadata: every column of the store but signal, gain and baseline, plus `samples` (length); one row per
                record, in the order of the store.
            data_dir: the raw folder, for its dictionaries.
            thresholds: the parameters in force, all names of `self.thresholds`.
        """

    def full_label_table(
        self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any], work: Path
    ) -> LabelTable:
        """Derive labels, folds, splits and targets where that takes long; else the same as `label_table`.

        `prepare` calls this one. A dataset whose targets come from large tables overrides it, keeps what it derives in
        `work`, and lets `label_table` return what the store's metadata alone tell.
        """
        del work
        return self.label_table(metadata, data_dir, thresholds)
