"""Net1D beyond the contract suite: padding, shortcut, activation, lengths, sizes, benchmark checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from ecg_hub.errors import CheckpointError
from ecg_hub.models.net1d.configuration_net1d import Net1DConfig
from ecg_hub.models.net1d.convert_net1d import convert
from ecg_hub.models.net1d.modeling_net1d import Net1DBlock, Net1DModel, SameConv1d
from ecg_hub.weights.state_dict import StateDictMapper
from tests.support.models import tiny

GOLDEN = Path(__file__).resolve().parent.parent.parent / "golden"


def published(model_type: str = "net1d", prefix: str = "") -> dict[str, torch.Tensor]:
    """Names and shapes of a manifest, without values."""
    entries = json.loads((GOLDEN / model_type / "manifest.json").read_text())["entries"]
    return {prefix + entry["name"]: torch.empty(entry["shape"], device="meta") for entry in entries}


def by_definition(conv: SameConv1d, x: torch.Tensor) -> torch.Tensor:
    """Output t is the dot product with the samples from t * stride - left on; outside the signal they are zero."""
    kernel, stride, samples = conv.kernel_size[0], conv.stride[0], x.shape[-1]
    outputs = -(-samples // stride)
    left = max(0, (outputs - 1) * stride + kernel - samples) // 2
    padded = torch.cat([x.new_zeros(*x.shape[:-1], left), x, x.new_zeros(*x.shape[:-1], kernel * stride)], dim=-1)
    width = x.shape[1] // conv.groups
    columns = []
    for t in range(outputs):
        seen = padded[..., t * stride : t * stride + kernel]
        parts = zip(torch.split(seen, width, dim=1), conv.weight.chunk(conv.groups), strict=True)
        columns.append(torch.cat([torch.einsum("bck,ock->bo", part, weight) for part, weight in parts], dim=1))
    assert conv.bias is not None
    return torch.stack(columns, dim=-1) + conv.bias[:, None]


@pytest.mark.parametrize("samples", [1, 2, 15, 16, 17, 40, 625])
@pytest.mark.parametrize(("kernel", "stride", "groups"), [(16, 1, 2), (16, 2, 2), (16, 2, 1), (1, 1, 1), (5, 2, 1)])
def test_same_convolution(samples: int, kernel: int, stride: int, groups: int) -> None:
    torch.manual_seed(samples)
    conv = SameConv1d(4, 6, kernel, stride=stride, groups=groups)
    x = torch.randn(2, 4, samples)
    output = conv(x)
    assert output.shape == (2, 6, -(-samples // stride))
    assert torch.allclose(output, by_definition(conv, x), atol=1e-5)


def block(channels_in: int, channels: int, stride: int, **options: Any) -> Net1DBlock:
    torch.manual_seed(0)
    module = Net1DBlock(Net1DConfig(), channels_in, channels, stride, **options)
    return module.train(False)


def silence(module: Net1DBlock) -> Net1DBlock:
    torch.nn.init.zeros_(module.leave.weight)
    assert module.leave.bias is not None
    torch.nn.init.zeros_(module.leave.bias)
    return module


def test_shortcut_pools_and_adds_channels_on_both_sides() -> None:
    x = torch.randn(2, 16, 7)
    x[:, 0, 6], x[:, 1, 6] = -1.0, 2.0
    output = silence(block(16, 48, 2))(x)
    assert output.shape == (2, 48, 4)
    assert torch.equal(output[:, 16:32, :3], torch.maximum(x[..., :6:2], x[..., 1:6:2]))
    assert torch.equal(output[:, 16:32, 3], x[..., 6].clamp(min=0))  # a zero completes the last pair
    assert torch.count_nonzero(output[:, :16]) == torch.count_nonzero(output[:, 32:]) == 0
    assert torch.equal(silence(block(15, 32, 1))(x[:, 1:])[:, 8:23], x[:, 1:])  # of 17 channels, 8 come in front
    assert torch.equal(silence(block(16, 16, 1))(x), x)


def test_branch_by_hand() -> None:
    module = block(16, 32, 2)
    x = torch.randn(2, 16, 9)

    def swish(value: torch.Tensor) -> torch.Tensor:
        return value * torch.sigmoid(value)

    h = by_definition(module.leave, swish(by_definition(module.mix, swish(by_definition(module.enter, swish(x))))))
    narrow = swish(h.mean(-1) @ module.gate.squeeze.weight.T + module.gate.squeeze.bias)
    gate = torch.sigmoid(narrow @ module.gate.excite.weight.T + module.gate.excite.bias)
    expected = h * gate[..., None] + silence(block(16, 32, 2))(x)
    assert torch.allclose(module(x), expected, atol=1e-6)
    assert not torch.allclose(block(16, 32, 2, activate_input=False)(x), expected, atol=1e-3)


def test_only_the_very_first_block_takes_its_input_as_it_is() -> None:
    with torch.device("meta"):
        model = Net1DModel(Net1DConfig())
    blocks = [module for module in model.modules() if isinstance(module, Net1DBlock)]
    assert [module.activate_input for module in blocks] == [False] + 19 * [True]
    assert [module.stride for module in blocks] == [2, 1, 2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1]
    first = [module for module in blocks if module.stride == 2]
    assert [module.mix.groups for module in first] == [4, 10, 10, 25, 25, 64, 64]
    assert [module.channels_added for module in first] == [0, 96, 0, 240, 0, 624, 0]


@pytest.mark.parametrize(("samples", "tokens"), [(1, 1), (256, 1), (257, 2), (1250, 5), (5000, 20)])
def test_lengths(samples: int, tokens: int) -> None:
    model = tiny("net1d")
    output = model(torch.randn(2, 12, samples), output_hidden_states=True)
    assert output.last_hidden_state.shape == (2, tokens, 32)
    assert torch.isfinite(output.last_hidden_state).all()
    sizes = [-(-samples // 2**halvings) for halvings in range(1, 9)]
    assert [state.shape[1] for state in output.hidden_states] == sizes
    assert [state.shape[2] for state in output.hidden_states] == [16, *model.config.stage_widths]
    assert torch.allclose(output.pooler_output, output.last_hidden_state.mean(1))
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)


def test_drop_path_rates_rise_linearly_over_all_blocks() -> None:
    model = tiny("net1d", drop_path_rate=0.7)
    rates = [module.drop_path.rate for module in model.modules() if isinstance(module, Net1DBlock)]
    assert rates == pytest.approx([0.1 * index for index in range(8)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage_depths": [2, 2]}, "one number of blocks"),
        ({"stage_depths": [2, 2, 2, 3, 3, 4, 0]}, "one number of blocks"),
        ({"hidden_size": 512}, "last of stage_widths"),
        ({"stem_width": 128}, "Widths .* fall"),
        ({"group_width": 24}, "multiples of group_width"),
    ],
)
def test_sizes_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        Net1DConfig(**changes)


def test_layer_groups_have_the_published_sizes() -> None:
    manifest = json.loads((GOLDEN / "ecg_founder" / "manifest.json").read_text())
    used = [entry for entry in manifest["entries"] if entry["kind"] == "parameter" and not entry.get("unused")]
    with torch.device("meta"):
        model = Net1DModel(Net1DConfig())
    for group, prefixes in Net1DConfig().layer_groups.items():
        ours = sum(p.numel() for name, p in model.named_parameters() if name.startswith(tuple(prefixes)))
        theirs = tuple(manifest["layer_groups"][group])
        shapes = [torch.Size(entry["shape"]) for entry in used if entry["name"].startswith(theirs)]
        assert ours == sum(shape.numel() for shape in shapes), group


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_benchmark_checkpoint(prefix: str) -> None:
    state = published(prefix=prefix)
    head = {f"{prefix}dense.weight": torch.empty(5, 1024, device="meta"), f"{prefix}dense.bias": torch.empty(5)}
    entries = StateDictMapper({**state, **head})
    conversion = convert(entries)
    assert entries.taken == len(conversion.state) == 202
    reasons = list(entries.ignored.values())
    assert reasons.count("batch norm that the network registers and never uses") == 305
    assert reasons.count("head of the task that it was trained on") == 2
    bare = {name: tensor for name, tensor in state.items() if ".bn" not in name and "first_bn" not in name}
    assert set(convert(StateDictMapper(bare)).state) == set(conversion.state)  # the unused entries may be absent


def lose(state: dict[str, Any]) -> None:
    del state["stage_list.3.block_list.2.conv2.conv.bias"]


def surplus(state: dict[str, Any]) -> None:
    state["stage_list.3.block_list.3.bn1.weight"] = torch.zeros(400)


def strange_head(state: dict[str, Any]) -> None:
    state["dense.0.weight"] = torch.zeros(5, 1024)


def reshape(state: dict[str, Any]) -> None:
    state["stage_list.6.block_list.0.conv2.conv.weight"] = torch.zeros(1024, 1024, 16)


def half_prefixed(state: dict[str, Any]) -> None:
    state["model.first_conv.conv.bias"] = state.pop("first_conv.conv.bias")


def replace_by_s4(state: dict[str, Any]) -> None:
    state.clear()
    state.update(published("ecg_s4"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose, r"1 entries do not fit.\s+missing: stage_list\.3\.block_list\.2\.conv2\.conv\.bias \(400,\)"),
        (surplus, r"unknown: stage_list\.3\.block_list\.3\.bn1\.weight \(400,\)"),
        (strange_head, r"unknown: dense\.0\.weight"),
        (reshape, r"wrong shape: .* is \(1024, 1024, 16\), expected \(1024, 16, 16\)"),
        (half_prefixed, "missing: model.stage_list"),
        (replace_by_s4, "missing: first_conv.conv.weight"),
    ],
)
def test_a_checkpoint_that_is_not_a_net1d(damage: Callable[[dict[str, Any]], None], message: str) -> None:
    state = published()
    damage(state)
    with pytest.raises(CheckpointError, match=message):
        convert(StateDictMapper(state))
