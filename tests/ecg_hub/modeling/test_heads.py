"""Heads against the published ones."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.modeling.heads import (
    AttentionPoolingHead,
    MeanLinearHead,
    binary_loss,
    binary_loss_per_class,
    build_head,
    classification_loss,
    regression_loss,
)
from tests.support.fill import fill_tensor

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "protocol" / "head_golden.npz"
CASES = {
    "d512_b4_l300": (512, 4, 300),
    "d768_b4_l96": (768, 4, 96),
    "d512_b3_l1": (512, 3, 1),
    "d768_b2_l400": (768, 2, 400),
}


def filled(dim: int, classes: int) -> AttentionPoolingHead:
    head = AttentionPoolingHead(dim, classes)
    state = {
        name: torch.from_numpy(fill_tensor(f"head.{name}", tuple(tensor.shape)))
        for name, tensor in head.state_dict().items()
    }
    head.load_state_dict(state)
    return head


@pytest.mark.parametrize("case", CASES)
def test_attention_pooling_golden(case: str) -> None:
    dim, batch, tokens = CASES[case]
    head = filled(dim, 71)
    x = np.random.default_rng([0, zlib.crc32(b"features")]).standard_normal((batch, tokens, dim)).astype("float32")
    targets = np.random.default_rng([1, zlib.crc32(b"targets")]).random((batch, 71)) < 0.1
    with np.load(GOLDEN) as arrays:
        logits = head(torch.from_numpy(x))
        assert np.abs(logits.detach().numpy() - arrays[f"{case}/logits"]).max() < 1e-5
        loss = classification_loss(logits, torch.from_numpy(targets))
        assert abs(loss.item() - arrays[f"{case}/loss"]) < 1e-6
        loss.backward()
        for name, parameter in head.named_parameters():
            expected = float(arrays[f"{case}/gradnorm/head.{name}"])
            assert parameter.grad is not None
            assert parameter.grad.double().norm().item() == pytest.approx(expected, rel=1e-4, abs=1e-7), name


def test_attention_pooling_sizes() -> None:
    for dim, expected in ((512, 823_296), (768, 1_824_768), (1024, 3_219_456)):
        with torch.device("meta"):
            head = AttentionPoolingHead(dim, 71)
        assert sum(parameter.numel() for parameter in head.parameters()) == expected
        assert list(head.state_dict()) == [
            "query",
            "k_proj.weight",
            "q_proj.weight",
            "v_proj.weight",
            "c_proj.weight",
        ]


def test_attention_pooling_equals_the_unfolded_form() -> None:
    head = AttentionPoolingHead(32, 5, num_heads=4)
    x = torch.randn(3, 7, 32)
    query, keys, values = head.q_proj(head.query).expand(3, 1, 32), head.k_proj(x), head.v_proj(x)
    split = [part.view(3, -1, 4, 8).transpose(1, 2) for part in (query, keys, values)]
    pooled = torch.nn.functional.scaled_dot_product_attention(*split)
    assert torch.allclose(head(x), head.c_proj(pooled.transpose(1, 2).reshape(3, 32)), atol=1e-6)


def test_a_sharp_head_multiplies_no_subnormal_numbers() -> None:
    """Weights below 1e-20 are 0, and so are their gradients; what is left out is less than rounding."""
    torch.manual_seed(0)
    head = AttentionPoolingHead(32, 5, num_heads=4)
    with torch.no_grad():
        head.query.mul_(2000)
    x = torch.randn(3, 50, 32, requires_grad=True)
    keys = head.k_proj(x).view(3, -1, 4, 8)
    scores = torch.einsum("bthd,hd->bth", keys, head.q_proj(head.query).view(4, 8)) / math.sqrt(8)
    exact = scores.double().softmax(dim=1)
    far = (exact < 1e-21).all(dim=2)
    assert ((exact > 0) & (exact < 1e-38)).any()
    assert far.any()
    assert not far.all()
    values = torch.einsum("bth,bthd->bhd", exact, head.v_proj(x).view(3, -1, 4, 8).double())
    logits = head(x)
    assert torch.allclose(logits.double(), head.c_proj.double()(values.flatten(1)), rtol=1e-4, atol=1e-5)
    logits.square().sum().backward()
    assert x.grad is not None
    assert not x.grad[far].any()
    assert x.grad[~far].all(dim=-1).any()


def test_initialisation() -> None:
    torch.manual_seed(0)
    head = AttentionPoolingHead(512, 71)
    assert head.query.std().item() == pytest.approx(1 / math.sqrt(512), rel=0.15)
    for projection in (head.k_proj, head.q_proj, head.v_proj, head.c_proj):
        assert projection.weight.abs().max().item() == pytest.approx(1 / math.sqrt(512), rel=0.01)


def test_build_head() -> None:
    mean, attention = build_head("mean", 32, 3), build_head("attention", 32, 3)
    assert isinstance(mean, MeanLinearHead)
    assert isinstance(attention, AttentionPoolingHead)
    assert (mean.expects, attention.expects) == ("pooled", "tokens")
    assert mean(torch.zeros(2, 32)).shape == attention(torch.zeros(2, 9, 32)).shape == (2, 3)
    assert mean.linear.bias is not None
    assert attention.num_heads == 16


def test_wrong_arguments() -> None:
    with pytest.raises(UnknownNameError, match="'attention'"):
        build_head("atention", 32, 3)
    with pytest.raises(InputError, match="30 and 16"):
        build_head("attention", 30, 3)


NAN = float("nan")


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator)
    return logits, (torch.rand(6, 4, generator=generator) < 0.4).float()


def test_complete_targets_give_the_plain_mean(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    expected = binary_cross_entropy_with_logits(logits, targets)
    assert torch.allclose(classification_loss(logits, targets), expected)
    assert torch.allclose(binary_loss_per_class(logits, targets), expected)
    assert torch.allclose(regression_loss(logits, targets), l1_loss(logits, targets))


def test_missing_targets_are_left_out(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    targets[0, 0] = targets[1:4, 2] = NAN
    kept = ~targets.isnan()
    assert torch.allclose(binary_loss(logits, targets), binary_cross_entropy_with_logits(logits[kept], targets[kept]))
    columns = [binary_cross_entropy_with_logits(logits[kept[:, c], c], targets[kept[:, c], c]) for c in range(4)]
    assert torch.allclose(binary_loss_per_class(logits, targets), torch.stack(columns).mean())
    errors = [l1_loss(logits[kept[:, c], c], targets[kept[:, c], c]) for c in range(4)]
    assert torch.allclose(regression_loss(logits, targets), torch.stack(errors).mean())
    assert not torch.allclose(binary_loss(logits, targets), binary_loss_per_class(logits, targets))


def test_columns_without_targets_do_not_count(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    expected = binary_loss_per_class(logits[:, 1:], targets[:, 1:]), regression_loss(logits[:, 1:], targets[:, 1:])
    targets[:, 0] = NAN
    assert torch.allclose(binary_loss_per_class(logits, targets), expected[0])
    assert torch.allclose(regression_loss(logits, targets), expected[1])


def test_mixed_is_the_sum(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    targets[:, 3] *= 2.5
    targets[2, 1] = targets[1, 3] = NAN
    expected = binary_loss_per_class(logits[:, :3], targets[:, :3]) + regression_loss(logits[:, 3:], targets[:, 3:])
    assert torch.allclose(classification_loss(logits, targets, "mixed", 3), expected)
    assert torch.allclose(classification_loss(logits, targets, "regression"), regression_loss(logits, targets))


def test_no_target_at_all_gives_zero_and_no_gradient(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    logits.requires_grad_()
    empty = torch.full_like(targets, NAN)
    for problem in ("multi_label_classification", "regression", "mixed"):
        loss = classification_loss(logits, empty, problem, 2)
        assert loss.item() == 0.0
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_half_precision_logits_are_raised(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    loss = classification_loss(logits.bfloat16(), targets)
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, binary_cross_entropy_with_logits(logits.bfloat16().float(), targets))


def test_wrong_arguments_of_losses(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    with pytest.raises(InputError, match=r"\(6, 3\)"):
        classification_loss(logits, targets[:, :3])
    with pytest.raises(InputError, match="num_classification_labels"):
        classification_loss(logits, targets, "mixed")
    with pytest.raises(UnknownNameError, match="'regression'"):
        classification_loss(logits, targets, "regresion")
