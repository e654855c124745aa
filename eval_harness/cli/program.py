"""The frame of both commands: parser, exit codes, and every end as one sentence.

An error of the user's is said without a traceback, wrong usage in two lines, and Ctrl-C at any moment says how to go
on.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, NoReturn

from ecg_hub.errors import EXIT_CODES, EcgHubError, ExitCode, UnknownNameError, did_you_mean, unknown_name
from ecg_hub.spelling import spelt
from ecg_hub.utils import terminal
from eval_harness import cli


class Parser(argparse.ArgumentParser):
    """A parser whose errors are two lines: what is wrong, and how the command is used."""

    def error(self, message: str) -> NoReturn:
        """End with the message; the help, not the error, has the list of all options."""
        self.exit(ExitCode.USAGE, _fitted(f"error: {message}\n{self.short_usage()}") + "\n")

    def short_usage(self) -> str:
        """Return what a command cannot do without, and where all of its options are listed."""
        words = [self.prog]
        for action in self._actions:
            if action.required and action.option_strings:
                words += [action.option_strings[-1], str(action.metavar or action.dest.upper())]
            elif not action.option_strings:
                name = str(action.metavar or action.dest)
                words.append(name if action.nargs not in ("?", "*") else f"[{name}]")
        return f"usage: {' '.join(words)} [options]; {self.prog} --help lists them"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = [str(choice) for choice in action.choices or ()]
        if choices and value not in choices:
            # Of an option the name that was written, of a verb or another word what it is.
            what = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest).lower()
            raise argparse.ArgumentError(None, str(unknown_name(what, value, choices)))
        super()._check_value(action, value)


def make_parser(program: str, description: str, examples: str, folder: ModuleType, order: Sequence[str]) -> Parser:
    """Return the parser of a command: its verbs, `--version`, `--quiet`, examples and exit codes.

    Args:
        program: name of the command.
        description: what it is for.
        examples: first part of the text below the help.
        folder: package with a file for each verb.
        order: files whose verbs come first in the help.
    """
    parser = Parser(
        prog=program,
        description=description,
        epilog=f"{examples}\n\n{exit_code_lines()}\n\nResearch software, not a medical device.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version_text(program))
    _add_verbs(parser, folder, order)
    _add_quiet(parser)
    return parser


def exit_code_lines() -> str:
    """Return the exit codes as a list for people."""
    return "\n".join(["exit codes:", *(f"  {code.value:>3}  {text}" for code, text in EXIT_CODES.items())])


def version_text(program: str) -> str:
    """Return what a report of a fault needs: our version and those of what decides numbers."""
    named = {name: _version(name) for name in ("ecg-hub", "torch", "transformers", "datasets")}
    ours, *others = (f"{name} {text}" for name, text in named.items())
    return f"{program} ({ours}; Python {sys.version.partition(' ')[0]}, {', '.join(others)})"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _add_verbs(parser: argparse.ArgumentParser, folder: ModuleType, order: Sequence[str]) -> None:
    """Add the verbs of a command: one for each file of its folder, but VERB_PART.py, which belongs to VERB.py."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    # Found by listing, so that a new verb is a new file and nothing else.
    names = {item.name for item in pkgutil.iter_modules(folder.__path__)} - {"main", "__main__"}
    # Parts of a verb are imported when it runs: they bring libraries that the help must start without.
    parts = {name for name in names if any(name.startswith(f"{verb}_") for verb in names)}
    for name in (*order, *sorted(names - parts - {*order})):
        module = importlib.import_module(f"{folder.__name__}.{name}")
        if not hasattr(module, "register"):
            raise EcgHubError(
                f"{module.__file__} has no function `register(verbs)`, which every file of a verb has "
                "(docs/contributing/command.md); a part of a verb is called VERB_PART.py."
            )
        module.register(verbs)


def _add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add `--quiet` to a parser and to all below it."""
    parser.add_argument(
        *("-q", "--quiet"), dest="say_less", action="store_true", default=argparse.SUPPRESS,
        help="no progress and no remarks; results and errors only",
    )  # fmt: skip
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in dict.fromkeys(action.choices.values()):
                _add_quiet(below)


def start(build: Callable[[], argparse.ArgumentParser], arguments: Sequence[str], whole_process: bool = False) -> int:
    """Parse the words and run their verb; without any, print the help.

    Args:
        build: makes the parser.
        arguments: the words after the command's name.
        whole_process: the process does nothing else, so its signals and libraries are ours.

    Returns:
        The exit code.
    """
    with terminal.clean_streams():
        return guarded(lambda: _run(build(), arguments, whole_process))


def _run(parser: argparse.ArgumentParser, arguments: Sequence[str], whole_process: bool) -> int:
    if not arguments:
        parser.print_help()
        return ExitCode.USAGE
    args = vars(_parsed(parser, _with_spelled_verb(parser, _with_homes(arguments))))
    terminal.set_quiet(args.pop("say_less", False))
    if whole_process:
        terminal.silence_libraries()
    cli.at_work = True
    try:
        code = int(args["run"](argparse.Namespace(**args)))
    finally:
        cli.at_work = False
    if whole_process:
        _leave_group()
        # Here, where it is known what it means that nobody reads.
        sys.stdout.flush()
    return code


def _leave_group() -> None:
    """Leave the group of the processes of a run: one that ends within it may be aborted by the group's threads."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _parsed(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the words; an option that a verb does not have ends with those of that verb, not of the command."""
    args, unknown = parser.parse_known_args(words)
    if unknown:
        verb = _verb_parser(parser, args)
        options = [option for action in verb._actions for option in action.option_strings if option.startswith("--")]
        hints = [did_you_mean(word.partition("=")[0], options) for word in unknown if word.startswith("--")]
        verb.error(f"unrecognized arguments: {shlex.join(unknown)}{'.' if any(hints) else ''}{''.join(hints)}")
    return args


def _verb_parser(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.ArgumentParser:
    """Return the parser of the verb that was given, below others if need be."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = action.choices.get(str(getattr(args, action.dest, None)))
            return parser if below is None else _verb_parser(below, args)
    return parser


def _with_homes(words: Sequence[str]) -> list[str]:
    """Put the home folder for ~ in `--option=~/path`, where most shells leave it: a folder ~ would be made."""
    home = os.path.expanduser("~")
    return [re.sub(r"(?<=[=,])~(?=[/,]|\Z)", lambda _: home, word) if word[:2] == "--" else word for word in words]


def _with_spelled_verb(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Put the verb for the first word that is another spelling of one."""
    # argparse lists its actions nowhere else.
    verbs = next((action.choices for action in parser._actions if action.dest == "verb"), None) or ()
    place = next((number for number, word in enumerate(words) if not word.startswith("-")), None)
    spelled = list(words)
    if place is not None:
        spelled[place] = spelt(words[place], verbs) or words[place]
    return spelled


def guarded(action: Callable[[], int]) -> int:
    """Run a verb; print the user's errors without a traceback and turn them into exit codes."""
    try:
        return action()
    except KeyboardInterrupt:
        return cli.interrupted()
    except terminal.UnreadError:
        terminal.drop_output()
        return ExitCode.UNREAD
    except (EcgHubError, OSError) as error:
        # Only our own errors and those of the system are sentences; a fault of the program keeps its traceback.
        if os.environ.get("ECG_HUB_TRACEBACK"):
            raise
        if cli.pressed:
            return cli.interrupted()
        terminal.close_bars()
        print(_fitted(f"error: {error}"), file=sys.stderr)
        return ExitCode.USAGE if isinstance(error, UnknownNameError) else ExitCode.ERROR
    except Exception:
        if cli.pressed:
            return cli.interrupted()
        raise


def suggest(*commands: Sequence[object], where: str | None = None) -> None:
    """Say where the results are and what to do next, on standard error and whole, so that it can be copied.

    Args:
        *commands: the words of each command.
        where: what there is now.
    """
    lines = [where] if where else []
    lines += ["next:", *(f"  {shlex.join(map(str, words))}" for words in commands)] if commands else []
    terminal.say("\n".join(["", *lines]))


def _fitted(text: str) -> str:
    return terminal.wrapped(text, terminal.width(sys.stderr))
