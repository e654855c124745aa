"""ZZU pECG: whole codes only, nine leads out, folds by patient, gain and baseline per lead, both layouts."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from dataset_scripts import mock
from dataset_scripts.catalog import get
from dataset_scripts.core.labels import label_matrix
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock.zzu_pecg import AWKWARD, COLUMNS, plan
from dataset_scripts.mock.zzu_statements import DISEASES, STATEMENTS
from dataset_scripts.published.zzu_pecg import read_codes, split_codes, stratified_folds
from dataset_scripts.reader import SignalReader
from ecg_hub.errors import DataError, InputError
from tests.support.records import write_record
from tests.support.wfdb_reader import wfdb

DATASET = get("zzu-pecg")
LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
ECG_CODES = (
    "DESCRIPTION,AHA(Category&Code),CHN(Category&Code)\n"
    "Sinus tachycardia,C21,C13\n"
    '"Atrial premature complexes, nonconducted",D31,D22\n'
    "First name,L147,L1\n"
    "Left ventricular high voltage,N/A,J106\n"
    "Low voltage,J125,\n"
    " Last name ,L147 ,L2\n"
)
DISEASE_CODES = (
    "Disease Type,Disease Category,ICD-10 Code,ICD-10 Description\n"
    '"Congenital \nheart disease","Ventricular \nseptal defect",Q21.0,x\n'
    "Congenital heart disease,Atrial septal defect (Foramen ovale),(FO) Q21.1,x\n"
    "Myocarditis,Myocarditis,I51.4; I40.9,x\n"
    "Other diseases(OD),Other,See attribute dictionary file,x\n"
)


def tree(folder: Path, rows: Sequence[Mapping[str, object]], samples: int = 50) -> Path:
    """Write a raw folder with these rows; what a row leaves out is filled in."""
    (folder / "ECGCode.csv").write_text(ECG_CODES)
    (folder / "DiseaseCode.csv").write_text(DISEASE_CODES)
    with (folder / "AttributesDictionary.csv").open("w", newline="") as handle:
        table = csv.DictWriter(handle, COLUMNS, restval="")
        table.writeheader()
        for number, row in enumerate(rows, start=1):
            name = f"P{number:05d}"
            known: dict[str, object] = {
                "Filename": f"{name[:3]}/{name}/{name}_E01",
                "ECG_ID": f"{name}_E01",
                "Patient_ID": name,
                "Age": "572d",
                "Gender": "'Female'",
                "Lead": 12,
                "AHA_code": "'C21'",
                "CHN_code": "'C13'",
                "ICD-10 code": "Null",
            }
            path = folder / "Child_ecg" / str(known["Filename"])
            path.parent.mkdir(parents=True, exist_ok=True)
            write_record(path, np.full((12, samples + number), 0.001 * number), 500, LEADS)
            table.writerow(known | dict(row))
    return folder


def labels_of(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Return column -> record -> labels, whatever their split."""
    scan = DATASET.scan(folder, 500)
    metadata = scan.table.assign(samples=5000)
    table = DATASET.label_table(metadata, folder, {"min_count": 1, "min_samples": 10})
    return {
        column: dict(zip(metadata["record_id"], map(list, lists), strict=True))
        for column, lists in table.labels.items()
    }


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 sound records, two of nine leads, two of five seconds."""
    return mock.write("zzu-pecg", tmp_path_factory.mktemp("zzu") / "zzu-pecg", records=40, seed=2)


@pytest.fixture(scope="module")
def found(raw: Path, cache: Path) -> Prepared:
    return prepare("zzu-pecg", raw, cache_dir=cache)


@pytest.mark.parametrize(
    ("cell", "codes"),
    [
        ("'C21'", ["C21"]),
        ("'C21';'L147'", ["C21", "L147"]),
        (" 'C21'; 'L147' ;;", ["C21", "L147"]),
        ("'L145+Modifier362';'(FO) Q21.1'", ["L145+Modifier362", "(FO) Q21.1"]),
        ("Null", []),
        ("", []),
        ("N/A", []),
        ("C21", ["C21"]),
    ],
)
def test_cells_are_split_at_semicolons_and_lose_their_quotes(cell: str, codes: list[str]) -> None:
    assert split_codes(cell) == codes


def test_a_code_counts_only_as_a_whole_and_the_last_row_wins(tmp_path: Path) -> None:
    folder = tree(
        tmp_path,
        [
            {"AHA_code": "'C21';'L147'", "CHN_code": "'J106';'L1'"},
            {"AHA_code": "'L147+Modifier362';'Left ventricular high voltage'", "CHN_code": "'L2+Inversion'"},
            {"AHA_code": "'D31';'D31';'Z9'", "CHN_code": "Null"},
            {"AHA_code": "Null", "CHN_code": ""},
            {"ICD-10 code": "'Q21.0';'(FO) Q21.1';'Q21.1';'I40.9'"},
            {"ICD-10 code": "'See attribute dictionary file'"},
        ],
    )
    labels = labels_of(folder)
    assert list(labels["label_all"].values()) == [
        ["Sinus tachycardia", "Last name"],
        [],
        ["Atrial premature complexes, nonconducted"] * 2,
        [],
        ["Sinus tachycardia"],
        ["Sinus tachycardia"],
    ]
    assert list(labels["label_chn"].values())[:4] == [["Left ventricular high voltage", "First name"], [], [], []]
    assert list(labels["label_icd10"].values())[4:] == [
        ["Ventricular septal defect", "Atrial septal defect (Foramen ovale)", "Myocarditis"],
        ["Other"],
    ]


def test_codes_without_entry_are_no_codes(tmp_path: Path) -> None:
    codes = read_codes(tree(tmp_path, [{}]), "page")
    assert codes.aha == {
        "C21": "Sinus tachycardia",
        "D31": "Atrial premature complexes, nonconducted",
        "L147": "Last name",
        "J125": "Low voltage",
    }
    assert set(codes.chn) == {"C13", "D22", "L1", "J106", "L2"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Age": ""}, "Age '' is not a number of days such as '572d'"),
        ({"Age": "99999d"}, "Age '99999d' is not a number of days"),
        ({"Age": "two"}, "Age 'two' is not a number of days"),
        ({"Lead": ""}, "Lead '' is neither 12 nor 9"),
        ({"Lead": 15}, "Lead '15' is neither 12 nor 9"),
        ({"Patient_ID": ""}, "patient_id is empty"),
        ({"Filename": "../../etc/passwd"}, "is not a file below the folder of waveforms"),
        ({"Filename": "/etc/passwd"}, "is not a file below the folder of waveforms"),
        ({"Filename": ""}, "is not a file below the folder of waveforms"),
        ({"ECG_ID": "P00001_E01"}, "ECG_ID P00001_E01 occurs a second time in line 3"),
    ],
)
def test_a_damaged_row_is_a_lost_record_with_a_reason(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    scan = DATASET.scan(tree(tmp_path, [{}, change, {}]), 500)
    assert len(scan) == 2
    assert len(scan.lost) == 1
    assert reason in scan.lost[0].reason


def test_rows_of_nine_leads_are_excluded_before_anything_is_counted(tmp_path: Path, cache: Path) -> None:
    rows = [{"AHA_code": "'C21'"}, {"AHA_code": "'J125'", "Lead": 9}, {"AHA_code": "'C21'", "Lead": "12.0"}]
    prepared = prepare("zzu-pecg", tree(tmp_path, rows), cache_dir=cache, min_count=1, min_samples=1)
    assert prepared.exclusions == {"nine leads": 1}
    assert prepared.report["status"].tolist() == ["ok", "ok", "excluded"]
    assert prepared.labels["label_all"] == ["Sinus tachycardia"]


def test_short_records_are_counted_first_and_left_out_then(tmp_path: Path, cache: Path) -> None:
    rows = [{"AHA_code": "'J125'"}, {"AHA_code": "'C21'"}, {"AHA_code": "'C21'"}]
    prepared = prepare("zzu-pecg", tree(tmp_path, rows), cache_dir=cache, min_count=1, min_samples=52)
    assert prepared.exclusions == {"shorter than 10 s": 1}
    assert prepared.labels["label_all"] == ["Low voltage", "Sinus tachycardia"]
    assert sum(len(split) for split in prepared.splits.values()) == 2


def test_when_every_record_is_short_no_split_has_any(tmp_path: Path, cache: Path) -> None:
    prepared = prepare("zzu-pecg", tree(tmp_path, [{}, {}]), cache_dir=cache, min_count=1)
    assert prepared.exclusions == {"shorter than 10 s": 2}
    assert [len(split) for split in prepared.splits.values()] == [0, 0, 0]


def test_person_and_age(tmp_path: Path) -> None:
    rows = [{"Age": "365d", "Gender": "'Male'"}, {"Age": "'730d'", "Gender": "female"}, {"Gender": "'Unknown'"}]
    records = list(DATASET.scan(tree(tmp_path, rows), 500).records(0, 3))
    assert [record.sex for record in records] == ["male", "female", None]
    assert [record.metadata["age_days"] for record in records] == [365, 730, 572]
    assert records[0].age == pytest.approx(365 / 365.25)


def test_columns_match_without_case_and_missing_ones_are_named(tmp_path: Path) -> None:
    folder = tree(tmp_path, [{}])
    table = folder / "AttributesDictionary.csv"
    table.write_text(table.read_text().replace("Patient_ID", "PATIENT_id").replace("AHA_code", "aha_CODE"))
    assert len(DATASET.scan(folder, 500)) == 1
    table.write_text(table.read_text().replace("aha_CODE", "other"))
    with pytest.raises(DataError, match="lacks the column 'aha_code'; it has 'filename', 'ecg_id'"):
        DATASET.scan(folder, 500)
    (folder / "ECGCode.csv").write_text("Description,AHA(Category&Code),CHN(Category&Code)\n")
    with pytest.raises(DataError, match=r"ECGCode\.csv' lacks the columns .* it has no rows"):
        read_codes(folder, "page")


def test_a_damaged_code_table_stops(tmp_path: Path) -> None:
    folder = tree(tmp_path, [{}])
    with (folder / "ECGCode.csv").open("a") as handle:
        handle.write("one cell\n")
    with pytest.raises(DataError, match=r"ECGCode\.csv' is damaged: line 8: 1 cells in a table of 3 columns"):
        read_codes(folder, "page")


def _made_up(rows: int) -> tuple[list[str], list[list[str]], list[bool], list[int]]:
    """Return patients, categories, sexes and ages by plain arithmetic."""
    patients = [f"P{row * 7 % 61:05d}" for row in range(rows)]
    names = ("Kawasaki disease", "Atrial septal defect", "Myocarditis", "Cardiomyopathy")
    categories = [[names[row % 4]] * (1 + row % 2) if row % 3 == 0 else [] for row in range(rows)]
    categories[10] = ["Rare", "Myocarditis"]
    return patients, categories, [row % 5 < 3 for row in range(rows)], [row * 97 % 7000 for row in range(rows)]


def test_folds_of_a_made_up_table_are_those_of_the_published_code() -> None:
    folds = stratified_folds(*_made_up(200), min_count=3)
    text = "".join(f"{row},{fold}\n" for row, fold in enumerate(folds))
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "4717a728ee734d6d8b2868633be73dc3ecb9e9a1b7691acd416d29d37cd900aa"
    )


def test_boys_come_before_girls_where_the_published_code_breaks_a_tie() -> None:
    patients = [f"P{row:05d}" for row in range(60)]
    folds = stratified_folds(patients, [[]] * 60, [row % 2 == 0 for row in range(60)], [2000] * 60, 10)
    assert "".join(map(str, folds)) == "579211483326046985706128375692100975844385183297217966400354"


def test_folds_follow_patients_and_the_minimum_count() -> None:
    patients, categories, male, ages = _made_up(200)
    folds = stratified_folds(patients, categories, male, ages, 3)
    by_patient: dict[str, set[int]] = {}
    for patient, fold in zip(patients, folds.tolist(), strict=True):
        by_patient.setdefault(patient, set()).add(fold)
    assert all(len(found) == 1 for found in by_patient.values())
    assert set(folds.tolist()) == set(range(10))
    without = [[name for name in names if name != "Rare"] for names in categories]
    assert (stratified_folds(patients, without, male, ages, 3) == folds).all()


@pytest.mark.parametrize(("below", "above"), [(364, 365), (1824, 1825), (4379, 4380), (6569, 6570)])
def test_age_groups_change_at_the_published_days(below: int, above: int) -> None:
    from dataset_scripts.published.zzu_pecg import _age_group

    assert _age_group(above) == _age_group(below) + 1


@pytest.mark.heavy
def test_both_layouts_are_read(raw: Path, found: Prepared, tmp_path: Path) -> None:
    for place in ("", "Child_ecg/Child_ecg"):
        folder = tmp_path / (place.replace("/", "-") or "flat")
        (folder / place).mkdir(parents=True)
        for table in raw.glob("*.csv"):
            shutil.copy(table, folder)
        (folder / place / "P00").symlink_to(raw / "Child_ecg" / "P00")
        prepared = prepare("zzu-pecg", folder, cache_dir=tmp_path / "cache", min_count=1)
        assert prepared.label_hashes == found.label_hashes
        assert prepared.report["digest"].tolist() == found.report["digest"].tolist()


def test_waveforms_that_are_packed_or_absent_are_told(raw: Path, tmp_path: Path) -> None:
    for table in raw.glob("*.csv"):
        shutil.copy(table, tmp_path)
    with pytest.raises(DataError, match="holds no waveforms: neither Child_ecg/P00 nor P00 is there"):
        prepare("zzu-pecg", tmp_path, cache_dir=tmp_path / "cache")
    (tmp_path / "Child_ecg.z01").touch()
    with pytest.raises(DataError, match=r"still packed\..*`7z x Child_ecg\.zip`"):
        prepare("zzu-pecg", tmp_path, cache_dir=tmp_path / "cache")


@pytest.mark.heavy
def test_gain_and_baseline_of_every_lead_are_kept(raw: Path, found: Prepared) -> None:
    files = dict(zip(found.report["record_id"], found.report["file"], strict=True))
    for split in found.splits.values():
        reader = SignalReader(split)
        for position, record in enumerate(split["record_id"]):
            reference = wfdb.rdrecord(str(raw / files[record]), physical=False)
            assert (reader.raw(position) == reference.d_signal).all()
            assert split["baseline"][position] == reference.baseline
            assert len(set(split["gain_uv"][position])) == 12
            physical = wfdb.rdrecord(str(raw / files[record])).p_signal
            assert np.abs(reader.window_mv(position) - physical).max() < 0.0005


def test_the_mock_prepares_without_loss(found: Prepared) -> None:
    assert (found.report.loc[found.report["status"] == "ok", "reason"] == "").all()
    assert found.report["status"].value_counts().to_dict() == {"ok": 38, "excluded": 2}
    assert found.exclusions == {"nine leads": 2, "shorter than 10 s": 2}
    assert set(found.splits["test"]["fold"]) == {9}
    assert set(found.splits["validation"]["fold"]) == {8}


def test_mock_records_of_nine_leads_lack_three(raw: Path) -> None:
    headers = [path.read_text().splitlines() for path in sorted(raw.rglob("*.hea"))]
    nine = [header for header in headers if header[0].split()[1] == "9"]
    assert len(nine) == 2
    assert [line.split()[-1] for line in nine[0][1:10]] == ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V3", "V5"]


def test_awkward_records_are_lost_or_kept_each_for_its_reason(tmp_path: Path, cache: Path) -> None:
    raw = mock.write("zzu-pecg", tmp_path / "zzu", records=31, seed=6, awkward=True)
    prepared = prepare("zzu-pecg", raw, cache_dir=cache, max_unreadable=0.3)
    entries = [entry.name for entry in plan(31, 6)][-len(AWKWARD) :]
    ids = dict(zip(AWKWARD, entries, strict=True))
    status = dict(zip(prepared.report["record_id"], prepared.report["status"], strict=True))
    assert {kind for kind, name in ids.items() if status[name] == "lost"} == {
        *("truncated file", "missing file", "empty age", "lead without number"),
    }
    rows = {row["record_id"]: row for split in prepared.splits.values() for row in split.remove_columns("signal")}
    names = prepared.labels["label_all"]
    shown = {kind: [names[i] for i in rows[name]["label_all"]] for kind, name in ids.items() if name in rows}
    assert shown["unknown code"] == shown["repeated code"] == ["Sinus tachycardia"]
    assert shown["no code"] == []
    assert shown["blank in codes"] == ["Sinus tachycardia", "T-wave abnormality"]
    assert rows[ids["other gender"]]["sex"] is None


def test_every_published_label_occurs_in_every_split_from_1000_records_on() -> None:
    labels = {statement.aha: statement.description for statement in STATEMENTS if statement.aha}
    assert len(labels) == DATASET.releases[0].label_numbers["label_all"] == 58
    assert len(DISEASES) == DATASET.releases[0].label_numbers["label_icd10"] == 19
    entries = [entry for entry in plan(1000, seed=0) if len(entry.leads) == 12]
    folds = stratified_folds(
        [entry.person.name for entry in entries],
        [[disease.category for disease in entry.person.diseases] for entry in entries],
        [entry.person.male for entry in entries],
        [entry.age_days for entry in entries],
        4,
    )
    seen: dict[int, set[str]] = {}
    for entry, fold in zip(entries, folds.tolist(), strict=True):
        if entry.seconds >= 10:
            seen.setdefault(fold, set()).update(statement.aha for statement in entry.statements)
    for part in (seen[9], seen[8], set().union(*(seen[fold] for fold in range(8)))):
        assert set(labels) <= part
    assert {disease.category for entry in entries for disease in entry.person.diseases} == {
        d.category for d in DISEASES
    }


@pytest.mark.heavy
def test_the_common_labels_occur_in_every_split_of_200_records(tmp_path: Path) -> None:
    prepared = prepare(
        "zzu-pecg", mock.write("zzu-pecg", tmp_path / "raw", records=200, seed=8), cache_dir=tmp_path / "cache"
    )
    common = [prepared.labels["label_all"].index(name) for name in ("Normal ECG", "Sinus tachycardia")]
    for split in prepared.splits.values():
        assert (label_matrix(split, "label_all")[:, common].sum(axis=0) > 0).all()


def test_mock_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ZZU pECG comes at 500 Hz"):
        mock.write("zzu-pecg", tmp_path / "x", records=9, sampling_rates=(100,))
    with pytest.raises(InputError, match="too few for the 10 awkward cases"):
        mock.write("zzu-pecg", tmp_path / "x", records=10, awkward=True)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    trees = [
        mock.write("zzu-pecg", tmp_path / name, records=8, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    first, again, other = (
        {str(path.relative_to(tree)): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}
        for tree in trees
    )
    assert first == again
    assert first != other


def test_signals_are_not_passed_on() -> None:
    assert DATASET.redistribution is False
    assert DATASET.label_title("label_all", "Short PR interva") == "Short PR interval"
    assert DATASET.label_title("label_all", "Normal ECG") == "Normal ECG"


@pytest.mark.heavy
def test_labels_can_be_learned(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    raw = mock.write("zzu-pecg", tmp_path / "raw", records=700, seed=11)
    prepared = prepare("zzu-pecg", raw, cache_dir=tmp_path / "cache", min_count=20)

    def features(part: str) -> np.ndarray:
        reader = SignalReader(prepared.splits[part])
        rows = []
        for index in range(len(reader)):
            signal = reader.window_mv(index, 0, 5000)[::2]
            signal = signal - np.median(signal, axis=0)
            step = np.abs(np.diff(signal, axis=0))
            own = (signal.max(axis=0), signal.min(axis=0), signal.std(axis=0), step.mean(axis=0))
            rows.append(np.concatenate([*own, *np.quantile(signal, [0.1, 0.25, 0.75, 0.9], axis=0)]))
        return np.array(rows)

    truth = {part: label_matrix(prepared.splits[part], "label_all") for part in ("train", "test")}
    train, test = features("train"), features("test")
    scores = []
    for column in range(truth["train"].shape[1]):
        if 0 < truth["test"][:, column].sum() < len(test):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
            model.fit(train, truth["train"][:, column])
            scores.append(roc_auc_score(truth["test"][:, column], model.predict_proba(test)[:, 1]))
    assert len(scores) >= 5
    assert np.mean(scores) > 0.7
