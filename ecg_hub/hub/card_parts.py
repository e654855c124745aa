"""What model cards have in common, the catalogue's and those of users' models: metadata for the Hub, code that runs.

Imports neither torch nor transformers, as the program that writes the catalogue's cards does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ecg_hub.catalog import ModelEntry

FOLDER: Final = "FOLDER"
"""What a card on disk calls its own model; `ecg-hub push` writes the repository's name there."""

TAGS: Final = ("ecg", "electrocardiography", "cardiology", "biosignals", "time-series")
ENCODES: Final = "feature-extraction"
CLASSIFIES: Final = "other"
"""The Hub takes `pipeline_tag` from its own list, which has no classification of signals."""

_HUB = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+)/?")
# The Hub refuses a card whose `datasets` are not of this form; names that it does not know become tags to search for.
_DATASET = re.compile(r"(?:[\w-]+/)?[\w.-]+")


def base_model(entry: ModelEntry) -> str | None:
    """Return the repository of the authors on the Hub, or None where their weights lie elsewhere."""
    match = _HUB.fullmatch(entry.weights.page or "")
    return entry.weights.repo or (match[1] if match else None)


def licence_fields(entry: ModelEntry) -> dict[str, str]:
    """Return the licence of the authors' weights as the Hub takes it."""
    if entry.weights.kind == "none":
        # No weights, so no licence of theirs; the Hub takes this field from its list alone.
        return {"license": "unknown"}
    if entry.licence.spdx is not None:
        # Its list has identifiers of GNU licences without the part about later versions.
        return {"license": entry.licence.spdx.lower().removesuffix("-only").removesuffix("-or-later")}
    # The Hub takes its own identifiers, or "other" with a name of lower-case letters and a link.
    name = re.sub(r"[^a-z0-9]+", "-", entry.licence.name.lower().replace("'", "")).strip("-")
    return {"license": "other", "license_name": name, "license_link": entry.weights.page or entry.repository}


def front_matter(
    entry: ModelEntry,
    *,
    title: str,
    licence: Mapping[str, str],
    pipeline_tag: str = ENCODES,
    base: str | None = None,
    relation: str | None = None,
    datasets: Iterable[str] = (),
    metrics: Iterable[str] = (),
    tags: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the metadata of a card in the order that people read it.

    Args:
        entry: the architecture.
        title: name of the model.
        licence: `license`, and its name and link where it is "other".
        pipeline_tag: one of the Hub's own list.
        base: repository on the Hub that the weights descend from.
        relation: how; one of the Hub's finetune, adapter, merge and quantized, or None where none of them is true.
        datasets: names of what the weights were trained on.
        metrics: names of the metrics of the scores that the card shows.
        tags: further tags.
    """
    trained_on = [name for name in dict.fromkeys(datasets) if _DATASET.fullmatch(name)]
    fields = {
        **licence,
        "library_name": "transformers",
        "pipeline_tag": pipeline_tag,
        "model_name": title,
        "base_model": base,
        "base_model_relation": relation if base else None,
        "datasets": trained_on,
        "metrics": list(metrics),
        "tags": [*TAGS, *tags, "ecg-hub", entry.model_type],
    }
    return {name: value for name, value in fields.items() if value not in (None, [])}


def encoder_code(name: str, hidden: str = "", pooled: str = "") -> str:
    """Return code that encodes a record with the model of a name; `hidden` and `pooled` are shapes to be printed."""
    comments = [f"  # {shape}" if shape else "" for shape in (hidden, pooled)]
    return f"""{_opened("AutoModel", name)}
with torch.no_grad():
    output = model(**inputs)
print(output.last_hidden_state.shape){comments[0] or "  # (windows, tokens, width)"}
print(output.pooler_output.shape){comments[1] or "  # (windows, width)"}
```"""


def classifier_code(name: str) -> str:
    """Return code that scores a record with the classifier of a name."""
    # Not the mean of logits: thresholds of config.json are of mean probabilities, as pipeline and runs give them.
    averages = "from ecg_hub.inference.pipeline import average_outputs"
    return f"""{_opened("AutoModelForECGClassification", name, averages)}
with torch.no_grad():
    logits = model(**inputs).logits  # (windows, outputs)
scores = average_outputs(logits, model.config)  # of the record: probabilities of classes, values of a regression
for index, label in model.config.id2label.items():
    print(label, float(scores[int(index)]))
```

`ecg_hub.load_pipeline("{name}")` takes a file or an array and gives the scores of the record by name."""


def pretraining_code(name: str) -> str:
    """Return code that encodes a record, and loads the model with the head of its pre-training."""
    whole = f'whole = ecg_hub.AutoModelForPreTraining.from_pretrained("{name}")  # with the projection of the loss'
    return encoder_code(name).removesuffix("```") + f"{whole}\n```"


def _opened(loader: str, name: str, *imports: str) -> str:
    """The beginning of every example: model, extractor, and a record in the form that the model takes."""
    imported = "\n".join([*imports, "from ecg_hub.leads import LEADS"])
    return f"""```python
import ecg_hub  # makes the model known to transformers
import numpy as np
import torch
{imported}

model = ecg_hub.{loader}.from_pretrained("{name}").eval()
extractor = ecg_hub.AutoFeatureExtractor.from_pretrained("{name}")

signal = np.random.default_rng(0).normal(0, 0.2, (12, 5000))  # yours: leads x samples, millivolt
inputs = extractor(signal, sampling_rate=500, lead_names=LEADS, window="all", return_tensors="pt")"""
