"""Every check is seen failing, on a model that was broken in just the way it looks for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ecg_hub.models.merl.modeling_merl import MERLModel
from eval_harness.models.checks.check import ModelCheckError, require
from eval_harness.models.checks.contract import CHECKS, check_one, validate_model
from eval_harness.models.checks.subject import Subject, subject_of
from tests.support.models import tiny


class Good(nn.Module):
    """Keeps the contract; every fault below changes one thing of it."""

    sampling_rate, input_seconds = 100, 2

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.conv = nn.Conv1d(12, width, 20, 10)

    def encode(self, x: Tensor) -> Tensor:
        if x.ndim != 3:
            raise ValueError("no batch axis")
        return self.conv(x).transpose(1, 2)


def fault(change: Callable[[Any, Tensor], Tensor], **attributes: Any) -> Subject:
    """A subject whose features are changed: `change(module, x)` has the module as it was."""

    class Faulty(Good):
        def encode(self, x: Tensor) -> Tensor:
            return change(super(), x)

    for name, value in attributes.items():
        setattr(Faulty, name, value)
    return subject_of(Faulty())


def merl(change: Callable[[Any], Any] | None = None, **attributes: Any) -> Subject:
    """A tiny MERL whose class has other attributes, or whose model was changed."""
    model = tiny("merl")
    broken = type("Broken", (MERLModel,), attributes)(copy.deepcopy(model.config))
    broken.load_state_dict(model.state_dict())
    if change is not None:
        change(broken)
    return subject_of(broken)


def merl_output(**values: Any) -> Subject:
    def forward(self: Any, input_values: Tensor, output_hidden_states: bool | None = None) -> Any:
        output = MERLModel.forward(self, input_values, output_hidden_states=output_hidden_states)
        for name, value in values.items():
            setattr(output, name, value(output) if callable(value) else value)
        return output

    return merl(forward=forward)


def module(change: Callable[[Any], Any], made: Any = Good) -> Subject:
    subject = subject_of(made())
    change(subject.model)
    return subject


def stuck(self: Any, mode: bool = True) -> Any:
    return self


class Unused(Good):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(2, 2)


class TokensOnly(Good):
    """A weight that only the tokens see."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1))

    def encode(self, x: Tensor) -> Any:
        tokens = super().encode(x)
        return SimpleNamespace(last_hidden_state=tokens + self.shift, pooler_output=tokens.mean(1))


class Forgetful(Good):
    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return None


class Lenient:
    """An extractor that reads anything."""

    def spec(self) -> Any:
        return SimpleNamespace(lead_names=["I"] * 12, samples=200)

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        return {"input_values": torch.zeros(1, 12, 200)}


def reading_all() -> Subject:
    subject = subject_of(Good())
    subject.extractor = Lenient()
    return subject


def attribute(name: str, value: Any) -> Callable[[Any], None]:
    return lambda model: setattr(model, name, value)


def scaled(good: Any, x: Tensor) -> Tensor:
    return good.encode(x / x.std(-1, keepdim=True))


def mixed(good: Any, x: Tensor) -> Tensor:
    return good.encode(x - x.mean(0))


def changed_in_place(good: Any, x: Tensor) -> Tensor:
    x *= 2
    return good.encode(x)


def drawing(good: Any, x: Tensor) -> Tensor:
    torch.rand(1)
    return good.encode(x)


def only_float32(good: Any, x: Tensor) -> Tensor:
    if x.dtype != torch.float32:
        raise TypeError("float32 only")
    return good.encode(x)


def broken_when_low(good: Any, x: Tensor) -> Tensor:
    return good.encode(x) * (1 if x.dtype == torch.float32 else 100)


def broken_when_short(good: Any, x: Tensor) -> Tensor:
    return good.encode(x) / (x.shape[-1] == 200)


def any_leads(good: Any, x: Tensor) -> Tensor:
    return good.encode(x[:, :1].expand(-1, 12, -1))


def noisy(good: Any, x: Tensor) -> Tensor:
    return nn.functional.dropout(good.encode(x), 0.5)


def without_graph(good: Any, x: Tensor) -> Tensor:
    return good.encode(x).detach()


def root_at_zero(good: Any, x: Tensor) -> Tensor:
    return (good.encode(x) * 0).sqrt()


def raising(good: Any, x: Tensor) -> Tensor:
    raise RuntimeError("no\nmore than one line")


def unchecked(self: Any, input_values: Tensor, **kwargs: Any) -> Any:
    return MERLModel.forward(self, torch.as_tensor(input_values).float().reshape(-1, 12, 1250), **kwargs)


def dropping(self: Any, x: Tensor) -> Tensor:
    return nn.functional.dropout(Good.encode(self, x), 0.5, training=self.training)


def random_buffer(model: Any) -> None:
    model.register_buffer("table", torch.rand(3), persistent=False)


def other_groups(**groups: list[str]) -> Callable[[Any], None]:
    return lambda model: setattr(model.config, "layer_groups", groups)


ALL = ["stem.", "stages."]
FAULTS: dict[str, list[tuple[Callable[[], Subject], str]]] = {
    "input contract": [
        (lambda: fault(lambda good, x: good.encode(x), sampling_rate=0), "failed"),
        (lambda: fault(lambda good, x: good.encode(x), lead_names=["I", "MLII"]), "failed"),
        (lambda: fault(lambda good, x: good.encode(x), lead_names=["I", "I"]), "failed"),
        (lambda: fault(lambda good, x: good.encode(x), input_seconds=None), "failed"),
        (lambda: fault(lambda good, x: good.encode(x), steps=[{"name": "unknown"}]), "failed"),
        (lambda: merl(lambda model: setattr(model.config, "sampling_rate", 250)), "failed"),
    ],
    "main input name": [
        (lambda: merl(main_input_name="signals"), "failed"),
        (lambda: merl(forward=lambda self, x: None), "failed"),
    ],
    "output shapes": [
        (lambda: fault(lambda good, x: good.encode(x).mean((0, 1))), "failed"),
        (lambda: fault(lambda good, x: good.encode(x).transpose(0, 1)), "failed"),
        (lambda: fault(lambda good, x: good.encode(x) / 0), "failed"),
        (lambda: subject_of(Good(20)), "warning"),
        (lambda: merl_output(pooler_output=None), "failed"),
        (lambda: merl_output(last_hidden_state=None), "failed"),
        (lambda: merl_output(last_hidden_state=lambda output: output.pooler_output), "failed"),
        (lambda: merl_output(last_hidden_state=lambda output: output.last_hidden_state.mT.contiguous().mT), "failed"),
        (lambda: merl(lambda model: setattr(model.config, "hidden_size", 7)), "failed"),
    ],
    "hidden states": [
        (lambda: merl_output(hidden_states=lambda output: (output.pooler_output,)), "failed"),
        (lambda: merl_output(hidden_states=None), "failed"),
    ],
    "batch of one": [(lambda: fault(mixed), "failed")],
    "determinism": [(lambda: fault(noisy), "failed"), (lambda: fault(changed_in_place), "failed")],
    "no random numbers": [(lambda: fault(drawing), "failed")],
    "float32": [
        (lambda: fault(lambda good, x: good.encode(x).double()), "failed"),
        (lambda: module(lambda model: model.double()), "failed"),
    ],
    "bfloat16": [(lambda: fault(only_float32), "warning"), (lambda: fault(broken_when_low), "warning")],
    "NaN": [
        (lambda: fault(lambda good, x: good.encode(x.nan_to_num())), "failed"),
        (lambda: fault(mixed), "failed"),
    ],
    "infinity": [(lambda: fault(mixed), "failed")],
    "flat signals": [(lambda: fault(scaled), "failed")],
    "wrong input": [(lambda: fault(any_leads), "warning"), (lambda: merl(forward=unchecked), "failed")],
    "window length": [
        (lambda: fault(broken_when_short), "failed"),
        (lambda: merl(check_input=lambda self, input_values: None), "failed"),
    ],
    "feature extractor": [
        (reading_all, "failed"),
        (lambda: fault(lambda good, x: good.encode(x), input_seconds="long"), "failed"),
        (lambda: fault(lambda good, x: good.encode(x) / 0), "failed"),
    ],
    "train and eval": [
        (lambda: module(lambda model: setattr(type(model), "train", stuck), type("Stuck", (Good,), {})), "failed"),
        (lambda: module(lambda model: None, type("Noisy", (Good,), {"encode": noisy_always})), "failed"),
    ],
    "gradients": [
        (lambda: subject_of(Unused()), "failed"),
        (lambda: subject_of(TokensOnly()), "warning"),
        (lambda: fault(without_graph), "failed"),
        (lambda: fault(root_at_zero), "failed"),
    ],
    "layer groups": [
        (lambda: merl(other_groups(late=["stages."], early=[])), "failed"),
        (lambda: merl(other_groups(late=ALL, early=["stem."])), "failed"),
        (lambda: merl(other_groups(all=ALL)), "failed"),
    ],
    "save and load": [
        (lambda: merl(random_buffer), "failed"),
        (lambda: subject_of(Forgetful()), "failed"),
        (lambda: module(attribute("table", torch.ones(2))), "warning"),
    ],
    "cost": [(lambda: fault(raising), "failed")],
}
CASES = [(title, number) for title, faults in FAULTS.items() for number in range(len(faults))]


def noisy_always(self: Any, x: Tensor) -> Tensor:
    return nn.functional.dropout(Good.encode(self, x), 0.5)


@pytest.mark.parametrize(("title", "number"), CASES)
def test_a_check_sees_its_fault(title: str, number: int) -> None:
    make, status = FAULTS[title][number]
    found = check_one(title, make())
    assert found.status == status, found
    assert found.seen
    assert "\n" not in found.seen


def test_every_check_has_a_fault() -> None:
    assert FAULTS.keys() == CHECKS.keys()


def test_a_sound_module_passes() -> None:
    found = {check.check: check for check in validate_model(Good())}
    assert list(found) == ["loads", *CHECKS]
    kinds = {name: check.status for name, check in found.items() if check.status != "ok"}
    without = ("main input name", "hidden states", "layer groups")
    assert kinds == dict.fromkeys(without, "not applicable")


def test_dropout_in_training_alone_passes() -> None:
    subject = subject_of(type("Dropping", (Good,), {"encode": dropping})())
    for title in ("determinism", "no random numbers", "train and eval", "gradients"):
        assert check_one(title, subject).status == "ok"


def test_an_object_without_parameters_is_checked_as_far_as_that_goes() -> None:
    class Means:
        sampling_rate, input_seconds = 100, 2

        def encode(self, x: Tensor) -> Tensor:
            return x.mean(-1).repeat(1, 4)

    statuses = [check.status for check in validate_model(Means)]
    assert "failed" not in statuses
    assert statuses.count("not applicable") == 7


def test_a_module_without_a_contract_says_so_once() -> None:
    found = validate_model(nn.Conv1d(12, 16, 5))
    failed = [check.check for check in found if check.status == "failed"]
    assert failed == ["input contract", "feature extractor"]


def test_the_module_stays_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm1d(12), nn.Conv1d(12, 16, 5)).train()
    model.sampling_rate, model.input_seconds = 100, 2  # type: ignore[assignment]
    before = copy.deepcopy(model.state_dict())
    validate_model(model)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_whatever_is_raised_becomes_a_check(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise KeyError('weights')\n")
    for given in (f"{broken}:Encoder", "no-such-model", 3, object, f"{tmp_path / 'absent.py'}:Encoder"):
        (found,) = validate_model(given)
        assert (found.check, found.status) == ("loads", "failed")


def test_an_own_test_can_ask_for_an_error() -> None:
    with pytest.raises(ModelCheckError, match=r"Unused fails 1 of 21 checks:\n  gradients: no gradient reaches unused"):
        validate_model(Unused(), raises=True)
    assert issubclass(ModelCheckError, AssertionError)
    require(validate_model(Good()), "Good")
