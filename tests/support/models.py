"""Tiny models of the catalogue, input for them, and a Lightning-like checkpoint."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import torch

import ecg_hub
from eval_harness.models.checks.contract import check_one
from eval_harness.models.checks.subject import subject_of
from eval_harness.models.checks.training import tensors as tensors

ROLES = ("model", "classifier")
LARGE = 10_000_000
"""Parameters from which a published model is filled and run by `make test-heavy` alone."""


def tiny(alias: str, **config: Any) -> Any:
    """The encoder of `random:<alias>-tiny`."""
    return ecg_hub.AutoModel.from_pretrained(f"random:{alias}-tiny", **config)


def tiny_classifier(alias: str, **config: Any) -> Any:
    """The classifier of `random:<alias>-tiny`, by default with three labels."""
    return ecg_hub.AutoModelForECGClassification.from_pretrained(f"random:{alias}-tiny", **{"num_labels": 3, **config})


def build(alias: str, role: str, **config: Any) -> Any:
    """The tiny encoder ("model") or classifier."""
    return tiny(alias, **config) if role == "model" else tiny_classifier(alias, **config)


def auto(role: str) -> Any:
    """The Auto class that loads an encoder ("model") or a classifier."""
    return ecg_hub.AutoModel if role == "model" else ecg_hub.AutoModelForECGClassification


def main_output(model: Any, x: torch.Tensor) -> torch.Tensor:
    """Logits of a classifier, pooled vector of an encoder."""
    with torch.no_grad():
        output = model(x)
    return output.logits if hasattr(output, "logits") else output.pooler_output


def signals(config: Any, batch: int = 2, seed: int = 0) -> torch.Tensor:
    """Input of the benchmark's length, (batch, leads, samples)."""
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(batch, len(config.lead_names), config.samples, generator=generator)


def passes(title: str, model: Any) -> None:
    """Assert that a model passes one check of the model contract."""
    found = check_one(title, subject_of(model))
    assert found.status == "ok", found


def write_lightning_checkpoint(path: Path, state: dict[str, torch.Tensor], *, zip_format: bool = True) -> None:
    """A checkpoint whose hyper-parameters are objects of modules that do not exist when it is read."""
    names = ("omegaconf", "omegaconf.dictconfig", "clinical_ts", "clinical_ts.config")
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    config_class = type("DictConfig", (dict,), {"__module__": "omegaconf.dictconfig"})
    task_class = type("TaskConfig", (), {"__module__": "clinical_ts.config"})
    sys.modules["omegaconf.dictconfig"].DictConfig = config_class  # type: ignore[attr-defined]
    sys.modules["clinical_ts.config"].TaskConfig = task_class  # type: ignore[attr-defined]
    task = task_class()
    task.values = [1, 2.5, "cpc", {3, 4}, None]
    content = {
        "epoch": 199,
        "pytorch-lightning_version": "2.5.2",
        "state_dict": state,
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2, 2)}}}],
        "hyper_parameters": {"base": config_class(lr=1e-3, task=task), "path": Path("runs")},
    }
    try:
        torch.save(content, path, _use_new_zipfile_serialization=zip_format)
    finally:
        for name in names:
            del sys.modules[name]
