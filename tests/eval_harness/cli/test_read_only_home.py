"""A home that cannot be written: what needs none works, the rest says so in a sentence and names the variable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataset_scripts.mock import write
from ecg_hub.leads import LEADS
from eval_harness.cli.eval.main import main as ecg_eval
from eval_harness.cli.hub.main import main as ecg_hub
from tests.support.records import write_record

PROGRAMS = {"ecg-hub": ecg_hub, "ecg-eval": ecg_eval}
TINY = "random:ecg-cpc-tiny"
RUN = "--tasks ptbxl_super --mode linear --limit 64 --epochs 1 --resamples 20 --output out"
# Whether the command is done without a home.
QUICK = {
    "ecg-hub ls": True,
    "ecg-hub info ecg-cpc": True,
    "ecg-hub data ls": True,
    "ecg-hub data info ptb-xl": True,
    "ecg-hub pull ecg-cpc": False,
    "ecg-hub info no-such-model": False,
    "ecg-eval ls tasks": True,
    "ecg-eval describe ptbxl_super": True,
    "ecg-eval leaderboard --folder board --output site": None,
}
SLOW = {
    f"ecg-hub embed {TINY} record.hea --output features.parquet": True,
    f"ecg-hub bench {TINY} --threads 1": True,
    "ecg-hub data prepare ptb-xl --data-dir data/ptb-xl": False,
    "ecg-hub data prepare ptb-xl --data-dir data/ptb-xl --cache-dir cache": True,
    "ecg-hub data plot ptb-xl 1 --data-dir data/ptb-xl --output ecg.png": None,
    f"ecg-eval run --model {TINY} {RUN} --data-root mock": False,
    f"ecg-eval run --model {TINY} {RUN} --data-root data": False,
    f"ecg-eval run --model {TINY} {RUN} --data-root data --cache-dir cache": True,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, and a home that no rights would open: root may write wherever the mode forbids it."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ECG_HUB_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setenv("ECG_HUB_OFFLINE", "1")
    monkeypatch.delenv("ECG_DATA_ROOT", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def _check(command: str, works: bool | None, capsys: pytest.CaptureFixture[str]) -> None:
    program, *words = command.split()
    code = PROGRAMS[program](words)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert code == 0 if works else code in ((0, 1) if works is None else (1, 2)), said
    if code == 1 and "prepare" in command:
        assert "ECG_HUB_HOME" in said or "--cache-dir" in said, said


@pytest.mark.parametrize("command", QUICK)
def test_quick_commands(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _check(command, QUICK[command], capsys)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # a handful of records
@pytest.mark.parametrize("command", SLOW)
def test_commands_that_compute(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(here / "record", np.random.default_rng(0).normal(0, 0.2, (12, 5000)), 500, LEADS)
    write("ptb-xl", here / "data" / "ptb-xl", records=128)
    _check(command, SLOW[command], capsys)
