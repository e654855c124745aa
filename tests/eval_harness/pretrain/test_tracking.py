"""Trackers are started with the settings, get every logged number, and are ended."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accelerate
import pytest

from eval_harness.pretrain.log import PROJECT, tracked, tracking_arguments
from tests.support.pretraining import run


def test_trackers_get_flat_settings_and_are_ended_after_an_error() -> None:
    calls: list[Any] = []
    accelerator = SimpleNamespace(
        init_trackers=lambda project, config: calls.append((project, config)), end_training=lambda: calls.append("end")
    )
    settings = {"numbers": {"seed": 1}, "data": "x"}

    def fails() -> None:
        with tracked(accelerator, ("tensorboard",), settings):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the one raised above
        fails()
    assert calls == [(PROJECT, {"numbers": "{'seed': 1}", "data": "x"}), "end"]


def test_without_trackers_nothing_is_started(tmp_path: Path) -> None:
    with tracked(SimpleNamespace(), (), {}):
        pass
    assert tracking_arguments((), tmp_path) == {}
    assert tracking_arguments(("trackio",), tmp_path)["log_with"] == ["trackio"]


def test_every_logged_number_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[tuple[int, dict[str, float]]] = []
    monkeypatch.setattr(accelerate.Accelerator, "log", lambda self, values, step: passed.append((step, values)))
    log = run(tmp_path, steps=5, log_every=2)
    assert [step for step, _ in passed] == [row["step"] for row in log] == [1, 2, 4, 5]
    for (_, values), row in zip(passed, log, strict=True):
        assert values["loss"] == row["loss"]
        assert values["accuracy/14"] == row["accuracy"]["14"]
        assert all(isinstance(value, float) for value in values.values())
