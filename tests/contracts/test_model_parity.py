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
from model_cards.card import parity
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
def test_parity(alias: str, scratch: Path, golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published names, through our converter, into our model, against the published implementation's output."""
    # The card states what is measured here, so that a new model has none yet.
    monkeypatch.setattr("ecg_hub.weights.conversion.model_card", lambda *_: "")
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
    found = {}
    for name, ours, expected in (
        ("pooled", output.pooler_output, arrays["pooled"]),
        ("tokens", tokens, arrays["sequence"]),
    ):
        difference = (ours - torch.from_numpy(expected)).abs().max().item()
        size = float(np.sqrt(np.square(expected).mean()))
        assert difference <= 1e-4 * max(1.0, size), name
        found[name] = difference, size
    # What the card says: bounds that hold, are stated with the right size, and leave the tolerance room.
    line = f"parity of {entry.home / 'model.yaml'} is not what was measured; write\n\n{parity_line(found)}\n"
    assert set(entry.parity) == {"pooled", "tokens"}, line
    for name, bound in parity(entry).items():
        difference, size = found[name]
        assert difference <= bound.at_most <= bound.tolerance, line
        assert bound.rms == pytest.approx(size, rel=0.05), line


def parity_line(found: dict[str, tuple[float, float]]) -> str:
    """The line of model.yaml for measured differences and sizes, the differences with room for other machines."""
    bounds = {
        # Two and a half times: other machines round otherwise. YAML reads 1e-06 as text, hence the point.
        name: f"{{at_most: {max(2.5 * difference, 1e-6):.1e}, rms: {size:.3g}}}"
        for name, (difference, size) in found.items()
    }
    return f"parity: {{{', '.join(f'{name}: {bound}' for name, bound in bounds.items())}}}"


def published_sizes(manifest: dict[str, Any]) -> set[int]:
    """Parameter counts that a port may have: with or without what is fixed by a formula or never used."""
    sizes = {manifest[name] for name in ("n_parameters_encoder", "n_parameters_encoder_used") if name in manifest}
    detail = manifest.get("n_parameters_detail", {})
    unused = detail.get("fixed_by_formula", 0), detail.get("unused_at_eval", 0)
    return sizes | {size - part for size in sizes for part in (*unused, sum(unused))}
