"""What HuBERT-ECG and ECG-FM share: transformers' blocks with stochastic depth, LayerDrop, attention weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from huggingface_hub.errors import StrictDataclassError

import ecg_hub
from ecg_hub import catalog
from ecg_hub.modeling.layers import DropPath
from ecg_hub.modeling.modeling_utils import set_drop_path
from ecg_hub.weights.state_dict import StateDictMapper, weight_norm_name
from tests.support.models import signals, tiny, tiny_classifier

ALIASES = ("ecg-fm", "hubert-ecg")
WITHOUT_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}

pytestmark = pytest.mark.parametrize("alias", ALIASES)


def test_attention_weights_are_those_that_eager_attention_uses(alias: str) -> None:
    model = tiny(alias)
    model.set_attn_implementation("eager")
    used: list[torch.Tensor] = []
    for layer in model.encoder.layers:
        layer.attention.register_forward_hook(lambda module, args, output: used.append(output[1]))
    x = signals(model.config)
    eager = model(x, output_attentions=True)
    assert len(eager.attentions) == len(used) == model.config.num_hidden_layers
    tokens = eager.last_hidden_state.shape[1]
    for ours, theirs in zip(eager.attentions, used, strict=True):
        assert ours.shape == (2, model.config.num_attention_heads, tokens, tokens)
        assert torch.allclose(ours, theirs, atol=1e-6)
        assert torch.allclose(ours.sum(-1), torch.ones(ours.shape[:3]), atol=1e-5)
    model.set_attn_implementation("sdpa")
    fused = model(x, output_attentions=True)
    assert torch.allclose(fused.pooler_output, eager.pooler_output, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(fused.attentions, eager.attentions, strict=True))
    assert model(x).attentions is None


def test_attentions_of_a_large_batch(alias: str) -> None:
    # Above 16 windows the encoder runs on slices: their states and weights are put together again.
    model = tiny(alias)
    x = signals(model.config, batch=18)
    with torch.no_grad():
        sliced = model(x, output_attentions=True, output_hidden_states=True)
    whole = model(x, output_attentions=True, output_hidden_states=True)
    assert len(sliced.attentions) == model.config.num_hidden_layers
    assert len(sliced.hidden_states) == model.config.num_hidden_layers + 1
    for ours, theirs in zip(sliced.to_tuple(), whole.to_tuple(), strict=True):
        pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_hidden_states_are_input_and_outputs_of_the_blocks(alias: str) -> None:
    model = tiny(alias)
    seen: list[torch.Tensor] = []
    for layer in model.encoder.layers:
        layer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    output = model(signals(model.config), output_hidden_states=True)
    assert all(torch.equal(a, b) for a, b in zip(output.hidden_states[:-1], seen, strict=True))
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert torch.allclose(output.pooler_output, output.last_hidden_state.mean(1))
    states, weights = model.encoder(seen[0])
    assert (len(states), len(weights)) == (1, 0)  # nobody asked: nothing is kept


def test_stochastic_depth_drops_both_branches_of_a_block(alias: str) -> None:
    model = tiny(alias, **WITHOUT_DROPOUT)
    assert len([module for module in model.modules() if isinstance(module, DropPath)]) == 4
    tokens = torch.randn(32, 5, model.config.hidden_size)
    layer = model.encoder.layers[1].train()
    whole = layer(tokens)
    set_drop_path(model, 1 - 1e-9, "constant")
    nothing = layer.final_layer_norm(layer.layer_norm(tokens))
    assert torch.allclose(layer(tokens), nothing, atol=1e-6)
    set_drop_path(model, 0.5)
    rates = [path.rate for path in model.modules() if isinstance(path, DropPath)]
    assert rates == [0.0, 0.0, 0.5, 0.5]
    torch.manual_seed(0)
    dropped = layer(tokens)
    same = (dropped - nothing).abs().amax((1, 2)) < 1e-6
    assert same.any()
    assert not same.all()  # per sample, not per batch
    assert torch.equal(layer.eval()(tokens), whole)


def test_layerdrop_is_off_unless_asked_for(alias: str) -> None:
    assert catalog.get(alias).load("config")().layerdrop == 0.0
    plain = tiny(alias, **WITHOUT_DROPOUT).train()
    x = signals(plain.config)
    first = plain(x).last_hidden_state
    assert torch.equal(first, plain(x).last_hidden_state)  # nothing is drawn
    dropping = tiny(alias, **WITHOUT_DROPOUT, layerdrop=1 - 1e-9).train()
    output = dropping(x, output_hidden_states=True)
    assert len(output.hidden_states) == 3
    assert torch.equal(output.hidden_states[0], output.last_hidden_state)
    assert torch.equal(dropping.eval()(x).last_hidden_state, plain.eval()(x).last_hidden_state)


def test_both_spellings_of_weight_norm_load(alias: str, tmp_path: Path) -> None:
    model = tiny(alias)
    model.save_pretrained(tmp_path)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    newer = "parametrizations.weight.original"
    older = {name.replace(f"{newer}0", "weight_g").replace(f"{newer}1", "weight_v"): t for name, t in state.items()}
    assert len(older.keys() - state.keys()) == 2
    safetensors.torch.save_file(older, tmp_path / "model.safetensors", {"format": "pt"})
    x = signals(model.config)
    loaded = ecg_hub.AutoModel.from_pretrained(tmp_path)
    assert torch.equal(loaded(x).pooler_output, model(x).pooler_output)
    loaded.save_pretrained(tmp_path / "again")
    again = ecg_hub.AutoModel.from_pretrained(tmp_path / "again")
    assert torch.equal(again(x).pooler_output, model(x).pooler_output)


def test_weight_norm_name(alias: str) -> None:
    prefix = f"{alias}.conv"
    newer, older = f"{prefix}.parametrizations.weight.original1", f"{prefix}.weight_v"
    assert weight_norm_name(newer, StateDictMapper({newer: torch.zeros(1)})) == newer
    assert weight_norm_name(newer, StateDictMapper({older: torch.zeros(1)})) == older
    assert weight_norm_name(newer, StateDictMapper({})) == newer  # what the message about it names
    assert weight_norm_name(f"{prefix}.bias", StateDictMapper({})) == f"{prefix}.bias"


def test_random_weights(alias: str) -> None:
    model = tiny(alias)
    weight = model.encoder.pos_conv_embed.conv.parametrizations.weight
    width, kernel = weight.original1.shape[0], weight.original1.shape[2]
    assert weight.original1.std().item() == pytest.approx(2 * (width * kernel) ** -0.5, rel=0.1)
    assert torch.allclose(model.encoder.pos_conv_embed.conv.weight, weight.original1, atol=1e-6)
    assert model.encoder.layers[0].feed_forward.output_dense.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.encoder.pos_conv_embed.conv.bias.abs().max() == 0
    head = tiny_classifier(alias).head.linear.weight
    assert head.abs().max().item() == pytest.approx(32**-0.5, rel=0.1)  # uniform, as the head of every model


def test_layer_groups_follow_the_depth(alias: str) -> None:
    groups = catalog.get(alias).load("config")(num_hidden_layers=5).layer_groups
    assert groups["late"] == ["encoder.layers.2.", "encoder.layers.3.", "encoder.layers.4."]
    assert groups["early"][-2:] == ["encoder.layers.0.", "encoder.layers.1."]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"conv_kernel": [2, 2]}, "equally long"),
        ({"layerdrop": 1.0}, "layerdrop is 1.0"),
        ({"layerdrop": -0.1}, "-0.1"),
    ],
)
def test_wrong_configurations(alias: str, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        catalog.get(alias).load("config")(**wrong)
