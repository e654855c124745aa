"""Whether a model's declared pre-training corpora hold the dataset it is scored on: clean, seen or unknown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def corpora() -> dict[str, frozenset[str]]:
    """The benchmark datasets inside each known pre-training corpus."""
    raw = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {name: frozenset(datasets) for name, datasets in raw.items()}


def state(pretraining: Sequence[str] | None, dataset: str) -> str:
    """Say whether a dataset was part of pre-training.

    Args:
        pretraining: declared corpora; empty for a model that was not pre-trained; None when nothing is declared.
        dataset: name of the dataset that is scored.

    Returns:
        "seen" if a declared corpus holds it, "unknown" if nothing or an unlisted corpus is declared or the dataset is a
        user's own (nobody has listed which corpora hold its records), else "clean".
    """
    if pretraining is None:
        return "unknown"
    known = corpora()
    if pretraining and dataset not in frozenset[str]().union(*known.values()):
        return "unknown"
    if any(dataset in known.get(corpus.lower(), frozenset()) for corpus in pretraining):
        return "seen"
    if any(corpus.lower() not in known for corpus in pretraining):
        return "unknown"
    return "clean"


def declared(config: Any, entry: Any) -> list[str] | None:
    """The corpora that a model declares: its own configuration's, else those of its catalogue entry.

    Args:
        config: of the encoder.
        entry: catalogue entry of its type, or None for a type that is not ours.
    """
    own = own_corpora(config)
    if own is not None:
        return own
    return None if entry is None else list(entry.pretraining_corpora)


def own_corpora(config: Any) -> list[str] | None:
    """The corpora that a model's own configuration declares, or None.

    Args:
        config: of the encoder; `pretraining` holds what `ecg-hub pretrain` wrote.
    """
    own = getattr(config, "pretraining", None)
    return None if own is None else list(own["corpora"])
