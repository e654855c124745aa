"""Where windows are cut, counted in samples of the data: the rules of the published benchmark.

Training draws one random window per record and epoch; validation and test take consecutive windows from the start and
drop a rest that is shorter than the window. Nothing is padded (arXiv 2509.25095, reference code at 6367295).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ecg_hub.errors import InputError, unknown_name

if TYPE_CHECKING:
    import numpy as np


PLACEMENTS: tuple[str, ...] = ("first", "center", "random", "all")
"""How windows may be placed in a record."""


def window_length(seconds: float, sampling_rate: float) -> int:
    """Return the window's length in samples: seconds times rate, rounded down.

    A product that floating point leaves just under a whole number counts as that number (2.3 s at 100 Hz is 230).

    Args:
        seconds: length of the window in seconds.
        sampling_rate: rate of the data in Hz.

    Raises:
        InputError: the window would hold no sample.

    Example:
        >>> window_length(2.5, 500), window_length(2.3, 100)  # 2.3 * 100 is 229.99999999999997
        (1250, 230)
    """
    product = seconds * sampling_rate
    # Six decimals: far above the rounding error of the product, far below any fraction that is meant.
    length = math.floor(round(product, 6)) if math.isfinite(product) else 0
    if length < 1:
        raise InputError(f"A window of {seconds!r} s at {sampling_rate!r} Hz holds no sample; both must be positive.")
    return length


def eval_starts(length: int, window: int) -> list[int]:
    """Return the starts of the consecutive windows 0, W, 2W, ... that fit; empty for a record shorter than W.

    Args:
        length: samples of the record.
        window: samples of the window (W).

    Raises:
        InputError: the window is not positive.

    Example:
        >>> eval_starts(5000, 1250)
        [0, 1250, 2500, 3750]
        >>> eval_starts(5100, 1250)  # the 100 samples at the end are not scored
        [0, 1250, 2500, 3750]
        >>> eval_starts(1000, 1250)
        []
    """
    _check_window(window)
    return list(range(0, length - window + 1, window))


def random_start(length: int, window: int, rng: np.random.Generator) -> int:
    """Return a start drawn uniformly from 0 .. length - window - 1, or 0 if the record is exactly one window.

    The last legal start (length - window) is never drawn: the reference draws with an exclusive upper end.

    Args:
        length: samples of the record.
        window: samples of the window.
        rng: numpy generator; not advanced when there is only one choice.

    Raises:
        InputError: the record is shorter than the window.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> {random_start(103, 100, rng) for _ in range(100)}  # 3 would fit and is never drawn, as published
        {0, 1, 2}
    """
    _check_fit(length, window)
    # An exclusive upper end, as in the reference; with one start the generator stays where it is.
    span = length - window
    return int(rng.integers(0, span)) if span else 0


def center_start(length: int, window: int) -> int:
    """Return the start of the window in the middle of the record, half a sample early when it cannot be exact."""
    _check_fit(length, window)
    return (length - window) // 2


def window_starts(placement: str, length: int, window: int, rng: np.random.Generator) -> list[int]:
    """Return the starts of the windows to cut from one record; at least one.

    Args:
        placement: "first", "center", "random" (one window each) or "all" (consecutive windows).
        length: samples of the record.
        window: samples of the window.
        rng: generator for "random".

    Raises:
        UnknownNameError: `placement` is none of PLACEMENTS.
        InputError: the record is shorter than the window.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> window_starts("center", 5000, 1250, rng), window_starts("all", 5000, 2500, rng)
        ([1875], [0, 2500])
        >>> window_starts("all", 1000, 1250, rng)
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: The record holds 1000 samples, fewer than the window of 1250. ...
    """
    if placement not in PLACEMENTS:
        raise unknown_name("window", str(placement), PLACEMENTS)
    _check_fit(length, window)
    if placement == "all":
        return eval_starts(length, window)
    if placement == "random":
        return [random_start(length, window, rng)]
    return [0 if placement == "first" else center_start(length, window)]


def _check_window(window: int) -> None:
    if window < 1:
        raise InputError(f"The window must hold at least one sample, not {window!r}.")


def _check_fit(length: int, window: int) -> None:
    _check_window(window)
    if length < window:
        raise InputError(
            f"The record holds {length} samples, fewer than the window of {window}. "
            "Give a longer record; nothing is padded."
        )
