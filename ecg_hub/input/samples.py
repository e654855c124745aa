"""Sample arrays of one record: lead order, missing marker, exact conversion to int16, repairs when they are read.

`fix_nans_and_clip` of the MIMIC-IV-ECG preparation: where a record has missing samples, each lead is interpolated
linearly over the whole record (gaps inside are bridged, a gap at the end repeats the last sample, one at the start
stays missing); then every sample is clipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.leads import LEADS, find_lead

MISSING = -32768
"""The int16 that stands for "no value"; WFDB's own marker of format 16."""

LARGEST = 32767


@dataclass(frozen=True)
class Signal:
    """One record as read.

    Attributes:
        samples: (samples, 12), leads in canonical order; int16 with -32768 = missing, or float32 for z-scored data.
        gain_uv: (12,) float32, microvolt per unit of `samples`; NaN for z-scored data.
        baseline: (12,) int32; microvolt = (samples - baseline) * gain_uv.
        sampling_rate: Hz.
        metadata: metadata columns (also age, sex, patient_id) that only the record's own file holds.
        remark: something odd that is no reason to drop the record; shown in the report.
    """

    samples: np.ndarray
    gain_uv: np.ndarray
    baseline: np.ndarray
    sampling_rate: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""


# Electrodes of the 10-20 system, mostly with their reference (M1, A2): sleep laboratories record them with an ECG.
_EEG = re.compile(
    r"(?:eeg[ _-]*)?(?:fp[12z]|f[3478z]|o[12z]|[cp]z|t[3-6]|m[12]|a[12])(?:[ _-]*(?:[am][12]|ref))?", re.IGNORECASE
)
_CENTRAL = re.compile(r"(?:eeg[ _-]*)?c[1-6](?:[ _-]*(?:[am][12]|ref))?", re.IGNORECASE)


def lead_columns(names: Sequence[str]) -> list[int | None]:
    """Return for each of the twelve leads the column of a record that holds it, or None.

    Names match without case; names that are not one of the twelve (vx, vy, vz) are left out.
    """
    columns: dict[str, int] = {}
    brain = any(_EEG.fullmatch(name.strip()) or name.strip().lower().startswith("eeg") for name in names)
    for index, name in enumerate(names):
        # Beside electrodes of the head C3 is one of them too.
        if brain and _CENTRAL.fullmatch(name.strip()):
            continue
        lead = find_lead(name)
        if lead is None:
            continue
        if lead in columns and lead in LEADS:
            raise DataError(f"lead {lead} occurs twice, as {names[columns[lead]]!r} and as {name!r}")
        columns[lead] = index
    in_order = [columns.get(lead) for lead in LEADS]
    if all(column is None for column in in_order):
        raise DataError(f"none of the twelve leads among {shown_names(names)}")
    return in_order


def lead_channels(names: Sequence[str]) -> list[int]:
    """Return the channels that are one of the twelve leads, in the order of the file; see `lead_columns`."""
    return sorted(channel for channel in lead_columns(names) if channel is not None)


_CHANNEL_WORDS = (
    "ch|chan|channel|lead|e[ck]g|ml|mcl|sig|signal|val|value|col|column|unnamed|time|t|sample|index|unit|[mu]?v|m?s|hz|x|y|z|acc|"
    "resp|respiration|pleth|abp|art|cvp|pap|bp|spo2|hr|marker|event|status|edf|annotations"
)
# One part at a time: parts that may all be empty, repeated, would take hours for twenty dashes and a strange letter.
_CHANNEL = re.compile(rf"(?=.{{0,24}}$)(?:{_CHANNEL_WORDS}|\d{{1,3}}(?!\d)|[ _.:/()-])*", re.IGNORECASE)


def _names_a_channel(name: str) -> bool:
    return re.search("[a-zA-Z]", name) is not None and _CHANNEL.fullmatch(name.strip()) is not None


def shown_names(names: Sequence[str]) -> str:
    """Return the names of channels for a message: those that name a channel, and the number of the others.

    In a table the first line may hold a person's name or date of birth, which no message or report may repeat.

    Example:
        >>> shown_names(["ECG 1", "Resp", "Jane Doe"]), shown_names([])
        ("'ECG 1', 'Resp' and 1 other name", 'no signals')
    """
    shown = [repr(name) for name in names if len(name) == 1 or _names_a_channel(name)]
    others = len(names) - len(shown)
    rest = [f"{others} {'other ' if shown else ''}name{'s' if others > 1 else ''}"] if others else []
    return " and ".join([", ".join(shown), *rest] if shown else rest) or "no signals"


def missing_leads(columns: Sequence[int | None]) -> list[str]:
    """Return the names of the leads that `lead_columns` did not find."""
    return [lead for lead, column in zip(LEADS, columns, strict=True) if column is None]


def take_columns(values: np.ndarray, columns: Sequence[int | None], fill: float) -> np.ndarray:
    """Return the twelve leads of an array whose last axis holds a record's own columns; absent ones are `fill`."""
    if list(columns) == list(range(values.shape[-1])):
        return values
    out = np.full((*values.shape[:-1], len(columns)), fill, dtype=values.dtype)
    for target, source in enumerate(columns):
        if source is not None:
            out[..., target] = values[..., source]
    return out


def to_millivolt(raw: np.ndarray, gain_uv: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Convert with one rounding where gain and baseline are whole: multiply by microvolt, then divide by 1000.

    Example:
        >>> raw = np.array([[200, MISSING]], np.int16)
        >>> to_millivolt(raw, np.array([[4.88]], np.float32), np.array([[0]], np.int32)).round(3)
        array([[0.976,   nan]], dtype=float32)
    """
    out = raw.astype(np.float32)
    if baseline.any():
        out -= baseline.astype(np.float32)
    # Skipped where it changes nothing: this runs for every window of every epoch.
    if (gain_uv != 1.0).any():
        out *= gain_uv
    # Division: 0.001 is no exact float, so multiplying by it would round a second time.
    out /= np.float32(1000.0)
    absent = raw == MISSING
    if absent.any():
        out[absent] = np.nan
    return out


def quantise(millivolt: np.ndarray, offsets: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convert (samples, leads) in millivolt to int16 of the same shape, gain_uv (leads,) float32 and baseline (leads,).

    Each lead has the smallest power of two (in microvolt) that holds it: at most 1 microvolt up to 32.767 mV, coarser
    above, so an artefact in one lead costs the others nothing. With `offsets`, one that would make a lead coarse goes
    into its baseline. The error is at most half the gain. NaN becomes the missing marker.
    """
    microvolt = np.asarray(millivolt, dtype=np.float64) * 1000.0
    if np.isinf(microvolt).any():
        raise DataError("a sample is infinite")
    # Set aside, because what a NaN becomes as an integer depends on the processor.
    absent = np.isnan(microvolt)
    microvolt[absent] = 0.0
    scales = [_scale(microvolt[:, lead], absent[:, lead], offsets) for lead in range(microvolt.shape[1])]
    gain = np.array([scale[0] for scale in scales])
    baseline = np.array([scale[1] for scale in scales], dtype=np.int64)
    samples = (np.rint(microvolt / gain) + baseline).clip(-LARGEST, LARGEST).astype(np.int16)
    samples[absent] = MISSING
    return samples, gain.astype(np.float32), baseline.astype(np.int32)


def _scale(microvolt: np.ndarray, absent: np.ndarray, offsets: bool) -> tuple[float, int]:
    """Return gain and baseline of one lead."""
    gain = _finest_gain(float(np.abs(microvolt).max(initial=0.0)))
    if gain <= 1.0 or not offsets:
        return gain, 0
    measured = microvolt[~absent]
    low, high = float(measured.min()), float(measured.max())
    # A baseline that float32 holds exactly, since that is what samples are converted in.
    finer = max(_finest_gain((high - low) / 2 + 1.0), 2.0 ** np.ceil(np.log2(max(abs(low), abs(high)) / 2**23)))
    return (finer, -round((low + high) / 2 / finer)) if finer < gain else (gain, 0)


def _finest_gain(peak_uv: float, finest: int = -10) -> float:
    """Return the smallest power of two, not below 2**finest, with which `peak_uv` rounds to an int16."""
    # A power of two, so that the gain and its products with samples are exact in float32. What rounds to the largest
    # integer still fits.
    largest = LARGEST + 0.49
    if peak_uv <= largest * 2.0**finest:
        return float(2.0**finest)
    return float(2.0 ** np.ceil(np.log2(peak_uv / largest)))


@dataclass(frozen=True)
class Repair:
    """What is done to every record of a dataset.

    Attributes:
        clip_mv: samples beyond plus and minus this are set to it.
    """

    clip_mv: float

    def apply(
        self, window: np.ndarray, start: int, record: np.ndarray, gain_uv: np.ndarray, baseline: np.ndarray
    ) -> np.ndarray:
        """Repair a window in place and return it: (samples, 12) float32 in millivolt, NaN where missing.

        It gets the same samples as the window from `start` on of the repaired record, (all samples, 12) int16 with
        `gain_uv` (12,) and `baseline` (12,), of which only leads with missing samples are read.
        """
        absent = np.isnan(window)
        for lead in np.flatnonzero(absent.any(axis=0)):
            units = _bridge(record[:, lead], start, start + len(window))
            millivolt = (units - baseline[lead]) * np.float64(gain_uv[lead]) / 1000.0
            window[absent[:, lead], lead] = millivolt[absent[:, lead]]
        # Last, as published; NaN passes, so a gap at the start stays missing.
        return np.clip(window, -self.clip_mv, self.clip_mv, out=window)


def _bridge(values: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return samples start to stop of a lead with its gaps bridged, float64; NaN before its first sample."""
    present = np.flatnonzero(values != MISSING)
    wanted = np.arange(start, stop)
    if not present.size:
        return np.full(wanted.size, np.nan)
    # numpy repeats the outermost values on both sides; the published preparation does so at the end only.
    bridged = np.interp(wanted, present, values[present].astype(np.float64))
    bridged[wanted < present[0]] = np.nan
    return bridged
