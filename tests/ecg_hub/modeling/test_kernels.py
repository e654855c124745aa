"""The fast way of linear maps and convolutions: the same numbers, never stale weights, and torch's private operators.

Where the machine has no AVX-512 the fast way does not exist, and the tests of it are skipped.
"""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ecg_hub.errors import InputError
from ecg_hub.modeling import kernels
from ecg_hub.modeling.kernels import Conv1d, Kept, Linear, adopt, plain
from ecg_hub.modeling.layers import ConvNorm, FeedForward
from tests.support.models import signals, tiny

AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
fast_only = pytest.mark.skipif(not AVX512, reason="the fast way needs AVX-512")


@pytest.fixture(params=[False, True], ids=["other maker", "Intel"])
def maker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The test sees the rule of either kind of processor, whatever this one is."""
    monkeypatch.setattr(kernels, "mkl_avx512", lambda: request.param)
    intel: bool = request.param
    return intel


# As torch 2.13.0 has them. Another text means that torch changed an operator that `ecg_hub.modeling.kernels` calls by
# position: look at what the arguments mean now, then at the parity tests, before this list is changed.
SCHEMAS = {
    "_linear_pointwise": "(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, str? algorithm) -> Tensor Y",
    "_reorder_linear_weight": "(Tensor self, int? batch_size=None) -> Tensor Y",
    "_convolution_pointwise": (
        "(Tensor X, Tensor W, Tensor? B, int[] padding, int[] stride, int[] dilation, int groups, str attr, "
        "Scalar?[] scalars, str? algorithm) -> Tensor Y"
    ),
    "_convolution_pointwise.binary": (
        "(Tensor X, Tensor other, Tensor W, Tensor? B, int[] padding, int[] stride, int[] dilation, int groups, "
        "str binary_attr, Scalar? alpha, str? unary_attr, Scalar?[] unary_scalars, str? unary_algorithm) -> Tensor Y"
    ),
    "_reorder_convolution_weight": (
        "(Tensor self, int[2] padding=0, int[2] stride=1, int[2] dilation=1, int groups=1, int[]? input_size=None) "
        "-> Tensor Y"
    ),
    "_is_mkldnn_bf16_supported": "() -> bool _0",
}


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
@pytest.mark.parametrize("name", SCHEMAS)
def test_torch_still_has_the_operators_as_they_are_called(name: str) -> None:
    operator, _, overload = name.partition(".")
    found = str(getattr(getattr(torch.ops.mkldnn, operator), overload or "default")._schema)
    assert found.partition("(")[2] == SCHEMAS[name].partition("(")[2]
    assert kernels.operators_present()
    # Private too, asked in one place: without them `--dtype auto` would silently take float32 everywhere.
    assert hasattr(torch.cpu, "_is_amx_tile_supported")
    assert hasattr(torch.cpu, "_is_avx512_bf16_supported")


def filled(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.copy_(0.2 * torch.randn(tensor.shape))
    return module.eval()


def close(one: Tensor, other: Tensor) -> None:
    assert one.shape == other.shape
    assert (one - other).abs().max() < 1e-5 * other.abs().max()


@torch.no_grad()
def both(call: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    with plain():
        expected = call()
    return call(), expected


@pytest.mark.parametrize("activation", ["none", "relu", "swish", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(activation: kernels.Activation, bias: bool, maker: bool) -> None:
    layer = filled(Linear(24, 40, bias=bias))
    for x in (torch.randn(7, 24), torch.randn(2, 5, 24), torch.randn(2, 24, 5).transpose(1, 2), torch.randn(0, 24)):
        found, expected = both(lambda x=x: layer(x, activation))  # type: ignore[misc]
        wanted = kernels.PLAIN[activation](functional.linear(x, layer.weight, layer.bias))
        assert torch.equal(expected, wanted)
        assert found.shape == wanted.shape
        if x.numel():
            close(found, wanted)


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 1, 1), (4, 2, 2), (16, 1, 32), (5, 3, 1)])
def test_convolution(kernel: int, stride: int, groups: int, maker: bool) -> None:
    layer = filled(Conv1d(32, 32, kernel, stride=stride, padding=2, groups=groups))
    for x in (torch.randn(3, 32, 50), torch.randn(3, 50, 32).transpose(1, 2)):
        close(*both(lambda x=x: layer(x)))  # type: ignore[misc]


def test_padding_of_two_sizes_activation_and_sum() -> None:
    layer = filled(Conv1d(8, 16, 4))
    x, add = torch.randn(2, 8, 20), torch.randn(2, 16, 20)
    parts = (layer.weight, layer.bias)
    with torch.no_grad():
        expected = functional.relu(functional.conv1d(functional.pad(x, (1, 2)), *parts) + add)
        found = layer.convolve(x, parts, lambda: parts, padding=(1, 2), activation="relu", add=add)
    assert (found is None) is not kernels.onednn()
    if found is not None:
        close(found, expected)


def test_layers_of_models() -> None:
    mlp = filled(FeedForward(Linear(16, 48), nn.GELU(), Linear(48, 16)))
    close(*both(lambda: mlp(torch.linspace(-2, 2, 96).view(6, 16))))
    unit = filled(ConvNorm(8, 8, 3))
    x = torch.randn(2, 8, 30)
    close(*both(lambda: unit(x, add=x, relu=True)))
    # Another module in the first place knows nothing of activations.
    mlp[0] = filled(nn.Linear(16, 48))
    close(*both(lambda: mlp(torch.ones(1, 16))))


@fast_only
def test_gradients_training_and_other_types_go_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = filled(Linear(8, 8)), torch.randn(4, 8)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        assert layer.double()(x.double()).dtype == torch.float64
        with pytest.raises(RuntimeError, match="dtype"):
            layer(x)  # mixed types are an error as in torch
    assert layer.kept._key is None


@pytest.mark.parametrize("training", [True, False])
def test_a_compiler_sees_one_graph(training: bool) -> None:
    layer = filled(Linear(8, 8))
    compiled = torch.compile(layer, backend="eager", fullgraph=True)  # raises where it cannot follow
    with torch.set_grad_enabled(training):
        close(compiled(torch.ones(3, 8)), layer(torch.ones(3, 8)))


CHANGES: dict[str, Callable[[Linear], object]] = {
    "in place": lambda layer: layer.weight.add_(1),
    "bias in place": lambda layer: layer.bias.mul_(2),
    "another parameter": lambda layer: setattr(layer, "weight", nn.Parameter(layer.weight + 1)),
    "loading": lambda layer: layer.load_state_dict({"weight": layer.weight + 1, "bias": layer.bias}),
    "assigning": lambda layer: layer.load_state_dict({"weight": layer.weight + 1, "bias": layer.bias}, assign=True),
    "data, then eval": lambda layer: (layer.weight.data.add_(1), layer.eval()),
    "dtype there and back": lambda layer: layer.bfloat16().float(),
}


@fast_only
@pytest.mark.parametrize("maker", [False], indirect=True)  # MKL keeps nothing
@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_changed_weights_are_never_stale(change: str, maker: bool) -> None:
    layer, x = filled(Linear(8, 8)), torch.randn(4, 8)
    before = layer(x)
    assert layer.kept._key is not None  # else this test shows nothing
    CHANGES[change](layer)
    found, expected = both(lambda: layer(x))
    close(found, expected)
    assert not torch.allclose(found, before, rtol=1e-4)


@fast_only
@pytest.mark.parametrize("maker", [False], indirect=True)
@torch.no_grad()
def test_weights_are_reordered_once_and_dropped(maker: bool) -> None:
    layer, x = filled(Linear(8, 8)), torch.randn(4, 8)
    layer(x)
    kept = layer.kept._value
    layer(x[:2])
    assert layer.kept._value is kept
    layer.train()
    assert layer.kept._value is None
    with torch.inference_mode():
        layer(x)  # what inference mode made serves later passes too
    assert torch.equal(layer(x), layer(x))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.kept._key is None
        assert torch.equal(other(x), layer(x))


def test_kept_values_know_their_tensors() -> None:
    kept, one, other = Kept(), torch.zeros(1), torch.zeros(1)
    made: list[int] = []

    def ask(*sources: Tensor | None, what: str = "a") -> int:
        return int(kept.get(what, sources, lambda: made.append(0) or len(made)))  # type: ignore[func-returns-value]

    assert [ask(one), ask(one), ask(other), ask(one, None), ask(one, what="b")] == [1, 1, 2, 3, 4]
    with torch.inference_mode():
        unversioned = torch.zeros(1)
    assert [ask(unversioned), ask(unversioned)] == [5, 6]  # edits of these cannot be seen


def test_adopted_modules_keep_weights_and_random_numbers() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Conv1d(4, 4, 1), nn.Conv1d(4, 4, 3, dilation=2))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    drawn = torch.get_rng_state()
    adopt(model)
    assert [type(module) for module in model] == [Linear, Conv1d, nn.Conv1d]
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@fast_only
@pytest.mark.parametrize("alias", ["ecg-cpc", "hubert-ecg", "st-mem", "net1d", "ecgfm-ked"])
def test_bfloat16_is_near_float32_and_comes_by_autocast(alias: str) -> None:
    model = tiny(alias)
    x = signals(model.config, batch=4)
    with torch.no_grad():
        exact = model(x).pooler_output
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(x).pooler_output.float()
        again = model(x).pooler_output
    assert torch.equal(exact, again)  # weights of one type are never used for the other
    error = (found - exact).abs().max() / exact.abs().max()
    assert 0 < error < 0.05


@pytest.mark.parametrize("value", ["plain", "auto", ""])
def test_the_switch(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, value)
    kernels.onednn.cache_clear()
    try:
        assert kernels.onednn() is (AVX512 and value != "plain" and kernels.operators_present())
        assert ("plain" in kernels.numerics()) is not kernels.onednn()
    finally:
        kernels.onednn.cache_clear()


@pytest.mark.parametrize(
    ("maker", "told", "expected"),
    [
        ("GenuineIntel", None, True),
        ("GenuineIntel", "AVX512_E4", True),
        ("GenuineIntel", "AVX2", False),
        ("AuthenticAMD", None, False),
        ("", None, False),
    ],
)
def test_the_maker_decides_who_multiplies(
    maker: str, told: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_maker", lambda: maker)
    monkeypatch.delenv("MKL_ENABLE_INSTRUCTIONS", raising=False)
    if told is not None:
        monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", told)
    found = kernels.mkl_avx512.__wrapped__()
    assert found is expected
    monkeypatch.setattr(kernels, "mkl_avx512", lambda: found)
    if kernels.onednn():
        assert ("+mkl" in kernels.numerics()) is expected  # features of the two are never mixed


def test_a_wrong_switch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, "fast")
    kernels.onednn.cache_clear()
    try:
        with pytest.raises(InputError, match="'fast'; allowed: auto, plain"):
            kernels.onednn()
    finally:
        kernels.onednn.cache_clear()


@pytest.mark.heavy
def test_the_same_bits_in_every_process() -> None:
    code = (
        "import torch, hashlib, ecg_hub\n"
        "model = ecg_hub.AutoModel.from_pretrained('random:st-mem-tiny')\n"
        "x = torch.linspace(-1, 1, 5 * 12 * 600).view(5, 12, 600)\n"
        "with torch.no_grad(): y = model(x).last_hidden_state\n"
        "print(hashlib.sha256(y.numpy().tobytes()).hexdigest())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    runs = [subprocess.check_output([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert runs[0] == runs[1]
