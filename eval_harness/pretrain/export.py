"""The hub model of a pre-training run: configuration and card say what it was trained on, the log how it went."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecg_hub import catalog
from ecg_hub.hub.convert import fill_model_folder
from ecg_hub.hub.package import TRAINING_LOG
from eval_harness.atomic import atomic_folder
from eval_harness.environment import environment
from eval_harness.pretrain.log import read_log

VERSIONS = ("ecg-hub", "torch", "transformers", "python")


def filler(model: Any, entry: catalog.ModelEntry, facts: Mapping[str, Any], log: Path) -> Callable[[Path, int], None]:
    """Return a function that writes the model after a number of steps into a folder.

    Args:
        model: ECGCPCForPreTraining; `AutoModel` loads its encoder from the folder.
        entry: its catalogue entry.
        facts: `corpora`, `train_only` (those of which only training records were read), `data_fingerprint`,
            `run_fingerprint`, `records`, `seed`, `init`, `settings` (what differs from the published run) and the
            like, as JSON values.
        log: of the run; what it says up to that number of steps goes along.
    """
    found = environment()
    versions = {name: found[name] for name in VERSIONS}

    def fill(folder: Path, steps: int) -> None:
        model.config.random_weights = None
        model.config.pretraining = {**facts, "steps": steps, "versions": versions}
        with _no_bar():
            fill_model_folder(folder, model, entry, card(model.config, entry))
        rows = [_public(row) for row in read_log(log) if row["step"] <= steps]
        (folder / TRAINING_LOG).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")

    return fill


def _public(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the log without the reason of a failed probe, which may name folders."""
    probe = row.get("probe")
    return dict(row) if probe is None else {**row, "probe": {key: probe[key] for key in probe if key != "reason"}}


@contextmanager
def _no_bar() -> Iterator[None]:
    """Without the progress bar that transformers shows for every file, below the one of the run."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def publish(checkpoint_model: Path, target: Path) -> None:
    """Copy the model of a checkpoint to where the run's model is looked for.

    Raises:
        ResultError: the folder cannot be written.
    """
    with atomic_folder(target) as aside:
        shutil.copytree(checkpoint_model, aside, dirs_exist_ok=True)


def card(config: Any, entry: catalog.ModelEntry) -> str:
    """README.md of a model of one's own.

    Args:
        config: its configuration, with `pretraining`.
        entry: the catalogue entry of its architecture.
    """
    facts = config.pretraining
    corpora = ", ".join(_corpus(name, facts) for name in facts["corpora"]) or "nothing"
    rows = [
        ("architecture", f"{entry.title} ({entry.paper})"),
        ("pre-trained on", corpora),
        ("records", f"{facts['records']:,}"),
        ("optimiser steps", f"{facts['steps']:,}"),
        ("started from", facts["init"]),
        ("seed", facts["seed"]),
        ("other than the published run", _changes(facts["settings"])),
        ("fingerprint of the data", f"`{facts['data_fingerprint']}`"),
        ("fingerprint of the run", f"`{facts['run_fingerprint']}`"),
        ("made with", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""---
library_name: transformers
pipeline_tag: feature-extraction
tags:
- ecg
- electrocardiography
- ecg-hub
- {config.model_type}
---

# {entry.title}, pre-trained by `ecg-hub pretrain`

Not the authors' weights: the architecture and loss of {entry.title}, trained on other data.

| | |
| --- | --- |
{table}

```python
import ecg_hub
model = ecg_hub.AutoModel.from_pretrained("FOLDER")              # the encoder
whole = ecg_hub.AutoModelForPreTraining.from_pretrained("FOLDER")  # with the projection of the loss
```

Scored by `ecg-eval --model FOLDER --tasks TASK`: results on the corpora above are marked as seen, or as seen in the
training folds only.
Who pre-trains on records decides the licence of these weights; the licence of the records may bind it.
Research software, not a medical device.
"""


def _corpus(name: str, facts: Mapping[str, Any]) -> str:
    return f"{name} (training folds only)" if name in facts.get("train_only", {}) else name


def _changes(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "nothing"
