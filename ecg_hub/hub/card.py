"""Model cards: generated from the catalogue, with the hand-written part in `model_cards/<alias>.md` at the end."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml

from ecg_hub.catalog import ModelEntry


def model_card(entry: ModelEntry, config: Any = None) -> str:
    """Return the card of a model as Markdown with YAML front matter.

    Args:
        entry: its catalogue entry.
        config: configuration of the converted model, for the source of its weights.
    """
    front = yaml.safe_dump(_front_matter(entry), sort_keys=False, allow_unicode=True, width=120)
    sections = [_usage(entry), _input(entry), _origin(entry, config), hand_written(entry.alias)]
    body = "\n\n".join(section.strip() for section in sections if section)
    return f"---\n{front}---\n\n# {entry.title}\n\n{entry.summary}\n\n{body}\n"


def hand_written(alias: str) -> str:
    """Return the hand-written part of a card, or an empty string if there is none.

    Args:
        alias: short name of the model.
    """
    part = files("model_cards") / f"{alias}.md"
    return part.read_text(encoding="utf-8") if part.is_file() else ""


def _front_matter(entry: ModelEntry) -> dict[str, Any]:
    licence: dict[str, Any] = {"license": (entry.licence.spdx or "other").lower()}
    if entry.licence.spdx is None:
        licence["license_name"] = entry.licence.name
    return {
        **licence,
        "library_name": "transformers",
        "model_name": entry.title,
        "tags": ["ecg", "electrocardiography", "feature-extraction", entry.model_type],
        "datasets": list(entry.pretraining_corpora),
    }


def _usage(entry: ModelEntry) -> str:
    leads, samples = len(entry.input.leads), round(entry.input.seconds * entry.input.sampling_rate)
    return f"""
## Use

```python
import ecg_hub  # first: makes the model known to transformers

model = ecg_hub.AutoModel.from_pretrained("{entry.alias}")
extractor = ecg_hub.AutoFeatureExtractor.from_pretrained("{entry.alias}")

# signal: (leads, samples) in millivolt
inputs = extractor(signal, sampling_rate=500, lead_names=names, window="all", return_tensors="pt")
features = model(**inputs).pooler_output  # (windows, {entry.dim})
```

`input_values` are (windows, {leads}, {samples}). Without the package, transformers says that it does not recognise the
architecture `{entry.model_type}`: install ecg-hub and import it first.
"""


def _input(entry: ModelEntry) -> str:
    rows = [
        f"| {name} | {preset['sampling_rate']} Hz | {preset['input_seconds']} s | {', '.join(preset['lead_names'])} | "
        f"{', '.join(step['name'] for step in preset.get('steps', ())) or 'none'} |"
        for name, preset in entry.presets.items()
    ]
    return "\n".join(
        [
            "## Input",
            "",
            f"Unit: {entry.input.unit}. The preset `benchmark` is what the benchmark of arXiv 2509.25095 fed, `native` "
            "what the authors' pre-training fed.",
            "",
            "| preset | sampling rate | window | leads | preparation |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def _origin(entry: ModelEntry, config: Any) -> str:
    lines = [
        "## Origin",
        "",
        f"- Paper: {entry.paper}",
        f"- Original code: {entry.repository}",
        f"- Encoder: {entry.parameters:,} parameters, features of width {entry.dim}",
        f"- Pre-trained on: {', '.join(entry.pretraining_corpora) or 'nothing'}",
        f"- Licence of the weights: {entry.licence.name}",
    ]
    if entry.licence.note:
        lines.append(f"- Note: {entry.licence.note}")
    if entry.weights.page:
        lines.append(f"- Original weights: {entry.weights.page}")
    source = getattr(config, "source", None)
    if source:
        lines.append(f"- Converted from `{source['file']}` ({source['size']:,} bytes, sha256 `{source['sha256']}`)")
    return "\n".join(lines)
