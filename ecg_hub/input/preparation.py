"""The named preparation steps that presets list as data.

A step is {"name": "zscore", "at": "model", ...parameters}. `at` says when it runs:

- "model" (default): on each window, after resampling, at the model's rate and on the model's leads.
- "source": on the whole record, before windows are cut, at the record's own rate and on the twelve canonical leads.

A step is a function of (signals, sampling_rate, **parameters) on float32 arrays (n, leads, samples) in millivolts. It
returns a new float32 array of the same shape and leaves its input alone. Signals are finite: NaN is dealt with before.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError, unknown_name

Float32 = NDArray[np.float32]
Step = Callable[..., Float32]

STEPS: dict[str, Step] = {}
"""The steps by name."""

STAGES: tuple[str, ...] = ("source", "model")
"""When a step may run."""

Band = tuple[Literal["bandpass", "highpass", "lowpass"], float | tuple[float, ...]]
"""Type of a filter and its cut-off frequency or frequencies in Hz, as scipy wants them."""

_AXES: dict[str, int | tuple[int, int]] = {"lead": -1, "record": (-2, -1)}


def register(name: str) -> Callable[[Step], Step]:
    """Return a decorator that makes a function available to presets as a step."""

    def add(function: Step) -> Step:
        STEPS[name] = function
        return function

    return add


def check_step(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step as a plain dict with its stage spelt out, after checking its name and parameter names.

    Args:
        step: name, optionally `at`, and parameters.

    Raises:
        UnknownNameError: there is no such step or stage.
        InputError: not a mapping with a name, or a parameter that the step does not have.

    Example:
        >>> check_step({"name": "zscore"})
        {'name': 'zscore', 'at': 'model'}
        >>> check_step({"name": "zscore", "axes": "lead"})
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: Step 'zscore' does not take {'axes': 'lead'}: got an unexpected keyword ...
    """
    if not isinstance(step, Mapping) or not isinstance(step.get("name"), str):
        raise InputError(f'A step must be a mapping with a name, such as {{"name": "zscore"}}, not {step!r}.')
    name, stage = step["name"], step.get("at", "model")
    if name not in STEPS:
        raise unknown_name("preparation step", name, STEPS)
    if stage not in STAGES:
        raise unknown_name("stage", str(stage), STAGES, "A step runs at the 'source' rate or at the 'model' rate.")
    # Checked when a preset is read, not when a step first runs, perhaps hours later in a training.
    parameters = {key: value for key, value in step.items() if key not in ("name", "at")}
    signature = inspect.signature(STEPS[name])
    try:
        signature.bind(None, None, **parameters)
    except TypeError as error:
        allowed = ", ".join(list(signature.parameters)[2:])
        raise InputError(f"Step {name!r} does not take {parameters!r}: {error}. Its parameters: {allowed}.") from None
    try:
        plain = json.loads(json.dumps(parameters))
    except TypeError as error:
        raise InputError(
            f"Step {name!r} must have parameters that JSON can hold, not {parameters!r}: {error}."
        ) from None
    return {"name": name, "at": stage, **plain}


def apply_steps(signals: Float32, sampling_rate: float, steps: Sequence[Mapping[str, Any]]) -> Float32:
    """Apply checked steps of one stage, in order, to finite signals (n, leads, samples) float32 at a rate in Hz."""
    for step in steps:
        parameters = {key: value for key, value in step.items() if key not in ("name", "at")}
        if signals.size:  # an empty batch has no extremes to scale by
            signals = STEPS[step["name"]](signals, sampling_rate, **parameters)
    return signals


@register("zscore")
def zscore(signals: Float32, sampling_rate: float, *, axis: str = "lead", eps: float = 1e-8) -> Float32:
    """Standardise to (x - mean) / (standard deviation + eps); a constant lead becomes 0.

    Args:
        signals: (n, leads, samples).
        sampling_rate: not used.
        axis: statistics per "lead", or over all leads of a "record" together.
        eps: added to the standard deviation, in the signal's unit.

    Raises:
        UnknownNameError: unknown axis.

    Example:
        >>> flat_and_alternating = np.array([[[1, 1, 1, 1], [0, 2, 0, 2]]], np.float32)
        >>> zscore(flat_and_alternating, 500)[0].round(3).tolist()  # a flat lead becomes 0, not NaN
        [[0.0, 0.0, 0.0, 0.0], [-1.0, 1.0, -1.0, 1.0]]
    """
    over = _axis(axis)
    # In float64: subtracting the mean of a lead with a large offset would leave few digits. eps stands outside of the
    # root; inside, 1e-8 would count as much as a deviation of 1e-4 mV.
    wide = signals.astype(np.float64)
    wide -= wide.mean(axis=over, keepdims=True)
    wide /= wide.std(axis=over, keepdims=True) + eps
    return wide.astype(np.float32)


@register("minmax")
def minmax(
    signals: Float32,
    sampling_rate: float,
    *,
    axis: str = "lead",
    low: float = 0.0,
    high: float = 1.0,
    eps: float = 1e-8,
) -> Float32:
    """Scale to low + (high - low) * (x - min) / (max - min + eps); a constant lead becomes `low`.

    Args:
        signals: (n, leads, samples).
        sampling_rate: not used.
        axis: extremes per "lead", or over all leads of a "record" together.
        low: what the smallest value becomes.
        high: what the largest value becomes.
        eps: added to the range, in the signal's unit.

    Raises:
        UnknownNameError: unknown axis.

    Example:
        >>> minmax(np.array([[[0.0, 1.0, 4.0]]], np.float32), 500, low=-1).round(3).tolist()
        [[[-1.0, -0.5, 1.0]]]
    """
    over = _axis(axis)
    wide = signals.astype(np.float64)
    smallest = wide.min(axis=over, keepdims=True)
    # In the denominator, so that a constant lead stays finite.
    extent = wide.max(axis=over, keepdims=True) - smallest + eps
    return (low + (high - low) * (wide - smallest) / extent).astype(np.float32)


@register("clip")
def clip(signals: Float32, sampling_rate: float, *, low_mv: float, high_mv: float) -> Float32:
    """Limit the signal to low_mv .. high_mv.

    Args:
        signals: (n, leads, samples) in millivolts.
        sampling_rate: not used.
        low_mv: lower limit in millivolts.
        high_mv: upper limit in millivolts.

    Raises:
        InputError: the limits are not in order.

    Example:
        >>> clip(np.array([[[-7.0, 0.5, 9.0]]], np.float32), 500, low_mv=-3, high_mv=3).tolist()
        [[[-3.0, 0.5, 3.0]]]
    """
    if not low_mv < high_mv:
        raise InputError(f"clip needs low_mv < high_mv, not {low_mv!r} and {high_mv!r}.")
    return np.clip(signals, np.float32(low_mv), np.float32(high_mv))


@register("scale")
def scale(signals: Float32, sampling_rate: float, *, factor: float) -> Float32:
    """Multiply by a factor, for example 1000 for a model that was trained on microvolts."""
    return signals * np.float32(factor)


@register("bandpass")
def bandpass(
    signals: Float32,
    sampling_rate: float,
    *,
    low_hz: float | None = None,
    high_hz: float | None = None,
    design: str = "butterworth",
    order: int = 4,
    fir_seconds: float = 0.3,
) -> Float32:
    """Filter along time without phase shift: once forward, once backward, with odd extension at the ends (scipy).

    Args:
        signals: (n, leads, samples).
        sampling_rate: their rate in Hz.
        low_hz: lower cut-off; None for a low-pass.
        high_hz: upper cut-off; None for a high-pass.
        design: "butterworth" (second-order sections of the given order) or "fir" (Hamming window).
        order: order of the Butterworth design.
        fir_seconds: length of the FIR filter; its taps are the seconds times the rate, made odd.

    Raises:
        UnknownNameError: unknown design.
        InputError: cut-offs that the rate does not allow, or signals too short for the filter.

    Example:
        >>> seconds = np.arange(5000) / 500
        >>> drifting = np.sin(2 * np.pi * 10 * seconds) + 3 * np.sin(2 * np.pi * 0.1 * seconds)
        >>> steady = bandpass(drifting[None, None].astype(np.float32), 500, low_hz=0.5, high_hz=40)
        >>> round(float(steady[0, 0, 1000:4000].max()), 2)  # the 10 Hz stay, at their place in time
        1.0
        >>> bandpass(np.zeros((1, 1, 500), np.float32), 100, low_hz=0.5, high_hz=50)
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: A band from 0.5 to 50 Hz does not exist at 100 Hz: give low_hz < high_hz (or ...
    """
    band = _check_cutoffs(low_hz, high_hz, sampling_rate)
    if design == "butterworth":
        return _filter_butterworth(signals, sampling_rate, band, order)
    if design == "fir":
        return _filter_fir(signals, sampling_rate, band, fir_seconds)
    raise unknown_name("filter design", str(design), ("butterworth", "fir"))


@register("notch")
def notch(signals: Float32, sampling_rate: float, *, frequency_hz: float, quality: float = 30.0) -> Float32:
    """Remove power-line hum without phase shift: a second-order notch, once forward, once backward (scipy's filtfilt).

    Args:
        signals: (n, leads, samples).
        sampling_rate: their rate in Hz.
        frequency_hz: centre of the notch.
        quality: centre divided by the width of the notch at -3 dB.

    Raises:
        InputError: a frequency that the rate does not allow, or signals too short for the filter.

    Example:
        >>> hum = np.sin(2 * np.pi * 50 * np.arange(5000) / 500)[None, None].astype(np.float32)
        >>> float(abs(notch(hum, 500, frequency_hz=50)[..., 1000:4000]).max()) < 0.01
        True
    """
    from scipy.signal import filtfilt, iirnotch

    if not (0 < frequency_hz < sampling_rate / 2 and quality > 0):
        raise InputError(
            f"A notch at {frequency_hz!r} Hz of quality {quality!r} does not exist at {sampling_rate!r} Hz: give a "
            "frequency_hz above 0 and below half the rate, and a quality above 0."
        )
    # As a polynomial, which is safe at second order.
    numerator, denominator = iirnotch(frequency_hz, quality, fs=sampling_rate)
    _check_length(signals, 3 * len(denominator))
    return np.asarray(filtfilt(numerator, denominator, signals.astype(np.float64), axis=-1)).astype(np.float32)


@register("median_baseline")
def median_baseline(signals: Float32, sampling_rate: float, *, seconds: float) -> Float32:
    """Subtract the median over int(seconds * rate) + 1 samples, one more if that is even; beyond the ends are zeros."""
    from scipy.ndimage import median_filter

    if not seconds > 0:
        raise InputError(f"median_baseline needs seconds above 0, not {seconds!r}.")
    # Rounded before it is cut off: 0.29 s at 100 Hz are 28.999999999999996 samples to floating point.
    width = (int(round(seconds * sampling_rate, 6)) + 1) | 1
    rows = signals.reshape(-1, signals.shape[-1])
    # Row by row, because only then scipy takes its fast way.
    baseline = np.stack([median_filter(row, size=width, mode="constant") for row in rows])
    return signals - baseline.reshape(signals.shape)


def _axis(axis: str) -> int | tuple[int, int]:
    if axis not in _AXES:
        raise unknown_name("axis", str(axis), _AXES, "Statistics are per 'lead' or per 'record'.")
    return _AXES[axis]


def _check_cutoffs(low_hz: float | None, high_hz: float | None, sampling_rate: float) -> Band:
    edges = tuple(edge for edge in (low_hz, high_hz) if edge is not None)
    if not edges or list(edges) != sorted(set(edges)) or not all(0 < edge < sampling_rate / 2 for edge in edges):
        raise InputError(
            f"A band from {low_hz!r} to {high_hz!r} Hz does not exist at {sampling_rate!r} Hz: "
            "give low_hz < high_hz (or one of them), above 0 and below half the rate."
        )
    if len(edges) == 2:
        return "bandpass", edges
    return ("highpass" if high_hz is None else "lowpass"), edges[0]


# Kept, because every window of a run asks for the same design.
@lru_cache(maxsize=64)
def _sections(band: Band, order: int, sampling_rate: float) -> NDArray[np.float64]:
    from scipy.signal import butter

    return butter(order, band[1], btype=band[0], fs=sampling_rate, output="sos")


@lru_cache(maxsize=64)
def _taps(band: Band, taps: int, sampling_rate: float) -> NDArray[np.float64]:
    from scipy.signal import firwin

    return np.asarray(firwin(taps, band[1], pass_zero=band[0], fs=sampling_rate))


def _filter_butterworth(signals: Float32, sampling_rate: float, band: Band, order: int) -> Float32:
    from scipy.signal import sosfiltfilt

    # Sections, not one polynomial: at a cut-off far below the rate the poles crowd around 1, where the coefficients of
    # a polynomial of this order have too few digits even in float64.
    sections = _sections(band, order, sampling_rate)
    # scipy extends by 3 * (2 * sections + 1) samples, fewer where poles or zeros sit at the origin.
    _check_length(signals, 3 * (2 * len(sections) + 1))
    return np.asarray(sosfiltfilt(sections, signals.astype(np.float64), axis=-1)).astype(np.float32)


def _filter_fir(signals: Float32, sampling_rate: float, band: Band, seconds: float) -> Float32:
    from scipy.signal import filtfilt

    # Odd, so that the filter has a middle and may pass the highest frequency. What HuBERT-ECG asks for at 100 Hz, 31
    # taps from 0.05 to 47 Hz, is in effect a low-pass at 45 Hz: 0.3 s cannot hold a cut-off at 0.05 Hz, and baseline
    # wander stays.
    taps = int(round(seconds * sampling_rate, 6)) // 2 * 2 + 1
    _check_length(signals, 3 * taps)
    filtered = filtfilt(_taps(band, taps, sampling_rate), [1.0], signals.astype(np.float64), axis=-1)
    return np.asarray(filtered).astype(np.float32)


def _check_length(signals: Float32, extension: int) -> None:
    if signals.shape[-1] <= extension:
        raise InputError(
            f"A signal of {signals.shape[-1]} samples is too short for this filter, which needs more than {extension}. "
            "Give a longer signal or window."
        )
