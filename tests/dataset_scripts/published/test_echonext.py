"""EchoNext: rows and arrays, flags, folds, loss, and z-scored float32 signals from the file to the reader.

All data here are synthetic.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ecg_hub
from dataset_scripts import mock
from dataset_scripts.catalog import get
from dataset_scripts.core.labels import label_matrix
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock.echonext import AWKWARD, COLUMNS
from dataset_scripts.published.echonext import LABELS, METADATA, OTHER_SPELLING, read_record
from dataset_scripts.reader import SignalReader
from ecg_hub.errors import DataError

DATASET = get("echonext")
FLAGS = list(LABELS)
PAGE = "https://physionet.org/content/echonext/1.1.0/"


def row(key: int, split: str, patient: int | None = None, flags: Sequence[int] = (), **cells: object) -> dict[str, Any]:
    """One row of the table with the flags of the given numbers set."""
    values: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    values |= {"ecg_key": key, "patient_key": patient or key, "split": split, "sex": "female", "age_at_ecg": 61}
    values |= {name: int(number in flags) for number, name in enumerate(FLAGS)}
    return values | {"location_setting": "Outpatient", "acquisition_year": 2015} | cells


TINY = (
    *(row(7, "test", flags=[0]), row(3, "train", 30, [1, 10]), row(9, "no_split", 7, [2]), row(4, "train", 30)),
    *(row(5, "val", flags=[3]), row(2, "train", 4, [9]), row(8, "test"), row(6, "train", 5)),
)


def write_table(folder: Path, rows: Sequence[dict[str, Any]], name: str = METADATA) -> None:
    with (folder / name).open("w", encoding="utf-8", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def write(folder: Path, rows: Sequence[dict[str, Any]] = TINY, name: str = METADATA) -> Path:
    """Write a folder; sample t of lead l of the record k is k + t / 1000 + l / 10^6."""
    folder.mkdir(exist_ok=True)
    write_table(folder, rows, name)
    grid = np.add.outer(np.arange(2500) / 1000, np.arange(12) / 1e6)
    for split in ("train", "val", "test", "no_split"):
        keys = [int(item["ecg_key"]) for item in rows if item["split"] == split]
        np.save(folder / f"EchoNext_{split}_waveforms.npy", np.add.outer(np.array(keys, float), grid)[:, None])
    return folder


def edit(rows: Sequence[dict[str, Any]], key: int, **cells: object) -> list[dict[str, Any]]:
    return [{**item, **cells} if item["ecg_key"] == key else item for item in rows]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write(tmp_path / "echonext")


def prepare_tiny(folder: Path, **options: Any) -> Prepared:
    return prepare("echonext", folder, cache_dir=folder.parent / "cache", **options)


def test_rows_belong_to_the_array_of_their_split_in_order(tiny: Path) -> None:
    scan = DATASET.scan(tiny, 250)
    places = zip(scan.table["record_id"], scan.table["file"], scan.table["key"], strict=True)
    assert list(places) == [
        ("7", "EchoNext_test_waveforms.npy", 0),
        ("3", "EchoNext_train_waveforms.npy", 0),
        ("4", "EchoNext_train_waveforms.npy", 1),
        ("5", "EchoNext_val_waveforms.npy", 0),
        ("2", "EchoNext_train_waveforms.npy", 2),
        ("8", "EchoNext_test_waveforms.npy", 1),
        ("6", "EchoNext_train_waveforms.npy", 3),
    ]
    assert [(item.record_id, item.reason) for item in scan.excluded] == [
        ("9", "no_split: not part of the published splits")
    ]
    found = prepare_tiny(tiny)
    grid = np.add.outer(np.arange(2500) / 1000, np.arange(12) / 1e6)
    for split in found.splits.values():
        reader = SignalReader(split)
        for index, record in enumerate(split["record_id"]):
            np.testing.assert_array_equal(reader.window_mv(index), (int(record) + grid).astype(np.float32))


def test_splits_folds_and_labels(tiny: Path) -> None:
    found = prepare_tiny(tiny)
    assert {name: split["record_id"][:] for name, split in found.splits.items()} == {
        "train": ["3", "4", "2", "6"],
        "validation": ["5"],
        "test": ["7", "8"],
    }
    assert found.labels["label_all"] == FLAGS
    assert found.splits["train"]["label_all"][:] == [[1, 10], [], [9], []]
    folds = found.splits["train"]["fold"][:]
    assert folds[0] == folds[1]  # one patient, one of two records without a finding
    assert 0 <= folds[0] < 8
    assert folds[3] == -1  # a patient without any finding: training all the same
    assert found.splits["validation"]["fold"][:] == [8]
    assert found.splits["test"]["fold"][:] == [9, 9]
    assert found.exclusions == {"no_split: not part of the published splits": 1}
    assert found.deviations == {
        "metadata": "other than 1.1.0: signals are found by the order of its rows",
        "records": "4/72475 train; 1/4626 validation; 2/5442 test",
    }
    assert found.splits["train"]["patient_id"][:] == ["30", "30", "4", "5"]
    assert found.splits["train"]["location_setting"][:] == ["Outpatient"] * 4
    assert found.splits["train"]["race_ethnicity"][:] == [None] * 4


def test_the_published_labels_are_the_eleven_single_findings() -> None:
    assert len(FLAGS) == 11
    assert "shd_moderate_or_greater_flag" not in FLAGS
    assert FLAGS[0] == "lvef_lte_45_flag"
    assert FLAGS[-1] == "tr_max_gte_32_flag"
    assert DATASET.label_title("label_all", "pasp_gte_45_flag").startswith("pulmonary artery systolic pressure")


def test_folds_equal_the_published_procedure() -> None:
    """The hash was made with the published preparation on this table, patients in numerical order, seed 42."""
    number = np.arange(4000)
    patient = (number * number * 5 + number) % 1201 * 9 + 2
    table = pd.DataFrame({"record_id": number.astype(str), "patient_id": patient.astype(str), "samples": 2500})
    table["shipped_split"] = np.where(patient % 23 == 1, "val", np.where(patient % 19 == 2, "test", "train"))
    for place, name in enumerate(FLAGS):
        table[name] = (number * (29 + 4 * place) + number // 5) % (41 - 3 * place) == 0
    found = DATASET.label_table(table, Path(), {})
    text = "".join(f"{i},{fold}\n" for i, fold in zip(number, found.fold, strict=True))
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "e1cc01e427c372bc2c7bb1d18b4194ef43409a58d860bb1adf2e92dea47836db"
    )


def test_signals_are_float32_z_scores_without_gain(tiny: Path) -> None:
    found = prepare_tiny(tiny)
    assert DATASET.unit == "zscore"
    for split in found.splits.values():
        reader = SignalReader(split)
        assert reader.unit == "zscore"
        assert reader.raw(0).dtype == np.float32
        assert np.isnan(split["gain_uv"][0]).all()
        assert split["baseline"][0] == [0] * 12
        windows = reader.windows_mv([0, len(reader) - 1], [0, 625], 625)
        assert windows.shape == (2, 12, 625)
        np.testing.assert_array_equal(windows[1], reader.window_mv(len(reader) - 1, 625, 1250).T)
    assert found.splits["train"].shuffle(seed=1).select([2])[0]["signal"] is not None


@pytest.mark.parametrize("name", [METADATA, OTHER_SPELLING])
def test_both_spellings_of_the_table_are_found(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "echonext", name=name)
    first = prepare_tiny(folder)
    assert len(first.splits["train"]) == 4
    write(folder, edit(TINY, 2, age_at_ecg=44), name)
    assert prepare_tiny(folder).store != first.store


def test_no_table_is_told_with_its_name_and_the_page(tiny: Path) -> None:
    (tiny / METADATA).unlink()
    with pytest.raises(DataError, match=rf"lacks {METADATA}\. Get EchoNext from {PAGE}"):
        prepare_tiny(tiny)


def test_the_array_of_no_split_is_not_needed(tiny: Path) -> None:
    (tiny / "EchoNext_no_split_waveforms.npy").unlink()
    assert len(prepare_tiny(tiny).splits["test"]) == 2


def damage(path: Path, kind: str) -> None:
    if kind == "missing":
        path.unlink()
    elif kind == "cut short":
        path.write_bytes(path.read_bytes()[:-1000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "no array":
        path.write_bytes(b"this is text, no array" * 100)
    else:
        array = np.load(path)
        changes = {
            "a row too few": array[:-1],
            "a row too many": np.concatenate([array, array[:1]]),
            "turned": array.transpose(0, 1, 3, 2),
            "one axis less": array[:, 0],
            "whole numbers": array.astype(np.int32),
            "half precision": array.astype(np.float16),
        }
        np.save(path, changes[kind])


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("missing", "is missing"),
        ("cut short", "is no whole .npy file ("),
        ("empty", "is no whole .npy file ("),
        ("no array", "is no whole .npy file ("),
        ("a row too few", "holds [3, 1, 2500, 12] of float64"),
        ("a row too many", "holds [5, 1, 2500, 12] of float64"),
        ("turned", "holds [4, 1, 12, 2500] of float64"),
        ("one axis less", "holds [4, 2500, 12] of float64"),
        ("whole numbers", "holds [4, 1, 2500, 12] of int32"),
        ("half precision", "holds [4, 1, 2500, 12] of float16"),
    ],
)
def test_an_array_that_does_not_fit_the_table_stops(tiny: Path, kind: str, fault: str) -> None:
    damage(tiny / "EchoNext_train_waveforms.npy", kind)
    with pytest.raises(DataError) as caught:
        prepare_tiny(tiny)
    text = str(caught.value)
    assert "EchoNext_train_waveforms.npy" in text
    assert fault in text
    assert f"[4, 1, 2500, 12] of float64 was expected, because {METADATA} has 4 rows of that split" in text
    assert PAGE in text
    assert "\n" not in text


def test_float32_and_column_order_arrays_are_read_as_well(tiny: Path) -> None:
    path = tiny / "EchoNext_train_waveforms.npy"
    plain = SignalReader(prepare_tiny(tiny).splits["train"]).window_mv(2)
    np.save(path, np.asfortranarray(np.load(path).astype(np.float32)))
    np.testing.assert_array_equal(SignalReader(prepare_tiny(tiny).splits["train"]).window_mv(2), plain)


@pytest.mark.parametrize("split", ["", "training", "VAL"])
def test_a_row_without_a_known_split_stops_because_it_shifts_the_others(tiny: Path, split: str) -> None:
    write_table(tiny, edit(TINY, 4, split=split))
    with pytest.raises(DataError, match=rf"line 5: split '{split}'\. The order of the rows decides"):
        prepare_tiny(tiny)


def test_a_row_with_too_few_cells_stops_for_the_same_reason(tiny: Path) -> None:
    lines = (tiny / METADATA).read_text().splitlines()
    lines[3] = lines[3].rsplit(",", 2)[0]
    (tiny / METADATA).write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"line 4: \d+ cells in a table of \d+ columns\. The order of the rows"):
        prepare_tiny(tiny)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"pasp_gte_45_flag": 2}, "pasp_gte_45_flag '2' is neither true nor false"),
        ({"lvef_lte_45_flag": "yes"}, "lvef_lte_45_flag 'yes' is neither true nor false"),
        ({"patient_key": "A12"}, "patient_key 'A12' is not a number"),
        ({"sex": "5.1"}, "sex '5.1' is neither male nor female"),
        ({"age_at_ecg": 2015}, "age_at_ecg '2015' is not an age in years"),
        ({"ecg_key": 3}, "ecg_key '3' occurs a second time"),
        ({"ecg_key": ""}, "ecg_key '' is empty"),
    ],
)
def test_a_damaged_cell_is_one_lost_record_and_shifts_nothing(tiny: Path, cells: dict[str, Any], reason: str) -> None:
    write_table(tiny, edit(TINY, 4, **cells))
    scan = DATASET.scan(tiny, 250)
    assert [item.reason for item in scan.lost] == [reason]
    assert scan.table.loc[scan.table["record_id"] == "2", "key"].tolist() == [2]


def test_an_empty_flag_counts_as_no_finding_and_is_reported(tiny: Path) -> None:
    write(
        tiny, edit(TINY, 3, tr_max_gte_32_flag="", aortic_stenosis_moderate_or_greater_flag="", pasp_gte_45_flag="1.0")
    )
    found = prepare_tiny(tiny)
    report = found.report.set_index("record_id")
    assert report.loc["3", "status"] == "ok"
    assert report.loc["3", "reason"] == (
        "no value, taken as 0: aortic_stenosis_moderate_or_greater_flag, tr_max_gte_32_flag"
    )
    assert found.splits["train"]["label_all"][0] == [1, 9]
    assert found.splits["train"]["tr_max_gte_32_flag"][0] is None


def test_missing_samples_stay_nan_and_infinite_ones_are_loss(tiny: Path) -> None:
    path = tiny / "EchoNext_train_waveforms.npy"
    array = np.load(path)
    array[0, 0, 10:15, 3] = np.nan
    array[2, 0, 7, 0] = -np.inf
    np.save(path, array)
    found = prepare_tiny(tiny, max_unreadable=0.2)
    report = found.report.set_index("record_id")
    assert report.loc["3", "reason"] == "5 samples are NaN"
    assert (report.loc["2", "status"], report.loc["2", "reason"]) == ("lost", "a sample is infinite")
    window = SignalReader(found.splits["train"]).window_mv(0)
    assert np.argwhere(np.isnan(window)).tolist() == [[t, 3] for t in range(10, 15)]


def test_sex_in_other_spellings_and_without_value(tiny: Path) -> None:
    rows = edit(edit(edit(TINY, 3, sex="Male"), 4, sex=""), 2, sex="F")
    write(tiny, edit(rows, 6, sex="Unknown", age_at_ecg=""))
    train = prepare_tiny(tiny).splits["train"]
    assert train["sex"][:] == ["male", None, "female", None]
    assert train["age"][:] == [61.0, 61.0, 61.0, None]


def test_needed_columns_are_named_and_subgroup_columns_may_be_absent(tiny: Path) -> None:
    slim = [{n: v for n, v in item.items() if n not in ("location_setting", "race_ethnicity")} for item in TINY]
    write(tiny, slim)
    assert prepare_tiny(tiny).splits["train"]["location_setting"][:] == [None] * 4
    write(tiny, [{n: v for n, v in item.items() if n != "pasp_gte_45_flag"} for item in TINY])
    with pytest.raises(DataError, match="lacks the column 'pasp_gte_45_flag'; it has"):
        prepare_tiny(tiny)


def test_a_row_beyond_the_array_is_a_lost_record(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 1, 4, 12)))
    assert read_record(tmp_path / "x.npy", 2).shape == (1, 4, 12)
    with pytest.raises(DataError, match=r"row 3 of x\.npy cannot be read"):
        read_record(tmp_path / "x.npy", 3)
    with pytest.raises(DataError, match=r"row 0 of y\.npy cannot be read"):
        read_record(tmp_path / "y.npy", 0)


@pytest.fixture(scope="module")
def raw_200(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mock.write("echonext", tmp_path_factory.mktemp("mock") / "echonext", records=200, seed=4)


@pytest.fixture(scope="module")
def found_200(raw_200: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare("echonext", raw_200, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.mark.heavy
def test_a_mock_tree_has_the_true_form(raw_200: Path) -> None:
    splits = ("train", "val", "test", "no_split")
    kinds = ("waveforms", "tabular_features")
    arrays = {f"EchoNext_{split}_{kind}.npy" for split in splits for kind in kinds}
    assert {path.name for path in raw_200.iterdir()} == {METADATA, "mock.json", *arrays}
    with (raw_200 / METADATA).open() as handle:
        rows = list(csv.DictReader(handle))
    assert tuple(rows[0]) == COLUMNS
    order = [item["split"] for item in rows]
    assert order != sorted(order)
    for split in splits:
        array = np.load(raw_200 / f"EchoNext_{split}_waveforms.npy", mmap_mode="r")
        assert array.shape == (order.count(split), 1, 2500, 12)
        assert array.dtype == np.float64
        assert np.load(raw_200 / f"EchoNext_{split}_tabular_features.npy").shape == (order.count(split), 7)
    for item in rows:
        assert not (item["pasp_gte_45_flag"] == "1" and item["pasp_value"] == "")
    keys = [item["patient_key"] for item in rows]
    assert sorted(keys) != sorted(keys, key=int)


def test_a_mock_tree_prepares_without_loss_and_with_every_label_in_every_split(found_200: Prepared) -> None:
    assert set(found_200.report["status"]) == {"ok", "excluded"}
    assert (found_200.report["status"] == "excluded").sum() == 12
    assert found_200.deviations == {"synthetic": True}
    for split in found_200.splits.values():
        assert label_matrix(split, "label_all").sum(axis=0).min() >= 1
    assert len(set(found_200.splits["test"]["patient_id"])) == len(found_200.splits["test"])


def test_every_awkward_case_ends_where_it_should(tmp_path: Path) -> None:
    raw = mock.write("echonext", tmp_path / "echonext", records=40, seed=2, awkward=True)
    assert (raw / OTHER_SPELLING).is_file()
    found = prepare("echonext", raw, cache_dir=tmp_path / "cache", max_unreadable=0.2)
    odd = found.report[(found.report["reason"] != "") & (found.report["status"] != "excluded")]
    assert sorted(zip(odd["status"], odd["reason"], strict=True)) == [
        ("lost", "a sample is infinite"),
        ("lost", "pasp_gte_45_flag 'n.d.' is neither true nor false"),
        ("ok", "40 samples are NaN"),
        ("ok", "no value, taken as 0: tr_max_gte_32_flag"),
    ]
    assert len(found.report) == 40
    assert len(AWKWARD) == 5


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    trees = [
        mock.write("echonext", tmp_path / name, records=12, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    first, again, other = (
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(tree.iterdir())} for tree in trees
    )
    assert first == again
    assert first != other


def test_the_licence_forbids_passing_anything_on() -> None:
    assert DATASET.access == "restricted"
    assert DATASET.redistribution is False
    assert not DATASET.sources


def test_z_scores_reach_a_model_as_they_are_and_missing_samples_as_zero(tiny: Path) -> None:
    path = tiny / "EchoNext_train_waveforms.npy"
    array = np.load(path)
    array[:, 0, 5:10, 2] = np.nan
    np.save(path, array)
    extractor = ecg_hub.AutoFeatureExtractor.from_pretrained("random:st-mem-tiny")
    assert extractor.sampling_rate == DATASET.sampling_rate
    windows = SignalReader(prepare_tiny(tiny).splits["train"]).windows_mv([0, 1], [0, 0], 600)
    values = extractor.prepare_windows(windows.copy(), sampling_rate=250)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.nan_to_num(windows)[..., : values.shape[-1]])
