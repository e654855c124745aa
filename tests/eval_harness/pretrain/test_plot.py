"""The curves of a log: what is drawn, and how a long log is thinned."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from eval_harness.pretrain import log as plot
from eval_harness.pretrain import run as run_module
from eval_harness.pretrain.log import TrainingLog, read_log


def row(step: int, **more: Any) -> dict[str, Any]:
    plain = {"loss": 5.0 - step / 100, "accuracy": {"1": 0.5, "14": step / 100}, "learning_rate": 1e-3}
    return {"step": step, **plain, "grad_norm": None if step == 3 else 1.0, "records_per_s": 10.0, **more}


def probe(step: int, point: float | None) -> dict[str, Any]:
    found = {"task": "ptbxl_super", "mode": "linear", "metric": "macro_auroc", "point": point}
    return {
        "step": step,
        "probe": {**found, "low": 0.5, "high": 0.9} if point is not None else {**found, "reason": "x"},
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    log = TrainingLog(path / "log.jsonl")
    for entry in rows:
        log.add(entry)
    log.close()
    return path / "log.jsonl"


@pytest.mark.heavy
def test_every_curve_is_named(tmp_path: Path) -> None:
    log = write(tmp_path, [probe(0, 0.6), *map(row, range(1, 60)), probe(50, 0.7), probe(59, None)])
    written = plot.write_curves(log, tmp_path / "curves", 1 / 129, "a title")
    assert [path.name for path in written] == ["curves.svg", "curves.png"] or len(written) == 2
    svg = (tmp_path / "curves.svg").read_text()
    for text in ("a title", "14 tokens ahead", "1 tokens ahead", "chance, 0.0078", "probe: ptbxl_super", "macro AUROC"):
        assert text in svg, text


@pytest.mark.heavy
def test_both_losses_are_drawn(tmp_path: Path) -> None:
    log = write(tmp_path, [row(step, contrastive_loss=4.0, beat_loss=1.0) for step in range(1, 9)])
    plot.write_curves(log, tmp_path / "curves", 0.1, "")
    svg = (tmp_path / "curves.svg").read_text()
    assert "beats and rhythm (squared error)" in svg
    assert "contrastive (nats)" in svg


@pytest.mark.heavy
def test_without_probes_the_speed_is_drawn(tmp_path: Path) -> None:
    plot.write_curves(write(tmp_path, [row(1)]), tmp_path / "curves", 0.1, "")
    assert "records per second" in (tmp_path / "curves.svg").read_text()


def test_an_empty_log_draws_nothing(tmp_path: Path) -> None:
    assert plot.write_curves(tmp_path / "log.jsonl", tmp_path / "curves", 0.1, "") == []
    assert list(tmp_path.iterdir()) == []


def test_a_curve_of_probes_is_of_one_task(tmp_path: Path) -> None:
    other = probe(0, 0.2)
    other["probe"]["task"] = "ptbxl_sub"
    drawn = plot.new_figure(4, 3).subplots()
    plot._probe(drawn, [other, probe(50, 0.7), probe(60, 0.8)])
    assert drawn.lines[0].get_ydata().tolist() == [0.7, 0.8]


def test_another_probe_is_scored_where_one_was_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write(tmp_path, [probe(0, 0.2)])
    monkeypatch.setattr(run_module, "run_probe", lambda asked, *rest: {**asked.names, "metric": "macro_auroc", **ends})
    ends, accelerator = {"point": 0.5, "low": None, "high": None}, Mock(is_main_process=True)
    options = Mock(output=tmp_path)
    for task, lines in (("ptbxl_super", 1), ("ptbxl_sub", 2), ("ptbxl_sub", 2)):
        written = TrainingLog(log)
        call = Mock(options=options, accelerator=accelerator, log=written)
        run_module._Run._probe(call, Mock(names={"task": task, "mode": "linear"}, task=task, mode="linear"), 0)
        written.close()
        assert len(read_log(log)) == lines


def test_long_logs_are_drawn_by_means() -> None:
    thinned = plot._thinned(np.arange(3 * plot.POINTS + 2, dtype=float))
    assert len(thinned) == plot.POINTS
    assert thinned[:2].tolist() == [1.0, 4.0]


def test_a_log_ends_at_a_line_that_is_not_whole(tmp_path: Path) -> None:
    log = write(tmp_path, [row(1), row(2)])
    with log.open("a") as file:
        file.write('{"step": 3, "lo')
    assert [entry["step"] for entry in read_log(log)] == [1, 2]
    kept = TrainingLog(log).cut(1)
    assert [entry["step"] for entry in kept] == [1]
    assert read_log(log) == kept
