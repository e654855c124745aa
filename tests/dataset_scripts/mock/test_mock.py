"""Mock trees: true file format, determinism, learnable labels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dataset_scripts import mock
from dataset_scripts.core.labels import label_matrix
from dataset_scripts.load import prepare
from dataset_scripts.mock.ptb_xl import COLUMNS, STATEMENT_COLUMNS, STATEMENTS, plan
from dataset_scripts.reader import SignalReader
from ecg_hub.errors import InputError, UnknownNameError
from tests.support.forms import STATEMENT_FACTS, blanked, cell_form, read_csv
from tests.support.wfdb_reader import wfdb


@pytest.fixture(scope="module")
def real(golden: Path) -> dict[str, Any]:
    """What columns, cells and headers of the release look like."""
    found: dict[str, Any] = json.loads((golden / "labels/forms.json").read_text())["ptb-xl"]
    return found


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_tree_has_the_files_and_columns_of_ptb_xl(mock_ptb_xl: Path, real: dict[str, Any]) -> None:
    names = {path.name for path in mock_ptb_xl.iterdir()}
    tables = {"ptbxl_database.csv", "scp_statements.csv", "RECORDS", "LICENSE.txt", "mock.json"}
    assert names == tables | {"records100", "records500"}
    rows = read_csv(mock_ptb_xl / "ptbxl_database.csv")
    assert tuple(rows[0]) == tuple(real["columns"]) == COLUMNS
    for column, shapes in real["cells"].items():
        assert {cell_form(row[column]) for row in rows} & set(shapes), column
    for rate in (100, 500):
        assert {row["filename_lr" if rate == 100 else "filename_hr"] for row in rows} == {
            line for line in (mock_ptb_xl / "RECORDS").read_text().split() if line.startswith(f"records{rate}/")
        }


def test_the_statement_table_holds_the_published_facts_in_other_words(mock_ptb_xl: Path, real: dict[str, Any]) -> None:
    rows = read_csv(mock_ptb_xl / "scp_statements.csv")
    assert tuple(rows[0]) == tuple(real["statement_columns"]) == STATEMENT_COLUMNS
    assert [[row[column] for column in STATEMENT_FACTS] for row in rows] == real["statements"]
    assert {row[""] for row in rows} == set(STATEMENTS)


@pytest.mark.parametrize(("rate", "suffix"), [(500, "hr"), (100, "lr")])
def test_records_are_wfdb_of_the_published_form(
    mock_ptb_xl: Path, real: dict[str, Any], rate: int, suffix: str
) -> None:
    place = f"records{rate}/00000/00001_{suffix}"
    header = (mock_ptb_xl / f"{place}.hea").read_text().splitlines()
    assert header[0] == f"00001_{suffix} 12 {rate} {10 * rate}"
    assert blanked(header, (5, 6)) == real["headers"][str(rate)]
    record = wfdb.rdrecord(str(mock_ptb_xl / place), physical=False)
    assert record.d_signal.shape == (10 * rate, 12)
    assert record.init_value == record.d_signal[0].tolist()
    assert record.checksum == (record.d_signal.sum(axis=0) % 65536).tolist()
    assert record.units == ["mV"] * 12
    assert (record.d_signal[:, 2] == record.d_signal[:, 1] - record.d_signal[:, 0]).all()


def test_both_rates_show_the_same_record(mock_ptb_xl: Path) -> None:
    fast, slow = (
        wfdb.rdrecord(str(mock_ptb_xl / f"records{r}/00000/00009_{s}")).p_signal for r, s in ((500, "hr"), (100, "lr"))
    )
    assert np.abs(fast.reshape(1000, 5, 12).mean(axis=1) - slow).max() < 0.003


def test_people_have_several_records_in_one_fold_and_odd_cells_occur(mock_ptb_xl: Path) -> None:
    rows = read_csv(mock_ptb_xl / "ptbxl_database.csv")
    folds: dict[str, set[str]] = {}
    for row in rows:
        folds.setdefault(row["patient_id"], set()).add(row["strat_fold"])
    assert len(folds) < len(rows)
    assert all(len(found) == 1 for found in folds.values())
    assert {row["strat_fold"] for row in rows} == {str(fold) for fold in range(1, 11)}
    for column, cell in (("age", "300.0"), ("age", ""), ("height", ""), ("sex", "0"), ("sex", "1")):
        assert any(row[column] == cell for row in rows), (column, cell)
    assert any("," in row["report"] for row in rows)


def test_every_label_occurs_in_every_split_from_750_records_on() -> None:
    entries = plan(750, seed=1)
    for folds in ({10}, {9}, set(range(1, 9))):
        assert {code for entry in entries if entry.fold in folds for code in entry.statements} == set(STATEMENTS)


@pytest.mark.parametrize("records", [1, 12, 160, 1000])
def test_any_number_of_records(records: int) -> None:
    entries = plan(records, seed=0)
    assert len({entry.ecg_id for entry in entries}) == records


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    trees = [
        mock.write("ptb-xl", tmp_path / name, records=20, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    first, again, other = map(digest, trees)
    assert first == again
    assert {name: other[name] for name in first if name != "LICENSE.txt"} != first
    about = json.loads((trees[0] / "mock.json").read_text())
    assert about == {
        "synthetic": True, "dataset": "ptb-xl", "records": 20, "seed": 1, "thresholds": {"min_count": 1},
        "simulator_version": 2,
    }  # fmt: skip


def test_write_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        mock.write("ptb-xl", tmp_path / "full")
    with pytest.raises(InputError, match="records=0 is not a number of records"):
        mock.write("ptb-xl", tmp_path / "x", records=0)
    with pytest.raises(InputError, match="PTB-XL comes at 500 and 100 Hz"):
        mock.write("ptb-xl", tmp_path / "x", records=3, sampling_rates=(250,))
    with pytest.raises(InputError, match="too few for the 5 awkward cases"):
        mock.write("ptb-xl", tmp_path / "x", records=5, awkward=True)
    with pytest.raises(UnknownNameError, match="Did you mean 'ptb-xl'"):
        mock.write("ptb-xk", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_mock_roots_are_written_once(tmp_path: Path) -> None:
    root = mock.mock_root(tmp_path, ["ptb-xl"], records=4, seed=2)
    before = {path: path.stat().st_mtime_ns for path in (root / "ptb-xl").rglob("*")}
    assert mock.mock_root(tmp_path, "ptb-xl", records=4, seed=2) == root
    assert {path: path.stat().st_mtime_ns for path in (root / "ptb-xl").rglob("*")} == before
    assert mock.mock_root(tmp_path, "ptb-xl", records=5, seed=2) != root
    assert prepare("ptb-xl", root / "ptb-xl", cache_dir=tmp_path / "cache").deviations["synthetic"] is True


def test_an_interrupted_mock_tree_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataset_scripts.mock import ptb_xl

    tables = ptb_xl._write_tables
    monkeypatch.setattr(ptb_xl, "_write_tables", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        mock.mock_root(tmp_path, "ptb-xl", records=4)
    assert not list(tmp_path.rglob("RECORDS"))
    assert not list(tmp_path.rglob("*.hea"))
    monkeypatch.setattr(ptb_xl, "_write_tables", tables)
    assert (mock.mock_root(tmp_path, "ptb-xl", records=4) / "ptb-xl/mock.json").is_file()


def features(split: object) -> np.ndarray:
    """Plain features per lead: extremes, spread, and mean absolute steps."""
    reader = SignalReader(split)  # type: ignore[arg-type]
    rows = []
    for index in range(len(reader)):
        signal = reader.window_mv(index)[::2]
        signal = signal - np.median(signal, axis=0)
        step = np.abs(np.diff(signal, axis=0))
        parts = (signal.max(axis=0), signal.min(axis=0), signal.std(axis=0), step.mean(axis=0))
        rows.append(np.concatenate([*parts, *np.quantile(signal, [0.1, 0.25, 0.75, 0.9], axis=0)]))
    return np.array(rows)


@pytest.mark.heavy
def test_labels_can_be_learned(tmp_path: Path) -> None:
    found = prepare(
        "ptb-xl", mock.write("ptb-xl", tmp_path / "raw", records=500, seed=11), cache_dir=tmp_path / "cache"
    )
    train, test = (features(found.splits[name]) for name in ("train", "test"))
    truth = {name: label_matrix(found.splits[name], "label_super") for name in ("train", "test")}
    scores = {}
    for column, label in enumerate(found.labels["label_super"]):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        model.fit(train, truth["train"][:, column])
        scores[label] = roc_auc_score(truth["test"][:, column], model.predict_proba(test)[:, 1])
    assert list(scores) == ["CD", "HYP", "MI", "NORM", "STTC"]
    assert np.mean(list(scores.values())) > 0.75
    assert min(scores.values()) > 0.6, scores
