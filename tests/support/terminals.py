"""Programs in a pseudo-terminal: what they write, and Ctrl-C as its driver sends it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass

ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Written:
    """What a program wrote to its terminal, and how it ended."""

    text: str
    code: int

    @property
    def plain(self) -> str:
        """The text without escapes."""
        return ESCAPES.sub("", self.text)


def in_terminal(arguments: Sequence[str], columns: int = 80, press: str | None = None, **env: str) -> Written:
    """Run Python with arguments in a pseudo-terminal.

    Args:
        arguments: of the interpreter.
        columns: width.
        press: press Ctrl-C as soon as this pattern was written.
        **env: more of the environment.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    environment |= {"TERM": "xterm", **env}
    process = subprocess.Popen(
        # A session of its own with this terminal: the key then reaches the whole group of processes.
        [sys.executable, "-c", CONTROLLING, sys.executable, *arguments],
        stdin=follower, stdout=follower, stderr=follower, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    try:
        return Written(_read(leader, press), process.wait(timeout=30))
    finally:
        os.close(leader)
        process.kill()
        process.wait()


# A suite in the background of a shell ignores Ctrl-C, and what it starts would inherit that.
CONTROLLING = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def _read(leader: int, press: str | None, limit_s: float = 60) -> str:
    text, end = "", time.monotonic() + limit_s
    while time.monotonic() < end:
        if not select.select([leader], [], [], 1)[0]:
            continue
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux reports the closed end this way
            break
        if not piece:
            break
        text += piece.decode(errors="replace")
        if press is not None and re.search(press, text):
            os.write(leader, b"\x03")
            press = None
    return text.replace("\r\n", "\n")
