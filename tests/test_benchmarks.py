"""The plain forms that the benchmarks time the models against compute the same features."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ecg_hub import catalog
from tests.support.models import signals

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return importlib.import_module("models")


def test_there_is_a_plain_form_of_every_model(models: ModuleType) -> None:
    assert set(models.eager.PLAIN) == {entry.model_type for entry in catalog.models().values()}


@pytest.mark.parametrize("alias", catalog.models())
def test_plain_form_and_model_agree(alias: str, models: ModuleType) -> None:
    model = models.encoder(f"{alias}-tiny")
    x = signals(model.config, batch=3)
    with torch.no_grad():
        (tokens, pooled), ours = models.eager.features(model, x), model(x)
    scale = max(1.0, tokens.abs().max().item())
    assert (tokens - ours.last_hidden_state).abs().max() <= models.TOLERANCE * scale
    assert (pooled - ours.pooler_output).abs().max() <= models.TOLERANCE * scale
    row = models.compare(alias, model, batch=2, repeats=2)
    assert row.difference <= models.TOLERANCE * row.largest
    assert min(row.plain_s, row.ours_s, row.ratio) > 0


def test_what_counts_as_failure(models: ModuleType) -> None:
    def row(ratio: float, difference: float) -> object:
        return models.Comparison("x", 1, 1.0, 1.0, ratio, (ratio, ratio), difference, 2.0)

    assert models.failures([row(1.0, 1e-6), row(0.98, 3e-5)], slack=0.03) == []
    (slow,) = models.failures([row(0.9, 0.0)], slack=0.03)
    assert "slower than the plain form, 0.90" in slow
    (wrong,) = models.failures([row(2.0, 1e-3)], slack=0.03)
    assert "differ by 1.0e-03" in wrong
