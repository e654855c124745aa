"""What each mode trains, at which rate, and what it leaves alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from ecg_hub.errors import InputError
from ecg_hub.modeling.heads import AttentionPoolingHead, MeanLinearHead
from eval_harness.config.protocol import MODES, PUBLISHED_HEAD, Protocol
from eval_harness.models.adapting import FROZEN_MODES, POOLING, AdaptedModel, adapt, layer_group, parameter_groups
from eval_harness.models.custom_models import CustomEncoder
from tests.support.models import tiny
from tests.support.tiny_training import LEADS, SAMPLES, WIDTH, ToyEncoder, toy

PROTOCOL = Protocol(learning_rate=0.5, layer_rate_factor=0.1, attention_heads=2)
TRAINED_IN_ENCODER = {"stem.weight", "norm.weight", "norm.bias", "top.weight", "top.bias"}


def windows(count: int = 4) -> torch.Tensor:
    return torch.randn(count, LEADS, SAMPLES, generator=torch.Generator().manual_seed(0))


def names_of(model: AdaptedModel, parameters: list[nn.Parameter]) -> set[str]:
    return {name for name, own in model.named_parameters() if any(own is parameter for parameter in parameters)}


def encoder_names(model: AdaptedModel, parameters: list[nn.Parameter]) -> set[str]:
    return {name for name, own in model.encoder.named_parameters() if any(own is wanted for wanted in parameters)}


class TestGroups:
    def test_finetune_trains_head_late_and_early_layers_at_1_a_tenth_and_a_hundredth_of_the_rate(self) -> None:
        model = toy("finetune")
        groups = parameter_groups(model, "finetune", PROTOCOL)
        assert [group["name"] for group in groups] == ["head", "late", "early"]
        assert [group["lr"] for group in groups] == pytest.approx([0.5, 0.05, 0.005], rel=1e-12)
        head, late, early = (group["params"] for group in groups)
        assert names_of(model, head) == {"classifier.head.linear.weight", "classifier.head.linear.bias"}
        assert encoder_names(model, late) == {"top.weight", "top.bias"}
        assert encoder_names(model, early) == {"stem.weight", "norm.weight", "norm.bias"}
        assert [len(group["params"]) for group in groups] == [2, 2, 3], "none twice, and not the fixed table"
        assert {key for group in groups for key in group} == {"params", "lr", "name"}

    @pytest.mark.parametrize(
        ("factor", "rates"), [(1.0, [0.5, 0.5, 0.5]), (0.0, [0.5, 0, 0]), (0.3, [0.5, 0.15, 0.045])]
    )
    def test_the_factor_is_squared_for_the_early_layers(self, factor: float, rates: list[float]) -> None:
        groups = parameter_groups(toy("finetune"), "finetune", Protocol(learning_rate=0.5, layer_rate_factor=factor))
        assert [group["lr"] for group in groups] == pytest.approx(rates, rel=1e-12)

    @pytest.mark.parametrize("mode", sorted(FROZEN_MODES))
    def test_fixed_modes_train_the_head_alone_at_the_full_rate(self, mode: str) -> None:
        model = toy(mode)
        (group,) = parameter_groups(model, mode, PROTOCOL)
        assert (group["name"], group["lr"]) == ("all", 0.5)
        assert encoder_names(model, group["params"]) == set()
        assert len(group["params"]) == len(list(model.head.parameters()))

    def test_scratch_trains_everything_at_one_rate(self) -> None:
        model = toy("scratch")
        (group,) = parameter_groups(model, "scratch", PROTOCOL)
        assert (group["name"], group["lr"]) == ("all", 0.5)
        assert encoder_names(model, group["params"]) >= TRAINED_IN_ENCODER
        assert len(names_of(model, group["params"])) == len(group["params"])

    def test_every_parameter_that_trains_is_in_exactly_one_group(self) -> None:
        model = adapt(tiny("ecg-cpc"), "finetune", ["a"], "multi_label_classification", PROTOCOL)
        grouped = [p for group in parameter_groups(model, "finetune", PROTOCOL) for p in group["params"]]
        trained = [p for p in model.parameters() if p.requires_grad]
        assert sorted(map(id, grouped)) == sorted(map(id, trained))

    @pytest.mark.parametrize(
        ("groups", "said"),
        [
            ({"late": ["top."], "early": ["norm.", "table"]}, "'stem.weight' of ToyEncoder is in 0 layer groups"),
            ({"late": ["top.", "stem.w"], "early": ["stem.", "norm.", "table"]}, "'stem.weight' of ToyEncoder is in 2"),
            ({"late": ["top."], "early": ["stem.", "norm."]}, "'table' of ToyEncoder is in 0 layer groups"),
        ],
    )
    def test_a_parameter_without_a_known_rate_is_refused(self, groups: dict[str, list[str]], said: str) -> None:
        model = toy("finetune")
        model.encoder.config.layer_groups = groups
        with pytest.raises(InputError, match=said):
            parameter_groups(model, "finetune", PROTOCOL)

    def test_two_prefixes_of_one_group_are_one_home(self) -> None:
        encoder = ToyEncoder()
        encoder.config.layer_groups = {"late": ["top.", "top.w"], "early": ["stem."]}
        assert layer_group(encoder, "top.weight") == "late"
        assert layer_group(encoder, "stem.bias") == "early"


class TestModes:
    def test_every_mode_has_its_pooling(self) -> None:
        assert {*POOLING, PUBLISHED_HEAD} == MODES.keys()  # which brings a head of its own
        assert {mode for mode, pooling in POOLING.items() if pooling == "attention"} == {"frozen"}
        assert frozenset({"linear", "frozen"}) == FROZEN_MODES

    @pytest.mark.parametrize("mode", ["linear", "frozen"])
    def test_a_fixed_encoder_has_no_gradients_and_stays_in_eval_mode(self, mode: str) -> None:
        model = toy(mode)
        assert model.frozen
        before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
        for asked in (model, model.train(), model.train(True)):
            assert asked is model
            assert model.training
            assert model.head.training
            assert not any(module.training for module in model.encoder.modules())
        model(windows()).sum().backward()
        assert all(parameter.grad is None for parameter in model.encoder.parameters())
        assert all(parameter.grad is not None for parameter in model.head.parameters())
        after = model.encoder.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before), "BatchNorm statistics stay"
        torch.testing.assert_close(model(windows()), model(windows()), rtol=0, atol=0)  # no dropout

    @pytest.mark.parametrize("mode", ["finetune", "scratch", "post_train"])
    def test_other_modes_train_the_encoder_in_train_mode(self, mode: str) -> None:
        model = toy(mode)
        assert not model.frozen
        assert all(module.training for module in model.modules())
        model(windows()).sum().backward()
        with_gradient = {name for name, p in model.encoder.named_parameters() if p.grad is not None}
        assert with_gradient >= TRAINED_IN_ENCODER
        norm: Any = model.encoder.get_submodule("norm")
        assert int(norm.num_batches_tracked) == 1
        model.eval()
        assert not any(module.training for module in model.modules())

    def test_freezing_and_letting_go_leave_what_was_never_trained(self) -> None:
        model = toy("finetune")
        model.eval()
        model.freeze(True)
        assert model.frozen
        assert (model.training, model.encoder.training) == (True, False)
        assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
        model.freeze(False)
        assert not model.frozen
        assert model.encoder.training
        trained = {name for name, p in model.encoder.named_parameters() if p.requires_grad}
        assert trained == TRAINED_IN_ENCODER

    def test_no_gradient_is_kept_of_a_fixed_encoder_nor_where_none_is_wanted(self) -> None:
        assert not toy("linear").encode(windows()).requires_grad
        assert toy("finetune").encode(windows()).requires_grad
        with torch.no_grad():
            assert not toy("finetune").encode(windows()).requires_grad

    def test_heads_take_pooled_features_or_tokens(self) -> None:
        for mode, expects, shape in (("linear", "pooled", (4, WIDTH)), ("frozen", "tokens", (4, SAMPLES, WIDTH))):
            model = toy(mode)
            assert model.expects == expects
            features = model.encode(windows())
            assert tuple(features.shape) == shape
            output = model.encoder(windows())
            wanted = output.pooler_output if expects == "pooled" else output.last_hidden_state
            torch.testing.assert_close(features, wanted)
            torch.testing.assert_close(model(features, encoded=True), model(windows()))
            torch.testing.assert_close(model(windows()), model.head(features))

    def test_dropout_of_the_heads_input_is_off_unless_asked_and_in_train_mode_only(self) -> None:
        model, features = toy("linear"), torch.ones(2000, WIDTH)
        model.classifier.head = nn.Identity()
        assert model.dropout == 0.0
        assert torch.equal(model.classify(features), features)
        model.dropout = 0.25
        dropped = model.classify(features)
        assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
        assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
        model.eval()
        assert torch.equal(model.classify(features), features)

    def test_a_logit_that_is_not_a_number_becomes_0_as_published(self) -> None:
        model = toy("linear")
        features = torch.full((2, WIDTH), float("nan"))
        assert model.classify(features).tolist() == [[0.0, 0.0]] * 2

    @pytest.mark.parametrize(("mode", "part"), [("linear", "head"), ("finetune", "classifier")])
    def test_the_trained_state_is_a_copy_of_what_training_can_change(self, mode: str, part: str) -> None:
        model = toy(mode)
        whole = getattr(model, part).state_dict()
        state = model.trained_state()
        assert state.keys() == whole.keys()
        assert all(torch.equal(state[name], whole[name]) for name in state)
        with torch.no_grad():
            for tensor in whole.values():
                tensor.add_(1)
        assert not any(torch.equal(state[name], whole[name]) for name in state)
        assert not any(tensor.requires_grad for tensor in state.values())
        model.load_trained_state(state)
        assert all(torch.equal(state[name], tensor) for name, tensor in getattr(model, part).state_dict().items())
        name = next(iter(state))
        with pytest.raises(RuntimeError, match="Missing key"):
            model.load_trained_state({key: tensor for key, tensor in state.items() if key != name})


class TestAdapt:
    def test_the_encoder_is_copied_with_its_weights_and_the_head_is_new(self) -> None:
        encoder = tiny("ecg-cpc")
        before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
        torch.manual_seed(3)
        model = adapt(encoder, "finetune", ["a", "b", "c"], "multi_label_classification", PROTOCOL)
        inside = model.encoder.state_dict()
        assert inside.keys() == before.keys()
        assert all(torch.equal(inside[name], before[name]) for name in before)
        with torch.no_grad():
            for parameter in model.encoder.parameters():
                parameter.add_(1)
        assert all(torch.equal(encoder.state_dict()[name], before[name]) for name in before)
        torch.manual_seed(3)
        again = adapt(encoder, "finetune", ["a", "b", "c"], "multi_label_classification", PROTOCOL)
        other = adapt(encoder, "finetune", ["a", "b", "c"], "multi_label_classification", PROTOCOL)
        heads: list[Any] = [made.head for made in (model, again, other)]
        assert torch.equal(heads[0].linear.weight, heads[1].linear.weight)
        assert not torch.equal(heads[0].linear.weight, heads[2].linear.weight)

    def test_the_configuration_says_what_the_outputs_are(self) -> None:
        encoder = tiny("ecg-cpc")
        model = adapt(encoder, "frozen", ["a", "b", "t"], "mixed", PROTOCOL, classes=2)
        config = model.classifier.config
        assert config.num_labels == 3
        assert config.id2label == {0: "a", 1: "b", 2: "t"}
        assert config.label2id == {"a": 0, "b": 1, "t": 2}
        assert (config.problem_type, config.num_classification_labels) == ("mixed", 2)
        assert (config.pooling, config.num_attention_pooling_heads) == ("attention", 2)
        assert isinstance(model.head, AttentionPoolingHead)
        assert encoder.config.num_labels != 3, "the encoder's own configuration stays"
        plain = adapt(encoder, "linear", ["a", "b"], "multi_label_classification", PROTOCOL, classes=2)
        assert plain.classifier.config.problem_type == "multi_label_classification"
        assert plain.classifier.config.num_classification_labels is None
        assert plain.classifier.config.pooling == "mean"
        assert isinstance(plain.head, MeanLinearHead)
        assert plain.head.linear.out_features == 2

    def test_weights_that_do_not_fit_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        encoder = tiny("ecg-cpc")
        whole = encoder.state_dict()
        part = {name: tensor for name, tensor in whole.items() if name != next(iter(whole))}
        monkeypatch.setattr(encoder, "state_dict", lambda: part)
        with pytest.raises(RuntimeError, match="Missing key"):
            adapt(encoder, "finetune", ["a"], "multi_label_classification", PROTOCOL)

    @pytest.mark.parametrize(("mode", "frozen"), [("linear", True), ("frozen", True), ("finetune", False)])
    def test_the_mode_decides_what_is_fixed(self, mode: str, frozen: bool) -> None:
        model = adapt(tiny("ecg-cpc"), mode, ["a"], "multi_label_classification", PROTOCOL)
        assert model.frozen is frozen
        assert model.training

    def test_an_encoder_of_ones_own_is_copied_and_trains_as_a_whole(self) -> None:
        module = nn.Linear(LEADS, WIDTH).requires_grad_(False)
        own = CustomEncoder(lambda x: module(x.transpose(1, 2)), WIDTH, module)
        model = adapt(own, "finetune", ["a", "b"], "multi_label_classification", PROTOCOL)
        assert all(parameter.requires_grad for parameter in model.encoder.parameters())
        assert not any(parameter.requires_grad for parameter in module.parameters())
        assert isinstance(model.head, MeanLinearHead)
        assert (model.head.linear.in_features, model.head.linear.out_features) == (WIDTH, 2)
        assert not model.frozen
        fixed = adapt(own, "linear", ["a"], "multi_label_classification", PROTOCOL)
        assert fixed.frozen
        frozen: Any = adapt(own, "frozen", ["a"], "multi_label_classification", PROTOCOL).head
        assert isinstance(frozen, AttentionPoolingHead)
        assert frozen.num_heads == 2
        assert [group["name"] for group in parameter_groups(model, "finetune", PROTOCOL)] == ["head", "late", "early"]

    def test_an_encoder_without_parameters_has_fixed_modes_only(self) -> None:
        own = CustomEncoder(lambda x: x.transpose(1, 2), LEADS, None)
        model = adapt(own, "linear", ["a"], "multi_label_classification", PROTOCOL)
        assert tuple(model(windows()).shape) == (4, 1)
        assert model.encoder is own, "what it holds may not be possible to copy"
        with pytest.raises(InputError, match=r"Mode 'finetune' trains the encoder.*allowed: frozen, linear\."):
            adapt(own, "finetune", ["a"], "multi_label_classification", PROTOCOL)


def test_the_toy_has_a_table_that_never_trains() -> None:
    """What the tests above rest on."""
    assert [name for name, p in ToyEncoder().named_parameters() if not p.requires_grad] == ["table"]
    assert isinstance(ToyEncoder().config, SimpleNamespace)


def test_the_head_of_a_fixed_encoder_is_not_rounded() -> None:
    torch.manual_seed(0)
    features = torch.randn(4, WIDTH)
    for mode, rounded in (("linear", False), ("finetune", True)):
        model = toy(mode).eval()
        with torch.no_grad():
            exact = model.classify(features)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = model.classify(features)
        assert (found.dtype == torch.bfloat16) is rounded
        assert torch.equal(exact, found.float()) is not rounded
