"""The page on pre-training names every number with its default."""

from __future__ import annotations

import dataclasses
import re

from eval_harness.pretrain.config import PretrainConfig
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8")
WORDS = {
    "grad_clip": "off",
    "steps": "200 epochs",
    "epochs": "200 epochs",
    "beta1": "0.9, 0.999",
    "beta2": "0.9, 0.999",
}


def test_every_number_is_in_a_table_with_its_default() -> None:
    rows = re.findall(r"^\| (`--.*?) \| (.*?) \|", PAGE, flags=re.MULTILINE)
    found = {name: default for names, default in rows for name in re.findall(r"--([\w-]+)", names)}
    expected = {item.name.replace("_", "-"): item for item in dataclasses.fields(PretrainConfig)}
    assert found.keys() == expected.keys()
    for name, item in expected.items():
        if item.name in WORDS:
            assert found[name] == WORDS[item.name]
        elif isinstance(item.default, str):
            assert found[name] == item.default
        else:
            assert float(found[name]) == item.default, name


def test_numbers_that_decide_the_weights_stand_in_the_first_table() -> None:
    first, second = re.findall(r"\| option \|.*?\n((?:\|.*\n)+)", PAGE)
    for item in dataclasses.fields(PretrainConfig):
        place = first if item.metadata["decides"] else second
        assert f"`--{item.name.replace('_', '-')}`" in place, item.name
