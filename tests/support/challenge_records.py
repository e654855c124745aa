"""Hand-made records in the form of the PhysioNet/CinC Challenge 2021."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def ramp(samples: int = 5000, leads: int = 12) -> np.ndarray:
    """Return (samples, leads) int16 in which every lead is a ramp of its own."""
    return (np.arange(samples)[:, None] % 200 + 10 * np.arange(leads)).astype(np.int16)


def write_challenge_record(
    place: Path,
    name: str,
    dx: str | None = "426783006",
    *,
    values: np.ndarray | None = None,
    leads: Sequence[str] = LEADS,
    age: str = "43",
    sex: str = "Male",
    mark: str = "#",
    form: str = "16+24",
    gain: str = "1000/mV",
    rate: int = 500,
    record_line: str | None = None,
) -> Path:
    """Write a header by hand and its signal with SciPy's MATLAB v4 writer; return the header."""
    samples = ramp(leads=len(leads)) if values is None else values
    place.mkdir(parents=True, exist_ok=True)
    savemat(place / f"{name}.mat", {"val": np.asfortranarray(samples.T)}, format="4")
    sums = samples.sum(axis=0, dtype=np.int64).astype(np.int16)
    lines = [record_line or f"{name} {len(leads)} {rate} {len(samples)} 29-Mar-2021 11:17:48"]
    lines += [
        f"{name}.mat {form} {gain} 16 0 {first} {total} 0 {lead}"
        for lead, first, total in zip(leads, samples[0], sums, strict=True)
    ]
    notes = [f"Age: {age}", f"Sex: {sex}", *([] if dx is None else [f"Dx: {dx}"]), "Rx: Unknown", "Hx: Unknown"]
    header = place / f"{name}.hea"
    header.write_text("\n".join([*lines, *(mark + note for note in notes)]) + "\n")
    return header
