"""SPH: labels and folds of the full table, real samples, damaged tables and files, the mock tree."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from dataset_scripts import mock
from dataset_scripts.catalog import get
from dataset_scripts.codes import read_codes
from dataset_scripts.core.folds import stratify_groups
from dataset_scripts.core.labels import canonical_sha256, count_occurrences, vocabulary
from dataset_scripts.core.spec import RawRecord, Scan
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock.sph import AWKWARD, UNREADABLE, plan
from dataset_scripts.published.sph import parse_statements, read_h5
from dataset_scripts.reader import SignalReader
from ecg_hub.errors import DataError, InputError

DATASET = get("sph")
HEADER = "ECG_ID,AHA_Code,Patient_ID,Age,Sex,N,Date"
ROWS = (
    "A00001,22;23,S00001,55,M,600,2020-03-04",
    "A00002,1,S00002,32,F,500,2019-09-03",
    "A00003,60+310;147;147+367,S00001,55,M,500,2020-07-16",
    "A00004,145+362,S00003,,,500,2020-07-14",
)
MILLIVOLT = np.random.default_rng(0).normal(0, 0.5, size=(12, 600)).astype(np.float16)


def write_h5(path: Path, values: np.ndarray, name: str = "ecg") -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=values, compression="gzip")


def write_table(folder: Path, *rows: str, header: str = HEADER) -> Scan:
    (folder / "metadata.csv").write_text("\n".join([header, *rows]) + "\n")
    return DATASET.scan(folder, 500)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Four records of three patients by hand."""
    folder = tmp_path / "raw"
    (folder / "records").mkdir(parents=True)
    write_table(folder, *ROWS)
    for row in ROWS:
        name, _, _, _, _, samples, _ = row.split(",")
        write_h5(folder / "records" / f"{name}.h5", MILLIVOLT[:, : int(samples)])
    return folder


@pytest.fixture(scope="module")
def full(shared: Path) -> Scan:
    """The scan of the real table, most of whose records are not there."""
    return DATASET.scan(shared / "data/sph", 500)


def first(folder: Path) -> RawRecord:
    return next(DATASET.scan(folder, 500).records(0, 1))


def test_the_release_is_described_as_published(golden: Path) -> None:
    expected = json.loads((golden / "labels/expected.json").read_text())
    release = DATASET.releases[0]
    assert release.records == expected["sph_primary"]["n_records"]
    names = (("label_all", "sph_primary", 35), ("label_with_modifiers", "sph_primary_w_mod", 48))
    for column, published, size in names:
        counts = dict(release.label_counts[column])
        assert counts == expected[published]["occurrences"]
        kept = sorted(label for label, count in counts.items() if count >= 10)
        assert kept == sorted(expected[published]["labels"])
        assert len(kept) == release.label_numbers[column] == size
    assert list(release.fold_sizes) == list(expected["sph_folds_official_stratify"]["sizes"].values())


@pytest.mark.heavy
def test_counts_and_label_lists_of_the_real_table_are_those_of_the_release(full: Scan) -> None:
    release = DATASET.releases[0]
    assert (len(full), full.lost) == (release.records, [])
    assert full.table["patient_id"].nunique() == 24_666
    table = DATASET.label_table(full.table, Path(), DATASET.thresholds)
    for column in ("label_all", "label_with_modifiers"):
        lists = table.labels[column]
        assert len(vocabulary(lists, 10)) == release.label_numbers[column]
        assert dict(count_occurrences(lists)) == release.label_counts[column]
        assert canonical_sha256(full.table["record_id"], lists) == release.label_hashes[column]
    assert sum(len(row) > len(set(row)) for row in table.labels["label_all"]) == 44


def test_folds_have_the_published_sizes_and_keep_patients_together(full: Scan) -> None:
    table = DATASET.label_table(full.table, Path(), DATASET.thresholds)
    text = "".join(f"{name},{fold}\n" for name, fold in zip(full.table["record_id"], table.fold, strict=True))
    assert np.bincount(table.fold).tolist() == list(DATASET.releases[0].fold_sizes)
    assert hashlib.sha256(text.encode()).hexdigest() == DATASET.releases[0].fold_sha256
    assert pd.Series(table.fold).groupby(full.table["patient_id"].to_numpy()).nunique().max() == 1
    assert pd.Series(table.split).value_counts().to_dict() == {"train": 20_616, "validation": 2577, "test": 2577}


def test_real_samples_stay_within_half_a_microvolt(shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    (folder / "records").mkdir(parents=True)
    source = shared / "data/sph"
    rows = (source / "metadata.csv").read_text().splitlines()
    present = {path.stem for path in (source / "records").glob("*.h5")}
    (folder / "metadata.csv").write_text(
        "\n".join([rows[0], *(row for row in rows[1:] if row.split(",")[0] in present)]) + "\n"
    )
    for path in (source / "records").glob("*.h5"):
        shutil.copy(path, folder / "records")
    found = prepare("sph", folder, cache_dir=tmp_path / "cache", min_count=1)
    assert (found.report["status"] == "ok").sum() == len(present) >= 6
    for split in found.splits.values():
        reader = SignalReader(split)
        for index, name in enumerate(split["record_id"]):
            with h5py.File(source / "records" / f"{name}.h5") as file:
                expected = file["ecg"][:].astype(np.float64).T
            assert reader.lengths[index] == len(expected)
            assert np.abs(reader.window_mv(index).astype(np.float64) - expected).max() <= 0.0005


def test_the_code_table_is_that_of_the_release(golden: Path) -> None:
    theirs = set(map(tuple, json.loads((golden / "labels/forms.json").read_text())["sph"]))
    ours = read_codes("aha")
    assert {(row["category"] or "Modifier", row["code"], row["description"]) for row in ours} == theirs
    assert [row["kind"] for row in ours].count("primary") == 44
    assert len(ours) == 59


def test_labels_by_hand(raw: Path, tmp_path: Path) -> None:
    found = prepare("sph", raw, cache_dir=tmp_path / "cache", min_count=1)
    assert found.labels["label_all"] == ["1", "145", "147", "22", "23", "60"]
    assert found.labels["label_with_modifiers"] == ["1", "145+362", "147", "147+367", "22", "23", "60+310"]
    rows = {row["record_id"]: row for split in found.splits.values() for row in split.remove_columns("signal")}
    assert [found.labels["label_all"][i] for i in rows["A00003"]["label_all"]] == ["147", "60"]
    assert (rows["A00001"]["age"], rows["A00001"]["sex"], rows["A00001"]["patient_id"]) == (55.0, "male", "S00001")
    assert (rows["A00004"]["age"], rows["A00004"]["sex"]) == (None, None)
    assert rows["A00001"]["fold"] == rows["A00003"]["fold"]
    assert sorted(found.report["samples"]) == [500, 500, 500, 600]


def test_a_repeated_label_counts_twice(raw: Path, tmp_path: Path) -> None:
    found = prepare("sph", raw, cache_dir=tmp_path / "cache", min_count=2)
    assert found.labels["label_all"] == ["147"]


def test_titles_need_no_raw_folder() -> None:
    assert DATASET.label_title("label_all", "22") == "Sinus bradycardia"
    assert DATASET.label_title("label_with_modifiers", "60+310") == "Ventricular premature complex(es), frequent"
    assert DATASET.label_title("label_all", "999") == "999"


def test_folds_follow_the_published_labels_in_their_published_order(raw: Path) -> None:
    """Numbers as the published preparation gives them, written so that text sorts them the same way."""
    rng = np.random.default_rng(5)
    codes = ("1", "1", "1", "22", "1;1", "60+310", "147", "21;147", "50+346", "105", "106", "145+363", "23")
    rows = []
    for place in range(300):  # of one age group, so that the label of every record comes into play
        patient, years, letter = rng.integers(1000, 1250), rng.integers(41, 59), rng.choice(list("MMF"))
        rows.append(f"B{place:04d},{rng.choice(codes)},S{patient},{years},{letter},500,x")
    scan = write_table(raw, *ROWS, *rows, "B9999,1,S9999,20,M,500,x", "B9998,1,S9998,80,M,500,x")
    statements = [cell.split(";") for cell in scan.table["aha_code"]]
    number = {text: f"{place:03d}" for place, text in enumerate(sorted({t for row in statements for t in row}))}
    size = len(number)
    labels = []
    for row, age, sex in zip(statements, scan.table["age"].astype(float), scan.table["sex"], strict=True):
        group = sum(not age < limit for limit in (20, 40, 60, 80))  # a missing age is in the last group
        extra = (size, size + (1 if sex == "male" else 2), size + 3 + group)
        labels.append([*(number[text] for text in row), *(f"{place:03d}" for place in extra)])
    patients = list(scan.table["patient_id"])
    assert scan.table["strat_fold"].tolist() == stratify_groups(patients, labels, 10).tolist()
    without = [[label for label in row if label != f"{size:03d}"] for row in labels]
    assert scan.table["strat_fold"].tolist() != stratify_groups(patients, without, 10).tolist()


def test_both_ways_of_unpacking_are_read(raw: Path, tmp_path: Path) -> None:
    one = prepare("sph", raw, cache_dir=tmp_path / "cache")
    (raw / "records").rename(raw / "inner")
    (raw / "records").mkdir()
    (raw / "inner").rename(raw / "records" / "records")
    two = prepare("sph", raw, cache_dir=tmp_path / "cache")
    assert one.fingerprint == two.fingerprint
    assert two.report["file"][0] == "records/records/A00001.h5"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("A00001,1,S00009,50,M,500,x", "ECG_ID 'A00001' occurs a second time in line 6"),
        ("../A5,1,S00009,50,M,500,x", "ECG_ID '../A5' is not a name of a file"),
        ("A00005,,1,S00009,50,M,500", "AHA_Code ''"),
        ("A00005,S00009,50,M,500,x,1", "AHA_Code 'S00009': 'S00009' is not a primary code"),
        ("A00005,1,,50,M,500,x", "Patient_ID '' is not an identifier"),
        ("A00005,1,S00009,M,50,500,x", "Sex '50' is neither M nor F"),
        ("A00005,1,S00009,x,M,500,x", "Age 'x' is not an age in years"),
        ("A00005,1,S00009,500,M,50,x", "Age '500' is not an age in years"),
        ("A00005,1,S00009,50,M,x,500", "N 'x' is not a number of samples"),
        ("A00005,1;999,S00009,50,M,500,x", "AHA_Code '1;999': '999' is not a primary code with its modifiers"),
        ("A00005,1+147,S00009,50,M,500,x", "'1+147' is not a primary code with its modifiers"),
        ("A00005,310,S00009,50,M,500,x", "'310' is not a primary code with its modifiers"),
        ("A00005,1;,S00009,50,M,500,x", "'' is not a primary code with its modifiers"),
        ("A00005,1,S00009,50,M", "line 6: 5 cells in a table of 7 columns"),
    ],
)
def test_damaged_rows_are_lost_with_the_reason(raw: Path, row: str, reason: str) -> None:
    scan = write_table(raw, *ROWS, row)
    assert len(scan) == 4
    assert [item.file for item in scan.lost] == ["metadata.csv"]
    assert reason in scan.lost[0].reason


def test_statements_keep_order_and_repeats() -> None:
    assert parse_statements(" 60+310; 147 ;147") == ["60+310", "147", "147"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "the file is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "the file is damaged or no HDF5 file"),
        (lambda path: path.write_text("no HDF5"), "the file is damaged or no HDF5 file"),
        (lambda path: write_h5(path, MILLIVOLT, "signal"), "the file holds no array 'ecg', but 'signal'"),
        (lambda path: write_h5(path, MILLIVOLT.T), "'ecg' is float16 of shape (600, 12), not float of (12, samples)"),
        (lambda path: write_h5(path, MILLIVOLT.astype(np.int16)), "'ecg' is int16 of shape (12, 600)"),
        (lambda path: write_h5(path, MILLIVOLT[:11]), "shape (11, 600)"),
        (lambda path: write_h5(path, MILLIVOLT[:, :400]), "holds 400 samples per lead, metadata.csv says 600"),
        (lambda path: write_h5(path, MILLIVOLT * np.float16(np.inf)), "a sample is infinite"),
    ],
)
def test_damaged_files_are_lost_with_the_reason(raw: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(raw / "records" / "A00001.h5")
    with np.errstate(invalid="ignore"), pytest.raises(DataError) as caught:
        DATASET.read(raw, first(raw))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_chunk_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_h5(path, MILLIVOLT)
    content = bytearray(path.read_bytes())
    content[-2000:-1000] = bytes(1000)
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_h5(path)


def test_zeros_gaps_and_lost_contact_stay_and_are_told(raw: Path, tmp_path: Path) -> None:
    gap, spike = MILLIVOLT[:, :500].copy(), MILLIVOLT[:, :500].copy()
    gap[2, 10:13] = np.nan
    spike[6, 7] = 1590
    write_h5(raw / "records" / "A00002.h5", np.zeros((12, 500), np.float16))
    write_h5(raw / "records" / "A00003.h5", gap)
    write_h5(raw / "records" / "A00004.h5", spike)
    found = prepare("sph", raw, cache_dir=tmp_path / "cache")
    assert found.report["reason"].tolist() == [
        "",
        "every sample is 0",
        "3 samples are missing in III",
        "beyond 32.767 mV in V1: stored there in steps of up to 64 microvolt",
    ]


def test_tables_and_folders_of_another_kind_are_told(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks the columns 'ECG_ID', .*figshare"):
        write_table(raw, "1,2", header="ecg_id,strat_fold")
    with pytest.raises(DataError, match=r"lacks metadata.csv, records. Get SPH from https://doi"):
        prepare("sph", tmp_path)


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("sph")
    raw = mock.write("sph", folder / "raw", records=60, seed=3, awkward=True)
    return prepare("sph", raw, cache_dir=folder / "cache", max_unreadable=0.3)


@pytest.mark.heavy
def test_awkward_records_are_lost_or_told_one_by_one(awkward: Prepared) -> None:
    assert (awkward.report["status"] == "lost").sum() == len(UNREADABLE)
    assert (awkward.report["status"] == "ok").sum() == 60 - len(UNREADABLE)
    reasons = " | ".join(awkward.report["reason"])
    for text in (
        *("every sample is 0", "samples are missing in V2, V6", "beyond 32.767 mV in V3", "the file is missing"),
        *("damaged or no HDF5", "metadata.csv says", "no array 'ecg'", "AHA_Code ''", "'999' is not", "a second time"),
    ):
        assert text in reasons
    assert len(AWKWARD) == 10


@pytest.mark.heavy
def test_the_mock_tree_has_the_true_form(tmp_path: Path) -> None:
    raw = mock.write("sph", tmp_path / "raw", records=60, seed=4)
    assert (raw / "metadata.csv").read_bytes().startswith(b"ECG_ID,AHA_Code,Patient_ID,Age,Sex,N,Date\nA00001,")
    assert (raw / "code.csv").read_bytes().startswith(b"Category,Code,Description\r\nA,1,Normal ECG\r\n")
    with h5py.File(raw / "records" / "A00001.h5") as file:
        assert list(file) == ["ecg"]
        assert (file["ecg"].dtype, file["ecg"].compression, file["ecg"].compression_opts) == (np.float16, "gzip", 9)
        assert file["ecg"].chunks == (3, file["ecg"].shape[1] // 4)
    lengths = DATASET.scan(raw, 500).table["listed_samples"]
    assert set(lengths % 500) == {0}
    assert lengths.nunique() > 1


def test_the_mock_tree_repeats_and_refuses(tmp_path: Path) -> None:
    one, two = (mock.write("sph", tmp_path / name, records=3, seed=2) for name in "ab")
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) == 6
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)
    with pytest.raises(InputError, match="comes at 500 Hz"):
        mock.write("sph", tmp_path / "c", records=3, sampling_rates=(250,))
    with pytest.raises(InputError, match="too few for the 10 awkward cases"):
        mock.write("sph", tmp_path / "c", records=10, awkward=True)


@pytest.mark.parametrize(("records", "common"), [(200, {"1", "22", "147", "23", "105", "145"}), (1000, None)])
def test_labels_of_mock_trees_show_in_every_split(tmp_path: Path, records: int, common: set[str] | None) -> None:
    counts = DATASET.releases[0].label_counts["label_all"]
    published = {label for label, count in counts.items() if count >= 10}
    entries = plan(records, seed=0)
    (tmp_path / "records").mkdir()
    rows = (f"{e.name},{e.code},S{e.patient:05d},{e.age},{'MF'[e.female]},{e.samples},x" for e in entries)
    table = DATASET.label_table(write_table(tmp_path, *rows).table, tmp_path, DATASET.thresholds)
    labels = table.labels["label_all"]
    assert set(vocabulary(labels, records // 100)) == published
    for part in ("train", "validation", "test"):
        present = {label for row, name in zip(labels, table.split, strict=True) if name == part for label in row}
        assert present >= (common or published)
