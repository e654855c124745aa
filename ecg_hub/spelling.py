"""Names written one way: `code-15` and `code15`, `ecg_cpc` and `ECG-CPC` are the same name wherever one is looked up.

What is looked up comes back as it is registered, so that results, folders and listings know one spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

from ecg_hub.errors import unknown_name

T = TypeVar("T")
_SEPARATORS = re.compile(r"[\s._-]+")
_BRACKETS = re.compile(r"(\[[^\]]*\])")


def normalised(name: str) -> str:
    """Return a name without case and separators (blank, point, hyphen, underscore): equal for all its spellings.

    Example:
        >>> normalised("PTB-XL"), normalised("ptbxl"), normalised("dataset:zzu_pecg")
        ('ptbxl', 'ptbxl', 'dataset:zzupecg')
    """
    return _SEPARATORS.sub("", name.casefold())


def spelt(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a name is a spelling of, None where it is none; an exact match comes first.

    Example:
        >>> spelt("ecg_cpc", ["ecg-cpc", "ecg-fm"]), spelt("ecg-cpq", ["ecg-cpc"])
        ('ecg-cpc', None)
    """
    names = list(known)
    if name in names:
        return name
    wanted = normalised(name)
    return next((candidate for candidate in names if wanted and normalised(candidate) == wanted), None)


def registered(kind: str, name: str, known: Iterable[str], remedy: str = "") -> str:
    """Return the registered spelling of a name.

    Raises:
        UnknownNameError: nothing of that name in any spelling; suggests the closest and names the remedy.

    Example:
        >>> registered("mode", "Fine-Tune", ["linear", "finetune"])
        'finetune'
    """
    names = list(known)
    found = spelt(name, names)
    if found is None:
        raise unknown_name(kind, name, names, remedy)
    return found


def looked_up(kind: str, name: str, known: Mapping[str, T], remedy: str = "") -> T:
    """Return what is registered under a name in any spelling; raises as `registered`."""
    return known[registered(kind, name, known, remedy)]


def matching(pattern: str, known: Iterable[str]) -> list[str]:
    """Return the names that fit a pattern with `*`, `?` and `[...]`, whose plain parts are in any spelling.

    Example:
        >>> matching("PTBXL-s*", ["ptbxl_all", "ptbxl_sub", "ptbxl_super"])
        ['ptbxl_sub', 'ptbxl_super']
    """
    names = list(known)
    exact = [name for name in names if fnmatchcase(name, pattern)]
    if exact:
        return exact
    # A hyphen between brackets makes a range; everywhere else it is a separator.
    parts = _BRACKETS.split(pattern)
    plain = "".join(part.casefold() if part.startswith("[") else normalised(part) for part in parts)
    return [name for name in names if fnmatchcase(normalised(name), plain)]
