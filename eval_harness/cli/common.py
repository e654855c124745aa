"""What both command lines share: errors as one sentence, comma lists, exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from ecg_hub.errors import EcgHubError, UnknownNameError
from ecg_hub.renamed import tell_renamed


def guarded(action: Callable[[], int]) -> int:
    """Run a verb; print the user's errors without a traceback and turn them into exit codes."""
    try:
        return action()
    except (EcgHubError, OSError) as error:
        if os.environ.get("ECG_HUB_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UnknownNameError) else 1
    except KeyboardInterrupt:
        print("interrupted: give the same command again to continue.", file=sys.stderr)
        return 130


def start(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> int:
    """Parse the words and run their verb; without any, print the help. Returns the exit code."""
    if not arguments:
        parser.print_help()
        return 2
    args = parser.parse_args(arguments)
    return guarded(lambda: int(args.run(args)))


def add_verbs(parser: argparse.ArgumentParser, folder: ModuleType, order: Sequence[str]) -> None:
    """Add the verbs of a command: one for each file of its folder, but VERB_PART.py, which belongs to VERB.py."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    names = {item.name for item in pkgutil.iter_modules(folder.__path__)} - {"main", "__main__"}
    # Parts of a verb are imported when it runs: they bring libraries that the help must start without.
    parts = {name for name in names if any(name.startswith(f"{verb}_") for verb in names)}
    for name in (*order, *sorted(names - parts - {*order})):
        importlib.import_module(f"{folder.__name__}.{name}").register(verbs)


def split_commas(values: Iterable[str] | str | None) -> tuple[str, ...]:
    """Flatten repeated options and comma lists: ["a,b", "c"] to ("a", "b", "c"), order kept, repeats dropped."""
    if values is None:
        return ()
    parts = [values] if isinstance(values, str) else values
    names = [name.strip() for part in parts for name in str(part).split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


class RenamedOption(argparse.Action):
    """The old name of an option: taken for one release, hidden from the help, and said on stderr."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Store the value under the new name."""
        tell_renamed(option_string, "--" + self.dest.replace("_", "-"))
        setattr(namespace, self.dest, values)


def add_old_name(parser: Any, flag: str, option: argparse.Action) -> None:
    """Accept an option under its old name, too."""
    parser.add_argument(
        flag,
        dest=option.dest,
        type=option.type,
        action=RenamedOption,
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--json`: machine-readable output."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
