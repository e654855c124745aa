"""What the cards say beyond the catalogue: pre-training data, measured numbers, hand-written parts; all of it data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ecg_hub.errors import EcgHubError

FOLDER = Path(__file__).resolve().parent
MEASURED = FOLDER / "measured.yaml"
REQUIRED_SECTIONS = ("What it is", "What differs from the published code", "Limits", "Citation")
OPTIONAL_SECTIONS = ("Known problems", "How it was checked")


@dataclass(frozen=True)
class Corpus:
    """One pre-training corpus.

    Attributes:
        name: its id in `pretraining_corpora` and in contamination.yaml.
        title: as people write it.
        records: recordings of the whole corpus, or None if unknown.
        approximate: whether `records` is a round number.
        note: patients, origin, what it holds.
        page: where it is described.
    """

    name: str
    title: str
    records: int | None
    note: str
    page: str
    approximate: bool = False


@dataclass(frozen=True)
class Pretraining:
    """What one model saw.

    Attributes:
        recordings: how many, or None if its authors' public texts do not tell us.
        text: the same in words.
        approximate: whether `recordings` is a round number.
    """

    recordings: int | None
    text: str
    approximate: bool = False


@dataclass(frozen=True)
class Bound:
    """How far an output may be from the published one, and the size (root mean square) of that output."""

    at_most: float
    rms: float

    @property
    def tolerance(self) -> float:
        """What the test of parity allows: 1e-4, or 1e-4 of the size of large features."""
        return 1e-4 * max(1.0, self.rms)


@dataclass(frozen=True)
class Measured:
    """Measured numbers of one model.

    Attributes:
        parity: bounds of "pooled" and "tokens".
        macs: multiply-accumulates of one window, by preset.
        tokens: tokens of one window, by preset.
    """

    parity: dict[str, Bound]
    macs: dict[str, int]
    tokens: dict[str, int]


@cache
def corpora() -> dict[str, Corpus]:
    """Return the known pre-training corpora by id."""
    return {name: Corpus(name, **fields) for name, fields in _read("pretraining.yaml")["corpora"].items()}


@cache
def pretraining() -> dict[str, Pretraining]:
    """Return what each pre-trained model saw, by alias."""
    return {alias: Pretraining(**fields) for alias, fields in _read("pretraining.yaml")["models"].items()}


@cache
def measured() -> dict[str, Measured]:
    """Return the measured numbers by alias."""
    numbers = {}
    for alias, fields in _read(MEASURED.name).items():
        parity = {name: Bound(**bound) for name, bound in fields["parity"].items()}
        numbers[alias] = Measured(parity, fields["macs"], fields["tokens"])
    return numbers


def hand_written(path: Path) -> dict[str, str]:
    """Return the hand-written sections of a card, title -> text.

    Args:
        path: `card_part.md` in the folder of the model.

    Raises:
        EcgHubError: there is no such file, or a section is missing, unknown, empty or given twice.
    """
    if not path.is_file():
        raise EcgHubError(f"Write {path.parent.name}/{path.name} with the sections {', '.join(REQUIRED_SECTIONS)}.")
    head, *rest = re.split(r"^## (.+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    titles, texts = rest[::2], [text.strip() for text in rest[1::2]]
    sections = dict(zip(titles, texts, strict=True))
    wrong = [title for title in titles if title not in (*REQUIRED_SECTIONS, *OPTIONAL_SECTIONS)]
    missing = [title for title in REQUIRED_SECTIONS if not sections.get(title)]
    if head.strip() or wrong or missing or len(sections) < len(titles):
        raise EcgHubError(
            f"{path.parent.name}/{path.name} needs the sections {', '.join(REQUIRED_SECTIONS)}, may have "
            f"{', '.join(OPTIONAL_SECTIONS)}, each once, and nothing else; it has {', '.join(titles)}."
        )
    return sections


def _read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
