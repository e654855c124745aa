"""Record commands as a terminal of a given width shows them, or as a file holds them; writes docs/terminal.md.

python docs/recordings.py                          # all of the page, some minutes
python docs/recordings.py --width 80 -- ecg-eval ls tasks
python docs/recordings.py --width 0 -- ecg-eval ls tasks   # into a file
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "terminal.md"
PROGRAMS = {"ecg-eval": ("-m", "eval_harness"), "ecg-hub": ("-m", "eval_harness.cli.hub")}
HEIGHT = 50
# As tall as any output: what a terminal of HEIGHT would have scrolled away stays to be read.
PAPER = 4000
LIMIT_S = 900


@dataclass(frozen=True)
class Recording:
    """A command line and how it is watched.

    Attributes:
        title: what the page says above it.
        command: as it is typed.
        width: columns of the terminal; 0 is a file.
        interrupt: press Ctrl-C once this pattern is on the screen.
    """

    title: str
    command: str
    width: int = 80
    interrupt: str | None = None


@dataclass(frozen=True)
class Shown:
    """What a recording came to: the text, and the exit code."""

    text: str
    code: int


def record(command: Sequence[str], width: int, interrupt: str | None, folder: Path) -> Shown:
    """Run a command in a folder, in a terminal of a width or into a file."""
    program, *words = command
    words = [sys.executable, *PROGRAMS[program], *words] if program in PROGRAMS else [program, *words]
    # The size of the terminal decides, not what the caller's terminal has put into the environment.
    env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    env |= {"ECG_HUB_HOME": str(folder / "home"), "TERM": "xterm-256color"}
    if not width:
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S)
        # A carriage return or an escape in a file is what this is to find: shown, not interpreted.
        text = (done.stderr + done.stdout).replace("\r", "<CR>").replace("\x1b", "<ESC>")
        return Shown(text.rstrip(), done.returncode)
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, width, 0, 0))
    process = subprocess.Popen(
        words, cwd=folder, env=env, stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(follower)
    try:
        return Shown(_watch(leader, width, interrupt), process.wait(timeout=60))
    finally:
        os.close(leader)
        process.kill()


def _watch(leader: int, width: int, interrupt: str | None) -> str:
    """Read a terminal until its program ends; returns what is on the screen then."""
    screen = pyte.Screen(width, PAPER)
    stream = pyte.ByteStream(screen)
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        if not select.select([leader], [], [], 1)[0]:
            continue
        try:
            piece = os.read(leader, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # Linux reports the closed end this way
                raise
            break
        if not piece:
            break
        stream.feed(piece)
        if interrupt is not None and re.search(interrupt, "\n".join(screen.display)):
            # As the key does: to all processes of the terminal, by its driver.
            os.write(leader, b"\x03")
            interrupt = None
    return "\n".join(line.rstrip() for line in screen.display).rstrip()


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or print one recording."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=80, metavar="N", help="columns, 0 = a file (default: 80)")
    parser.add_argument("--interrupt", metavar="PATTERN", help="press Ctrl-C when this is on the screen")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="run there (default: a new folder)")
    parser.add_argument("command", nargs="*", metavar="WORD", help="the command to record")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="ecg-recordings-") as scratch:
        folder = args.folder or Path(scratch)
        shown = record(args.command, args.width, args.interrupt, folder)
    print(f"$ {shlex.join(args.command)}\n{shown.text}\n[exit code {shown.code}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
