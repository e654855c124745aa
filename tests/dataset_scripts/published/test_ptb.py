"""PTB: diagnoses and dates of the headers, folds by patient, files that may be absent, folders of another kind."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dataset_scripts import mock
from dataset_scripts.catalog import get
from dataset_scripts.core.labels import label_matrix
from dataset_scripts.core.spec import RawRecord
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock.ptb import AWKWARD, CASES, FINDINGS, header_cells, plan
from dataset_scripts.published.ptb import diagnoses, infarction_state, parse_comments, parse_date, patient_folds
from dataset_scripts.reader import SignalReader
from ecg_hub.errors import DataError, InputError
from ecg_hub.input.wfdb import read_header
from tests.support.forms import blanked
from tests.support.records import write_record
from tests.support.wfdb_reader import wfdb

DATASET = get("ptb")
LABELS = [
    *("Arterial hypertension", "Atrial fibrillation", "Bundle branch block", "Cardiomyopathy"),
    *("Coronary artery disease", "Diabetes mellitus", "Dysrhythmia", "Healthy control", "Hypercholesterinemia"),
    *("Hyperlipoproteinemia", "Myocardial infarction acute", "Myocardial infarction acute catheterized"),
    *("Myocardial infarction old", "Obesity", "Peripheral atherosclerosis", "Renal insufficiency"),
    *("Ventricular fibrillation", "Ventricular tachycardia"),
]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 sound records."""
    return mock.write("ptb", tmp_path_factory.mktemp("ptb") / "ptb", records=24, seed=2)


@pytest.fixture(scope="module")
def found(raw: Path, cache: Path) -> Prepared:
    return prepare("ptb", raw, cache_dir=cache)


@pytest.fixture
def copy(raw: Path, tmp_path: Path) -> Path:
    shutil.copytree(raw, tmp_path / "ptb")
    return tmp_path / "ptb"


def cells(
    reason: str = "Myocardial infarction",
    additional: str = "no",
    ecg: str = "n/a",
    infarction: str = "n/a",
    catheterization: str = "n/a",
) -> dict[str, str]:
    names = ("reason_for_admission", "additional_diagnoses", "ecg_date", "infarction_date", "catheterization_date")
    return dict(zip(names, (reason, additional, ecg, infarction, catheterization), strict=True))


@pytest.mark.parametrize(
    ("ecg", "infarction", "catheterization", "state"),
    [
        ("01/10/1990", "29-Sep-90", "16-Oct-90", "acute catheterized"),  # 2 days, catheterized two weeks later
        ("29/09/1990", "29-Sep-90", "29-Sep-90", "acute catheterized"),  # all on one day
        ("02/10/1990", "29-Sep-90", "n/a", "acute"),  # 3 days
        ("03/10/1990", "29-Sep-90", "29-Sep-90", "old"),  # 4 days
        ("01/10/1990", "29-Sep-90", "28-Sep-90", "acute"),  # catheterized before the infarction
        ("01/10/1990", "29-Sep-90", "-", "acute"),
        ("28/09/1990", "29-Sep-90", "29-Sep-90", "old"),  # the ECG is older than the infarction
        ("n/a", "29-Sep-90", "29-Sep-90", "old"),
        ("01/10/1990", "n/a", "29-Sep-90", "old"),
        ("1/10/1990", "29-sep-90", "", "acute"),
        ("01/10/1990", "-", "29-Sep-90", "old"),  # not a date
        ("01/10/1990", "29-Sep-1990", "29-Sep-90", "old"),  # not a date
    ],
)
def test_an_infarction_is_told_apart_by_its_dates(ecg: str, infarction: str, catheterization: str, state: str) -> None:
    given = cells(ecg=ecg, infarction=infarction, catheterization=catheterization)
    assert infarction_state(given) == state
    assert diagnoses(given) == [f"Myocardial infarction {state}"]


@pytest.mark.parametrize(
    ("reason", "additional", "expected"),
    [
        ("Healthy control", "no", ["Healthy control"]),
        ("n/a", "n/a", []),
        ("", "", []),
        ("Dysrhythmia", "Arterial Hypertension, Obesity,unknown", ["Dysrhythmia", "Arterial hypertension", "Obesity"]),
        ("Dysrhythmia", "M. Bechterew, M. Basedow", ["Dysrhythmia"]),
        ("Dysrhythmia", "M. Parkinson, No", ["Dysrhythmia", "M. Parkinson", "No"]),
        (
            "Palpitation",
            "Hyperlipoproteinemia Type IIa,Hyperlipoproteinemia Typ IIa,Hyperlipoproteinemia Type IIb,"
            "Hyperlipoproteinemia Type IV,Hyperlipoproteinemia Type IV b,Hyperlipemia,Hyperlipidemia",
            ["Palpitation", *["Hyperlipoproteinemia"] * 7],
        ),
        ("Palpitation", "Hyperlipoproteinemia Type V", ["Palpitation", "Hyperlipoproteinemia Type V"]),
        (
            "Recurrent sustained ventricular tachycardia",
            "Ventricular tachycardias, Recurrent ventricular tachycardias, Recurrent ventricular tachycardia",
            ["Ventricular tachycardia"] * 4,
        ),
        ("Obesity", "peripheral atherosclerosis", ["Obesity", "Peripheral atherosclerosis"]),
        ("Obesity", "Postop. Thyriodectomy", ["Obesity", "Postop. Thyroidectomy"]),
        ("Obesity", "Mitral regurgitation (grade 2)", ["Obesity", "Mitral regurgitation"]),
        ("Obesity", "Coronary artery disease (PTCA+Stent) ", ["Obesity", "Coronary artery disease (PTCA+Stent)"]),
        ("Obesity", "Myocardial infarction", ["Obesity", "Myocardial infarction old"]),
    ],
)
def test_diagnoses_are_spelled_alike(reason: str, additional: str, expected: list[str]) -> None:
    assert diagnoses(cells(reason, additional)) == expected


def test_both_cardiomyopathies_with_a_gradient_become_one() -> None:
    stem = "Hypertrophic obstructive cardiomyopathy"
    stated = ", ".join(f"{stem} (intraventricular gradient {range_}mmHg)" for range_ in ("100-160", "70-90"))
    assert diagnoses(cells("Cardiomyopathy", stated)) == ["Cardiomyopathy", stem, stem]


def test_comments_keep_the_second_field_and_the_last_of_equal_keys() -> None:
    comments = ["Start lysis therapy (hh.mm): 19:45", "Catheterization date: 1", "Catheterization date: 2", "no colon"]
    assert parse_comments(comments) == {"Start lysis therapy (hh.mm)": "19", "Catheterization date": "2"}


def test_dates_do_not_depend_on_the_language_of_the_machine() -> None:
    assert str(parse_date("31-Dec-69", "infarction_date")) == "1969-12-31"
    assert str(parse_date("01-May-68", "infarction_date")) == "2068-05-01"
    assert str(parse_date("17/10/1990", "ecg_date")) == "1990-10-17"
    for text, column in (("31-Okt-90", "infarction_date"), ("31-Feb-90", "infarction_date"), ("29-Sep-90", "ecg_date")):
        with pytest.raises(ValueError, match="is not a date"):
            parse_date(text, column)


def test_folds_are_those_of_the_290_patients() -> None:
    numbers = sorted(set(range(1, 295)) - {124, 132, 134, 161})
    folds = patient_folds([f"patient{number:03d}" for number in reversed(numbers)])
    text = "".join(f"{number},{folds[f'patient{number:03d}']}\n" for number in numbers)
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "0aa3bae4d1e5b859816774bdc7fc7933022a5d1ce9967fd81cd10260d035b780"
    )
    assert Counter(folds.values()) == dict.fromkeys(range(5), 58)


def test_folds_equal_the_published_ones(golden: Path) -> None:
    expected = json.loads((golden / "labels/expected.json").read_text())["ptb_patient_folds"]["folds"]
    numbers = [number for patients in expected.values() for number in patients]
    folds = patient_folds([f"patient{number:03d}" for number in numbers])
    assert {f"patient{n:03d}": int(fold) for fold, patients in expected.items() for n in patients} == folds


def test_patients_are_sorted_as_numbers() -> None:
    names = [f"patient{number}" for number in (2, 10, 1, 100, 20)]
    padded = [f"patient{number:03d}" for number in (2, 10, 1, 100, 20)]
    assert list(patient_folds(names).values()) == list(patient_folds(padded).values())


def test_labels_of_the_real_headers(shared: Path) -> None:
    expected = {
        "patient001/s0010_re": ["Myocardial infarction acute catheterized", "Diabetes mellitus"],
        "patient001/s0014lre": ["Myocardial infarction old", "Diabetes mellitus"],
        "headers_only/patient001/s0016lre": ["Myocardial infarction old", "Diabetes mellitus"],
    }
    for name, labels in expected.items():
        path = shared / f"data/ptb/{name}.hea"
        assert b"\r\n" in path.read_bytes()
        stated = parse_comments(read_header(path).comments)
        assert len(stated) == 47
        keys = ("Reason for admission", "Additional diagnoses", "ECG date", "Infarction date (acute)")
        assert diagnoses(cells(*(stated[key] for key in (*keys, "Catheterization date")))) == labels


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two real records, spread over five patients so that there are folds."""
    folder = tmp_path_factory.mktemp("real")
    for number in range(1, 6):
        name = "s0010_re" if number % 2 else "s0014lre"
        patient = folder / f"patient{number:03d}"
        patient.mkdir()
        header = (shared / f"data/ptb/patient001/{name}.hea").read_bytes()
        for path in (shared / "data/ptb/patient001").glob(f"{name}.*"):
            (patient / path.name.replace(name, f"s000{number}")).symlink_to(path)
        (patient / f"s000{number}.hea").unlink()
        (patient / f"s000{number}.hea").write_bytes(header.replace(name.encode(), f"s000{number}".encode()))
    (folder / "RECORDS").write_text("".join(f"patient{n:03d}/s000{n}\n" for n in range(1, 6)))
    return folder


def test_real_records_equal_the_general_reader_exactly(real: Path, cache: Path) -> None:
    prepared = prepare("ptb", real, cache_dir=cache, min_count=1)
    assert (prepared.report["reason"] == "").all()
    assert prepared.labels["label_all"] == [
        *("Diabetes mellitus", "Myocardial infarction acute catheterized", "Myocardial infarction old"),
    ]
    checked = 0
    for split in prepared.splits.values():
        reader = SignalReader(split)
        for position, record in enumerate(split["record_id"]):
            reference = wfdb.rdrecord(str(real / f"patient00{record[-1]}" / record), physical=False)
            assert reference.sig_name[12:] == ["vx", "vy", "vz"]
            assert (reader.raw(position) == reference.d_signal[:, :12]).all()
            assert (reader.window_mv(position) == (reference.d_signal[:, :12] / 2000.0).astype(np.float32)).all()
            assert split["sampling_rate"][position] == 1000
            assert (split["age"][position], split["sex"][position]) == (81.0, "female")
            checked += 1
    assert checked == 5


def test_the_frank_leads_need_not_be_there(raw: Path) -> None:
    header = next(path for path in sorted(raw.glob("*/*.hea")) if not path.with_suffix(".xyz").exists())
    signal = DATASET.read(raw, RawRecord("x", f"{header.parent.name}/{header.stem}"))
    assert signal.samples.shape == (10_000, 12)
    assert signal.remark == ""
    assert (signal.gain_uv == 0.5).all()


def test_twelve_leads_and_frank_leads_in_one_file_are_read_too(tmp_path: Path) -> None:
    names = ("vx", "i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6", "vy", "vz")
    values = np.random.default_rng(0).normal(size=(15, 50))
    (tmp_path / "patient001").mkdir()
    path = tmp_path / "patient001/s0001_re"
    write_record(path, values, 1000, names)
    header = path.with_suffix(".hea")
    header.write_text(header.read_text() + "# Reason for admission: Healthy control\n# Additional diagnoses: no\n")
    signal = DATASET.read(tmp_path, RawRecord("s0001_re", "patient001/s0001_re"))
    assert (signal.samples == np.round(values[1:13].T * 1000)).all()
    assert signal.remark.startswith("the header has no comment 'ECG date'")
    header.write_text(header.read_text() + "# age: 999\n")
    signal = DATASET.read(tmp_path, RawRecord("s0001_re", "patient001/s0001_re"))
    assert signal.metadata["age"] is None
    assert "age '999' is not a number of years" in signal.remark


def test_the_mock_prepares_without_loss(found: Prepared) -> None:
    assert (found.report["status"] == "ok").all()
    assert (found.report["reason"] == "").all()
    split = found.splits["train"]
    assert all(name.startswith("patient") for name in split["patient_id"])
    assert set(split["fold"]) == {0, 1, 2}
    assert set(found.splits["validation"]["fold"]) == {3}
    assert set(found.splits["test"]["fold"]) == {4}


def test_records_come_by_patient_number_and_name(found: Prepared) -> None:
    files = found.report["file"].tolist()
    assert files == sorted(files)
    assert found.report["record_id"].tolist() == [name.split("/")[1] for name in files]


def test_awkward_records_are_lost_or_remarked_each_for_its_reason(tmp_path: Path, cache: Path) -> None:
    raw = mock.write("ptb", tmp_path / "ptb", records=30, seed=4, awkward=True)
    prepared = prepare("ptb", raw, cache_dir=cache, max_unreadable=0.2)
    last = prepared.report.tail(len(AWKWARD))
    told = {kind: (row.status, row.reason) for kind, row in zip(AWKWARD, last.itertuples(), strict=True)}
    assert [kind for kind, (status, _) in told.items() if status == "lost"] == list(AWKWARD[:4])
    assert "holds 80000 bytes of signal, its header announces 240000" in told["cut .dat"][1]
    assert told["no .dat"][1].endswith(".dat is missing")
    assert told["no file"][1].endswith(".hea is missing")
    assert told["no diagnosis key"][1] == "the header has no comment 'Additional diagnoses'"
    assert told["comment without colon"][1] == ""
    dash = told["infarction date of a dash"][1]
    assert dash == "Infarction date (acute) '-' is not a date and counts as none"
    assert "'29-Sep-1990' is not a date" in told["infarction date of four digits"][1]
    assert told["odd age"][1] == "age 'about 60' is not a number of years"
    rows = {row["record_id"]: row for split in prepared.splits.values() for row in split.remove_columns("signal")}
    ids = dict(zip(AWKWARD, last["record_id"], strict=True))
    assert rows[ids["no age and sex"]]["age"] is None
    assert rows[ids["no age and sex"]]["sex"] is None
    assert rows[ids["no diagnosis"]]["label_all"] == []


def test_a_record_that_is_listed_and_absent_is_lost(copy: Path) -> None:
    with (copy / "RECORDS").open("a") as handle:
        handle.write("patient999/s9999_re\nsomething/else\n")
    scan = DATASET.scan(copy, 1000)
    assert scan.table["record_id"].iloc[-1] == "s9999_re"
    assert [item.reason for item in scan.lost] == ["'something/else' does not name a record as patientNNN/record"]
    with pytest.raises(DataError, match=r"s9999_re\.hea is missing"):
        DATASET.read(copy, RawRecord("s9999_re", "patient999/s9999_re"))


def test_a_record_that_is_not_listed_is_read(copy: Path) -> None:
    lines = (copy / "RECORDS").read_text().splitlines()
    (copy / "RECORDS").write_text("\n".join(lines[1:]) + "\n")
    assert len(DATASET.scan(copy, 1000)) == len(lines)


def test_a_record_name_that_occurs_twice_is_lost_once(copy: Path) -> None:
    first = sorted(copy.glob("patient001/*.hea"))[0]
    (copy / "patient888").mkdir()
    shutil.copy(first, copy / "patient888")
    scan = DATASET.scan(copy, 1000)
    assert [item.reason for item in scan.lost] == [f"record {first.stem} occurs a second time"]
    assert scan.lost[0].file == f"patient888/{first.stem}"


def test_with_fewer_patients_than_folds_all_are_for_training(copy: Path, tmp_path: Path) -> None:
    for folder in sorted(copy.glob("patient*"))[4:]:
        shutil.rmtree(folder)
    kept = [line for line in (copy / "RECORDS").read_text().split() if (copy / f"{line}.hea").exists()]
    (copy / "RECORDS").write_text("\n".join(kept))
    prepared = prepare("ptb", copy, cache_dir=tmp_path / "cache")
    assert [len(prepared.splits[part]) > 0 for part in ("train", "validation", "test")] == [True, False, False]


@pytest.mark.parametrize("place", ["", "g1/", "training/ptb/g1/"])
def test_the_challenge_form_is_told_apart(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / f"{place}S0001.hea").write_text("S0001 12 1000 38400\n#Dx: 251146004\n")
    (tmp_path / f"{place}RECORDS").write_text("S0001\n")
    with pytest.raises(DataError, match=r"PTB in the form of the Challenge 2021 \(S0001\.hea") as caught:
        prepare("ptb", tmp_path, cache_dir=tmp_path / "cache")
    assert DATASET.page in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_folder_without_a_list_of_records_is_walked(shared: Path, tmp_path: Path) -> None:
    prepared = prepare("ptb", shared / "data/ptb", cache_dir=tmp_path / "cache", min_count=1)
    assert prepared.report["record_id"].tolist() == ["s0010_re", "s0014lre"]
    assert (prepared.report["status"] == "ok").all()
    assert {name: len(part) for name, part in prepared.splits.items()} == {"train": 2, "validation": 0, "test": 0}


def test_the_real_challenge_form_is_told_apart(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither the diagnoses nor the dates"):
        prepare("ptb", shared / "data/ptb/cinc2021_form", cache_dir=tmp_path / "cache")


def test_a_folder_without_patients_is_told(tmp_path: Path) -> None:
    (tmp_path / "RECORDS").write_text("records500/00000/00001_hr\n")
    with pytest.raises(DataError, match="holds no folder patient001, patient002"):
        prepare("ptb", tmp_path, cache_dir=tmp_path / "cache")


def test_mock_headers_have_the_keys_of_the_real_ones(raw: Path, golden: Path) -> None:
    real = json.loads((golden / "labels/forms.json").read_text())["ptb"]
    own = (raw / "patient001/s0001_re.hea").read_bytes().decode("latin-1").split("\r\n")
    assert own[0] == "s0001_re 15 1000 10000"
    assert [line.split(":")[0] for line in own[16:]] == real["keys"]
    assert blanked(own[:16], (0, 5, 6))[1:] == real["signals"][1:]
    record = wfdb.rdrecord(str(raw / "patient001/s0001_re"), physical=False)
    assert [total % 65536 for total in record.checksum] == record.calc_checksum()
    assert record.units == ["mV"] * 15


def test_every_published_label_occurs_in_every_split_from_1000_records_on() -> None:
    entries = plan(1000, seed=0)
    folds = patient_folds(sorted({f"patient{entry.patient:03d}" for entry in entries}))
    seen: dict[int, set[str]] = {}
    for entry in entries:
        seen.setdefault(folds[f"patient{entry.patient:03d}"], set()).update(diagnoses(header_cells(entry)))
    for part in (seen[3], seen[4], seen[0] | seen[1] | seen[2]):
        assert set(LABELS) <= part
    assert set(LABELS) <= set(FINDINGS)
    assert len(LABELS) == DATASET.releases[0].label_numbers["label_all"] == 18
    assert all(case.weight > 0 for case in CASES)


def test_the_common_labels_occur_in_every_split_of_200_records() -> None:
    entries = plan(200, seed=7)
    folds = patient_folds(sorted({f"patient{entry.patient:03d}" for entry in entries}))
    for fold in (3, 4):
        cases = {e.case.reason + e.case.state for e in entries if folds[f"patient{e.patient:03d}"] == fold}
        assert {"Healthy control", "Myocardial infarctionold", "Myocardial infarctioncatheterized"} <= cases


def test_mock_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="PTB comes at 1000 Hz"):
        mock.write("ptb", tmp_path / "x", records=9, sampling_rates=(500,))
    with pytest.raises(InputError, match="too few for the 11 awkward cases"):
        mock.write("ptb", tmp_path / "x", records=12, awkward=True)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    trees = [mock.write("ptb", tmp_path / name, records=6, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    first, again, other = (
        {str(path.relative_to(tree)): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}
        for tree in trees
    )
    assert first == again
    assert first != other


def test_release_facts_add_up() -> None:
    release = DATASET.releases[0]
    assert sum(release.fold_sizes) == release.records == 549


@pytest.mark.heavy
def test_labels_can_be_learned(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    raw = mock.write("ptb", tmp_path / "raw", records=400, seed=11)
    prepared = prepare("ptb", raw, cache_dir=tmp_path / "cache", min_count=15)

    def features(part: str) -> np.ndarray:
        reader = SignalReader(prepared.splits[part])
        signals = [reader.window_mv(index)[::4] for index in range(len(reader))]
        centred = [signal - np.median(signal, axis=0) for signal in signals]
        parts = [
            [s.max(axis=0), s.min(axis=0), s.std(axis=0), np.abs(np.diff(s, axis=0)).mean(axis=0)] for s in centred
        ]
        return np.array([np.concatenate(part) for part in parts])

    truth = {part: label_matrix(prepared.splits[part], "label_all") for part in ("train", "test")}
    train, test = features("train"), features("test")
    scores = []
    for column in range(truth["train"].shape[1]):
        if 0 < truth["test"][:, column].sum() < len(test):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
            model.fit(train, truth["train"][:, column])
            scores.append(roc_auc_score(truth["test"][:, column], model.predict_proba(test)[:, 1]))
    assert len(scores) >= 6
    assert np.mean(scores) > 0.75
