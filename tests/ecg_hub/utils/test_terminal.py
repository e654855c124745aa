"""Who decides about bars, escapes and widths: one module, and nothing beside it."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecg_hub.utils import terminal
from ecg_hub.utils.terminal import escaped, say
from ecg_hub.utils.text import print_lines, print_pairs, print_table
from tests.support.terminals import in_terminal

ROOT = Path(__file__).resolve().parents[3]
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
NEEDS_TERMINAL = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def quiet() -> Iterator[None]:
    terminal.set_quiet(True)
    yield
    terminal.set_quiet(False)


def test_a_file_has_no_width_no_styles_and_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    file = io.StringIO()
    assert (terminal.width(file), terminal.styles(file), terminal.bars_shown()) == (None, False, False)


@pytest.mark.parametrize(
    ("env", "styles", "bars"),
    [({}, True, True), ({"NO_COLOR": "1"}, False, True), ({"TERM": "dumb"}, False, False)],
)
def test_the_environment_is_heard(
    env: dict[str, str], styles: bool, bars: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm", "COLUMNS": "71", **env}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert (terminal.width(Terminal()), terminal.styles(Terminal()), terminal.bars_shown()) == (71, styles, bars)


def test_in_a_file_a_bar_is_a_line_with_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(terminal.progress(range(1200), desc="Preparing ptb-xl", unit=" records")) == list(range(1200))
    with terminal.progress(total=3e7, unit="B", unit_scale=True, desc="weights.zip") as bar:
        bar.update(3e7)
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"{STAMP} Preparing ptb-xl: 1,200 records, 0\.\d s", first)
    assert re.fullmatch(rf"{STAMP} weights.zip: 30.0MB, 0\.\d s", second)


def test_a_long_wait_is_a_line_a_minute(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, *(30.0 * k for k in range(1, 100))])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(now))
    for _ in terminal.progress(range(6), desc="validation", unit="batches", leave=False):
        pass
    lines = capsys.readouterr().err.splitlines()
    shown = [line.split(": ")[1].partition(",")[0] for line in lines]
    assert shown == ["2 of 6 batches", "4 of 6 batches", "6 batches"]


def test_what_vanishes_on_a_terminal_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in terminal.progress(range(3), desc="validation", leave=False):
        pass
    with pytest.raises(KeyError), terminal.progress(total=3, desc="broken off"):
        raise KeyError
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("quiet")
def test_quiet_leaves_errors_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in terminal.progress(range(3), desc="anything"):
        pass
    terminal.say("a remark")
    terminal.say("a failure", important=True)
    assert capsys.readouterr().err == "a failure\n"


def test_other_libraries_keep_to_it_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in terminal.NO_BARS:
        monkeypatch.setenv(name, "")  # so that it is set back afterwards
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    terminal.silence_libraries()
    assert {name: terminal.os.environ[name] for name in terminal.NO_BARS} == terminal.NO_BARS


def test_commands_in_a_sentence_of_their_own_stay_whole() -> None:
    command = "  ecg-hub convert ecg-cpc --checkpoint FILE"
    assert terminal.wrapped(f"These weights are not here.\n{command}", 20) == f"These weights are\nnot here.\n{command}"


@NEEDS_TERMINAL
def test_a_bar_and_a_remark_on_a_terminal() -> None:
    program = (
        "from ecg_hub.utils import terminal\n"
        "for k in terminal.progress(range(3), desc='counting', unit=' records'):\n"
        "    terminal.say(f'at {k}')\n"
    )
    written = in_terminal(["-c", program])
    assert re.search(r"counting: 100%\|.*3/3", written.plain)
    assert "at 2\n" in written.plain
    assert max(len(line.rpartition("\r")[2]) for line in written.plain.splitlines()) <= 80


PACKAGES = ("ecg_hub", "dataset_scripts", "eval_harness", "model_cards")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
DECIDES = ROOT / "ecg_hub" / "utils" / "terminal.py"
ALONE = (
    r"\btqdm\b", r"\bisatty\b", "get_terminal_size", r"^\s*(from|import) rich\b", r"\\x1b\[", r"\\033\[", r'end="\\r',
)  # fmt: skip
BESIDE = re.compile("|".join(ALONE), re.MULTILINE)


@pytest.mark.heavy
def test_no_other_module_decides() -> None:
    # text.py writes heads bold, when it is told to; Ctrl-C is answered while nothing may be imported.
    found = {p.relative_to(ROOT).as_posix() for p in SOURCES if p != DECIDES and BESIDE.search(p.read_text())}
    assert found == {"ecg_hub/utils/text.py", "eval_harness/cli/__init__.py"}


HOSTILE = [
    "a\x1b[2Jb.hea",
    "a\x9b31mb",
    "a\u202efde.hea",
    "a\rb",
    "a\x07b",
    "a\u2066b",
    os.fsdecode(b"a\xffb"),
    "n" * 255,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_steer_a_terminal_are_written_out(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"record": name, name: 1}, {"record": "b", name: 2}], heading=name)
    print_pairs({name: name})
    print_lines([f"record {name} is lost"])
    say(f"record {name} is lost", important=True)
    shown = "".join(capsys.readouterr())
    shown.encode()
    assert shown.replace("\n", "").isprintable()
    assert shown.count(escaped(name)) >= 6
    # A whole name stays whole: what is written out, nothing more.
    assert (name in shown) == name.isprintable()


HOSTILE = "r\x1b[2J\x9b31m\u202egnp\u200b\x07\udcff\x08\xad\u2060\u3164\U000e0041.hea"


def test_whatever_a_verb_prints_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    import argparse
    import json
    import logging

    from eval_harness.cli.program import start

    def run(args: argparse.Namespace) -> int:
        print(HOSTILE, "\r", "\x1b[1mbold\x1b[0m", "a,b", end="\r\n")
        print(json.dumps({"name": HOSTILE}, ensure_ascii=False))
        sys.stdout.writelines([HOSTILE, "\n"])
        print(HOSTILE, file=sys.stderr)
        logging.StreamHandler().emit(logging.makeLogRecord({"msg": HOSTILE}))
        return 0

    def build() -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser()
        parser.add_argument("word")
        parser.set_defaults(run=run)
        return parser

    before = sys.stdout, sys.stderr
    assert start(build, ["x"]) == 0
    assert (sys.stdout, sys.stderr) == before
    out, err = capsys.readouterr()
    assert out.split("\n")[0].endswith(" \\u000d \x1b[1mbold\x1b[0m a,b\r")
    assert json.loads(out.split("\n")[1])["name"] == HOSTILE
    left = (out + err).replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\r\n", "\n").replace("\n", "")
    assert left.isprintable()
    assert left.count("\\u202e") == 5


def test_bars_move_on_standard_error_and_nowhere_else() -> None:
    moves, file = "\r 10%\x1b[A\x1b[33mw\x1b[0m", io.StringIO()
    terminal.CleanStream(file, moves=True).write(moves)
    assert file.getvalue() == moves
    terminal.CleanStream(file, moves=False).write("\r\x1b[A")
    assert file.getvalue() == f"{moves}\\u000d\\u001b[A"
    assert not terminal.CleanStream(file, moves=False).isatty()


def test_names_of_other_scripts_stay_as_they_are() -> None:
    for name in ("Ekg-äöü-µV", "心电图", "تخطيط القلب", "naïve\tname\nnext"):
        assert escaped(name) == name
