"""The three sets of labels that label efficiency is published for, as tasks that can be run and read again.

Source: arXiv 2509.25095 and its code. They are no rows of the benchmark's tables, so they are not built in: the task
file is written beside the results, for `ecg-eval verify` and `reproduce` with --include.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from eval_harness.atomic import write_text
from eval_harness.registry import get_task
from eval_harness.taskfiles import Task


@dataclass(frozen=True)
class LabelSet:
    """One published set of labels.

    Attributes:
        title, description: of the task.
        parent: the built-in task whose dataset and label column it has.
        labels: the labels; () takes those of the parent.
        labelled_only: whether records with none of the labels are left out, test records too.
    """

    title: str
    description: str
    parent: str
    labels: tuple[str, ...] = ()
    labelled_only: bool = False


SETS: Mapping[str, LabelSet] = {
    "echonext_label_efficiency": LabelSet(
        "EchoNext, six labels",
        "Reduced ejection fraction, thick wall, tricuspid regurgitation, right ventricular dysfunction, and two signs "
        "of pulmonary hypertension.",
        "echonext",
        (
            "lvef_lte_45_flag",
            "lvwt_gte_13_flag",
            "tricuspid_regurgitation_moderate_or_greater_flag",
            "rv_systolic_dysfunction_moderate_or_greater_flag",
            "pasp_gte_45_flag",
            "tr_max_gte_32_flag",
        ),
    ),
    "ptbxl_label_efficiency": LabelSet("PTB-XL, five superclasses", "The five diagnostic superclasses.", "ptbxl_super"),
    "ptbxl_all_label_efficiency": LabelSet(
        "PTB-XL, thirteen statements",
        "Thirteen frequent statements; records with none of them are left out, test records too.",
        "ptbxl_all",
        ("SR", "NORM", "ABQRS", "IMI", "ASMI", "LVH", "NDT", "LAFB", "AFIB", "ISC_", "PVC", "IRBBB", "STD_"),
        labelled_only=True,
    ),
}


def write_set(name: str, folder: Path) -> Path:
    """Write the task file of a published set and return its path."""
    chosen, parent = SETS[name], get_task(SETS[name].parent)
    task = Task(
        **{
            **parent.model_dump(exclude={"targets"}),
            "name": name,
            "run": name,
            "title": chosen.title,
            "description": chosen.description,
            "labels": chosen.labels or parent.labels,
            "published": False,
        }
    )
    path = folder / f"{name}.yaml"
    content = {key: value for key, value in task.model_dump(mode="json").items() if value is not None}
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
    return path
