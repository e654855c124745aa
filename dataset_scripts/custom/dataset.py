"""A user's own archive as a dataset: the description brought together with its files and its table."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.core.spec import ECGDataset, Exclusion, LabelTable, PathLike, RawRecord, Rejected, Scan, Signal
from dataset_scripts.core.walk import folder_of
from dataset_scripts.custom.description import Description, read_description
from dataset_scripts.custom.files import (
    FileIndex,
    list_files,
    listed_file,
    once,
    same_name,
    signals_folder,
    suffixes,
    without_ending,
    without_segments,
)
from dataset_scripts.custom.table import (
    Row,
    fold_rule,
    folds_and_splits,
    parse_row,
    read_table,
    standardised,
    warn_of_codes,
    warn_of_spellings,
)
from dataset_scripts.formats.registry import read_signal
from ecg_hub.errors import DataError
from ecg_hub.utils.remote import bring, place
from ecg_hub.utils.untrusted import Links, record_bounds, stated_record_mb

if TYPE_CHECKING:
    import pandas as pd


READER_VERSION = 4
"""Raise it whenever a reader of this package changes what it returns; stores are then written anew."""

TABLE_UNIT = "as in the table"
"""The unit of a target: the table does not say it."""

_READING = {"format", "signals", "sampling_rate", "unit", "lead_names", "encoding", "table", "columns"}
_PROBED = 16


@dataclass(frozen=True, kw_only=True)
class CustomDataset(ECGDataset):
    """A user's own archive.

    Attributes:
        about: what the description says.
        source: the YAML file.
        folder: the data folder in use; None until `bound`.
    """

    about: Description
    source: Path
    folder: Path | None = field(default=None, compare=False)

    def links(self, data_dir: Path) -> Links:
        """Links in a user's own archive are the user's: files may lie on other disks."""
        del data_dir
        return "followed"

    @property
    def max_record_mb(self) -> float | None:
        """The largest record in MB as float32, as described."""
        return self.about.max_record_mb

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the regression targets."""
        return tuple(self.about.columns.target_columns().values()) if self.about.columns else ()

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the labels where every label has a column; None where only the cells of the table say them."""
        columns = self.about.columns
        if columns is None or columns.labels is None:
            return ()
        return None if isinstance(columns.labels, str) else tuple(columns.label_columns().values())

    def find_folder(self, data_root: Path | None = None) -> Path:
        """Return the data folder: as described, else DATA_ROOT/<name> if there is one, else the description's own.

        Args:
            data_root: folder with one folder per dataset.
        """
        beside = self.source.parent
        if self.about.folder is not None:
            # Relative to the description and not to the working directory, so that a command works from anywhere.
            return Path(os.path.normpath(beside / place(self.about.folder)))
        if data_root is not None and (folder := folder_of(self.name, data_root)).is_dir():
            return folder
        return beside

    def bound(self, data_dir: PathLike | None = None) -> CustomDataset:
        """Return the dataset as it lies in a folder: with its sampling rate, read from the files if need be.

        The rate is then that of most of 16 records spread over the archive; records of another rate are lost.

        Args:
            data_dir: the data folder; None takes `find_folder()`.

        Raises:
            DataError: the folder or what it must hold is missing, or none of the records can be read.
        """
        folder = bring(self.find_folder() if data_dir is None else place(data_dir), lazily=True)
        bound = replace(self, folder=folder)
        # A rate of 0 stands for "not known yet"; no check of the folder depends on it.
        if self.about.sampling_rate is None:
            bound.check_folder(folder, 0)
            return replace(bound, sampling_rates=(_common_rate(bound, folder),))
        return bound

    def check_folder(self, data_dir: PathLike | None, sampling_rate: int) -> Path:
        """Return the data folder after checking that signals and table are there.

        Raises:
            DataError: something is missing; names the description to correct.
        """
        del sampling_rate
        folder = self.folder if data_dir is None and self.folder else self.find_folder()
        if data_dir is not None:
            folder = place(data_dir)
        bring(folder, lazily=True)
        where = f"of {self.name!r}, described in {str(self.source)!r},"
        if not folder.is_dir():
            raise DataError(f"The data folder {str(folder)!r} {where} does not exist. Correct `folder` there.")
        needed = [*self.table_files, signals_folder(self.about)]
        missing = [name for name in needed if not (folder / name).exists()]
        if missing:
            raise DataError(
                f"The data folder {str(folder)!r} {where} lacks {', '.join(map(repr, missing))}. Correct `folder`, "
                "`signals` or `table` there; paths are relative to the data folder."
            )
        return folder

    def signal_folders(self, sampling_rate: int) -> tuple[str, ...]:
        """Return the folder of the signal files."""
        del sampling_rate
        return (signals_folder(self.about),)

    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        """Read the table, or list the files where there is none; a damaged row is a lost record."""
        del sampling_rate
        import pandas as pd

        rows, lost, excluded = _listed(self.about, data_dir)
        names = ["record_id", "file", "patient_id", "age", "sex", *self.metadata_columns]
        return Scan(pd.DataFrame(rows, columns=names, dtype=object), lost=lost, excluded=excluded)

    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        """Read one record in any of the formats."""
        signal = read_signal(data_dir / record.file, self.about)
        if signal.sampling_rate != self.sampling_rate:
            raise DataError(
                f"sampled at {signal.sampling_rate} Hz, not {self.sampling_rate} Hz: give such records a table and a "
                f"YAML of their own with sampling_rate: {signal.sampling_rate}"
            )
        remark = str(record.metadata.get("table_remark") or "")
        return replace(signal, remark="; ".join(filter(None, [signal.remark, remark]))) if remark else signal

    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        """Derive labels, folds and targets; targets are z-scored with mean and deviation of the training records."""
        del data_dir
        labels = [json.loads(cell) for cell in metadata["table_labels"]]
        warn_of_spellings(labels)
        fold, split = folds_and_splits(self.about, metadata, labels)
        exclusions = [Exclusion("no fold in the table", split == "")]
        if "samples" in metadata:
            short = (metadata["samples"] < thresholds["min_seconds"] * self.sampling_rate).to_numpy()
            exclusions.append(Exclusion(f"shorter than {thresholds['min_seconds']:g} s", short))
        kept = ~np.any([rule.rows for rule in exclusions], axis=0)
        targets, scales, centres = None, dict[str, tuple[float, str]](), dict[str, float]()
        if self.targets:
            values = np.array([json.loads(cell) for cell in metadata["table_targets"]], dtype=np.float64)
            values = values.reshape(len(metadata), len(self.targets))
            for name, column in zip(self.targets, values.T, strict=True):
                warn_of_codes(name, column)
            scores, means, deviations = standardised(values, kept & (split == "train"))
            targets = (self.targets, scores)
            scales = {name: (scale, TABLE_UNIT) for name, scale in zip(self.targets, deviations, strict=True)}
            centres = dict(zip(self.targets, means, strict=True))
        return LabelTable(
            labels=dict.fromkeys(self.label_columns, labels),
            fold=fold,
            split=split,
            targets=targets,
            exclusions=exclusions,
            target_scales=scales,
            target_means=centres,
        )


def open_custom(path: PathLike) -> CustomDataset:
    """Return the dataset of a description; reads the YAML file and nothing else.

    Args:
        path: the YAML file.

    Raises:
        InputError: the file cannot be read or is not valid; every problem is listed.
    """
    source = bring(place(path)).absolute()
    about = read_description(source)
    columns = about.columns
    return CustomDataset(
        about=about,
        source=source,
        name=about.name,
        title=about.title or about.name,
        versions=("as described",),
        sampling_rates=() if about.sampling_rate is None else (about.sampling_rate,),
        access=about.access,
        redistribution=about.redistribution,
        licence=about.licence,
        citation=about.citation,
        page=f"the archive that {str(source)!r} describes",
        label_columns=("label_all",) if columns and columns.labels is not None else (),
        folds=fold_rule(about),
        metadata_columns=dict.fromkeys(("table_labels", "table_targets", "table_fold", "table_remark"), "string"),
        thresholds={"min_count": about.min_count, "min_seconds": about.min_seconds},
        table_files=(about.table,) if about.table else (),
        signal_suffixes=suffixes(about),
        store_version=_store_version(about),
        description=about.description,
    )


def record_readers(path: PathLike) -> Iterator[tuple[str, Callable[[], Signal]]]:
    """Yield every record of a description with the function that reads it; needs no labels and no common rate.

    A record that the table already shows to be damaged comes with a function that raises its reason.

    Raises:
        InputError: the description is not valid.
        DataError: the folder, the table or the signals are missing.
    """
    dataset = open_custom(path)
    folder = dataset.check_folder(dataset.find_folder(), 0)
    rows, lost, _ = _listed(dataset.about, folder)
    for row in rows:
        yield row["record_id"], _Reader(folder / row["file"], dataset.about, folder)
    for item in lost:
        yield item.record_id, _Refuser(item.reason)


@dataclass(frozen=True)
# A class and not a closure, which could not be pickled for another process.
class _Reader:
    path: Path
    about: Description
    folder: Path

    def __call__(self) -> Signal:
        # What a caller asks for comes before what the description says.
        with record_bounds(stated_record_mb() or self.about.max_record_mb, self.folder):
            return read_signal(self.path, self.about)


@dataclass(frozen=True)
class _Refuser:
    reason: str

    def __call__(self) -> Signal:
        raise DataError(self.reason)


def _listed(about: Description, data_dir: Path) -> tuple[list[dict[str, Any]], list[Rejected], list[Rejected]]:
    """Return the rows of the store, the lost ones, and the files that no row names."""
    if about.table is None or about.columns is None:
        index = FileIndex((), about)
        files = list_files(data_dir, about)
        bare = Counter(without_ending(index.inside(file)) for file in files)
        names = [index.inside(file) for file in files]
        # Two files that differ in their ending alone keep it.
        names = [name if bare[without_ending(name)] > 1 else without_ending(name) for name in names]
        plain = [Row(name, file, None, None, None, [], [], "") for name, file in zip(names, files, strict=True)]
        return [_store_row(row, row.file) for row in plain], [], []
    table = read_table(data_dir / about.table, about.columns, about.encoding)
    lost = [Rejected(f"line {line}", about.table, f"line {line}: {reason}") for line, reason in table.damaged]
    files = [] if about.columns.file else list_files(data_dir, about)
    index = FileIndex(files, about, data_dir)
    index.claim(cells[about.columns.record].strip() for _, cells in table.rows)
    rows: dict[str, dict[str, Any]] = {}
    used: dict[str, str] = {}
    for line, cells in table.rows:
        try:
            row = parse_row(cells, about.columns)
            if row.record in rows:
                raise ValueError(f"record {row.record!r} occurs a second time")
            file = listed_file(row.file, data_dir, about) if about.columns.file else index.find(row.record)
            if file in used:
                raise ValueError(f"its file {file!r} belongs to record {used[file]!r} already")
        except ValueError as error:
            name = cells[about.columns.record].strip() or f"line {line}"
            lost.append(Rejected(name, about.table, f"line {line}: {error}"))
            continue
        rows[row.record], used[file] = _store_row(row, file), row.record
    _spell_alike(list(rows.values()))
    # Other paths of files that are used, by links, and segments of their records are not left out.
    named = {os.path.realpath(data_dir / file) for file in used}
    surplus = [file for file in once(data_dir, files) if os.path.realpath(data_dir / file) not in named]
    surplus = [file for file in without_segments(data_dir, files) if file in set(surplus)]
    excluded = [Rejected(without_ending(index.inside(file)), file, "not in the table") for file in surplus]
    return list(rows.values()), lost, excluded


def _spell_alike(rows: Sequence[dict[str, Any]]) -> None:
    """Give every patient one name: P01 and p01, 007 and 7 are one, in folds and for whoever counts patients later."""
    spelled: dict[str, str] = {}
    # Sorted, so that the order of the rows decides nothing.
    for patient in sorted({row["patient_id"] for row in rows} - {None}):
        spelled.setdefault(same_name(patient), patient)
    for row in rows:
        if row["patient_id"] is not None:
            row["patient_id"] = spelled[same_name(row["patient_id"])]


def _store_row(row: Row, file: str) -> dict[str, Any]:
    return {
        "record_id": row.record,
        "file": file,
        "patient_id": row.patient,
        "age": row.age,
        "sex": row.sex,
        # As JSON in columns of text: the store has the same columns whatever the table holds.
        "table_labels": json.dumps(row.labels, ensure_ascii=False),
        "table_targets": json.dumps(row.targets),
        "table_fold": row.fold,
        "table_remark": row.remark,
    }


def _store_version(about: Description) -> int:
    """Return a number that changes with everything in the description that decides what is read."""
    # Title, licence and the like are not in it: correcting them must not write the store anew.
    reading = json.dumps([READER_VERSION, about.model_dump(mode="json", include=_READING)], sort_keys=True)
    return int(hashlib.sha256(reading.encode()).hexdigest()[:7], 16) + 1


def _common_rate(dataset: CustomDataset, folder: Path) -> int:
    """Return the rate of most of some records spread over the archive; of equally frequent ones the first."""
    scan = dataset.scan(folder, 0)
    files = scan.table["file"].tolist()
    if not files:
        raise DataError(
            f"{dataset.title}: none of {len(scan.lost)} rows of the table can be used. "
            f"{scan.lost[0].record_id}: {scan.lost[0].reason}. Correct the table or {str(dataset.source)!r}."
        )
    # Spread over the archive: its beginning may come from another recorder than the rest.
    chosen = [files[k] for k in sorted({round(k) for k in np.linspace(0, len(files) - 1, _PROBED)})]
    rates: Counter[int] = Counter()
    reasons = []
    for file in chosen:
        try:
            # Read as a whole, not only the header: a record that cannot be used has no vote.
            rates[_Reader(folder / file, dataset.about, folder)().sampling_rate] += 1
        except DataError as error:
            reasons.append(f"{file}: {error}")
    if not rates:
        raise DataError(
            f"{dataset.title}: none of {len(chosen)} records tried can be read. {reasons[0]}. Correct the description "
            f"{str(dataset.source)!r}, or the files."
        )
    return rates.most_common(1)[0][0]
