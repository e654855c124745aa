"""The metadata of a README.md: YAML that a stranger wrote, between lines ---."""

from __future__ import annotations

import json
import math
import re
from datetime import date
from typing import Any

import yaml

MAX_NODES = 20_000  # values in the metadata

_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*\r?$\n?", re.DOTALL | re.MULTILINE)


class CardError(Exception):
    """Metadata that cannot be read; the message says why and where."""


class _Loader(yaml.SafeLoader):
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
        loader = _Loader(text)
        value = _plain(loader.get_single_data())
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
    found = _FRONT.match(text.removeprefix("\ufeff"))
    return (found[1], text.removeprefix("\ufeff")[found.end() :]) if found else ("", text)


def metadata(text: str) -> dict[str, Any]:
    """Return the metadata of a README.md; empty without any."""
    value = load_yaml(split_card(text)[0])
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CardError("the metadata are not a mapping of names to values")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner) for inner in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
