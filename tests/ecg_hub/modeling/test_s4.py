"""The S4 layer against independent forms: frequency-domain kernel, direct convolution, the published golden case."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ecg_hub.modeling.s4 import S4Block, S4Convolution, S4Layer, hippo_legs
from ecg_hub.modeling.s4_blocks import block_length
from tests.support.fill import published_state, read_case

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "ecg_cpc"
PREFIX = "ts_encoder.predictor.predictor.s4_layers.0.kernel.kernel."


def convolution(features: int = 6, length: int = 40, bidirectional: bool = False, seed: int = 0) -> S4Convolution:
    torch.manual_seed(seed)
    module = S4Convolution(features, 8, length, bidirectional=bidirectional)
    module.initialize()
    return module.eval()


def as_complex(tensor: torch.Tensor) -> np.ndarray:
    return torch.view_as_complex(tensor.detach().double().contiguous()).numpy()


def kernel_by_frequencies(module: S4Convolution) -> np.ndarray:
    """Formula 1: the truncated generating function on the roots of unity, at most L0 tokens, in double precision."""
    length = module.kernel_length
    c, b, p, q, w = (as_complex(t) for t in (module.C, module.B, module.P, module.Q, module.w))
    dt = np.exp(module.log_dt.double().numpy())
    k = np.arange(length // 2)
    om = np.exp(-2j * np.pi * k / length)
    z = 2 * (1 - om) / (1 + om)

    def r(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        product = (x * y)[..., None]
        poles = (dt[:, None] * w)[..., None]
        return dt[:, None] * (product / (z - poles) + product.conj() / (z - poles.conj())).sum(-2)

    last = (dt[:, None] * (b * c).real).sum(-1, keepdims=True)
    response = 2 / (1 + om) * (r(b, c) - r(b, q) * r(p, c) / (1 + r(p, q)))
    spectrum = np.concatenate([response, np.broadcast_to(last, (*response.shape[:-1], 1))], axis=-1)
    return np.fft.irfft(spectrum, n=length)


def direct(module: S4Convolution, u: torch.Tensor) -> torch.Tensor:
    """Sum over shifts, in double precision."""
    tokens = u.shape[-1]
    kernels = module.kernel(tokens).detach().double()
    u = u.double()
    y = module.D.detach().double()[:, None] * u
    for t in range(tokens):
        y[..., t] += (kernels[0, :, : t + 1] * u[..., : t + 1].flip(-1)).sum(-1)
        if len(kernels) == 2 and t + 1 < tokens:
            y[..., t] += (kernels[1, :, : tokens - t - 1] * u[..., t + 1 :]).sum(-1)
    return y


@pytest.mark.parametrize("length", [16, 40, 250])
def test_kernel_formulas_agree(length: int) -> None:
    module = convolution(length=length)
    expected = kernel_by_frequencies(module)
    assert np.abs(module.kernel(length).detach().numpy() - expected).max() < 2e-6
    assert np.abs(expected).max() > 0.05


def test_kernel_in_double_precision() -> None:
    module = convolution().double()
    assert np.abs(module.kernel(40).detach().numpy() - kernel_by_frequencies(module)).max() < 1e-12


@pytest.mark.parametrize("tokens", [1, 7, 39, 40, 41, 100, 1000])
def test_kernel_is_the_same_at_every_length(tokens: int) -> None:
    module = convolution()
    whole = module.kernel(1000)
    stored = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert torch.allclose(module.kernel(tokens), whole[..., :tokens], atol=1e-6)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in module.state_dict().items())
    assert module.kernel_length == 40


def test_kernel_length_matters() -> None:
    module = convolution()
    right = module.kernel(40)
    module.kernel_length = 80
    module._forget()
    assert (module.kernel(40) - right).abs().max() > 1e-3


@pytest.mark.parametrize("bidirectional", [False, True])
# 101 and 250 take several blocks; of 101 tokens the last one is filled up.
@pytest.mark.parametrize("tokens", [1, 2, 25, 90, 101, 250])
def test_convolution_equals_the_direct_sum(tokens: int, bidirectional: bool) -> None:
    module = convolution(bidirectional=bidirectional)
    u = torch.randn(3, 6, tokens)
    assert (module(u) - direct(module, u)).abs().max() < 5e-6


def by_fourier(module: S4Convolution, u: torch.Tensor) -> torch.Tensor:
    """What other devices than the CPU compute, and the CPU did before."""
    n = 2 * u.shape[-1] + 1
    kernels = module.kernel(u.shape[-1])
    response = nn.functional.pad(kernels[0], (0, n - u.shape[-1]))
    if len(kernels) == 2:
        response = response + nn.functional.pad(kernels[1].flip(-1), (n - u.shape[-1], 0))
    y = torch.fft.irfft(torch.fft.rfft(u, n=n) * torch.fft.rfft(response), n=n)[..., : u.shape[-1]]
    return y + module.D[:, None] * u


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("tokens", [40, 120, 131])
def test_gradients_equal_those_through_the_fourier_transform(tokens: int, bidirectional: bool) -> None:
    module = convolution(length=300, bidirectional=bidirectional).double().train()
    u = torch.randn(3, 6, tokens, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 6, tokens, dtype=torch.float64)
    found = []
    for way in (module, lambda x: by_fourier(module, x)):
        y = way(u)
        found.append((y, *torch.autograd.grad((y * weight).sum(), (u, module.C, module.D))))
    for ours, expected in zip(*found, strict=True):
        assert (ours - expected).abs().max() < 1e-11 * expected.abs().max()


def test_other_devices_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    module, u = convolution(bidirectional=True), torch.randn(2, 6, 130)
    monkeypatch.setattr("ecg_hub.modeling.s4._IN_BLOCKS", ())
    assert (module(u) - direct(module, u)).abs().max() < 5e-6


@pytest.mark.parametrize(
    ("tokens", "block"), [(1, 1), (96, 96), (250, 50), (300, 60), (1200, 60), (2500, 50), (101, 51)]
)
def test_blocks_divide_the_tokens_where_they_can(tokens: int, block: int) -> None:
    assert block_length(tokens) == block


def test_causal_and_backward_reach() -> None:
    for bidirectional in (False, True):
        module = convolution(bidirectional=bidirectional)
        u = torch.zeros(1, 6, 30)
        u[..., 10] = 1.0
        response = module(u)[0].abs()
        assert response[:, 10:].sum() > 0
        assert (response[:, :10].max() > 1e-3) == bidirectional


@pytest.mark.heavy
def test_published_kernel() -> None:
    manifest, arrays = read_case(GOLDEN)
    state = published_state(manifest, arrays)
    module = S4Convolution(512, 8, 1200)
    with torch.no_grad():
        module.C.copy_(state[f"{PREFIX}C"])
        module.log_dt.copy_(state[f"{PREFIX}log_dt"])
        module.w.copy_(state[f"{PREFIX}w"])
        for name in ("B", "P", "Q"):
            getattr(module, name).copy_(state[f"{PREFIX}{name}"][0])
    ours = module.kernel(1200).detach().numpy()
    assert np.abs(ours - kernel_by_frequencies(module)).max() < 2e-6


def test_hippo_legs_is_diagonalised() -> None:
    w, b, p = hippo_legs(8)
    assert np.allclose(w.real, -0.5)
    assert np.allclose(w.imag, [19.857, 5.354, 1.958, 0.427], atol=1e-3)
    # Phases of eigenvectors are free; moduli and the products that enter a kernel are not.
    _, arrays = read_case(GOLDEN)
    for ours, name in ((b, "B"), (p, "P")):
        published = arrays[f"param::{PREFIX}{name}"][0, 0]
        assert np.allclose(ours.abs(), np.hypot(published[:, 0], published[:, 1]), atol=1e-5)
    n = np.arange(8)
    state = -(np.tril(np.sqrt(np.outer(2 * n + 1, 2 * n + 1)), -1) + np.diag(n + 1))
    eigenvalues = np.linalg.eigvals(state + np.outer(np.sqrt(n + 0.5), np.sqrt(n + 0.5)))
    assert np.allclose(sorted(eigenvalues.imag)[::-1][:4], w.imag)


def test_initialisation_follows_the_paper() -> None:
    module = convolution(features=4000, length=40)
    steps = module.log_dt
    assert math.log(1e-3) <= steps.min() < math.log(1.2e-3)
    assert math.log(0.08) < steps.max() <= math.log(1e-1)
    assert abs(module.D.std().item() - 1) < 0.05
    # The stored C is Ctrue (I - Abar^L0); Ctrue is standard normal over real and imaginary part together.
    abar, _ = module._discretise()
    power = torch.eye(8, dtype=abar.dtype) - torch.linalg.matrix_power(abar, 40)
    stored = torch.view_as_complex(module.C.detach().double())[0]
    true = torch.linalg.solve(power.mT, torch.cat([stored, stored.conj()], -1)[..., None])[..., 0]
    assert abs(true.abs().square().mean().item() - 1) < 0.05


def test_gradients_reach_c_and_d_only() -> None:
    module = convolution()
    assert [name for name, _ in module.named_parameters()] == ["C", "D"]
    u = torch.randn(2, 6, 20, requires_grad=True)
    module(u).square().sum().backward()
    assert module.C.grad is not None
    assert module.C.grad.abs().sum() > 0
    assert module.D.grad is not None
    assert u.grad is not None


def test_gradient_is_exact() -> None:
    module = convolution(features=2, length=10).double()
    u = torch.randn(1, 2, 6, dtype=torch.float64, requires_grad=True)

    def run(u: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, {"C": c}, (u,))

    assert torch.autograd.gradcheck(run, (u, module.C.detach().clone().requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_keeps_the_kernel(dtype: torch.dtype) -> None:
    layer = S4Layer(6, 8, 40, 0.0).eval()
    layer.convolution.initialize()
    exact = layer.convolution.kernel(300)
    layer.to(dtype)
    assert layer.output.weight.dtype == dtype
    assert {tensor.dtype for tensor in layer.convolution.state_dict().values()} == {torch.float32}
    assert torch.equal(layer.convolution.kernel(300), exact)
    u = torch.randn(2, 6, 300)
    assert layer.convolution(u.to(dtype)).dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.convolution(u), convolve_outside(layer.convolution, u))


def convolve_outside(module: S4Convolution, u: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return module(u)


def test_dtype_may_still_rise_and_return() -> None:
    module = convolution()
    assert module.double().C.dtype == torch.float64
    assert module.float().C.dtype == torch.float32
    assert module.half().C.dtype == torch.float32


# The cache


def counted(module: S4Convolution, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    compute = module._compute_maps

    def spy(block: int) -> Any:
        calls.append(block)
        return compute(block)

    monkeypatch.setattr(module, "_compute_maps", spy)
    return calls


def test_matrices_are_kept_in_evaluation_without_gradients_only(monkeypatch: pytest.MonkeyPatch) -> None:
    module = convolution()
    calls = counted(module, monkeypatch)
    u = torch.randn(1, 6, 20)
    with torch.no_grad():
        first, second = module(u), module(u)
    assert torch.equal(first, second)
    assert calls == [20]
    module(u)
    assert calls == [20, 20]
    module.train()
    with torch.no_grad():
        module(u)
        module(u)
    assert calls == [20] * 4


def test_matrices_are_dropped_when_anything_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    u = torch.randn(1, 6, 20)

    def change_length(module: S4Convolution) -> None:
        module(torch.randn(1, 6, 10))

    def optimise(module: S4Convolution) -> None:
        module.C.grad = torch.ones_like(module.C)
        torch.optim.SGD([module.C], lr=0.1).step()

    def exchange(module: S4Convolution) -> None:
        module.C = nn.Parameter(module.C.detach() * 2)

    def edit_data(module: S4Convolution) -> None:
        module.D.data.mul_(2)
        module.eval()

    changes = {
        "train": lambda module: module.train().eval(),
        "load": lambda module: module.load_state_dict(convolution(seed=1).state_dict()),
        "assign": lambda module: module.load_state_dict(convolution(seed=1).state_dict(), assign=True),
        "dtype": lambda module: module.double().float(),
        "optimiser": optimise,
        "exchange": exchange,
        "buffer": lambda module: module.log_dt.add_(0.5),
        "data": edit_data,
        "length": change_length,
    }
    for name, change in changes.items():
        module = convolution()
        module.C = nn.Parameter(module.C.detach().clone())  # unchanged since it was made, like the one in `exchange`
        calls = counted(module, monkeypatch)
        with torch.no_grad():
            module(u)
            before = len(calls)
            change(module)
            again = module(u)
            assert len(calls) > before, name
            assert torch.allclose(again, direct(module, u).float(), atol=1e-5), name


def test_inference_mode_leaves_no_trap_for_training() -> None:
    module = convolution()
    u = torch.randn(1, 6, 20)
    with torch.inference_mode():
        expected = module(u).clone()
    module.train()
    output = module(u)
    output.sum().backward()
    assert torch.allclose(output.detach(), expected, atol=1e-6)
    with torch.inference_mode():
        born_in_inference = convolution()
        assert torch.allclose(born_in_inference(u), born_in_inference(u))


def test_copies_and_pickles_carry_no_cache() -> None:
    module = convolution()
    u = torch.randn(1, 6, 20)
    with torch.no_grad():
        expected = module(u)
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(other(u), expected)
            other.C.mul_(2)
            assert not torch.allclose(other(u), expected)
        assert torch.equal(module(u), expected)


# Layer and block


def test_layer_by_hand() -> None:
    layer = S4Layer(6, 8, 40, 0.2).eval()
    layer.convolution.initialize()
    x = torch.randn(2, 20, 6)
    z = nn.functional.gelu(direct(layer.convolution, x.transpose(1, 2)).float())
    mixed = torch.einsum("oi,bit->bot", layer.output.weight, z) + layer.output.bias[:, None]
    expected = mixed[:, :6] * torch.sigmoid(mixed[:, 6:])
    assert torch.allclose(layer(x), expected.transpose(1, 2), atol=1e-5)


def test_block_is_post_norm() -> None:
    block = S4Block(6, 8, 40, 0.2).eval()
    block.layer.convolution.initialize()
    x = torch.randn(2, 20, 6)
    assert torch.allclose(block(x), block.norm(block.layer(x) + x), atol=1e-6)


def test_dropout_is_tied_over_time() -> None:
    torch.manual_seed(0)
    block = S4Block(64, 8, 40, 0.5).train()
    block.layer.convolution.initialize()
    x = torch.randn(4, 30, 64)
    seen: list[torch.Tensor] = []
    block.layer.output.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    block.norm = nn.Identity()  # type: ignore[assignment]
    branch = block(x) - x
    for dropped in (seen[0].view_as(x), branch):
        zero = dropped.abs() < 1e-6
        assert torch.equal(zero, zero[:, :1].expand_as(zero))
        assert 0.4 < zero[:, 0].float().mean() < 0.6
    block.layer.dropout.p = 0.0
    whole = block.layer(x)
    torch.manual_seed(1)
    kept = block.dropout(torch.ones(4, 64, 1))[..., 0][:, None]
    torch.manual_seed(1)
    assert torch.allclose(block(x) - x, kept * whole, atol=1e-5)
    assert set(kept.unique().tolist()) == {0.0, 2.0}
