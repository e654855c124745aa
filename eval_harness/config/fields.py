"""Options as fields of dataclasses: one line says name, type, default, help text and how the value is written.

`eval_harness.cli.common` makes arguments of a command line of them and reads their values from files.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field
from typing import Any

from ecg_hub.spelling import spelt


def option(
    text: str,
    default: Any = MISSING,
    *,
    factory: Any = MISSING,
    group: str = "",
    metavar: str | None = None,
    choices: Sequence[str] = (),
    parse: Callable[[Any], Any] | None = None,
    flags: tuple[str, ...] = (),
    repeated: bool = False,
    old_flag: str = "",
    required: bool = False,
    decides: bool = True,
) -> Any:
    """A field of a dataclass that is an option, too.

    Args:
        text: what the help says; `{default}` stands for the default.
        default: of the field; left out, it must be given.
        factory: makes the default, as of `dataclasses.field`.
        group: heading in the help.
        metavar: what stands for the value in the help; left out, the name of its type.
        choices: the allowed values.
        parse: makes the value of what was written; left out, its type does.
        flags: on the command line; left out, `--` and the name of the field. A file writes them without the dashes.
        repeated: whether the flag may be given several times; a tuple always may.
        old_flag: the flag that is accepted for one more release.
        required: whether the command line must give it.
        decides: whether the value decides a result, and so belongs to its fingerprint.
    """
    about = {
        "help": text, "group": group, "metavar": metavar, "choices": tuple(choices), "parse": parse, "flags": flags,
        "repeated": repeated, "old_flag": old_flag, "required": required, "decides": decides,
    }  # fmt: skip
    return field(default=default, default_factory=factory, metadata=about)


def options_of(owner: type, group: str | None = None) -> list[Field[Any]]:
    """The fields of a dataclass that are options, of one group or of all."""
    named = [item for item in dataclasses.fields(owner) if "help" in item.metadata]
    return [item for item in named if group is None or item.metadata["group"] == group]


@dataclass(frozen=True)
class Kind:
    """What a field holds: the type of one value, and whether it may be several or none."""

    type: Any
    many: bool = False
    optional: bool = False


@functools.cache
def kind_of(owner: type, name: str) -> Kind:
    """What a field of a dataclass holds, by its annotation.

    Example:
        >>> @dataclass
        ... class Options:
        ...     seeds: "tuple[int, ...]" = (0,)
        ...     limit: "int | None" = None
        >>> kind_of(Options, "seeds"), kind_of(Options, "limit")  # doctest: +NORMALIZE_WHITESPACE
        (Kind(type=<class 'int'>, many=True, optional=False), Kind(type=<class 'int'>, many=False, optional=True))
    """
    # Annotations are texts here (`from __future__ import annotations`); this makes types of them.
    hint = typing.get_type_hints(owner)[name]
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    optional = types.NoneType in members
    (held,) = [member for member in members if member is not types.NoneType]
    inner = typing.get_args(held)
    many = typing.get_origin(held) is tuple and inner[-1] is Ellipsis
    return Kind(inner[0] if many else held, many, optional)


def wrong_choice(values: Any) -> Field[Any] | None:
    """The first option of a dataclass whose value is not among its choices; None is always allowed.

    A choice in another spelling becomes the one that it stands for.
    """
    for item in options_of(type(values)):
        value, choices = getattr(values, item.name), item.metadata["choices"]
        if not choices or value is None or value in choices:
            continue
        found = spelt(value, choices) if isinstance(value, str) else None
        if found is None:
            return item
        object.__setattr__(values, item.name, found)
    return None
