"""The head in the authors' file: kept by the conversion, told of by the configuration, replaced when that is asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import ecg_hub
from ecg_hub import catalog
from ecg_hub.errors import CheckpointError
from ecg_hub.models.ecg_fm.convert_ecg_fm import published_name
from ecg_hub.names import model_folder
from ecg_hub.origin import weights_digest
from ecg_hub.weights.conversion import ConversionSummary, convert
from ecg_hub.weights.recognition import convert_as
from ecg_hub.weights.state_dict import StateDictMapper
from tests.support.checkpoints import save_tiny_head
from tests.support.models import signals, tiny

ALIAS = "ecg-fm-mimic-iv-finetuned"


def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Let the alias mean a tiny encoder, and return its authors' state dict."""
    encoder, entry = tiny("ecg-fm"), catalog.get(ALIAS)
    sizes = {"config": dict(entry.tiny), "dim": encoder.config.hidden_size, "parameters": encoder.num_parameters()}
    entry = replace(entry, **sizes)
    monkeypatch.setattr(catalog, "get", lambda alias: entry)
    monkeypatch.setattr(catalog, "checkpoints", lambda: {ALIAS: entry})
    state = {f"encoder.{published_name(name)}": tensor for name, tensor in encoder.state_dict().items()}
    return {**state, "proj.weight": torch.randn(17, entry.dim), "proj.bias": torch.randn(17)}


def written(state: dict[str, torch.Tensor], folder: Path) -> ConversionSummary:
    torch.save(state, folder / "authors.pt")
    return convert(ALIAS, folder / "authors.pt", folder / "model")


def test_the_whole_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = small(monkeypatch)
    summary = written(state, tmp_path)
    assert summary.converted == len(state)
    assert not summary.ignored
    assert "the head of the authors is kept: 17 labels, with their names" in summary.notes
    model = ecg_hub.AutoModelForECGClassification.from_pretrained(summary.output)
    assert not model.head_is_new
    assert summary.parameters == model.base_model.num_parameters()
    x = signals(model.config)
    with torch.no_grad():
        expected = model.base_model(x).pooler_output @ state["proj.weight"].T + state["proj.bias"]
        assert torch.allclose(model(x).logits, expected, atol=1e-6)
    config = model.config
    assert list(config.id2label.values()) == list(catalog.get(ALIAS).labels)
    assert config.label2id["Infarction"] == 15
    assert (config.num_labels, config.problem_type, config.pooling) == (17, "multi_label_classification", "mean")
    assert config.published_head == {"model": ALIAS, "preset": "native"}
    assert len(config.record_maximum) == 5
    assert config.thresholds is None
    # Of the encoder alone, as every loader looks at it, and of the head apart.
    assert config.conversion["weights_sha256"] == weights_digest(model.base_model)
    assert config.conversion["head_sha256"] == weights_digest(model.head)


@pytest.mark.parametrize(
    "head",
    [
        {"classifier.0.weight": (32, 32), "classifier.0.bias": (32,), "classifier.2.weight": (164, 32)},
        {"label_embedding.weight": (164, 32)},
        {"classifier.weight": (164, 32)},
    ],
)
def test_a_head_of_another_form_is_none(head: dict[str, tuple[int, ...]]) -> None:
    entries = StateDictMapper({name: torch.zeros(shape) for name, shape in head.items()})
    entries.set_head_aside("classifier.", "label_embedding.")
    assert entries.linear_head() is None
    assert set(entries.heads) == set(head)


def test_a_head_of_another_form_is_named_and_the_encoder_converted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = small(monkeypatch)
    del state["proj.bias"], state["proj.weight"]
    state |= {"proj.0.weight": torch.zeros(32, 32), "proj.2.weight": torch.zeros(17, 32)}
    summary = written(state, tmp_path)
    assert any("is not kept: proj.0.weight (32, 32)" in note for note in summary.notes)
    assert set(summary.ignored) == {"proj.0.weight", "proj.2.weight"}
    assert ecg_hub.AutoModel.from_pretrained(summary.output).config.published_head is None
    with pytest.raises(CheckpointError, match=f"pass new_head=True.*pull '{ALIAS}' again"):
        ecg_hub.AutoModelForECGClassification.from_pretrained(summary.output)


def test_a_damaged_head_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = small(monkeypatch)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        written({**state, "proj.bias": torch.full((17,), torch.nan)}, tmp_path)
    with pytest.raises(CheckpointError, match=r"does not fill the model: head\.linear\.weight"):
        written({**state, "proj.weight": torch.zeros(17, 64)}, tmp_path)


def test_a_head_of_another_size_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {**small(monkeypatch), "proj.weight": torch.zeros(5, 32), "proj.bias": torch.zeros(5)}
    with pytest.raises(CheckpointError, match=f"5 outputs.*Its encoder is that of {ALIAS}, with another head"):
        convert_as(catalog.get(ALIAS), state)


def test_by_short_name_and_without_a_word_about_the_head(capfd: pytest.CaptureFixture[str]) -> None:
    save_tiny_head("ecg-founder-1lead")
    model = ecg_hub.AutoModelForECGClassification.from_pretrained("ecg-founder-1lead", check_name=False)
    assert not model.head_is_new
    assert model.config.id2label[5] == "ATRIAL FIBRILLATION"
    encoder, info = ecg_hub.AutoModel.from_pretrained("ecg-founder-1lead", check_name=False, output_loading_info=True)
    assert not any(info.values())
    assert "head" not in capfd.readouterr().err
    assert weights_digest(encoder) == weights_digest(model.base_model)
    assert not hasattr(encoder, "head")


def test_a_new_head_is_never_the_authors(tmp_path: Path) -> None:
    folder = save_tiny_head("ecg-founder-1lead", tmp_path)
    kept = ecg_hub.AutoModelForECGClassification.from_pretrained(folder)
    # Of as many outputs: without care the authors' head would pass for the new one.
    names = {index: f"mine {index}" for index in range(150)}
    for given in ({"num_labels": 3}, {}, {"id2label": names}):
        model = ecg_hub.AutoModelForECGClassification.from_pretrained(folder, new_head=True, **given)
        assert model.head_is_new
        assert model.head.linear.weight.shape == (given.get("num_labels", 150), 32)
        assert not torch.equal(model.head.linear.weight[:3], kept.head.linear.weight[:3])
        assert 0 < model.head.linear.weight.abs().max() <= 32**-0.5
        assert (model.config.published_head, model.config.record_maximum) == (None, None)
        model.save_pretrained(tmp_path / "mine")
        assert json.loads((tmp_path / "mine" / "config.json").read_text()).get("published_head") is None
    assert model.config.id2label == names


def test_another_number_of_labels_without_a_word_is_refused(tmp_path: Path) -> None:
    folder = save_tiny_head("ecg-founder-1lead", tmp_path)
    with pytest.raises(
        CheckpointError, match=r"lacks 2 of the weights.*holds no head of this size: pass new_head=True"
    ):
        ecg_hub.AutoModelForECGClassification.from_pretrained(folder, num_labels=3)


def test_unknown_labels_are_numbered(tmp_path: Path) -> None:
    folder = save_tiny_head("ecg-fm-physionet2021-finetuned", tmp_path)
    config: Any = ecg_hub.AutoConfig.from_pretrained(folder)
    assert (config.num_labels, config.id2label[25]) == (26, "LABEL_25")


def test_what_is_fetched_for_a_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_HUB_OFFLINE", "1")
    for alias, reason in {
        ALIAS: "not fetched while ECG_HUB_OFFLINE",
        "ecg-founder": "not fetched while ECG_HUB_OFFLINE",
        "xresnet1d101-ptbxl": "converted without the head of its authors",
        "ecg-fm": "an encoder without a head",
    }.items():
        assert not model_folder(alias).exists()
        with pytest.raises(CheckpointError, match=reason):
            ecg_hub.AutoModelForECGClassification.from_pretrained(alias)
