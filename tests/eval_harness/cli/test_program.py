"""The frame of both commands: exit codes, usage, --quiet, --version, Ctrl-C."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ecg_hub.errors import EXIT_CODES, CheckpointError, DataError, ExitCode, unknown_name
from eval_harness import cli
from eval_harness.cli import program
from eval_harness.cli.eval import main as evaluate
from eval_harness.cli.eval.run import next_steps
from eval_harness.cli.hub import main as hub
from eval_harness.config.options import RunOptions
from eval_harness.results.schema import Result
from eval_harness.runner.run import exit_code
from eval_harness.tasks.registry import datasets
from tests.support.results import failed, result
from tests.support.terminals import in_terminal

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = pytest.mark.parametrize("command", [evaluate, hub], ids=["ecg-eval", "ecg-hub"])
GO_ON = "interrupted: what is finished is kept, and the same command goes on from there."


def verbs(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """A parser and all below it."""
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [one for below in action.choices.values() for one in verbs(below)]
    return found


@COMMANDS
def test_every_verb_can_be_quiet_and_the_help_has_the_exit_codes(command: ModuleType) -> None:
    parsers = verbs(command.build_parser())
    assert len(parsers) > 10
    assert all("--quiet" in parser.format_help() for parser in parsers)
    assert all(f"{code.value}  {text}" in parsers[0].format_help() for code, text in EXIT_CODES.items())


def test_a_file_without_register_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delattr("eval_harness.cli.eval.listing.register")
    assert evaluate.main(["describe", "ptb"]) == ExitCode.ERROR
    assert re.search(r"eval/listing\.py has no function\s+`register\(verbs\)`", capsys.readouterr().err)


@COMMANDS
def test_every_output_has_a_short_option(command: ModuleType) -> None:
    actions = [action for parser in verbs(command.build_parser()) for action in parser._actions]
    outputs = [action.option_strings for action in actions if "--output" in action.option_strings]
    assert len(outputs) > 4
    assert all("-o" in names for names in outputs)


def test_the_documentation_has_the_exit_codes() -> None:
    page = (ROOT / "docs" / "running.md").read_text()
    assert re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE) == [
        (str(code.value), text) for code, text in EXIT_CODES.items()
    ]


@COMMANDS
def test_version(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(["--version"])
    assert stop.value.code == 0
    assert re.match(r"ecg-\w+ \(ecg-hub \d.*; Python 3\.\d+.*, torch \d", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("command", "words", "lines"),
    [
        (evaluate, "run --epochs ten", ["argument --epochs: invalid int value: 'ten'", "ecg-eval run [options]"]),
        (evaluate, "lsx", ["Unknown verb 'lsx'. Did you mean 'ls'?", "ecg-eval VERB [options]"]),
        (evaluate, "--models x --tasks y", ["--models x. Did you mean '--model'", "ecg-eval run [options]"]),
        (evaluate, "report --jsn", ["arguments: --jsn. Did you mean '--json'", "ecg-eval report [RUN] [options]"]),
        (
            hub,
            "data plot a b --data-root x",
            ["--data-root x. Did you mean '--data-dir'", "ecg-hub data plot NAME RECORD"],
        ),
        (hub, "convert", ["required: NAME, --checkpoint", "ecg-hub convert NAME --checkpoint FILE [options]"]),
        (hub, "data plot --start x a b", ["--start: invalid float value: 'x'", "ecg-hub data plot NAME RECORD"]),
    ],
)
def test_wrong_usage_is_two_lines(
    command: ModuleType, words: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(words.split())
    assert stop.value.code == ExitCode.USAGE
    said, usage = capsys.readouterr().err.splitlines()
    assert said.startswith("error: ")
    assert lines[0] in said
    assert usage.startswith(f"usage: {lines[1]}")
    assert "--help" in usage


def rows(done: int, failing: int, skipped: int = 0) -> list[Result]:
    return [result()] * done + [failed("x")] * failing + [failed("no such mode", status="skipped")] * skipped


@pytest.mark.parametrize(
    ("results", "code"),
    [
        (rows(2, 0), ExitCode.DONE),
        (rows(1, 0, 1), ExitCode.DONE),
        (rows(1, 1), ExitCode.PARTLY),
        (rows(0, 2), ExitCode.ERROR),
        (rows(0, 1, 1), ExitCode.ERROR),
    ],
)
def test_rows_decide_how_a_run_ends(results: list[Result], code: ExitCode) -> None:
    assert exit_code(results) == code


def stop_with(error: BaseException) -> Callable[[], int]:
    def action() -> int:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (CheckpointError("no weights"), ExitCode.ERROR, "error: no weights"),
        (DataError("r\x1b[2J\u202e.hea is damaged"), ExitCode.ERROR, "error: r\\x1b[2J\\u202e.hea is damaged"),
        (OSError(28, "No space left on device"), ExitCode.ERROR, "No space left"),
        (unknown_name("task", "x", ["a"]), ExitCode.USAGE, "Unknown task 'x'"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, GO_ON),
    ],
)
def test_errors_are_a_sentence_and_a_code(
    error: BaseException, code: ExitCode, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.guarded(stop_with(error)) == code
    assert text in capsys.readouterr().err


def test_what_a_library_makes_of_an_interrupt_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError):
        program.guarded(stop_with(RuntimeError("Query interrupted")))
    monkeypatch.setattr(cli, "pressed", True)
    assert program.guarded(stop_with(RuntimeError("Query interrupted"))) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err.strip() == GO_ON


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes that end a process")
@pytest.mark.parametrize("words", [["ls", "models", "--json"], ["ls", "modes"]], ids=["long", "short"])
def test_nobody_reads_on(words: list[str]) -> None:
    command = [sys.executable, "-m", "eval_harness", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == ExitCode.UNREAD
    assert program.guarded(stop_with(BrokenPipeError(32, "of a worker"))) == ExitCode.ERROR


def test_letters_that_the_terminal_lacks_are_written_as_json_writes_them() -> None:
    text = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", text)
        assert evaluate.main(["ls", "datasets", "--json"]) == 0
    text.seek(0)
    pages = {dataset["name"]: dataset["citation"] for dataset in json.load(text)}
    assert pages == {name: dataset.citation for name, dataset in datasets().items()}
    assert not all(map(str.isascii, pages.values()))


def test_a_tilde_behind_an_equals_sign_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert hub.main(["serve", "--token-file=~/tokens", "--new-token", "ward"]) == 0
    assert (tmp_path / "tokens").is_file()
    assert program._with_homes(["--include=~/a,~/b", "--title=a~b", "~/c"]) == [
        f"--include={tmp_path}/a,{tmp_path}/b",
        "--title=a~b",
        "~/c",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["push", "--results", "absent", "--folder", "absent", "--model-repo", "one"],
        ["leaderboard", "--folder", "absent", "-o", "absent", "--space", "one"],
    ],
    ids=["push", "leaderboard"],
)
def test_names_of_repositories_are_looked_at_first(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(words) == ExitCode.ERROR
    assert "'one' is no repository; write ORG/NAME" in capsys.readouterr().err


def test_quiet_is_for_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["-q", "ls", "modes"]) == evaluate.main(["ls", "-q", "modes"]) == 0
    assert program.terminal._quiet is True
    assert evaluate.main(["ls", "modes"]) == 0
    assert program.terminal._quiet is False
    assert capsys.readouterr().err == ""


def test_next_commands_are_whole_and_can_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    program.suggest(("ecg-eval", "report", Path("my results")), where="results: my results/")
    assert capsys.readouterr().err == "\nresults: my results/\nnext:\n  ecg-eval report 'my results'\n"


def test_what_comes_next_names_the_task_files(capsys: pytest.CaptureFixture[str]) -> None:
    """Without them compare and verify do not know the task."""
    options = RunOptions(models=("trivial",), tasks=("mine",), include=(Path("my_task.yaml"), Path("my_data.yaml")))
    next_steps(rows(1, 0), options)
    lines = capsys.readouterr().err.split("next:")[1].split("\n")
    assert [line.strip() for line in lines if line] == [
        "ecg-eval report results --include my_task.yaml,my_data.yaml",
        "ecg-eval verify results --include my_task.yaml,my_data.yaml",
    ]


SLOW = """
import sys
sys.path.insert(0, {folder!r})
from eval_harness.cli.eval.main import main
sys.argv = ["ecg-eval", "ls", "modes"]
sys.exit(main())
"""
TAKES_LONG = "import sys, time\nprint('importing', flush=True)\ntime.sleep(30)\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_interrupted_while_it_imports(tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text(TAKES_LONG)
    written = in_terminal(["-c", SLOW.format(folder=str(tmp_path))], press="importing")
    assert (written.code, written.text.splitlines()[-1]) == (130, GO_ON)
    assert "Traceback" not in written.text


# Sends Ctrl-C at the n-th import, counted from where the command begins.
AT_IMPORT = """
import os, runpy, signal, sys
left = int(sys.argv[1])

def hook(event, details):
    global left
    if event == "import" and left:
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGINT)

start, sys.argv = sys.argv[2], sys.argv[2:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the suite inherited
sys.addaudithook(hook)
if start == "-m":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
from importlib import import_module
sys.exit(import_module(start).main())
"""
STARTS = (
    (
        "eval_harness.cli.eval.main",
        "cka",
        "--model",
        "random:ecg-cpc-tiny",
        "--dataset",
        "ptb-xl",
        "--data-root",
        "mock",
    ),
    ("eval_harness.cli.hub.main", "validate-model", "random:ecg-cpc-tiny"),
    ("-m", "eval_harness", "cka", "--model", "random:ecg-cpc-tiny", "--dataset", "ptb-xl", "--data-root", "mock"),
    ("-m", "eval_harness.cli.hub", "validate-model", "random:ecg-cpc-tiny"),
)


def at_import(number: int, start: tuple[str, ...], folder: Path) -> None:
    words = [sys.executable, "-c", AT_IMPORT, str(number), *start]
    ended = subprocess.run(
        words, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    # Imports go on after the model has been loaded, and said what it is.
    said = ended.stderr.removeprefix("random:ecg-cpc-tiny: the encoder has random weights (seed 0), as asked\n")
    assert (ended.returncode, said) == (130, GO_ON + "\n")


def test_interrupted_at_its_first_imports(tmp_path: Path) -> None:
    at_import(12, STARTS[1], tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("start", STARTS, ids=" ".join)
def test_interrupted_at_any_import(start: tuple[str, ...], tmp_path: Path) -> None:
    # The ways to start a command differ until its `main` begins; what it imports then is the same.
    for number in (13, 100) if start[0] == "-m" else (13, 100, 700, 2500):
        at_import(number, start, tmp_path)


IN_A_BAR = """
import sys, time
from eval_harness import cli
from eval_harness.cli import program
from ecg_hub.utils import terminal, workers

def run():
    for a in terminal.progress(range(9), desc="outer"):
        for b in workers.run(time.sleep, [0.01, 60, 60], 2) if {workers} else [None]:
            for c in terminal.progress(range(9), desc="inner", leave=False):
                terminal.say("now" if c else "")
                time.sleep(60 if c and not {workers} else 0)

cli.watch_interrupts()
cli.at_work = True
sys.exit(program.guarded(run))
"""


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("workers", [False, True])
def test_interrupted_in_nested_bars_and_with_workers(workers: bool) -> None:
    began = time.monotonic()
    written = in_terminal(["-c", IN_A_BAR.format(workers=workers)], press="now")
    assert (written.code, written.plain.splitlines()[-1].rpartition("\r")[2]) == (130, GO_ON)
    assert "Traceback" not in written.text
    assert time.monotonic() - began < 20


WHERE_C_CALLS = """
import sys, time
from eval_harness import cli
from eval_harness.cli import program

class Slow:
    def __del__(self):
        print("now", flush=True)
        time.sleep(60)

def run():
    one = Slow()
    del one
    time.sleep(60)

cli.watch_interrupts()
cli.at_work = True
sys.exit(program.guarded(run))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_interrupted_where_c_calls_python() -> None:
    began = time.monotonic()
    written = in_terminal(["-c", WHERE_C_CALLS], press="now")
    assert (written.code, written.text.splitlines()[-1]) == (130, GO_ON)
    assert "KeyboardInterrupt" not in written.text
    assert written.text.count(GO_ON) == 1
    assert time.monotonic() - began < 20


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM")
def test_a_time_limit_ends_it_as_schedulers_expect() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_BAR.format(workers=False)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert 128 - process.wait(timeout=20) == ExitCode.TERMINATED
    process.stderr.close()
