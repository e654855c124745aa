from __future__ import annotations

import pytest

from ecg_hub.errors import InputError, UnknownNameError
from eval_harness.config.protocol import Protocol, check_mode, protocol


def test_the_defaults_are_the_published_protocol() -> None:
    paper = protocol()
    assert (paper.epochs, paper.batch_size, paper.learning_rate, paper.weight_decay) == (100, 64, 1e-3, 1e-3)
    assert (paper.layer_rate_factor, paper.attention_heads, paper.resamples, paper.min_count) == (0.1, 16, 1000, 10)
    assert paper.deviations() == {}


def test_changes_are_listed_and_none_keeps_the_published_value() -> None:
    assert protocol(epochs=3, batch_size=None).deviations() == {"epochs": 3}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("batch_size", -1), ("resamples", 0), ("learning_rate", 0.0), ("weight_decay", -1.0),
        ("confidence", 1.0), ("confidence", 0.0), ("resample_unit", "ward"), ("attention_heads", 0), ("min_count", 0),
    ],
)  # fmt: skip
def test_values_that_cannot_make_a_run_are_refused_and_quoted(field: str, value: object) -> None:
    with pytest.raises(InputError, match=repr(value).replace("-", r"\-")):
        Protocol(**{field: value})  # type: ignore[arg-type]


def test_unknown_names_are_suggested() -> None:
    with pytest.raises(UnknownNameError, match="'finetune'"):
        check_mode("fine-tuned")
    with pytest.raises(UnknownNameError, match="paper"):
        protocol("papers")
