"""ECG-FM beyond the contract suite: published numbers stage by stage, frozen extractor, fairseq container."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

import ecg_hub
from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.modeling.auto import build_feature_extractor
from ecg_hub.models.ecg_fm.configuration_ecg_fm import ECGFMConfig
from ecg_hub.models.ecg_fm.convert_ecg_fm import convert, published_name
from ecg_hub.models.ecg_fm.modeling_ecg_fm import ECGFMModel
from ecg_hub.weights.checkpoint import read_checkpoint
from ecg_hub.weights.state_dict import StateDictMapper
from tests.support.fill import make_input, published_state, read_case
from tests.support.models import signals, tiny, tiny_classifier

PRETRAINING = {
    "mask_emb": (768,),
    "quantizer.vars": (1, 640, 128),
    "quantizer.weight_proj.weight": (640, 256),
    "quantizer.weight_proj.bias": (640,),
    "project_q.weight": (256, 256),
    "project_q.bias": (256,),
    "final_proj.weight": (256, 768),
    "final_proj.bias": (256,),
}


@pytest.fixture(scope="module")
def case() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return read_case(Path(__file__).resolve().parents[2] / "golden" / "ecg_fm")


def empty_state(manifest: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Names and shapes without memory for values."""
    return {entry["name"]: torch.zeros(()).expand(entry["shape"]) for entry in manifest["entries"]}


@pytest.mark.heavy  # 90 million weights
def test_published_numbers_stage_by_stage(case: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
    manifest, arrays = case
    conversion = convert(StateDictMapper(published_state(manifest, arrays)))
    with torch.device("meta"):
        model = ECGFMModel(conversion.config)
    model.load_state_dict(conversion.state, assign=True)
    model.eval()
    assert model.num_parameters() == manifest["n_parameters_encoder"]
    # With what the pre-training adds, the size that the paper gives.
    assert model.num_parameters() + sum(int(np.prod(shape)) for shape in PRETRAINING.values()) == 90_883_072

    prepared = build_feature_extractor(catalog.get("ecg-fm")).prepare_windows(make_input(12, 2500), 500)
    stages: dict[str, torch.Tensor] = {}
    model.feature_extractor.register_forward_hook(lambda module, args, out: stages.update(conv_features=out))
    model.feature_projection.register_forward_hook(lambda module, args, out: stages.update(projected=out[0]))
    with torch.no_grad():
        output = model(torch.from_numpy(prepared), output_hidden_states=True)
    states = output.hidden_states
    stages.update(block0_in=states[0], block0_out=states[1], block5_out=states[6], sequence=output.last_hidden_state)
    assert output.last_hidden_state.shape == (1, manifest["tokens"], 768)
    np.testing.assert_allclose(output.pooler_output, arrays["pooled"], atol=1e-4)
    for name, stage in stages.items():
        expected = arrays["sequence" if name == "sequence" else f"probe::{name}"]
        np.testing.assert_allclose(stage[:, arrays["token_index"]], expected, atol=1e-4, err_msg=name)


def test_transformers_wav2vec2_model_gives_the_same_after_two_changes() -> None:
    ours = tiny("ecg-fm")
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "conv_dim", "conv_kernel")
    names += ("conv_stride", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups")
    fields = {name: getattr(ours.config, name) for name in names}
    theirs = Wav2Vec2Model(Wav2Vec2Config(**fields, mask_time_prob=0.0)).eval()
    theirs.feature_extractor.conv_layers[0].conv = nn.Conv1d(12, 16, 2, stride=2, bias=False)
    theirs.feature_extractor.forward = nn.Sequential(*theirs.feature_extractor.conv_layers).forward
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = signals(ours.config)
    with torch.no_grad():
        expected = theirs(x, output_hidden_states=True)
        output = ours(x, output_hidden_states=True)
    assert torch.allclose(output.last_hidden_state, expected.last_hidden_state, atol=1e-5)
    for a, b in zip(output.hidden_states, expected.hidden_states, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_layer_groups_are_the_published_ones(case: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
    published, ours = case[0]["layer_groups"], ECGFMConfig().layer_groups
    with torch.device("meta"):
        names = [name for name, _ in ECGFMModel(ECGFMConfig()).named_parameters()]
    assert len(names) == len(case[0]["entries"])
    for name in names:
        theirs = published_name(name)
        home = next(group for group in published if any(theirs.startswith(prefix) for prefix in published[group]))
        expected = "late" if home == "late" else "early"
        assert [group for group in ours if any(name.startswith(prefix) for prefix in ours[group])] == [expected], name


def test_any_length_from_sixteen_samples() -> None:
    model = tiny("ecg-fm")
    for samples in (16, 31, 32, 2499, 2500, 5000):
        assert model(torch.randn(2, 12, samples)).last_hidden_state.shape[1] == samples // 16
    with pytest.raises(InputError, match="at least 16 "):
        model(torch.randn(2, 12, 15))


def test_offsets_of_leads_and_a_common_scale_cancel() -> None:
    # The first convolution has no bias and its output is normed over time.
    model = tiny("ecg-fm")
    x = signals(model.config)
    moved = 2 * x + torch.linspace(-1, 1, 12)[:, None]
    assert torch.allclose(model(x).pooler_output, model(moved).pooler_output, atol=1e-3)
    uneven = x * torch.linspace(0.5, 2, 12)[:, None]
    assert not torch.allclose(model(x).pooler_output, model(uneven).pooler_output, atol=1e-3)


def test_native_preparation_standardises_over_the_whole_record() -> None:
    extractor = build_feature_extractor(catalog.get("ecg-fm"))
    rng = np.random.default_rng(5)
    x = rng.standard_normal((12, 5000)).astype(np.float32)
    x[:, 2500:] *= 3
    x[7] = 0.4
    leads = catalog.get("ecg-fm").input.leads
    ours = extractor(x, sampling_rate=500, lead_names=leads, preset="native", window="all")["input_values"]
    assert ours.shape == (2, 12, 2500)
    wide = x.astype(np.float64)
    spread = wide.std(-1, keepdims=True)
    expected = (wide - wide.mean(-1, keepdims=True)) / np.where(spread > 1e-6, spread, 1)
    np.testing.assert_allclose(np.concatenate(list(ours), axis=-1), expected, atol=1e-5)
    plain = extractor(x, sampling_rate=500, lead_names=leads)["input_values"]
    np.testing.assert_array_equal(plain[0], x[:, :2500])


# Fine-tuning


def test_convolutions_are_frozen_as_published_unless_asked_for(tmp_path: Path) -> None:
    model = tiny_classifier("ecg-fm").train()
    x = signals(model.config)
    model(x, labels=torch.zeros(2, 3)).loss.backward()
    extractor = [
        f"ecg_fm.feature_extractor.{name}" for name, _ in model.base_model.feature_extractor.named_parameters()
    ]
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == extractor
    model.save_pretrained(tmp_path)
    for loaded in (
        ecg_hub.AutoModelForECGClassification.from_pretrained(tmp_path).base_model,
        ecg_hub.AutoModel.from_pretrained(tmp_path),
    ):
        assert not any(parameter.requires_grad for parameter in loaded.feature_extractor.parameters())
        assert all(parameter.requires_grad for parameter in loaded.encoder.parameters())
    trained = ecg_hub.AutoModelForECGClassification.from_pretrained(tmp_path, freeze_feature_extractor=False).train()
    trained(x, labels=torch.zeros(2, 3)).loss.backward()
    assert all(parameter.grad is not None for parameter in trained.parameters())


# Converter


def test_published_names(case: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
    with torch.device("meta"):
        ours = ECGFMModel(ECGFMConfig()).state_dict()
    newer = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    published = set()
    for entry in case[0]["entries"]:
        stem, _, leaf = entry["name"].rpartition(".")
        published.add(f"{stem}.{newer.get(leaf, leaf)}")
    assert {published_name(name) for name in ours} == published


def test_converter_takes_both_spellings(case: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
    state = empty_state(case[0]) | {name: torch.zeros(shape) for name, shape in PRETRAINING.items()}
    older = StateDictMapper(state)
    conversion = convert(older)
    assert len(conversion.state) == older.taken == 207
    assert older.ignored.keys() == PRETRAINING.keys()
    assert any("post-norm" in note for note in conversion.notes)
    for old, new in (
        ("weight_g", "parametrizations.weight.original0"),
        ("weight_v", "parametrizations.weight.original1"),
    ):
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    newer = StateDictMapper(state)
    assert convert(newer).state.keys() == conversion.state.keys()
    assert newer.taken == 207


def write_fairseq_checkpoint(path: Path, state: dict[str, torch.Tensor]) -> None:
    """A file as fairseq writes it, with settings of classes that do not exist when it is read."""
    names = ("omegaconf", "omegaconf.dictconfig", "fairseq_signals", "fairseq_signals.tasks")
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    settings = type("DictConfig", (dict,), {"__module__": "omegaconf.dictconfig"})
    task = type("ECGPretrainingTask", (), {"__module__": "fairseq_signals.tasks"})
    sys.modules["omegaconf.dictconfig"].DictConfig = settings  # type: ignore[attr-defined]
    sys.modules["fairseq_signals.tasks"].ECGPretrainingTask = task  # type: ignore[attr-defined]
    content = {
        "args": None,
        "cfg": settings(model=settings(layer_norm_first=False), task=task()),
        "model": state,
        "criterion": None,
        "optimizer_history": [{"num_updates": 320_000, "optimizer_name": "FairseqAdam", "lr_scheduler_state": {}}],
        "task_state": {},
        "extra_state": {"train_iterator": {"epoch": 200}},
        "last_optimizer_state": {"state": {0: {"step": 3, "exp_avg": torch.zeros(4)}}, "param_groups": []},
    }
    try:
        torch.save(content, path)
    finally:
        for name in names:
            del sys.modules[name]


def test_fairseq_container(
    case: tuple[dict[str, Any], dict[str, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The empty state repeats one value, which no published file does.
    monkeypatch.setattr("ecg_hub.weights.bounds.FREE_BYTES", 2**30)
    path = tmp_path / "mimic_iv_ecg_physionet_pretrained.pt"
    write_fairseq_checkpoint(path, empty_state(case[0]))
    checkpoint = read_checkpoint(path)
    assert (checkpoint.key, checkpoint.container) == ("model", "torch zip")
    assert checkpoint.unread == ("fairseq_signals.tasks.ECGPretrainingTask", "omegaconf.dictconfig.DictConfig")
    assert len(convert(StateDictMapper(checkpoint.state)).state) == 207


def test_converter_refuses_what_is_not_the_published_model(
    case: tuple[dict[str, Any], dict[str, np.ndarray]], golden: Path
) -> None:
    state = empty_state(case[0])
    weight = "encoder.layers.3.fc2.weight"
    broken: list[tuple[dict[str, torch.Tensor], str]] = [
        ({name: tensor for name, tensor in state.items() if name != weight}, rf"missing: {weight}"),
        (state | {"encoder.layers.12.fc1.bias": torch.zeros(3072)}, r"unknown: encoder\.layers\.12\.fc1\.bias"),
        (state | {weight: torch.zeros(768, 1024)}, rf"wrong shape: {weight} is \(768, 1024\)"),
        (empty_state(read_case(golden / "hubert_ecg")[0]), "not the published model"),
    ]
    for entries, message in broken:
        with pytest.raises(CheckpointError, match=message):
            convert(StateDictMapper(entries))
