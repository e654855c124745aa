"""The card of a model that is pushed: its own where it has one, else one that says what these weights are.

The finished cards (`ecg_hub/models/<name>/card.md`) describe the authors' weights, with their scores; they would be
wrong for weights that were trained further, from scratch, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ecg_hub.catalog import ModelEntry
from ecg_hub.errors import InputError
from ecg_hub.utils.yaml import CardError, metadata, split_card
from ecg_hub.weights.conversion import model_card
from ecg_hub.weights.licence import source_of

INTERNAL = "## Internal copy"
_SHOWN_LABELS = 100
_RANDOM = "Random:"


def published_card(
    entry: ModelEntry, config: Mapping[str, Any], *, facts: str, random: str | None, internal: bool, own: str | None
) -> str:
    """Return the card as Markdown with YAML front matter."""
    card = own or _made(entry, config, facts, random)
    source = source_of(config)
    if random and _RANDOM not in card:
        card = f"{card.rstrip()}\n\n## Origin\n\n{_origin(config, random)}\n"
    if source is not None and str(source.get("sha256")) not in card:
        card = f"{card.rstrip()}\n\n## Origin\n\n{_origin(config, random)}\n"
    if internal and INTERNAL not in card:
        card = f"{card.rstrip()}\n\n{_internal(entry)}\n"
    return card


def keep_scores(new: bytes, old: bytes) -> bytes:
    """Return a card with the model-index of the card that it replaces: scores of the same weights."""
    try:
        ours, theirs = metadata(new.decode()), metadata(old.decode())
    except (UnicodeDecodeError, CardError) as error:
        raise InputError(f"README.md here or in the repository has a front matter that cannot be read: {error}") from (
            error
        )
    if "model-index" in ours or "model-index" not in theirs:
        return new
    ours["model-index"] = theirs["model-index"]
    text, old_text = (split_card(card.decode())[1] for card in (new, old))
    if ours == theirs and text.strip() == old_text.strip():
        return old
    return f"---\n{_dump(ours)}---\n{text}".encode()


def _made(entry: ModelEntry, config: Mapping[str, Any], facts: str, random: str | None) -> str:
    classifier = _is_classifier(entry, config)
    what = "classifier" if classifier else "encoder"
    title = f"{entry.title}, {'random weights' if random else what}"
    return f"""---
{_dump(_front(entry, config, title, random))}---

# {title}

{entry.summary}

Paper of the architecture: {entry.paper}. Code of its authors: {entry.repository}.

## These weights

{_origin(config, random)}

{facts[:1].upper()}{facts[1:]}.{f" {_outputs(config)}" if classifier else ""}

## Use

```python
from ecg_hub import AutoFeatureExtractor, {"AutoModelForECGClassification" if classifier else "AutoModel"}
```

`from_pretrained` with this repository's name loads the model and its feature extractor; plain transformers does after
`import ecg_hub`. Input: {len(config["lead_names"])} leads ({", ".join(config["lead_names"])}), \
{config["input_seconds"]:g} s at {config["sampling_rate"]:g} Hz, {config.get("unit", "mV")}; the feature extractor
brings records into that form.

## Licence

{_licence(entry, config, random)}

## Limits

Research software, not a medical device: nothing here is validated for diagnosis or care.
"""


def _front(entry: ModelEntry, config: Mapping[str, Any], title: str, random: str | None) -> dict[str, Any]:
    licence: dict[str, Any] = {"license": "unknown"}
    if source_of(config) is not None:
        whole = metadata(model_card(entry))
        licence = {key: whole[key] for key in ("license", "license_name", "license_link") if key in whole}
    kind = ["random-weights"] if random else ["ecg-classification"] if _is_classifier(entry, config) else []
    tags = ["ecg", "electrocardiography", "ecg-hub", entry.model_type, *kind]
    return {**licence, "library_name": "transformers", "model_name": title, "tags": tags}


def _origin(config: Mapping[str, Any], random: str | None) -> str:
    if random:
        seed = (config.get("random_weights") or {}).get("seed", 0)
        return (
            f"{_RANDOM} drawn with seed {seed} as `{random}`. Nothing was ever trained. They are a baseline and serve "
            "to try things out."
        )
    source = source_of(config)
    if source is None:
        return "Trained from random weights: `config.json` names no file of the authors that they descend from."
    return (
        f"They descend from the authors' file `{source.get('file')}` ({source.get('size', 0):,} bytes, sha256 "
        f"`{source.get('sha256')}`{', ' + source['page'] if 'page' in source else ''}). What was done to them since is "
        "not recorded here; scores that the authors published do not hold for them."
    )


def _outputs(config: Mapping[str, Any]) -> str:
    labels = [str(label) for label in (config.get("id2label") or {}).values()]
    shown = ", ".join(labels[:_SHOWN_LABELS]) + (" ..." if len(labels) > _SHOWN_LABELS else "")
    thresholds = "" if config.get("thresholds") is None else " Decision thresholds from validation lie in config.json."
    if not labels:
        return f"Its outputs have no names ({config.get('problem_type')}).{thresholds}"
    return f"Outputs ({config.get('problem_type')}): {shown}.{thresholds}"


def _licence(entry: ModelEntry, config: Mapping[str, Any], random: str | None) -> str:
    if random:
        return "The authors' licence is about weights that are not in here."
    if source_of(config) is None:
        return "Whoever trained them states the terms here; mind the terms of the data that they were trained on."
    return (
        f"That of the weights they descend from: {entry.licence.name}. {entry.licence.note or ''} Mind the terms of "
        "the data that they were trained on."
    )


def _internal(entry: ModelEntry) -> str:
    return (
        f"{INTERNAL}\n\nNot to be passed on. Licence of the authors' weights: {entry.licence.name}. "
        f"{entry.licence.note or ''} This repository is private; who pushed it with `--internal` has said that the "
        "terms let this institution keep it."
    )


def _is_classifier(entry: ModelEntry, config: Mapping[str, Any]) -> bool:
    return entry.class_names[2] in (config.get("architectures") or ())


def _dump(data: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=120))
