"""Results repositories for tests: whole ones of made-up scores, and runs whose predictions give theirs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.catalog import datasets
from eval_harness.config.protocol import Protocol
from eval_harness.publish.layout import META_FILE, catalogue_entry, describe, digest, entry_folder, entry_path
from eval_harness.publish.push import entry_bytes
from eval_harness.results.contamination import state
from eval_harness.results.extent import extent_of
from eval_harness.results.predictions import Predictions, write_predictions
from eval_harness.results.runfile import RunFile, RunSettings, fingerprint, write_run
from eval_harness.results.schema import Result
from eval_harness.results.scoring import RESAMPLE_SEED, STATISTICS_VERSION, score_task
from eval_harness.tasks.registry import suites, tasks
from tests.support.results import SUPER, predictions, result

FAST = {"resamples": 50}


def counted() -> list[str]:
    """The tasks of the paper's count."""
    return suites()["all"].members()


def whole_of(dataset: str) -> dict[str, Any]:
    """`records` and `release` of a result on all of a dataset's release."""
    release = datasets()[dataset].releases[0]
    records = dict(release.split_sizes) or {"train": 1000, "validation": 100, "test": 2000}
    return {"records": records, "release": {"read": release.records, "records": records}}


def made_up(model: str, task: str, mode: str = "linear", *, point: float | None = None, **changes: Any) -> Result:
    """A finished result of any task that contradicts nothing; predictions are said to be elsewhere."""
    known = tasks()[task]
    seed = int.from_bytes(hashlib.sha256(f"{model}{task}{mode}".encode()).digest()[:4])
    random = np.random.default_rng(seed)
    strength = int.from_bytes(hashlib.sha256(model.encode()).digest()[:4]) / 2**32
    good = point if point is not None else round(float(0.62 + 0.25 * strength + 0.06 * random.random()), 4)
    value = good if known.higher_is_better or point is not None else round(1.3 - good, 4)
    entry = catalogue_entry(model)
    corpora = [] if entry is None or model.startswith("random:") or model == "trivial" else entry.pretraining_corpora
    unknown = entry is None and not model.startswith("random:") and model != "trivial"
    hub = "/" in model
    weights = hashlib.sha256(f"{model} weights".encode()).hexdigest()
    content: dict[str, Any] = {
        "task": task,
        "task_version": known.version,
        "run": known.run,
        "mode": mode,
        "model": {
            "id": model,
            "revision": hashlib.sha1(model.encode()).hexdigest() if hub else None,
            "weights_sha256": weights,
            "preset": "benchmark",
            "parameters": _parameters(model, strength),
            "origin": _origin(model),
        },
        "protocol": {"name": "paper", "deviations": {}},
        "data": {
            "name": known.dataset,
            "fingerprint": "f" * 16,
            **whole_of(known.dataset),
            "labels": {"published": known.count, "scored": known.count},
            "contamination": "unknown" if unknown else state(list(corpora), known.dataset),
        },
        "metrics": {known.metric: {"point": value, "low": value - 0.02, "high": value + 0.02, "classes": known.count}},
        "predictions": {"file": f"predictions/{known.run}.parquet", "sha256": weights},
    }
    return result(**{**content, **changes})


def _parameters(model: str, strength: float) -> int:
    entry = catalogue_entry(model)
    if entry is not None and not model.startswith("random:"):
        return entry.parameters
    return 0 if model == "trivial" else int(10 ** (6 + 2 * strength))


def _origin(model: str) -> str | None:
    if model.startswith("random:"):
        return "random"
    return None if model == "trivial" else "own" if catalogue_entry(model) is None else "catalogue"


def write_board(folder: Path, results: Iterable[Result]) -> None:
    """Write results as a repository, descriptions included, without any check."""
    metas: dict[str, Any] = {}
    for item in results:
        path, place = entry_path(item), entry_folder(item)
        content = entry_bytes(item)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        meta = metas.get(place) or describe(item)
        metas[place] = meta.model_copy(
            update={"entries": {**meta.entries, f"{item.mode}/{item.task}": digest(content)}}
        )
    for place, meta in metas.items():
        (folder / place / META_FILE).write_text(meta.text(), encoding="utf-8")


MODES = ("linear", "frozen", "finetune")
MODELS = (
    "ecg-cpc", "ecg-fm", "ecg-jepa", "hubert-ecg", "st-mem", "random:ecg-cpc", "random:ecg-jepa", "trivial",
    "heart-lab/pulse-base", "heart-lab/pulse-large", "uni-nowhere/very-long-model-name-of-a-group-v2.1",
)  # fmt: skip


def write_full(folder: Path, models: Sequence[str] = MODELS, modes: Sequence[str] = MODES) -> int:
    """A repository in which some rows have gaps or deviations; returns how many entries it has."""
    found = []
    for number, model in enumerate(models):
        for mode in modes if model != "trivial" else ("linear",):
            for place, task in enumerate(counted()):
                if number % 4 == 3 and place % 7 == 2:
                    continue  # a gap
                changes: dict[str, Any] = {}
                if number == 2 and mode == "frozen":
                    changes["protocol"] = {"name": "paper", "deviations": {"epochs": 20}}
                found.append(made_up(model, task, mode, **changes))
    write_board(folder, found)
    return len(found)


def write_scored(
    folder: Path,
    model: str = "random:ecg-cpc-tiny",
    *,
    mode: str = "linear",
    task: str = "ptbxl_super",
    labels: tuple[str, ...] = SUPER,
    given: Predictions | None = None,
    protocol: Protocol | None = None,
    mock: bool = False,
    revision: str | None = None,
    seed: int = 0,
    deviations: dict[str, Any] | None = None,
) -> Path:
    """A result folder as the runner leaves it: run.json, predictions, and the result that they give."""
    known = tasks()[task]
    numbers = protocol or Protocol(**FAST)
    own = given or predictions(labels=labels, run=known.run, seed=seed)
    file = folder / "predictions" / f"{known.run}.parquet"
    sha256 = write_predictions(file, own)
    score = score_task(known, own, numbers.resamples, RESAMPLE_SEED, "record", numbers.confidence)
    said = {**numbers.deviations(), **({"synthetic": True} if mock else {}), **(deviations or {})}
    if score.labels.scored != score.labels.published:
        said["labels"] = f"{score.labels.scored}/{score.labels.published}"
    plain = made_up(model, task, mode, point=0.5)
    made = plain.model_copy(
        update={
            "seed": seed if seed < 100 else 0,
            "statistics_version": STATISTICS_VERSION,
            "model": plain.model.model_copy(update={"revision": revision}),
            "protocol": plain.protocol.model_copy(update={"name": numbers.name, "deviations": said}),
            "metrics": score.metrics,
            "per_label": score.per_label,
            "subgroups": score.subgroups,
            "predictions": plain.predictions and plain.predictions.model_copy(update={"sha256": sha256}),
        }
    )
    assert made.data is not None
    held = {"validation": list(own.split).count("validation"), "test": score.records}
    records = made.data.records.model_copy(update=held)
    release = made.data.release and made.data.release.model_copy(update={"records": records})
    data = made.data.model_copy(update={"records": records, "release": release, "labels": score.labels})
    made = made.model_copy(update={"data": data})
    made = made.model_copy(
        update={"protocol": made.protocol.model_copy(update={"deviations": {**said, **extent_of(made).differences}})}
    )
    settings = RunSettings(
        model=made.model,
        mode=mode,
        protocol=numbers.name,
        protocol_values=asdict(numbers),
        seed=made.seed,
        data={"mock": mock, "limit": None},
    )
    run = RunFile(
        settings=settings,
        fingerprint=fingerprint(settings),
        datasets={known.dataset: "f" * 16},
        tasks={task: known.version},
        created=made.created,
    )
    write_run(folder, run)
    (folder / f"{task}.json").write_text(made.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return folder
