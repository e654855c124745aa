"""Result folders written without training, for tests of the report: real files, made-up predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from eval_harness.config.protocol import protocol
from eval_harness.results.predictions import Predictions, write_predictions
from eval_harness.results.runfile import RunFile, RunSettings, fingerprint, write_run
from eval_harness.results.schema import ModelInfo, Result, write_result
from eval_harness.results.scoring import STATISTICS_VERSION, score_task
from eval_harness.tasks.task import Task
from tests.support.results import predictions, result

RESAMPLES = 60


def with_people(found: Predictions, seed: int = 0) -> Predictions:
    """The same predictions with ages and sexes."""
    rng = np.random.default_rng(seed)
    records = len(found.record_id)
    return Predictions(
        run=found.run,
        kind=found.kind,
        labels=found.labels,
        split=found.split,
        record_id=found.record_id,
        y_true=found.y_true,
        y_prob=found.y_prob,
        patient_id=found.patient_id,
        regression_targets=found.regression_targets,
        scales=found.scales,
        age=[float(age) for age in rng.integers(20, 90, records)],
        sex=["female" if k % 2 else "male" for k in range(records)],
    )


def shifted(found: Predictions, skill: float, seed: int = 1) -> Predictions:
    """The same records scored by another model: the targets, mixed with noise, `skill` from 0 to 1."""
    rng = np.random.default_rng(seed)
    noise = rng.random(found.y_true.shape)
    score = skill * np.nan_to_num(found.y_true) + (1 - skill) * noise
    changed = with_people(found)
    object.__setattr__(changed, "y_prob", score.astype(np.float32))
    return changed


def regression(targets: tuple[str, ...] = ("age", "height"), test: int = 40, seed: int = 0) -> Predictions:
    """Predictions of z-scored targets, the first of them with clinical units."""
    rng = np.random.default_rng(seed)
    true = rng.standard_normal((test + 10, len(targets))).astype(np.float32)
    return Predictions(
        run="my_values",
        kind="regression",
        labels=targets,
        split=["validation"] * 10 + ["test"] * test,
        record_id=[str(k) for k in range(test + 10)],
        y_true=true,
        y_prob=(true + 0.5 * rng.standard_normal(true.shape)).astype(np.float32),
        regression_targets=targets,
        scales={targets[0]: (17.0, "years")},
    )


def finished(task: Task, found: Predictions, sha256: str, **changes: Any) -> Result:
    """The result that scoring these predictions gives."""
    score = score_task(task, found, resamples=RESAMPLES)
    return result(
        task=task.name,
        task_version=task.version,
        run=found.run,
        data={
            "name": task.dataset,
            "fingerprint": "f" * 16,
            "records": {"train": 100, "validation": list(found.split).count("validation"), "test": score.records},
            "labels": score.labels.model_dump(),
            "contamination": "clean",
        },
        metrics={name: value.model_dump() for name, value in score.metrics.items()},
        per_label=[label.model_dump() for label in score.per_label],
        subgroups=[part.model_dump() for part in score.subgroups],
        predictions={"file": f"predictions/{found.run}.parquet", "sha256": sha256},
        **{"statistics_version": STATISTICS_VERSION, **changes},
    )


def write_folder(
    root: Path,
    task: Task,
    found: Predictions | None = None,
    model: str = "model-a",
    mode: str = "linear",
    seed: int = 0,
    **changes: Any,
) -> Path:
    """Write one result folder and return it; keywords replace fields of the result."""
    folder = root / model.replace(":", "__").replace("/", "__") / mode / f"seed{seed}"
    scored = with_people(predictions(run=task.run)) if found is None else found
    sha256 = write_predictions(folder / "predictions" / f"{task.run}.parquet", scored)
    info = ModelInfo(id=model, weights_sha256="a" * 64, preset="benchmark", parameters=2_932_736)
    values: Any = protocol(epochs=3, resamples=RESAMPLES).as_dict()
    settings = RunSettings(model=info, mode=mode, protocol="paper", protocol_values=values, seed=seed)
    environment = {"python": "3.11.7", "torch": "2.13.0"}
    created = "2026-11-21T20:00:00Z"
    run = RunFile(
        settings=settings,
        fingerprint=fingerprint(settings),
        tasks={task.name: task.version},
        environment=environment,
        command=["ecg-eval", "--data-root", "/private/archive"],
        created=created,
    )
    write_run(folder, run)
    content = {"model": info.model_dump(), "mode": mode, "seed": seed, **changes}
    write_result(folder / f"{task.name}.json", finished(task, scored, sha256, **content))
    epochs = [{"epoch": k, "loss": 1 / k, "validation": 0.5 + k / 10, "seconds": 1.0} for k in (1, 2, 3)]
    history = folder / "history" / f"{task.run}.json"
    history.parent.mkdir()
    history.write_text(json.dumps({"best_epoch": 3, "best_score": 0.8, "history": epochs}), encoding="utf-8")
    return folder
