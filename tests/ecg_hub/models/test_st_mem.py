"""ST-MEM beyond the contract suite: its published names, what fine-tuning trains, lengths, the authors' input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError
from scipy import signal
from torch import nn

from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.leads import LEADS
from ecg_hub.modeling.auto import build_feature_extractor
from ecg_hub.models.st_mem.configuration_st_mem import STMEMConfig
from ecg_hub.models.st_mem.convert_st_mem import convert
from ecg_hub.models.st_mem.modeling_st_mem import STMEMModel, time_positions
from ecg_hub.weights.state_dict import StateDictMapper
from eval_harness.config.protocol import Protocol
from eval_harness.models.adapting import adapt, parameter_groups
from tests.support.fill import make_input, published_state, read_case
from tests.support.models import signals, tiny

GOLDEN = Path(__file__).resolve().parent.parent.parent / "golden"
DECODER = ("mask_embedding", "decoder_pos_embed", "decoder_blocks.0.attn.norm.weight", "decoder_head.bias")


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """The encoder's entries, filled by rule."""
    return published_state(*read_case(GOLDEN / "st_mem"))


@pytest.fixture(scope="module")
def converted(published: dict[str, torch.Tensor]) -> STMEMModel:
    conversion = convert(StateDictMapper(published))
    with torch.device("meta"):
        model = STMEMModel(conversion.config)
    model.load_state_dict(conversion.state, assign=True)
    return model.eval()


def with_decoder(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    extra = {name: torch.zeros(2) for name in DECODER}
    repeated = {name.removeprefix("encoder."): value for name, value in state.items() if "to_patch_embedding" in name}
    return {**state, **repeated, **extra}


# Parity


@pytest.mark.heavy
def test_stages_equal_the_published_ones(converted: STMEMModel) -> None:
    _, arrays = read_case(GOLDEN / "st_mem")
    with torch.no_grad():
        states = converted(torch.from_numpy(make_input(12, 600)), output_hidden_states=True).hidden_states
    assert len(states) == 13
    for name, stage in (("block0_in", 0), ("block0_out", 1), ("block5_out", 6)):
        expected = torch.from_numpy(arrays[f"probe::{name}"])
        assert (states[stage][:, arrays["probe_index"]] - expected).abs().max() < 1e-4, name


def test_published_size() -> None:
    manifest, _ = read_case(GOLDEN / "st_mem")
    with torch.device("meta"):
        model = STMEMModel(STMEMConfig())
    fixed = sum(buffer.numel() for buffer in model.buffers())
    assert fixed == manifest["n_parameters_detail"]["fixed_by_formula"]
    assert model.num_parameters() + fixed == manifest["n_parameters_encoder"]


def test_all_norms_have_the_published_epsilon() -> None:
    with torch.device("meta"):
        model = STMEMModel(STMEMConfig())
    assert {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)} == {1e-5}


def test_features_differ_in_kind(converted: STMEMModel) -> None:
    x = torch.from_numpy(make_input(12, 600))
    with torch.no_grad():
        output = converted(x, output_hidden_states=True)
    inner = output.hidden_states[-1].view(1, 12, 10, 768)[:, :, 1:-1].reshape(1, 96, 768)
    assert torch.equal(output.last_hidden_state, inner)
    assert torch.allclose(output.pooler_output, converted.norm(inner.mean(1)))
    assert not torch.allclose(output.pooler_output, converted.norm(inner).mean(1), atol=0.1)


def test_position_table(published: dict[str, torch.Tensor]) -> None:
    table = time_positions(30, 768)
    assert torch.allclose(table, published["encoder.pos_embedding"][0], atol=1e-5)
    assert not table[[0, -1]].any()


# The checkpoint


def test_the_whole_pre_training_model(published: dict[str, torch.Tensor]) -> None:
    entries = StateDictMapper(with_decoder(published))
    conversion = convert(entries)
    assert entries.taken == 166
    assert len(entries.ignored) == 6 + len(DECODER)
    assert set(entries.ignored.values()) == {"decoder of the pre-training", "the patch embedding, stored twice"}
    assert conversion.notes == ["read as the encoder of the pre-training model"]


def test_the_encoder_only_file(published: dict[str, torch.Tensor]) -> None:
    whole = convert(StateDictMapper(published)).state
    alone = convert(StateDictMapper({name.removeprefix("encoder."): value for name, value in published.items()}))
    assert alone.notes == ["read as the encoder-only file"]
    assert whole.keys() == alone.state.keys()
    assert all(torch.equal(whole[name], alone.state[name]) for name in whole)


def test_a_stored_position_table_is_kept(published: dict[str, torch.Tensor]) -> None:
    other = published["encoder.pos_embedding"] + 0.5
    conversion = convert(StateDictMapper({**published, "encoder.pos_embedding": other}))
    assert torch.equal(conversion.state["embeddings.position_embedding"], other[0])
    assert "differ from their formula by 0.5" in conversion.notes[-1]
    absent = {name: value for name, value in published.items() if name != "encoder.pos_embedding"}
    table = convert(StateDictMapper(absent)).state["embeddings.position_embedding"]
    assert torch.equal(table, time_positions(30, 768))


def lost(name: str) -> Any:
    return lambda state: {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lost("encoder.lead_embeddings.7"), r"missing: encoder\.lead_embeddings\.7 \(768,\)"),
        (lost("encoder.block11.ff.fn.net.3.bias"), r"missing: encoder\.block11\.ff\.fn\.net\.3\.bias"),
        (lambda state: {**state, "encoder.block12.attn.norm.weight": torch.ones(768)}, r"unknown: encoder\.block12"),
        (
            lambda state: {**state, "encoder.to_patch_embedding.2.weight": torch.zeros(768, 50)},
            r"wrong shape: encoder\.to_patch_embedding\.2\.weight is \(768, 50\), expected \(768, 75\)",
        ),
    ],
)
def test_bad_checkpoints(published: dict[str, torch.Tensor], change: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        convert(StateDictMapper(change(published)))


@pytest.mark.parametrize("other", ["ecg_jepa", "ecg_cpc"])
def test_other_checkpoints(other: str) -> None:
    names = [entry["name"] for entry in read_case(GOLDEN / other)[0]["entries"]]
    with pytest.raises(CheckpointError, match=r"missing: encoder\.lead_embeddings\.0 \(768,\)"):
        convert(StateDictMapper({name: torch.zeros(1) for name in names}))


# Fine-tuning


def test_layer_groups_are_the_intended_ones() -> None:
    """The published groups are empty, so that "fine-tuned" trains the head alone; these are what was meant."""
    manifest, _ = read_case(GOLDEN / "st_mem")
    sizes = {entry["name"]: int(np.prod(entry["shape"])) for entry in manifest["entries"]}
    with torch.device("meta"):
        model = STMEMModel(STMEMConfig())
    for group, prefixes in manifest["layer_groups_intended"].items():
        if group == "head":
            continue
        meant = sum(size for name, size in sizes.items() if name.startswith(tuple(prefixes)))
        fixed = sizes["encoder.pos_embedding"] if group == "early" else 0
        ours = tuple(model.config.layer_groups[group])
        held = sum(p.numel() for name, p in model.named_parameters() if name.startswith(ours))
        assert held == meant - fixed, group
    assert "layers.3." in model.config.layer_groups["late"]
    assert "layers.2." in model.config.layer_groups["early"]


def test_fine_tuning_trains_the_encoder() -> None:
    protocol = Protocol()
    model = adapt(tiny("st-mem"), "finetune", ["a", "b"], "multi_label_classification", protocol)
    groups = parameter_groups(model, "finetune", protocol)
    assert all(group["params"] for group in groups)
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    model.train()
    model(signals(tiny("st-mem").config, batch=4)).square().mean().backward()
    torch.optim.AdamW(groups).step()
    after = dict(model.named_parameters())
    assert [name for name, value in before.items() if torch.equal(value, after[name])] == []


# Input


@pytest.mark.parametrize("samples", [75, 600, 2250])
def test_lengths(samples: int) -> None:
    model = tiny("st-mem")
    output = model(torch.randn(2, 12, samples), output_hidden_states=True)
    assert output.last_hidden_state.shape == (2, 12 * samples // 75, 32)
    assert output.hidden_states[0].shape == (2, 12 * (samples // 75 + 2), 32)


@pytest.mark.parametrize("samples", [74, 601, 2325])
def test_other_lengths_are_refused(samples: int) -> None:
    message = f"{samples} samples; allowed: at least 75, at most 2250, in multiples of 75"
    with pytest.raises(InputError, match=message):
        tiny("st-mem")(torch.zeros(1, 12, samples))


def test_positions_are_sliced_and_separators_end_each_lead() -> None:
    embeddings = tiny("st-mem").embeddings
    x = torch.randn(1, 12, 2250)
    long, short = embeddings(x).view(12, 32, 32), embeddings(x[..., :600]).view(12, 10, 32)
    assert torch.allclose(long[:, 1:9], short[:, 1:9], atol=1e-6)  # positions do not depend on the length
    bare = embeddings.separator + embeddings.lead_embedding
    for tokens in (long, short):
        assert torch.allclose(tokens[:, 0], bare)
        assert torch.allclose(tokens[:, -1], bare)


def test_attentions_see_all_tokens() -> None:
    model = tiny("st-mem")
    x = signals(model.config)
    with torch.no_grad():
        output = model(x, output_attentions=True)
        assert torch.allclose(output.pooler_output, model(x).pooler_output, atol=1e-5)
    assert len(output.attentions) == 2
    for weights in output.attentions:
        assert weights.shape == (2, 4, 120, 120)
        assert (weights > 0).all()
        assert torch.allclose(weights.sum(-1), torch.ones(2, 4, 120), atol=1e-5)


def test_config_is_checked() -> None:
    with pytest.raises(StrictDataclassClassValidationError, match="hidden_size is 34"):
        STMEMConfig(hidden_size=34)
    with pytest.raises(StrictDataclassFieldValidationError, match="patch_size"):
        STMEMConfig(patch_size="75")
    assert STMEMConfig(num_hidden_layers=2).layer_groups == {
        "late": ["layers.1.", "norm."],
        "early": ["embeddings.", "layers.0."],
    }


def authors_input(window: np.ndarray) -> np.ndarray:
    """High-pass, low-pass and one standardisation of leads and time together, at 250 Hz."""
    y = signal.sosfiltfilt(signal.butter(5, 0.67, "highpass", fs=250, output="sos"), window.astype(np.float64), axis=-1)
    y = signal.sosfiltfilt(signal.butter(5, 40, "lowpass", fs=250, output="sos"), y, axis=-1)
    return (y - y.mean()) / y.std()


def test_native_input_is_that_of_the_authors() -> None:
    record = (np.random.default_rng(0).normal(0, 0.3, (12, 2500)).cumsum(1) / 10).astype(np.float32)
    fe = build_feature_extractor(catalog.get("st-mem"))
    native = fe(record, sampling_rate=250, lead_names=LEADS, preset="native")["input_values"]
    assert native.shape == (1, 12, 2250)
    np.testing.assert_allclose(native[0], authors_input(record[:, :2250]), atol=1e-4)
    benchmark = fe(record, sampling_rate=250, lead_names=LEADS, window="all")["input_values"]
    np.testing.assert_array_equal(benchmark, record[:, :2400].reshape(12, 4, 600).transpose(1, 0, 2))


def test_a_real_record(shared: Path) -> None:
    path = shared / "data/ptbxl/mini/records500/00000/00001_hr"
    fe, model = build_feature_extractor(catalog.get("st-mem")), tiny("st-mem")
    for preset, shape in (("benchmark", (4, 12, 600)), ("native", (1, 12, 2250))):
        values = fe(path, window="all", preset=preset)["input_values"]
        assert values.shape == shape
        output = model(torch.from_numpy(values))
        assert torch.isfinite(output.last_hidden_state).all()
        assert output.pooler_output.shape == (shape[0], 32)
