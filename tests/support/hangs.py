"""A bound that tells what never ends from what is slow: seconds of the processor's time, not of the clock."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HANG_S = 15  # of the processor's time: the faults took 20 s, minutes and hours, what is right takes 2 s and less


@contextmanager
def ends(seconds: float = HANG_S) -> Iterator[None]:
    """Fail what has used so much processor time, while it runs; a busy machine makes no difference."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"it used {seconds:g} s of processor time and had not ended")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
