"""The PTB-XL label function against published labels, and the store against the real mini set."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dataset_scripts.catalog import get
from dataset_scripts.core.labels import canonical_sha256, count_occurrences
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.published.ptb_xl import REMOVED_IN_1_0_3, parse_codes, read_statements
from dataset_scripts.reader import SignalReader
from ecg_hub.errors import DataError, InputError
from tests.support.wfdb_reader import wfdb

DATASET = get("ptb-xl")
PUBLISHED_COLUMNS = {
    "label_super": "super_class",
    "label_sub": "sub_class",
    "label_form": "form",
    "label_rhythm": "rhythm",
}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def first_500(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw folder with the first 500 rows of the real table and no signals."""
    folder = tmp_path_factory.mktemp("first500")
    shutil.copy(shared / "data/ptbxl/ptbxl_database.first500.csv", folder / "ptbxl_database.csv")
    shutil.copy(shared / "data/ptbxl/mini/scp_statements.csv", folder)
    (folder / "records500").mkdir()
    return folder


def labels_of(folder: Path, exclude_removed: bool = False) -> tuple[pd.DataFrame, dict[str, list[list[str]]]]:
    metadata = DATASET.scan(folder, 500).table
    table = DATASET.label_table(metadata, folder, {"min_count": 10, "exclude_removed": exclude_removed})
    return metadata, {column: [list(row) for row in rows] for column, rows in table.labels.items()}


def test_labels_and_folds_equal_the_published_ones_on_every_shared_row(shared: Path, first_500: Path) -> None:
    published = {row["ecg_id"]: row for row in read_csv(shared / "data/ptbxl/labels_full_1.0.3.csv")}
    metadata, labels = labels_of(first_500)
    checked = 0
    for position, (record, fold, patient) in enumerate(
        zip(metadata["record_id"], metadata["strat_fold"], metadata["patient_id"], strict=True)
    ):
        if record not in published:
            assert int(record) in REMOVED_IN_1_0_3
            continue
        expected = published[record]
        assert str(fold) == expected["strat_fold"]
        assert patient == expected["patient_id"]
        for column, name in PUBLISHED_COLUMNS.items():
            assert set(labels[column][position]) == set(expected[name].split()), (record, column)
        checked += 1
    assert checked == 488


def test_hash_function_reproduces_the_published_hashes_of_the_full_release(shared: Path) -> None:
    expected = json.loads((shared / "data/labels_expected.json").read_text())["ptbxl"]["tasks"]
    rows = read_csv(shared / "data/ptbxl/labels_full_1.0.3.csv")
    rows.sort(key=lambda row: int(row["ecg_id"]))
    for column, name in PUBLISHED_COLUMNS.items():
        lists = [row[name].split() for row in rows]
        assert (
            canonical_sha256([row["ecg_id"] for row in rows], lists)
            == (expected[column.removeprefix("label_")]["sha256_canonical"])
        )


def test_the_release_is_described_as_published(golden: Path) -> None:
    expected = json.loads((golden / "labels/expected.json").read_text())["ptbxl"]
    release = next(release for release in DATASET.releases if release.version == expected["version"])
    assert release.records == expected["n_records"] == 21_837 - len(REMOVED_IN_1_0_3)
    assert list(release.fold_sizes) == list(expected["records_by_fold"].values())
    for name, task in expected["tasks"].items():
        assert release.label_hashes[f"label_{name}"] == task["sha256_canonical"]
        assert release.label_numbers[f"label_{name}"] == task["n_labels"]


def test_removed_records_are_the_gaps_of_release_1_0_3(shared: Path) -> None:
    held = {int(row["ecg_id"]) for row in read_csv(shared / "data/ptbxl/labels_full_1.0.3.csv")}
    assert set(range(1, 21_838)) - held == REMOVED_IN_1_0_3


def test_statement_kinds_count_as_published(mock_ptb_xl: Path) -> None:
    """The mock's table holds the published facts, as tests/dataset_scripts/mock/test_mock.py shows."""
    statements = read_statements(mock_ptb_xl, "page")
    kinds = {kind: {c for c, s in statements.items() if getattr(s, kind)} for kind in ("diagnostic", "form", "rhythm")}
    assert {kind: len(codes) for kind, codes in kinds.items()} == {"diagnostic": 44, "form": 19, "rhythm": 12}
    assert kinds["diagnostic"] & kinds["form"] == {"DIG", "LNGQT", "NDT", "NST_"}
    assert len(statements) == 71
    assert len({s.superclass for s in statements.values() if s.diagnostic}) == 5
    assert len({s.subclass for s in statements.values() if s.diagnostic}) == 23


def test_repeats_count_twice_in_sub_and_super(first_500: Path) -> None:
    _, labels = labels_of(first_500)
    records = Counter(label for row in labels["label_super"] for label in set(row))
    occurrences = count_occurrences(labels["label_super"])
    assert occurrences["MI"] > records["MI"]


def test_zero_likelihoods_count(first_500: Path) -> None:
    metadata, labels = labels_of(first_500)
    assert parse_codes(metadata["scp_codes"][0]) == {"NORM": 100.0, "LVOLT": 0.0, "SR": 0.0}
    assert labels["label_all"][0] == ["NORM", "LVOLT", "SR"]
    assert labels["label_form"][0] == ["LVOLT"]


def test_mini_set_folds_labels_and_release(prepared_mini: Prepared, shared: Path) -> None:
    assert {name: len(split) for name, split in prepared_mini.splits.items()} == {
        "train": 106,
        "validation": 30,
        "test": 24,
    }
    folds = Counter(fold for split in prepared_mini.splits.values() for fold in split["fold"])
    assert dict(folds) == {1: 13, 2: 15, 3: 14, 4: 17, 5: 12, 6: 11, 7: 12, 8: 12, 9: 30, 10: 24}
    assert prepared_mini.version == "1.0.1"
    assert prepared_mini.deviations == {"version": "1.0.1", "records": "160/21837 in all"}
    assert prepared_mini.labels["label_super"] == ["CD", "MI", "NORM", "STTC"]
    assert (prepared_mini.report["status"] == "ok").all()
    assert (prepared_mini.report["reason"] == "").all()


def test_mini_set_label_hashes_follow_the_published_labels(prepared_mini: Prepared, shared: Path) -> None:
    published = {row["ecg_id"]: row for row in read_csv(shared / "data/ptbxl/labels_full_1.0.3.csv")}
    without = prepare(
        "ptb-xl", shared / "data/ptbxl/mini", cache_dir=prepared_mini.store.parents[2], exclude_removed=True
    )
    ids = [i for i in prepared_mini.report["record_id"] if int(i) not in REMOVED_IN_1_0_3]
    for column, name in PUBLISHED_COLUMNS.items():
        expected = canonical_sha256(ids, [published[i][name].split() for i in ids])
        assert without.label_hashes[column] == expected
        assert prepared_mini.label_hashes[column] != expected
    assert without.exclusions == {"removed in release 1.0.3": 7}
    assert sum(map(len, without.splits.values())) == 153
    records = "101/17418 train; 28/2183 validation; 24/2198 test"
    assert without.deviations == {"version": "1.0.1", "exclude_removed": True, "records": records}


@pytest.mark.heavy
@pytest.mark.parametrize("rate", [500, 100])
def test_mini_set_store_equals_the_general_reader_exactly(
    prepared_mini: Prepared, shared: Path, cache: Path, rate: int
) -> None:
    folder = shared / "data/ptbxl/mini"
    found = prepared_mini if rate == 500 else prepare("ptb-xl", folder, cache_dir=cache, sampling_rate=100)
    files = dict(zip(found.report["record_id"], found.report["file"], strict=True))
    for split in found.splits.values():
        reader = SignalReader(split)
        for position, record in enumerate(split["record_id"]):
            if rate == 500 and position % 4:
                continue
            reference = wfdb.rdrecord(str(folder / files[record]), physical=False)
            assert reference.fs == rate
            assert (reader.raw(position) == reference.d_signal).all()
            expected = (reference.d_signal / 1000.0).astype(np.float32)
            assert (reader.window_mv(position) == expected).all()


def test_mini_set_at_100_hz_is_a_deviation(shared: Path, cache: Path) -> None:
    found = prepare("ptb-xl", shared / "data/ptbxl/mini", cache_dir=cache, sampling_rate=100)
    assert found.sampling_rate == 100
    assert found.deviations["sampling_rate"] == 100
    assert set(found.splits["train"]["sampling_rate"]) == {100}


@pytest.fixture
def edited(mock_ptb_xl: Path, tmp_path: Path) -> Callable[[Callable[[list[dict[str, str]]], object]], Path]:
    """Return a function that edits the rows of a copy of the mock table."""

    def edit(change: Callable[[list[dict[str, str]]], object]) -> Path:
        rows = read_csv(mock_ptb_xl / "ptbxl_database.csv")
        change(rows)
        with (tmp_path / "ptbxl_database.csv").open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        shutil.copy(mock_ptb_xl / "scp_statements.csv", tmp_path)
        return tmp_path

    return edit


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("scp_codes", "{'NORM': 100.0,", "scp_codes \"{'NORM': 100.0,\" is not a dictionary of statements"),
        ("scp_codes", "__import__('os').getcwd()", "is not a dictionary of statements"),
        ("scp_codes", "['NORM']", "is not a dictionary of statements"),
        ("scp_codes", "", "scp_codes '' is not a dictionary of statements"),
        ("scp_codes", "{'NORMAL': 100.0}", "scp_codes names 'NORMAL', which scp_statements.csv does not list"),
        ("age", "old", "age 'old' is not a number"),
        ("age", "nan", "age 'nan' is not a number"),
        ("age", "301", "age '301' is neither an age in years nor 300 (over 89)"),
        ("age", "-1", "age '-1' is neither an age in years nor 300 (over 89)"),
        ("sex", "2", "sex '2' is neither 0 (male) nor 1 (female)"),
        ("patient_id", "p1", "patient_id 'p1' is not a whole number"),
        ("strat_fold", "", "strat_fold '' is not a whole number"),
        ("strat_fold", "11", "strat_fold 11 is not one of 1 to 10"),
        ("ecg_id", "seven", "ecg_id 'seven' is not a whole number"),
        ("filename_hr", "../../etc/passwd", "filename_hr '../../etc/passwd' is not a file of the raw folder"),
    ],
)
def test_a_damaged_cell_is_a_lost_record_with_a_reason(edited: Callable, column: str, cell: str, reason: str) -> None:
    scan = DATASET.scan(edited(lambda rows: rows[4].update({column: cell})), 500)
    assert len(scan) == 149
    assert len(scan.lost) == 1
    assert reason in scan.lost[0].reason


@pytest.mark.parametrize(("written", "allowed"), [("True", True), ("1", True), ("x", False)])
def test_kinds_of_statements_are_read_or_refused(edited: Callable, written: str, allowed: bool) -> None:
    folder = edited(lambda rows: None)
    table = folder / "scp_statements.csv"
    text = table.read_text()
    expected = read_statements(folder, "PAGE")
    table.write_text(text.replace(",1.0,", f",{written},"))
    if allowed:
        assert read_statements(folder, "PAGE") == expected
    else:
        with pytest.raises(DataError, match=r"diagnostic 'x' is neither true nor false\. Get it again from PAGE"):
            read_statements(folder, "PAGE")


def test_an_id_that_occurs_twice_is_lost_once(edited: Callable) -> None:
    scan = DATASET.scan(edited(lambda rows: rows[4].update({"ecg_id": rows[3]["ecg_id"]})), 500)
    assert [item.reason for item in scan.lost] == ["ecg_id 4 occurs a second time in line 6"]


def test_rows_come_in_the_order_of_ecg_id(edited: Callable) -> None:
    scan = DATASET.scan(edited(lambda rows: rows.reverse()), 500)
    ids = [int(record) for record in scan.table["record_id"]]
    assert ids == sorted(ids)
    assert ids[1] == 2


def test_age_and_sex_are_translated(edited: Callable) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        rows[0].update(age="300.0", sex="1")
        rows[1].update(age="", sex="")
        rows[2].update(age="91.0", sex="0")
        rows[3].update(age="89.0", sex="0.0", patient_id="")

    records = list(DATASET.scan(edited(change), 500).records(0, 4))
    assert [record.age for record in records] == [90.0, None, 91.0, 89.0]
    assert [record.metadata["age_over_89"] for record in records] == [True, None, True, False]
    assert [record.sex for record in records] == ["female", None, "male", "male"]
    assert records[3].patient_id is None
    assert (records[0].patient_id or "").isdigit()


@pytest.mark.parametrize(
    ("ids", "ages", "version"),
    [
        (["1", "2"], ["300.0", "40"], "1.0.3"),
        (["137", "2"], ["30", "40"], "1.0.1"),
        (["1", "2"], ["91.0", "40"], "1.0.1"),
        (["1", "2"], ["30", ""], None),
    ],
)
def test_releases_are_told_apart(edited: Callable, ids: list[str], ages: list[str], version: str | None) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        del rows[2:]
        for row, ecg_id, age in zip(rows, ids, ages, strict=True):
            row.update(ecg_id=ecg_id, age=age)

    assert DATASET.scan(edited(change), 500).version == version


def test_missing_columns_are_named(tmp_path: Path, mock_ptb_xl: Path) -> None:
    shutil.copy(mock_ptb_xl / "scp_statements.csv", tmp_path)
    (tmp_path / "ptbxl_database.csv").write_text("ecg_id,patient_id,age\n1,2,3\n")
    with pytest.raises(DataError, match="lacks the columns 'sex', 'scp_codes', 'strat_fold', 'filename_hr'; it has"):
        DATASET.scan(tmp_path, 500)


def test_missing_folders_files_and_rates_are_one_sentence_with_the_page(tmp_path: Path, mock_ptb_xl: Path) -> None:
    page = r"Get PTB-XL from https://physionet\.org/content/ptb-xl/1\.0\.3/\."
    with pytest.raises(DataError, match=r"data/ptb-xl' of 'ptb-xl' does not exist\. " + page):
        prepare("ptb-xl")
    with pytest.raises(DataError, match=r"No folder given for 'ptb-xl': pass data_dir\. " + page):
        DATASET.check_folder(None, 500)
    with pytest.raises(DataError, match=r"nowhere' of 'ptb-xl' does not exist\. " + page):
        prepare("ptb-xl", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"lacks ptbxl_database\.csv, scp_statements\.csv, records500\. " + page):
        prepare("ptb-xl", tmp_path)
    with pytest.raises(InputError, match="PTB-XL has no records at sampling_rate=250; offered: 500, 100 Hz"):
        prepare("ptb-xl", mock_ptb_xl, sampling_rate=250)
