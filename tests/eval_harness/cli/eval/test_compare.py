"""What `ecg-eval compare` prints: both readings, what was drawn, and JSON without NaN."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval_harness.cli.eval.main import main
from tests.support.board import write_scored
from tests.support.results import predictions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models on two records of each of 60 patients: the last is worse."""
    root, noise = tmp_path_factory.mktemp("compared"), np.random.default_rng(0)
    for model, skill in {"random:ecg-cpc-tiny": 0.4, "random:merl-tiny": 0.4, "random:ecg-fm-tiny": 0.1}.items():
        given = predictions(seed=1, test=120)
        prob = (skill * given.y_true + (1 - skill) * noise.random(given.y_true.shape)).astype(np.float32)
        write_scored(root / model.partition(":")[2], model, given=replace(given, y_prob=prob))
    return root


def test_both_readings_and_what_was_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(folder), "--pairs", "--resamples", "200"]) == 0
    out = capsys.readouterr().out
    assert "3 pairs; ptbxl_super: resampled by patient (60 patients, 120 records)." in out
    assert "equal models are separated on at most 5 % of tasks" in out
    assert "--by patient draws patients" not in out
    tables = out.partition("\n3 pairs;")[0]
    ranks, below, pairs, task = (table.splitlines() for table in tables.strip().split("\n\n"))
    assert "rank  as published" in ranks[0]
    assert [line.split()[2:4] for line in ranks[1:]] == [["1", "1"], ["1", "1"], ["3", "3"]]
    assert "in all rows: task ptbxl_super; metric macro_auroc; records 120" in below[0]
    assert "p (Holm)  distinguished  as published" in pairs[0]
    assert [line.split()[-2:] for line in pairs[1:]] == [["no", "tie"], ["yes", "differ"], ["yes", "differ"]]
    assert task == ["in all rows: task ptbxl_super"]
    assert "< 0.001" in pairs[2]


def test_runs_of_one_name_are_called_by_where_their_folders_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = predictions(seed=1, test=120)
    for place in ("off/seed_0", "on/seed_0"):
        write_scored(tmp_path / place / "ecg-cpc-tiny", "random:ecg-cpc-tiny", given=given)
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "off", str(tmp_path / "on"), "--resamples", "50"]) == 0, "relative beside absolute"
    out = capsys.readouterr().out
    assert str(tmp_path) not in out
    for place in ("off/seed_0", "on/seed_0"):
        assert f" ({place}/" in out


@pytest.mark.parametrize("options", [["--by", "record"], ["--metric", "macro_auroc_paper"]])
def test_drawing_by_record_is_said(folder: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert main(["compare", str(folder), "--resamples", "50", *options]) == 0
    out = capsys.readouterr().out
    assert "resampled by record (120 records of 60 patients)" in out
    assert "--by patient draws patients" in out


def test_json_says_the_unit_and_has_no_nan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One positive of each label vanishes from a third of the resamples: there is no interval and no p."""
    for number, model in enumerate(("random:ecg-cpc-tiny", "random:merl-tiny")):
        given = predictions(seed=1, test=120)
        true = given.y_true.copy()
        true[10:] = 0
        true[10] = 1
        prob = np.random.default_rng(number).random(true.shape).astype(np.float32)
        write_scored(tmp_path / str(number), model, given=replace(given, y_true=true, y_prob=prob))
    assert main(["compare", str(tmp_path), "--resamples", "200", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (found["unit"], found["patients"], found["records"]) == ("patient", 60, 120)
    (pair,) = found["pairs"]
    assert (pair["p"], pair["p_holm"], pair["difference"]["low"], pair["distinguished"]) == (None, None, None, False)


def test_the_old_name_of_the_option_still_holds() -> None:
    from eval_harness.cli.eval import compare

    parser = argparse.ArgumentParser()
    compare.register(parser.add_subparsers())
    assert parser.parse_args(["compare", "x"]).by == "auto"
    assert parser.parse_args(["compare", "x", "--resample-unit", "patient"]).by == "patient"
