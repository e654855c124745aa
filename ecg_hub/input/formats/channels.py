"""What every reader of a format returns, and the numbers that files state in different ways: units and rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.input.units import unit_uv as unit_uv


@dataclass(frozen=True)
class Channels:
    """The channels of one file as stored; those that are no standard lead may be left out.

    Attributes:
        names: one per channel, as the file spells them.
        values: (samples, channels) integers or floats; microvolt = (values - zero) * gain_uv. NaN is missing.
        gain_uv: (channels,) microvolt per unit.
        zero: (channels,) the value that stands for 0 microvolt; need not be whole.
        sampling_rate: Hz.
        missing: (samples, channels) bool, True where an integer stands for "no value"; None if there is none.
        remark: something odd about the file.
    """

    names: Sequence[str]
    values: np.ndarray
    gain_uv: np.ndarray
    zero: np.ndarray
    sampling_rate: float
    missing: np.ndarray | None = None
    remark: str = ""

    def microvolt(self) -> np.ndarray:
        """Return (channels, samples) float64 in microvolts, NaN where missing.

        Example:
            >>> import numpy as np
            >>> stored = Channels(["I"], np.array([[10], [30]]), np.array([2.5]), np.array([10.0]), 500.0)
            >>> stored.microvolt().tolist()
            [[0.0, 50.0]]
        """
        # float64, which holds integers of 24 and 32 bits with their offsets exactly.
        physical = (self.values.astype(np.float64) - self.zero) * self.gain_uv
        if self.missing is not None:
            physical[self.missing] = np.nan
        return physical.T


def number(text: str, what: str) -> float:
    """Return a number of a header, finite."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(f"{what} is {text[:40]!r}, a number is expected")
    return value


def rate_of_interval(text: str, seconds: str, what: str) -> float:
    """Return the rate in Hz of a stated sampling interval.

    Files round the interval, so the whole rate whose interval rounds to what is stated is the one meant, if there is
    only one; else the rate is the reciprocal.

    Args:
        text: the interval as written; its last digit says how it was rounded.
        seconds: the unit of the interval.
        what: names the field in the error.

    Example:
        >>> rate_of_interval("0.003333", "1", "increment")
        300.0
        >>> rate_of_interval("1953", "1e-6", "sample interval")  # microseconds
        512.0
        >>> round(rate_of_interval("0.003", "1", "increment"), 2)  # 300 and 333 Hz both round to it
        333.33
    """
    try:
        stated = Decimal(text.strip())
        if not (stated.is_finite() and Decimal("1e-12") < stated < Decimal("1e12")):
            raise InvalidOperation
    except InvalidOperation:
        raise DataError(f"{what} is {text[:40]!r}, a positive number is expected") from None
    interval = stated * Decimal(seconds)
    rate = 1 / interval
    whole = int(rate.to_integral_value())
    if whole < 1 or rate == whole:
        return float(rate)
    # Half of the last digit that is written. Trailing zeros count for it, which is why this takes the text.
    half = Decimal((0, (5,), int(stated.as_tuple().exponent) - 1)) * Decimal(seconds)
    # The neighbours do: the whole rates that fit lie side by side, so that a second one would be among these.
    near = [n for n in range(max(whole - 1, 1), whole + 2) if abs(1 / Decimal(n) - interval) <= half]
    return float(whole) if near == [whole] else float(rate)


def same_length(lengths: Sequence[int]) -> int:
    """Return the number of samples that all leads have."""
    different = sorted(set(lengths))
    if len(different) != 1 or not different[0]:
        raise DataError(f"its leads have {different or 'no'} samples, the same number is expected, and more than 0")
    return different[0]
