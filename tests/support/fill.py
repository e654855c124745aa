"""Deterministic state dicts by rule: how a port is proved without a weights file.

A golden case is one published implementation whose state dict was filled by `fill_tensor` (name and shape in, values
out) and run once on `make_input`. `manifest.json` lists the entries in their published names; entries marked `stored`
have their values in golden.npz under `param::<name>`, entries with `alias_of` are the same tensor as another, entries
with a `formula` are fixed position tables, written out below.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch


def fill_tensor(name: str, shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """Values of one entry; they depend on nothing but the arguments."""
    if "int" in dtype or "bool" in dtype:
        return np.zeros(shape, dtype=dtype)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8"))])
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_mean":
        values = 0.05 * rng.standard_normal(shape)
    elif leaf == "running_var":
        values = rng.uniform(0.5, 1.5, shape)
    elif len(shape) >= 2:
        values = rng.standard_normal(shape) / np.sqrt(max(int(np.prod(shape[1:])), 1))
    elif leaf in ("weight", "weight_g", "gamma"):
        values = 1.0 + 0.1 * rng.standard_normal(shape)
    else:
        values = 0.05 * rng.standard_normal(shape)
    return np.asarray(values).astype(dtype)


def make_input(leads: int, samples: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    """float32 (batch, leads, samples), roughly the range of an ECG in mV."""
    rng = np.random.default_rng([seed, zlib.crc32(b"input")])
    return (0.2 * rng.standard_normal((batch, leads, samples))).astype("float32")


def read_case(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Manifest and arrays of a golden case; one that is not there is named with the page that tells how to make it."""
    missing = [name for name in ("manifest.json", "golden.npz") if not (folder / name).is_file()]
    assert not missing, (
        f"no golden case {folder.name!r}: {folder} lacks {' and '.join(missing)}. `proof` of the YAML file names a "
        "folder of tests/golden; docs/contributing/checkpoint.md and model.md say how the case is made."
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    with np.load(folder / "golden.npz") as arrays:
        return manifest, dict(arrays)


def published_state(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The state dict of a golden case in its published names."""
    state = {}
    for entry in manifest["entries"]:
        source = entry.get("alias_of", entry["name"])
        if entry.get("stored"):
            values = arrays[f"param::{entry['name']}"]
        elif entry.get("formula"):
            values = _FORMULAS[entry["name"]]().reshape(entry["shape"]).astype(entry["dtype"])
        else:
            values = fill_tensor(source, tuple(entry["shape"]), entry["dtype"], manifest["golden"]["seed"])
        state[entry["name"]] = torch.from_numpy(np.array(values))
    return state


def _sines_and_cosines(positions: int, width: int) -> np.ndarray:
    """[sin(p w), cos(p w)] with w_j = 10000^(-2 j / width), shape (positions, width)."""
    angle = np.arange(positions)[:, None] / 10000.0 ** (np.arange(width // 2) / (width // 2))
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def _ecg_jepa_positions() -> np.ndarray:
    """Row lead * 50 + t: the time t in the first half, the lead in the second."""
    time, lead = _sines_and_cosines(50, 384), _sines_and_cosines(8, 384)
    return np.concatenate([np.tile(time, (8, 1)), np.repeat(lead, 50, axis=0)], axis=1)


def _st_mem_positions() -> np.ndarray:
    """Thirty positions between two rows of zeros."""
    return np.pad(_sines_and_cosines(30, 768), ((1, 1), (0, 0)))


_FORMULAS = {
    "pos_embed": _ecg_jepa_positions,
    "encoder.pos_embedding": _st_mem_positions,
    "pos_embedding": _st_mem_positions,
}
