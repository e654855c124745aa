"""S4 beyond the contract suite: both directions, lengths, checkpoints before and after they met longer input."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecg_hub.errors import CheckpointError
from ecg_hub.modeling.s4 import S4Convolution
from ecg_hub.models.ecg_s4.convert_ecg_s4 import convert
from ecg_hub.models.ecg_s4.modeling_ecg_s4 import ECGS4Model
from ecg_hub.weights.state_dict import StateDictMapper
from tests.support.fill import published_state, read_case
from tests.support.models import signals, tiny

GOLDEN = Path(__file__).resolve().parent.parent.parent / "golden"
LAST = "s4_layers.3.kernel.kernel."


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    return published_state(*read_case(GOLDEN / "ecg_s4"))


def test_every_token_knows_past_and_future() -> None:
    model = tiny("s4")
    x = signals(model.config, batch=1)
    changed = x.clone()
    changed[..., 125] += 3.0
    moved = (model(x).last_hidden_state - model(changed).last_hidden_state).abs().amax((0, 2)) > 1e-5
    assert moved.all()


@pytest.mark.parametrize("samples", [1, 2, 249, 250, 1000])
def test_lengths(samples: int) -> None:
    model = tiny("s4")
    output = model(torch.randn(2, 12, samples), output_hidden_states=True)
    assert output.last_hidden_state.shape == (2, samples, 64)
    assert torch.isfinite(output.last_hidden_state).all()
    assert len(output.hidden_states) == 3
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert torch.allclose(output.pooler_output, output.last_hidden_state.mean(1))
    assert model.config.kernel_length == 250


def test_encoder_is_a_convolution_of_kernel_1() -> None:
    model = tiny("s4")
    x = signals(model.config)
    conv = torch.nn.functional.conv1d(x, model.encoder.weight[..., None], model.encoder.bias)
    first = model(x, output_hidden_states=True).hidden_states[0]
    assert torch.allclose(first, conv.transpose(1, 2), atol=1e-6)


def test_state_matrix_and_steps_are_not_trained() -> None:
    model = tiny("s4")
    convolutions = [module for module in model.modules() if isinstance(module, S4Convolution)]
    assert len(convolutions) == 2
    for module in convolutions:
        assert {name for name, _ in module.named_parameters()} == {"C", "D"}
        assert {name for name, _ in module.named_buffers()} == {"log_dt", "B", "P", "Q", "w"}
        assert module.C.shape[0] == 2


def test_drop_path_rates_rise_linearly() -> None:
    model = tiny("s4", num_hidden_layers=3, drop_path_rate=0.4)
    assert [block.drop_path.rate for block in model.blocks] == [0.0, 0.2, 0.4]


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_benchmark_checkpoint(published: dict[str, torch.Tensor], prefix: str) -> None:
    head = {"decoder.weight": torch.zeros(5, 512), "decoder.bias": torch.zeros(5)}
    entries = StateDictMapper({prefix + name: tensor for name, tensor in {**published, **head}.items()})
    conversion = convert(entries)
    assert entries.taken == len(published) == 54
    assert set(entries.ignored.values()) == {"head of the task that it was trained on"}
    assert conversion.config.kernel_length == 250
    assert "250 tokens" in conversion.notes[0]


def as_complex(tensor: torch.Tensor) -> np.ndarray:
    half = torch.view_as_complex(tensor.double().contiguous()).numpy()
    return np.concatenate([half, half.conj()], axis=-1)


def doubled(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the benchmark's code makes of a module that meets input longer than 250: C (I + Abar^250), and 500."""
    state = dict(state)
    angle = -2 * math.pi / 500 * torch.arange(251, dtype=torch.float64)
    for layer in range(4):
        kernel = f"s4_layers.{layer}.kernel.kernel."
        dt = np.exp(state[f"{kernel}log_dt"].double().numpy())[:, None, None]
        w, p, q = (as_complex(state[kernel + name]).reshape(512, 8) for name in ("w", "P", "Q"))
        a = np.einsum("hn,nm->hnm", w, np.eye(8)) - p[:, :, None] * q[:, None, :]
        abar = np.linalg.solve(np.eye(8) - dt / 2 * a, np.eye(8) + dt / 2 * a)
        c = as_complex(state[f"{kernel}C"])
        c = c + np.einsum("dhn,hnm->dhm", c, np.linalg.matrix_power(abar, 250))
        state[f"{kernel}C"] = torch.view_as_real(torch.from_numpy(c[..., :4].copy())).float()
        state[f"{kernel}omega"] = torch.stack([angle.cos(), angle.sin()], dim=-1).float()
        state[f"{kernel}z"] = torch.zeros(251, 2)
    return state


@pytest.mark.heavy
def test_a_checkpoint_that_met_longer_input_gives_the_same_features(published: dict[str, torch.Tensor]) -> None:
    x = 0.2 * torch.randn(1, 12, 250, generator=torch.Generator().manual_seed(0))
    outputs = []
    for state, length in ((published, 250), (doubled(published), 500)):
        conversion = convert(StateDictMapper(state))
        assert conversion.config.kernel_length == length
        model = ECGS4Model(conversion.config).eval()
        model.load_state_dict(conversion.state, strict=True)
        with torch.no_grad():
            outputs.append(model(x).last_hidden_state)
    assert torch.allclose(*outputs, atol=1e-4)


def lose(state: dict[str, Any]) -> None:
    for name in ("B", "omega"):
        del state[LAST + name]
    del state["encoder.weight"]


def surplus(state: dict[str, Any]) -> None:
    state["s4_layers.4.D"] = torch.zeros(1, 512)


def one_direction(state: dict[str, Any]) -> None:
    state[f"{LAST}C"] = state[f"{LAST}C"][:1]


def retune(state: dict[str, Any]) -> None:
    state[f"{LAST}omega"] = state[f"{LAST}omega"].flip(-1)


def other_length(state: dict[str, Any]) -> None:
    state[f"{LAST}omega"] = torch.zeros(251, 2)


def replace_by_cpc(state: dict[str, Any]) -> None:
    state.clear()
    state.update(published_state(*read_case(GOLDEN / "ecg_cpc")))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose, r"3 entries do not fit.\s+missing: encoder\.weight \(512, 12, 1\)"),
        (surplus, r"unknown: s4_layers\.4\.D \(1, 512\)"),
        (one_direction, r"wrong shape: s4_layers\.3\.kernel\.kernel\.C is \(1, 512, 4, 2\)"),
        (retune, r"omega is not exp\(-2 pi i k / 250\)"),
        (other_length, r"omega is \(251, 2\), expected \(126, 2\)"),
        (replace_by_cpc, r"missing: encoder\.weight"),
    ],
)
def test_a_checkpoint_that_is_not_this_s4(
    published: dict[str, torch.Tensor], damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    state = dict(published)
    damage(state)
    with pytest.raises(CheckpointError, match=message):
        convert(StateDictMapper(state))
