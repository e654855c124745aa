"""Timing of several ways to do the same thing, in turns and in CPU seconds of this process."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any


def cpu_seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def in_turns(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each way; every other round begins with the last one.

    Args:
        ways: name to call; each is called once before anything counts.
        repeats: rounds.
    """
    for call in ways.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(repeats):
        names = list(ways) if round_ % 2 == 0 else list(reversed(ways))
        for name in names:
            seconds[name].append(cpu_seconds(ways[name]))
    return {name: statistics.median(values) for name, values in seconds.items()}


def load() -> str:
    """The load of the machine, to be kept with the numbers."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg()) + f" on {os.cpu_count()} processors"


def check(ratio: float, least: float) -> None:
    """End with an error where a goal is missed; a goal of 0 asks for nothing."""
    if ratio < least:
        sys.exit(f"{ratio:.1f} times as fast as the plain way; the goal is {least:g} times")
