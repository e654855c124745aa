"""YAML files written by users: read as one mapping, and pydantic's complaints turned into sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ecg_hub.errors import InputError, did_you_mean


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that must hold one mapping without repeated keys."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}.") from error
    if not isinstance(content, dict):
        found = "empty" if content is None else f"a {type(content).__name__}"
        raise InputError(f"{path}: a mapping of fields such as `name: my_task` is expected; the file is {found}.")
    return content


class _Loader(yaml.SafeLoader):
    """Safe loading that refuses a repeated key instead of keeping the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"field {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def sentences(error: ValidationError, fields: Mapping[str, Sequence[str]]) -> list[str]:
    """Return one sentence per problem of a mapping."""
    return [_sentence(dict(item), fields) for item in error.errors(include_url=False)]


def _sentence(error: Mapping[str, Any], fields: Mapping[str, Sequence[str]]) -> str:
    parts = [str(part) for part in error["loc"]]
    place, value, kind = ".".join(parts), error["input"], error["type"]
    if kind == "missing":
        return f"field {place!r} is missing."
    if kind == "extra_forbidden":
        known = fields.get(".".join(parts[:-1]), ())
        return f"unknown field {place!r}.{did_you_mean(parts[-1], known)} Known: {', '.join(known)}."
    if kind == "value_error":
        where = f"field {place!r}: " if place else ""
        return f"{where}{error['ctx']['error']}."
    if kind == "literal_error":
        allowed = error["ctx"]["expected"]
        names = [part.strip(" '") for part in allowed.replace(" or ", ", ").split(",")]
        return f"field {place!r}: {value!r} is not allowed.{did_you_mean(str(value), names)} Allowed: {allowed}."
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"field {place!r}: YAML reads {value!r} here, text is expected; put it in quotes."
    return f"field {place!r}: {value!r} is not allowed: {error['msg'][:1].lower()}{error['msg'][1:]}."
