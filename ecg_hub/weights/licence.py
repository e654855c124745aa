"""Whether the weights in a folder may be passed on. Imports nothing heavy.

The rule goes by where weights come from. `config.source` names the authors' file that they were converted from, and
training keeps the entry, so that a fine-tuned model is known to descend from that file; weights without it were trained
from random ones and belong to whoever trained them. What descends from a file whose licence forbids redistribution
(`licence.redistribution: false` in model.yaml) goes to no public hub. To a self-hosted hub it goes only on the word of
the person who sends it (`internal`), into a private repository, with the licence in its card: whether colleagues at one
institution are third parties is for the licence and that person to say, not for a program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecg_hub import catalog
from ecg_hub.errors import InputError
from ecg_hub.names import endpoint, is_public_hub

INTERNAL_HINT = (
    "If the terms let you keep a copy for colleagues at your institution, --internal makes one: in a private "
    "repository of your own hub, with the licence in its card."
)


def source_of(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return which file of the authors the weights of a config.json descend from, or None."""
    source = config.get("source")
    return source if isinstance(source, dict) and source else None


def random_name(config: Mapping[str, Any]) -> str | None:
    """Return what the weights of a config.json were drawn as if they are random and nothing else is said of them."""
    drawn = config.get("random_weights")
    if drawn is None or source_of(config) is not None or config.get("pretraining") or config.get("training"):
        return None
    return str(drawn.get("name") or f"random weights of {config.get('model_type')}")


def kept_back(config: Mapping[str, Any]) -> str | None:
    """Return why the weights that go with a config.json may not be passed on, or None if they may."""
    entry = catalog.by_model_type(str(config.get("model_type")))
    source = source_of(config)
    if entry is None or source is None or entry.licence.redistribution:
        return None
    file = source.get("file", "the authors' file")
    return (
        f"These weights descend from {file} of {entry.title}, which may not be passed on. Licence: "
        f"{entry.licence.name}. {entry.licence.note or ''}".strip()
    )


def folder_kept_back(folder: Path) -> str | None:
    """Return why the weights in a folder may not be passed on, or None; a folder that is no model of ours may."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # RecursionError: JSON that is nested thousands of levels deep, which no model folder holds.
    except (OSError, ValueError, RecursionError):
        return None
    return kept_back(config) if isinstance(config, dict) else None


def check_may_leave(config: Mapping[str, Any], *, internal: bool, to_hub: bool = True) -> None:
    """Refuse what the licence withholds."""
    if internal and to_hub and is_public_hub():
        raise InputError(
            f"--internal is for a hub of your own, and {endpoint()} is the public one. Set HF_ENDPOINT to yours."
        )
    reason = kept_back(config)
    if reason is None or internal:
        return
    inside = "" if to_hub and is_public_hub() else f"\n{INTERNAL_HINT}"
    raise InputError(f"{reason}\n{instead(config)}{inside}")


def instead(config: Mapping[str, Any]) -> str:
    """Return how each user gets weights that are withheld."""
    entry = catalog.by_model_type(str(config.get("model_type")))
    assert entry is not None
    pulled = entry.weights.kind in ("figshare", "hf", "zenodo")
    command = f"ecg-hub pull {entry.alias}" if pulled else f"ecg-hub convert {entry.alias} --checkpoint FILE"
    return f"Instead, each user gets the file from {entry.weights.page} and runs\n  {command}"
