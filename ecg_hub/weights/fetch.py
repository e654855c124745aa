"""The one place where a name becomes something that loads: published weights that are not here are fetched.

Every Auto class comes through here, and with them the command lines, the pipeline and the harness.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ecg_hub.catalog as catalog
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.names import Resolved, locate, model_folder, network_forbidden


def find_weights(
    name: str | os.PathLike[str],
    *,
    wants_head: bool = False,
    input_only: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
    local_files_only: bool | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    **_others: Any,
) -> Resolved:
    """Find what a name stands for, and fetch the published weights of a short name that are not here.

    The keywords after the first two are those of `from_pretrained`. `wants_head` says that a trained head is asked
    for, which few published files have, `input_only` that the weights themselves are not: nothing is fetched in vain.
    """
    root = None if cache_dir is None else Path(cache_dir).expanduser()
    resolved = locate(name, root, local_files_only=local_files_only)
    if resolved.kind != "published" and not _is_cached(resolved, root):
        return resolved
    entry = catalog.get(str(resolved.alias))
    if entry.weights.kind == "none":
        return resolved  # what the user trained under that name
    _check_revision(entry, revision)
    if input_only or (resolved.kind == "folder" and not force_download):
        return resolved
    if resolved.kind == "published":
        _check_may_be_fetched(entry, resolved.missing, wants_head, local_files_only)
    else:
        _check_may_be_replaced(entry, model_folder(entry.alias, root), local_files_only)
    # Here, because most calls fetch nothing: its clients of the hosts need not be imported.
    from ecg_hub.weights.pull import pull

    summary = pull(entry.alias, overwrite=force_download, wait=True, cache_dir=root, token=token)
    return replace(resolved, kind="folder", target=str(summary.output.resolve()), missing="")


def look_up(name: str | os.PathLike[str]) -> Resolved:
    """Do what `find_weights` does up to the download: of kind "published" is what it would fetch.

    Raises:
        CheckpointError: weights that nobody may fetch by program, or not now; names the commands that get them.
        UnknownNameError, InputError: as `ecg_hub.names.resolve`.

    Example:
        >>> look_up("st-mem")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.CheckpointError: The weights of 'st-mem' are not in ...
    """
    resolved = locate(name)
    if resolved.kind == "published":
        _check_may_be_fetched(catalog.get(resolved.target), resolved.missing, wants_head=False, local_files_only=None)
    return resolved


def _is_cached(resolved: Resolved, root: Path | None) -> bool:
    """Whether a short name was found where pulled models lie, rather than in a folder of that name."""
    if resolved.kind != "folder" or resolved.alias is None:
        return False
    return Path(resolved.target) in {model_folder(resolved.alias, place).resolve() for place in (root, None)}


def _check_revision(entry: catalog.ModelEntry, revision: str | None) -> None:
    if revision not in (None, "main"):
        raise InputError(
            f"revision={revision!r} of {entry.alias!r}: a short name stands for one file of the authors and has no "
            "other versions. Leave revision out, or give the hub id of a repository that has it."
        )


def _check_may_be_fetched(
    entry: catalog.ModelEntry, missing: str, wants_head: bool, local_files_only: bool | None
) -> None:
    """Refuse a download that cannot work, is forbidden, or would bring nothing."""
    if wants_head and not entry.keeps_head:
        what = "an encoder without a head" if entry.head is None else "converted without the head of its authors"
        get = "`ecg-hub pull {}`" if entry.weights.can_be_fetched else "`ecg-hub convert {} --checkpoint FILE`"
        raise CheckpointError(
            f"The published {entry.title} ({get.format(entry.alias)}) is {what}, so it is not "
            "fetched for this: load the folder of a model that `ecg-eval --save-model` trained, pass new_head=True to "
            "train one yourself, or load the encoder with AutoModel."
        )
    if not entry.weights.can_be_fetched:
        raise CheckpointError(f"{missing} No program may follow the links of its authors' page.\n{entry.ways}")
    forbidden = network_forbidden(local_files_only)
    if forbidden:
        remedy = "undo that, and the same call fetches them"
        raise CheckpointError(f"{missing} They are not fetched while {forbidden}: {remedy}.\n{entry.ways}")


def _check_may_be_replaced(entry: catalog.ModelEntry, folder: Path, local_files_only: bool | None) -> None:
    """Refuse to replace what may be the user's own weights."""
    forbidden = network_forbidden(local_files_only)
    if forbidden:
        raise CheckpointError(f"force_download: nothing is fetched while {forbidden}.")
    config, content = folder / "config.json", {}
    if not config.is_file():
        return
    with suppress(ValueError, RecursionError):  # a damaged file says nothing
        content = json.loads(config.read_text(encoding="utf-8"))
    converted = (content.get("conversion") or {}).get("model") == entry.alias
    if not converted or content.get("training") or content.get("pretraining"):
        raise InputError(
            f"force_download would replace {folder}, whose config.json does not say that it holds the published "
            f"{entry.title}: it may be your own. Move it away, or run `ecg-hub pull {entry.alias} --overwrite`."
        )
