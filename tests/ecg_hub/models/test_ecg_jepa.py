"""ECG-JEPA beyond the contract suite: its attention pattern, its published names, lengths, the authors' input."""

from __future__ import annotations

import math
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
from ecg_hub.models.ecg_jepa.configuration_ecg_jepa import ECGJEPAConfig
from ecg_hub.models.ecg_jepa.convert_ecg_jepa import convert
from ecg_hub.models.ecg_jepa.modeling_ecg_jepa import (
    ECGJEPAModel,
    cross_pattern_attention,
    cross_pattern_mask,
    masked_attention,
    time_and_lead_positions,
)
from ecg_hub.weights.checkpoint import read_checkpoint
from ecg_hub.weights.state_dict import StateDictMapper
from tests.support.fill import make_input, published_state, read_case
from tests.support.models import signals, tiny

GOLDEN = Path(__file__).resolve().parent.parent.parent / "golden"
# Tells an epsilon of 1e-5 in the layer norms from 1e-6, which passes a test at 1e-4.
POOLED_TOLERANCE = 5e-6


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """All entries, filled by rule."""
    return published_state(*read_case(GOLDEN / "ecg_jepa"))


# Parity


@pytest.fixture(scope="module")
def converted(published: dict[str, torch.Tensor]) -> ECGJEPAModel:
    conversion = convert(StateDictMapper(published))
    assert conversion.notes == []
    with torch.device("meta"):
        model = ECGJEPAModel(conversion.config)
    model.load_state_dict(conversion.state, assign=True)
    return model.eval()


@pytest.mark.heavy
@pytest.mark.parametrize("way", ["structured", "masked", "eager"])
def test_features_equal_the_published_ones(converted: ECGJEPAModel, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, arrays = read_case(GOLDEN / "ecg_jepa")
    monkeypatch.setattr(converted.config, "structured_attention", way == "structured")
    monkeypatch.setattr(converted.config, "_attn_implementation", "eager" if way == "eager" else "sdpa")
    with torch.no_grad():
        output = converted(torch.from_numpy(make_input(8, 2500)), output_hidden_states=True)
    tokens, states = arrays["token_index"], output.hidden_states
    assert len(states) == 13
    assert (output.pooler_output - torch.from_numpy(arrays["pooled"])).abs().max() < POOLED_TOLERANCE
    for name, ours in (
        ("sequence", output.last_hidden_state),
        ("probe::block0_in", states[0]),
        ("probe::block0_out", states[1]),
        ("probe::block5_out", states[6]),
    ):
        assert (ours[:, tokens] - torch.from_numpy(arrays[name])).abs().max() < 2e-5, name


def test_published_size_and_groups() -> None:
    """Sizes as measured on the published wrapper; its early group counts the fixed positions."""
    manifest, _ = read_case(GOLDEN / "ecg_jepa")
    with torch.device("meta"):
        model = ECGJEPAModel(ECGJEPAConfig())
    fixed = sum(buffer.numel() for buffer in model.buffers())
    assert fixed == manifest["n_parameters_detail"]["fixed_by_formula"]
    assert model.num_parameters() + fixed == manifest["n_parameters_encoder"]
    sizes = {
        group: sum(p.numel() for name, p in model.named_parameters() if name.startswith(tuple(prefixes)))
        for group, prefixes in model.config.layer_groups.items()
    }
    assert sizes == {"late": 63_771_648, "early": 21_603_072 - fixed}


def test_all_norms_have_the_published_epsilon() -> None:
    with torch.device("meta"):
        model = ECGJEPAModel(ECGJEPAConfig())
    assert {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)} == {1e-5}


def test_position_table(published: dict[str, torch.Tensor]) -> None:
    table = time_and_lead_positions(8, 50, 768)
    assert torch.equal(table.flatten(0, 1), published["pos_embed"])


# Attention


def random_heads(leads: int, patches: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, leads, patches, 6)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize(("leads", "patches"), [(8, 50), (8, 1), (1, 7), (3, 5)])
def test_structured_attention_equals_masked_attention(leads: int, patches: int) -> None:
    inputs = random_heads(leads, patches)
    ours, (masked, weights) = cross_pattern_attention(*inputs), masked_attention(*inputs)
    assert torch.allclose(ours, masked, atol=1e-12)
    assert torch.equal(weights > 0, cross_pattern_mask(leads, patches).expand_as(weights))
    probe = torch.randn_like(ours)
    for a, b in zip(torch.autograd.grad(ours, inputs, probe), torch.autograd.grad(masked, inputs, probe), strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_mask() -> None:
    mask = cross_pattern_mask(8, 50)
    assert mask.shape == (400, 400)
    assert (mask.sum(1) == 57).all()
    assert torch.equal(mask, mask.T)
    seen = mask[3 * 50 + 7].nonzero().flatten().tolist()
    assert seen == sorted({*range(150, 200), *(lead * 50 + 7 for lead in range(8))})


def test_a_token_does_not_see_other_leads_at_other_times() -> None:
    attention = tiny("ecg-jepa").layers[0].attention
    x = torch.randn(1, 8, 50, 32)
    changed = x.clone()
    changed[0, 2, 10] += 1.0
    with torch.no_grad():
        moved = (attention(x, False)[0] - attention(changed, False)[0])[0].abs().amax(-1) > 0
    expected = torch.zeros(8, 50, dtype=torch.bool)
    expected[2], expected[:, 10] = True, True
    assert torch.equal(moved, expected)


def test_all_ways_agree_in_a_model() -> None:
    x = signals(tiny("ecg-jepa").config)
    ways = [
        tiny("ecg-jepa"),
        tiny("ecg-jepa", structured_attention=False),
        tiny("ecg-jepa", attn_implementation="eager"),
    ]
    with torch.no_grad():
        first, *others = (model(x).last_hidden_state for model in ways)
        asked = ways[0](x, output_attentions=True)
    for other in (*others, asked.last_hidden_state):
        assert torch.allclose(first, other, atol=1e-5)
    assert [weights.shape for weights in asked.attentions] == [(2, 4, 400, 400)] * 2
    assert all(torch.equal(weights > 0, cross_pattern_mask(8, 50).expand_as(weights)) for weights in asked.attentions)


def test_large_batches_go_in_slices() -> None:
    model = tiny("ecg-jepa")
    x = signals(model.config, batch=9)
    with torch.no_grad():
        sliced = model(x, output_hidden_states=True, output_attentions=True)
    whole = model(x, output_hidden_states=True)
    assert torch.allclose(sliced.pooler_output, whole.pooler_output, atol=1e-5)
    assert [state.shape for state in sliced.hidden_states] == [(9, 400, 32)] * 3
    assert [weights.shape for weights in sliced.attentions] == [(9, 4, 400, 400)] * 2


# The checkpoint


def test_the_published_file(tmp_path: Path) -> None:
    key = catalog.get("ecg-jepa").weights.key
    torch.save({"encoder": {"norm.weight": torch.ones(3)}, "epoch": 100}, tmp_path / "multiblock_epoch100.pth")
    checkpoint = read_checkpoint(tmp_path / "multiblock_epoch100.pth", usual_key=key)
    assert checkpoint.key == "encoder"
    assert list(checkpoint.state) == ["norm.weight"]


def test_every_entry_is_used(published: dict[str, torch.Tensor]) -> None:
    entries = StateDictMapper(published)
    convert(entries)
    assert entries.taken == 137
    assert entries.ignored == {}


def test_a_stored_position_table_is_kept(published: dict[str, torch.Tensor]) -> None:
    other = published["pos_embed"] + 0.5
    conversion = convert(StateDictMapper({**published, "pos_embed": other}))
    assert torch.equal(conversion.state["position_embedding"].flatten(0, 1), other)
    assert "differ from their formula by 0.5" in conversion.notes[-1]
    absent = {name: value for name, value in published.items() if name != "pos_embed"}
    assert torch.equal(
        convert(StateDictMapper(absent)).state["position_embedding"], time_and_lead_positions(8, 50, 768)
    )


def lost(name: str) -> Any:
    return lambda state: {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lost("encoder_blocks.blocks.11.attn.qkv.weight"), r"missing: encoder_blocks\.blocks\.11\.attn\.qkv\.weight"),
        (lambda state: {**state, "predictor.norm.weight": torch.ones(384)}, r"unknown: predictor\.norm\.weight \(384,"),
        (
            lambda state: {**state, "pos_embed": torch.zeros(600, 768)},
            r"wrong shape: pos_embed is \(600, 768\), expected \(400, 768\)",
        ),
        (
            lambda state: {**state, "encoder_blocks.blocks.0.attn.qkv.bias": torch.zeros(2304)},
            r"unknown: encoder_blocks\.blocks\.0\.attn\.qkv\.bias",
        ),
    ],
)
def test_bad_checkpoints(published: dict[str, torch.Tensor], change: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        convert(StateDictMapper(change(published)))


@pytest.mark.parametrize("other", ["st_mem", "ecg_cpc"])
def test_other_checkpoints(other: str) -> None:
    names = [entry["name"] for entry in read_case(GOLDEN / other)[0]["entries"]]
    with pytest.raises(CheckpointError, match=r"missing: W_P\.weight \(768, 50\)"):
        convert(StateDictMapper({name: torch.zeros(1) for name in names}))


# Input and start


@pytest.mark.parametrize("samples", [50, 600, 2500])
def test_lengths(samples: int) -> None:
    x = torch.randn(2, 8, samples)
    with torch.no_grad():
        structured, eager = tiny("ecg-jepa")(x), tiny("ecg-jepa", attn_implementation="eager")(x)
    assert structured.last_hidden_state.shape == (2, 8 * samples // 50, 32)
    assert torch.allclose(structured.last_hidden_state, eager.last_hidden_state, atol=1e-5)


@pytest.mark.parametrize("samples", [49, 2499, 2550])
def test_other_lengths_are_refused(samples: int) -> None:
    message = f"{samples} samples; allowed: at least 50, at most 2500, in multiples of 50"
    with pytest.raises(InputError, match=message):
        tiny("ecg-jepa")(torch.zeros(1, 8, samples))


def test_a_shorter_window_has_the_first_positions() -> None:
    model = tiny("ecg-jepa")
    x = torch.randn(1, 8, 2500)
    whole, part = (model(y, output_hidden_states=True).hidden_states[0] for y in (x, x[..., :500]))
    assert torch.allclose(whole.view(8, 50, 32)[:, :10], part.view(8, 10, 32), atol=1e-6)


def test_config_is_checked() -> None:
    with pytest.raises(StrictDataclassClassValidationError, match="hidden_size is 34"):
        ECGJEPAConfig(hidden_size=34, num_attention_heads=2)
    with pytest.raises(StrictDataclassClassValidationError, match="hidden_size is 40"):
        ECGJEPAConfig(hidden_size=40)
    with pytest.raises(StrictDataclassFieldValidationError, match="structured_attention"):
        ECGJEPAConfig(structured_attention="yes")


def test_random_start_is_the_published_one() -> None:
    model = tiny("ecg-jepa", hidden_size=64, intermediate_size=128, num_hidden_layers=8)
    for index, layer in enumerate(model.layers):
        shrunk = 0.02 / math.sqrt(2 * (index + 1))
        for linear, deviation in (
            (layer.attention.qkv, 0.02),
            (layer.attention.output, shrunk),
            (layer.mlp[0], 0.02),
            (layer.mlp[2], shrunk),
        ):
            assert linear.weight.std().item() == pytest.approx(deviation, rel=0.1)
            assert linear.bias is None or not linear.bias.any()
    assert model.patch_embedding.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_inputs_of_both_presets() -> None:
    record = (np.random.default_rng(0).normal(0, 0.3, (12, 5000)).cumsum(1) / 10).astype(np.float32)
    fe = build_feature_extractor(catalog.get("ecg-jepa"))
    benchmark, native = (
        fe(record, sampling_rate=500, lead_names=LEADS, preset=preset)["input_values"]
        for preset in ("benchmark", "native")
    )
    assert benchmark.shape == native.shape == (1, 8, 2500)
    fed = record[[0, 1, 6, 7, 8, 9, 10, 11]]
    np.testing.assert_allclose(native[0], signal.resample(fed, 2500, axis=-1), atol=1e-5)
    assert np.abs(benchmark - native)[..., 100:-100].max() < 0.1  # two methods, the same signal
    assert np.abs(benchmark - native).max() > 1e-3


def test_a_real_record(shared: Path) -> None:
    path = shared / "data/ptbxl/mini/records500/00000/00001_hr"
    fe, model = build_feature_extractor(catalog.get("ecg-jepa")), tiny("ecg-jepa")
    for preset in ("benchmark", "native"):
        values = fe(path, window="all", preset=preset)["input_values"]
        assert values.shape == (1, 8, 2500)
        output = model(torch.from_numpy(values))
        assert torch.isfinite(output.last_hidden_state).all()
        assert output.pooler_output.shape == (1, 32)
