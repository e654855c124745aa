"""What is on the other end: a terminal and how wide, or a file; everything that prints asks here.

Off a terminal there are no progress bars, no carriage returns and no escapes, and nothing is cut. NO_COLOR takes the
escapes for bold text away, TERM=dumb also the bars. Bars and remarks go to standard error, results to standard output.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from typing import Any, TextIO

FALLBACK_WIDTH = 80
# Read by the libraries themselves, so worker processes keep to them as well.
NO_BARS = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Leave out bars and remarks from now on (`--quiet`); results and errors stay."""
    global _quiet
    _quiet = quiet


def width(stream: TextIO | None = None) -> int | None:
    """Columns of the terminal that a stream (standard output) goes to; None for a file, which has no end of line."""
    if not _is_terminal(stream or sys.stdout):
        return None
    return shutil.get_terminal_size((FALLBACK_WIDTH, 24)).columns


def styles(stream: TextIO | None = None) -> bool:
    """Whether a stream (standard output) may get escapes for bold text."""
    return _moves(stream or sys.stdout) and not os.environ.get("NO_COLOR")


def bars_shown() -> bool:
    """Whether progress bars are drawn: on a terminal that can overwrite a line, unless asked to be quiet."""
    return not _quiet and _moves(sys.stderr)


def progress(items: Iterable[Any] | None = None, *, quiet: bool = False, **options: Any) -> Any:
    """A tqdm bar on standard error, drawn where `bars_shown`; options as tqdm takes them.

    Args:
        items: what is gone through; None for a bar that is moved by `update`.
        quiet: draw nothing, for instance in all processes of a run but one.
    """
    from tqdm import tqdm

    # Not tqdm.auto: what a notebook shows is no terminal, and one rule holds everywhere.
    options = {"dynamic_ncols": True, **options}
    return tqdm(items, file=sys.stderr, disable=quiet or not bars_shown(), **options)


def say(text: str, important: bool = False) -> None:
    """Print a remark on standard error, above the bars; `--quiet` leaves out what is not important."""
    if important or not _quiet:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)


def close_bars() -> None:
    """End every bar, so that what is printed next stands on a line of its own."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


def silence_libraries() -> None:
    """Keep the bars of other libraries to the same rule; before they are imported, as they read the environment then."""
    if bars_shown():
        return
    os.environ.update(NO_BARS)
    # transformers has no variable of the environment for it.
    if "transformers" in sys.modules:
        from transformers.utils import logging

        logging.disable_progress_bar()


def _is_terminal(stream: TextIO) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())


def _moves(stream: TextIO) -> bool:
    return _is_terminal(stream) and os.environ.get("TERM") != "dumb"
