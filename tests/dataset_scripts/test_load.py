from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, DatasetDict, List

import ecg_hub
from dataset_scripts.catalog import get
from dataset_scripts.core.labels import label_matrix
from dataset_scripts.core.spec import Exclusion, LabelTable
from dataset_scripts.load import Prepared, default_cache, label_dataset, load_dataset, prepare
from ecg_hub.errors import DataError, InputError, UnknownNameError


def test_splits_hold_every_record_once_in_order(prepared: Prepared) -> None:
    ids = {name: [int(i) for i in split["record_id"]] for name, split in prepared.splits.items()}
    assert list(ids) == ["train", "validation", "test"]
    assert all(row == sorted(row) for row in ids.values())
    assert sorted(i for row in ids.values() for i in row) == [int(i) for i in prepared.report["record_id"]]
    for name, folds in (("train", set(range(1, 9))), ("validation", {9}), ("test", {10})):
        assert set(prepared.splits[name]["fold"]) == folds
        assert set(prepared.splits[name]["split"]) == {name}


def test_label_columns_are_lists_of_named_classes(prepared: Prepared) -> None:
    split = prepared.splits["train"]
    for column in prepared.dataset.label_columns:
        assert split.features[column] == List(ClassLabel(names=prepared.labels[column]))
        assert prepared.labels[column] == sorted(prepared.labels[column])
    names = split.features["label_all"].feature
    codes = [sorted(eval(cell)) for cell in split["scp_codes"]]
    assert [names.int2str(row) for row in split["label_all"]] == codes


def test_min_count_filters_by_occurrences_over_all_folds(mock_ptb_xl: Path, cache: Path, prepared: Prepared) -> None:
    matrix = {c: sum(label_matrix(s, c).sum(axis=0) for s in prepared.splits.values()) for c in prepared.labels}
    strict = prepare("ptb-xl", mock_ptb_xl, cache_dir=cache, min_count=10)
    for column in ("label_all", "label_form", "label_rhythm"):
        counts = dict(zip(prepared.labels[column], matrix[column], strict=True))
        assert strict.labels[column] == [name for name, count in counts.items() if count >= 10]
    assert strict.deviations == {"synthetic": True}
    assert prepared.deviations == {"min_count": 1, "synthetic": True}
    assert strict.label_hashes == prepared.label_hashes
    assert strict.fingerprint != prepared.fingerprint
    assert strict.store == prepared.store


def test_a_vocabulary_may_be_empty(mock_ptb_xl: Path, cache: Path) -> None:
    found = prepare("ptb-xl", mock_ptb_xl, cache_dir=cache, min_count=10_000)
    assert found.labels["label_form"] == []
    assert found.splits["test"].features["label_form"] == List(ClassLabel(names=[]))
    assert label_matrix(found.splits["test"], "label_form").shape == (len(found.splits["test"]), 0)


def test_indices_never_point_beyond_the_filtered_list(mock_ptb_xl: Path, cache: Path) -> None:
    prepared = prepare("ptb-xl", mock_ptb_xl, cache_dir=cache, min_count=10)
    assert len(prepared.labels["label_all"]) < 20
    for split in prepared.splits.values():
        for column, names in prepared.labels.items():
            assert {i for row in split[column] for i in row} <= set(range(len(names)))
    counts = sum(label_matrix(split, "label_all").sum(axis=0) for split in prepared.splits.values())
    assert (counts >= 10).all()


def test_an_empty_split_has_the_same_columns(mock_ptb_xl: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(mock_ptb_xl, tmp_path / "raw"))
    table = folder / "ptbxl_database.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(line for line in lines if ",10,records100" not in line), encoding="utf-8")
    found = prepare("ptb-xl", folder, cache_dir=tmp_path / "cache")
    assert len(found.splits["test"]) == 0
    assert len(found.splits["validation"]) > 0
    assert found.splits["test"].features == found.splits["train"].features
    assert set(found.splits["validation"]["fold"]) == {9}


def test_patients_do_not_cross_splits(prepared: Prepared) -> None:
    patients = [set(split["patient_id"]) for split in prepared.splits.values()]
    assert sum(map(len, patients)) == len(set.union(*patients))


def test_load_dataset_returns_the_splits(mock_ptb_xl: Path, cache: Path, prepared: Prepared) -> None:
    splits = load_dataset("ptb-xl", mock_ptb_xl, cache_dir=cache)
    assert isinstance(splits, DatasetDict)
    assert splits["test"]["record_id"] == prepared.splits["test"]["record_id"]


@pytest.mark.heavy
@pytest.mark.parametrize("load", [load_dataset, ecg_hub.load_dataset])
def test_one_split_parts_and_sums_are_asked_for_as_in_datasets(
    mock_ptb_xl: Path, cache: Path, prepared: Prepared, load: Any
) -> None:
    ids = {name: list(part["record_id"]) for name, part in prepared.splits.items()}

    def loaded(split: Any) -> Any:
        return load("ptb-xl", mock_ptb_xl, cache_dir=cache, split=split)

    assert list(loaded("train")["record_id"]) == ids["train"]
    assert list(loaded(datasets.Split.TEST)["record_id"]) == ids["test"]
    assert list(loaded("train[2:5]")["record_id"]) == ids["train"][2:5]
    half = round(len(ids["train"]) / 2)
    assert list(loaded("test+train[:50%]")["record_id"]) == ids["test"] + ids["train"][:half]
    assert list(loaded("all")["record_id"]) == [name for part in ids.values() for name in part]
    one, other = loaded(["validation", "test"])
    assert (len(one), len(other)) == (len(ids["validation"]), len(ids["test"]))
    assert loaded("test+train").info.dataset_name == "ptb-xl", "the reader knows the dataset's repair by it"
    for wrong in ("trian", "train[", ""):
        with pytest.raises(UnknownNameError, match=r"^Unknown split .*Known: all, test, train, validation\."):
            loaded(wrong)


@pytest.mark.parametrize("load", [load_dataset, ecg_hub.load_dataset])
def test_simulated_records_need_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    first = load("mock/ptb-xl", mock=20, cache_dir=tmp_path)
    again = load("ptb-xl", mock=20, cache_dir=tmp_path, split="train")
    assert sum(map(len, first.values())) == 20
    assert list(again["record_id"]) == list(first["train"]["record_id"])
    with pytest.raises(InputError, match="mock=20 and data_dir='x' were given"):
        load("ptb-xl", "x", mock=20)
    with pytest.raises(InputError, match=r"no simulated records of 'own\.yaml'"):
        load("own.yaml", mock=True)
    with pytest.raises(UnknownNameError, match="Unknown dataset 'ptbxll'"):
        load("mock/ptbxll")
    monkeypatch.setattr("dataset_scripts.load.MOCK_RECORDS", 20)
    monkeypatch.setenv("ECG_DATA_ROOT", "mock")
    assert len(load("ptb-xl", cache_dir=tmp_path, split="train")) == len(again)
    assert len(load("mock/ptb-xl", cache_dir=tmp_path, split="train")) == len(again)


def test_the_folder_of_a_dataset_lies_in_the_data_root(
    mock_ptb_xl: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"`ecg-hub data prepare ptb-xl --download` does that; .*--data-root mock"):
        load_dataset("ptb-xl")
    with pytest.raises(DataError, match=r"prepare mimic-iv-ecg --download` says how, since it is credentialed"):
        load_dataset("mimic-iv-ecg")
    monkeypatch.setenv("ECG_DATA_ROOT", str(mock_ptb_xl.parent))
    assert len(load_dataset("ptb-xl", cache_dir=cache, split="all")) == 150


@pytest.mark.parametrize("load", [load_dataset, ecg_hub.load_dataset])
def test_unknown_keywords_are_called_that(load: Any, mock_ptb_xl: Path, cache: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        load("ptb-xl", splits="train")
    text = str(caught.value)
    assert text.startswith("Unknown argument of load_dataset 'splits'. Did you mean 'split'?")
    assert all(name in text for name in ("cache_dir", "data_dir", "mock", "min_count", "exclude_removed"))
    with pytest.raises(UnknownNameError, match="'streaming'"):
        load("ptb-xl", mock_ptb_xl, streaming=True)
    assert len(load("ptb-xl", mock_ptb_xl, cache_dir=cache, sampling_rate=500, num_proc=1, exclude_removed=False)) == 3


@pytest.mark.parametrize("load", [load_dataset, ecg_hub.load_dataset])
def test_the_old_name_of_an_argument_finds_the_same_store(
    mock_ptb_xl: Path, cache: Path, prepared: Prepared, load: Any
) -> None:
    with pytest.warns(FutureWarning, match=r"^max_loss is now called max_unreadable") as caught:
        splits = load("ptb-xl", mock_ptb_xl, cache_dir=cache, max_loss=0.05)
    assert [warning.filename for warning in caught] == [__file__]
    assert splits["train"]._fingerprint == load("ptb-xl", mock_ptb_xl, cache_dir=cache)["train"]._fingerprint
    assert splits["train"].cache_files == prepared.splits["train"].cache_files


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"min_count": "five"}, "min_count='five' is not a whole number from 0; the default is min_count=10"),
        ({"min_count": 2.5}, "min_count=2.5 is not a whole number"),
        ({"min_count": -3}, "min_count=-3 is not a whole number from 0"),
        ({"min_count": True}, "min_count=True is not a whole number"),
        ({"exclude_removed": "nope"}, "exclude_removed='nope' is not true or false"),
        ({"exclude_removed": 1}, "exclude_removed=1 is not true or false"),
    ],
)
def test_a_threshold_of_another_kind_is_refused(mock_ptb_xl: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        prepare("ptb-xl", mock_ptb_xl, **given)


def test_unknown_names_and_options_are_refused(mock_ptb_xl: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'ptb-xl'"):
        prepare("ptbxll", mock_ptb_xl)
    with pytest.raises(
        InputError, match=r"no threshold 'min_cnt'\. Did you mean 'min_count'\? It has: exclude_removed"
    ):
        prepare("ptb-xl", mock_ptb_xl, min_cnt=3)
    with pytest.raises(InputError, match=r"max_unreadable=5 is not a fraction"):
        prepare("ptb-xl", mock_ptb_xl, max_unreadable=5)
    with pytest.raises(InputError, match=r"num_proc=0 is not a number of processes"):
        prepare("ptb-xl", mock_ptb_xl, num_proc=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "is not a JSON object"),
        ("{", "is not a JSON object"),
        ('{"thresholds": {"depth": 1}}', "sets depth, which"),
    ],
)
def test_a_damaged_mock_file_is_named(mock_ptb_xl: Path, tmp_path: Path, text: str, message: str) -> None:
    folder = Path(shutil.copytree(mock_ptb_xl, tmp_path / "raw"))
    (folder / "mock.json").write_text(text)
    with pytest.raises(DataError, match=message):
        prepare("ptb-xl", folder, cache_dir=tmp_path / "cache")


@pytest.mark.heavy
def test_real_data_have_no_synthetic_mark(mock_ptb_xl: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(mock_ptb_xl, tmp_path / "raw"))
    assert json.loads((folder / "mock.json").read_text())["synthetic"] is True
    (folder / "mock.json").unlink()
    found = prepare("ptb-xl", folder, cache_dir=tmp_path / "cache")
    counts = {name: len(split) for name, split in found.splits.items()}
    assert found.deviations == {
        "records": f"{counts['train']}/17418 train; {counts['validation']}/2183 validation; {counts['test']}/2198 test"
    }


def test_the_cache_lies_in_the_home_of_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ECG_HUB_HOME", str(tmp_path))
    assert default_cache(None) == tmp_path / "datasets"
    assert default_cache("~/x") == Path("~/x").expanduser()
    monkeypatch.delenv("ECG_HUB_HOME")
    assert default_cache(None).parts[-2:] == ("ecg_hub", "datasets")


def test_a_cache_folder_that_cannot_be_used_is_named(mock_ptb_xl: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"The cache folder '.*file/below' cannot be used: .*Pass cache_dir"):
        prepare("ptb-xl", mock_ptb_xl, cache_dir=tmp_path / "file/below")


def join(table: LabelTable, monkeypatch: pytest.MonkeyPatch, mock_ptb_xl: Path, cache: Path) -> Prepared:
    """Prepare the mock set with another label table."""
    monkeypatch.setattr(type(get("ptb-xl")), "label_table", lambda *arguments: table)
    return prepare("ptb-xl", mock_ptb_xl, cache_dir=cache, min_count=2)


def table(**changes: object) -> LabelTable:
    split = np.array(["train", "test", "train"] * 50, dtype=object)
    fields = {"labels": {"label_all": [["a"], ["b", "b"], []] * 50}, "fold": np.arange(150), "split": split}
    return LabelTable(**{**fields, **changes})  # type: ignore[arg-type]


def test_rules_keep_rows_out_before_or_after_counting(
    monkeypatch: pytest.MonkeyPatch, mock_ptb_xl: Path, cache: Path
) -> None:
    second = np.arange(150) % 3 == 1
    after = join(table(exclusions=[Exclusion("too short", second)]), monkeypatch, mock_ptb_xl, cache)
    assert after.labels == {"label_all": ["a", "b"]}
    assert {name: len(split) for name, split in after.splits.items()} == {"train": 100, "validation": 0, "test": 0}
    assert after.exclusions == {"too short": 50}
    before = join(table(exclusions=[Exclusion("taken back", second, counted=False)]), monkeypatch, mock_ptb_xl, cache)
    assert before.labels == {"label_all": ["a"]}
    assert before.label_hashes != after.label_hashes


def test_rows_without_a_split_are_in_none(monkeypatch: pytest.MonkeyPatch, mock_ptb_xl: Path, cache: Path) -> None:
    split = np.array(["train", "", "validation"] * 50, dtype=object)
    found = join(table(split=split), monkeypatch, mock_ptb_xl, cache)
    assert {name: len(rows) for name, rows in found.splits.items()} == {"train": 50, "validation": 50, "test": 0}


def test_fixed_vocabularies_are_not_filtered(monkeypatch: pytest.MonkeyPatch, mock_ptb_xl: Path, cache: Path) -> None:
    found = join(table(fixed={"label_all": ["z", "b", "a"]}), monkeypatch, mock_ptb_xl, cache)
    assert found.labels == {"label_all": ["z", "b", "a"]}
    assert found.splits["test"]["label_all"][0] == [1]


def test_targets_stand_beside_the_labels(monkeypatch: pytest.MonkeyPatch, mock_ptb_xl: Path, cache: Path) -> None:
    values = np.random.default_rng(0).standard_normal((150, 3)).astype(np.float32)
    values[0, 1] = np.nan
    found = join(table(targets=(["x", "y", "z"], values)), monkeypatch, mock_ptb_xl, cache)
    got = np.array(found.splits["train"].with_format("numpy")["targets"][:])
    np.testing.assert_array_equal(got, values[np.arange(150) % 3 != 1])
    other = join(table(targets=(["x", "y", "w"], values)), monkeypatch, mock_ptb_xl, cache)
    changed = values.copy()
    changed[5, 2] += 1
    third = join(table(targets=(["x", "y", "z"], changed)), monkeypatch, mock_ptb_xl, cache)
    assert len({found.fingerprint, other.fingerprint, third.fingerprint}) == 3


@pytest.mark.heavy
def test_every_part_of_the_label_table_is_in_the_fingerprint(
    monkeypatch: pytest.MonkeyPatch, mock_ptb_xl: Path, cache: Path
) -> None:
    variants = [
        table(),
        table(fold=np.arange(150) + 1),
        table(split=np.array(["train"] * 150, dtype=object)),
        table(labels={"label_all": [["a"], ["b", "b"], ["a"]] * 50}),
        table(fixed={"label_all": ["b", "a"]}),
        table(exclusions=[Exclusion("rule", np.arange(150) == 3)]),
    ]
    prints = [join(variant, monkeypatch, mock_ptb_xl, cache).fingerprint for variant in variants]
    assert len(set(prints)) == len(prints)
    assert join(table(), monkeypatch, mock_ptb_xl, cache).fingerprint == prints[0]


def test_label_tables_keep_their_dtype() -> None:
    rows = label_dataset(table(), table().split, {"label_all": ["a", "b"]}, {"label_all": [[0], [1], []] * 50}, "print")
    assert rows.features["fold"].dtype == "int32"
    assert rows[1] == {"fold": 1, "split": "test", "label_all": [1]}
