"""Datasets of one signal file per record in a folder: finding the files, and storing their floating-point samples."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from dataset_scripts.samples import LARGEST, MISSING, quantise
from dataset_scripts.spec import Signal
from ecg_hub.errors import DataError
from ecg_hub.leads import LEADS

STEP_TOLERANCE_UV = 0.0051
"""How far a sample printed with two decimals may lie from a multiple of the step."""


def find_files(data_dir: Path, folder: str, suffix: str) -> dict[str, str]:
    """Return name without ending -> file below the raw folder, for the files of `folder` and `folder/folder`.

    Unpacking an archive that holds a folder into a folder of that name gives the second form. Where both hold a name,
    the outer one is taken.

    Args:
        data_dir: the raw folder.
        folder: the folder of the signals.
        suffix: ending of the files, with its dot.

    Raises:
        DataError: the folder cannot be read.
    """
    found: dict[str, str] = {}
    for place in (f"{folder}/{folder}", folder):
        try:
            with os.scandir(data_dir / place) as entries:
                names = [entry.name for entry in entries if entry.name.endswith(suffix)]
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f"The folder {str(data_dir / place)!r} cannot be read: {error}.") from error
        found.update((name.removesuffix(suffix), f"{place}/{name}") for name in names)
    return found


def float_signal(microvolt: np.ndarray, sampling_rate: int, step_uv: float | None = None, remark: str = "") -> Signal:
    """Return a record of floats as 16-bit samples, with a remark on what is missing or coarse.

    A record in whole multiples of `step_uv` is stored in these, exactly. Any other one is quantised lead by lead, with
    an error of at most half a microvolt where the lead stays below 32.767 mV.

    Args:
        microvolt: (samples, 12) float, leads in canonical order; NaN is missing.
        sampling_rate: Hz.
        step_uv: the device's unit in microvolt, where it is known.
        remark: what else is odd about the record.

    Raises:
        DataError: a sample is infinite.
    """
    values = np.asarray(microvolt, dtype=np.float64)
    stored = _in_steps(values, step_uv) if step_uv else None
    samples, gain = stored if stored is not None else _lead_by_lead(values)
    remarks = filter(None, (remark, _missing_remark(samples), _coarse_remark(gain) if stored is None else ""))
    return Signal(samples, gain, np.zeros(len(LEADS), dtype=np.int32), sampling_rate, remark="; ".join(remarks))


def _in_steps(microvolt: np.ndarray, step_uv: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Return whole steps as int16 and the gain, or None where a sample is no multiple of the step or too large."""
    absent = np.isnan(microvolt)
    known = np.where(absent, 0.0, microvolt)
    if not np.isfinite(known).all():
        return None
    steps = np.rint(known / step_uv)
    if np.abs(steps).max(initial=0) > LARGEST or np.abs(known - steps * step_uv).max(initial=0) > STEP_TOLERANCE_UV:
        return None
    samples = steps.astype(np.int16)
    samples[absent] = MISSING
    return samples, np.full(len(LEADS), step_uv, dtype=np.float32)


def _lead_by_lead(microvolt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantise every lead with a gain of its own, so that an artefact in one does not make the others coarse."""
    parts = [quantise(microvolt[:, [lead]] / 1000.0) for lead in range(len(LEADS))]
    gain = np.array([part[1][0] for part in parts], dtype=np.float32)
    return np.ascontiguousarray(np.concatenate([part[0] for part in parts], axis=1)), gain


def _missing_remark(samples: np.ndarray) -> str:
    """Return which leads miss samples; "" where none does or all miss all, which the report tells by itself."""
    count = (samples == MISSING).sum(axis=0)
    if not count.any() or int(count.sum()) == samples.size:
        return ""
    leads = [lead for lead, number in zip(LEADS, count, strict=True) if number]
    return f"{int(count.sum())} samples are missing in {', '.join(leads)}"


def _coarse_remark(gain_uv: np.ndarray) -> str:
    coarse = {lead: float(gain) for lead, gain in zip(LEADS, gain_uv, strict=True) if gain > 1.0}
    if not coarse:
        return ""
    return f"beyond 32.767 mV in {', '.join(coarse)}: stored there in steps of up to {max(coarse.values()):g} microvolt"
