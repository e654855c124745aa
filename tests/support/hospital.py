"""One writer for every format that `ecg_hub.input.formats` reads, and the microvolt of the unit it writes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ecg_hub.leads import LEADS
from tests.support.hospital_binary import write_leads_bdf, write_leads_ishne, write_leads_mfer, write_leads_scp
from tests.support.hospital_xml import (
    write_leads_aecg,
    write_leads_kardia,
    write_leads_mortara,
    write_leads_sierra,
)

Writer = Callable[[np.ndarray, int, Sequence[str]], bytes]

WRITERS: dict[str, tuple[Writer, float, str]] = {
    "aecg": (write_leads_aecg, 2.5, ".xml"),
    "bdf": (write_leads_bdf, 1.0, ".bdf"),
    "ishne": (write_leads_ishne, 2.5, ".ecg"),
    "kardia": (write_leads_kardia, 0.5, ".json"),
    "mfer": (write_leads_mfer, 2.5, ".mwf"),
    "mortara": (write_leads_mortara, 2.5, ".xml"),
    "scp": (write_leads_scp, 2.5, ".scp"),
    "sierra": (write_leads_sierra, 5.0, ".xml"),
}
"""Format -> writer of (samples, leads), rate in Hz and names as bytes; microvolt per unit; usual ending."""


def strip(samples: int = 1500, leads: int = 12, seed: int = 0) -> np.ndarray:
    """Return integers (samples, leads) with slow waves and steep spikes, as an ECG has; small and large differences."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples)[:, None]
    waves = 80 * np.sin(time / rng.uniform(5, 90, leads) + rng.uniform(0, 6, leads))
    spikes = 700 * np.exp(-(((time % 390) - 60.0) ** 2) / 18) * rng.uniform(-1, 1, leads)
    return np.rint(waves + spikes + rng.normal(0, 2, (samples, leads))).astype(np.int64)


def write_hospital(folder: Path, form: str, digital: np.ndarray, rate: int = 500, names: Sequence[str] = LEADS) -> Path:
    """Write a file of a format and return its path."""
    writer, _, ending = WRITERS[form]
    path = folder / f"record{ending}"
    path.write_bytes(writer(digital, rate, names))
    return path
