"""The contract of every model: what its model.yaml, its configuration and its docstrings say."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from ecg_hub import catalog
from ecg_hub.modeling.auto import build_feature_extractor
from tests.support.models import (
    ROLES,
    tiny,
)

pytestmark = pytest.mark.parametrize("alias", catalog.models())


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


def test_public_docstrings(alias: str) -> None:
    entry = catalog.get(alias)
    for role in ("config", *ROLES, "converter"):
        assert inspect.getdoc(entry.load(role)), role
    forward = inspect.getdoc(entry.load("model").forward)
    assert forward is not None
    for word in ("input_values", "Args:", "Returns:", "Raises:"):
        assert word in forward
