"""From a raw folder to train, validation and test: the record store joined with a label table."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    DatasetInfo,
    Features,
    List,
    ReadInstruction,
    Value,
    concatenate_datasets,
)

from dataset_scripts import catalog
from dataset_scripts.core.builder import ECGBuilder
from dataset_scripts.core.extent import Copy, extent
from dataset_scripts.core.fingerprint import content_fingerprint, store_fingerprint
from dataset_scripts.core.labels import canonical_sha256, encode, fold_sha256, vocabulary
from dataset_scripts.core.report import absent_everywhere, check_unreadable, read_report
from dataset_scripts.core.spec import MOCK_FILE, SPLITS, ECGDataset, LabelTable, PathLike, is_mock
from dataset_scripts.core.walk import folder_of
from ecg_hub.errors import DataError, InputError, unknown_name
from ecg_hub.home import home
from ecg_hub.renamed import renamed_argument
from ecg_hub.utils.remote import data_root, fetch, place
from ecg_hub.utils.untrusted import record_bounds
from ecg_hub.utils.workers import Engine

logger = logging.getLogger(__name__)

MOCK_PREFIX = "mock/"
MOCK_RECORDS = 1000
DERIVED_FOLDER = "derived"
"""Beside the record stores of a dataset: what its label layer derives from large tables and keeps."""


@dataclass(frozen=True)
class Prepared:
    """A dataset ready for use, with all that a result has to say about its data.

    Attributes:
        dataset: its metadata.
        sampling_rate: Hz.
        version: the release that the raw tables reveal, or None where they do not.
        splits: train, validation and test; an empty split has the same columns.
        labels: label column -> label names, in the order of the class indices.
        targets: names of the targets, in the order of the column `targets`; () where there are none.
        target_groups: group -> its targets, where the dataset groups them; {} means that all are regression targets.
        label_hashes: label column -> SHA-256 of the canonical text of all labels before the count filter.
        exclusions: rule -> number of records that it keeps out of the splits.
        deviations: what differs from the published run: records, thresholds, rate, release, synthetic data.
        report: one row per raw record: record_id, file, status (ok, lost, excluded), reason, samples, digest.
        fingerprint: 16 hexadecimal digits over every sample, label and split; equal on every machine.
        store: the folder of the record store.
        left_out: the records of the store that are in no split, with the same columns.
        copy: what is compared with the facts of its release.
        derivation: CSV file that names every step of deriving the targets with its rows, or None.
        target_scales: regression target -> (standard deviation, unit) that turns its z-scores into clinical units.
        target_means: regression target -> the mean, in that unit, which a z-score of 0 stands for; where it is known.
    """

    dataset: ECGDataset
    sampling_rate: int
    version: str | None
    splits: DatasetDict
    labels: Mapping[str, list[str]]
    targets: tuple[str, ...]
    target_groups: Mapping[str, tuple[str, ...]]
    label_hashes: Mapping[str, str]
    exclusions: Mapping[str, int]
    deviations: Mapping[str, Any]
    report: pd.DataFrame
    fingerprint: str
    store: Path
    left_out: Dataset
    copy: Copy
    derivation: Path | None = None
    target_scales: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    target_means: Mapping[str, float] = field(default_factory=dict)


@renamed_argument("max_loss", "max_unreadable")
def load_dataset(
    name: PathLike,
    data_dir: PathLike | None = None,
    *,
    split: Any = None,
    mock: bool | int = False,
    **options: Any,
) -> Any:
    """Return train, validation and test of a dataset, or what `split` asks for; further options as in `prepare`.

    Args:
        name: as in `prepare`, or "mock/" and the name of a registered dataset.
        data_dir: as in `prepare`.
        split: None for a DatasetDict of all; "train", "test[:10%]", "train+validation", "all" for a Dataset, a list of
            these for a list, as `datasets.load_dataset` has it.
        mock: take simulated records, as "mock/NAME" does; a number says how many. They are written once, to the cache.
        options: `cache_dir`, `sampling_rate`, `min_count` and so on.

    Raises:
        UnknownNameError: no such dataset, split or option.
        InputError: a value that does not fit.
        DataError: the folder or a needed file is missing, a table is damaged, or too many records are.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> splits = load_dataset("ptb-xl", mock=40, cache_dir=folder.name)
        >>> {name: len(split) for name, split in splits.items()}
        {'train': 38, 'validation': 1, 'test': 1}
        >>> train = load_dataset("mock/ptb-xl", split="train[:50%]", mock=40, cache_dir=folder.name)
        >>> len(train), train.column_names[:4]
        (19, ['record_id', 'patient_id', 'signal', 'gain_uv'])
        >>> load_dataset("ptb-xl", folder.name)  # no archive of the dataset
        Traceback (most recent call last):
            ...
        ecg_hub.errors.DataError: '...' lacks ptbxl_database.csv, scp_statements.csv, records500. ...
        >>> load_dataset("ptb-xl", splits="train")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.UnknownNameError: Unknown argument of load_dataset 'splits'. Did you mean 'split'? Known: ...
        >>> folder.cleanup()
    """
    name, mock = _mock_name(name, data_dir, mock)
    _check_keywords(name, options)
    if mock:
        data_dir = _mock_folder(name, data_dir, mock, options.get("cache_dir"))
    splits = prepare(name, data_dir, **options).splits
    return splits if split is None else _chosen(splits, split)


@renamed_argument("max_loss", "max_unreadable")
def prepare(
    name: PathLike,
    data_dir: PathLike | None = None,
    *,
    cache_dir: PathLike | None = None,
    sampling_rate: int | None = None,
    min_count: int | None = None,
    max_unreadable: float = 0.01,
    num_proc: int | None = None,
    max_record_mb: float | None = None,
    engine: Engine = "local",
    **thresholds: Any,
) -> Prepared:
    """Write the record store of a raw folder once, derive the labels, and join them.

    Args:
        name: a registered dataset, e.g. "ptb-xl", or the path of the YAML file that describes a user's own archive.
        data_dir: its raw folder; None takes $ECG_DATA_ROOT/NAME, without that variable $ECG_HUB_HOME/data/NAME, and for
            a user's own archive the folder that its description names.
        cache_dir: where stores are kept; default `$ECG_HUB_HOME/datasets`, else the user's cache folder.
        sampling_rate: Hz, where the raw data come at several; default the published one.
        min_count: labels with fewer occurrences are dropped; default what the raw folder's mock.json says, else the
            published 10. Fixed label lists are not filtered.
        max_unreadable: the share of unreadable records that is tolerated.
        num_proc: processes that read records; default one below 4,096 records, else up to eight.
        max_record_mb: the largest record, in MB of its twelve leads as float32; larger ones are lost. Default what a
            description says, else $ECG_HUB_MAX_RECORD_MB, else 512.
        engine: "ray" reads records on the Ray cluster of RAY_ADDRESS, else by `num_proc` workers of Ray here.
        thresholds: further parameters of the dataset's label layer (`ECGDataset.thresholds`).

    Raises:
        UnknownNameError: no such dataset.
        InputError: a threshold or a sampling rate that the dataset does not have.
        DataError: the folder or a needed file is missing, a table is damaged, or too many records are.
    """
    given = thresholds if min_count is None else {**thresholds, "min_count": min_count}
    builder = _builder(name, data_dir, cache_dir, sampling_rate, max_record_mb)
    dataset, folder = builder.dataset, builder.folder
    _check_options(dataset, given, max_unreadable, num_proc)
    mock = read_mock(folder, dataset)
    # Later ones win: what was published, what suits a mock tree of that size, what the user asks for.
    in_force = {**dataset.thresholds, **mock.get("thresholds", {}), **given}
    builder.engine = engine
    builder.bring()
    builder.download_and_prepare(num_proc=num_proc)
    if mock and not is_mock(builder.store):
        # In the store too: whoever lists the stores must tell simulated records from those of the dataset.
        (builder.store / MOCK_FILE).write_text(json.dumps({"synthetic": True}) + "\n", encoding="utf-8")
    builder.publish()
    report = read_report(builder.store)
    # By the store's report and not by this run: a store that was made with more tolerance is judged anew.
    check_unreadable(dataset, report, max_unreadable)
    gone = absent_everywhere(report)
    if gone:
        logger.warning(
            "%s: no record holds lead %s. If the files have it by another name, say so under lead_names.",
            dataset.title,
            ", ".join(gone),
        )
    store = builder.as_dataset(split="records")
    # Beside the stores: one derivation serves every store of the dataset.
    work = builder.store.parents[1] / DERIVED_FOLDER
    table = dataset.full_label_table(_metadata(store, report), folder, in_force, work)
    return _join(builder, store, report, table, in_force, mock)


def prepare_part(
    name: PathLike,
    data_dir: PathLike | None,
    part: tuple[int, int],
    *,
    cache_dir: PathLike | None = None,
    sampling_rate: int | None = None,
    num_proc: int | None = None,
    max_record_mb: float | None = None,
) -> tuple[int, int]:
    """Write the shards of one of N jobs; `prepare` with the same folders puts all of them together.

    Args:
        name: as of `prepare`, and so the others.
        data_dir: its raw folder.
        part: (i, N), i from 1.
        cache_dir: a folder that all jobs see, or a URL.
        sampling_rate: Hz.
        num_proc: processes of this job.
        max_record_mb: the largest record.

    Returns:
        Shards of this job and the records in them.
    """
    builder = _builder(name, data_dir, cache_dir, sampling_rate, max_record_mb)
    _check_options(builder.dataset, {}, 0.0, num_proc)
    return builder.write_part(*part, num_proc)


def _builder(
    name: PathLike,
    data_dir: PathLike | None,
    cache_dir: PathLike | None,
    sampling_rate: int | None,
    max_record_mb: float | None,
) -> ECGBuilder:
    """Return what writes and opens the record store of a raw folder."""
    # An archive without a rate is looked into for it.
    with record_bounds(max_record_mb):
        dataset = catalog.get(name, data_dir)
    rate = dataset.check_rate(sampling_rate)
    if data_dir is None and not catalog.is_path(name):
        data_dir = folder_of(dataset.name, data_root())
    folder = dataset.check_folder(data_dir, rate)
    return ECGBuilder(dataset, folder, default_cache(cache_dir), rate, max_record_mb)


def _mock_name(name: PathLike, data_dir: PathLike | None, mock: bool | int) -> tuple[PathLike, bool | int]:
    """Return the name without "mock/", and whether or how many simulated records are asked for."""
    if isinstance(name, str) and name.startswith(MOCK_PREFIX):
        return name.removeprefix(MOCK_PREFIX), mock or True
    asked = data_dir is None and os.environ.get("ECG_DATA_ROOT") == "mock" and not catalog.is_path(name)
    return name, mock or asked


def _mock_folder(name: PathLike, data_dir: PathLike | None, mock: bool | int, cache_dir: PathLike | None) -> Path:
    """Return the folder of simulated records, written on first use: the same that `ecg-hub data prepare --mock` has."""
    from dataset_scripts.mock import mock_root

    if data_dir is not None:
        raise InputError(f"mock={mock!r} and data_dir={os.fspath(data_dir)!r} were given: leave one of the two out.")
    if catalog.is_path(name):
        raise InputError(f"There are no simulated records of {os.fspath(name)!r}, only of the published datasets.")
    dataset = catalog.get(name).name
    records = MOCK_RECORDS if mock is True else mock
    return mock_root(home() if cache_dir is None else cache_dir, dataset, records) / dataset


def _check_keywords(name: PathLike, options: Mapping[str, Any]) -> None:
    """Refuse a keyword that neither `load_dataset` nor the dataset's label layer has."""
    known = {*inspect.signature(load_dataset).parameters, *inspect.signature(prepare).parameters}
    known -= {"options", "thresholds"}
    if options.keys() <= known:
        return
    dataset = catalog.get(name)
    for keyword in options:
        if keyword not in known | set(dataset.thresholds):
            raise unknown_name("argument of load_dataset", keyword, {*known, *dataset.thresholds})


def _chosen(splits: DatasetDict, wanted: Any) -> Any:
    """Return what `split=` asks for, in the words of `datasets.load_dataset`."""
    if isinstance(wanted, (list, tuple)):
        return [_chosen(splits, one) for one in wanted]
    text = "+".join(splits) if str(wanted) == "all" else str(wanted)
    try:
        cuts = ReadInstruction.from_spec(text).to_absolute({name: len(part) for name, part in splits.items()})
    except (ValueError, AssertionError):  # datasets has both, and names no way out
        remedy = "Parts are written 'test[:10%]', sums 'train+validation'."
        raise unknown_name("split", str(wanted), [*splits, "all"], remedy) from None
    parts = [splits[cut.splitname].select(range(cut.from_, cut.to)) for cut in cuts]
    return parts[0] if len(parts) == 1 else concatenate_datasets(parts)


def default_cache(cache_dir: PathLike | None) -> Path:
    """Return the folder that stores are kept in."""
    return home() / "datasets" if cache_dir is None else place(cache_dir)


def read_mock(folder: Path, dataset: ECGDataset) -> dict[str, Any]:
    """Return the content of a mock tree's `mock.json`, {} for real data."""
    path = folder / MOCK_FILE
    fetch(path)
    if not path.is_file():
        return {}
    try:
        mock = json.loads(path.read_text(encoding="utf-8"))
        unknown = set(mock.get("thresholds", {})) - set(dataset.thresholds)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"{str(path)!r} is not a JSON object ({error}); write the mock tree again.") from None
    if unknown:
        raise DataError(f"{str(path)!r} sets {', '.join(sorted(unknown))}, which {dataset.name!r} does not have.")
    return dict(mock)


def _check_options(dataset: ECGDataset, given: Mapping[str, Any], max_unreadable: float, num_proc: int | None) -> None:
    dataset.check_thresholds(given)
    if not 0.0 <= max_unreadable <= 1.0:
        raise InputError(f"max_unreadable={max_unreadable!r} is not a fraction between 0 and 1.")
    if num_proc is not None and num_proc < 1:
        raise InputError(f"num_proc={num_proc!r} is not a number of processes; pass 1 or more.")


def _metadata(store: Dataset, report: pd.DataFrame) -> pd.DataFrame:
    """Return the store's columns without the signals, and the length of each record as `samples`."""
    names = [name for name in store.column_names if name not in ("signal", "gain_uv", "baseline")]
    # Without the signals, which would be the whole dataset in memory.
    frame = store.data.table.select(names).to_pandas()
    frame["samples"] = report.loc[report["status"] == "ok", "samples"].to_numpy()
    return frame


def _join(
    builder: ECGBuilder,
    store: Dataset,
    report: pd.DataFrame,
    table: LabelTable,
    in_force: Mapping[str, Any],
    mock: Mapping[str, Any],
) -> Prepared:
    """Filter and encode the labels, put them beside the store, and cut the splits."""
    ids = report.loc[report["status"] == "ok", "record_id"].to_numpy()
    counted, kept = _masks(table, len(ids))
    names, hashes, encoded = {}, {}, {}
    for column, lists in table.labels.items():
        # Counted over all folds and before any length rule, as published; only rules marked `counted=False` come first.
        of_counted = [labels for labels, use in zip(lists, counted, strict=True) if use]
        names[column] = list(table.fixed.get(column) or vocabulary(of_counted, in_force["min_count"]))
        hashes[column] = canonical_sha256(ids[counted], of_counted)
        encoded[column] = encode(lists, names[column])
    split = np.where(kept, table.split, "")
    stored: list[Any] = [store_fingerprint(builder.dataset.name, report), builder.sampling_rate]
    # A repair changes what readers return and not what is stored, so the fingerprint has to name it.
    if builder.dataset.repair is not None:
        stored.append(dataclasses.asdict(builder.dataset.repair))
    print_ = content_fingerprint([*stored, dict(in_force), names, hashes, split.tolist(), _digest(table)])
    # Beside the store and not in it: other thresholds give other labels for the same signals on the disk.
    repair = builder.dataset.repair
    labels = label_dataset(table, split, names, encoded, print_, None if repair is None else repair.clip_mv)
    full = concatenate_datasets([store, labels], axis=1)
    full.info.dataset_name = builder.dataset.name  # tells SignalReader which repair the dataset declares
    copy = Copy(
        version=builder.version(),
        read=_records_read(builder.dataset, report, counted),
        records={part: int(np.sum(split == part)) for part in SPLITS},
        label_sha256=hashes,
        fold_sha256=fold_sha256(ids[counted], np.asarray(table.fold)[counted]),
    )
    return Prepared(
        dataset=builder.dataset,
        sampling_rate=builder.sampling_rate,
        version=copy.version,
        splits=DatasetDict({part: full.select(np.flatnonzero(split == part)) for part in SPLITS}),
        labels=names,
        targets=() if table.targets is None else tuple(table.targets[0]),
        target_groups={group: tuple(members) for group, members in table.target_groups.items()},
        label_hashes=hashes,
        exclusions=_count_exclusions(table, report),
        deviations=_deviations(builder, in_force, mock, table, copy),
        report=report,
        fingerprint=print_,
        store=builder.store,
        left_out=full.select(np.flatnonzero(split == "")),
        copy=copy,
        derivation=table.derivation,
        target_scales=dict(table.target_scales),
        target_means=dict(table.target_means),
    )


def label_dataset(
    table: LabelTable,
    split: np.ndarray,
    names: Mapping[str, Sequence[str]],
    encoded: Mapping[str, Sequence[Sequence[int]]],
    fingerprint: str,
    clip_mv: float | None = None,
) -> Dataset:
    """Return the label table as a dataset: fold, split, label columns as lists of ClassLabel, and targets.

    With `clip_mv` also that, in every row: a row is then read as the dataset's repair has it, wherever it goes.
    """
    columns: dict[str, Any] = {"fold": Value("int32"), "split": Value("string")}
    arrays = [pa.array(np.asarray(table.fold), pa.int32()), pa.array(split.tolist(), pa.string())]
    for column, vocabulary_ in names.items():
        columns[column] = List(ClassLabel(names=list(vocabulary_)))
        arrays.append(pa.array(encoded[column], pa.list_(pa.int64())))
    if table.targets is not None:
        values = np.ascontiguousarray(table.targets[1], dtype=np.float32)
        columns["targets"] = List(Value("float32"), length=values.shape[1])
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1]))
    if clip_mv is not None:
        columns["clip_mv"] = Value("float32")
        arrays.append(pa.array(np.full(len(split), clip_mv, dtype=np.float32)))
    features = Features(columns)
    content = pa.Table.from_arrays(arrays, schema=features.arrow_schema)
    # `datasets` names the caches of `map` and `filter` by this fingerprint: other labels, other caches.
    return Dataset(content, info=DatasetInfo(features=features), fingerprint=fingerprint)


def _masks(table: LabelTable, records: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows take part in counting, and which may stand in a split."""
    counted = np.ones(records, dtype=bool)
    kept = np.ones(records, dtype=bool)
    for rule in table.exclusions:
        kept &= ~rule.rows
        if not rule.counted:
            counted &= ~rule.rows
    return counted, kept


def _digest(table: LabelTable) -> list[Any]:
    """Return what identifies folds and targets."""
    if table.targets is None:
        return [np.asarray(table.fold).tolist()]
    names, values = table.targets
    # Little-endian, so that every machine gives the same fingerprint.
    content = hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").data).hexdigest()
    return [np.asarray(table.fold).tolist(), list(names), content]


def _count_exclusions(table: LabelTable, report: pd.DataFrame) -> dict[str, int]:
    """Return the records per rule, those left out before reading included."""
    early = report.loc[report["status"] == "excluded", "reason"].value_counts()
    counts = {str(reason): int(number) for reason, number in early.items()}
    for rule in table.exclusions:
        counts[rule.reason] = counts.get(rule.reason, 0) + int(np.sum(rule.rows))
    return {reason: number for reason, number in counts.items() if number}


def _records_read(dataset: ECGDataset, report: pd.DataFrame, counted: np.ndarray) -> int:
    """Return how many records of the release were read, those that a rule leaves out included.

    Records of the store that do not take part in counting are none: no row of a table names them.
    """
    read = report["status"] != "lost"
    read[report["status"] == "ok"] = counted
    return sum(map(dataset.belongs, report.loc[read, "record_id"]))


def _deviations(
    builder: ECGBuilder, in_force: Mapping[str, Any], mock: Mapping[str, Any], table: LabelTable, copy: Copy
) -> dict[str, Any]:
    """Return what differs from the published run; simulated data are not compared with the release."""
    dataset, version = builder.dataset, builder.version()
    found = {**table.deviations}
    if not mock:
        found |= extent(dataset.known_release(version, in_force), copy).differences
    found |= {name: value for name, value in in_force.items() if value != dataset.thresholds[name]}
    if builder.sampling_rate != dataset.sampling_rate:
        found["sampling_rate"] = builder.sampling_rate
    # An unknown release is no deviation: of most tables nobody can tell which one they are of.
    if version is not None and version != dataset.versions[0]:
        found["version"] = version
    if mock:
        found["synthetic"] = True
    return found
