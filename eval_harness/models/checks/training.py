"""Checks of what training needs, and of weights that are written and read again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from eval_harness.models.checks.check import DrawbackError, FailedError, NotApplicableError
from eval_harness.models.checks.subject import Subject

GROUPS = {"late", "early"}
BATCH = 4
SHOWN = 5
"""So many names of parameters are listed."""


def train_and_eval(subject: Subject) -> str:
    """train() and eval() reach every part; eval() takes back all that a training pass did not learn."""
    trained = subject.copy()
    parts = list(trained.module.modules())
    trained.model.train()
    off = [part for part in parts if not part.training]
    if off:
        raise FailedError(
            f"train() leaves {_kinds(off)} in evaluation", "Do not override train() without calling super()."
        )
    trained.model.eval()
    on = [part for part in parts if part.training]
    if on:
        raise FailedError(f"eval() leaves {_kinds(on)} in training", "Call super().train(mode) in an own train().")
    x = subject.signals(BATCH)
    before = trained.encode(x)
    trained.model.train()
    trained.model.eval()
    if not torch.equal(trained.encode(x), before):
        raise FailedError("features differ after train() and eval()", "eval() must bring back the same features.")
    return f"{len(parts)} parts switch, features are the same after it"


def gradients(subject: Subject) -> str:
    """Every weight that trains gets a gradient from the pooled features, the head's input in fine-tuning."""
    trained = subject.copy()
    weights = {name: p for name, p in trained.module.named_parameters() if p.requires_grad}
    if not weights:
        raise NotApplicableError("no parameter trains: only the modes with a fixed encoder, linear and frozen")
    trained.model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        missed = _without_gradient(weights, trained.features(subject.signals(BATCH)))
        if missed:
            late = _without_gradient(weights, trained.tokens(subject.signals(BATCH)))
            _refuse(missed, [name for name in missed if name in late])
    broken = [name for name, p in weights.items() if p.grad is not None and not torch.isfinite(p.grad).all()]
    if broken:
        raise FailedError(f"gradients of {_some(broken)} are not finite", "Look for a root or a division at zero.")
    fixed = sum(not p.requires_grad for p in trained.module.parameters())
    return f"{len(weights)} parameters" + (f"; {fixed} do not train" if fixed else "")


def _without_gradient(weights: dict[str, nn.Parameter], output: Tensor) -> list[str]:
    if not output.requires_grad:
        raise FailedError(
            "features carry no gradient", "No torch.no_grad(), inference_mode(), detach() or numpy in the forward pass."
        )
    # Weighted, since the sum over a normalised vector has no gradient at all.
    weighting = torch.linspace(-1.0, 1.0, output.numel()).view_as(output)
    loss: Any = (output * weighting).sum()
    loss.backward()
    return [name for name, parameter in weights.items() if parameter.grad is None]


def _refuse(missed: list[str], never: list[str]) -> None:
    if never:
        raise FailedError(
            f"no gradient reaches {_some(never)}",
            "Leave unused layers out, or set requires_grad = False on what never trains.",
        )
    raise DrawbackError(f"only the tokens reach {_some(missed)}", "With mean pooling these weights do not train.")


def layer_groups(subject: Subject) -> str:
    """`config.layer_groups` holds every parameter once, by the beginning of its name."""
    if not subject.is_hub:
        raise NotApplicableError("fine-tuned as a whole, at the rate of the late layers")
    groups = subject.config.layer_groups
    if set(groups) != GROUPS:
        raise FailedError(
            f"groups {sorted(groups)}", 'config.layer_groups is {"late": [prefixes], "early": [prefixes]}.'
        )
    # Of a classifier its encoder alone: the prefixes are of names without the one that a classifier puts before them.
    encoder = subject.model.base_model
    prefixes = [prefix for names in groups.values() for prefix in names]
    homes = {name: sum(map(name.startswith, prefixes)) for name, _ in encoder.named_parameters()}
    lost = [name for name, count in homes.items() if count == 0]
    twice = [name for name, count in homes.items() if count > 1]
    if lost or twice:
        seen = [f"{_some(names)} {how}" for names, how in ((lost, "in no group"), (twice, "in two")) if names]
        raise FailedError("; ".join(seen), "Let exactly one prefix of config.layer_groups begin each parameter's name.")
    late = sum(any(map(name.startswith, groups["late"])) for name in homes)
    return f"{late} late and {len(homes) - late} early parameters"


def save_and_load(subject: Subject) -> str:
    """What is saved and loaded again gives the same features, bit for bit."""
    return _saved_state(subject) if subject.kind == "module" else _saved_folder(subject)


def _saved_folder(subject: Subject) -> str:
    """`save_pretrained` and `from_pretrained`: all tensors, the config, the features."""
    if subject.kind == "object":
        raise NotApplicableError("the object is no nn.Module")
    with tempfile.TemporaryDirectory() as folder:
        subject.model.save_pretrained(folder)
        loaded = subject.other(type(subject.model).from_pretrained(folder))
        loaded.reset()
    before, after = tensors(subject.model), tensors(loaded.model)
    changed = [name for name in {**before, **after} if not _same(before.get(name), after.get(name))]
    if changed:
        raise FailedError(
            f"{_some(changed)} come back different",
            "Describe every tensor that is not saved in _init_weights, or save it: from_pretrained keeps nothing else.",
        )
    old, new = subject.config.to_dict(), loaded.config.to_dict()
    # Fields with an underscore are transformers' own (where it was loaded from, how attention runs).
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key) and not key.startswith("_")]
    if differing:
        raise FailedError(f"config fields {_some(differing)} come back different", "Values of a config survive JSON.")
    _compare(subject, loaded)
    return f"{len(before)} tensors and the config, features bit for bit"


def _saved_state(subject: Subject) -> str:
    """`state_dict` into a copy whose weights were overwritten."""
    loaded = subject.copy()
    state = {name: value.clone() for name, value in subject.module.state_dict().items() if isinstance(value, Tensor)}
    with torch.no_grad():
        for tensor in loaded.module.state_dict().values():
            if isinstance(tensor, Tensor):
                tensor.zero_()
    loaded.module.load_state_dict(state)
    _compare(subject, loaded)
    # A copy holds such attributes, so that only another process would miss them.
    outside = [
        f"{path}.{name}".lstrip(".")
        for path, part in subject.module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, Tensor)
    ]
    if outside:
        raise DrawbackError(
            f"{_some(outside)} are tensors outside of the state dict", "Make them parameters, or register_buffer()."
        )
    return f"{len(state)} tensors, features bit for bit"


def _compare(subject: Subject, loaded: Subject) -> None:
    x = subject.signals()
    if not torch.equal(subject.encode(x), loaded.encode(x)):
        raise FailedError(
            "features differ after loading", "All that decides features belongs into the state or the config."
        )


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and all buffers of a model, persistent or not, by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:SHOWN]) + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")


def _kinds(parts: Iterable[nn.Module]) -> str:
    return _some({type(part).__name__ for part in parts})
