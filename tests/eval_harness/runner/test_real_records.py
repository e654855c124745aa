"""The six results of two tasks and three modes on 160 real PTB-XL records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval_harness.cli.eval.main import main
from eval_harness.results.predictions import read_predictions
from eval_harness.results.schema import read_result

MODES = ("linear", "frozen", "finetune")
TASKS = {"ptbxl_super": 5, "ptbxl_all": 71}


def root_of_mini(shared: Path, tmp_path: Path) -> Path:
    """A data root in which ptb-xl is the folder of 160 real records."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "ptb-xl").symlink_to(shared / "data" / "ptbxl" / "mini")
    return root


@pytest.mark.parametrize(
    ("model", "epochs"), [("random:ecg-cpc-tiny", 3), pytest.param("random:ecg-cpc", 1, marks=pytest.mark.heavy)]
)
def test_real_records_end_to_end(
    model: str,
    epochs: int,
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, output = root_of_mini(shared, tmp_path), tmp_path / "out"
    words = ["--model", model, "--tasks", ",".join(TASKS), "--mode", ",".join(MODES), "--data-root", str(root)]
    assert main([*words, "--epochs", str(epochs), "--output", str(output), "--device", "cpu"]) == 0
    table = capsys.readouterr().out
    assert "6 done" in table
    assert f"epochs={epochs}" in table
    for mode in MODES:
        for task, published in TASKS.items():
            folder = output / model.replace(":", "__") / mode
            result = read_result(folder / f"{task}.json")
            data = result.data
            assert data is not None
            assert (data.records.train, data.records.validation, data.records.test) == (106, 30, 24)
            assert data.labels.published == published
            assert data.labels.scored + len(data.labels.missing) == published
            assert data.labels.missing
            deviations = result.protocol.deviations
            assert deviations == {
                "epochs": epochs,
                "version": "1.0.1",
                "labels": f"{data.labels.scored}/{published}",
                "records": "160/21837 in all",
            }
            for name in ("macro_auroc", "macro_auroc_paper", "macro_auprc"):
                estimate = result.metrics[name]
                assert estimate.point is not None
                assert estimate.low is not None
                assert estimate.low <= estimate.point <= (estimate.high or 0)
            rows = read_predictions(folder / "predictions" / f"{result.run}.parquet")
            assert len(rows.part("test").record_id) == 24
            assert len(rows.part("validation").record_id) == 30
    run = json.loads((output / model.replace(":", "__") / "linear" / "run.json").read_text())
    assert set(run["tasks"]) == set(TASKS)


def test_truncated_and_missing_records_are_loss_and_named(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    root = tmp_path / "root"
    source = shared / "data" / "ptbxl" / "mini"
    shutil.copytree(source, root / "ptb-xl", ignore=shutil.ignore_patterns("records100"))
    for folder in [root / "ptb-xl", *(root / "ptb-xl").rglob("*")]:
        folder.chmod(0o755)
    (root / "ptb-xl" / "records500" / "00000" / "00001_hr.dat").unlink()
    short = root / "ptb-xl" / "records500" / "00000" / "00002_hr.dat"
    short.write_bytes(short.read_bytes()[:1000])
    words = ["--model", "random:ecg-cpc-tiny", "--tasks", "ptbxl_super", "--mode", "linear", "--data-root", str(root)]
    words += ["--epochs", "1", "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "00001_hr" in error
    assert "00002_hr" in error
    assert main([*words, "--max-unreadable", "0.05"]) == 0
