"""Weights that come with the package: they load without a network, are told from others, and give the known numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ecg_hub
from dataset_scripts.mock.simulator import simulate, twelve_leads
from ecg_hub import catalog
from ecg_hub.errors import InputError
from ecg_hub.leads import LEADS
from ecg_hub.names import resolve
from ecg_hub.origin import origin_of
from ecg_hub.weights.pull import pull
from eval_harness import evaluate
from eval_harness.models.loading import load_model
from eval_harness.results.contamination import config_train_only, state

EMBEDDED = [alias for alias, entry in catalog.built_in().items() if entry.embedded]
RECORDS: dict[str, tuple[str, ...]] = {"normal": (), "infarction": ("AMI",), "block": ("CLBBB",)}


def features(alias: str) -> dict[str, list[float]]:
    """The mean of the features over the windows of three simulated records."""
    model, extractor = ecg_hub.AutoModel.from_pretrained(alias), ecg_hub.AutoFeatureExtractor.from_pretrained(alias)
    found = {}
    for seed, (name, findings) in enumerate(RECORDS.items()):
        signal = twelve_leads(simulate(findings, np.random.default_rng(seed))).T
        inputs = extractor(signal, sampling_rate=500, lead_names=LEADS, window="all", return_tensors="pt")
        with torch.no_grad():
            found[name] = [round(value, 5) for value in model(**inputs).pooler_output.mean(0).tolist()]
    return found


@pytest.mark.parametrize("alias", EMBEDDED)
def test_the_short_name_finds_the_package(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_HUB_OFFLINE", "1")
    entry = catalog.get(alias)
    assert Path(resolve(alias).target) == entry.embedded
    model = ecg_hub.AutoModel.from_pretrained(alias)
    origin = origin_of(model)
    assert (origin.kind, origin.evidence) == ("catalogue", "tensors")
    assert model.num_parameters() == entry.parameters
    twin = ecg_hub.AutoModel.from_pretrained(entry.random_name)
    assert origin_of(twin).kind == "random"
    assert {name: value.shape for name, value in twin.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    with pytest.raises(InputError, match="comes with the package"):
        pull(alias)


@pytest.mark.parametrize("alias", EMBEDDED)
def test_they_say_what_they_have_seen(alias: str) -> None:
    loaded = load_model(alias, "linear", "benchmark", 0)
    assert (loaded.id, loaded.corpora) == (alias, list(catalog.get(alias).corpora))
    config = loaded.encoder.config
    # Of weights that were trained with labels since, nothing is said to be unseen.
    assert bool(config_train_only(config)) == (not config.training)
    assert state(loaded.corpora, "ptb-xl") == "seen"
    # Trained further, they are no longer those of the package.
    with torch.no_grad():
        next(loaded.encoder.parameters()).add_(1e-3)
    assert origin_of(loaded.encoder).kind == "own"


@pytest.mark.parametrize("alias", EMBEDDED)
def test_features_are_what_they_were(alias: str, golden: Path) -> None:
    expected = json.loads((golden / alias / "features.json").read_text(encoding="utf-8"))
    found = features(alias)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.abs(np.subtract(found[name], values)).max() <= 1e-3, name


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the first test leaves the simulated records, prepared."""
    return tmp_path_factory.mktemp("home")


@pytest.mark.heavy
@pytest.mark.parametrize("alias", EMBEDDED)
def test_the_score_on_simulated_records_is_what_it_was(
    alias: str, golden: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECG_HUB_HOME", str(prepared))
    known = json.loads((golden / alias / "score.json").read_text(encoding="utf-8"))
    few: dict[str, Any] = {"modes": "linear", "data_root": "mock", "protocol": "fast", "epochs": 30, "limit": 200}
    results = evaluate([alias, catalog.get(alias).random_name], "ptbxl_super", output=tmp_path / "trial", **few)
    found = [result.metrics["macro_auroc"].point for result in results]
    # A head of other kernels moves single ranks of 100 test records.
    assert np.abs(np.subtract(found, [known["trained"], known["random"]])).max() <= 0.01
    assert found[0] > found[1] + 0.05
