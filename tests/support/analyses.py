"""Files of every analysis with made-up numbers, for tests of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ecg_hub.utils.files import write_text
from eval_harness.analyses.ablation.schema import AblationResult
from eval_harness.analyses.cka.schema import CkaResult
from eval_harness.analyses.files import Analysis, write_analysis
from eval_harness.analyses.label_efficiency.run import Study, summary
from eval_harness.analyses.robustness.corruptions import corruptions
from eval_harness.analyses.robustness.schema import RobustnessResult
from eval_harness.analyses.studies import METRICS, RunScore, SeedAverage, joint
from eval_harness.analyses.transfer.schema import TransferResult
from eval_harness.config.options import RunOptions

MODEL = {"id": "/home/someone/models/encoder", "preset": "benchmark", "weights_sha256": "a" * 64}
HEAD: dict[str, Any] = {"settings": {}, "complete": True, "synthetic": True, "created": "2026-11-21T20:00:00Z"}
RUN: dict[str, Any] = {"run": "ptbxl_super", "model": MODEL, "mode": "linear", "seed": 0}


def interval(point: float, half: float = 0.05) -> dict[str, float]:
    return {"point": round(point, 4), "low": round(point - half, 4), "high": round(point + half, 4)}


def ablation(**changes: Any) -> AblationResult:
    """Eight arms at two fractions; the preview brings 0.1."""
    rows = []
    for fraction in (1.0, 0.1):
        for preview in (True, False):
            for depth in (True, False):
                for pretrained in (True, False):
                    score = 0.5 + 0.1 * preview + 0.2 * fraction + 0.01 * depth + 0.02 * pretrained
                    plain = not preview and not depth
                    stages = [1] * 3 * preview + [2] * 3
                    rows.append(
                        {
                            "task": "ptbxl_super", "model": MODEL["id"], "fraction": fraction,
                            "records": 200 * fraction, "preview": preview, "stochastic_depth": depth,
                            "pretrained": pretrained, "runs": 3,
                            "arm": f"preview-{preview}_depth-{depth}_{pretrained}",
                            "macro_auroc": interval(score + 0.1), "macro_auprc": interval(score),
                            "macro_auroc_by_run": [score + 0.1] * 3, "macro_auprc_by_run": [score] * 3,
                            "minus_plain": None if plain else {m: interval(score - 0.6) for m in METRICS},
                            "curve": [
                                {"epoch": k, "stage": n, "loss": 1 / k, "validation": 0.6, "validation_auprc": k / 10}
                                for k, n in enumerate(stages, 1)
                            ],
                        }
                    )  # fmt: skip
    content = {
        **HEAD, "settings": {"models": [MODEL["id"]], "limit": 300}, "fractions": [1.0, 0.1], "seeds": [0, 1, 2],
        "resamples": 100, "confidence": 0.95, "post_training": {"stage1_epochs": 3, "stage2_epochs": 3}, "rows": rows,
        "not_done": [f"{MODEL['id']} ptbxl_super x: failed: no record"],
    }  # fmt: skip
    return AblationResult.model_validate({**content, **changes})


def efficiency(**changes: Any) -> dict[str, Any]:
    """The content of a study of known curves: a model that needs fewer records than its baseline."""
    rng, sizes = np.random.default_rng(0), [100 * 2**k for k in range(5)]
    curves = {(str(MODEL["id"]), "finetune"): (1.0, 0.5, 0.05), ("s4", "scratch"): (2.0, 0.5, 0.06)}

    def made(loss: float, records: int) -> SeedAverage:
        noise, away = rng.normal(0, 0.004, 100), rng.permutation([-0.002, 0.0, 0.002])
        scores = [dict.fromkeys(METRICS, 1 - loss + error) for error in away]
        around = [dict.fromkeys(METRICS, 1 - loss + error + noise) for error in away]
        return joint([RunScore(k, records, scores[k], around[k]) for k in range(3)])

    joints = {
        ("ptbxl_super", *key): {1 / 2 ** (4 - k): made(c * n**-a + floor, n) for k, n in enumerate(sizes)}
        for key, (c, a, floor) in curves.items()
    }
    options = RunOptions(models=(str(MODEL["id"]),), tasks=("ptbxl_super",), modes=("finetune",), data_root="mock")
    return {**summary(Study(options), joints, []), "synthetic": True, "created": HEAD["created"], **changes}


def robustness(task: str = "ptbxl_super", **changes: Any) -> RobustnessResult:
    """Every corruption at every strength; the hum is skipped, as at a rate that does not hold it."""
    conditions = []
    for name, corruption in corruptions().items():
        for strength in corruption.strengths:
            skipped = corruption.group == "mains_hum"
            fall = 0.1 * strength / corruption.strengths[-1]
            score = {"score": interval(0.8 - fall), "change": {**interval(-fall), "significant": fall > 0.05}}
            conditions.append(
                {
                    "corruption": name, "group": corruption.group, "title": corruption.title, "strength": strength,
                    "unit": corruption.unit, "status": "skipped" if skipped else "done",
                    "reason": "50 Hz does not fit into 100 Hz" if skipped else None,
                    "scores": {} if skipped else {task: {"macro_auroc": score}},
                }
            )  # fmt: skip
    content = {
        **HEAD, **RUN, "dataset": "ptb-xl", "records": 40, "rate_hz": 100, "signal_unit": "mV",
        "main": {task: "macro_auroc"}, "largest_difference": 1e-7, "clean": {task: {"macro_auroc": interval(0.8)}},
        "conditions": conditions,
    }  # fmt: skip
    return RobustnessResult.model_validate({**content, **changes})


def transfer(**changes: Any) -> TransferResult:
    """Two concepts, one of them of two labels and without an interval at home; one label on each side not mapped."""

    def label(name: str, point: float, **more: Any) -> dict[str, Any]:
        return {"label": name, "positives": 7, "records": 90, "auroc": {**interval(point), **more}}

    names = ["atrial fibrillation", "t wave abnormal"]
    mapped = [
        {"name": names[0], "code": "164889003", "source": ["AFIB"], "target": ["AF"],
         "origins": ["AFIB: 1, challenge2021"], "flag": "1 % of the records at home, 30 % there (30 times)"},
        {"name": names[1], "code": "164934002", "source": ["TAB_", "NT_"], "target": ["TAb"],
         "origins": ["TAB_: 2, challenge2021", "NT_: 2, ptbxlplus"]},
    ]  # fmt: skip
    metrics = {f"macro_{name}": {**interval(0.7), "classes": 2} for name in ("auroc", "sensitivity", "specificity")}
    task = {
        "status": "done", "mapped": mapped, "metrics": metrics,
        "at_home": {"macro_auroc": {**interval(0.8), "classes": 2}},
        "per_label": [label(name, 0.7) for name in names],
        "per_label_at_home": [label(names[0], 0.9), label(names[1], 0.6, low=None, high=None)],
        "unmapped_source": {"BIGU": "no code"}, "unmapped_target": {"Brady": "ptb-xl has no label of 426627000"},
    }  # fmt: skip
    content = {
        **HEAD, **RUN, "source": "ptb-xl", "target": "georgia", "fingerprint": "f", "column": "label_all",
        "split": "test", "records": 90, "contamination": "unknown", "tasks": {"ptbxl_super": task},
    }  # fmt: skip
    return TransferResult.model_validate({**content, **changes})


def cka(stages: int = 3, models: int = 2, **changes: Any) -> CkaResult:
    """Encoders of some stages; the last stage of the last one does not vary."""
    ids = [f"/home/someone/{'abcdefghij'[k]}/encoder" for k in range(models)]
    encoders = [
        {"model": {**MODEL, "id": name}, "stages": [{"name": f"stage{k}", "width": 8} for k in range(stages)]}
        for name in ids
    ]
    places = [(name, f"stage{k}") for name in ids for k in range(stages)]
    pairs = []
    for i, first in enumerate(places):
        for j, second in enumerate(places[i:], i):
            value = None if j == len(places) - 1 else round(1 - 0.9 * (j - i) / len(places), 3)
            pairs.append({"first": first, "second": second, "debiased": value, "biased": value})
    data = {"dataset": "ptb-xl", "fingerprint": "f", "split": "test", "records": 60}
    return CkaResult.model_validate({**HEAD, "data": data, "encoders": encoders, "pairs": pairs, **changes})


def write_all(folder: Path) -> Path:
    """Write one file of every analysis into a folder and return it."""
    import json

    files: dict[str, Analysis] = {
        "ablation.json": ablation(),
        "robustness_ptbxl_super.json": robustness(),
        "transfer_ptbxl_super_to_georgia.json": transfer(),
        "cka.json": cka(),
    }
    for name, content in files.items():
        write_analysis(folder / name, content)
    write_text(folder / "label_efficiency.json", json.dumps(efficiency()))
    return folder
