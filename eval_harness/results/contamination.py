"""Whether a model's declared pre-training corpora hold the dataset that it is scored on, in one word of `State`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

State = Literal["clean", "seen-train", "seen", "unknown"]


@dataclass(frozen=True)
class Contents:
    """The benchmark datasets in a corpus.

    Attributes:
        holds: that are in it.
        may_hold: that share an origin with it, where nobody has listed the records.
    """

    holds: frozenset[str] = frozenset()
    may_hold: frozenset[str] = frozenset()


@cache
def corpora() -> dict[str, Contents]:
    """The benchmark datasets inside each known pre-training corpus."""
    raw = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {name: _contents(fields if isinstance(fields, dict) else {"holds": fields}) for name, fields in raw.items()}


def known_datasets() -> frozenset[str]:
    """The datasets that the corpora are listed for."""
    return frozenset().union(*(contents.holds for contents in corpora().values()))


def state(
    pretraining: Sequence[str] | None,
    dataset: str,
    train_only: Mapping[str, str] | None = None,
    fingerprint: str | None = None,
) -> State:
    """Say whether a dataset was part of pre-training."""
    # A user's own dataset: nobody has listed which corpora hold its records.
    if pretraining is None or (pretraining and dataset not in known_datasets()):
        return "unknown"
    # Written by people into configurations: MIMIC-IV-ECG and mimic-iv-ecg are one corpus.
    names = [corpus.lower() for corpus in pretraining]
    listed = [corpora()[name] for name in names if name in corpora()]
    # A corpus that is not listed may hold anything, so "clean" takes all of them to be known.
    unsure = len(listed) < len(names) or any(dataset in contents.may_hold for contents in listed)
    holding = [name for name in names if name in corpora() and dataset in corpora()[name].holds]
    if not holding:
        return "unknown" if unsure else "clean"
    # Only by the same splits: with other folds a training record of theirs may be a test record here.
    same = fingerprint is not None and (train_only or {}).get(dataset) == fingerprint
    return "seen-train" if same and not unsure and set(holding) == {dataset} else "seen"


def declared(config: Any, entry: Any) -> list[str] | None:
    """The corpora that a model declares: its own configuration's, else those of its catalogue entry."""
    own = config_corpora(config)
    if own is not None:
        return own
    return None if entry is None else list(entry.corpora)


def config_corpora(config: Any) -> list[str] | None:
    """The corpora that a model's own configuration declares, or None."""
    own = getattr(config, "pretraining", None)
    return None if own is None else list(own["corpora"])


def config_train_only(config: Any) -> dict[str, str] | None:
    """The corpora of which a model's own configuration says that only training records were read, or None."""
    own = getattr(config, "pretraining", None) or {}
    # Fine-tuned on later: validation records have then chosen the epoch, so more than training records were read.
    later = {step["dataset"] for step in getattr(config, "training", None) or ()}
    return {name: digest for name, digest in (own.get("train_only") or {}).items() if name not in later} or None


def _contents(fields: Mapping[str, Sequence[str]]) -> Contents:
    return Contents(**{name: frozenset(datasets) for name, datasets in fields.items()})
