"""The two files at the root of a results repository: its card, and what the hub ranks by.

`eval.yaml` has the keys of the Hub's documentation ("Evaluation Results") and no others, for it is checked when it is
pushed. That lower values of a task are better has no key there, so that the card says it.
"""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from eval_harness.protocol import MODES
from eval_harness.taskfiles import Task

CARD, EVAL = "README.md", "eval.yaml"
FRAMEWORK, FRAMEWORK_REGISTERED = "ecg-hub", False
"""The public Hub takes the frameworks that huggingface.js lists (packages/tasks/src/eval.ts); this one is not there."""

_CARD = """\
---
pretty_name: ECG leaderboard results
tags: [ecg, benchmark, leaderboard, evaluation]
viewer: false
{lower}---

# ECG leaderboard results

`results/MODEL/REVISION/MODE/TASK.json`: one file per score, with intervals, per-label values and everything that
decided it; `model_meta.json` beside the modes describes the model and lists its entries. Predictions lie in
`predictions/` where the licence of the data allows it. Written by `ecg-eval push`, which computes every score again
before it sends it; `ecg-eval leaderboard` checks the files and makes the page. Nothing here is edited by hand.

Research software, not a medical device.
"""


def root_files(tasks: Iterable[Task], public_hub: bool = False) -> dict[str, bytes]:
    """Return name -> content of the files that a new repository gets.

    Args:
        tasks: the built-in tasks.
        public_hub: whether it is on the public Hub, which refuses an eval.yaml of a framework that it does not know.
    """
    known = list(tasks)
    lower = [task_id(task.name, mode) for task in known if not task.higher_is_better for mode in MODES]
    front = yaml.safe_dump({"lower_is_better": lower}, width=120) if lower else ""
    files = {CARD: _CARD.replace("{lower}", front).encode()}
    if public_hub and not FRAMEWORK_REGISTERED:
        return files
    listed = [
        {"id": task_id(task.name, mode), "config": "default", "split": "test"} for task in known for mode in MODES
    ]
    content = {
        "name": "ECG leaderboard",
        "description": "Encoders of 12-lead ECGs on clinical tasks: macro AUROC, or mean absolute error of z-scores.",
        "evaluation_framework": FRAMEWORK,
        "tasks": listed,
    }
    return {**files, EVAL: yaml.safe_dump(content, sort_keys=False, width=120).encode()}


def task_id(task: str, mode: str) -> str:
    """Return the name of a score on the hub: "ptbxl_super_linear"."""
    return f"{task}_{mode}"
