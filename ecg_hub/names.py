"""From what a user types to what can be loaded: folders, short names, hub ids, random models. Imports nothing heavy."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import ecg_hub.catalog as catalog
from ecg_hub.errors import CheckpointError, InputError, UnknownNameError, unknown_name
from ecg_hub.home import home
from ecg_hub.spelling import registered, spelt

PUBLIC_HUB = "https://huggingface.co"
UNVERIFIED = "unverified:"
"""In front of a short name: whatever weights are found there, and not the checkpoint that the name stands for."""
_RANDOM, _TINY = "random:", "-tiny"
_FOUND, _SILENT = "holds them", "did not answer"
OFFLINE = "ECG_HUB_OFFLINE"
"""Set to 1, it forbids the network to models, as HF_HUB_OFFLINE does."""
_YES = ("1", "ON", "YES", "TRUE")


@dataclass(frozen=True)
class Resolved:
    """What a name stands for.

    Attributes:
        name: what the user wrote.
        kind: "folder", "hub", "random", "scratch" (a registered architecture that has no published weights), or
            "published" (one whose published weights are not here; `resolve` refuses it).
        target: absolute folder, hub id, or alias of the architecture.
        alias: short name, if the name is one.
        tiny: whether the small configuration for tests is meant.
        missing: of kind "published", a sentence: where the weights were looked for.
    """

    name: str
    kind: Literal["folder", "hub", "random", "scratch", "published"]
    target: str
    alias: str | None = None
    tiny: bool = False
    missing: str = field(default="", repr=False)

    def commit(self, revision: str | None = None) -> str | None:
        """Return the commit that a hub id stands for now, or None if it is not on a hub or the hub does not answer."""
        if self.kind != "hub":
            return None
        from transformers.utils.hub import resolve_revision

        commit = getattr(resolve_revision(self.target, revision), "resolved", None)
        return None if commit is None else str(commit)


def model_folder(alias: str, root: Path | None = None) -> Path:
    """Return where `ecg-hub convert` and `ecg-hub pull` put a model; `root` stands in for $ECG_HUB_HOME."""
    return (root or home()) / "models" / alias


def endpoint() -> str:
    """Return the address of the hub in use, $HF_ENDPOINT or the public one, without a closing slash."""
    return (os.environ.get("HF_ENDPOINT") or PUBLIC_HUB).rstrip("/")


def is_public_hub() -> bool:
    """Return whether the hub in use is the public one, however its address is written."""
    host = (urlsplit(endpoint()).hostname or "").rstrip(".")
    return host in ("huggingface.co", "hf.co") or host.endswith((".huggingface.co", ".hf.co"))


def network_forbidden(local_files_only: bool | None = None) -> str:
    """Return what forbids the network, such as "HF_HUB_OFFLINE is set"; an empty string if nothing does."""
    from huggingface_hub.constants import is_offline_mode

    if local_files_only:
        return "local_files_only is True"
    if os.environ.get(OFFLINE, "").upper() in _YES:
        return f"{OFFLINE} is set"
    # Its constant, which the clients of the hub go by: they read the environment once.
    variables = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    named = next((name for name in variables if os.environ.get(name, "").upper() in _YES), variables[0])
    return f"{named} is set" if is_offline_mode() else ""


def disable_xet() -> None:
    """Switch the Xet transfer off for a self-hosted hub, which cannot negotiate it (huggingface_hub issue 4786)."""
    if is_public_hub():
        return
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    # The environment is read once, at the import of huggingface_hub; if that was earlier, the constant is what counts.
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None and os.environ["HF_HUB_DISABLE_XET"] == "1":
        constants.HF_HUB_DISABLE_XET = True  # type: ignore[attr-defined]


def resolve(name: str | os.PathLike[str]) -> Resolved:
    """Find what a name stands for; nothing is fetched.

    In this order: `random:<alias>` and `random:<alias>-tiny`; a folder that holds a config.json; for a short name,
    $ECG_HUB_HOME/models/<alias>, then what comes with the package, then the hub at $HF_ENDPOINT if it is not the public
    one (where one-part names cannot be registered); anything of the form ORG/NAME is taken for a hub id. `unverified:`
    before a short name finds the same, and says that it need not be the catalogue's checkpoint.

    Args:
        name: folder, short name, hub id, or `random:` and a short name.

    Raises:
        UnknownNameError: neither a folder nor a known name.
        CheckpointError: a known model whose weights are not there, or the authors' own files of one; names the
            commands that get them.
        InputError: a folder without config.json.

    Example:
        >>> resolve("random:ecg-cpc-tiny")
        Resolved(name='random:ecg-cpc-tiny', kind='random', target='ecg-cpc', alias='ecg-cpc', tiny=True)
        >>> resolve("some-group/their-model").kind  # not looked up: whatever has this form is taken for a hub id
        'hub'
        >>> resolve("ecg-fn")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.UnknownNameError: Unknown model 'ecg-fn'. ...
    """
    resolved = locate(name)
    if resolved.kind == "published":
        raise CheckpointError(f"{resolved.missing}\n{catalog.get(resolved.target).ways}")
    return resolved


def canonical(name: str | os.PathLike[str]) -> str:
    """Return a name in the spelling of the catalogue; folders, hub ids and unknown names as they are.

    Example:
        >>> canonical("ECG_CPC"), canonical("random:ecg_cpc_tiny"), canonical("ORG/ecg_cpc")
        ('ecg-cpc', 'random:ecg-cpc-tiny', 'ORG/ecg_cpc')
    """
    text = os.fspath(name)
    # A folder wins over a short name, and a path is spelled as it is.
    if text.startswith((".", "~")) or (Path(text).expanduser() / "config.json").is_file():
        return text
    prefix = UNVERIFIED if text.startswith(UNVERIFIED) else ""
    names = catalog.short_names()
    found = spelt(text.removeprefix(prefix), [*names, *_random_names()])
    if found is None:
        return text
    return prefix + (names[found].alias if found in names else found)


def entry_of(name: str) -> catalog.ModelEntry:
    """Return what the catalogue says of a short name, or of the architecture of a `random:` name.

    Args:
        name: in any spelling; a small random model may stand without `random:`, since it exists as nothing else.

    Raises:
        UnknownNameError: no such name; suggests the closest.
        InputError: random weights of a further checkpoint.

    Example:
        >>> entry_of("hubert-ecg-large").alias, entry_of("random:ecg-cpc-tiny").alias, entry_of("ecg-cpc-tiny").alias
        ('hubert-ecg-large', 'ecg-cpc', 'ecg-cpc')
    """
    text = canonical(name)
    if text not in catalog.checkpoints() and spelt(_RANDOM + text, _random_names()) is not None:
        text = _RANDOM + text
    if text.startswith(_RANDOM):
        return catalog.get(_resolve_random(text).target)
    if text not in catalog.checkpoints():
        if "/" in text:
            raise UnknownNameError(
                f"{text!r} is a hub id or a folder, and the catalogue tells of short names alone (`ecg-hub ls`). Its "
                "card is its README.md; `ecg-hub validate-model` looks at what it holds."
            )
        raise unknown_model(text)
    return catalog.get(text)


def unknown_model(name: str) -> UnknownNameError:
    """Build the error for a name that is no model's; for the small one of an architecture it proposes `random:`."""
    small = spelt(_RANDOM + name, _random_names())
    if small is not None:
        return UnknownNameError(f"Unknown model {name!r}. Did you mean {small!r}? {_FORMS}")
    return unknown_name("model", name, catalog.checkpoints(), f"{_FORMS} See `ecg-hub ls`.")


def _random_names() -> list[str]:
    forms = [form for alias in catalog.models() for form in (alias, alias + _TINY)]
    # What a package brings is of a size of its own, and its untrained twin is what it is compared with.
    embedded = [alias for alias, entry in catalog.checkpoints().items() if entry.embedded]
    return [_RANDOM + form for form in (*forms, *embedded)]


def locate(name: str | os.PathLike[str], root: Path | None = None, *, local_files_only: bool | None = None) -> Resolved:
    """Do what `resolve` does, but return published weights that are not here as what they are.

    A short name is looked up below `root` first, the `cache_dir` of `from_pretrained`, then below $ECG_HUB_HOME.
    """
    disable_xet()
    text = canonical(name)
    if text.startswith(_RANDOM):
        return _resolve_random(text)
    plain = text.removeprefix(UNVERIFIED)
    if plain in catalog.checkpoints() and text.startswith(UNVERIFIED):
        return replace(locate(plain, root, local_files_only=local_files_only), name=text)
    # A folder wins over a short name, as it does in transformers, and works without any hub.
    folder = Path(text).expanduser()
    if (folder / "config.json").is_file():
        return Resolved(text, "folder", str(folder.resolve()), text if text in catalog.checkpoints() else None)
    if text in catalog.checkpoints():
        return _locate_alias(text, root, local_files_only)
    _refuse_authors(text, folder)
    if folder.is_dir():
        raise InputError(f"Folder {text!r} holds no config.json, so it is not a model. {_files(folder)}")
    if isinstance(name, os.PathLike) or text.startswith((".", "~", os.sep)) or text.count("/") > 1:
        raise InputError(f"There is no folder {text!r}. {_FORMS}")
    if "/" in text or _ask_hub(text, root, local_files_only) == _FOUND:
        return Resolved(text, "hub", text)
    raise unknown_model(text)


def _refuse_authors(text: str, folder: Path) -> None:
    """The authors' repository, or a folder with their file, is no model folder of ours."""
    entries = [entry for entry in catalog.checkpoints().values() if entry.weights.file is not None]
    published = [entry for entry in entries if text.casefold() == str(entry.weights.repo).casefold()]
    if published and not folder.exists():
        raise CheckpointError(f"{text!r} holds the authors' files, not a model of this hub. {_how_to_get(published)}")
    there = [entry for entry in entries if (folder / str(entry.weights.file)).is_file()]
    if there:
        raise CheckpointError(
            f"Folder {text!r} holds {there[0].weights.file} of the authors and no config.json. {_how_to_get(there)}"
        )


def _how_to_get(entries: Sequence[catalog.ModelEntry]) -> str:
    """How one of several checkpoints, whose files have the same name or lie in the same repository, is had."""
    own = [entry for entry in entries if entry.is_default]
    names = ", ".join(entry.alias for entry in entries if entry not in own)
    if not names and len(own) == 1:
        return own[0].how_to_get
    if len(own) == 1 and len({entry.architecture for entry in entries}) == 1:
        return f"{own[0].how_to_get} There as well: {names}; `ecg-hub info NAME` says how each is had."
    if len(entries) == 1:
        return entries[0].how_to_get
    names = ", ".join(entry.alias for entry in entries)
    return f"It may be one of {names}: `ecg-hub info NAME` says how each is had."


def _resolve_random(text: str) -> Resolved:
    names, plain = catalog.short_names(), text.removeprefix(_RANDOM)
    alias = spelt(plain, names) or spelt(plain.removesuffix(_TINY), names)
    if alias is not None and alias not in catalog.models() and not names[alias].embedded:
        form = names[alias].architecture + _TINY * plain.endswith(_TINY)
        raise InputError(
            f"{text!r}: random weights are those of an architecture, 'random:{form}'; {alias!r} is a checkpoint of it."
        )
    wanted = registered("model", text, _random_names()).removeprefix(_RANDOM)
    alias = wanted.removesuffix(_TINY)
    return Resolved(text, "random", alias, alias, tiny=wanted.endswith(_TINY))


def _locate_alias(alias: str, root: Path | None, local_files_only: bool | None) -> Resolved:
    for folder in dict.fromkeys((model_folder(alias, root), model_folder(alias))):
        if (folder / "config.json").is_file():
            return Resolved(alias, "folder", str(folder.resolve()), alias)
    embedded = catalog.get(alias).embedded
    if embedded is not None:
        return Resolved(alias, "folder", str(embedded), alias)
    answer = _ask_hub(alias, root, local_files_only)
    if answer == _FOUND:
        # transformers would look into that folder and not ask the hub.
        if Path(alias).is_dir():
            raise InputError(f"Folder {alias!r} without config.json hides the model of that name; rename or remove it.")
        return Resolved(alias, "hub", alias, alias)
    if catalog.get(alias).weights.kind == "none":
        return Resolved(alias, "scratch", alias, alias)
    on_hub = "" if is_public_hub() else f", and the hub at {endpoint()} {answer}"
    missing = f"The weights of {alias!r} are not in {model_folder(alias, root)}{on_hub}."
    if answer.startswith(_SILENT):
        # It may hold others under that name, which would come first.
        raise CheckpointError(f"{missing}\n{catalog.get(alias).ways}")
    return Resolved(alias, "published", alias, alias, missing=missing)


def _ask_hub(repo: str, root: Path | None, local_files_only: bool | None) -> str:
    """Ask the hub in use, or its cache on this machine, for a one-part name; the answer completes "the hub ...".

    On the public hub nobody can register such a name, so it is not asked.
    """
    if is_public_hub():
        return "cannot hold a name without an organisation"
    from huggingface_hub import file_exists, try_to_load_from_cache

    # Its cache first: without a network, what was loaded once still loads. (A missing file is cached as an object.)
    if isinstance(try_to_load_from_cache(repo, "config.json", cache_dir=root), str):
        return _FOUND
    forbidden = network_forbidden(local_files_only)
    if forbidden:
        return f"is not asked while {forbidden}"
    try:
        return _FOUND if file_exists(repo, "config.json") else "does not hold them"
    except Exception as error:  # no answer, for whatever reason; it becomes part of the message
        return f"{_SILENT} ({type(error).__name__}: {error})"


def _files(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())[:5]
    return f"It holds {', '.join(names)}." if names else "It is empty."


_FORMS = "A model is named by a folder with a config.json, a short name such as 'ecg-cpc', or a hub id ORG/NAME."
