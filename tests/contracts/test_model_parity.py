"""The contract of every model: the published implementation's features, from published names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ecg_hub
from ecg_hub import catalog
from ecg_hub.weights.conversion import convert
from model_cards.card import measured
from tests.support.fill import make_input, published_state, read_case
from tests.support.models import LARGE, write_lightning_checkpoint


def models() -> list[Any]:
    """The models of the catalogue; the large ones are heavy."""
    entries = catalog.models().values()
    return [pytest.param(e.alias, marks=[pytest.mark.heavy] if e.parameters > LARGE else []) for e in entries]


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder that does not stay: the files of all models are 3 GB, more than half of what all tests write."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("alias", models())
def test_parity(alias: str, scratch: Path, golden: Path) -> None:
    """Published names, through our converter, into our model, against the published implementation's output."""
    entry = catalog.get(alias)
    manifest, arrays = read_case(golden / entry.model_type)
    write_lightning_checkpoint(scratch / "file.ckpt", published_state(manifest, arrays))
    summary = convert(alias, scratch / "file.ckpt", scratch / "model")
    assert summary.parameters == entry.parameters
    assert summary.parameters in published_sizes(manifest)
    model = ecg_hub.AutoModel.from_pretrained(scratch / "model")
    case = manifest["input"]
    x = make_input(case["leads"], case["samples"], manifest["golden"]["batch"], manifest["golden"]["seed"])
    with torch.no_grad():
        output = model(torch.from_numpy(arrays.get("preprocessed", x)))
    assert output.last_hidden_state.shape[1] == manifest["tokens"]
    tokens = output.last_hidden_state[:, arrays["token_index"]]
    assert alias in measured(), f"state bounds for {alias} in model_cards/measured.yaml: docs/contributing/model.md"
    bounds = measured()[alias].parity
    for name, ours, expected in (
        ("pooled", output.pooler_output, arrays["pooled"]),
        ("tokens", tokens, arrays["sequence"]),
    ):
        difference = (ours - torch.from_numpy(expected)).abs().max().item()
        size = float(np.sqrt(np.square(expected).mean()))
        assert difference <= 1e-4 * max(1.0, size), name
        # What the card says: a bound that holds, is stated with the right size, and leaves the tolerance room.
        assert difference <= bounds[name].at_most <= bounds[name].tolerance, (
            f"{name} differs by {difference:.2g}, its size is {size:.3g}: state both in measured.yaml"
        )
        assert bounds[name].rms == pytest.approx(size, rel=0.05), name


def published_sizes(manifest: dict[str, Any]) -> set[int]:
    """Parameter counts that a port may have: with or without what is fixed by a formula or never used."""
    sizes = {manifest[name] for name in ("n_parameters_encoder", "n_parameters_encoder_used") if name in manifest}
    detail = manifest.get("n_parameters_detail", {})
    unused = detail.get("fixed_by_formula", 0), detail.get("unused_at_eval", 0)
    return sizes | {size - part for size in sizes for part in (*unused, sum(unused))}
