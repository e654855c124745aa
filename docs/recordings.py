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

import pyte  # extra `dev`: a terminal in memory

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


DEMO = "ecg-eval --model random:ecg-cpc-tiny --tasks demo --mode linear,frozen,finetune --data-root mock --limit 96"
DEMO += " --epochs 2 --output results/demo"
LONG = "ecg-eval --model random:ecg-cpc-tiny --tasks demo --mode finetune --data-root mock --limit 96 --epochs 200"
RECORDINGS = (
    Recording("A first run, 80 columns", DEMO),
    Recording("The same command again, 200 columns: finished tasks are read", DEMO, 200),
    Recording("Into a file", DEMO.replace("results/demo", "results/file"), 0),
    Recording("A report of it", "ecg-eval report results/demo --data-root mock --output results/demo/report.html"),
    Recording("A comparison", "ecg-eval compare results/demo"),
    Recording("Ctrl-C in the third epoch", f"{LONG} --output results/long", 80, "epoch 3/"),
    Recording("Everything, with neither weights nor data", "ecg-eval --model ecg-cpc --tasks all"),
    Recording(
        "Data that are not there", "ecg-eval --model random:ecg-cpc-tiny --tasks ptb --mode linear --data-root ecg"
    ),
    Recording("A name that does not exist", "ecg-eval --model ecg-cpcc --tasks all --data-root mock"),
    Recording("A number that is none", "ecg-eval --model random:ecg-cpc-tiny --tasks demo --epochs ten"),
    Recording("A list", "ecg-eval ls models"),
    Recording("A dataset, prepared", "ecg-hub data prepare ptb-xl --mock"),
)
HEAD = """\
# What the terminal shows

Recorded by `python docs/recordings.py`, without network, in a fresh folder; the exit code stands below each. What comes
where, and the exit codes: [running](running.md#in-scripts-and-logs).
"""


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
    env |= {"ECG_HUB_HOME": str(folder / "home"), "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    env |= {"ECG_HUB_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    if not width:
        done = subprocess.run(
            words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S
        )
        # A carriage return or an escape in a file is what this is to find: shown, not interpreted.
        text = done.stdout.replace("\r", "<CR>").replace("\x1b", "<ESC>")
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


def page(folder: Path) -> str:
    """Return the page with all recordings, made in a folder one after another."""
    parts = [HEAD]
    for one in RECORDINGS:
        print(one.title, file=sys.stderr)
        shown = record(shlex.split(one.command), one.width, one.interrupt, folder)
        # The folder is another one each time.
        text = shown.text.replace(str(folder / "home"), "~/.cache/ecg_hub")
        where = f"{one.width} columns" if one.width else "a file"
        parts.append(
            f"## {one.title}\n\n```text\n$ {one.command}\n{text}\n```\n\nIn {where}; exit code {shown.code}.\n"
        )
    return "\n".join(parts)


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
        if not args.command:
            PAGE.write_text(page(folder), encoding="utf-8")
            return 0
        shown = record(args.command, args.width, args.interrupt, folder)
    print(f"$ {shlex.join(args.command)}\n{shown.text}\n[exit code {shown.code}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
