"""Folders of somebody's files: finding that of a dataset, and walking through one.

Links are followed, circles of links are left, each folder in order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ecg_hub.errors import InputError
from ecg_hub.spelling import normalised
from ecg_hub.utils.remote import outline

LEFT_BEHIND = frozenset(
    {
        *("__macosx", "lost+found", "$recycle.bin", "system volume information", "thumbs.db", "ehthumbs.db"),
        *("desktop.ini", "@eadir", "#recycle", "icon\r"),
    }
)
"""Folders and files that systems make beside the user's own, in small letters."""

_UNFINISHED = (".part", ".partial", ".crdownload", ".tmp", ".download", "~", "#")


def folder_of(name: str, root: Path) -> Path:
    """Return the folder below a root that has a name: spelled just so, else in another spelling, if one is there.

    A root behind a URL is asked for the names in it.

    Raises:
        InputError: several folders of other spellings, and none of the name itself.
    """
    if (outline(root) / name).exists() or not root.is_dir():
        return root / name
    wanted = normalised(name)
    found = sorted(path for path in root.iterdir() if normalised(path.name) == wanted and path.is_dir())
    if len(found) > 1:
        names = ", ".join(repr(path.name) for path in found)
        raise InputError(f"{str(root)!r} holds {names}, all of them spellings of {name!r}; rename the right one to it.")
    return found[0] if found else root / name


def walk(top: Path, hidden: bool = True, depth: int | None = None) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Yield every folder below `top`, itself included, with its files; names sorted.

    A link that leads back to a folder on the way to it is not followed, so every circle ends.

    Args:
        top: the folder.
        hidden: whether names that begin with a dot, and what systems leave behind, count.
        depth: folders below this many levels are left out; 1 is `top` alone.
    """
    pending: list[tuple[Path, tuple[str, ...]]] = [(top, (os.path.realpath(top),))]
    while pending:
        folder, way = pending.pop()
        with os.scandir(folder) as entries:
            named = sorted((e for e in entries if hidden or not is_hidden(e.name)), key=lambda entry: entry.name)
        yield folder, [entry for entry in named if not _is_folder(entry)]
        if depth is not None and len(way) >= depth:
            continue
        for entry in reversed([entry for entry in named if _is_folder(entry)]):
            real = os.path.realpath(entry.path)
            if real not in way:
                # With its own way, not one set for all: a folder that two links lead to is no circle and is walked
                # twice.
                pending.append((folder / entry.name, (*way, real)))


def is_hidden(name: str) -> bool:
    """Return whether a name is no user's own: ._r01.edf of macOS, .ipynb_checkpoints, __MACOSX, ~$r01.xlsx, r01.tmp."""
    small = name.lower()
    return small.startswith((".", "~$")) or small in LEFT_BEHIND or small.endswith(_UNFINISHED)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
