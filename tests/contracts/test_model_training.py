"""The contract of every model, through its tiny configuration: gradients, losses, layer groups, stochastic depth."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from ecg_hub import catalog
from ecg_hub.modeling.heads import AttentionPoolingHead, MeanLinearHead
from ecg_hub.modeling.modeling_utils import DropPath, set_drop_path
from tests.support.models import (
    main_output,
    passes,
    signals,
    tiny,
    tiny_classifier,
)

pytestmark = pytest.mark.parametrize("alias", catalog.models())


def classifier_batch(alias: str, **config: Any) -> tuple[Any, torch.Tensor, torch.Tensor]:
    model = tiny_classifier(alias, **config)
    x = signals(model.config, batch=8)
    labels = (torch.arange(8)[:, None] % torch.tensor([2, 3, 4]) == 0).float()
    return model, x, labels


@pytest.mark.heavy
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_training(alias: str, pooling: str) -> None:
    model, x, labels = classifier_batch(alias, pooling=pooling)
    assert isinstance(model.head, MeanLinearHead if pooling == "mean" else AttentionPoolingHead)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    losses = []
    for _ in range(12):
        loss = model(x, labels=labels).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert min(losses[-3:]) < 0.95 * losses[0], (
        f"the loss fell from {losses[0]:.3f} to {min(losses[-3:]):.3f} only, less than 5 %: the model does not train, "
        "or `tiny` of its model.yaml is too small (a width of 32 and two blocks do)"
    )
    assert not model.head_is_new


def test_every_parameter_gets_a_gradient(alias: str) -> None:
    passes("gradients", tiny_classifier(alias))


def test_training_gradient_checkpointing(alias: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        model, x, labels = classifier_batch(alias)
        model.train()
        if checkpointing:
            model.activation_checkpointing_enable()
            assert model.is_activation_checkpointing
        torch.manual_seed(0)
        model(x, labels=labels).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    plain, checkpointed = gradients
    for name, gradient in plain.items():
        if gradient is None:
            assert checkpointed[name] is None, name
        else:
            assert torch.allclose(gradient, checkpointed[name], rtol=1e-4, atol=1e-6), name


def test_problem_types(alias: str) -> None:
    for problem, classes in (("multi_label_classification", None), ("regression", None), ("mixed", 2)):
        model, x, labels = classifier_batch(alias, problem_type=problem, num_classification_labels=classes)
        full = model(x, labels=labels).loss
        assert full.shape == ()
        assert torch.isfinite(full)
        labels[:, 0], labels[3, 1] = float("nan"), float("nan")
        model.zero_grad()
        loss = model(x, labels=labels).loss
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.count_nonzero(model.head.linear.weight.grad[0]) == 0  # a column without targets moves nothing
        empty = model(x, labels=torch.full_like(labels, float("nan"))).loss
        assert empty.item() == 0.0


def test_stochastic_depth(alias: str) -> None:
    plain, model = tiny(alias), tiny(alias, drop_path_rate=0.5)
    x = signals(plain.config, batch=4)
    paths = [module for module in model.modules() if isinstance(module, DropPath)]
    assert paths
    assert max(path.rate for path in paths) == 0.5
    assert plain.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(main_output(plain, x), main_output(model, x))  # evaluation ignores it
    outputs = []
    for rate in (0.0, 0.9):
        assert set_drop_path(model, rate, "constant") == len(paths)
        model.train()
        torch.manual_seed(1)
        outputs.append(model(x).pooler_output)
    plain.train()
    torch.manual_seed(1)
    expected = plain(x).pooler_output
    assert torch.equal(outputs[0], expected)  # rate 0 is the plain model, bit for bit, random numbers included
    assert not torch.allclose(outputs[1], expected)


def test_a_classifier_is_an_encoder_and_a_head(alias: str) -> None:
    classifier = tiny_classifier(alias)
    prefixes = (f"{classifier.base_model_prefix}.", "head.")
    assert [name for name, _ in classifier.named_parameters() if not name.startswith(prefixes)] == []
    passes("layer groups", classifier)


def test_copies_are_independent(alias: str) -> None:
    model = tiny(alias)
    x = signals(model.config)
    before = main_output(model, x)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    assert not torch.allclose(main_output(other, x), before)
    assert torch.equal(main_output(model, x), before)
