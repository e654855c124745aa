"""Model folders as users have them: converted from the authors' names, trained by the harness, made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import ecg_hub
from ecg_hub import catalog
from ecg_hub.names import model_folder
from ecg_hub.weights.conversion import build_converted, conversion_record, convert, fill_model_folder
from ecg_hub.weights.state_dict import Conversion
from tests.support.fill import published_state, read_case
from tests.support.models import tiny, tiny_classifier

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SOURCE = {"file": "authors.pt", "size": 1234, "sha256": "ab" * 32, "page": "https://example.org/page"}


def convert_filled(alias: str, folder: Path) -> Path:
    """Convert a checkpoint in the authors' names, filled by rule; it then has its short name."""
    entry = catalog.get(alias)
    manifest, arrays = read_case(GOLDEN / str(entry.proof))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / str(entry.weights.file if str(entry.weights.file).endswith((".pt", ".pth")) else "published.ckpt")
    torch.save(published_state(manifest, arrays), file)
    convert(alias, file)
    return model_folder(alias)


def save_tiny_head(alias: str, folder: Path | None = None, *, seed: int = 0) -> Path:
    """Save a tiny model as a conversion that keeps the authors' head does; without a folder under its short name."""
    entry = catalog.get(alias)
    shape = {
        name: entry.config[name] for name in ("lead_names", "sampling_rate", "input_seconds") if name in entry.config
    }
    encoder = tiny(entry.architecture, **shape)
    encoder.config.random_weights = None
    encoder.config.source = SOURCE
    small = replace(entry, dim=encoder.config.hidden_size)
    assert entry.head is not None
    size = (entry.head.num_labels, small.dim)
    generator = torch.Generator().manual_seed(seed)
    head = {"weight": torch.randn(size, generator=generator), "bias": torch.randn(size[:1], generator=generator)}
    model = build_converted(small, Conversion(encoder.config, encoder.state_dict()), head)
    model.config.conversion = conversion_record(entry, model)
    folder = folder or model_folder(alias)
    fill_model_folder(folder, model, entry, "")
    return folder


def save_tiny(
    alias: str, folder: Path, source: dict[str, Any] | None = None, *, labels: int = 0, **config: Any
) -> Path:
    """Save a tiny model with its extractor as if it were trained; `source` is what it is said to descend from."""
    model = tiny_classifier(alias, num_labels=labels, **config) if labels else tiny(alias, **config)
    model.config.source = source
    model.config.random_weights = None
    model.head_is_new = False
    model.save_pretrained(folder)
    ecg_hub.AutoFeatureExtractor.from_pretrained(f"random:{alias}-tiny").save_pretrained(folder)
    return folder
