"""What the verbs of both command lines share: comma lists, and options from dataclasses.

Arguments and values of a configuration file are made of dataclasses by their fields (`eval_harness.config.fields`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError, did_you_mean
from ecg_hub.renamed import tell_renamed
from ecg_hub.spelling import spelt
from ecg_hub.utils.remote import bring, publish
from ecg_hub.utils.yaml import read_mapping
from eval_harness.config.fields import kind_of, options_of
from eval_harness.config.reading import help_text, keys_of
from eval_harness.config.reading import read_values as read_values
from eval_harness.config.reading import split_commas as split_commas


class RenamedOption(argparse.Action):
    """The old name of an option: taken for one release, hidden from the help, and said on stderr."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Store the value under the new name."""
        tell_renamed(option_string, "--" + self.dest.replace("_", "-"))
        setattr(namespace, self.dest, values)


@contextmanager
def shared(output: Path) -> Iterator[None]:
    """Continue what another machine left in a folder behind a URL, and send what was made, however the work ends."""
    bring(output, needed=False)
    try:
        yield
    finally:
        from eval_harness.runner.run import is_checkpoint

        publish(output, leave=is_checkpoint)


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


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add `--engine`: where the work on records is done."""
    parser.add_argument(
        "--engine",
        # By name, since what runs them takes a while to import.
        choices=("local", "ray"),
        default="local",
        help="ray: the cluster of $RAY_ADDRESS, else workers of Ray here (default: local)",
    )


def add_arguments(parser: Any, owner: type, group: str | None = None, suffix: str = "") -> None:
    """Add the options of a dataclass to a parser or a group of one.

    What is not given is absent afterwards, so that a file or the dataclass decides it.

    Args:
        parser: where they go.
        owner: the dataclass.
        group: only the options of this heading.
        suffix: ends the help text of every option that has a default; `{default}` stands for it.
    """
    for item in options_of(owner, group):
        more = suffix if item.default not in (None, MISSING) else ""
        flags = item.metadata["flags"] or _flags(item.name)
        # What was not given stays absent: a default here would win over the file of --config.
        about = {"dest": keys_of(item)[0], "default": argparse.SUPPRESS}
        form = _form(owner, item) | ({"required": True} if item.metadata["required"] else {})
        # argparse formats help texts by %, so a plain one is doubled.
        parser.add_argument(*flags, **about, **form, help=help_text(item, more).replace("%", "%%"))
        if item.metadata["old_flag"]:
            form = {"type": form.get("type"), "action": RenamedOption}
            parser.add_argument(item.metadata["old_flag"], **about, **form, help=argparse.SUPPRESS)


def in_spelling_of(choices: Iterable[str]) -> Callable[[str], str]:
    """The `type` of an argument with these choices: a choice in any spelling, anything else as it was written."""
    known = tuple(choices)
    return lambda text: spelt(text, known) or text


def _flags(name: str) -> tuple[str, ...]:
    """Return the flags of a field that states none; where results go has a short one, as at every verb."""
    flag = "--" + name.replace("_", "-")
    return ("-o", flag) if name == "output" else (flag,)


def _form(owner: type, item: Field[Any]) -> dict[str, Any]:
    """How the value of an option is written: a switch, one of some choices, or a value of some type."""
    kind, about = kind_of(owner, item.name), item.metadata
    if kind.type is bool and not about["parse"]:
        return {"action": "store_true"}
    if about["choices"]:
        return {"choices": about["choices"], "type": in_spelling_of(about["choices"])}
    metavar = about["metavar"] or kind.type.__name__.upper()
    if kind.many or about["repeated"]:
        return {"action": "append", "metavar": metavar}
    return {"metavar": metavar} if about["parse"] else {"metavar": metavar, "type": kind.type}


def read_config(path: Path, *owners: type, others: tuple[str, ...] = ()) -> dict[str, Any]:
    """Options from a YAML file; names as on the command line, with - or _."""
    content = read_mapping(path, "model: ecg-cpc")
    items = [item for owner in owners for item in options_of(owner)]
    keys = {key: keys_of(item)[0] for item in items for key in keys_of(item)} | {name: name for name in others}
    renamed = {_plain(item.metadata["old_flag"]): keys_of(item)[0] for item in items if item.metadata["old_flag"]}
    options = {}
    for name, value in ((_plain(str(key)), value) for key, value in content.items()):
        if name in renamed:
            tell_renamed(name, renamed[name])
        # A misspelt option in a file would silently be the default.
        elif name not in keys:
            raise InputError(f"{str(path)!r}: unknown option {name!r}.{did_you_mean(name, keys)}")
        options[renamed.get(name) or keys[name]] = value
    return options


def _plain(name: str) -> str:
    """A flag or a key of a file as the name of an argument."""
    return name.removeprefix("--").replace("-", "_")
