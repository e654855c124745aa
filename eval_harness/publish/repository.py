"""The two files at the root of a results repository: its card, and what the hub ranks by."""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from eval_harness.protocol import MODES
from eval_harness.taskfiles import Task

CARD, EVAL = "README.md", "eval.yaml"

_CARD = """\
---
pretty_name: ECG leaderboard results
tags: [ecg, benchmark, leaderboard, evaluation]
viewer: false
---

# ECG leaderboard results

`results/MODEL/REVISION/MODE/TASK.json`: one file per score, with intervals, per-label values and everything that
decided it; `model_meta.json` beside the modes describes the model and lists its entries. Predictions lie in
`predictions/` where the licence of the data allows it. Written by `ecg-eval push`, which computes every score again
before it sends it; `ecg-eval leaderboard` checks the files and makes the page. Nothing here is edited by hand.

Research software, not a medical device.
"""


def root_files(tasks: Iterable[Task]) -> dict[str, bytes]:
    """Return name -> content of the files that a new repository gets.

    Args:
        tasks: the built-in tasks.
    """
    listed = [
        {"id": task_id(task.name, mode)} | ({} if task.higher_is_better else {"lower_is_better": True})
        for task in tasks
        for mode in MODES
    ]
    content = {
        "name": "ECG leaderboard",
        "description": "Encoders of 12-lead ECGs on clinical tasks: macro AUROC, or mean absolute error of z-scores.",
        "evaluation_framework": "ecg-hub",
        "tasks": listed,
    }
    return {CARD: _CARD.encode(), EVAL: yaml.safe_dump(content, sort_keys=False, width=120).encode()}


def task_id(task: str, mode: str) -> str:
    """Return the name of a score on the hub: "ptbxl_super_linear"."""
    return f"{task}_{mode}"
