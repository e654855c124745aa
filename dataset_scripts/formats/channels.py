"""How the channels of one file, which every reader returns, become a record of twelve leads.

Integers of a file stay integers: the same unit, shifted at most by a whole number that the baseline takes back. Where
that is not possible (floats, more than 16 bits in use, a zero that lies between two units) a lead is quantised, with an
error of at most half a microvolt up to 32.767 mV. Each lead for itself: an artefact in one costs the others nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from dataset_scripts.core.spec import Signal
from ecg_hub.errors import DataError, InputError
from ecg_hub.input.amplitude import too_small
from ecg_hub.input.formats.channels import Channels as Channels
from ecg_hub.input.samples import LARGEST, MISSING, lead_columns, missing_leads, quantise
from ecg_hub.input.units import is_unit
from ecg_hub.input.units import unit_uv as unit_uv
from ecg_hub.leads import DERIVED_LEADS, LEADS, canonical_lead
from ecg_hub.utils.untrusted import check_channels, check_values

_WHOLE = 1e-6
_COARSE = 1.0  # microvolt
_MODIFIED = re.compile(r"(?<![a-zA-Z])(?:c|mv)[1-6]\b", re.IGNORECASE)


def to_signal(channels: Channels, lead_names: Mapping[str, str | None]) -> Signal:
    """Return the twelve leads; III, aVR, aVL, aVF are derived from I and II where absent, others are missing."""
    columns = find_leads(channels.names, lead_names)
    rate = whole_rate(channels.sampling_rate)
    used = [column for column in columns if column is not None]
    gain, zero = channels.gain_uv[used], channels.zero[used]
    if not (np.isfinite(gain).all() and np.isfinite(zero).all() and (gain != 0).all()):
        raise DataError(f"the gain of {channels.names[used[0]]!r} or another lead is 0 or not a number")
    # The twelve leads alone: another channel of the file must not decide whether the record is stored as integers.
    # The result has twelve leads, however few the file has.
    check_values(len(channels.values) * len(LEADS), "the file, with twelve leads,")
    values = channels.values[:, used]
    absent = np.isnan(values) if values.dtype.kind == "f" else None
    if channels.missing is not None:
        absent = channels.missing[:, used]
    rows = [target for target, column in enumerate(columns) if column is not None]
    signal = _blank(len(values), rate)
    coarse: dict[float, list[str]] = {}
    for channel, row in enumerate(rows):
        gone = None if absent is None else absent[:, channel]
        samples, step, baseline, exact = _one_lead(values[:, channel], gone, float(gain[channel]), float(zero[channel]))
        signal.samples[:, row], signal.gain_uv[row], signal.baseline[row] = samples, step, baseline
        if not exact and step > _COARSE:
            coarse.setdefault(step, []).append(LEADS[row])
    wide = [
        f"{', '.join(leads)} {'spans' if len(leads) == 1 else 'span'} more than 65 mV and "
        f"{'is' if len(leads) == 1 else 'are'} stored in steps of {step:g} uV"
        for step, leads in coarse.items()
    ]
    oddities = _oddities(signal.samples[:, rows], rows)
    remarks = [channels.remark, _modified(channels.names, used), _too_small(values, gain), *oddities, *wide]
    return derive_limb_leads(replace(signal, remark="; ".join(filter(None, remarks))))


def _too_small(values: np.ndarray, gain: np.ndarray) -> str:
    """Return a remark on (samples, leads) that hardly move, which is what millivolts read as microvolts look like."""
    if not len(values):
        return ""
    # As floats: the difference of two integers of the file may not fit into their type.
    low, high = (find.reduce(values, axis=0).astype(np.float64) for find in (np.fmin, np.fmax))
    return too_small((high - low) * np.abs(gain) / 1000) or ""


def _one_lead(
    values: np.ndarray, absent: np.ndarray | None, gain: float, zero: float
) -> tuple[np.ndarray, float, int, bool]:
    """Return the samples of one lead as int16, microvolt per step, baseline, and whether they are the file's own."""
    column = values[:, None]
    gone = None if absent is None else absent[:, None]
    kept = _as_stored(column, gone, np.array([zero]))
    if kept is not None:
        return kept[0][:, 0], gain, int(kept[1][0]), True
    physical = (column.astype(np.float64) - zero) * (gain / 1000.0)
    samples, step, baseline = quantise(physical if gone is None else np.where(gone, np.nan, physical))
    return samples[:, 0], float(step[0]), int(baseline[0]), False


def _oddities(samples: np.ndarray, rows: Sequence[int]) -> list[str]:
    """Return remarks on leads that miss samples in part, or hold one value throughout.

    Where all are missing or all are 0 the report says so by itself.
    """
    if not samples.any() or not len(samples):
        return []
    absent = samples == MISSING
    number = absent.sum(axis=0)
    gaps = (number > 0) & (number < len(samples))
    still = (samples == samples[:1]).all(axis=0) & ~absent[0]
    held = np.array([LEADS[row] for row in rows])
    return [
        *([f"{int(number[gaps].sum())} samples are missing in {', '.join(held[gaps])}"] if gaps.any() else []),
        *([f"{', '.join(held[still])} flat"] if still.any() else []),
    ]


def _modified(names: Sequence[str], used: Sequence[int]) -> str:
    """Return a remark on chest leads by names that may mean something else: C1, MV1."""
    odd = [names[channel] for channel in used if _MODIFIED.search(names[channel])]
    return f"{', '.join(odd)} read as {', '.join(canonical_lead(name) for name in odd)}" if odd else ""


def find_leads(names: Sequence[str], lead_names: Mapping[str, str | None]) -> list[int | None]:
    """Return for each of the twelve leads its channel, or None."""
    check_channels(len(names), "the file")
    renamed = {name: lead or "left out" for name, lead in lead_names.items()}
    try:
        return lead_columns([renamed.get(name, name) for name in names])
    except DataError as error:
        twins = [name for name in names if names.count(name) > 1 and renamed.get(name, name) in str(error)]
        if "occurs twice" in str(error) and twins:
            raise DataError(
                f"{error}; nothing tells the two apart, so rename or delete one of them in the file"
            ) from None
        raise DataError(
            f"{error}; say which is which under lead_names in the description, e.g. 'Ch1': I, or 'Ch1': null for a "
            "channel to leave out"
        ) from None


def lead_channels(names: Sequence[str], lead_names: Mapping[str, str | None]) -> list[int]:
    """Return the channels that are one of the twelve leads, in the order of the file; see `find_leads`."""
    return sorted(channel for channel in find_leads(names, lead_names) if channel is not None)


def whole_rate(sampling_rate: float) -> int:
    """Return a sampling rate as whole number of Hz."""
    if not np.isfinite(sampling_rate) or sampling_rate <= 0 or abs(sampling_rate - round(sampling_rate)) > _WHOLE:
        raise DataError(f"sampling rate {sampling_rate!r} Hz is not a whole number")
    return round(sampling_rate)


def derive_limb_leads(signal: Signal) -> Signal:
    """Return the record with absent III, aVR, aVL, aVF computed from I and II; the remark names what is still absent.

    With one gain for I and II the result is exact: aVR, aVL and aVF get half of it.
    """
    samples, gain, baseline = signal.samples.copy(), signal.gain_uv.copy(), signal.baseline.copy()
    there = (samples != MISSING).any(axis=0)
    derived = []
    if there[0] and there[1]:
        gone = (samples[:, 0] == MISSING) | (samples[:, 1] == MISSING)
        for lead, factors in DERIVED_LEADS.items():
            row = LEADS.index(lead)
            if not there[row]:
                samples[:, row], gain[row], baseline[row] = _combine(signal, factors, gone)
                there[row] = True
                derived.append(lead)
    absent = missing_leads([0 if recorded else None for recorded in there])
    remarks = [signal.remark, f"{', '.join(derived)} derived from I and II" if derived else ""]
    if absent and there.any():
        remarks.append(f"no lead {', '.join(absent)}")
    remark = "; ".join(filter(None, remarks))
    return replace(signal, samples=samples, gain_uv=gain, baseline=baseline, remark=remark)


def _combine(signal: Signal, factors: tuple[float, float], gone: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Return samples, gain and baseline of a weighted sum of I and II; weights are multiples of a half."""
    first, second = (signal.samples[:, k].astype(np.int64) - int(signal.baseline[k]) for k in (0, 1))
    gain = float(signal.gain_uv[0])
    if gain == float(signal.gain_uv[1]):
        # Half of a unit is no integer; with half the gain the same sum is one again.
        step = 1 if all(factor == int(factor) for factor in factors) else 2
        values = int(factors[0] * step) * first + int(factors[1] * step) * second
        kept = _as_stored(values[:, None], gone[:, None], np.zeros(1))
        if kept is not None:
            return kept[0][:, 0], gain / step, int(kept[1][0])
    millivolt = sum(
        factor * part * (float(signal.gain_uv[k]) / 1000.0)
        for k, (factor, part) in enumerate(zip(factors, (first, second), strict=True))
    )
    rough, gains, baselines = quantise(np.where(gone, np.nan, millivolt)[:, None])
    return rough[:, 0], float(gains[0]), int(baselines[0])


def _as_stored(values: np.ndarray, absent: np.ndarray | None, zero: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return integers as int16 with their baselines, shifted where they do not fit; None where that is not exact."""
    whole = np.rint(zero)
    if values.dtype.kind not in "iu" or (np.abs(zero - whole) > _WHOLE).any() or not len(values):
        return None
    # Neither unsigned 16 bits nor a shift may wrap around.
    wide = values.astype(np.int64)
    if absent is not None and absent.any():
        # What is missing takes part neither in the lowest nor in the highest value.
        low = np.where(absent, np.iinfo(np.int64).max, wide).min(axis=0)
        high = np.where(absent, np.iinfo(np.int64).min, wide).max(axis=0)
        nothing = absent.all(axis=0)
        low[nothing], high[nothing] = 0, 0
    else:
        low, high = wide.min(axis=0), wide.max(axis=0)
    # By the middle of the range, and only where it must: integers that fit are stored as the file holds them.
    shift = np.where((low < -LARGEST) | (high > LARGEST), (low + high) // 2, 0)
    baseline = whole.astype(np.int64) - shift
    fits = ((low - shift >= -LARGEST) & (high - shift <= LARGEST)).all()
    if not fits or np.abs(baseline).max(initial=0) > np.iinfo(np.int32).max:
        return None
    samples = wide - shift
    if absent is not None:
        samples[absent] = MISSING
    return samples.astype(np.int16), baseline.astype(np.int32)


def _blank(samples: int, sampling_rate: int) -> Signal:
    leads = len(LEADS)
    return Signal(
        samples=np.full((samples, leads), MISSING, dtype=np.int16),
        gain_uv=np.ones(leads, dtype=np.float32),
        baseline=np.zeros(leads, dtype=np.int32),
        sampling_rate=sampling_rate,
    )


_PACKAGES = {"edfio": "EDF", "pydicom": "DICOM", "defusedxml.ElementTree": "MUSE XML", "openpyxl": "Excel"}


def need(module: str) -> Any:
    """Import the package that reads a format."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise InputError(f"Reading {_PACKAGES[module]} needs the package {package}: pip install {package}") from None


class NoUnitError(DataError):
    """A file states no unit of voltage, and nobody else does."""


def stated_unit(text: str, fallback: str | None, where: str) -> float:
    """Return the microvolt of a unit that a file states; `fallback` is what the description says for files without.

    Raises:
        NoUnitError: neither is a unit of voltage.
    """
    if fallback is not None and not is_unit(text):
        return unit_uv(fallback)
    try:
        return unit_uv(text)
    except ValueError as error:
        raise NoUnitError(f"{where}: {error}; if you know it, say for example unit: uV in the description") from None
