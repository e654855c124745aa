"""Chapman-Shaoxing: labels and folds of the full table, real samples, damaged tables and files, the mock tree."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dataset_scripts import mock
from dataset_scripts.catalog import get
from dataset_scripts.codes import read_codes
from dataset_scripts.core.folds import stratify
from dataset_scripts.core.labels import canonical_sha256, count_occurrences, vocabulary
from dataset_scripts.core.spec import Scan
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock.chapman import AWKWARD, UNREADABLE, plan, write_workbook
from dataset_scripts.reader import SignalReader
from ecg_hub.errors import DataError, InputError
from ecg_hub.input.samples import MISSING
from ecg_hub.leads import LEADS

DATASET = get("chapman")
HEADER = ("FileName", "Rhythm", "Beat", "PatientAge", "Gender", "VentricularRate")
ROWS: list[list[Any]] = [
    ["MUSE_1", "SB", "RBBB TWC", "85", "MALE", 50],
    ["MUSE_2", "AFIB", "NONE", "59", "FEMALE", 90],
    ["MUSE_3", "SR", "APB", 20, "FEMALE", 70],
    ["MUSE_4", "SR", "NONE", None, None, 70],
]


def csv_of(values: np.ndarray) -> str:
    rows = [",".join(f"{value:.2f}" for value in row) for row in values]
    return "\n".join([",".join(LEADS), *rows]) + "\n"


SAMPLES = np.random.default_rng(0).integers(-400, 400, size=(5000, 12)) * 4.88
CONTENT = csv_of(SAMPLES)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Four records by hand."""
    folder = tmp_path / "raw"
    (folder / "ECGData").mkdir(parents=True)
    write_workbook(folder / "Diagnostics.xlsx", [HEADER, *ROWS])
    for row in ROWS:
        (folder / "ECGData" / f"{row[0]}.csv").write_text(CONTENT)
    return folder


@pytest.fixture(scope="module")
def full(shared: Path) -> Scan:
    """The scan of the real table, whose records are not there."""
    return DATASET.scan(shared / "data/chapman", 500)


def with_table(folder: Path, rows: list[list[Any]], header: tuple[str, ...] = HEADER) -> Scan:
    write_workbook(folder / "Diagnostics.xlsx", [header, *rows])
    return DATASET.scan(folder, 500)


def test_the_release_is_described_as_published(golden: Path) -> None:
    expected = json.loads((golden / "labels/expected.json").read_text())
    release = DATASET.releases[0]
    assert release.records == expected["chapman_all"]["n_records"]
    for column, size in (("all", 42), ("condition", 33), ("rhythm", 9)):
        published, counts = expected[f"chapman_{column}"], release.label_counts[f"label_{column}"]
        assert sorted(label for label, count in counts.items() if count >= 10) == published["labels"]
        assert len(published["labels"]) == release.label_numbers[f"label_{column}"] == size
        assert {label: counts[label] for label in published["counts"]} == published["counts"]
    folds = expected["chapman_folds_official_stratify"]
    assert release.fold_sha256 == folds["sha256"]
    assert list(release.fold_sizes) == list(folds["sizes"].values())


@pytest.mark.heavy
def test_counts_and_label_lists_of_the_real_table_are_those_of_the_release(full: Scan) -> None:
    release = DATASET.releases[0]
    assert len(full) == release.records
    assert full.lost == []
    table = DATASET.label_table(full.table, Path(), DATASET.thresholds)
    for column in ("label_all", "label_condition", "label_rhythm"):
        lists = table.labels[column]
        assert len(vocabulary(lists, 10)) == release.label_numbers[column]
        assert dict(count_occurrences(lists)) == release.label_counts[column]
        assert canonical_sha256(full.table["record_id"], lists) == release.label_hashes[column]


def test_folds_of_the_real_table_are_those_of_the_release(full: Scan) -> None:
    table = DATASET.label_table(full.table, Path(), DATASET.thresholds)
    text = "".join(f"{name},{fold}\n" for name, fold in zip(full.table["record_id"], table.fold, strict=True))
    assert hashlib.sha256(text.encode()).hexdigest() == DATASET.releases[0].fold_sha256
    assert np.bincount(table.fold).tolist() == list(DATASET.releases[0].fold_sizes)
    parts = pd.Series(table.split).value_counts()
    assert parts.to_dict() == {"train": 8520, "validation": 1062, "test": 1064}


def test_real_samples_are_read_exactly(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/chapman/rebuilt"
    found = prepare("chapman", folder, cache_dir=tmp_path, min_count=1)
    assert len(found.report) == 5
    for split in found.splits.values():
        reader = SignalReader(split)
        for index, name in enumerate(split["record_id"]):
            expected = pd.read_csv(folder / "ECGData" / f"{name}.csv")[list(LEADS)].to_numpy() / 1000.0
            np.testing.assert_allclose(reader.window_mv(index), expected, rtol=0, atol=1e-6)
            units = np.rint(expected / 0.00488)
            assert (reader.raw(index) == units).all()


def test_the_code_table_names_all_that_the_release_names(golden: Path) -> None:
    names = json.loads((golden / "labels/forms.json").read_text())["chapman"]
    ours = {
        kind: {row["code"] for row in read_codes("chapman") if row["kind"] == kind} for kind in ("rhythm", "condition")
    }
    assert ours["condition"] == set(names["Condition"])
    assert ours["rhythm"] == set(names["Rhythm"]) - {"SI"} | {"SA"}


def test_labels_by_hand(raw: Path, tmp_path: Path) -> None:
    found = prepare("chapman", raw, cache_dir=tmp_path / "cache", min_count=1)
    assert found.labels["label_all"] == ["AFIB", "APB", "RBBB", "SB", "SR", "TWC"]
    assert found.labels["label_condition"] == ["APB", "RBBB", "TWC"]
    assert found.labels["label_rhythm"] == ["AFIB", "SB", "SR"]
    rows = [row for split in found.splits.values() for row in split.remove_columns("signal")]
    first = next(row for row in rows if row["record_id"] == "MUSE_1")
    assert (first["age"], first["sex"], first["patient_id"], first["rhythm"], first["beat"]) == (
        *(85.0, "male", None),
        *("SB", "RBBB TWC"),
    )
    assert [found.labels["label_all"][i] for i in first["label_all"]] == ["RBBB", "SB", "TWC"]
    last = next(row for row in rows if row["record_id"] == "MUSE_4")
    assert (last["age"], last["sex"], last["label_condition"]) == (None, None, [])


def test_titles_need_no_raw_folder() -> None:
    assert DATASET.label_title("label_all", "AF") == "atrial flutter"
    assert DATASET.label_title("label_rhythm", "SA") == "sinus irregularity"
    assert DATASET.label_title("label_all", "new") == "new"


def test_both_ways_of_unpacking_are_read_and_denoised_copies_are_not(raw: Path, tmp_path: Path) -> None:
    one = prepare("chapman", raw, cache_dir=tmp_path / "cache")
    nested = raw / "inner"
    (raw / "ECGData").rename(nested)
    (raw / "ECGData").mkdir()
    nested.rename(raw / "ECGData" / "ECGData")
    shutil.copytree(raw / "ECGData" / "ECGData", raw / "ECGDataDenoised")
    two = prepare("chapman", raw, cache_dir=tmp_path / "cache")
    assert one.fingerprint == two.fingerprint
    assert set(two.report["file"]) == {f"ECGData/ECGData/MUSE_{n}.csv" for n in (1, 2, 3, 4)}


def test_folds_follow_conditions_and_rhythm_in_the_order_of_the_table(raw: Path) -> None:
    labels = [entry.labels for entry in plan(300, seed=5)]
    rows = [[f"X{n}", rhythm, " ".join(rest) or "NONE", 50, "MALE", 1] for n, (rhythm, *rest) in enumerate(labels)]
    fold = with_table(raw, rows).table["strat_fold"].tolist()
    assert fold == stratify([[*rest, rhythm] for rhythm, *rest in labels], 10).tolist()
    assert fold != stratify([rest or [rhythm] for rhythm, *rest in labels], 10).tolist()


def test_folds_do_not_change_where_files_are_missing(raw: Path, tmp_path: Path) -> None:
    whole = DATASET.scan(raw, 500).table.set_index("record_id")["strat_fold"]
    (raw / "ECGData" / "MUSE_2.csv").unlink()
    found = prepare("chapman", raw, cache_dir=tmp_path / "cache", max_unreadable=0.5)
    folds = {row["record_id"]: row["fold"] for split in found.splits.values() for row in split}
    assert folds == whole.drop("MUSE_2").to_dict()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: ["MUSE_1", *row[1:]], "FileName 'MUSE_1' occurs a second time in row 6"),
        (lambda row: [None, *row[1:]], "FileName None is not a name of a file"),
        (lambda row: ["../x", *row[1:]], "FileName '../x' is not a name of a file"),
        (lambda row: [row[0], None, *row[1:5]], "Rhythm None is none of the eleven rhythms"),
        (lambda row: [row[0], *row[2:], 1], "Rhythm 'NONE' is none of the eleven rhythms"),
        (lambda row: [row[0], "TWC", *row[2:]], "Rhythm 'TWC' is none of the eleven rhythms"),
        (lambda row: [row[0], "SR", "TWC XYZ", *row[3:]], "Beat names 'XYZ', which is no known condition"),
        (lambda row: [row[0], "SR", None, *row[3:]], "Beat None is neither a list of conditions nor NONE"),
        (lambda row: [*row[:3], "MALE", "59", 1], "Gender '59' is neither MALE nor FEMALE"),
        (lambda row: [*row[:3], "x", "MALE", 1], "PatientAge 'x' is not an age in years"),
        (lambda row: [*row[:3], 300, "MALE", 1], "PatientAge 300 is not an age in years"),
    ],
)
def test_damaged_rows_are_lost_with_the_reason(
    raw: Path, change: Callable[[list[Any]], list[Any]], reason: str
) -> None:
    extra = change(["MUSE_5", "SR", "NONE", "50", "MALE", 70])
    scan = with_table(raw, [*ROWS, extra])
    assert len(scan) == 4
    assert [(item.file, item.reason) for item in scan.lost] == [("Diagnostics.xlsx", reason)]
    assert scan.lost[0].record_id == (extra[0] or "row 6")


def test_columns_stand_in_any_order_and_others_do_not_matter(raw: Path) -> None:
    before = DATASET.scan(raw, 500).table
    header = ("Gender", "DateofBirth", "Beat", "FileName", "PatientAge", "Rhythm")
    rows = [[row[4], "1950-01-01", row[2], row[0], row[3], row[1]] for row in ROWS]
    assert with_table(raw, rows, header).table.equals(before)


def test_a_table_of_another_kind_is_told(raw: Path) -> None:
    shutil.copy(raw / "ECGData" / "MUSE_1.csv", raw / "Diagnostics.xlsx")
    with pytest.raises(DataError, match=r"Diagnostics.xlsx' cannot be read as an Excel workbook.*figshare"):
        DATASET.scan(raw, 500)
    with pytest.raises(DataError, match=r"lacks the columns 'Rhythm', 'Beat', 'PatientAge', 'Gender'"):
        with_table(raw, [["a", 1]], ("FileName", "Value"))


def lines(change: Callable[[list[str]], list[str]]) -> bytes:
    return ("\n".join(change(CONTENT.splitlines())) + "\n").encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "the file is missing"),
        (b"", "none of the twelve leads"),
        (lines(lambda rows: rows[:4001]), "the file is cut short: 4000 rows instead of 5000"),
        (
            CONTENT.encode()[:100_000].rpartition(b",")[0],
            "cannot be read as a table of numbers: CSV parse error: Row #1051: Expected 12 columns, got 11",
        ),
        (lines(lambda rows: [row.rpartition(",")[0] for row in rows]), "the file lacks the leads V6"),
        (
            lines(lambda rows: [rows[0], *(f"{n},{row}" for n, row in enumerate(rows[1:]))]),
            "Expected 12 columns, got 13",
        ),
        (lines(lambda rows: ["a,b,c,d,e,f,g,h,i2,j,k,l", *rows[1:]]), "none of the twelve leads among 'a'"),
        (lines(lambda rows: [rows[0].replace("V2", "V1"), *rows[1:]]), "names a column twice"),
        (lines(lambda rows: rows[1:]), "none of the twelve leads"),
        (lines(lambda rows: [row.replace(",", ";") for row in rows]), "none of the twelve leads"),
        (
            lines(lambda rows: [*rows[:9], rows[9].replace(rows[9].split(",")[0], "x", 1), *rows[10:]]),
            "invalid value 'x'",
        ),
        (lines(lambda rows: [*rows[:9], ",".join(["inf"] * 12), *rows[10:]]), "a sample is infinite"),
        (CONTENT.encode("utf-16"), "the file is not text in UTF-8"),
    ],
)
def test_damaged_files_are_lost_with_the_reason(raw: Path, content: bytes | None, reason: str) -> None:
    path = raw / "ECGData" / "MUSE_1.csv"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        DATASET.read(raw, next(DATASET.scan(raw, 500).records(0, 1)))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(raw) not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_leads_are_matched_by_name_whatever_their_order_and_spelling(raw: Path) -> None:
    order = np.random.default_rng(1).permutation(12)
    text = csv_of(SAMPLES[:, order]).split("\n", 1)[1]
    header = ",".join(f'"{LEADS[place].upper()}"' for place in order)
    path = raw / "ECGData" / "MUSE_1.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{header}\r\n{text}".encode())
    signal = DATASET.read(raw, next(DATASET.scan(raw, 500).records(0, 1)))
    assert (signal.samples == np.rint(SAMPLES / 4.88)).all()


def test_empty_cells_are_missing_and_more_rows_are_told(raw: Path) -> None:
    rows = CONTENT.splitlines()
    rows[5] = "," + rows[5].split(",", 1)[1]
    (raw / "ECGData" / "MUSE_1.csv").write_text("\n".join([*rows, rows[-1]]) + "\n")
    signal = DATASET.read(raw, next(DATASET.scan(raw, 500).records(0, 1)))
    assert signal.samples.shape == (5001, 12)
    assert np.flatnonzero(signal.samples == MISSING).tolist() == [4 * 12]
    assert signal.remark == "5001 rows instead of 5000; 1 samples are missing in I"


def test_records_of_zeros_or_nothing_stay_and_are_told(raw: Path, tmp_path: Path) -> None:
    (raw / "ECGData" / "MUSE_1.csv").write_text(csv_of(SAMPLES * 0))
    (raw / "ECGData" / "MUSE_2.csv").write_text(csv_of(SAMPLES * np.nan))
    report = prepare("chapman", raw, cache_dir=tmp_path / "cache").report
    assert report["status"].tolist() == ["ok"] * 4
    assert report["reason"].tolist() == ["every sample is 0", "every sample is missing", "", ""]


def test_the_folder_of_another_dataset_is_told(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "metadata.csv").touch()
    with pytest.raises(DataError, match=r"lacks Diagnostics.xlsx, ECGData. Get Chapman-Shaoxing from https://doi"):
        prepare("chapman", tmp_path)


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("chapman")
    raw = mock.write("chapman", folder / "raw", records=40, seed=3, awkward=True)
    return prepare("chapman", raw, cache_dir=folder / "cache", max_unreadable=0.3)


@pytest.mark.heavy
def test_awkward_records_are_lost_or_told_one_by_one(awkward: Prepared) -> None:
    assert (awkward.report["status"] == "lost").sum() == len(UNREADABLE)
    assert (awkward.report["status"] == "ok").sum() == 40 - len(UNREADABLE)
    reasons = " | ".join(awkward.report["reason"])
    for text in (
        *("every sample is 0", "60 samples are missing in V6", "the file is missing", "Expected 12 columns, got"),
        *("lacks the leads V6", "got 13", "not text in UTF-8", "occurs a second time", "Rhythm None is none"),
    ):
        assert text in reasons
    assert len(AWKWARD) == 9


def test_the_mock_tree_repeats_and_refuses(tmp_path: Path) -> None:
    one, two = (mock.write("chapman", tmp_path / name, records=3, seed=2) for name in "ab")
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) == 8
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)
    with pytest.raises(InputError, match="comes at 500 Hz"):
        mock.write("chapman", tmp_path / "c", records=3, sampling_rates=(250,))
    with pytest.raises(InputError, match="too few for the 9 awkward cases"):
        mock.write("chapman", tmp_path / "c", records=9, awkward=True)


def test_a_mock_tree_of_200_shows_common_labels_in_every_split() -> None:
    labels = [entry.labels for entry in plan(200, seed=0)]
    fold = stratify(labels, 10)
    for part in (fold < 8, fold == 8, fold == 9):
        present = {label for labels_, use in zip(labels, part, strict=True) if use for label in labels_}
        assert present >= {"SB", "SR", "AFIB", "ST", "SVT", "SA", "TWC", "LVHV", "STTC", "RBBB", "STDD"}


def test_a_mock_tree_of_1000_has_the_published_labels_in_every_split_and_rarer_ones() -> None:
    published = {label for label, count in DATASET.releases[0].label_counts["label_all"].items() if count >= 10}
    labels = [entry.labels for entry in plan(1000, seed=0)]
    assert set(vocabulary(labels, 10)) == published
    assert len(count_occurrences(labels)) > 42
    fold = stratify(labels, 10)
    for part in (fold < 8, fold == 8, fold == 9):
        assert {label for row, use in zip(labels, part, strict=True) if use for label in row} >= published
