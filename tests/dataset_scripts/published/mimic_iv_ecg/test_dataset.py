"""MIMIC-IV-ECG as a dataset: the folder, the store, the zip file, the splits."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dataset_scripts import mock
from dataset_scripts.catalog import get
from dataset_scripts.core.labels import label_matrix
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock.mimic_iv_ecg import AWKWARD, HEADER_LEADS
from dataset_scripts.published.mimic_iv_ecg.dataset import NO_CODE, NOT_FIRST, NOT_IN_ED, WAVEFORM_ZIP, stem_of
from dataset_scripts.reader import SignalReader
from dataset_scripts.readers.signal_files import zip_index
from ecg_hub.errors import DataError, InputError
from ecg_hub.input.samples import MISSING
from ecg_hub.leads import LEADS

NAME = "mimic-iv-ecg"
RECORDS = 90


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mock.write(NAME, tmp_path_factory.mktemp("raw") / NAME, records=RECORDS, seed=4, awkward=True)


@pytest.fixture(scope="module")
def prepared(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(NAME, raw, cache_dir=tmp_path_factory.mktemp("cache"), max_unreadable=0.1)


@pytest.fixture(scope="module")
def table(raw: Path) -> pd.DataFrame:
    return pd.read_csv(raw / "records_w_diag_icd10.csv", index_col=0)


@pytest.mark.heavy
def test_the_store_holds_the_selected_records_and_the_report_all(prepared: Prepared, table: pd.DataFrame) -> None:
    status = prepared.report["status"].value_counts()
    assert status["ok"] + status["lost"] == RECORDS
    assert status["lost"] == 2
    assert len(prepared.report) == len(table)
    assert set(prepared.exclusions) == {NOT_IN_ED, NO_CODE, NOT_FIRST}
    assert prepared.exclusions[NOT_IN_ED] == int((~table["ecg_taken_in_ed"]).sum())


def test_splits_are_the_shipped_ones(prepared: Prepared, table: pd.DataFrame) -> None:
    folds = table.set_index("study_id")["strat_fold"]
    for part, expected in {"train": set(range(18)), "validation": {18}, "test": {19}}.items():
        split = prepared.splits[part]
        assert {int(folds[int(record)]) for record in split["record_id"]} <= expected
        assert split["fold"] == [int(folds[int(record)]) for record in split["record_id"]]
        assert len(split)


def test_signals_come_in_canonical_order_and_repaired(prepared: Prepared, raw: Path, table: pd.DataFrame) -> None:
    subjects = table.set_index("study_id")["subject_id"]
    split = prepared.splits["train"]
    reader, plain = SignalReader(split), SignalReader(split, repaired=False)
    order = [HEADER_LEADS.index(lead) for lead in LEADS]
    assert HEADER_LEADS.index("aVF") < HEADER_LEADS.index("aVL")
    for index in range(5):
        study = int(split[index]["record_id"])
        stored = np.fromfile((raw / "files" / stem_of(subjects[study], study)).with_suffix(".dat"), dtype="<i2")
        np.testing.assert_array_equal(plain.raw(index), stored.reshape(-1, 12)[:, order])
        if not (stored == MISSING).any():
            np.testing.assert_allclose(reader.window_mv(index), np.clip(plain.window_mv(index), -3, 3), atol=1e-6)
    gaps = [i for i in range(len(split)) if (plain.raw(i) == MISSING).any()]
    assert gaps, "the mock tree has no record with missing samples"
    left = [int(np.isnan(reader.window_mv(i)).sum()) for i in gaps]
    recorded = [int(np.isnan(plain.window_mv(i)).sum()) for i in gaps]
    assert all(now <= before for now, before in zip(left, recorded, strict=True))
    assert sum(left) < sum(recorded)


def test_awkward_records_are_repaired_or_lost(prepared: Prepared) -> None:
    lost = prepared.report[prepared.report["status"] == "lost"]
    assert len(AWKWARD) == 5
    assert sorted(lost["reason"].str.contains("missing")) == [False, True]
    assert prepared.report["reason"].str.contains("no lead").sum() == 0


def test_targets_and_labels_say_the_same(prepared: Prepared) -> None:
    codes = prepared.labels["label_diagnostic"]
    assert codes == sorted(codes)
    assert set(prepared.targets[: len(codes)]) == set(codes)
    split = prepared.splits["train"]
    targets = np.array(split["targets"], dtype=np.float32)
    columns = [prepared.targets.index(code) for code in codes]
    np.testing.assert_array_equal(targets[:, columns], label_matrix(split, "label_diagnostic"))
    sex = targets[:, prepared.targets.index("sex")]
    assert [None if np.isnan(v) else ("female", "male")[int(v)] for v in sex] == list(split["sex"])
    age = np.array([np.nan if a is None else a for a in split["age"]], dtype=np.float64)
    scale = prepared.target_scales["age"]
    assert scale[1] == "years"
    z = targets[:, prepared.targets.index("age")]
    assert np.nanstd(age - z * scale[0]) < 1e-4
    assert prepared.target_scales["Albumin"][1] == "g/dL"
    assert prepared.derivation is not None
    assert prepared.derivation.is_file()


@pytest.mark.heavy
def test_thresholds_are_part_of_the_result_and_of_the_fingerprint(prepared: Prepared, raw: Path) -> None:
    cache = prepared.store.parents[2]
    other = prepare(NAME, raw, cache_dir=cache, max_unreadable=0.1, min_icd_count=10, min_chart_count=10**6)
    assert other.store == prepared.store
    assert len(other.labels["label_diagnostic"]) < len(prepared.labels["label_diagnostic"])
    assert other.deviations["min_icd_count"] == 10
    assert other.fingerprint != prepared.fingerprint


@pytest.mark.heavy
def test_the_zip_file_is_read_as_it_is(prepared: Prepared, raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    shutil.copytree(raw, folder, ignore=shutil.ignore_patterns("files"))
    with zipfile.ZipFile(folder / f"{WAVEFORM_ZIP}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{WAVEFORM_ZIP}/machine_measurements.csv", "subject_id\n")
        for path in sorted((raw / "files").rglob("*.*"), reverse=True):
            archive.write(path, f"{WAVEFORM_ZIP}/{path.relative_to(raw)}")
    packed = prepare(NAME, folder, cache_dir=tmp_path / "cache", max_unreadable=0.1)
    assert (packed.report["status"] == "lost").sum() == 2
    for part in ("train", "test"):
        ours, theirs = SignalReader(packed.splits[part]), SignalReader(prepared.splits[part])
        assert packed.splits[part]["record_id"] == prepared.splits[part]["record_id"]
        for index in range(len(ours)):
            np.testing.assert_array_equal(ours.raw(index), theirs.raw(index))


class TestZip:
    def test_large_archives_with_64_bit_positions(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 300)
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
        content = np.arange(36, dtype="<i2").tobytes()
        with zipfile.ZipFile(tmp_path / "w.zip", "w", zipfile.ZIP_STORED) as archive:
            for study in (45, 41, 43):
                archive.writestr(f"top/s{study}/{study}.dat", content)
                archive.writestr(f"top/s{study}/{study}.hea", header(study))
        index = zip_index(tmp_path / "w.zip")
        assert index.studies.tolist() == [41, 43, 45]
        assert index.read(43).samples.tolist() == np.arange(36).reshape(3, 12)[:, LEAD_ORDER].tolist()

    def test_what_is_not_there_or_damaged(self, tmp_path: Path) -> None:
        path = tmp_path / "w.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("41.hea", header(41))
            archive.writestr("42.hea", header(42))
            archive.writestr("42.dat", np.arange(36, dtype="<i2").tobytes())
        index = zip_index(path)
        with pytest.raises(DataError, match=r"40\.hea is not in w\.zip"):
            index.read(40)
        with pytest.raises(DataError, match=r"41\.dat is missing"):
            index.read(41)
        whole = path.read_bytes()
        place = int(index.signals[1]) + 36 + 20
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"42\.dat is damaged in the zip file"):
            index.read(42)
        (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match="is no whole zip file"):
            zip_index(tmp_path / "half.zip")


LEAD_ORDER = [HEADER_LEADS.index(lead) for lead in LEADS]


def header(study: int) -> str:
    lines = [f"{study} 12 500 3", *(f"{study}.dat 16 200/mV 16 0 0 0 0 {lead}" for lead in HEADER_LEADS)]
    return "\n".join(lines) + "\n"


def test_a_folder_without_waveforms_is_told(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw, tmp_path / "raw", ignore=shutil.ignore_patterns("files"))
    with pytest.raises(DataError, match=r"lacks the waveforms.*https://physionet.org/content/mimic-iv-ecg/1.0/"):
        get(NAME).check_folder(tmp_path / "raw", 500)
    with pytest.raises(DataError, match="pass data_dir"):
        get(NAME).check_folder(None, 500)


def test_nothing_of_it_may_be_passed_on() -> None:
    dataset = get(NAME)
    assert (dataset.access, dataset.redistribution) == ("credentialed", False)
    assert sum(group.published for group in dataset.target_groups.values()) == 1127
    classes = [g.published for g in dataset.target_groups.values() if g.kind == "multi_label_classification"]
    assert sum(classes) == 1092
    pages = " ".join(dataset.problems)
    for page in (
        "mimiciv/3.1",
        "mimic-iv-ed/2.2",
        "mimic-iv-ecg-ext-icd-labels/1.0.1",
        "multimodal-emergency-benchmark",
    ):
        assert page in pages


def test_the_cheap_label_table_needs_no_derivation(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Showing one record or planning a run must not read hundreds of millions of rows."""
    from dataset_scripts.published.mimic_iv_ecg import derive

    monkeypatch.setattr(derive, "derive", None)
    dataset = get(NAME)
    scan = dataset.scan(raw, 500)
    labels = dataset.label_table(scan.table, raw, dataset.thresholds)
    assert labels.targets is None
    assert set(labels.split) == {"train", "validation", "test"}
    assert all(labels.labels["label_diagnostic"])


class TestMock:
    def test_the_same_seed_gives_the_same_bytes(self, tmp_path: Path) -> None:
        folders = [mock.write(NAME, tmp_path / name, records=12, seed=3) for name in ("a", "b")]
        files = [sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file()) for folder in folders]
        assert files[0] == files[1]
        assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in files[0])

    @pytest.mark.heavy
    def test_every_group_has_targets_in_every_split_at_two_hundred_records(self, tmp_path: Path) -> None:
        raw = mock.write(NAME, tmp_path / "raw", records=200, seed=0)
        prepared = prepare(NAME, raw, cache_dir=tmp_path / "cache")
        for part in ("train", "validation", "test"):
            targets = np.array(prepared.splits[part]["targets"], dtype=np.float32)
            for group, names in prepared.target_groups.items():
                columns = [prepared.targets.index(name) for name in names]
                values = targets[:, columns]
                if get(NAME).target_groups[group].kind == "regression":
                    assert (~np.isnan(values)).any(axis=0).all(), (part, group)
                else:
                    both = [(0 in column) and (1 in column) for column in values.T]
                    assert any(both), (part, group)

    def test_fold_and_strat_fold_differ_and_stay_with_the_patient(self, table: pd.DataFrame) -> None:
        assert (table["fold"] != table["strat_fold"]).mean() > 0.5
        assert (table.groupby("subject_id")[["fold", "strat_fold"]].nunique() == 1).all(axis=None)

    def test_what_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="comes at 500 Hz"):
            mock.write(NAME, tmp_path / "a", records=9, sampling_rates=(250,))
        with pytest.raises(InputError, match="too few"):
            mock.write(NAME, tmp_path / "b", records=5, awkward=True)
