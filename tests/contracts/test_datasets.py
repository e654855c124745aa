"""What every registered dataset must keep: metadata, a mock tree that prepares, columns, splits, licence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from datasets import Array2D, ClassLabel, Dataset, List, Value

from dataset_scripts import mock
from dataset_scripts.catalog import datasets, get
from dataset_scripts.core.extent import Copy, extent
from dataset_scripts.core.labels import label_matrix
from dataset_scripts.core.spec import OWN_COLUMNS, SPLITS, ECGDataset
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.reader import SignalReader
from dataset_scripts.tools.card import dataset_card
from dataset_scripts.tools.croissant import creators
from dataset_scripts.tools.export import write_shards
from ecg_hub import AutoFeatureExtractor, ECGFeatureExtractor, catalog
from ecg_hub.errors import DataError
from ecg_hub.input.samples import MISSING
from ecg_hub.input.windows import window_length
from eval_harness.data.windows import RunData, Split, Windows, make_split
from eval_harness.pretrain.data import open_folder
from eval_harness.pretrain.sources import RecordSource, StoreSource
from tests.support.hub_cards import check_dataset_card, code

RECORDS = 60
NAMES = sorted(datasets())
ARROW_TYPES = {"string", "bool", "int8", "int16", "int32", "int64", "float32", "float64"}


@pytest.fixture(scope="module", params=NAMES)
def dataset(request: pytest.FixtureRequest) -> ECGDataset:
    return get(request.param)


@pytest.fixture(scope="module")
def raw(dataset: ECGDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mock.write(dataset.name, tmp_path_factory.mktemp("contract") / dataset.name, records=RECORDS, seed=1)


@pytest.fixture(scope="module")
def cache(dataset: ECGDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(f"cache-{dataset.name}")


@pytest.fixture(scope="module")
def found(dataset: ECGDataset, raw: Path, cache: Path) -> Prepared:
    return prepare(dataset.name, raw, cache_dir=cache)


@pytest.mark.heavy
def test_the_card_is_valid_and_its_code_runs(
    dataset: ECGDataset, raw: Path, cache: Path, found: Prepared, capsys: pytest.CaptureFixture[str]
) -> None:
    card = dataset_card(dataset)
    check_dataset_card(card)
    example = code(card).replace('data_dir="DIR"', f"data_dir={str(raw)!r}, cache_dir={str(cache)!r}")
    exec(compile(example, dataset.name, "exec"), {"__name__": "card"})
    first, shape = capsys.readouterr().out.splitlines()[-2:]
    assert first.startswith(found.splits["train"][0]["record_id"])
    assert re.fullmatch(r"torch\.Size\(\[[1-9]\d*, 12, 600\]\)", shape)


def test_metadata_are_complete(dataset: ECGDataset) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", dataset.name)
    for text in (dataset.title, dataset.licence, dataset.citation, dataset.folds):
        assert text.strip()
        assert "TODO" not in text
    assert creators(dataset.citation), (
        f"citation {dataset.citation!r}: begin with authors and initials, as in 'Nobody, N., et al. An example. 2026.'"
    )
    assert dataset.page.startswith("https://")
    assert dataset.versions
    assert all(rate > 0 for rate in dataset.sampling_rates)
    assert dataset.sampling_rate == dataset.sampling_rates[0]
    assert dataset.signal_suffixes
    assert dataset.store_version >= 1
    assert dataset.thresholds["min_count"] >= 1


WITHOUT_SPLIT_SIZES = {
    "code-15", "cpsc-extra", "cpsc2018", "georgia", "mimic-iv-ecg", "ningbo", "zzu-pecg",
}  # fmt: skip
"""Datasets of which no public source gives the records of each split after every rule."""


def test_a_part_of_it_can_be_told_from_the_release(dataset: ECGDataset) -> None:
    published = dataset.known_release(None, {})
    assert published is not None
    assert published.version == dataset.versions[0]
    assert (not published.split_sizes) == (dataset.name in WITHOUT_SPLIT_SIZES)
    for release in dataset.releases:
        sizes = release.split_sizes
        assert release.records >= sum(sizes.values())
        assert tuple(sizes) in ((), SPLITS)
        assert all(size > 0 for size in sizes.values())
        if sizes and release.fold_sizes:
            *train, validation, test = release.fold_sizes
            assert sizes == {"train": sum(train), "validation": validation, "test": test}
        lost = {**sizes, "test": sizes["test"] - 1} if sizes else {"train": 8, "validation": 1, "test": 1}
        copy = Copy(version=release.version, read=release.records - 1, records=lost)
        assert extent(release, copy).state == "partial"


def test_licence_fields_agree_with_each_other(dataset: ECGDataset) -> None:
    assert dataset.access in ("open", "restricted", "credentialed")
    assert isinstance(dataset.redistribution, bool)
    assert dataset.access == "open" or not dataset.redistribution, "restricted data may not be passed on"


def test_column_names_do_not_collide(dataset: ECGDataset) -> None:
    derived = {"fold", "split", "targets"}
    assert all(name.startswith("label_") for name in dataset.label_columns)
    assert not set(dataset.metadata_columns) & ({*OWN_COLUMNS, *dataset.label_columns} | derived)
    assert set(dataset.metadata_columns.values()) <= ARROW_TYPES


def test_a_folder_that_lacks_everything_is_told_with_the_page(dataset: ECGDataset, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(dataset.name, tmp_path, cache_dir=tmp_path / "cache")
    assert dataset.page in str(caught.value)
    assert all(name in str(caught.value) for name in dataset.table_files)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_there_is_a_mock_tree_that_says_so(dataset: ECGDataset, raw: Path, found: Prepared) -> None:
    assert dataset.name in mock.available()
    assert found.deviations["synthetic"] is True
    assert found.dataset is dataset
    assert found.sampling_rate == dataset.sampling_rate


def test_columns_and_types_are_as_designed(dataset: ECGDataset, found: Prepared) -> None:
    zscore = dataset.unit == "zscore"
    expected = {
        "record_id": Value("string"),
        "patient_id": Value("string"),
        "signal": Array2D(shape=(None, 12), dtype="float32" if zscore else "int16"),
        "gain_uv": List(Value("float32"), length=12),
        "baseline": List(Value("int32"), length=12),
        "sampling_rate": Value("int32"),
        "age": Value("float32"),
        "sex": Value("string"),
        "fold": Value("int32"),
        "split": Value("string"),
        **{name: Value(kind) for name, kind in dataset.metadata_columns.items()},
        **{column: List(ClassLabel(names=found.labels[column])) for column in dataset.label_columns},
        **({} if dataset.repair is None else {"clip_mv": Value("float32")}),
    }
    assert tuple(found.splits) == SPLITS
    for split in found.splits.values():
        features = dict(split.features)
        features.pop("targets", None)
        assert features == expected


def test_every_record_is_accounted_for_once(found: Prepared) -> None:
    ids = [record for split in found.splits.values() for record in split["record_id"]]
    assert len(ids) == len(set(ids))
    kept = found.report.loc[found.report["status"] == "ok", "record_id"]
    assert set(ids) <= set(kept)
    assert len(kept) > 0.9 * RECORDS
    assert found.report["status"].isin(["ok", "lost", "excluded"]).all()
    assert (found.report.loc[found.report["status"] != "ok", "reason"] != "").all()


def test_splits_are_disjoint_by_patient(found: Prepared) -> None:
    patients = [{p for p in split["patient_id"] if p is not None} for split in found.splits.values()]
    assert sum(map(len, patients)) == len(set().union(*patients))


def test_values_are_of_the_agreed_kind(dataset: ECGDataset, found: Prepared) -> None:
    split = found.splits["train"]
    assert set(split["sex"]) <= {"male", "female", None}
    assert all(age is None or 0 <= age <= 120 for age in split["age"])
    assert set(split["sampling_rate"]) == {dataset.sampling_rate}
    assert len(found.splits["train"]) > len(found.splits["test"])


def test_signals_read_as_plausible_millivolts(dataset: ECGDataset, found: Prepared) -> None:
    for split in found.splits.values():
        reader = SignalReader(split)
        assert reader.unit == dataset.unit
        for index in range(min(len(reader), 5)):
            window = reader.window_mv(index)
            assert window.shape == (reader.lengths[index], 12)
            assert np.nanmax(np.abs(window)) < 40
            assert np.nanmax(np.abs(window)) > 0.05


def run_input(part: Dataset, extractor: ECGFeatureExtractor, found: Prepared) -> tuple[Split, np.ndarray]:
    """The windows of all records of a split that a run feeds a model, by the run's own loaders."""
    width = window_length(extractor.spec().input_seconds, found.sampling_rate)
    table = {name: list(part[name]) for name in ("record_id", "patient_id", "age", "sex")}
    split = make_split("test", SignalReader(part), table, np.zeros((len(part), 1), np.float32), width, None)
    data = RunData(split, split, split, ["label"], 1, found.sampling_rate, "", found.dataset.name, {})
    batches, _ = Windows(data, extractor).eval_batches(split, batch_size=4)
    return split, np.concatenate([batch.input_values.numpy() for batch in batches])


@pytest.fixture(scope="module")
def extractors() -> list[ECGFeatureExtractor]:
    """One for every preset of every registered model; several models share theirs."""
    found = [AutoFeatureExtractor.from_pretrained(f"random:{alias}-tiny") for alias in catalog.models()]
    each = [extractor.with_preset(preset) for extractor in found for preset in extractor.presets]
    return list({str(extractor.presets[extractor.preset]): extractor for extractor in each}.values())


@pytest.mark.heavy  # every model and preset on rows of every dataset
def test_rows_feed_every_model_as_a_run_does(
    dataset: ECGDataset, found: Prepared, extractors: list[ECGFeatureExtractor]
) -> None:
    part = found.splits["train"]
    gaps = [row for row in range(len(part)) if (SignalReader(part).raw(row) == MISSING).any()]
    part = part.select([*gaps[:2], *(row for row in range(4) if row not in gaps[:2])])
    assert len(gaps) > 0 or dataset.repair is None
    plain, arrays = part, part.with_format("numpy")
    for extractor in extractors:
        split, expected = run_input(part, extractor, found)
        rows = [int(row) for row in split.rows]
        assert len(expected) >= len(rows) > 2
        one_by_one = [extractor(plain[row], window="all")["input_values"] for row in rows]
        np.testing.assert_allclose(np.concatenate(one_by_one), expected, rtol=0, atol=1e-6)
        batch = extractor(arrays.select(rows)[:], window="all")
        np.testing.assert_array_equal(batch["input_values"], np.concatenate(one_by_one))
        counts = [len(windows) for windows in one_by_one]
        assert batch["record_index"].tolist() == np.repeat(np.arange(len(rows)), counts).tolist()


def test_labels_are_counted_and_encoded(dataset: ECGDataset, found: Prepared) -> None:
    assert set(found.labels) == set(dataset.label_columns) == set(found.label_hashes)
    for column, names in found.labels.items():
        assert len(set(names)) == len(names)
        total = sum(label_matrix(split, column).sum(axis=0) for split in found.splits.values())
        assert total.shape == (len(names),)


def test_preparing_again_gives_the_same(dataset: ECGDataset, raw: Path, found: Prepared) -> None:
    again = prepare(dataset.name, raw, cache_dir=found.store.parents[2])
    assert again.fingerprint == found.fingerprint
    assert again.label_hashes == found.label_hashes
    assert again.report.equals(found.report)


@pytest.mark.heavy
def test_shards_hold_every_record(found: Prepared, tmp_path: Path) -> None:
    """Written, read by the pre-training reader, equal to the store; training records alone unless all are asked for."""
    write_shards(found, tmp_path)
    readable = found.report[found.report["status"] == "ok"]
    for all_records in (False, True):
        files, store = open_folder(tmp_path, all_records=all_records), StoreSource(found, all_records)
        one, other = (list(_records(source)) for source in (files, store))
        assert [name for name, _ in one] == [name for name, _ in other]
        assert all(
            np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for (_, a), (_, b) in zip(one, other, strict=True)
        )
        assert len(one) == (len(readable) if all_records else len(found.splits["train"]))


def _records(source: RecordSource) -> Iterator[tuple[str, np.ndarray]]:
    for unit, count in enumerate(source.counts):
        rows = source.read(unit, 0, int(count))
        for name, signal in zip(rows.record_ids, rows.signals, strict=True):
            assert signal is not None
            yield name, signal
