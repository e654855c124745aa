"""An own archive from files and table to splits: matching, damaged rows, folds, labels, targets, rates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dataset_scripts.core.labels import label_matrix
from dataset_scripts.core.spec import SPLITS
from dataset_scripts.custom import open_custom, record_readers
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.reader import SignalReader
from ecg_hub.errors import DataError, InputError
from tests.support.own_files import integers, muse_text, write_description, write_edf, write_signal

Make = Callable[..., Path]
RECORDS = 20


@pytest.fixture
def archive(tmp_path: Path) -> Make:
    """Write an archive of short EDF files in a folder of its own and return its description."""

    def make(
        rows: pd.DataFrame | None = None, form: str = "edf", rates: dict[int, int] | None = None, **more: Any
    ) -> Path:
        (tmp_path / "ecg").mkdir()
        for k in range(RECORDS):
            write_signal(tmp_path / "ecg" / f"r{k:02d}", form, integers(500, seed=k), (rates or {}).get(k, 250))
        (plain() if rows is None else rows).to_csv(tmp_path / "ecgs.csv", index=False)
        return write_description(tmp_path / "my_hospital.yaml", **{"min_count": 1, **more})

    return make


def plain(**columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"id": [f"r{k:02d}" for k in range(RECORDS)]})
    frame["person"] = [f"p{k // 2}" for k in range(RECORDS)]
    frame["diagnoses"] = [("AF", "AF; LBBB", "", "LBBB")[k % 4] for k in range(RECORDS)]
    frame["rate"] = np.arange(RECORDS) * 2.0
    frame["years"] = 40 + np.arange(RECORDS)
    frame["gender"] = ["m", "F"] * (RECORDS // 2)
    return frame.assign(**columns)


def load(path: Path, **options: Any) -> Prepared:
    return prepare(path, cache_dir=path.parent / "cache", **options)


def columns(**changes: Any) -> dict[str, Any]:
    found = {"record": "id", "patient": "person", "labels": "diagnoses", **changes}
    return {name: value for name, value in found.items() if value is not None}


def everything(prepared: Prepared, column: str) -> dict[str, Any]:
    return {
        record: value
        for part in prepared.splits.values()
        for record, value in zip(part["record_id"], part[column], strict=True)
    }


@pytest.mark.parametrize("form", ["edf", "dicom", "wfdb", "csv", "parquet"])
def test_a_whole_archive_of_every_format(form: str, archive: Make) -> None:
    bare = {"sampling_rate": 250, "unit": "uV"} if form in ("csv", "parquet") else {}
    found = load(archive(form=form, **bare))
    assert found.sampling_rate == 250
    assert (found.report["status"] == "ok").all()
    assert sum(map(len, found.splits.values())) == RECORDS
    assert found.labels == {"label_all": ["AF", "LBBB"]}
    assert found.targets == ("rate",)
    for part in found.splits.values():
        reader = SignalReader(part)
        for row, record in enumerate(part["record_id"]):
            scale = 10_000 if form == "edf" else 1000
            expected = integers(500, seed=int(record[1:])) / scale
            assert np.allclose(reader.window_mv(row), expected, atol=1e-6)


def test_labels_folds_and_metadata(archive: Make) -> None:
    found = load(archive())
    labels = everything(found, "label_all")
    assert labels["r00"] == [0]
    assert labels["r01"] == [0, 1]
    assert labels["r02"] == []
    assert everything(found, "age")["r05"] == 45
    assert everything(found, "sex") == {f"r{k:02d}": ("male", "female")[k % 2] for k in range(RECORDS)}
    people = [set(part["patient_id"]) for part in found.splits.values()]
    assert sum(map(len, people)) == len(set().union(*people)) == RECORDS // 2
    assert all(len(part) for part in found.splits.values())
    assert set(everything(found, "fold").values()) <= set(range(5))


def test_targets_are_z_scored_on_the_training_records(archive: Make) -> None:
    table = plain()
    table["rate"] = table["rate"].astype(object)
    table.loc[3, "rate"] = ""
    found = load(archive(table))
    train = np.array(found.splits["train"]["targets"], dtype=np.float64)
    assert np.nanmean(train) == pytest.approx(0, abs=1e-6)
    assert np.nanstd(train) == pytest.approx(1, abs=1e-6)
    values = everything(found, "targets")
    assert np.isnan(values["r03"][0])
    step = values["r11"][0] - values["r10"][0]
    assert values["r15"][0] - values["r10"][0] == pytest.approx(5 * step, rel=1e-5)
    deviation, unit = found.target_scales["rate"]
    assert (step * deviation, unit) == (pytest.approx(2.0, rel=1e-5), "as in the table")
    back = found.target_means["rate"] + deviation * values["r10"][0]
    assert back == pytest.approx(float(table.set_index("id")["rate"]["r10"]), rel=1e-5)


def test_columns_of_zero_and_one(archive: Make) -> None:
    table = plain(af=[1, 0] * 10, lbbb=[0.0, 1.0] * 10, MI=[True, False] * 10)
    found = load(archive(table, columns=columns(labels={"af": "AF", "lbbb": "LBBB", "MI": "infarction"})))
    assert found.labels["label_all"] == ["AF", "LBBB", "infarction"]
    sums = sum(label_matrix(part, "label_all").sum(axis=0) for part in found.splits.values())
    assert sums.tolist() == [10, 10, 10]
    assert found.dataset.labels == ("AF", "LBBB", "infarction")  # type: ignore[attr-defined]


def test_a_split_column(archive: Make) -> None:
    words = ["train"] * 12 + ["val"] * 4 + ["Test"] * 3 + [""]
    found = load(archive(plain(part=words, person=range(RECORDS)), columns=columns(split="part"), folds=None))
    assert [len(found.splits[name]) for name in SPLITS] == [12, 4, 3]
    assert found.exclusions == {"no fold in the table": 1}


def test_a_fold_column(archive: Make) -> None:
    folds = [1, 2, 3, 4] * 5
    found = load(archive(plain(fold=folds, person=range(RECORDS)), columns=columns(fold="fold"), folds=None))
    assert [len(found.splits[name]) for name in SPLITS] == [10, 5, 5]
    assert set(found.splits["test"]["fold"]) == {4}


def test_folds_with_a_gap_still_have_a_validation_set(archive: Make) -> None:
    folds = [1, 2, 4, 7] * 5
    found = load(archive(plain(fold=folds, person=range(RECORDS)), columns=columns(fold="fold"), folds=None))
    assert {name: set(part["fold"]) for name, part in found.splits.items()} == {
        "train": {1, 2},
        "validation": {4},
        "test": {7},
    }


def test_patients_in_several_splits_are_refused(archive: Make) -> None:
    path = archive(plain(fold=[1, 2, 3, 4] * 5), columns=columns(fold="fold"), folds=None)
    with pytest.raises(
        DataError,
        match=r"5 patients have records in several splits \(records 'r02' and 'r03'; records 'r06' and 'r07';",
    ):
        load(path)


def test_damaged_rows_are_lost_with_line_and_reason(archive: Make) -> None:
    table = plain().astype(object)
    table.loc[1, "rate"] = "fast"
    table.loc[2, "years"] = 300
    table.loc[3, "id"] = "r00"
    table.loc[4, "id"] = "elsewhere"
    table.loc[5, "id"] = ""
    path = archive(table)
    with pytest.raises(
        DataError, match=r"4 of 20 records .* r01 \(ecgs\.csv\): line 3: column 'rate' holds text of 4 "
    ):
        load(path)
    found = load(path, max_unreadable=0.3)
    lost = found.report[found.report["status"] == "lost"].set_index("record_id")["reason"]
    kept = found.report[found.report["status"] == "ok"].set_index("record_id")["reason"]
    assert kept["r02"] == "the age 300 is not within 0 to 130 years and counts as unknown"
    assert "line 5: record 'r00' occurs a second time" in lost["r00"]
    assert "line 6: no signal file named 'elsewhere' below 'ecg'" in lost["elsewhere"]
    assert "line 7: column 'id' (record) is empty" in lost["line 7"]
    assert found.exclusions["not in the table"] == 4


def test_a_patient_spelled_in_two_ways_has_one_name_whatever_the_order_of_the_rows(archive: Make) -> None:
    people = [(f"P{k // 2:02d}", f"p{k // 2:02d}")[k % 2] for k in range(RECORDS)]
    rows = plain(person=people)
    path = archive(rows, columns=columns())
    names = everything(load(path), "patient_id")
    assert set(names.values()) == {f"P{k:02d}" for k in range(RECORDS // 2)}
    rows.iloc[::-1].to_csv(path.parent / "ecgs.csv", index=False)
    again = load(path)
    assert everything(again, "patient_id") == names


def test_a_row_of_the_wrong_length(archive: Make) -> None:
    path = archive()
    table = path.parent / "ecgs.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:5], lines[5] + ",more", *lines[6:]]) + "\n")
    found = load(path, max_unreadable=0.1)
    assert found.report.set_index("record_id")["reason"]["line 6"] == "line 6: 7 cells in a table of 6 columns"


def test_damaged_files_are_lost_with_a_reason(archive: Make) -> None:
    path = archive()
    (path.parent / "ecg" / "r03.edf").write_bytes(b"0       nothing")
    found = load(path, max_unreadable=0.1)
    reason = found.report.set_index("record_id")["reason"]["r03"]
    assert "r03.edf cannot be read as edf" in reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"columns": {"record": "persn"}},
            r"lacks the column 'persn'\. Did you mean 'person'.* It has: 'id', 'person'",
        ),
        (
            {"columns": {"record": "id", "sex": "diagnoses"}},
            r"column 'diagnoses' holds 'AF', .*sex_values: \{'AF': null\}",
        ),
        (
            {"columns": {"record": "id", "split": "gender"}, "folds": None},
            "F is none of train, training, validation, val, valid, test, testing",
        ),
        (
            {"columns": {"record": "id", "labels": ["rate"]}},
            r"19 of 20 records .* column 'rate' holds '2\.0'; 0 or 1 is expected",
        ),
        ({"table": "ecgs.doc", "columns": {"record": "id"}}, r"lacks 'ecgs\.doc'"),
        ({"signals": "egc"}, r"lacks 'egc'.*Correct `folder`, `signals` or `table`"),
        ({"signals": "ecg/*.dcm"}, r"holds no signal file \('ecg/\*\.dcm'\)"),
        ({"format": "dicom"}, r"holds no signal file \(\.dcm, \.dicom below 'ecg'\)"),
        ({"folder": "nowhere"}, r"data folder '.*nowhere' of 'my-hospital', .* does not exist"),
    ],
)
def test_what_does_not_fit_together(changes: dict[str, Any], message: str, archive: Make) -> None:
    with pytest.raises(DataError, match=message):
        load(archive(**changes))


def test_an_empty_table_and_an_empty_folder(archive: Make) -> None:
    path = archive(plain().iloc[:0])
    with pytest.raises(DataError, match="has no rows"):
        load(path)
    for file in (path.parent / "ecg").iterdir():
        file.unlink()
    plain().to_csv(path.parent / "ecgs.csv", index=False)
    with pytest.raises(DataError, match=r"holds no signal file \(\.hea, \.edf"):
        load(path)


def test_records_of_another_rate_are_lost_and_the_way_out_works(archive: Make) -> None:
    path = archive(rates={3: 500, 7: 500})
    with pytest.raises(DataError, match=r"2 of 20 .*sampled at 500 Hz, not 250 Hz: give such records a table"):
        load(path)
    assert load(path, max_unreadable=0.1).sampling_rate == 250
    plain().iloc[[3, 7]].to_csv(path.parent / "fast.csv", index=False)
    other = write_description(path.parent / "b.yaml", name="fast", table="fast.csv", sampling_rate=500, min_count=1)
    found = load(other)
    assert found.sampling_rate == 500
    assert set(everything(found, "record_id")) == {"r03", "r07"}


def test_the_file_column(archive: Make) -> None:
    names = [f"sub/r{k:02d}.edf" for k in range(RECORDS)]
    names[2], names[3] = "../secret.edf", "/etc/passwd"
    path = archive(plain(path=names, id=range(RECORDS)), columns=columns(file="path"))
    (path.parent / "ecg" / "sub").mkdir()
    for file in (path.parent / "ecg").glob("*.edf"):
        file.rename(path.parent / "ecg" / "sub" / file.name)
    found = load(path, max_unreadable=0.2)
    assert (found.report["status"] == "ok").sum() == RECORDS - 2
    reasons = found.report.set_index("record_id")["reason"]
    assert "is not a path below 'ecg'" in reasons["2"]
    assert "is not a path below 'ecg'" in reasons["3"]


def test_wfdb_files_in_a_column_need_no_ending(archive: Make) -> None:
    names = [f"r{k:02d}" + ("", ".dat", ".hea")[k % 3] for k in range(RECORDS)]
    found = load(archive(plain(path=names), form="wfdb", columns=columns(file="path")))
    assert (found.report["status"] == "ok").all()


@pytest.mark.heavy
def test_names_that_fit_several_files(archive: Make) -> None:
    path = archive()
    (path.parent / "ecg" / "2024").mkdir()
    write_edf(path.parent / "ecg" / "2024" / "r05.edf", integers(500), 250)
    write_edf(path.parent / "ecg" / "2024" / "x.edf", integers(500), 250)
    table = plain()
    table.loc[6, "id"] = "2024/x"
    table.loc[7, "id"] = "x"
    table.to_csv(path.parent / "ecgs.csv", index=False)
    found = load(path, max_unreadable=0.2)
    reasons = found.report.set_index("record_id")["reason"]
    assert reasons["2024/x"] == ""
    assert "belongs to record '2024/x' already" in reasons["x"]
    assert reasons["r05"] == ""  # the path below the folder is exact, the bare name in a sub-folder is not
    table.loc[5, "id"] = "2024/r05"
    table.to_csv(path.parent / "ecgs.csv", index=False)
    assert load(path, max_unreadable=0.2).report.set_index("record_id")["reason"]["2024/r05"] == ""


def test_a_bare_name_in_two_folders_is_ambiguous(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "ecg" / folder).mkdir(parents=True)
        for name in ("one", "two" + folder):
            write_edf(tmp_path / "ecg" / folder / f"{name}.edf", integers(500), 250)
    (tmp_path / "ecgs.csv").write_text("id\none\ntwoa\ntwob\n")
    path = write_description(tmp_path / "a.yaml", columns={"record": "id"}, folds=None)
    report = load(path, max_unreadable=0.5).report.set_index("record_id")
    assert "several signal files are named 'one': ecg/a/one.edf, ecg/b/one.edf" in report["reason"]["one"]
    assert report["status"]["twob"] == "ok"


@pytest.mark.parametrize("kind", ["xlsx", "parquet", "semicolon"])
def test_other_tables(kind: str, archive: Make) -> None:
    path = archive(plain().assign(person=[k // 2 for k in range(RECORDS)]))
    expected = everything(load(path), "patient_id")
    table = pd.read_csv(path.parent / "ecgs.csv")
    table["diagnoses"] = table["diagnoses"].fillna("")
    name = "ecgs.csv" if kind == "semicolon" else f"ecgs.{kind}"
    if kind == "xlsx":
        table.to_excel(path.parent / name, index=False)
    elif kind == "parquet":
        table["diagnoses"] = [[part.strip() for part in cell.split(";") if part] for cell in table["diagnoses"]]
        table.to_parquet(path.parent / name)
    else:
        table.to_csv(path.parent / name, index=False, sep="\t")
    found = load(write_description(path, table=name, min_count=1))
    assert everything(found, "patient_id") == expected
    assert everything(found, "label_all")["r01"] == [0, 1]
    assert set(expected.values()) == {str(k) for k in range(10)}


def test_without_a_table_every_file_is_a_record(archive: Make) -> None:
    path = archive()
    bare = write_description(path, table=None, columns=None, folds=None, min_count=None)
    (path.parent / "ecg" / "sub").mkdir()
    (path.parent / "ecg" / "sub" / "muse.xml").write_text(muse_text(integers(500, 8), 250))
    found = load(bare)
    assert set(everything(found, "record_id")) == {*(f"r{k:02d}" for k in range(RECORDS)), "sub/muse"}
    assert found.labels == {}
    assert "label_all" not in found.splits["train"].features
    assert set(everything(found, "patient_id").values()) == {None}


@pytest.mark.heavy
def test_dicom_files_without_ending_by_a_pattern(archive: Make) -> None:
    path = archive(form="dicom", format="dicom", signals="ecg/**/*", table=None, columns=None)
    for k, file in enumerate(sorted((path.parent / "ecg").iterdir())):
        (path.parent / "ecg" / f"study{k % 2}").mkdir(exist_ok=True)
        file.rename(path.parent / "ecg" / f"study{k % 2}" / f"IM{k:04d}")
    found = load(path)
    assert (found.report["status"] == "ok").all()
    assert sorted(everything(found, "record_id"))[0] == "study0/IM0000"
    assert len(found.report) == RECORDS


def test_short_records_stay_out_of_the_splits(archive: Make) -> None:
    path = archive(min_seconds=2.5)
    write_edf(path.parent / "ecg" / "r04.edf", integers(500), 250)
    found = load(path)
    assert found.exclusions == {"shorter than 2.5 s": RECORDS}
    assert load(path, min_seconds=2).exclusions == {}
    assert load(path, min_seconds=2).deviations == {"min_seconds": 2}


@pytest.mark.heavy
def test_a_change_of_unit_writes_a_new_store(archive: Make) -> None:
    path = archive(form="csv", sampling_rate=250, unit="uV")
    first = load(path)
    again = load(write_description(path, min_count=3, sampling_rate=250, unit="uV"))
    other = load(write_description(path, min_count=1, sampling_rate=250, unit="2 uV"))
    assert again.store == first.store
    assert other.store != first.store
    assert np.allclose(
        SignalReader(other.splits["train"]).window_mv(0), 2 * SignalReader(first.splits["train"]).window_mv(0)
    )


def test_microvolts_described_as_millivolts_are_refused_with_the_way_out(archive: Make) -> None:
    path = archive(form="csv", sampling_rate=250, unit="mV")
    with pytest.raises(DataError, match=rf"none of {RECORDS} records can be read") as caught:
        load(path)
    text = str(caught.value)
    assert "r00.csv: Its leads span 5,9" in text
    assert "The unit is given as mV; say unit: uV if the samples are in microvolts" in text
    with pytest.raises(DataError, match="say unit: uV"):
        next(iter(record_readers(path)))[1]()
    assert len(load(write_description(path, min_count=1, sampling_rate=250, unit="uV")).report) == RECORDS


def test_millivolts_described_as_microvolts_have_a_remark(archive: Make) -> None:
    path = archive(form="csv", sampling_rate=250, unit="uV")
    small = pd.read_csv(path.parent / "ecg" / "r04.csv") / 1000
    small.to_csv(path.parent / "ecg" / "r04.csv", index=False)
    reasons = load(path).report.set_index("record_id")["reason"]
    assert list(reasons[reasons.str.contains("the unit may be wrong")].index) == ["r04"]


def test_files_are_read_in_parallel(archive: Make) -> None:
    path = archive()
    assert load(path, num_proc=2).fingerprint == prepare(path, cache_dir=path.parent / "other").fingerprint


def test_record_readers_need_neither_labels_nor_one_rate(archive: Make) -> None:
    table = plain()
    table.loc[0, "id"] = "absent"
    path = archive(table, rates={3: 500})
    readers = dict(record_readers(path))
    assert readers["r03"]().sampling_rate == 500
    assert readers["r04"]().sampling_rate == 250
    with pytest.raises(DataError, match="no signal file named 'absent'"):
        readers["absent"]()


def test_the_name_of_a_published_dataset_is_refused(archive: Make) -> None:
    with pytest.raises(InputError, match="'ptb-xl' is a published dataset"):
        load(archive(name="ptb-xl"))


def test_opening_reads_the_description_only(tmp_path: Path) -> None:
    own = open_custom(write_description(tmp_path / "a.yaml", folder="/nowhere"))
    assert own.sampling_rates == ()
    assert own.label_columns == ("label_all",)
