"""A whole CKA analysis: stages by name, files, resuming, refusals, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecg_hub.catalog import models
from ecg_hub.errors import InputError, ResultError, UnknownNameError
from ecg_hub.names import model_folder
from ecg_hub.utils.files import write_text
from eval_harness.analyses.cka import run as cka_run
from eval_harness.analyses.cka.cka import linear_cka, similarity
from eval_harness.analyses.cka.options import CkaOptions
from eval_harness.analyses.cka.report import write_heat_maps
from eval_harness.analyses.cka.run import FEATURES, Stages, read_cka, run_cka
from eval_harness.analyses.cka.schema import CKA_FILE, matrix
from eval_harness.cli.eval.main import main
from eval_harness.models.loading import load_model
from tests.support.checkpoints import save_tiny

TWO = ("random:ecg-cpc-tiny", "random:merl-tiny")
NAMES = {
    "ecg-cpc": ["conv1", "conv2", "s4_1", "s4_2"],
    "s4": ["encoder", "s4_1", "s4_2"],
    "net1d": ["stem", *(f"stage{k}" for k in range(7))],
    "ecg-founder": ["stem", *(f"stage{k}" for k in range(7))],
    "merl": ["stem", "layer1", "layer2", "layer3", "layer4"],
    "ecgfm-ked": ["stem", "layer1", "layer2", "layer3", "layer4"],
    "ecg-jepa": ["embedding", "block1", "block2", "norm"],
    "st-mem": ["embedding", "block1", "block2", "norm"],
    "ecg-fm": ["embedding", "block1", "block2"],
    "hubert-ecg": ["embedding", "block1", "block2"],
    "melp": ["embedding", "block1", "block2", "queries"],
    "merl-vit": ["embedding", "block1", "block2", "norm"],
    "xecg": ["embedding", "block1", "block2", "block3"],
}


@pytest.fixture
def wanted(data_root: Path, data_cache: Path, tmp_path: Path) -> Any:
    def make(**changes: Any) -> CkaOptions:
        settings = {
            "models": TWO, "dataset": "ptb-xl", "data_root": str(data_root), "cache_dir": data_cache,
            "output": tmp_path / "cka", "split": "train", "records": 24, "device": "cpu", "quiet": True,
        }  # fmt: skip
        return CkaOptions(**{**settings, **changes})

    return make


@pytest.mark.parametrize("alias", sorted(models()))
def test_stages_have_names_and_end_in_what_heads_are_given(alias: str) -> None:
    loaded = load_model(f"random:{alias}-tiny", "linear", "benchmark", 0)
    spec = loaded.extractor.spec()
    values = torch.randn(18, len(spec.lead_names), spec.samples)  # more than one slice
    encoder = loaded.encoder.eval()
    found = Stages(encoder)(values)
    conv = [f"conv{k + 1}" for k in range(len(encoder.encoder.layers))] if alias == "ecg-cpc" else []
    # Names of a model that is not listed are its blocks, as they are; the end is checked of all.
    assert list(found) == (conv + NAMES[alias][2:] if conv else NAMES.get(alias, list(found)))
    assert len(found) > 1
    assert all(tensor.shape[0] == 18 and tensor.ndim == 2 for tensor in found.values())
    with torch.inference_mode():
        pooled = encoder(values).pooler_output
        states = encoder(values, output_hidden_states=True).hidden_states
    torch.testing.assert_close(list(found.values())[-1], pooled)
    if conv:
        torch.testing.assert_close(found[conv[-1]], states[0].mean(dim=1))


def test_separators_of_st_mem_are_left_out() -> None:
    loaded = load_model("random:st-mem-tiny", "linear", "benchmark", 0)
    spec = loaded.extractor.spec()
    with torch.inference_mode():
        output = loaded.encoder.eval()(torch.ones(1, len(spec.lead_names), spec.samples))
    found = Stages(loaded.encoder)(torch.ones(1, len(spec.lead_names), spec.samples))
    torch.testing.assert_close(found["block2"], output.last_hidden_state.mean(dim=1))


@pytest.mark.heavy
def test_whole_analysis(wanted: Any, tmp_path: Path) -> None:
    result = run_cka(wanted())
    stages, values = matrix(result, "debiased")
    assert result.complete
    assert result.synthetic, "mock records are simulated"
    assert [model for model, _ in stages].count("random:merl-tiny") == 5
    assert len(result.pairs) == len(stages) * (len(stages) + 1) // 2
    assert np.allclose(np.diag(values), 1)
    assert np.array_equal(values, values.T)
    assert read_cka(tmp_path / "cka") == result
    assert not (tmp_path / "cka" / FEATURES).exists()
    files = write_heat_maps(result, tmp_path / "cka")
    assert [path.name for path in files] == ["cka.svg", "cka.png", "cka_biased.svg", "cka_biased.png"]
    assert all(path.stat().st_size > 2000 for path in files)
    text = files[0].read_text()
    assert "random:merl-tiny" in text
    assert "s4_2" in text
    first = files[0].read_bytes()
    assert write_heat_maps(result, tmp_path / "cka")[0].read_bytes() == first


def test_values_are_those_of_the_features(wanted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[Any, Any] = {}
    pairs = cka_run._pairs

    def watch(path: Path, result: Any, tables: Any, quiet: bool) -> Any:
        seen.update({stage: np.array(table) for stage, table in tables.items()})
        return pairs(path, result, tables, quiet)

    monkeypatch.setattr(cka_run, "_pairs", watch)
    result = run_cka(wanted())
    for pair in result.pairs[::7]:
        expected = linear_cka(seen[pair.first], seen[pair.second])
        assert pair.debiased == pytest.approx(expected.debiased, abs=1e-9)
        assert pair.biased == pytest.approx(expected.biased, abs=1e-9)


@pytest.mark.heavy
def test_continues_where_it_stopped(wanted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_cka(wanted(output=tmp_path / "whole"))
    monkeypatch.setattr(cka_run, "BLOCK", 10)
    monkeypatch.setattr(cka_run, "SAVE_EVERY_S", 0.0)
    written, similarities = write_text, similarity
    calls = {"blocks": 0, "pairs": 0}

    def stop_in_features(path: Path, text: str) -> None:
        written(path, text)
        calls["blocks"] += 1
        if calls["blocks"] == 2:
            raise KeyboardInterrupt

    def stop_in_pairs(*parts: Any) -> Any:
        calls["pairs"] += 1
        if calls["pairs"] == 6:
            raise KeyboardInterrupt
        return similarities(*parts)

    monkeypatch.setattr(cka_run, "write_text", stop_in_features)
    monkeypatch.setattr(cka_run, "similarity", stop_in_pairs)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_cka(wanted())
    assert not read_cka(tmp_path / "cka").complete
    result = run_cka(wanted())
    assert calls == {"blocks": 6, "pairs": 6 + len(result.pairs) - 5}
    for a, b in zip(result.pairs, whole.pairs, strict=True):
        assert (a.first, a.second) == (b.first, b.second)
        assert a.debiased == pytest.approx(b.debiased, abs=1e-5)
    again = run_cka(wanted())
    assert again == result
    assert calls["blocks"] == 6


@pytest.mark.heavy
def test_a_folder_keeps_one_analysis(wanted: Any, tmp_path: Path) -> None:
    run_cka(wanted(models=TWO[:1]))
    with pytest.raises(ResultError, match="records"):
        run_cka(wanted(models=TWO[:1], records=20))
    assert run_cka(wanted(models=TWO[:1], records=20, overwrite=True)).data.records == 20
    content = json.loads((tmp_path / "cka" / CKA_FILE).read_text())
    content["more"] = 1
    (tmp_path / "cka" / CKA_FILE).write_text(json.dumps(content))
    with pytest.raises(ResultError, match="more"):
        read_cka(tmp_path / "cka")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ()}, "one or several"),
        ({"models": ("random:merl-tiny", "random:merl-tiny")}, "each once"),
        ({"records": 3}, "at least 4"),
        ({"split": "tset"}, "tset"),
        ({"models": ("trivial",)}, "no encoder"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_bad_input(wanted: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_cka(wanted(**changes))


def test_unknown_names(wanted: Any) -> None:
    with pytest.raises(UnknownNameError):
        run_cka(wanted(models=("random:ecg-cpk",)))
    with pytest.raises((UnknownNameError, InputError)):
        run_cka(wanted(dataset="ptb-xxl"))


def test_a_short_name_that_finds_other_weights(wanted: Any) -> None:
    save_tiny("merl", model_folder("merl"))
    stages, values = matrix(run_cka(wanted(models=("merl",), records=8)), "debiased")
    assert stages[0] == ("unverified:merl", "stem")
    assert np.allclose(np.diag(values), 1)


def test_the_command(data_root: Path, data_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["cka", "--model", TWO[1], "--dataset", "ptb-xl", "--data-root", str(data_root), "--records", "8"]
    words += ["--cache-dir", str(data_cache), "--output", str(tmp_path / "out"), "--split", "train", "--device", "cpu"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "layer4" in printed
    assert "cka.png" in printed
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["analysis"] == "cka"
    assert main(["cka", "--dataset", "ptb-xl"]) == 1
    assert "--model" in capsys.readouterr().err
