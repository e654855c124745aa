"""The card of a further checkpoint: what is its own, and where the card of its architecture says the rest."""

from __future__ import annotations

from ecg_hub import catalog
from ecg_hub.catalog import ModelEntry
from ecg_hub.hub import card_parts
from ecg_hub.spelling import looked_up
from model_cards.card import (
    assembled,
    corpora,
    getting,
    head_section,
    input_section,
    licence_section,
    overlap,
    records,
    table,
)


def checkpoint_card(entry: ModelEntry) -> str:
    """Return the card of a further checkpoint as Markdown with YAML front matter."""
    sections = [
        ("What it is", _overview(entry)),
        ("What is not certain", entry.note or ""),
        ("Use", f"{getting(entry)}\n\n{card_parts.encoder_code(entry.alias)}"),
        ("Input", input_section(entry)),
        ("Training data", _training_data(entry)),
        ("Head of the authors", head_section(entry)),
        ("How it was checked", _check(entry)),
        ("Limits", "Research software, not a medical device: nothing here is validated for diagnosis or care."),
        ("Licence", licence_section(entry)),
        ("Citation", f"Cite the paper of its authors: {entry.paper}."),
    ]
    return assembled(entry, sections)


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
        ("original weights", f"`{entry.weights.file}` of {entry.weights.page}"),
    ]
    return table(("", ""), rows)


def _training_data(entry: ModelEntry) -> str:
    rows = []
    for stage, names in (("pre-training", entry.pretraining_corpora), ("fine-tuning", entry.finetuning_corpora)):
        for name in names:
            corpus = looked_up("corpus", name, corpora(), "New ones are described in model_cards/pretraining.yaml.")
            count = records(corpus.records, corpus.approximate)
            rows.append((stage, f"[{corpus.title}]({corpus.page})", count, corpus.note))
    return (
        f"{table(('', 'corpus', 'recordings in it', ''), rows)}\n\n"
        f"The data sets of the benchmark, from what the authors declare:\n\n{overlap(entry)}"
    )


def _check(entry: ModelEntry) -> str:
    text = (
        "The published implementation was run on a state dict filled by a rule, which takes no weights file. The same\n"
        "state dict, in the published names, through this converter and this model gives the same features within\n"
        f"1e-4 of their size (`tests/golden/{entry.proof}`)."
    )
    others = [other for other in catalog.checkpoints_of(entry.architecture) if other.proof == entry.proof]
    shared = ", ".join(f"`{other.alias}`" for other in others if other.alias != entry.alias)
    return f"{text} The golden case is shared with {shared}: one network, other weights." if shared else text
