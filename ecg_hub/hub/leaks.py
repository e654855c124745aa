"""Paths of this machine in what is about to be published: they name people, projects, sometimes patients."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecg_hub.errors import CheckpointError, InputError

_ABSOLUTE = re.compile(r"(?:file://|~[/\\]|[A-Za-z]:[/\\]|\\\\[^\\]|/[^/\s])")
_HOMES = re.compile(r"(?<![\w.:/])(?:/(?:home|Users|root|mnt|media|scratch)/[^\s`'\"<>)]+|[A-Za-z]:\\Users\\\S+)")


def check_json(file: str, content: Any) -> None:
    """Refuse a configuration in which a text is an absolute path.

    Args:
        file: its name, for the message.
        content: what it holds.

    Raises:
        InputError: names field and value.
    """
    for field, text in _texts(content, ""):
        if _ABSOLUTE.match(text):
            raise InputError(f"{file} names a place on this machine and is not sent: {field} is {text!r}. Change it.")


def check_lines(file: Path) -> None:
    """Refuse a log, a JSON value a line, in which a text is an absolute path.

    Args:
        file: the log.

    Raises:
        InputError: names line, field and value.
        CheckpointError: a line is not JSON.
    """
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"Line {number} of {str(file)!r} is not JSON: {error}.") from error
        check_json(f"Line {number} of {file.name}", value)


def check_card(card: str, folder: Path) -> None:
    """Refuse a card that names the model's own folder, or somebody's home folder.

    Args:
        card: the text.
        folder: where the model lies.

    Raises:
        InputError: quotes the path.
    """
    own = [str(place) for place in (folder.resolve(), folder.resolve().parent, Path.home()) if len(place.parts) > 2]
    found = _HOMES.search(card)
    leaked = found[0] if found else next((place for place in own if place in card), None)
    if leaked is not None:
        raise InputError(f"README.md names a place on this machine and is not sent: {leaked!r}. Change it.")


def check_metadata(file: Path) -> None:
    """Refuse a safetensors file whose free text names an absolute path.

    Args:
        file: the weights.

    Raises:
        InputError: names the entry.
        CheckpointError: the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{str(file)!r} cannot be read: {error}.") from error
    check_json(f"The header of {file.name}", metadata)


def _texts(value: Any, field: str) -> Iterator[tuple[str, str]]:
    """Yield where and what of all texts in a JSON value, names of fields too."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield f"a name in {field or 'it'}", str(key)
            yield from _texts(inner, f"{field}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{field}[{number}]")
