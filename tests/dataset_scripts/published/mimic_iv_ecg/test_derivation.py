"""The whole derivation against a second one, whatever memory, threads and interruptions; and damaged tables."""

from __future__ import annotations

import csv
import gzip
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dataset_scripts import mock
from dataset_scripts.core.report import read_steps, steps_text
from dataset_scripts.published.mimic_iv_ecg import derive as derivation
from dataset_scripts.published.mimic_iv_ecg import sources
from dataset_scripts.published.mimic_iv_ecg.derive import Derived, derive
from dataset_scripts.published.mimic_iv_ecg.engine import Settings
from dataset_scripts.published.mimic_iv_ecg.names import (
    BIOMETRICS,
    ECG_FEATURES,
    EVENTS,
    LAB_VALUES,
    MEASURED,
    VITAL_SIGNS,
)
from ecg_hub.errors import DataError, InputError
from tests.support.mimic_reference import reference
from tests.support.mimic_tables import SMALL, Tree, ecg

LIMITS = {"min_icd_count": 3, "min_chart_count": 12}
RECORDS = 120


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mock.write("mimic-iv-ecg", tmp_path_factory.mktemp("mimic") / "raw", records=RECORDS, seed=7)


@pytest.fixture(scope="module")
def derived(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Derived:
    return derive(raw, tmp_path_factory.mktemp("work"), **LIMITS, settings=SMALL)


def frame(derived: Derived) -> pd.DataFrame:
    return pq.read_table(derived.path).to_pandas().set_index("study_id")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.heavy) for seed in (1, 2))])
def test_it_equals_a_literal_derivation_in_pandas(seed: int, tmp_path: Path) -> None:
    raw = mock.write("mimic-iv-ecg", tmp_path / "raw", records=RECORDS, seed=seed)
    found = derive(raw, tmp_path / "work", **LIMITS, settings=SMALL)
    expected, codes = reference(raw, **LIMITS)
    ours = frame(found)
    assert {code for code, _ in found.codes} == set(codes)
    assert ours.index.tolist() == expected.index.tolist()
    assert [set(labels) for labels in ours["labels"]] == expected["labels"].tolist()
    for name in (*EVENTS, "sex", *(f"measured {name}" for name in MEASURED), *MEASURED):
        np.testing.assert_allclose(ours[name], expected[name].astype(float), rtol=0, atol=1e-9, err_msg=name)
    known = ours[list(MEASURED)].notna().sum()
    assert (known > 20).all(), "the comparison would be empty"
    assert ours["strat_fold"].tolist() == expected["strat_fold"].tolist()


@pytest.mark.heavy
@pytest.mark.parametrize("settings", [Settings("200MB", 2, quiet=True), Settings("48MB", 1, quiet=True)])
def test_neither_threads_nor_memory_change_anything(
    settings: Settings, raw: Path, derived: Derived, tmp_path: Path
) -> None:
    again = derive(raw, tmp_path, **LIMITS, settings=settings)
    pd.testing.assert_frame_equal(frame(again), frame(derived), check_exact=True)
    assert again.fingerprint == derived.fingerprint
    assert again.steps == derived.steps


@pytest.mark.heavy
def test_plain_tables_in_one_folder_give_the_same_as_compressed_ones(
    raw: Path, derived: Derived, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for spec, path in sources.find_tables(raw).items():
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (tmp_path / "data" / spec.stem).write_bytes(content)
    again = derive(tmp_path, tmp_path / "work", **LIMITS, settings=Settings("200MB", 2, quiet=True))
    pd.testing.assert_frame_equal(frame(again), frame(derived), check_exact=True)


@pytest.mark.heavy
def test_an_interrupted_derivation_continues_where_it_stopped(
    raw: Path, derived: Derived, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(derivation, "vital_signs", stop)
        with pytest.raises(KeyboardInterrupt):
            derive(raw, tmp_path, **LIMITS, settings=SMALL)
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}
    assert len(done) == 8
    again = derive(raw, tmp_path, **LIMITS, settings=SMALL)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    pd.testing.assert_frame_equal(frame(again), frame(derived), check_exact=True)


def test_a_step_killed_while_writing_leaves_nothing_that_is_taken_for_done(
    raw: Path, derived: Derived, tmp_path: Path
) -> None:
    shutil.copytree(derived.path.parent, tmp_path, dirs_exist_ok=True)
    (omr,) = tmp_path.glob("omr-*.parquet")
    omr.write_bytes(omr.read_bytes()[:100])  # cut off
    (vitals,) = tmp_path.glob("vitalsign-*.json")
    vitals.unlink()  # the marker was not yet written
    again = derive(raw, tmp_path, **LIMITS, settings=SMALL)
    pd.testing.assert_frame_equal(frame(again), frame(derived), check_exact=True)


def test_a_second_call_does_nothing(raw: Path, derived: Derived) -> None:
    before = {path: path.stat().st_mtime_ns for path in derived.path.parent.glob("*.parquet")}
    again = derive(raw, derived.path.parent, **LIMITS, settings=Settings("300MB", 2, quiet=True))
    assert again == derived
    assert {path: path.stat().st_mtime_ns for path in derived.path.parent.glob("*.parquet")} == before


@pytest.mark.heavy
def test_other_thresholds_read_no_table_again(raw: Path, derived: Derived, tmp_path: Path) -> None:
    shutil.copytree(derived.path.parent, tmp_path, dirs_exist_ok=True)
    before = set(tmp_path.glob("*.parquet"))
    other = derive(raw, tmp_path, min_icd_count=4, min_chart_count=10**6, settings=SMALL)
    assert other.fingerprint != derived.fingerprint
    new = {path.name.split("-")[0] for path in set(tmp_path.glob("*.parquet")) - before}
    assert new == {"biometrics", "vital_signs", "lab_values", "near_biometrics", "near_vital_signs",
                   "near_lab_values", "targets"}  # fmt: skip


def test_the_report_names_every_step_with_its_rows(derived: Derived) -> None:
    with derived.report.open(encoding="utf-8", newline="") as handle:
        report = list(csv.DictReader(handle))
    assert [row["step"] for row in report] == [step.step for step in derived.steps]
    by_rule = {(row["table"], row["step"]): row for row in report}
    lab_rows = by_rule["labevents.csv", "one of these items, with a number"]
    assert int(lab_rows["rows_in"]) > int(lab_rows["rows_out"]) > 0
    chart_rows = by_rule["chartevents.csv", "weights, heights, vital signs, lab values of subjects with an ECG"]
    assert "Heart Rate" in chart_rows["note"]
    assert by_rule["lab values", "most frequent unit of each item"]["note"].startswith("50862 g/dL")
    assert read_steps(derived.report) == list(derived.steps)
    text = steps_text(derived.steps)
    assert all(step.step in text for step in derived.steps)


def test_each_target_is_in_one_group(derived: Derived) -> None:
    grouped = [name for names in derived.groups.values() for name in names]
    assert sorted(grouped) == sorted(derived.names)
    assert all(name.startswith("I") for name in derived.groups["cardiac"])
    assert not any(name.startswith("I") for name in derived.groups["noncardiac"])
    assert {name: len(names) for name, names in list(derived.groups.items())[2:]} == {
        "deterioration": 6, "icu": 2, "mortality": 7, "sex": 1, "age": 1, "biometrics": 3, "ecg_features": 7,
        "lab_values": 18, "vital_signs": 6,
    }  # fmt: skip


class TestDamage:
    @pytest.fixture
    def tree(self, raw: Path, tmp_path: Path) -> Path:
        for folder in ("hosp", "icu", "ed"):
            shutil.copytree(raw / folder, tmp_path / folder)
        for table in raw.glob("*.csv"):
            shutil.copy(table, tmp_path)
        return tmp_path

    def refused(self, tree: Path, words: str) -> str:
        with pytest.raises(DataError, match=words) as caught:
            derive(tree, tree / "work", **LIMITS, settings=SMALL)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    @pytest.mark.heavy
    def test_a_missing_table_costs_its_targets_and_no_others(
        self, tree: Path, derived: Derived, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tree / "icu" / "chartevents.csv.gz").unlink()
        (tree / "mds_ed.csv").unlink()
        found = derive(tree, tree / "work", **LIMITS, settings=SMALL)
        said = capsys.readouterr().err
        assert "Missing are 2 of the nine tables" in said
        assert "mds_ed.csv (MDS-ED, https://physionet.org/content/multimodal-emergency-benchmark/1.0.0/)" in said
        assert "icu/chartevents.csv.gz (MIMIC-IV, https://physionet.org/content/mimiciv/3.1/)" in said
        assert (
            "Without them mimic_biometrics, mimic_deterioration, mimic_icu, mimic_lab_values, mimic_mortality, " in said
        )
        assert found.absent == ("mds_ed.csv", "d_items.csv", "chartevents.csv")
        one, other = pq.read_table(found.path).to_pandas(), pq.read_table(derived.path).to_pandas()
        assert one[list(EVENTS)].isna().all().all()
        same = ["study_id", "strat_fold", "sex", "age", *ECG_FEATURES]
        pd.testing.assert_frame_equal(one[same], other[same])
        assert one["labels"].map(list).tolist() == other["labels"].map(list).tolist()
        assert one[list(VITAL_SIGNS)].notna().any().all(), "what emergency departments measured is still there"
        again = derive(tree, tree / "work", **LIMITS, settings=SMALL)
        assert again.path == found.path

    @pytest.mark.heavy
    def test_every_table_but_the_records_may_be_missing(self, tree: Path) -> None:
        for path in [*tree.glob("hosp/*"), *tree.glob("icu/*"), *tree.glob("ed/*"), *tree.glob("m*.csv")]:
            path.unlink()
        found = derive(tree, tree / "work", **LIMITS, settings=SMALL)
        table = pq.read_table(found.path).to_pandas()
        assert table[["age", "sex"]].notna().any().all()
        assert table[[*EVENTS, *ECG_FEATURES, *LAB_VALUES, *VITAL_SIGNS, *BIOMETRICS]].isna().all().all()

    def test_without_the_records_nothing_works(self, tree: Path) -> None:
        (tree / "records_w_diag_icd10.csv").unlink()
        (tree / "mds_ed.csv").unlink()
        text = self.refused(tree, "lacks records_w_diag_icd10.csv, without which there are no records")
        assert "Missing are 2 of the nine tables" in text
        assert "credentialed" in text

    def test_a_missing_column(self, tree: Path) -> None:
        rewrite(tree / "hosp/labevents.csv.gz", lambda text: text.replace("valuenum", "value_number", 1))
        text = self.refused(tree, "lacks the column 'valuenum'; it has 'labevent_id', 'subject_id'")
        assert "another release" in text

    @pytest.mark.heavy
    def test_a_cut_off_download(self, tree: Path) -> None:
        path = tree / "icu/chartevents.csv.gz"
        path.write_bytes(path.read_bytes()[:-200])
        text = self.refused(tree, "chartevents.csv.gz' is damaged: it ends in the middle of its compressed data")
        assert "https://physionet.org/content/mimiciv/3.1/" in text
        assert not list((tree / "work").glob("chart-*"))

    def test_a_table_of_another_release(self, tree: Path) -> None:
        rewrite(tree / "mds_ed.csv", lambda text: text.replace("diagnoses_labels", "deterioration_dialysis", 1))
        self.refused(tree, "unknown target 'deterioration_dialysis': the published tasks know fifteen")

    def test_no_file_of_text_at_all(self, tree: Path) -> None:
        (tree / "ed/vitalsign.csv.gz").write_bytes(b"<html>please sign in</html>")
        self.refused(tree, "vitalsign.csv.gz' cannot be read .*mimic-iv-ed")

    def test_a_row_with_too_many_cells(self, tree: Path) -> None:
        rewrite(tree / "hosp/omr.csv.gz", lambda text: text + "1,2,3,4,5,6\n")
        self.refused(tree, "omr.csv.gz' is damaged: .*CSV Error on Line: .*Expected Number of Columns: 5 Found: 6")

    def test_a_dictionary_that_lists_an_item_twice(self, tree: Path) -> None:
        rewrite(tree / "hosp/d_labitems.csv.gz", lambda text: text + "50862,Albumin,Blood,Chemistry\n")
        self.refused(tree, "lists item 50862 2 times")

    @pytest.mark.heavy
    def test_a_dictionary_without_the_items(self, tree: Path) -> None:
        rewrite(tree / "icu/d_items.csv.gz", lambda text: text.splitlines()[0] + "\n1,Other,,,,,\n")
        self.refused(tree, "holds none of the needed items")

    def test_too_little_memory_is_said_with_the_remedy(self, raw: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"memory limit of '1MB' is too small.*ECG_HUB_MEMORY_LIMIT"):
            derive(raw, tmp_path, **LIMITS, settings=Settings("1MB", 1, quiet=True))

    def test_settings_that_mean_nothing(self, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(InputError, match="refuses memory_limit='much'"):
            derive(raw, tmp_path, **LIMITS, settings=Settings("much", 1, quiet=True))
        monkeypatch.setenv("ECG_HUB_THREADS", "-2")
        with pytest.raises(InputError, match="ECG_HUB_THREADS='-2'"):
            Settings.from_environment()
        monkeypatch.setenv("ECG_HUB_THREADS", "2")
        monkeypatch.setenv("ECG_HUB_MEMORY_LIMIT", "3GB")
        assert Settings.from_environment() == Settings("3GB", 2)


def rewrite(path: Path, change: Any) -> None:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    changed = change(content.decode()).encode()
    path.write_bytes(gzip.compress(changed) if path.suffix == ".gz" else changed)


@pytest.mark.heavy
def test_rows_are_numbered_as_in_the_file_also_when_a_large_plain_file_is_read_with_threads(tmp_path: Path) -> None:
    """The row number decides ties; a reader that divides the file would lose it."""
    tree = Tree(tmp_path, records=[ecg(1)])
    count = 300_000
    buffer = io.StringIO("subject_id,itemid,storetime,valuenum,valueuom,note\n")
    buffer.seek(0, io.SEEK_END)
    for number in range(count):
        note = '"a line\nbreak, quoted"' if number % 5000 == 17 else "x" * (number % 40)
        buffer.write(f"1,{1 if number % 3 else 99},2150-06-15 12:00:00,{number},bpm,{note}\n")
    (tmp_path / "chartevents.csv").write_text(buffer.getvalue(), encoding="utf-8")
    tree_engine = tree.engine
    tree_engine.settings = Settings("200MB", 2, quiet=True)
    from dataset_scripts.published.mimic_iv_ecg.values import read_chart

    tables = tree.tables
    chart = read_chart(tree_engine, tables[sources.CHART_EVENTS], tables[sources.CHART_ITEMS], tree.records())
    found = pq.read_table(chart.path).to_pandas().sort_values("row")
    assert found["row"].tolist() == [number for number in range(count) if number % 3]
    assert found["value"].tolist() == found["row"].tolist()
    assert re.search("chartevents.csv", chart.steps[0].table)
    assert chart.steps[0].rows_in == count
