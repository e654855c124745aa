"""CODE-15%: joining, padding, folds and loss on hand-made parts, and the ten real tracings."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from dataset_scripts import mock
from dataset_scripts.catalog import get
from dataset_scripts.core.labels import label_matrix
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock.code_15 import AWKWARD, COLUMNS, plan
from dataset_scripts.published.code_15 import LABELS, fold_classes, make_folds, trim
from dataset_scripts.reader import SignalReader
from dataset_scripts.readers.exams import FLAGS, find_parts, read_tracing
from ecg_hub.errors import DataError
from tests.support.exam_parts import SAMPLES, exam, write_part, write_table

DATASET = get("code-15")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two parts: 11, 12, 13 and 21, 22; the table is in another order."""
    folder = tmp_path / "code-15"
    folder.mkdir()
    write_part(folder / "exams_part0.hdf5", [11, 12, 13])
    write_part(folder / "exams_part1.hdf5", [21, 22])
    rows = [exam(22, 1, AF=True), exam(13, LBBB=True, ST=True), exam(21, 1, SB=True), exam(12, RBBB=True)]
    return write_table(folder, [*rows, exam(11, **{"1dAVb": True})])


def prepare_tiny(folder: Path, **options: Any) -> Prepared:
    return prepare("code-15", folder, cache_dir=folder.parent / "cache", min_samples=10, folds=3, **options)


def reasons(scan_or_report: Any) -> dict[str, str]:
    if isinstance(scan_or_report, pd.DataFrame):
        odd = scan_or_report[scan_or_report["status"] != "ok"]
        return dict(zip(odd["record_id"], odd["reason"], strict=True))
    return {item.record_id: item.reason for item in scan_or_report.lost}


def all_rows(found: Prepared, column: str) -> dict[str, Any]:
    return {r: v for split in found.splits.values() for r, v in zip(split["record_id"], split[column], strict=True)}


def test_exams_are_joined_by_id_and_the_end_rows_are_no_records(tiny: Path) -> None:
    scan = DATASET.scan(tiny, 400)
    assert scan.table["record_id"].tolist() == ["11", "12", "13", "21", "22"]
    assert scan.table["key"].tolist() == [0, 1, 2, 0, 1]
    assert not scan.lost
    assert not scan.excluded
    assert scan.version is None
    found = prepare_tiny(tiny)
    assert len(found.report) == 5
    named = {r: [found.labels["label_all"][i] for i in v] for r, v in all_rows(found, "label_all").items()}
    assert named == {"11": ["1AVB"], "12": ["RBBB"], "13": ["LBBB", "STACH"], "21": ["SBRAD"], "22": ["AFIB"]}
    assert found.labels["label_all"] == ["1AVB", "RBBB", "LBBB", "SBRAD", "AFIB", "STACH"]
    for split in found.splits.values():
        reader = SignalReader(split)
        for index, (record, patient, sex) in enumerate(
            zip(split["record_id"], split["patient_id"], split["sex"], strict=True)
        ):
            assert reader.window_mv(index)[0, 0] == pytest.approx(int(record[1]), abs=5e-4)
            assert patient == str(1000 + int(record))
            assert sex == "male"


def test_the_published_label_order_is_fixed() -> None:
    assert list(LABELS) == ["1AVB", "RBBB", "LBBB", "SBRAD", "AFIB", "STACH"]
    assert [column for column, _ in LABELS.values()] == ["1dAVb", "RBBB", "LBBB", "SB", "AF", "ST"]
    assert DATASET.label_title("label_all", "SBRAD") == "sinus bradycardia"


@pytest.mark.parametrize(
    ("before", "inside", "after", "kept", "remark"),
    [
        (5, 0, 5, slice(5, 15), 0),  # symmetrical padding goes
        (5, 0, 4, slice(4, 16), 0),  # an odd number leaves one row
        (1, 0, 0, slice(0, 20), 0),  # a single one cuts nothing
        (0, 4, 0, slice(2, 18), 4),  # a flat stretch inside cuts two rows of signal from either end
        (6, 0, 0, slice(3, 17), 3),  # padding on one side only: half stays, three rows of signal go
        (0, 0, 0, slice(0, 20), 0),
    ],
)
def test_padding_is_cut_by_the_published_rule(before: int, inside: int, after: int, kept: slice, remark: int) -> None:
    tracing = np.ones((20, 12), dtype=np.float32)
    tracing[:, 3] = 0  # one flat lead is no padding
    tracing[:before] = 0
    tracing[8 : 8 + inside] = 0
    tracing[20 - after :] = 0
    found, said = trim(tracing)
    np.testing.assert_array_equal(found, tracing[kept])
    assert said == (f"the published cutting of zero rows removes {remark} samples of signal" if remark else "")


def test_nan_is_signal_to_the_padding_rule() -> None:
    tracing = np.zeros((10, 12), dtype=np.float32)
    tracing[4:6, 0] = np.nan
    found, said = trim(tracing)
    assert found.shape == (2, 12)
    assert np.isnan(found[:, 0]).all()
    assert not said


def test_folds_equal_the_published_procedure() -> None:
    """The hash was made with the published preparation on this table: batches, patients, all ties included."""
    number = np.arange(6000)
    patient = 17 + (number * number * 7 + 3 * number) % 3001 * 13
    table = pd.DataFrame({"patient_id": patient, "is_male": patient % 5 < 2, "age": 17.0 + patient % 83})
    for place, column in enumerate(("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")):
        table[column] = (number * (31 + 2 * place) + number // 7) % (23 + 5 * place) == 0
    table.loc[number % 401 == 5, "age"] = np.nan
    table.index = pd.Index((number * 7919) % 6007 + 1)
    folds = make_folds(table, 100, 700)
    text = "".join(f"{i},{fold}\n" for i, fold in zip(folds.index, folds, strict=True))
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "b0f18e72cf1877f1689ff99d7116bd9cd6983e9b1dc137dc433f6fed22067b19"
    )
    shuffled = make_folds(table.iloc[::-1], 100, 700)
    assert shuffled.reindex(folds.index).equals(folds)


def test_what_an_exam_is_stratified_by() -> None:
    table = pd.DataFrame(
        {
            **dict.fromkeys(FLAGS, [False] * 7),
            "is_male": [True, False, True, True, True, True, True],
            "age": [19.9, 20, 40, 60, 80, np.nan, 39],
        }
    )
    table.loc[0, ["ST", "1dAVb"]] = True
    assert fold_classes(table) == [
        ["00", "05", "06", "07", "09"],
        ["06", "08", "10"],
        *(["06", "07", group] for group in ("11", "12", "13", "13", "10")),
    ]


def test_splits_are_the_last_two_folds_after_the_length_rule(tmp_path: Path) -> None:
    metadata = pd.DataFrame({"record_id": [str(n) for n in range(1, 301)], "samples": 4096})
    for column in FLAGS:
        metadata[column] = False
    write_part(tmp_path / "exams_part0.hdf5", range(1, 301))
    write_table(tmp_path, [exam(n) for n in range(1, 301)])
    table = DATASET.label_table(metadata, tmp_path, DATASET.thresholds)
    assert sorted(set(table.fold)) == list(range(100))
    assert set(table.fold[table.split == "test"]) == {99}
    assert set(table.fold[table.split == "validation"]) == {98}
    metadata.loc[table.fold == 99, "samples"] = 3999
    shorter = DATASET.label_table(metadata, tmp_path, DATASET.thresholds)
    assert shorter.fold.tolist() == table.fold.tolist()
    assert set(shorter.fold[shorter.split == "test"]) == {98}
    assert [rule.reason for rule in shorter.exclusions] == [
        "no row in exams.csv (fold -1)",
        "shorter than 4000 samples",
    ]
    assert int(shorter.exclusions[1].rows.sum()) == 3


def test_a_tracing_without_a_row_has_fold_minus_one_and_no_split(tiny: Path) -> None:
    write_table(tiny, [exam(n, n // 20) for n in (11, 12, 13, 21)])
    found = prepare_tiny(tiny)
    assert found.exclusions == {"no row in exams.csv (fold -1)": 1}
    assert set(all_rows(found, "fold")) == {"11", "12", "13", "21"}
    row = found.report.set_index("record_id").loc["22"]
    assert (row["status"], row["samples"]) == ("ok", SAMPLES)
    record = next(DATASET.scan(tiny, 400).records(4, 5))
    assert (record.record_id, record.patient_id, record.age, record.sex) == ("22", None, None, None)
    assert set(record.metadata.values()) == {None}


def test_an_all_zero_tracing_is_left_out_but_its_patient_counts_for_the_folds(tiny: Path) -> None:
    before = all_rows(prepare_tiny(tiny), "fold")
    with h5py.File(tiny / "exams_part0.hdf5", "r+") as file:
        file["tracings"][1] = 0
    found = prepare_tiny(tiny, max_unreadable=0.0)
    assert reasons(found.report) == {"12": "no sample is left when the zero padding is cut"}
    assert found.exclusions["no sample is left when the zero padding is cut"] == 1
    assert all_rows(found, "fold") == {record: fold for record, fold in before.items() if record != "12"}


def test_a_missing_part_is_loss_is_named_and_shown_as_a_deviation(tiny: Path) -> None:
    rows = [exam(n, n // 20) for n in (11, 12, 13, 21, 22)]
    write_table(tiny, [*rows, *(exam(100 + n, 2) for n in range(30))])
    with pytest.raises(DataError, match=r"30 of 35 records .* 100 \(exams_part2\.hdf5\): exams_part2\.hdf5 is missing"):
        prepare_tiny(tiny)
    found = prepare_tiny(tiny, max_unreadable=0.9)
    assert found.deviations["version"].startswith("release unknown without exams_part2.hdf5: nearly all folds differ")
    whole = prepare_tiny(tiny, max_unreadable=0.9, folds_from_table=True)
    assert whole.deviations["folds_from_table"] is True
    write_part(tiny / "exams_part2.hdf5", range(100, 130))
    complete = all_rows(prepare_tiny(tiny), "fold")
    assert all_rows(whole, "fold") == {record: complete[record] for record in all_rows(whole, "fold")}
    assert all_rows(found, "fold") != {record: complete[record] for record in all_rows(found, "fold")}
    assert "version" not in prepare_tiny(tiny).deviations


def test_a_table_that_was_cut_off_does_not_make_a_whole_release(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(get("code-15")), "releases", (replace(DATASET.releases[0], records=5),))
    assert "records" not in prepare_tiny(tiny).deviations
    lines = (tiny / "exams.csv").read_text().splitlines(keepends=True)
    (tiny / "exams.csv").write_text("".join(lines[:-2]))
    found = prepare_tiny(tiny)
    assert found.exclusions == {"no row in exams.csv (fold -1)": 2}
    assert found.deviations["records"] == "3/5 in all"


def test_a_railed_lead_does_not_make_the_others_coarse(tiny: Path) -> None:
    with h5py.File(tiny / "exams_part0.hdf5", "r+") as file:
        file["tracings"][0, 20:24, 6] = 281.0
        file["tracings"][0, 30, 2] = np.nan
        written = file["tracings"][0]
    found = prepare_tiny(tiny)
    assert found.report.set_index("record_id").loc["11", "reason"] == (
        "1 samples are missing in III; beyond 32.767 mV in V1: stored there in steps of up to 16 microvolt"
    )
    split = next(split for split in found.splits.values() if "11" in split["record_id"][:])
    window = SignalReader(split).window_mv(split["record_id"][:].index("11"))
    error = np.abs(window - written)
    assert np.nanmax(np.delete(error, 6, axis=1)) <= 0.5e-3
    assert error[:, 6].max() <= 8e-3
    assert np.argwhere(np.isnan(window)).tolist() == [[30, 2]]


@pytest.mark.parametrize("keep", [0, 100, 2500])
def test_a_truncated_part_is_loss_with_the_reason(tiny: Path, keep: int) -> None:
    os.truncate(tiny / "exams_part1.hdf5", keep)
    scan = DATASET.scan(tiny, 400)
    assert scan.table["record_id"].tolist() == ["11", "12", "13"]
    assert set(reasons(scan)) == {"21", "22"}
    assert all("exams_part1.hdf5 is no whole HDF5 file (" in reason for reason in reasons(scan).values())
    assert "\n" not in reasons(scan)["21"]
    assert "exams_part1.hdf5" in (scan.version or "")


def test_one_damaged_chunk_costs_only_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "exams_part0.hdf5"
    ids = list(range(1, 101))
    options: dict[str, Any] = {"chunks": (4, SAMPLES, 12), "compression": "gzip"}
    written = write_part(path, ids, **options)
    with h5py.File(path) as file:
        place = file["tracings"].id.get_chunk_info_by_coord((8, 0, 0))
    with path.open("r+b") as handle:
        handle.seek(place.byte_offset)
        handle.write(bytes(place.size))
    write_table(tmp_path, [exam(n) for n in ids])
    found = prepare("code-15", tmp_path, cache_dir=tmp_path / "cache", min_samples=10, folds=2, max_unreadable=0.1)
    lost = reasons(found.report)
    assert set(lost) == {"9", "10", "11", "12"}
    assert lost["10"].startswith("row 9 of exams_part0.hdf5 cannot be read (")
    np.testing.assert_array_equal(read_tracing(path, 7), written[7])
    np.testing.assert_array_equal(read_tracing(path, 12), written[12])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"RBBB": "maybe"}, "RBBB 'maybe' is neither true nor false"),
        ({"SB": ""}, "SB is empty"),
        ({"is_male": 38.72}, "is_male '38.72' is neither true nor false"),
        ({"patient_id": "x7"}, "patient_id 'x7' is not a number"),
        ({"patient_id": "7.5"}, "patient_id '7.5' is not a whole number"),
        ({"patient_id": ""}, "patient_id '' is not a whole number"),
        ({"age": 1_295_924}, "age '1295924' is not an age in years"),
        ({"age": "nan"}, "age 'nan' is not a number"),
    ],
)
def test_a_damaged_cell_is_one_lost_exam(tiny: Path, change: dict[str, Any], reason: str) -> None:
    write_table(tiny, [*(exam(n, n // 20) for n in (11, 12, 13, 21)), exam(22, 1, **change)])
    scan = DATASET.scan(tiny, 400)
    assert scan.table["record_id"].tolist() == ["11", "12", "13", "21"]
    assert reasons(scan) == {"22": reason}


def test_numbers_written_otherwise_and_an_empty_age_are_understood(tiny: Path) -> None:
    odd = exam(22, 1, age="", patient_id="77.0", is_male="0", RBBB="1", SB="0.0", AF="TRUE")
    write_table(tiny, [*(exam(n, n // 20) for n in (11, 12, 13, 21)), odd])
    record = next(DATASET.scan(tiny, 400).records(4, 5))
    assert (record.record_id, record.age, record.patient_id, record.sex) == ("22", None, "77", "female")
    assert record.metadata["RBBB"] is True
    assert record.metadata["SB"] is False
    assert record.metadata["AF"] is True


def test_ids_that_occur_twice_are_lost_once(tiny: Path) -> None:
    write_part(tiny / "exams_part1.hdf5", [21, 12, 22])
    rows = [exam(n, n // 20) for n in (11, 12, 13, 21, 22)]
    write_table(tiny, [*rows, exam(11, RBBB=True)])
    scan = DATASET.scan(tiny, 400)
    assert scan.table["record_id"].tolist() == ["11", "12", "13", "21", "22"]
    assert [(item.record_id, item.file, item.reason) for item in scan.lost] == [
        ("11", "exams.csv", "exam_id 11 occurs a second time in line 7"),
        ("12", "exams_part1.hdf5", "exam_id 12 occurs a second time, in row 1"),
    ]
    assert not next(scan.records(0, 1)).metadata["RBBB"]


def test_a_table_with_shifted_columns_stops_with_the_reason(tiny: Path) -> None:
    text = (tiny / "exams.csv").read_text().splitlines()
    header, *rows = text
    (tiny / "exams.csv").write_text("\n".join([header, *(row.replace(",", ",,", 1) for row in rows)]) + "\n")
    with pytest.raises(DataError, match=r"5 of \d+ records .*line 2 \(exams\.csv\): line 2: 16 cells in a table of 15"):
        prepare_tiny(tiny)
    shifted = [",".join([*row.split(",")[:1], *row.split(",")[2:], ""]) for row in rows]
    (tiny / "exams.csv").write_text("\n".join([header, *shifted]) + "\n")
    with pytest.raises(DataError, match=r"none of 5 records can be read"):
        prepare_tiny(tiny)
    (tiny / "exams.csv").write_text("\n".join([header.replace("is_male,", ""), *shifted]) + "\n")
    with pytest.raises(DataError, match="lacks the column 'is_male'; it has 'exam_id', 'age', 'nn_predicted_age'"):
        prepare_tiny(tiny)


def test_folders_without_parts_are_told_what_to_do(tiny: Path) -> None:
    for part in tiny.glob("*.hdf5"):
        part.unlink()
    with pytest.raises(
        DataError, match=r"holds exams\.csv but no exams_part\*\.hdf5\. Get CODE-15% from https://zenodo"
    ):
        prepare_tiny(tiny)
    (tiny / "exams_part0.zip").touch()
    with pytest.raises(DataError, match=r"Unpack exams_part0\.zip and the other archives there"):
        prepare_tiny(tiny)


def test_the_real_tracings(shared: Path, tmp_path: Path) -> None:
    raw = shared / "data/code15/mini"
    found = prepare("code-15", raw, cache_dir=tmp_path, min_samples=0, folds=2)
    assert found.deviations == {
        "min_samples": 0,
        "folds": 2,
        "records": f"{len(found.report)}/345779 in all",
    }
    assert (found.report["status"] == "ok").all()
    assert (found.report["reason"] == "").all()
    with (shared / "data/code15/source_rows.csv").open() as handle:
        lengths = {row["exam_id"]: int(row["sample_size"]) for row in csv.DictReader(handle)}
    assert dict(zip(found.report["record_id"], found.report["samples"], strict=True)) == lengths
    with (raw / "exams.csv").open() as handle:
        cells = {row["exam_id"]: row for row in csv.DictReader(handle)}
    checked = 0
    for split in found.splits.values():
        reader, truth = SignalReader(split), label_matrix(split, "label_all")
        for index, record in enumerate(split["record_id"]):
            with h5py.File(raw / cells[record]["trace_file"]) as file:
                row = int(np.flatnonzero(file["exam_id"][:] == int(record))[0])
                real = file["tracings"][row]
            real = real[np.abs(real).any(axis=1)]
            assert reader.lengths[index] == len(real) == lengths[record]
            assert np.abs(reader.window_mv(index) - real).max() <= 0.5e-3
            columns = [cells[record][column] == "True" for column, _ in LABELS.values()]
            assert truth[index].astype(bool).tolist() == columns
            assert split["patient_id"][index] == cells[record]["patient_id"]
            assert split["age"][index] == float(cells[record]["age"])
            assert split["sex"][index] == ("male" if cells[record]["is_male"] == "True" else "female")
            checked += 1
    assert checked == 10


def test_the_length_rule_drops_the_six_short_real_tracings(shared: Path, tmp_path: Path) -> None:
    found = prepare("code-15", shared / "data/code15/mini", cache_dir=tmp_path, folds=2)
    assert found.exclusions == {"shorter than 4000 samples": 6}
    assert sum(map(len, found.splits.values())) == 4


@pytest.fixture(scope="module")
def raw_200(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mock.write("code-15", tmp_path_factory.mktemp("mock") / "code-15", records=200, seed=3)


@pytest.mark.heavy
def test_a_mock_tree_has_the_true_form_and_prepares_without_loss(raw_200: Path, tmp_path: Path) -> None:
    parts = find_parts(raw_200)
    assert parts == ["exams_part0.hdf5", "exams_part1.hdf5"]
    with h5py.File(raw_200 / parts[0]) as file:
        ids, tracings = file["exam_id"], file["tracings"]
        assert (ids.dtype, tracings.dtype, tracings.shape[1:]) == (np.int64, np.float32, (4096, 12))
        assert (tracings.chunks, tracings.compression) == (None, None)
        assert ids[-1] == 0
        assert not tracings[-1].any()
        in_file = ids[:-1].tolist()
    with (raw_200 / "exams.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["exam_id"]) for row in rows if row["trace_file"] == parts[0]] != in_file
    found = prepare("code-15", raw_200, cache_dir=tmp_path)
    assert (found.report["status"] == "ok").all()
    assert set(found.report["samples"]) == {2934, 4096}
    assert found.deviations == {"folds": 5, "synthetic": True}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_mock_of_200_has_positives_of_every_label_in_every_split(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "code-15"
    folder.mkdir()
    exams = plan(200, seed)
    for part in {entry.part for entry in exams}:
        write_part(folder / f"exams_part{part}.hdf5", [e.exam_id for e in exams if e.part == part])
    given = {e.exam_id: {column: label in e.labels for label, (column, _) in LABELS.items()} for e in exams}
    write_table(
        folder,
        [exam(e.exam_id, e.part, patient_id=e.patient, age=e.age, is_male=e.male, **given[e.exam_id]) for e in exams],
    )
    metadata = DATASET.scan(folder, 400).table
    lengths = {str(e.exam_id): e.samples for e in exams}
    metadata["samples"] = metadata["record_id"].map(lengths)
    table = DATASET.label_table(metadata, folder, {**DATASET.thresholds, "folds": 5})
    long = (metadata["samples"] >= 4000).to_numpy()
    for split in ("train", "validation", "test"):
        rows = np.flatnonzero((table.split == split) & long)
        assert {label for row in rows for label in table.labels["label_all"][row]} == set(LABELS)


def test_every_awkward_case_ends_where_it_should(tmp_path: Path) -> None:
    raw = mock.write("code-15", tmp_path / "code-15", records=40, seed=5, awkward=True)
    found = prepare("code-15", raw, cache_dir=tmp_path / "cache", max_unreadable=0.5)
    ids = dict(zip(AWKWARD, (str(e.exam_id) for e in plan(40, 5)[-len(AWKWARD) :]), strict=True))
    report = found.report.set_index("record_id")
    status = {kind: report.loc[record, "status"] for kind, record in ids.items()}
    lost = {"no tracing", "damaged row", "damaged part"}
    assert {kind for kind, value in status.items() if value == "lost"} == lost
    assert {kind for kind, value in status.items() if value == "excluded"} == {"all-zero tracing"}
    assert "200 samples of signal" in report.loc[ids["interior flat stretch"], "reason"]
    assert report.loc[ids["odd padding"], "samples"] == 2936
    assert found.exclusions["no row in exams.csv (fold -1)"] == 1
    assert len(found.report) == 40
    assert not found.report["record_id"].duplicated().any()


@pytest.mark.heavy
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    trees = [
        mock.write("code-15", tmp_path / name, records=14, seed=seed, awkward=True)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    first, again, other = (
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(tree.iterdir())} for tree in trees
    )
    assert first == again
    assert first != other


def test_a_copied_tree_gives_the_same_fingerprint(tiny: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(tiny, copied)
    assert (
        prepare_tiny(tiny).fingerprint
        == prepare("code-15", copied, cache_dir=tmp_path / "c2", min_samples=10, folds=3).fingerprint
    )
