from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from ecg_hub.utils.text import plain_table, print_pairs, print_table

LONG = "x" * 300


def test_plain_tables_are_aligned_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"name": "a", "labels": 71, "note": LONG}, {"name": "long name", "labels": 5, "note": None}])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name       labels  note"
    assert lines[1] == f"a              71  {LONG}"
    assert lines[2] == "long name       5  -"


def test_booleans_read_as_words_and_are_no_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"long heading": True, "b": "[x]"}, {"long heading": False, "b": "y"}])
    assert capsys.readouterr().out.splitlines() == ["long heading  b", "yes           [x]", "no            y"]


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], title="models")
    print_table([])
    assert capsys.readouterr().out == "no models\nnothing\n"


def test_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs({"a": 1, "longer": LONG, "none": None})
    assert capsys.readouterr().out.splitlines() == ["a       1", f"longer  {LONG}", "none    -"]
    print_pairs({})
    assert capsys.readouterr().out == ""


def test_numbers_stand_right() -> None:
    assert plain_table(["a", "b"], [["1", "x"], ["22", "yy"]], [True, False]) == " a  b\n 1  x\n22  yy"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_everything_is_still_there() -> None:
    program = (
        "from ecg_hub.utils.text import print_pairs, print_table\n"
        "print_table([{'name': 'ptbxl_super', 'note': '[bold]word ' * 30}], title='tasks')\n"
        "print_pairs({'labels': 'PRC(S) [x] ' * 30})\n"
    )
    leader, follower = pty.openpty()
    env = {**os.environ, "COLUMNS": "60", "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=follower, stderr=follower, env=env)
    os.close(follower)
    text = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux reports the closed end this way
            break
        if not piece:
            break
        text += piece
    assert process.wait() == 0
    os.close(leader)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", text.decode())
    assert "ptbxl_super" in shown
    assert shown.count("[bold]word") == 30
    assert shown.count("PRC(S)") == 30
    assert "…" not in shown
    assert max(len(line) for line in shown.replace("\r", "").splitlines()) <= 60
