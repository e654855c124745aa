"""Presets of every kind and made-up signals, for the tests of the feature extractor."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import BatchFeature

from ecg_hub.leads import LEADS

MIMIC_ORDER = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
PRESETS: dict[str, dict[str, Any]] = {
    "benchmark": {"sampling_rate": 240, "input_seconds": 2.5, "lead_names": list(LEADS), "steps": []},
    "native": {"sampling_rate": 240, "input_seconds": 10.0, "lead_names": list(LEADS), "steps": []},
    "eight": {"sampling_rate": 250, "input_seconds": 10, "lead_names": ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]},
    "prepared": {
        "sampling_rate": 100,
        "input_seconds": 10,
        "lead_names": MIMIC_ORDER,
        "steps": [
            {"name": "bandpass", "at": "source", "low_hz": 0.67, "high_hz": 40},
            {"name": "minmax", "axis": "record"},
        ],
        "resample": "fourier",
    },
}


def signal(samples: int = 5000, leads: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((leads, samples)).astype(np.float32)


def einthoven(samples: int = 5000) -> np.ndarray:
    x = signal(samples)
    x[2], x[3], x[4], x[5] = x[1] - x[0], -(x[0] + x[1]) / 2, x[0] - x[1] / 2, x[1] - x[0] / 2
    return x


def values(features: BatchFeature) -> np.ndarray:
    return np.asarray(features["input_values"])
