"""The table of all checkpoints in docs/models.md, and their counts."""

from __future__ import annotations

from pathlib import Path

import ecg_hub.packages as packages
from ecg_hub import catalog
from ecg_hub.catalog import ModelEntry
from ecg_hub.errors import EcgHubError
from model_cards.card import table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- checkpoints: python docs/pages.py -->\n", "<!-- end of checkpoints -->"
_HEADS = (
    "short name",
    "model",
    "parameters",
    "input",
    "width",
    "trained on",
    "head",
    "licence of the weights",
    "proof",
)


def checkpoint_table() -> str:
    """Return all checkpoints of this package as a Markdown table, by architecture."""
    rows = [
        row(entry)
        for architecture in catalog.models()
        for entry in catalog.checkpoints_of(architecture)
        if entry.package == packages.OWN
    ]
    return table(_HEADS, rows)


def counts() -> dict[str, int]:
    """Return the numbers of architectures, of published checkpoints, and of those with a golden case of their own.

    The others share the golden case of their network, which proves names, shapes and code.
    """
    entries = catalog.built_in().values()
    published = [entry for entry in entries if entry.weights.file is not None]
    return {
        "architectures": sum(entry.is_default for entry in entries),
        "checkpoints": len(published),
        "proved": len({entry.proof for entry in published}),
    }


def row(entry: ModelEntry) -> tuple[str, ...]:
    """Return the row of one checkpoint; what its authors or we could not settle shows as a question mark."""
    name = f"`{entry.alias}`" if entry.is_default else f"- `{entry.alias}`"
    weights = f"[{entry.title}]({entry.weights.page})" if entry.weights.page else entry.title
    doubt = " (?)" if entry.note else ""
    tuned = f"; fine-tuned: {', '.join(entry.finetuning_corpora)}" if entry.finetuning_corpora else ""
    trained = (", ".join(entry.pretraining_corpora) or "nothing") + tuned
    head = "" if entry.head is None else str(entry.head.num_labels)
    size = f"{entry.parameters / 1e6:.1f} M"
    licence = entry.licence.name
    return (name, weights + doubt, size, str(entry.input), str(entry.dim), trained, head, licence, f"`{entry.proof}`")


def with_table(page: str) -> str:
    """Return the page with the table between its two marks written anew."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise EcgHubError(f"{PAGE} lacks the lines {BEGIN.strip()!r} and {END!r}, between which the table stands.")
    return f"{before}{begin}\n{checkpoint_table()}\n\n{end}{after}"
