"""MERL-ViT beyond the contract suite: its two published files, its positions, its groups."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from ecg_hub.errors import InputError
from ecg_hub.models.merl_vit.configuration_merl_vit import MERLViTConfig
from ecg_hub.models.merl_vit.convert_merl_vit import convert
from ecg_hub.weights.state_dict import StateDictMapper
from tests.support.models import tiny

MANIFEST = Path(__file__).resolve().parent.parent.parent / "golden" / "merl_vit" / "manifest.json"


def published(prefix: str = "") -> dict[str, torch.Tensor]:
    """Names and shapes of the manifest, without values."""
    entries = json.loads(MANIFEST.read_text())["entries"]
    return {prefix + entry["name"]: torch.empty(entry["shape"], device="meta") for entry in entries}


def test_both_files_are_read() -> None:
    encoder = StateDictMapper({**published(), "head.weight": torch.empty(1)})
    state = convert(encoder).state
    whole = StateDictMapper({**published("ecg_encoder."), "lm_model.word.weight": torch.empty(1)})
    conversion = convert(whole)
    assert conversion.state.keys() == state.keys()
    assert encoder.taken == whole.taken == 148
    assert "ecg_encoder." in conversion.notes[0]


def test_a_shorter_window_takes_the_first_positions() -> None:
    model = tiny("merl-vit")
    x = torch.randn(1, 12, 5000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        short = model._embedded(x[:, :, :1000])
        torch.testing.assert_close(short, model._embedded(x)[:, :20])
    with pytest.raises(InputError, match="at most 5000"):
        model(torch.zeros(1, 12, 5050))


def test_groups_are_halves() -> None:
    groups = MERLViTConfig(num_hidden_layers=4).layer_groups
    assert groups["late"] == ["norm.", "layers.2.", "layers.3."]


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(StrictDataclassError, match="num_attention_heads is 5"):
        MERLViTConfig(num_attention_heads=5)
