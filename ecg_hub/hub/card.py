"""The card of a model folder: the model's finished card, and where the weights in the folder come from.

The finished cards lie in `model_cards/<alias>.md`; `python -m model_cards` makes them.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from ecg_hub.catalog import ModelEntry
from ecg_hub.errors import EcgHubError


def model_card(entry: ModelEntry, config: Any = None) -> str:
    """Return the card of a model as Markdown with YAML front matter.

    Args:
        entry: its catalogue entry.
        config: configuration of a converted model; its `source` says which file the weights come from.

    Raises:
        EcgHubError: the model has no card.
    """
    path = files("model_cards") / f"{entry.alias}.md"
    if not path.is_file():
        raise EcgHubError(
            f"{entry.alias!r} has no card: write model_cards/parts/{entry.alias}.md and run `python -m model_cards`."
        )
    card = path.read_text(encoding="utf-8")
    source = getattr(config, "source", None)
    return f"{card}\n{_provenance(source)}\n" if source else card


def _provenance(source: dict[str, Any]) -> str:
    lines = [
        "## These weights",
        "",
        f"- Converted from `{source['file']}` ({source['size']:,} bytes)",
        f"- sha256 of that file: `{source['sha256']}`",
    ]
    if "member" in source:
        lines.append(f"- Checkpoint inside it: `{source['member']}`")
    if "page" in source:
        lines.append(f"- Published at {source['page']}")
    return "\n".join(lines)
