"""Ningbo, CPSC2018, CPSC-Extra and Georgia: published counts, and real records of each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_scripts.catalog import get
from dataset_scripts.codes import read_codes
from dataset_scripts.load import prepare
from dataset_scripts.published._challenge import PARTS, ChallengeDataset, first_rows
from dataset_scripts.reader import SignalReader
from ecg_hub.errors import DataError
from tests.support.wfdb_reader import wfdb

NAMES = ("ningbo", "cpsc2018", "cpsc-extra", "georgia")
PUBLISHED = {"ningbo": (34_905, 68), "cpsc2018": (6877, 9), "cpsc-extra": (3453, 33), "georgia": (10_344, 50)}
"""Records of release 1.0.3, and labels with ten or more of them."""


def part(name: str) -> ChallengeDataset:
    dataset = get(name)
    assert isinstance(dataset, ChallengeDataset)
    return dataset


@pytest.fixture(scope="module")
def expected(golden: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((golden / "labels/expected.json").read_text())
    return found


def folder_of(name: str) -> str:
    return name.replace("-", "_")


@pytest.mark.parametrize("name", NAMES)
def test_the_count_rule_keeps_the_published_number_of_labels(name: str) -> None:
    release = part(name).releases[0]
    counts = release.label_counts["label_all"]
    assert (release.records, release.label_numbers["label_all"]) == PUBLISHED[name]
    assert sum(count >= 10 for count in counts.values()) == PUBLISHED[name][1]


def test_single_counts_that_decide_a_label_or_join_two_codes() -> None:
    ningbo, extra, georgia = (
        part(n).releases[0].label_counts["label_all"] for n in ("ningbo", "cpsc-extra", "georgia")
    )
    assert (ningbo["AIVR"], ningbo["JPT"], ningbo["SPVB"]) == (14, 10, 9)
    assert ningbo["CLBBB"] == 35 + 213
    assert ningbo["ARH"] == 215
    assert "AFIB" not in ningbo
    assert (extra["ventricular fibrillation"], extra["sinoatrial block"]) == (10, 9)
    assert (georgia["r wave abnormal"], georgia["complete heart block"]) == (10, 8)
    assert set(part("cpsc2018").releases[0].label_counts["label_all"]) == {
        "1st degree av block", "atrial fibrillation", "left bundle branch block", "premature atrial contraction",
        "right bundle branch block", "sinus rhythm", "st depression", "st elevation", "ventricular ectopics",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_those_of_the_published_tables(name: str, expected: dict[str, Any]) -> None:
    release = part(name).releases[0]
    published = expected[folder_of(name)]
    assert dict(release.label_counts["label_all"]) == published["counts"]
    kept = sorted(label for label, count in release.label_counts["label_all"].items() if count >= 10)
    assert kept == sorted(published["labels"])
    assert len(kept) == published["n_labels"]


@pytest.mark.parametrize("name", NAMES)
def test_code_tables_are_whole(name: str) -> None:
    rows = read_codes(part(name).code_table)
    for row in rows:
        assert re.fullmatch(r"\d{6,14}", row["code"])
        assert row["name"] == row["name"].strip() != ""
        assert int(row["records"]) >= 0
    published = [row for row in first_rows(part(name).code_table) if int(row["records"])]
    assert all(row["abbreviation"] and row["meaning"] for row in published)
    assert len({row["abbreviation"] for row in published}) == len(published)
    repeated = [row["name"] for row in rows if row not in first_rows(part(name).code_table)]
    assert repeated == (["LVQRSCL", "LVQRSLL"] if name == "ningbo" else [])


@pytest.mark.parametrize("name", NAMES)
def test_records_and_sources_are_those_of_the_release(name: str) -> None:
    dataset = part(name)
    names = dataset.names
    assert names.last - names.first + 1 >= PUBLISHED[name][0]
    assert names.name(names.first) in names
    assert names.name(names.last) in names
    assert names.name(names.last + 1) not in names
    assert [(source.host, source.ref, source.files) for source in dataset.sources] == [
        ("physionet", "challenge-2021/1.0.3", (f"training/{dataset.part}",))
    ]
    owners = [
        title for title, other in PARTS.items() for number in (names.first, names.last) if names.name(number) in other
    ]
    assert owners == [dataset.title] * 2


@pytest.mark.parametrize("name", NAMES)
def test_real_records_have_the_expected_labels_and_exact_signals(name: str, shared: Path, tmp_path: Path) -> None:
    raw = shared / "data" / folder_of(name)
    found = prepare(name, raw, cache_dir=tmp_path, min_count=1, max_unreadable=0.0)
    listed = json.loads((shared / "data/labels_expected.json").read_text())["sample_records"][folder_of(name)]
    assert set(listed) == set(found.report["record_id"])
    assert list(found.report["record_id"]) == sorted(listed)
    assert set(found.report["reason"]) <= {""}
    for split in found.splits.values():
        reader = SignalReader(split)
        names = split.features["label_all"].feature.names
        for index, row in enumerate(split.remove_columns("signal")):
            record = wfdb.rdrecord(str(raw / row["record_id"]), physical=False)
            want = listed[row["record_id"]]
            assert [names[label] for label in row["label_all"]] == sorted(set(want["labels"]))
            assert row["dx"].split(",") == want["dx"]
            assert reader.lengths[index] == want["samples"] == record.sig_len
            assert want["kept_by_10s_rule"]
            assert (reader.raw(index) == record.d_signal).all()
            assert row["gain_uv"] == [1000.0 / gain for gain in record.adc_gain] == [1.0] * 12
            assert row["baseline"] == record.baseline
            notes = dict(comment.split(": ", 1) for comment in record.comments)
            assert row["age"] == (None if notes["Age"] == "NaN" else float(notes["Age"]))
            assert row["sex"] == notes["Sex"].lower()


def test_real_amplitudes_above_ten_millivolt_are_kept(shared: Path, tmp_path: Path) -> None:
    found = prepare("georgia", shared / "data/georgia", cache_dir=tmp_path, min_count=1)
    split = next(s for s in found.splits.values() if "E00006" in s["record_id"])
    window = SignalReader(split).window_mv(list(split["record_id"]).index("E00006"))
    want = wfdb.rdrecord(str(shared / "data/georgia/E00006")).p_signal
    np.testing.assert_allclose(window, want, rtol=0, atol=1e-6)
    assert 10.5 < np.abs(window).max() < 11.0


def test_headers_of_an_early_edition_are_read_with_a_remark(shared: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    data = shared / "data/georgia"
    for path in (*data.glob("E0000*.*"), *(data / "old_2020_headers").iterdir()):
        (raw / path.name).symlink_to(path)
    found = prepare("georgia", raw, cache_dir=tmp_path / "cache", min_count=1)
    rows = found.report.set_index("record_id")
    assert (rows["status"] == "ok").all()
    for record, states in (("E00015", True), ("E00271", False), ("E00793", True)):
        assert f"an early edition of the Challenge, names the record '{record}.mat'" in rows["reason"][record]
        assert ("a gain of 4880 units per mV; read as 1000" in rows["reason"][record]) is states
        with pytest.raises(Exception, match="invalid syntax in record line"):
            wfdb.rdrecord(str(raw / record))
    gains = {row["record_id"]: row["gain_uv"] for part in found.splits.values() for row in part}
    assert all((np.array(gain) == 1.0).all() for gain in gains.values())


def test_real_chapman_records_are_not_ningbo(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"\(Chapman-Shaoxing\), and none of Ningbo, which are named JS10647 to JS45551"
    ):
        prepare("ningbo", shared / "data/chapman/cinc2021_form", cache_dir=tmp_path)
