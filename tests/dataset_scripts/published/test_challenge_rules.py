"""The rules that the four parts of the Challenge 2021 share, on trees small enough to check by eye."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dataset_scripts.catalog import get
from dataset_scripts.core.folds import stratify
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.published._challenge import ChallengeDataset, list_records
from dataset_scripts.reader import SignalReader
from ecg_hub.errors import DataError
from ecg_hub.input.samples import MISSING
from tests.support.challenge_records import LEADS, ramp, write_challenge_record

SINUS, FIBRILLATION, DEPRESSION = "426783006", "164889003", "429622005"


def part(name: str) -> ChallengeDataset:
    dataset = get(name)
    assert isinstance(dataset, ChallengeDataset)
    return dataset


def run(name: str, folder: Path, **options: Any) -> Prepared:
    return prepare(
        name, folder, cache_dir=folder.parent / "cache", **{"min_count": 1, "max_unreadable": 0.9, **options}
    )


def lines_of(found: Prepared) -> dict[str, tuple[str, str]]:
    """Return record_id -> (status, reason)."""
    report = found.report
    return dict(zip(report["record_id"], zip(report["status"], report["reason"], strict=True), strict=True))


def rows_of(found: Prepared) -> dict[str, dict[str, Any]]:
    """Return record_id -> row of the splits, without the signal."""
    rows = {}
    for split in found.splits.values():
        for row in split.remove_columns(["signal", "gain_uv", "baseline"]):
            rows[row["record_id"]] = row
    return rows


@pytest.mark.parametrize(
    ("name", "dx", "labels", "remarks"),
    [
        ("ningbo", "426177001,164934002", ["SB", "TTW"], []),
        ("ningbo", "426177001,426177001", ["SB", "SB"], []),
        ("ningbo", "164909002,733534002", ["CLBBB", "CLBBB"], []),
        ("ningbo", "251146004", ["LQRSV"], []),
        ("ningbo", "106068003", ["ARH"], []),
        ("ningbo", "164890007,164889003", ["AF", "AFIB"], []),
        ("cpsc2018", "106068003", ["ARH"], []),
        ("cpsc2018", "164884008", ["ventricular ectopics"], []),
        ("georgia", "164884008,17338001", ["premature ventricular complexes", "ventricular ectopic beats"], []),
        ("cpsc-extra", "106068003", [], ["Dx code '106068003' is not in the code table"]),
        ("cpsc2018", "1,59118001", ["right bundle branch block"], ["Dx code '1' is not in the code table"]),
        ("cpsc2018", "", [], ["Dx is empty"]),
        ("cpsc2018", None, [], ["the header has no Dx line"]),
        ("cpsc2018", "59118001, 426783006", ["right bundle branch block"],
         ["Dx '426783006' follows a blank and is not read"]),
        ("cpsc2018", "59118001,,426783006", ["right bundle branch block", "sinus rhythm"],
         ["Dx code '' is not in the code table"]),
    ],
)  # fmt: skip
def test_codes_become_labels(name: str, dx: str | None, labels: list[str], remarks: list[str]) -> None:
    assert part(name).labels_of(dx) == (labels, remarks)


def test_titles_spell_abbreviations_out() -> None:
    ningbo = part("ningbo")
    assert ningbo.label_title("label_all", "AF") == "atrial flutter"
    assert ningbo.label_title("label_all", "CLBBB") == "left bundle branch block or complete left bundle branch block"
    assert ningbo.label_title("label_all", "nothing") == "nothing"
    assert part("georgia").label_title("label_all", "premature ventricular complexes") == (
        "premature ventricular complexes"
    )


def test_both_spellings_of_a_header_are_read(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_challenge_record(raw, "A0001", FIBRILLATION, age="74")
    new: dict[str, Any] = {"mark": "# ", "form": "16x1+24", "gain": "1000.0(0)/mv", "record_line": "A0002 12 500 5000"}
    write_challenge_record(raw, "A0002", f"{FIBRILLATION},{SINUS}", age="NaN", sex="F", **new)
    write_challenge_record(raw, "A0003", None, age="300", sex="Unknown", values=ramp(5001))
    write_challenge_record(raw, "A0004", age="", sex="other")
    found = run("cpsc2018", raw)
    rows = rows_of(found)
    assert [rows[name]["age"] for name in sorted(rows)] == [74.0, None, None, None]
    assert [rows[name]["sex"] for name in sorted(rows)] == ["male", "female", None, None]
    assert [rows[name]["dx"] for name in sorted(rows)] == [FIBRILLATION, f"{FIBRILLATION},{SINUS}", None, SINUS]
    assert {row["patient_id"] for row in rows.values()} == {None}
    assert lines_of(found)["A0001"] == lines_of(found)["A0002"] == ("ok", "")
    assert lines_of(found)["A0003"] == ("ok", "age '300' is not within 0 to 120 years; the header has no Dx line")
    assert lines_of(found)["A0004"] == ("ok", "sex 'other' is neither male nor female")
    for split in found.splits.values():
        reader = SignalReader(split)
        for index, name in enumerate(split["record_id"]):
            assert (reader.raw(index) == ramp(5001 if name == "A0003" else 5000)).all()
        assert (np.array(split["gain_uv"]) == 1.0).all()
        assert (np.array(split["baseline"]) == 0).all()


@pytest.mark.parametrize("place", ["{}", "g{}", "training/ningbo/g{}", "ningbo/g{}", "training/ningbo"])
def test_every_layout_is_found_and_sorted_by_name(tmp_path: Path, place: str) -> None:
    raw = tmp_path / "raw"
    for group, number in enumerate((45_551, 10_647, 20_000, 10_648), start=1):
        folder = raw / ("." if place == "{}" else place.format(group))
        write_challenge_record(folder, f"JS{number}", values=ramp(20))
    (raw / "old" / "g1").mkdir(parents=True)
    shutil.copy(next(raw.rglob("JS20000.hea")), raw / "old" / "g1" / "JS30000.hea")
    scan = part("ningbo").scan(part("ningbo").check_folder(raw, 500), 500)
    assert list(scan.table["record_id"]) == ["JS10647", "JS10648", "JS20000", "JS45551"]
    assert all((raw / file).is_file() for file in scan.table["file"])
    assert not scan.lost
    assert not scan.excluded
    found = run("ningbo", raw)
    assert sorted(rows_of(found)) == list(scan.table["record_id"])
    assert list(found.report["record_id"]) == list(scan.table["record_id"])


def test_layouts_give_one_content(tmp_path: Path) -> None:
    for place in ("a/.", "b/g1", "c/training/cpsc_2018/g7"):
        for number in range(1, 7):
            write_challenge_record(tmp_path / place, f"A000{number}", (SINUS, DEPRESSION)[number % 2])
    prints = {run("cpsc2018", tmp_path / top).fingerprint for top in "abc"}
    assert len(prints) == 1


def test_a_folder_without_records_is_told_where_they_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "WFDB").mkdir()
    write_challenge_record(tmp_path / "WFDB", "E00001")
    with pytest.raises(
        DataError, match=r"no \.hea file lies there, in g1, g2, \.\.\. below it, or in training/georgia"
    ):
        run("georgia", tmp_path)
    with pytest.raises(DataError, match=r"does not exist.*physionet\.org/content/challenge-2021/1\.0\.3"):
        run("georgia", tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "record", "owner"),
    [
        ("ningbo", "JS10646", "Chapman-Shaoxing"),
        ("cpsc2018", "Q0001", "CPSC-Extra"),
        ("cpsc-extra", "A6877", "CPSC2018"),
        ("georgia", "JS10647", "Ningbo"),
        ("georgia", "HR00001", "PTB-XL"),
    ],
)
def test_the_records_of_another_part_are_refused(tmp_path: Path, name: str, record: str, owner: str) -> None:
    write_challenge_record(tmp_path / "raw", record)
    with pytest.raises(DataError) as caught:
        run(name, tmp_path / "raw")
    dataset = part(name)
    assert f"holds 1 records, {record} to {record} ({owner}), and none of {dataset.title}" in str(caught.value)
    assert f"named {dataset.names}. Get {dataset.title} from {dataset.page} (training/{dataset.part})" in str(
        caught.value
    )
    assert not (tmp_path / "cache").exists()


def test_records_of_another_part_in_between_are_left_out_and_counted(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in ("JS00001", "JS10646", "JS10647", "JS45551", "JS45552", "JS010648", "xJS10650", "._JS10650"):
        write_challenge_record(raw, name, values=ramp(20))
    found = run("ningbo", raw, max_unreadable=0.0)
    assert sorted(rows_of(found)) == ["JS10647", "JS45551"]
    assert found.exclusions == {"not a record of Ningbo (JS10647 to JS45551)": 5}


def test_what_cannot_be_read_is_lost_with_file_and_reason(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number in range(1, 9):
        write_challenge_record(raw / "g1", f"E0000{number}")
    write_challenge_record(raw / "g2", "E00001", FIBRILLATION)
    (raw / "g1/E00002.mat").unlink()
    (raw / "g1/E00003.hea").unlink()
    (raw / "g1/E00004.mat").write_bytes((raw / "g1/E00004.mat").read_bytes()[:60_000])
    write_challenge_record(raw / "g1", "E00005", record_line="E00005.mat 12 500 5000 05-May-2020 14:50:55")
    (raw / "g1/E00006.hea").write_text("")
    write_challenge_record(raw / "g1", "E00007", rate=257)
    found = run("georgia", raw)
    assert sorted(rows_of(found)) == ["E00001", "E00005", "E00008"]
    lost = found.report[found.report["status"] == "lost"].set_index("file")["reason"]
    assert lost["g1/E00002.hea"] == "E00002.mat is missing"
    assert lost["g1/E00003.mat"] == "E00003.hea is missing"
    assert lost["g1/E00004.hea"] == "E00004.mat holds 59976 bytes of signal, its header announces 120000"
    read = found.report[found.report["status"] == "ok"].set_index("file")["reason"]
    assert "of an early edition of the Challenge, names the record 'E00005.mat'" in read["g1/E00005.hea"]
    assert "is not a WFDB header" in lost["g1/E00006.hea"]
    assert lost["g1/E00007.hea"] == "the record is sampled at 257 Hz, not 500 Hz"
    assert lost["g2/E00001.hea"] == "the record occurs a second time, the first is g1/E00001.hea"
    assert len(lost) == 6
    with pytest.raises(DataError, match=r"6 of 9 records \(66\.7%\) cannot be read"):
        run("georgia", raw, max_unreadable=0.01)


def test_a_missing_sample_leaves_the_record_out_before_counting_but_a_missing_lead_does_not(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number in range(1, 5):
        write_challenge_record(raw, f"A000{number}")
    holed = ramp()
    holed[777, 4] = MISSING
    write_challenge_record(raw, "A0005", DEPRESSION, values=holed)
    write_challenge_record(raw, "A0006", FIBRILLATION, leads=LEADS[:11])
    both = ramp(leads=11)
    both[-1, 0] = MISSING
    write_challenge_record(raw, "A0007", DEPRESSION, leads=LEADS[:11], values=both)
    found = run("cpsc2018", raw, max_unreadable=0.0)
    assert found.exclusions == {"holds missing samples (NaN)": 2}
    assert lines_of(found)["A0005"] == lines_of(found)["A0007"] == ("excluded", "holds missing samples (NaN)")
    assert lines_of(found)["A0006"] == ("ok", "no lead V6")
    assert found.labels["label_all"] == ["atrial fibrillation", "sinus rhythm"]


def table(name: str, dx: list[str | None], samples: list[int], **thresholds: Any) -> Any:
    """Return the label table of records that are known by codes and lengths alone."""
    dataset = part(name)
    metadata = pd.DataFrame({"dx": pd.Series(dx, dtype=object), "samples": samples})
    return dataset.label_table(metadata, Path(), {**dataset.thresholds, **thresholds})


def test_folds_come_from_unfiltered_labels_of_all_records_in_order() -> None:
    dx = [SINUS] * 23 + [f"{FIBRILLATION},{DEPRESSION}"] * 11 + [DEPRESSION, "", None, "999"]
    found = table("cpsc2018", dx, [5000] * len(dx))
    lists = [part("cpsc2018").labels_of(cell)[0] for cell in dx]
    assert found.labels == {"label_all": lists}
    assert (found.fold == stratify(lists, 10, seed=0)).all()
    assert (found.fold[-3:] == -1).all()
    assert list(found.split[-3:]) == ["train"] * 3
    assert (found.split == "test").sum() == (found.fold == 9).sum() > 0
    assert (found.split == "validation").sum() == (found.fold == 8).sum() > 0


def test_short_records_count_and_take_a_fold_but_stand_in_no_split(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number in range(1, 21):
        dx = DEPRESSION if number == 20 else SINUS
        write_challenge_record(raw, f"Q00{number:02d}", dx, values=ramp(4999 if number == 20 else 5000))
    found = run("cpsc-extra", raw)
    assert found.exclusions == {"shorter than 10 s": 1}
    assert found.labels["label_all"] == ["sinus rhythm", "st depression"]
    assert sorted(rows_of(found)) == [f"Q00{number:02d}" for number in range(1, 20)]
    assert "Q0020" not in rows_of(run("cpsc-extra", raw, min_samples=5000))
    assert "Q0020" in rows_of(run("cpsc-extra", raw, min_samples=0))


def test_the_last_fold_is_that_of_the_rows_the_length_rule_leaves() -> None:
    dx: list[str | None] = [SINUS] * 30
    plain = table("cpsc2018", dx, [5000] * 30)
    samples = np.where(plain.fold == 9, 4999, 5000).tolist()
    found = table("cpsc2018", dx, samples)
    assert (found.fold == plain.fold).all()
    assert set(found.fold[found.split == "test"]) == {8}
    assert set(found.fold[found.split == "validation"]) == {7}
    assert found.exclusions[0].counted
    assert (found.exclusions[0].rows == (plain.fold == 9)).all()


def test_ningbo_has_no_length_rule() -> None:
    assert "min_samples" not in part("ningbo").thresholds
    assert table("ningbo", [SINUS] * 12, [20] * 12).exclusions == []


def test_nothing_labelled_is_all_train() -> None:
    found = table("georgia", ["", None], [2500, 5000])
    assert list(found.fold) == [-1, -1]
    assert list(found.split) == ["train", "train"]


def test_listing_opens_no_file(tmp_path: Path) -> None:
    for group in range(2):
        (tmp_path / f"g{group}").mkdir()
        for number in range(200):
            for suffix in (".hea", ".mat"):
                (tmp_path / f"g{group}" / f"E{200 * group + number + 1:05d}{suffix}").touch()
    found = list_records(tmp_path, "georgia")
    assert len(found) == 400
    assert all(item.whole for item in found)
    assert len(part("georgia").scan(tmp_path, 500)) == 400
