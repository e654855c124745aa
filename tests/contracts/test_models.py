"""The contract of every model: each registered one, through its tiny configuration.

The names follow the checks that transformers runs on its own models. "Trap n" refers to the ways in which transformers
5 loads a model wrongly without saying so.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
import yaml
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel

import ecg_hub
from ecg_hub import catalog
from ecg_hub.auto import build_feature_extractor
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.heads import AttentionPoolingHead, MeanLinearHead
from ecg_hub.hub.card import hand_written, model_card
from ecg_hub.hub.convert import convert
from ecg_hub.modeling_utils import DropPath, set_drop_path
from tests.support.fill import make_input, published_state, read_case
from tests.support.models import signals, tensors, tiny, tiny_classifier, write_lightning_checkpoint

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
ENTRIES = list(catalog.models().values())
ALIASES = [entry.alias for entry in ENTRIES]
PROVED = [entry.alias for entry in ENTRIES if (GOLDEN / entry.model_type / "manifest.json").is_file()]
CLASSES = ("model", "classifier")

pytestmark = pytest.mark.parametrize("alias", ALIASES)


def build(alias: str, role: str, **config: Any) -> Any:
    return tiny(alias, **config) if role == "model" else tiny_classifier(alias, **config)


def auto(role: str) -> Any:
    return ecg_hub.AutoModel if role == "model" else ecg_hub.AutoModelForECGClassification


def main_output(model: Any, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        output = model(x)
    return output.logits if hasattr(output, "logits") else output.pooler_output


# Loading and saving


@pytest.mark.parametrize("role", CLASSES)
def test_save_load(alias: str, role: str, tmp_path: Path) -> None:
    model = build(alias, role)
    model.save_pretrained(tmp_path)
    loaded = auto(role).from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    before, after = tensors(model), tensors(loaded)
    assert before.keys() == after.keys()
    # Trap 1: all buffers, not only the saved ones.
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    x = signals(model.config)
    assert torch.equal(main_output(model, x), main_output(loaded, x))
    assert loaded.config.to_dict().keys() == model.config.to_dict().keys()


def test_plain_transformers_loads_the_folder(alias: str, tmp_path: Path) -> None:
    model = tiny(alias)
    model.save_pretrained(tmp_path)
    build_feature_extractor(catalog.get(alias)).save_pretrained(tmp_path)
    assert type(transformers.AutoModel.from_pretrained(tmp_path)) is type(model)
    assert type(transformers.AutoConfig.from_pretrained(tmp_path)) is type(model.config)
    assert isinstance(transformers.AutoFeatureExtractor.from_pretrained(tmp_path), ecg_hub.ECGFeatureExtractor)


def test_can_use_safetensors_only(alias: str, tmp_path: Path) -> None:
    # Trap 7: safe_serialization=False is ignored; nothing else than safetensors is ever written.
    tiny(alias).save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("role", CLASSES)
def test_can_be_initialized_on_meta(alias: str, role: str) -> None:
    # Trap 3: no value of a tensor is looked at while building.
    config = build(alias, role).config
    with torch.device("meta"):
        model = catalog.get(alias).load(role)(config)
    assert all(tensor.is_meta for tensor in tensors(model).values())


@pytest.mark.parametrize("role", CLASSES)
def test_can_init_all_missing_weights(alias: str, role: str, tmp_path: Path) -> None:
    # Traps 1 and 2: what a checkpoint lacks comes back as raw memory unless _init_weights describes it.
    model = build(alias, role)
    model.save_pretrained(tmp_path)
    safetensors.torch.save_file({"unrelated": torch.zeros(1)}, tmp_path / "model.safetensors", {"format": "pt"})
    torch.manual_seed(0)
    loaded = PreTrainedModel.from_pretrained.__func__(type(model), tmp_path)
    for name, tensor in tensors(loaded).items():
        ours, fresh = tensor.double(), tensors(model)[name].double()
        assert torch.isfinite(ours).all(), name
        largest = fresh.abs().max().item()
        assert ours.abs().max().item() <= 10 * largest + 1e-6, name
        if tensor.numel() >= 32:
            spread, expected = ours.std().item(), fresh.std().item()
            assert expected / 3 - 1e-6 <= spread <= 3 * expected + 1e-6, name
            assert abs(ours.mean().item() - fresh.mean().item()) <= 3 * expected + 1e-6, name


@pytest.mark.parametrize("role", CLASSES)
def test_init_weights_can_init_buffers(alias: str, role: str) -> None:
    first, second = build(alias, role, seed=0), build(alias, role, seed=1)
    with torch.device("meta"):
        model = type(first)(first.config)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in tensors(model).values():
            tensor.fill_(7)
    model.initialize_weights()
    constant = {name for name, value in tensors(first).items() if torch.equal(value, tensors(second)[name])}
    wrong = [name for name in constant if not torch.equal(tensors(model)[name], tensors(first)[name])]
    assert wrong == []
    assert not any((tensor == 7).all() for tensor in tensors(model).values() if tensor.numel() > 1)


@pytest.mark.parametrize("role", CLASSES)
def test_post_init_ran_and_nothing_is_tied(alias: str, role: str) -> None:
    model = build(alias, role)
    assert model.all_tied_weights_keys == {}  # traps 4 and 5
    assert len({tensor.data_ptr() for tensor in model.parameters()}) == len(list(model.parameters()))


def test_correct_missing_keys(alias: str, tmp_path: Path) -> None:
    model = tiny(alias)
    model.save_pretrained(tmp_path)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    lost = sorted(dict(model.named_parameters()))[0]
    del state[lost]
    safetensors.torch.save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    for loader in (ecg_hub.AutoModel, transformers.AutoModel, type(model)):
        with pytest.raises(CheckpointError, match=lost.replace(".", r"\.")):
            loader.from_pretrained(tmp_path)


def test_from_pretrained_no_checkpoint(alias: str, tmp_path: Path) -> None:
    tiny(alias).config.save_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"model\.safetensors"):
        ecg_hub.AutoModel.from_pretrained(tmp_path)


def test_model_base_model_prefix(alias: str, tmp_path: Path) -> None:
    encoder = tiny(alias)
    encoder.save_pretrained(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match="new_head=True"):
        ecg_hub.AutoModelForECGClassification.from_pretrained(tmp_path / "encoder")
    classifier = ecg_hub.AutoModelForECGClassification.from_pretrained(
        tmp_path / "encoder", new_head=True, num_labels=3
    )
    assert classifier.head_is_new
    assert classifier.base_model is getattr(classifier, classifier.base_model_prefix)
    classifier.save_pretrained(tmp_path / "classifier")
    back = ecg_hub.AutoModel.from_pretrained(tmp_path / "classifier")
    for model in (classifier.base_model, back):
        assert [name for name, value in tensors(encoder).items() if not torch.equal(value, tensors(model)[name])] == []
    assert not ecg_hub.AutoModelForECGClassification.from_pretrained(tmp_path / "classifier").head_is_new


def test_load_with_mismatched_shapes(alias: str, tmp_path: Path) -> None:
    tiny_classifier(alias).save_pretrained(tmp_path)
    with pytest.raises((RuntimeError, CheckpointError), match=r"head|size"):
        ecg_hub.AutoModelForECGClassification.from_pretrained(tmp_path, num_labels=5)
    model = ecg_hub.AutoModelForECGClassification.from_pretrained(tmp_path, num_labels=5, new_head=True)
    assert model.head_is_new
    assert main_output(model, signals(model.config)).shape == (2, 5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dtype(alias: str, dtype: torch.dtype, tmp_path: Path) -> None:
    tiny(alias).save_pretrained(tmp_path)
    exact = main_output(ecg_hub.AutoModel.from_pretrained(tmp_path), signals(tiny(alias).config))
    lowered = ecg_hub.AutoModel.from_pretrained(tmp_path, dtype=dtype)
    cast = ecg_hub.AutoModel.from_pretrained(tmp_path).to(dtype)
    for model in (lowered, cast):
        assert dtype in {parameter.dtype for parameter in model.parameters()}
        output = main_output(model, signals(model.config))
        assert torch.isfinite(output).all()
        assert (output.float() - exact).abs().max() < 0.1 * max(1.0, exact.square().mean().sqrt().item())
    # Trap 6: the dtype of the file is kept unless another is asked for.
    lowered.save_pretrained(tmp_path / "low")
    assert ecg_hub.AutoModel.from_pretrained(tmp_path / "low").dtype == dtype
    whole = ecg_hub.AutoModel.from_pretrained(tmp_path / "low", dtype=torch.float32)
    assert {parameter.dtype for parameter in whole.parameters()} == {torch.float32}


def test_random_state_is_left_alone(alias: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = tiny(alias)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(99)
    again, other = tiny(alias), tiny(alias, seed=1)
    assert all(torch.equal(value, tensors(again)[name]) for name, value in tensors(first).items())
    assert not all(torch.equal(value, tensors(other)[name]) for name, value in tensors(first).items())


# Outputs


def test_outputs_have_the_agreed_shapes(alias: str) -> None:
    model = tiny(alias)
    output = model(signals(model.config))
    width = model.config.hidden_size
    assert output.pooler_output.shape == (2, width)
    assert output.last_hidden_state.shape[::2] == (2, width)
    assert output.last_hidden_state.is_contiguous()


def test_hidden_states_output(alias: str) -> None:
    model = tiny(alias)
    x = signals(model.config)
    assert model(x).hidden_states is None
    output = model(x, output_hidden_states=True)
    assert len(output.hidden_states) >= 2
    assert all(len(state) == 2 for state in output.hidden_states)
    asked = tiny(alias, output_hidden_states=True)
    assert len(asked(x).hidden_states) == len(output.hidden_states)
    assert len(tiny_classifier(alias)(x, output_hidden_states=True).hidden_states) == len(output.hidden_states)


@pytest.mark.parametrize("role", CLASSES)
def test_model_outputs_equivalence(alias: str, role: str) -> None:
    model = build(alias, role)
    x = signals(model.config)
    with torch.no_grad():
        named, plain = model(x), model(x, return_dict=False)
    assert isinstance(plain, tuple)
    assert all(torch.equal(a, b) for a, b in zip(named.to_tuple(), plain, strict=True))


def test_attention_outputs(alias: str) -> None:
    model = tiny(alias, attn_implementation="eager") if catalog.get(alias).load("model")._supports_sdpa else tiny(alias)
    attentions = model(signals(model.config), output_attentions=True).attentions
    assert attentions is None or all(isinstance(weights, torch.Tensor) for weights in attentions)


def test_eager_matches_sdpa_inference(alias: str) -> None:
    if not catalog.get(alias).load("model")._supports_sdpa:
        pytest.skip("the model has no attention")
    x = signals(tiny(alias).config)
    eager, sdpa = (main_output(tiny(alias, attn_implementation=name), x) for name in ("eager", "sdpa"))
    assert torch.allclose(eager, sdpa, atol=1e-5)


@pytest.mark.parametrize("role", CLASSES)
def test_determinism(alias: str, role: str) -> None:
    model = build(alias, role)
    x = signals(model.config)
    assert torch.equal(main_output(model, x), main_output(model, x))


def test_batching_equivalence(alias: str) -> None:
    # The promise: features depend on the batch by no more than 1e-5 of their size.
    model = tiny(alias)
    x = signals(model.config, batch=18)
    whole = main_output(model, x)
    single = torch.cat([main_output(model, row[None]) for row in x])
    assert (whole - single).abs().max() <= 1e-5 * max(1.0, whole.square().mean().sqrt().item())
    with_gradients = model(x).pooler_output
    assert (whole - with_gradients).abs().max() <= 1e-5 * max(1.0, whole.square().mean().sqrt().item())


def test_model_main_input_name(alias: str) -> None:
    for role in CLASSES:
        model_class = catalog.get(alias).load(role)
        assert model_class.main_input_name == "input_values"
        assert next(iter(list(inspect.signature(model_class.forward).parameters)[1:])) == "input_values"


def test_wrong_input_is_refused(alias: str) -> None:
    model = tiny(alias)
    config = model.config
    x = signals(config)
    leads, step = len(config.lead_names), config.sample_multiple
    cases = [
        (x[:, 1:], f"{leads - 1} leads"),
        (x[0], "batch axis"),
        ((1000 * x).short(), "int16"),
        (x.numpy(), "float32|ndarray"),
        (x[:, :, : config.min_samples - 1], f"at least {config.min_samples}"),
    ]
    if step > 1:
        cases.append((x[:, :, :-1], f"multiples of {step}"))
    if config.max_samples is not None:
        cases.append((torch.zeros(1, leads, config.max_samples + step), f"at most {config.max_samples}"))
    for wrong, message in cases:
        with pytest.raises(InputError, match=message):
            model(wrong)
    with pytest.raises(InputError, match="sampling_rate"):
        build_feature_extractor(catalog.get(alias))(x[0].numpy(), lead_names=config.lead_names)


def test_nan_shows_in_features(alias: str) -> None:
    model = tiny(alias)
    x = signals(model.config)
    x[0, 0, 5] = float("nan")
    output = main_output(model, x)
    assert output[0].isnan().any()
    assert torch.isfinite(output[1]).all()
    # Logits are set to 0 where they are NaN, as published.
    assert torch.isfinite(main_output(tiny_classifier(alias), x)).all()


# Training


def classifier_batch(alias: str, **config: Any) -> tuple[Any, torch.Tensor, torch.Tensor]:
    model = tiny_classifier(alias, **config)
    x = signals(model.config, batch=8)
    labels = (torch.arange(8)[:, None] % torch.tensor([2, 3, 4]) == 0).float()
    return model, x, labels


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
    assert min(losses[-3:]) < 0.95 * losses[0]
    assert not model.head_is_new


def test_every_parameter_gets_a_gradient(alias: str) -> None:
    model, x, labels = classifier_batch(alias)
    model.train()
    model(x, labels=labels).loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []


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


def test_layer_groups_cover_every_parameter_once(alias: str) -> None:
    model = tiny(alias)
    groups = model.config.layer_groups
    assert set(groups) == {"late", "early"}
    for name, _ in model.named_parameters():
        homes = [group for group, prefixes in groups.items() for prefix in prefixes if name.startswith(prefix)]
        assert len(homes) == 1, name
    classifier = tiny_classifier(alias)
    prefixes = (f"{classifier.base_model_prefix}.", "head.")
    assert [name for name, _ in classifier.named_parameters() if not name.startswith(prefixes)] == []


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


# The catalogue, the card, the published weights


def test_config_types_are_checked(alias: str) -> None:
    # They are not where the annotations of the configuration's module are postponed.
    config_class = catalog.get(alias).load("config")
    for wrong in ({"hidden_size": "wide"}, {"pooling": "max"}, {"drop_path_rate": 1.0}):
        with pytest.raises(StrictDataclassError):
            config_class(**wrong)
    own = [item for item in fields(config_class) if item.name in vars(config_class).get("__annotations__", {})]
    for item in own:
        with pytest.raises(StrictDataclassError, match=item.name):
            config_class(**{item.name: object()})


def test_model_yaml_agrees_with_the_model(alias: str) -> None:
    entry = catalog.get(alias)
    config = entry.load("config")()
    with torch.device("meta"):
        model = entry.load("model")(config)
    assert model.num_parameters() == entry.parameters
    assert config.model_type == entry.model_type
    assert config.hidden_size == entry.dim
    assert tuple(config.lead_names) == entry.input.leads
    assert (config.sampling_rate, config.input_seconds, config.unit) == (
        entry.input.sampling_rate,
        entry.input.seconds,
        entry.input.unit,
    )
    names = (type(config).__name__, type(model).__name__, entry.load("classifier").__name__)
    assert names == entry.class_names
    assert callable(entry.load("converter"))


def test_presets_fit_the_model(alias: str) -> None:
    entry = catalog.get(alias)
    assert set(entry.presets) == {"benchmark", "native"}
    extractor = build_feature_extractor(entry)
    spec, config = extractor.spec("benchmark"), entry.load("config")()
    assert (spec.sampling_rate, spec.input_seconds) == (entry.input.sampling_rate, entry.input.seconds)
    assert tuple(spec.lead_names) == entry.input.leads
    assert spec.samples == config.samples
    model = tiny(alias)
    for preset in entry.presets:
        chosen = extractor.spec(preset)
        assert set(chosen.lead_names) == set(config.lead_names)
        model.check_input(torch.zeros(1, len(chosen.lead_names), chosen.samples))


def test_card(alias: str) -> None:
    entry = catalog.get(alias)
    assert len(hand_written(alias)) > 200, f"write model_cards/{alias}.md"
    card = model_card(entry)
    _, front, body = card.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["license"]
    assert entry.model_type in facts["tags"]
    for text in (entry.title, entry.paper, entry.repository, f"{entry.parameters:,}", entry.licence.name, alias):
        assert text in body
    assert hand_written(alias).strip() in body


def test_public_docstrings(alias: str) -> None:
    entry = catalog.get(alias)
    for role in ("config", *CLASSES, "converter"):
        assert inspect.getdoc(entry.load(role)), role
    forward = inspect.getdoc(entry.load("model").forward)
    assert forward is not None
    for word in ("input_values", "Args:", "Returns:", "Raises:"):
        assert word in forward


def test_parity(alias: str, tmp_path: Path) -> None:
    """Published names, through our converter, into our model, against the published implementation's output."""
    if alias not in PROVED:
        pytest.skip("no golden case in tests/golden")
    entry = catalog.get(alias)
    manifest, arrays = read_case(GOLDEN / entry.model_type)
    write_lightning_checkpoint(tmp_path / "file.ckpt", published_state(manifest, arrays))
    summary = convert(alias, tmp_path / "file.ckpt", tmp_path / "model")
    assert summary.parameters == entry.parameters
    assert summary.parameters in published_sizes(manifest)
    model = ecg_hub.AutoModel.from_pretrained(tmp_path / "model")
    case = manifest["input"]
    x = make_input(case["leads"], case["samples"], manifest["golden"]["batch"], manifest["golden"]["seed"])
    with torch.no_grad():
        output = model(torch.from_numpy(arrays.get("preprocessed", x)))
    assert output.last_hidden_state.shape[1] == manifest["tokens"]
    tokens = output.last_hidden_state[:, arrays["token_index"]]
    for name, ours in (("pooled", output.pooler_output), ("sequence", tokens)):
        expected = torch.from_numpy(arrays[name])
        limit = 1e-4 * max(1.0, expected.square().mean().sqrt().item())
        assert (ours - expected).abs().max() <= limit, name


def published_sizes(manifest: dict[str, Any]) -> set[int]:
    """Parameter counts that a port may have: with or without what is fixed by a formula or never used."""
    sizes = {manifest[name] for name in ("n_parameters_encoder", "n_parameters_encoder_used") if name in manifest}
    detail = manifest.get("n_parameters_detail", {})
    unused = detail.get("fixed_by_formula", 0), detail.get("unused_at_eval", 0)
    return sizes | {size - part for size in sizes for part in (*unused, sum(unused))}
