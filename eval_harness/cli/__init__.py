"""The command lines `ecg-eval` and `ecg-hub`: a file per verb.

Of everything that a command imports this module is the first, so it imports nothing that Python has not loaded already:
until it is there, Ctrl-C ends in a trace.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

pressed = False
"""Whether Ctrl-C was pressed, which some libraries turn into an error of their own."""

at_work = False
"""Whether a verb runs, which may have to tidy up behind itself. Before and after it there is nothing to tidy up."""


def watch_interrupts() -> None:
    """Take Ctrl-C for a process that does nothing else than one command."""
    # Here, since it imports others.
    import signal

    # One that started us in the background has Ctrl-C ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
        sys.unraisablehook = _lost


def _lost(lost: sys.UnraisableHookArgs) -> None:
    """Look again at a Ctrl-C that arrived where C calls Python, which would print it and forget it."""
    if pressed and lost.exc_type is KeyboardInterrupt:
        _look_again()
    else:
        sys.__unraisablehook__(lost)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global pressed
    import signal

    pressed = True
    # A second one ends the process at once, whatever the first one waits for.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _end(number, frame)


def _end(number: int, frame: FrameType | None) -> None:
    """End what the process does: by an exception as soon as one arrives, before and after a verb at once."""
    if not at_work:
        _leave()
    if not _imports(frame):
        raise KeyboardInterrupt
    # A verb tidies up, but not from within an import.
    _look_again()


def _look_again() -> None:
    import signal

    if sys.platform == "win32":
        _leave()
    signal.signal(signal.SIGALRM, _end)
    signal.setitimer(signal.ITIMER_REAL, 0.02)


def _imports(frame: FrameType | None) -> bool:
    """Tell whether a module is being imported: Python and some libraries lose what is raised there, or print it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _leave() -> None:
    """End the process without raising anything through what it is in the middle of."""
    code = interrupted()
    try:  # noqa: SIM105 - contextlib may be what is being imported
        sys.stdout.flush()
    except (OSError, ValueError, RuntimeError):  # a broken pipe, closed, or interrupted in the middle of a write
        pass
    os._exit(code)


def interrupted() -> int:
    """Say how to go on after Ctrl-C, without a traceback; returns the exit code."""
    import signal

    # What has arrived is not looked for again.
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, 0)
    # Not imported: who has drawn a bar has imported it. Ctrl-C may come while that is read, hence the default.
    getattr(sys.modules.get("ecg_hub.utils.terminal"), "close_bars", lambda: None)()
    # A terminal has written ^C where the cursor was.
    start = "\n" if sys.stderr.isatty() else ""
    print(f"{start}interrupted: what is finished is kept, and the same command goes on from there.", file=sys.stderr)
    # As a shell reports a process that SIGINT ended: 128 + 2.
    return 130
