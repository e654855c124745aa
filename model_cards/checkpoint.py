"""The card of a further checkpoint: what is its own, and where the card of its architecture says the rest."""

from __future__ import annotations

import re
from pathlib import Path

from ecg_hub import catalog
from ecg_hub.catalog import ModelEntry
from ecg_hub.hub import card_parts
from model_cards.card import (
    assembled,
    corpus_of,
    getting,
    head_section,
    input_section,
    licence_section,
    overlap,
    records,
    table,
)

PART = "card_part.md"
"""Beside weights that come with the package: sections of their card that no field says."""
NO_DEVICE = "Research software, not a medical device: nothing here is validated for diagnosis or care."


def checkpoint_card(entry: ModelEntry) -> str:
    """Return the card of a further checkpoint as Markdown with YAML front matter."""
    own = {} if entry.embedded is None else _hand_written(entry.embedded / PART)
    limits = own.pop("Limits", "")
    sections = [
        ("What it is", _overview(entry)),
        ("What is not certain", entry.note or ""),
        ("Use", f"{getting(entry)}\n\n{card_parts.encoder_code(entry.alias)}"),
        ("Input", input_section(entry)),
        ("Training data", _training_data(entry)),
        ("Head of the authors", head_section(entry)),
        *own.items(),
        ("How it was checked", _check(entry)),
        ("Limits", f"{NO_DEVICE} {limits}"),
        ("Licence", licence_section(entry)),
        ("Citation", f"Cite the paper of its authors: {entry.paper}."),
    ]
    return assembled(entry, sections)


def _hand_written(path: Path) -> dict[str, str]:
    _, *rest = re.split(r"^## (.+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {title: text.strip() for title, text in zip(rest[::2], rest[1::2], strict=True)}


def _weights(entry: ModelEntry) -> tuple[str, str]:
    """The row of the overview that says where the weights are."""
    if entry.embedded is None:
        return "original weights", f"`{entry.weights.file}` of {entry.weights.page}"
    size = (entry.embedded / "model.safetensors").stat().st_size
    return "weights", f"in the package, float32, {size / 1e6:.2f} MB"


def _overview(entry: ModelEntry) -> str:
    architecture = catalog.get(entry.architecture)
    differs = ", ".join(f"`{name}` {value}" for name, value in entry.config.items())
    rows = [
        ("architecture", f"{architecture.title} (`{architecture.alias}`), described in its card"),
        ("encoder", f"{entry.parameters:,} parameters"),
        ("output", f"tokens and a pooled vector of width {entry.dim}"),
        ("differs from the architecture's own", differs or "the weights alone"),
        ("paper", entry.paper),
        ("original code", entry.repository),
        _weights(entry),
    ]
    return table(("", ""), rows)


def _training_data(entry: ModelEntry) -> str:
    rows = []
    for stage, names in (("pre-training", entry.pretraining_corpora), ("fine-tuning", entry.finetuning_corpora)):
        for name in names:
            corpus = corpus_of(name)
            count = records(corpus.records, corpus.approximate)
            rows.append((stage, f"[{corpus.title}]({corpus.page})", count, corpus.note))
    return (
        f"{table(('', 'corpus', 'recordings in it', ''), rows)}\n\n"
        f"The data sets of the benchmark, from what the authors declare:\n\n{overlap(entry)}"
    )


def _check(entry: ModelEntry) -> str:
    if entry.embedded:
        return f"Features of three simulated records are kept and compared by the tests (`tests/golden/{entry.proof}`)."
    text = (
        "The published implementation was run on a state dict filled by a rule, which takes no weights file. The same\n"
        "state dict, in the published names, through this converter and this model gives the same features within\n"
        f"1e-4 of their size (`tests/golden/{entry.proof}`)."
    )
    others = [other for other in catalog.checkpoints_of(entry.architecture) if other.proof == entry.proof]
    shared = ", ".join(f"`{other.alias}`" for other in others if other.alias != entry.alias)
    return f"{text} The golden case is shared with {shared}: one network, other weights." if shared else text
