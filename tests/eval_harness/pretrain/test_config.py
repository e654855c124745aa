"""The numbers of a pre-training run: the published ones by default, checked, and what of them decides the weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ecg_hub import catalog
from ecg_hub.errors import InputError
from eval_harness.pretrain.config import PretrainConfig


def test_defaults_are_the_published_run() -> None:
    config = PretrainConfig()
    assert (config.seconds, config.batch_size) == (10.0, 64)
    assert (config.learning_rate, config.weight_decay, config.schedule) == (1e-3, 1e-3, "constant")
    assert (config.mixed_precision, config.grad_clip, config.accumulate, config.batch_norm) == ("no", None, 1, "local")
    assert config.total_steps(6_400) == 200 * 100
    assert config.changes() == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"epochs": 0.0},
        {"steps": 5, "epochs": 1.0},
        {"seconds": -1.0},
        {"batch_size": 0},
        {"lanes": 0},
        {"accumulate": 0},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"grad_clip": 0.0},
        {"beta2": 1.0},
        {"schedule": "step"},
        {"mixed_precision": "fp8"},
        {"batch_norm": "none"},
        {"checkpoint_every": 0},
        {"keep": 0},
        {"warmup_steps": -1},
        {"seed": -1},
        {"augment": 1.5},
    ],
)
def test_what_cannot_run_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        PretrainConfig(**wrong)


def test_steps_and_epochs() -> None:
    assert PretrainConfig(steps=7).total_steps(100) == 7
    assert PretrainConfig(epochs=1.5, batch_size=8).total_steps(100) == 18
    assert PretrainConfig(epochs=0.01, batch_size=8).total_steps(100) == 1


def test_rates() -> None:
    constant = PretrainConfig(warmup_steps=4)
    assert [constant.rate(step, 100) for step in (0, 1, 3, 99)] == [0.00025, 0.0005, 0.001, 0.001]
    cosine = PretrainConfig(schedule="cosine", warmup_steps=2)
    rates = [cosine.rate(step, 102) for step in range(102)]
    assert rates[1] == 1e-3
    assert rates[52] == pytest.approx(5e-4)
    assert rates[-1] < 1e-6
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_the_end_decides_only_where_the_rate_falls_towards_it() -> None:
    assert PretrainConfig(steps=5).decisive(5) == PretrainConfig(steps=9, checkpoint_every=7).decisive(9)
    cosine = PretrainConfig(schedule="cosine")
    assert cosine.decisive(5) != cosine.decisive(9)
    for change in (
        {"learning_rate": 2e-3},
        {"seed": 1},
        {"lanes": 4},
        {"batch_norm": "frozen"},
        {"accumulate": 2},
        {"augment": 0.5},
    ):
        assert PretrainConfig(**change).decisive(5) != PretrainConfig().decisive(5)


def test_the_fingerprint_of_a_run_of_before_stays(package: Path) -> None:
    facts = json.loads((package / "config.json").read_text())["pretraining"]
    words = facts["settings"]
    fields = {f.name for f in dataclasses.fields(PretrainConfig)}
    config = PretrainConfig(steps=facts["steps"], **{name: words[name] for name in fields & words.keys()})
    of_model = {name: words[name] for name in words.keys() - fields - {"scale_output"}}
    settings = {
        "numbers": config.decisive(facts["steps"]),
        "start": {"architecture": "ecg-cpc", "settings": of_model},
        "data": facts["data_fingerprint"],
    }
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == facts["run_fingerprint"]


@pytest.fixture
def package() -> Path:
    """The folder of the first checkpoint that was made here; its run knew none of the later fields."""
    folder = catalog.get("ecg-cpc-mini-contrast").embedded
    assert folder is not None
    return folder
