"""The contract of every model, through its tiny configuration: outputs, and input that is refused."""

from __future__ import annotations

import pytest
import torch

from ecg_hub import catalog
from ecg_hub.errors import InputError
from ecg_hub.modeling.auto import build_feature_extractor
from tests.support.models import (
    ROLES,
    build,
    main_output,
    passes,
    signals,
    tiny,
    tiny_classifier,
)

pytestmark = pytest.mark.parametrize("alias", catalog.models())


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


@pytest.mark.parametrize("role", ROLES)
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
        with pytest.raises(ValueError, match="does not support an attention implementation"):
            tiny(alias, attn_implementation="sdpa")
        return
    x = signals(tiny(alias).config)
    eager, sdpa = (main_output(tiny(alias, attn_implementation=name), x) for name in ("eager", "sdpa"))
    assert torch.allclose(eager, sdpa, atol=1e-5)


@pytest.mark.parametrize("title", ["determinism", "batch of one", "no random numbers", "bfloat16", "flat signals"])
def test_a_classifier_keeps_the_contract_too(alias: str, title: str) -> None:
    passes(title, tiny_classifier(alias))


def test_model_main_input_name(alias: str) -> None:
    passes("main input name", tiny_classifier(alias))


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


def test_nan_is_no_logit(alias: str) -> None:
    model = tiny_classifier(alias)
    x = signals(model.config)
    x[0, 0, 5] = float("nan")
    # Logits are set to 0 where they are NaN, as published.
    assert torch.isfinite(main_output(model, x)).all()
