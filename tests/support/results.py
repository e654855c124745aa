"""Small whole results and predictions for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from eval_harness.results.predictions import Predictions
from eval_harness.results.schema import Result
from tests.support.scores import scored

SUPER = ("CD", "HYP", "MI", "NORM", "STTC")


def predictions(
    labels: tuple[str, ...] = SUPER,
    run: str = "ptbxl_super",
    validation: int = 10,
    test: int = 40,
    patients: bool = True,
    seed: int = 0,
) -> Predictions:
    """Predictions of a run whose labels all have both outcomes in the test split."""
    records = validation + test
    y_true, y_prob = scored(records=records, classes=1, seed=seed)
    columns = [scored(records=records, classes=1, seed=seed + k) for k in range(len(labels))]
    y_true, y_prob = (np.concatenate([pair[i] for pair in columns], axis=1) for i in (0, 1))
    y_true[-2], y_true[-1] = 1, 0
    return Predictions(
        run=run,
        kind="multi_label_classification",
        labels=labels,
        split=["validation"] * validation + ["test"] * test,
        record_id=[str(i) for i in range(records)],
        y_true=y_true,
        y_prob=y_prob,
        patient_id=[f"p{i // 2}" for i in range(records)] if patients else None,
    )


def result(**changes: Any) -> Result:
    """A finished result of ptbxl_super; keywords replace fields."""
    content: dict[str, Any] = {
        "task": "ptbxl_super",
        "task_version": 1,
        "run": "ptbxl_super",
        "status": "done",
        "model": {"id": "random:ecg-cpc", "weights_sha256": "a" * 64, "preset": "benchmark", "parameters": 2932736},
        "mode": "linear",
        "protocol": {"name": "paper", "deviations": {"epochs": 3}},
        "seed": 0,
        "data": {
            "name": "ptb-xl",
            "fingerprint": "f" * 16,
            "records": {"train": 106, "validation": 30, "test": 24},
            "labels": {"published": 5, "scored": 4, "missing": ["HYP"]},
            "contamination": "clean",
        },
        "metrics": {
            "macro_auroc": {"point": 0.61, "low": 0.5, "high": 0.71, "classes": 4},
            "macro_auroc_paper": {"point": 0.61, "low": 0.49, "high": 0.7, "classes": 4},
            "macro_auprc": {"point": 0.4, "low": 0.3, "high": 0.5, "classes": 4},
        },
        "per_label": [
            {
                "label": "NORM",
                "positives": 9,
                "records": 24,
                "auroc": {"point": 0.6, "low": 0.4, "high": 0.8},
                "auprc": {"point": 0.4, "low": 0.3, "high": 0.6},
            }
        ],
        "predictions": {"file": "predictions/ptbxl_super.parquet", "sha256": "b" * 64},
        "timings_s": {"prepare": 1.0, "encode": 40.0, "train": 2.0, "score": 1.0},
        "environment": {"torch": "2.13.0"},
        "created": "2026-11-21T20:00:00Z",
    }
    return Result.model_validate({**content, **changes})


def failed(reason: str = "no data", **changes: Any) -> Result:
    """A failed result."""
    empty: dict[str, Any] = {"metrics": {}, "per_label": [], "predictions": None, "data": None}
    return result(**{**empty, "status": "failed", "reason": reason, **changes})
