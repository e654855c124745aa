"""The contract of every model, through its tiny configuration: loading, saving, initialisation, precision.

The names follow the checks that transformers runs on its own models. "Trap n" refers to the ways in which transformers
5 loads a model wrongly without saying so.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers
from transformers import PreTrainedModel

import ecg_hub
from ecg_hub import catalog
from ecg_hub.errors import CheckpointError
from ecg_hub.modeling.auto import build_feature_extractor
from tests.support.models import (
    ROLES,
    auto,
    build,
    main_output,
    passes,
    signals,
    tensors,
    tiny,
    tiny_classifier,
)

pytestmark = pytest.mark.parametrize("alias", catalog.models())


@pytest.mark.parametrize("role", ROLES)
def test_save_load(alias: str, role: str, tmp_path: Path) -> None:
    model = build(alias, role)
    model.save_pretrained(tmp_path)
    loaded = auto(role).from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    x = signals(model.config)
    assert torch.equal(main_output(model, x), main_output(loaded, x))
    passes("save and load", loaded)  # trap 1: all buffers, not only the saved ones


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


@pytest.mark.parametrize("role", ROLES)
def test_can_be_initialized_on_meta(alias: str, role: str) -> None:
    # Trap 3: no value of a tensor is looked at while building.
    config = build(alias, role).config
    with torch.device("meta"):
        model = catalog.get(alias).load(role)(config)
    assert all(tensor.is_meta for tensor in tensors(model).values())


@pytest.mark.parametrize("role", ROLES)
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


@pytest.mark.parametrize("role", ROLES)
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


@pytest.mark.parametrize("role", ROLES)
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
