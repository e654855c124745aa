"""YAML that others wrote: files of users as one mapping, and the metadata of a README.md, between lines ---."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ecg_hub.errors import DataError, InputError, did_you_mean
from ecg_hub.utils.untrusted import plain_file

MAX_NODES = 20_000  # values in the metadata, or in a file of a user
MAX_DEPTH = 100  # mappings and lists within each other in a file of a user
MAX_DIGITS = 1000  # characters of a number; PyYAML reads 1:1:1:... in the square of its length
MAX_BYTES = 2**18  # of a file of a user: a hundred times the longest in use
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*\r?$\n?", re.DOTALL | re.MULTILINE)


def read_mapping(path: Path, example: str = "name: my_task") -> dict[str, Any]:
    """Read a YAML file that must hold one mapping without repeated keys; `example` tells how one looks."""
    try:
        plain_file(path, MAX_BYTES)
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
        _check_size(content)
    except (OSError, UnicodeDecodeError, DataError) as error:
        raise InputError(f"{path}: cannot be read: {error}.") from error
    # Of a mapping with lists for names, a date of month 13, an integer of thousands of digits: not all are YAMLErrors.
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, AttributeError, LookupError) as error:
        raise InputError(f"{path}: not valid YAML: {error}.") from error
    except RecursionError:
        raise InputError(f"{path}: not valid YAML: nested too deeply.") from None
    if not isinstance(content, dict):
        kind = "empty" if content is None else f"a {type(content).__name__}"
        raise InputError(f"{path}: a mapping of fields such as `{example}` is expected; the file is {kind}.")
    return content


def _check_size(content: Any) -> None:
    """Refuse a file whose references (*name) stand for more values than anybody writes, or for themselves."""
    # Without recursion, which a list that holds itself would never end.
    pending, count = [content], 0
    while pending:
        value = pending.pop()
        count += 1
        if count > MAX_NODES:
            raise ValueError(f"it has more than {MAX_NODES:,} values")
        if isinstance(value, dict):
            pending += [*value, *value.values()]
        elif isinstance(value, list | tuple | set):
            pending += value


class _ShortNumbers(yaml.SafeLoader):
    """Safe loading that refuses numbers of more characters than anybody writes."""

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if number and len(node.value) > MAX_DIGITS:
            raise ValueError(f"a number has more than {MAX_DIGITS:,} characters")
        return super().construct_scalar(node)


class _Loader(_ShortNumbers):
    """Safe loading that refuses a repeated key instead of keeping the last one, and too much of anything early."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._count = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # While it is read: to build a hundred thousand values takes seconds, and more with every level.
        self._count += 1
        if self._count > MAX_NODES:
            raise ValueError(f"it has more than {MAX_NODES:,} values")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RecursionError
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # PyYAML would take the last one, and the user would wonder about the first.
        seen = set()
        for key, _ in node.value:
            # Mappings as names are refused by the loader itself.
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                text = f"field {key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, text, node.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def sentences(error: ValidationError, fields: Mapping[str, Sequence[str]]) -> list[str]:
    """Return one sentence per problem of a mapping."""
    return [_sentence(dict(item), fields) for item in error.errors(include_url=False)]


def _sentence(error: Mapping[str, Any], fields: Mapping[str, Sequence[str]]) -> str:
    parts = [str(part) for part in error["loc"]]
    field, value, kind = ".".join(parts), error["input"], error["type"]
    if kind == "missing":
        return f"field {field!r} is missing."
    if kind == "extra_forbidden":
        siblings = fields.get(".".join(parts[:-1]), ())
        return f"unknown field {field!r}.{did_you_mean(parts[-1], siblings)} Known: {', '.join(siblings)}."
    if kind == "value_error":
        where = f"field {field!r}: " if field else ""
        return f"{where}{error['ctx']['error']}."
    if kind == "literal_error":
        allowed = error["ctx"]["expected"]
        names = [part.strip(" '") for part in allowed.replace(" or ", ", ").split(",")]
        return f"field {field!r}: {value!r} is not allowed.{did_you_mean(str(value), names)} Allowed: {allowed}."
    # `no`, `on` and 1.10 are no texts to YAML 1.1, and a user who wrote them does not know why.
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"field {field!r}: YAML reads {value!r} here, text is expected; put it in quotes."
    return f"field {field!r}: {value!r} is not allowed: {error['msg'][:1].lower()}{error['msg'][1:]}."


class CardError(Exception):
    """Metadata that cannot be read; the message says why and where."""


class _CardLoader(_ShortNumbers):
    """Plain YAML without references, which can stand for exponentially much."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._count += 1
        if self.check_event(yaml.AliasEvent):
            raise CardError("references (*name) are not allowed in the metadata")
        if self._count > MAX_NODES:
            raise CardError(f"the metadata have more than {MAX_NODES:,} values")
        return super().compose_node(parent, index)


def load_yaml(text: str) -> Any:
    """Return the plain JSON value of a YAML text; dates become text, numbers that JSON lacks become None."""
    loader = None
    try:
        loader = _CardLoader(text)
        value = plain(loader.get_single_data())
        # Whatever cannot be JSON is refused here, not in the middle of an answer.
        json.dumps(value, allow_nan=False)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise CardError(" ".join(str(error).split())[:500]) from None
    except RecursionError:
        raise CardError("the metadata are nested too deeply") from None
    finally:
        if loader is not None:
            loader.dispose()
    return value


def split_card(text: str) -> tuple[str, str]:
    """Return the metadata (without the lines ---) and the text of a README.md."""
    # Some editors on Windows begin a file with a byte order mark, behind which no front matter would be found.
    match = _FRONT.match(text.removeprefix("\ufeff"))
    return (match[1], text.removeprefix("\ufeff")[match.end() :]) if match else ("", text)


def metadata(text: str) -> dict[str, Any]:
    """Return the metadata of a README.md; empty without any."""
    value = load_yaml(split_card(text)[0])
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CardError("the metadata are not a mapping of names to values")
    return value


def plain(value: Any) -> Any:
    """Return what YAML or Python's JSON read as JSON has it: dates become text, numbers that it lacks become None."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(inner) for inner in value]
    # A datetime is a date as well.
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
