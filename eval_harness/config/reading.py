"""Options by name, as a command line, a YAML file or a Python call gives them, to the fields of their dataclasses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError
from ecg_hub.utils.remote import place
from eval_harness.config.fields import kind_of, options_of
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import Protocol, protocol


def options_from(merged: Mapping[str, Any]) -> RunOptions:
    """Build checked options from merged names and values."""
    given = {"model": (), "tasks": (), **merged}
    chosen = protocol(given.get("protocol", "paper"), **read_values(Protocol, given))
    return RunOptions(protocol=chosen, **read_values(RunOptions, given))


def split_commas(values: Iterable[str] | str | None) -> tuple[str, ...]:
    """Flatten repeated options and comma lists: ["a,b", "c"] to ("a", "b", "c"), order kept, repeats dropped."""
    if values is None:
        return ()
    parts = [values] if isinstance(values, str) else values
    names = [name.strip() for part in parts for name in str(part).split(",")]
    # fromkeys and not a set: the order decides the order of runs and rows.
    return tuple(dict.fromkeys(name for name in names if name))


def help_text(item: Field[Any], suffix: str = "") -> str:
    """What the help says of an option."""
    return (str(item.metadata["help"]) + suffix).format(default=item.default)


def keys_of(item: Field[Any]) -> list[str]:
    """The names of an option in a file; the first is that of the parsed argument."""
    return [flag.removeprefix("--").replace("-", "_") for flag in item.metadata["flags"]] or [item.name]


def read_values(owner: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass among the names and values of a command line or a file."""
    values = {}
    for item in options_of(owner):
        for key in keys_of(item):
            # `limit: null` in a file leaves an option out; a number that must be one is refused.
            if key in given and (given[key] is not None or isinstance(item.default, int | float)):
                values[item.name] = _value(owner, item, given[key])
    return values


def _value(owner: type, item: Field[Any], value: Any) -> Any:
    kind, parse = kind_of(owner, item.name), item.metadata["parse"]
    if kind.many:
        value = split_commas([str(part) for part in value] if isinstance(value, list | tuple) else str(value))
    if parse is not None:
        return parse(value)
    try:
        # bool("no") is True: a switch in a file is true or false, not a word.
        if kind.type is bool and not isinstance(value, bool | int):
            raise ValueError(value)
        # int(2.5) is 2: half an epoch in a file or a call is a mistake, not two.
        if kind.type is int and isinstance(value, float) and value != int(value):
            raise ValueError(value)
        # A URL has a folder on this machine that stands for it.
        make = place if kind.type is Path else kind.type
        return tuple(make(part) for part in value) if kind.many else make(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{item.name} is {value!r}: it must be of type {kind.type.__name__} ({help_text(item)})."
        ) from error
