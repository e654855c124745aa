"""Change of sampling rate, equal to resampy 0.4.3 with its default filter `kaiser_best`.

resampy evaluates a Kaiser-windowed sinc of 50 zero crossings per side from a table, at the positions
t = k * fs_in / fs_out, with zeros outside the signal. For a rational ratio fs_out / fs_in = P / Q in lowest terms those
positions repeat: P outputs for Q inputs. So the method is a fixed bank of P filters applied with stride Q, one conv1d,
about a hundred times as fast. The table's numbers and the two places where the method rounds are kept (J. O. Smith,
"Digital Audio Resampling"; B. McFee, resampy 0.4.3), so results agree with resampy to 5e-6 of a unit-variance signal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ecg_hub.errors import InputError, unknown_name

Float32 = NDArray[np.float32]

# kaiser_best of resampy 0.4.3
ZERO_CROSSINGS = 50
TABLE_STEPS = 2**13
ROLLOFF = 0.917347
KAISER_BETA = 12.9846

# 32 MB of filters: any pair of whole rates below 2,000 Hz fits.
MAX_COEFFICIENTS = 2**23
# Samples resampled at a time: the padded copy of a block stays in the processor's cache.
BLOCK_SAMPLES = 600_000


def as_rate(value: Any) -> Fraction:
    """Return a sampling rate as an exact fraction of Hz.

    Whole numbers are accepted as int or float (500, 500.0, numpy scalars), and simple fractions as WFDB headers hold
    them (62.5, 249.89).

    Args:
        value: the rate in Hz.

    Raises:
        InputError: not a number, not positive and finite, or not a fraction with a denominator up to 1,000.

    Example:
        >>> as_rate(500.0), as_rate(62.5)
        (Fraction(500, 1), Fraction(125, 2))
        >>> as_rate(249.87654)
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: A sampling rate must be a whole number of Hz or a simple fraction such as ...
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, Fraction, np.integer, np.floating)):
        raise InputError(f"A sampling rate must be a number in Hz, not {value!r}.")
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"A sampling rate must be a positive number in Hz, not {value!r}.")
    # 249.89 is no exact binary number; the nearest fraction with a small denominator is what the header meant.
    rate = value if isinstance(value, Fraction) else Fraction(number).limit_denominator(1000)
    if abs(float(rate) - number) > 1e-9 * number:
        raise InputError(
            f"A sampling rate must be a whole number of Hz or a simple fraction such as 62.5, not {value!r}. "
            "Resample the signal to such a rate first."
        )
    return rate


def resampled_length(length: int, fs_in: Any, fs_out: Any) -> int:
    """Return floor(length * fs_out / fs_in), computed in integers.

    Args:
        length: samples at `fs_in`.
        fs_in: rate of the signal in Hz.
        fs_out: rate wanted in Hz.

    Raises:
        InputError: a rate is not valid (see as_rate).

    Example:
        >>> resampled_length(5000, 500, 240)
        2400
        >>> resampled_length(625, 250, 100.0)  # rounded down, as resampy does
        250
    """
    return math.floor(length * as_rate(fs_out) / as_rate(fs_in))


@dataclass(frozen=True)
class FilterBank:
    """The filters of one ratio P / Q, immutable and shared between threads.

    Attributes:
        up: P, outputs per period and number of filters.
        down: Q, inputs per period.
        left: inputs before the start of a period that its filters reach.
        weight: (P, 1, taps) float32, ready for conv1d with stride Q.
    """

    up: int
    down: int
    left: int
    weight: torch.Tensor

    def apply(self, rows: Float32, length: int) -> Float32:
        """Resample (signals, samples) float32 to (signals, length); samples beyond the end of the input are zeros."""
        periods = -(-length // self.up)
        padded_length = (periods - 1) * self.down + self.weight.shape[-1]
        kept = min(rows.shape[-1], padded_length - self.left)
        # The fewest blocks that stay below the limit, all of one size.
        block = -(-len(rows) // -(-len(rows) * padded_length // BLOCK_SAMPLES))
        padded = np.zeros((block, 1, padded_length), dtype=np.float32)
        out = np.empty((len(rows), periods, self.up), dtype=np.float32)
        # The caller may be within autocast; the filters are exact in float32 only.
        with torch.autocast("cpu", enabled=False):
            for start in range(0, len(rows), block):
                count = min(block, len(rows) - start)
                # The rows are of one length, so the zeros around them stay from block to block.
                padded[:count, 0, self.left : self.left + kept] = rows[start : start + count, :kept]
                periodic = torch.nn.functional.conv1d(torch.from_numpy(padded[:count]), self.weight, stride=self.down)
                out[start : start + count] = periodic.numpy().transpose(0, 2, 1)
        return out.reshape(len(rows), periods * self.up)[:, :length]


@lru_cache(maxsize=64)
def filter_bank(ratio: Fraction) -> FilterBank:
    """Return the filters for a ratio fs_out / fs_in; built once per ratio."""
    up, down = ratio.numerator, ratio.denominator
    reach = math.ceil(ZERO_CROSSINGS / min(1.0, up / down)) + 1
    if up * (down + 2 * reach) > MAX_COEFFICIENTS:
        raise InputError(
            f"Cannot resample by {up}/{down}: the rates have no simple ratio. "
            "Resample the signal to a whole number of Hz first."
        )
    phases = [_phase(phase, up, down) for phase in range(up)]
    first = min(start for start, _ in phases)
    last = max(start + len(taps) for start, taps in phases)
    # Computed in float64, rounded here once.
    weight = np.zeros((up, 1, last - first), dtype=np.float32)
    for row, (start, taps) in zip(weight, phases, strict=True):
        row[0, start - first : start - first + len(taps)] = taps
    return FilterBank(up=up, down=down, left=-first, weight=torch.from_numpy(weight))


@lru_cache(maxsize=1)
def _half_window() -> NDArray[np.float64]:
    """Return the right half of the windowed sinc, TABLE_STEPS entries per zero crossing."""
    entries = TABLE_STEPS * ZERO_CROSSINGS
    taper = np.kaiser(2 * entries + 1, KAISER_BETA)[entries:]
    return taper * ROLLOFF * np.sinc(ROLLOFF * np.linspace(0, ZERO_CROSSINGS, entries + 1))


def _phase(phase: int, up: int, down: int) -> tuple[int, NDArray[np.float64]]:
    """Return the filter of one output of a period: its first input, relative to the period's first, and its taps.

    The output lies at input position phase * Q / P. When downsampling, the table is walked by the ratio times
    TABLE_STEPS, truncated to an integer: an inaccuracy of the method that the published numbers contain.
    """
    scale = min(1.0, up / down)
    step = int(scale * TABLE_STEPS)
    before, remainder = divmod(phase * down, up)
    fraction = scale * remainder / up
    past = _wing(fraction, step)
    future = _wing(scale - fraction, step)
    return before - len(past) + 1, scale * np.concatenate([past[::-1], future])


def _wing(fraction: float, step: int) -> NDArray[np.float64]:
    """Return the table read every `step` entries from `fraction` of a crossing on, linearly interpolated."""
    # resampy's own arithmetic, truncations included: exact values of the sinc would differ from what was published.
    table = _half_window()
    offset = int(fraction * TABLE_STEPS)
    between = fraction * TABLE_STEPS - offset
    index = offset + step * np.arange((len(table) - offset) // step)
    following = table[np.minimum(index + 1, len(table) - 1)]
    return table[index] + between * (following - table[index])


def _kaiser_best(rows: Float32, ratio: Fraction, length: int) -> Float32:
    return filter_bank(ratio).apply(rows, length)


def _fourier(rows: Float32, ratio: Fraction, length: int) -> Float32:
    """scipy.signal.resample, which some authors' own pipelines use; `ratio` is implied by the length."""
    from scipy.signal import resample as fourier_resample

    return fourier_resample(rows, length, axis=-1).astype(np.float32, copy=False)


def _decimate(rows: Float32, ratio: Fraction, length: int) -> Float32:
    """scipy.signal.decimate, zero phase, which some authors' own pipelines use.

    A rate that is no whole multiple of the new one is brought to the next multiple first, by kaiser_best.
    """
    from scipy.signal import decimate

    # The filter of scipy's decimate is recursive, of order 8, hence the float64 below.
    factor = math.ceil(1 / ratio)
    if ratio * factor != 1:
        rows = _kaiser_best(rows, ratio * factor, length * factor)
    if factor == 1:
        return rows
    return decimate(rows.astype(np.float64), factor, axis=-1)[:, :length].astype(np.float32)


METHODS: dict[str, Callable[[Float32, Fraction, int], Float32]] = {
    "kaiser_best": _kaiser_best,
    "fourier": _fourier,
    "decimate": _decimate,
}
"""Ways to change the sampling rate, by the name that presets give."""


def resample(
    x: ArrayLike, fs_in: Any, fs_out: Any, axis: int = -1, *, length: int | None = None, method: str = "kaiser_best"
) -> Float32:
    """Change the sampling rate of signals.

    Args:
        x: real signals of any shape, finite; integers and float64 are computed in float32.
        fs_in: rate of `x` in Hz.
        fs_out: rate wanted in Hz.
        axis: the time axis.
        length: samples of the result; by default floor(samples * fs_out / fs_in).
        method: "kaiser_best" (as resampy, the signal continues with zeros), "fourier" (as scipy.signal.resample) or
            "decimate" (as scipy.signal.decimate, the signal continues mirrored).

    Returns:
        A new float32 array like `x`, with the time axis resampled; a copy where nothing is to be changed.

    Raises:
        InputError: no time axis, a rate that is no rate, or two rates without a simple ratio.
        UnknownNameError: `method` is none of METHODS.

    Example:
        >>> signal = np.ones((12, 5000), np.float32)
        >>> resample(signal, 500, 240).shape
        (12, 2400)
        >>> resample(signal.T, 500, 240, axis=0).shape
        (2400, 12)

        Outside the signal resampy sees zeros, so the ends of a constant are not constant:

        >>> out = resample(signal, 500, 250)[0]
        >>> bool(abs(out[1000] - 1) < 1e-3), bool(abs(out[0] - 1) < 1e-3)
        (True, False)
    """
    if method not in METHODS:
        raise unknown_name("resampling method", str(method), METHODS)
    signals = np.asarray(x, dtype=np.float32)
    if not -signals.ndim <= axis < signals.ndim:
        raise InputError(f"axis {axis!r} does not exist in an array of shape {signals.shape}.")
    ratio = as_rate(fs_out) / as_rate(fs_in)
    along = np.moveaxis(signals, axis, -1)
    # Exact, because the rates are fractions; in floating point a whole number may come out just below itself.
    samples = math.floor(along.shape[-1] * ratio) if length is None else length
    if ratio == 1 and samples == along.shape[-1]:
        return signals.copy()
    rows = along.reshape(math.prod(along.shape[:-1]), along.shape[-1])
    out = METHODS[method](rows, ratio, samples) if rows.size and samples else np.zeros((len(rows), samples), np.float32)
    return np.ascontiguousarray(np.moveaxis(out.reshape(*along.shape[:-1], samples), -1, axis))
