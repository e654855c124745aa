"""HuBERT-ECG beyond the contract suite: the published numbers stage by stage, preparation, masking, converter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from scipy.signal import decimate, filtfilt, firwin
from transformers import HubertConfig, HubertModel

from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.modeling.auto import build_feature_extractor
from ecg_hub.models.hubert_ecg.configuration_hubert_ecg import HuBERTECGConfig
from ecg_hub.models.hubert_ecg.convert_hubert_ecg import convert
from ecg_hub.models.hubert_ecg.modeling_hubert_ecg import HuBERTECGModel, span_mask
from ecg_hub.weights.checkpoint import read_checkpoint
from ecg_hub.weights.state_dict import StateDictMapper
from tests.support.fill import make_input, published_state, read_case
from tests.support.models import signals, tiny

HEADS = {"final_proj.0.weight": (256, 768), "final_proj.0.bias": (256,), "label_embedding.0.weight": (500, 256)}
PUBLISHED_MASKING = {"mask_time_prob": 0.33}
WITHOUT_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}


@pytest.fixture(scope="module")
def case() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return read_case(Path(__file__).resolve().parents[2] / "golden" / "hubert_ecg")


def empty_state(manifest: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Names and shapes without memory for values."""
    return {entry["name"]: torch.zeros(()).expand(entry["shape"]) for entry in manifest["entries"]}


def extractor() -> Any:
    return build_feature_extractor(catalog.get("hubert-ecg"))


@pytest.mark.heavy  # 93 million weights
def test_published_numbers_stage_by_stage(case: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
    manifest, arrays = case
    conversion = convert(StateDictMapper(published_state(manifest, arrays)))
    with torch.device("meta"):
        model = HuBERTECGModel(conversion.config)
    model.load_state_dict(conversion.state, assign=True)
    model.eval()
    # The mask vector, which nothing trains, is a buffer.
    assert model.num_parameters() + model.masked_spec_embed.numel() == manifest["n_parameters_encoder"]
    assert model.num_parameters() == manifest["n_parameters_detail"]["trained_and_used"]

    x = make_input(12, 500)
    prepared = extractor().prepare_windows(x, 100)
    np.testing.assert_allclose(prepared, arrays["preprocessed"], atol=2e-6)
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


def test_transformers_hubert_model_gives_the_same() -> None:
    ours = tiny("hubert-ecg")
    shared = {name: getattr(ours.config, name) for name in vars(HubertConfig()) if hasattr(ours.config, name)}
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "conv_dim", "conv_kernel")
    names += ("conv_stride", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups")
    assert shared.keys() >= set(names)
    theirs = HubertModel(HubertConfig(**{name: shared[name] for name in names}, mask_time_prob=0.05)).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = signals(ours.config)
    with torch.no_grad():
        expected = theirs(x.flatten(1), output_hidden_states=True)
        output = ours(x, output_hidden_states=True)
    assert torch.allclose(output.last_hidden_state, expected.last_hidden_state, atol=1e-5)
    assert len(output.hidden_states) == len(expected.hidden_states)
    for a, b in zip(output.hidden_states, expected.hidden_states, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_layer_groups_are_the_published_ones(case: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
    manifest, _ = case
    published = manifest["layer_groups"]
    ours = HuBERTECGConfig().layer_groups
    for entry in manifest["entries"]:
        name = entry["name"]
        home = next(group for group in published if any(name.startswith(prefix) for prefix in published[group]))
        expected = {"late": ["late"], "not_in_optimizer": []}.get(home, ["early"])
        assert [group for group in ours if any(name.startswith(prefix) for prefix in ours[group])] == expected, name
    assert list(dict(tiny("hubert-ecg").named_buffers())) == published["not_in_optimizer"]


# Input


def test_any_length_from_seven_samples() -> None:
    model = tiny("hubert-ecg")
    for samples in (7, 8, 93, 499, 500, 1001):
        tokens = model(torch.randn(2, 12, samples)).last_hidden_state.shape[1]
        length = 12 * samples
        for kernel, stride in zip(model.config.conv_kernel, model.config.conv_stride, strict=True):
            length = (length - kernel) // stride + 1
        assert tokens == length
    with pytest.raises(InputError, match="at least 7 "):
        model(torch.randn(2, 12, 6))


def test_leads_are_laid_end_to_end() -> None:
    model = tiny("hubert-ecg")
    x = signals(model.config, batch=1)
    before = model.feature_extractor(x.flatten(1)[:, None])
    seen: list[torch.Tensor] = []
    model.feature_extractor.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(x)
    assert seen[0].shape == (1, 1, 6000)
    assert torch.equal(seen[0][0, 0, 500:1000], x[0, 1])
    assert torch.equal(model.feature_extractor(seen[0]), before)


def test_benchmark_preparation_is_that_of_the_wrapper() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 12, 500)).astype(np.float32)
    x[1, 4] = 0.7
    x[0, 2, 10:20] = np.nan
    taps = firwin(31, [0.001, 0.94], pass_zero=False)
    filtered = filtfilt(taps, [1.0], np.nan_to_num(x).astype(np.float64), axis=-1)
    low, high = filtered.min(-1, keepdims=True), filtered.max(-1, keepdims=True)
    expected = 2 * (filtered - low) / (high - low + 1e-8) - 1
    prepared = extractor().prepare_windows(x, 100)
    np.testing.assert_allclose(prepared, expected, atol=1e-6)
    np.testing.assert_array_equal(prepared[1, 4], -1)  # a flat lead


def test_native_preparation_is_that_of_the_authors_away_from_the_ends_of_leads() -> None:
    rng = np.random.default_rng(4)
    t = np.arange(5000) / 500
    x = np.sin(2 * np.pi * rng.uniform(1, 20, (12, 1)) * t) + 0.1 * rng.standard_normal((12, 5000))
    filtered = filtfilt(firwin(151, [0.05, 47], pass_zero=False, fs=500), [1.0], x, axis=-1)
    low, high = filtered.min(-1, keepdims=True), filtered.max(-1, keepdims=True)
    record = 2 * (filtered - low) / (high - low + 1e-8) - 1
    joined = decimate(record[:, :2500].reshape(-1), 5).reshape(12, 500)
    leads = catalog.get("hubert-ecg").input.leads
    ours = extractor()(x.astype(np.float32), sampling_rate=500, lead_names=leads, preset="native")["input_values"][0]
    assert ours.shape == (12, 500)
    np.testing.assert_allclose(ours[:, 25:-25], joined[:, 25:-25], atol=5e-3)
    np.testing.assert_allclose(ours, decimate(record[:, :2500], 5, axis=-1), atol=1e-5)


# Masking


def test_masking_is_off_unless_asked_for() -> None:
    config = HuBERTECGConfig()
    assert (config.mask_time_prob, config.mask_feature_prob, config.layerdrop) == (0.0, 0.0, 0.0)
    plain = tiny("hubert-ecg", **WITHOUT_DROPOUT).train()
    masking = tiny("hubert-ecg", **WITHOUT_DROPOUT, **PUBLISHED_MASKING).train()
    x = signals(plain.config)
    assert torch.equal(plain(x).pooler_output, plain(x).pooler_output)
    assert not torch.equal(masking(x).pooler_output, masking(x).pooler_output)
    assert torch.equal(plain.eval()(x).pooler_output, masking.eval()(x).pooler_output)


def test_masked_tokens_are_the_mask_vector() -> None:
    model = tiny("hubert-ecg", **WITHOUT_DROPOUT, **PUBLISHED_MASKING).train()
    seen: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = signals(model.config)
    model(x)
    masked = (seen[0] == model.masked_spec_embed).all(-1)
    assert masked.any(1).all()
    assert not masked.all()
    model.eval()(x)
    assert torch.equal(seen[0][~masked], seen[1][~masked])
    assert not (seen[1] == model.masked_spec_embed).all(-1).any()


def test_masked_features_are_zero() -> None:
    model = tiny("hubert-ecg", **WITHOUT_DROPOUT, mask_feature_prob=0.5, mask_feature_length=8).train()
    seen: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    torch.manual_seed(0)
    model(signals(model.config))
    zero = (seen[0] == 0).all(1)
    assert 8 <= int(zero[0].sum()) <= 16
    assert not torch.equal(zero[0], zero[1])


def test_span_mask() -> None:
    torch.manual_seed(0)
    mask = span_mask(200, 93, 0.33, 10, 2)
    assert mask.shape == (200, 93)
    lengths = [len(run) for row in mask for run in re.findall("1+", "".join("01"[int(bit)] for bit in row))]
    assert min(lengths) >= 10
    assert {int(count) for count in mask.sum(1)} <= set(range(13, 41))
    assert 0.22 < mask.float().mean() < 0.33  # spans overlap
    assert mask.any(0).all()  # every place can be masked
    # 3.5 spans: three or four, drawn anew for each batch.
    assert {int(span_mask(1, 1000, 0.0035, 1, 0).sum()) for _ in range(50)} == {3, 4}
    assert span_mask(3, 93, 0.0, 10, 0).sum() == 0
    assert span_mask(3, 93, 1e-6, 10, 2).any(1).all()  # at least two spans
    assert span_mask(3, 4, 0.5, 10, 2).all()  # a span as long as the row
    assert span_mask(2, 93, 1.0, 10, 0).sum() >= 2 * 18


@pytest.mark.parametrize("wrong", [{"mask_time_prob": 1.5}, {"mask_feature_prob": -0.1}, {"mask_time_length": 0}])
def test_wrong_masking(wrong: dict[str, Any]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(StrictDataclassError, match=rf"{name} is {value}"):
        HuBERTECGConfig(**wrong)


# Converter


@pytest.mark.heavy
def test_converter_takes_both_spellings_and_leaves_out_the_heads(
    case: tuple[dict[str, Any], dict[str, np.ndarray]],
) -> None:
    state = empty_state(case[0]) | {name: torch.zeros(shape) for name, shape in HEADS.items()}
    newer = StateDictMapper(state)
    assert len(convert(newer).state) == newer.taken == 209
    assert newer.ignored.keys() == HEADS.keys()
    spelling = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, old in spelling.items():
        state = {name.replace(new, old): tensor for name, tensor in state.items()}
    assert "encoder.pos_conv_embed.conv.weight_g" in state
    older = StateDictMapper(state)
    assert convert(older).state.keys() == HuBERTECGModel(HuBERTECGConfig(num_hidden_layers=12)).state_dict().keys()
    assert older.taken == 209


def test_converter_reads_the_authors_own_container(
    case: tuple[dict[str, Any], dict[str, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The empty state repeats one value, which no published file does.
    monkeypatch.setattr("ecg_hub.weights.bounds.FREE_BYTES", 2**30)
    content = {"model_config": {"hidden_size": 768}, "model_state_dict": empty_state(case[0]), "epoch": 3}
    torch.save(content, tmp_path / "hubert_ecg_base.pt")
    checkpoint = read_checkpoint(tmp_path / "hubert_ecg_base.pt")
    assert checkpoint.key == "model_state_dict"
    assert len(convert(StateDictMapper(checkpoint.state)).state) == 209


def test_converter_refuses_what_is_not_the_published_model(
    case: tuple[dict[str, Any], dict[str, np.ndarray]], golden: Path
) -> None:
    state = empty_state(case[0])
    weight = "encoder.layers.3.feed_forward.output_dense.weight"
    scale = "encoder.pos_conv_embed.conv.parametrizations.weight.original0"
    broken: list[tuple[dict[str, torch.Tensor], str]] = [
        ({name: tensor for name, tensor in state.items() if name != weight}, rf"missing: {weight}"),
        ({name: tensor for name, tensor in state.items() if name != scale}, rf"missing: {scale}"),
        (state | {"encoder.layers.12.layer_norm.bias": torch.zeros(768)}, r"unknown: encoder\.layers\.12\."),
        (state | {weight: torch.zeros(768, 1024)}, rf"wrong shape: {weight} is \(768, 1024\)"),
        (empty_state(read_case(golden / "ecg_fm")[0]), "not the published model"),
    ]
    for entries, message in broken:
        with pytest.raises(CheckpointError, match=message):
            convert(StateDictMapper(entries))
