"""What is on the other end: a terminal and how wide, or a file; everything that prints asks here.

Off a terminal there are no progress bars, no carriage returns and no escapes, and nothing is cut. NO_COLOR takes the
escapes for bold text away, TERM=dumb also the bars. Bars and remarks go to standard error, results to standard output.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TextIO

FALLBACK_WIDTH = 80
LINE_EVERY_S = 60
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


@contextmanager
def quieted() -> Iterator[None]:
    """Leave out bars and remarks for a while, those of `datasets` too."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before, library = _quiet, are_progress_bars_disabled()
    set_quiet(True)
    disable_progress_bars()
    try:
        yield
    finally:
        set_quiet(before)
        if not library:
            enable_progress_bars()


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
    """How far something is: a tqdm bar on a terminal, and in a file a line now and then and one at the end.

    Args:
        items: what is gone through; None where `update` says how much was done.
        quiet: show nothing, for instance in all processes of a run but one.
        **options: as tqdm takes them.
    """
    if not quiet and not _quiet and not bars_shown():
        return Lines(items, **options)
    # Not tqdm.auto: what a notebook shows is no terminal, and one rule holds everywhere.
    from tqdm import tqdm

    return tqdm(items, file=sys.stderr, disable=quiet or _quiet, **{"dynamic_ncols": True, **options})


class Lines:
    """What stands for a bar of tqdm in a file: lines with the time, at most one a minute, and one at the end.

    Args:
        items: what is gone through, or None.
        total: how much there is in all.
        initial: how much was done before.
        desc: what is done.
        unit: what is counted.
        unit_scale: write large numbers as 12.1M.
        leave: a bar that vanishes at its end has no last line.
        others: what only a bar has use for.
    """

    def __init__(
        self, items: Iterable[Any] | None = None, total: float | None = None, initial: float = 0, desc: str = "",
        unit: str = "it", unit_scale: bool = False, leave: bool = True, **others: Any,
    ) -> None:  # fmt: skip
        self.items, self.desc, self.unit, self.n = items, desc.strip(), unit.strip(), initial
        self.total = len(items) if total is None and isinstance(items, Sized) else total
        self._scaled, self._leave, self._postfix = unit_scale, leave, ""
        # Not the clock of the day, which may be set back while a run takes days.
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        # What was broken off gets no last line, which would say that it is done.
        self._leave = self._leave and kind is None
        self.close()

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in self.items or ():
                yield item
                self.update()

    def update(self, more: float = 1) -> None:
        """Count what was done."""
        self.n += more
        if time.monotonic() - self._last >= LINE_EVERY_S:
            self._last = time.monotonic()
            say(stamped(f"{self._text()}, {elapsed(self._last - self._began)}"))

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Say more in the next line."""
        self._postfix = f", {text}" if text else ""

    def set_description_str(self, text: str, refresh: bool = True) -> None:
        """Say from now on what is done."""
        self.desc = text.strip()

    def refresh(self) -> None:
        """Write the next line when it is due; `n` was set."""
        self.update(0)

    def close(self) -> None:
        """Write the last line, once."""
        if self._leave:
            say(stamped(f"{self._text()}, {elapsed(time.monotonic() - self._began)}"))
        self._leave = False

    def _text(self) -> str:
        done, of = (self._number(self.n), "" if self.total is None else f" of {self._number(self.total)}")
        unit = self.unit if self._scaled else f" {self.unit}"
        return f"{self.desc}: {done}{'' if self.n == self.total else of}{unit}{self._postfix}"

    def _number(self, value: float) -> str:
        from tqdm import tqdm

        return tqdm.format_sizeof(value) if self._scaled else f"{value:,.0f}"


# Controls (C0 but for tab and line end, C1), marks that turn the direction of writing, what has no width or no ink (but
# for the joiners of Persian, Indic scripts and emoji), and bytes of a file name that are no UTF-8, which no stream can
# write.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff"
    "\uffa0\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def escaped(text: str) -> str:
    r"""Return a text with everything that steers a terminal, or hides what stands there, written out.

    Names of files, records and leads are what somebody chose; a name must not move the cursor or turn the line around.

    Example:
        >>> escaped("r1" + chr(0x1B) + "[2J.hea"), escaped("r1.hea")
        ('r1\\x1b[2J.hea', 'r1.hea')
    """
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


class UnreadError(BrokenPipeError):
    """Whoever read a stream has gone, as `head` does when it has its lines."""


class CleanStream:
    """A stream of text that writes out what steers a terminal, whoever prints there.

    What somebody chose (names of files, labels of foreign results) comes to a print in many places; none can forget to
    clean it. Written as JSON would, so that a document on standard output stays one.

    Args:
        stream: where the text goes.
        moves: let through what progress bars and the logs of libraries are made of.
    """

    def __init__(self, stream: TextIO, moves: bool) -> None:
        self._stream = stream
        self._steering = _STEERING_BUT_BARS if moves else _STEERING

    def write(self, text: str) -> int:
        """Write a text; letters that the stream's encoding lacks are written out."""
        clean = self._steering.sub(_written_out, text)
        with _read():
            try:
                self._stream.write(clean)
            except UnicodeEncodeError:
                self._stream.write(re.sub("[^\x00-\x7f]", lambda letter: _as_json(letter[0]), clean))
        return len(text)

    def flush(self) -> None:
        """Pass on what is not written yet."""
        with _read():
            self._stream.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


# Ours are bold text and lines that end as CSV has them.
_STEERING = re.compile(rf"(?P<kept>\x1b\[[01]m|\r\n)|{_UNSEEN.pattern}")
_STEERING_BUT_BARS = re.compile(rf"(?P<kept>\x1b\[(?:[0-9;]*m|A)|\r)|{_UNSEEN.pattern}")


def _written_out(match: re.Match[str]) -> str:
    return match[0] if match["kept"] else _as_json(match[0])


def _as_json(text: str) -> str:
    # A letter beyond 16 bits is a pair.
    units = text.encode("utf-16-be", "surrogatepass").hex(" ", 2).split()
    return "".join(f"\\u{unit}" for unit in units)


@contextmanager
def _read() -> Iterator[None]:
    """Tell the end of a stream's reader from that of a process or of a connection."""
    try:
        yield
    except BrokenPipeError as error:
        raise UnreadError(error.errno, error.strerror) from error


def drop_output() -> None:
    """Let what is left of standard output go nowhere: Python would write it at its end, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def clean_streams() -> Iterator[None]:
    """Clean what goes to standard output and standard error in the block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = CleanStream(sys.stdout, moves=False), CleanStream(sys.stderr, moves=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def wrapped(text: str, width: int | None) -> str:
    """Return sentences wrapped between words; indented lines (commands, paths) stay whole, so that they can be copied.

    Args:
        text: of one or several lines.
        width: columns of the terminal; None never wraps.
    """
    lines = escaped(text).split("\n")
    return "\n".join(line if line.startswith("  ") else wrap(line, width, 0) for line in lines)


def wrap(line: str, width: int | None, indent: int) -> str:
    """Return a line wrapped between words, with more lines indented; words longer than the width stay whole."""
    if width is None or len(line) <= width:
        return line
    return textwrap.fill(
        line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False,
        replace_whitespace=False,
    )  # fmt: skip


def stamped(text: str) -> str:
    """Return a line of a log: with the time in front."""
    return f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}"


def elapsed(seconds: float) -> str:
    """Return a duration such as 0.4 s, 12 s, 3:05 or 2:03:05.

    Example:
        >>> elapsed(0.44), elapsed(12.4), elapsed(185), elapsed(7385)
        ('0.4 s', '12 s', '3:05', '2:03:05')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    return f"{hours}:{minutes % 60:02d}:{int(seconds) % 60:02d}" if hours else f"{minutes}:{int(seconds) % 60:02d}"


def say(text: str, important: bool = False) -> None:
    """Print a remark on standard error, above the bars; `--quiet` leaves out what is not important."""
    if important or not _quiet:
        from tqdm import tqdm

        # Where both go to one file, in the order in which they were said.
        sys.stdout.flush()
        tqdm.write(wrapped(text, width(sys.stderr)), file=sys.stderr)


def close_bars() -> None:
    """End every bar, so that what is printed next stands on a line of its own."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    # A private name, for want of a public list of open bars; hence the defaults.
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


def silence_libraries() -> None:
    """Keep the bars of other libraries to the same rule; best before their import, when they read the environment."""
    if bars_shown():
        return
    os.environ.update(NO_BARS)
    # transformers has no variable of the environment for it.
    if "transformers" in sys.modules:
        from transformers.utils import logging

        logging.disable_progress_bar()


def _is_terminal(stream: TextIO) -> bool:
    # Notebooks and test runners put streams in place of stdout that need not have it.
    return bool(getattr(stream, "isatty", lambda: False)())


def _moves(stream: TextIO) -> bool:
    return _is_terminal(stream) and os.environ.get("TERM") != "dumb"
