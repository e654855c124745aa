"""A task file as a checked `Task`, with errors that name file, field, value and what is allowed; and suites of tasks.

Suites are given by rules, so that they stay right when tasks arrive.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ecg_hub.errors import InputError, did_you_mean
from ecg_hub.spelling import spelt
from ecg_hub.utils.yaml import read_mapping
from eval_harness.metrics.registry import MAIN

CATEGORIES = {
    "adult_interpretation": "adult ECG interpretation",
    "pediatric_interpretation": "pediatric ECG interpretation",
    "cardiac_structure_function": "cardiac structure and function",
    "cardiac_outcomes": "cardiac outcomes",
    "noncardiac_outcomes": "non-cardiac outcomes",
    "acute_care": "acute care",
    "patient_characteristics": "patient characteristics",
}
Category = Literal[
    "adult_interpretation",
    "pediatric_interpretation",
    "cardiac_structure_function",
    "cardiac_outcomes",
    "noncardiac_outcomes",
    "acute_care",
    "patient_characteristics",
]
Kind = Literal["multi_label_classification", "regression"]
Metric = Literal["macro_auroc", "mae"]
Text = Annotated[str, Field(min_length=1)]
TaskName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]

TARGETS = "targets"
"""The `label_column` of runs whose labels are in the dataset's column of targets."""

SUITES_FILE = "suites.yaml"
RULES = {"title", "tasks", "where", "from", "except", "note"}


class TargetSelector(BaseModel):
    """Labels that only the data name: a group of the dataset's column `targets`, or a whole label column.

    Attributes:
        group: a group of the dataset (`ECGDataset.target_groups`), or the task's label column.
        pattern: names of that group to take, e.g. "I48*"; None takes all.
        published: how many labels that are in the published data: what a user's copy is compared with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    group: Text
    published: Annotated[int, Field(ge=1)]
    pattern: Text | None = None

    def among(self, groups: Mapping[str, Sequence[str]]) -> list[str]:
        """Return the labels that the data have, in the order of the group.

        Example:
            >>> groups = {"conditions": ["I48.0", "I50", "I48.9"]}
            >>> TargetSelector(group="conditions", pattern="I48*", published=2).among(groups)
            ['I48.0', 'I48.9']
        """
        return [name for name in groups.get(self.group, ()) if fnmatchcase(name, self.pattern or "*")]


class Task(BaseModel):
    """One scored task: which labels of which training run, and how they are scored.

    Attributes:
        name: lower case with underscores; unique.
        version: raised by every change that alters scores.
        title: as in the paper's tables.
        description: one or two sentences.
        category: one of CATEGORIES.
        dataset: name of the dataset, whose licence and access hold for the task; or the path, relative to the task
            file, of the YAML file that describes a user's own archive.
        run: the training run it is read from: its own name, another task's, or a joint run shared by several tasks.
        label_column: column of the dataset that holds the labels of the run, or "targets".
        kind: multi_label_classification or regression.
        metric: macro_auroc, or mae on z-scored targets.
        higher_is_better: true for macro_auroc, false for mae.
        labels: the published labels (classes or regression targets), each once; () where `targets` is given.
        targets: the labels by group of the dataset, where only the data name them.
        resample_unit: what the published bootstrap draws.
        published: whether it is a row of the paper's tables; reserved for built-in tasks.
        citation: where task and labels are defined.
        superseded_by: the task that replaces it; both stay runnable.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: TaskName
    version: Annotated[int, Field(ge=1)]
    title: Text
    description: Text
    category: Category
    dataset: Text
    run: TaskName
    label_column: Text
    kind: Kind
    metric: Metric
    higher_is_better: bool
    labels: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)] = ()
    targets: TargetSelector | None = None
    resample_unit: Literal["record", "patient"]
    citation: Text
    published: bool = False
    superseded_by: TaskName | None = None

    # Before the pattern of names is checked: names in prose ("PTB-XL all") are written as names here.
    @field_validator("run", "superseded_by", mode="before")
    @classmethod
    def _as_task_name(cls, value: Any) -> Any:
        return re.sub(r"[\s.-]+", "_", value.lower()) if isinstance(value, str) else value

    @field_validator("metric", mode="before")
    @classmethod
    def _as_metric(cls, value: Any) -> Any:
        return (spelt(value, get_args(Metric)) or value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # Exactly one of the two: names that the files list, or names that only the data have.
        if bool(self.labels) == (self.targets is not None):
            given = "both are given" if self.labels else "neither is"
            raise ValueError(f"labels: a task lists its labels, or selects them by a group under targets; {given}")
        if self.targets is not None and self.label_column not in (TARGETS, self.targets.group):
            raise ValueError(
                f"label_column: {self.label_column!r} has no groups; `targets` selects from {TARGETS!r}, or takes the "
                f"whole column with group: {self.label_column}"
            )
        repeated = sorted({label for label in self.labels if self.labels.count(label) > 1})
        if repeated:
            raise ValueError(f"labels: {', '.join(map(repr, repeated))} given more than once; each label counts once")
        metric, higher = MAIN[self.kind]
        if (self.metric, self.higher_is_better) != (metric, higher):
            raise ValueError(
                f"metric: {self.metric!r} with higher_is_better {str(self.higher_is_better).lower()} does not fit kind "
                f"{self.kind!r}; it takes metric {metric!r} and higher_is_better {str(higher).lower()}"
            )
        if self.superseded_by == self.name:
            raise ValueError(f"superseded_by: {self.name!r} cannot supersede itself")
        return self

    @property
    def count(self) -> int:
        """Number of published labels."""
        return len(self.labels) if self.targets is None else self.targets.published

    @property
    def alone(self) -> Task:
        """The same task read from a run of its own, which trains its labels only."""
        return self.model_copy(update={"run": self.name})

    @property
    def defined(self) -> str:
        """The digest of what decides its scores; two tasks of one name and version should agree in it."""
        fields = {"dataset", "label_column", "kind", "metric", "labels", "targets"}
        content = json.dumps(self.model_dump(mode="json", include=fields), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()

    def read_from(self, run: str) -> Task:
        """The task as it is read from a run: its published one, or one of its own."""
        return self.alone if run == self.name else self

    @property
    def listed(self) -> str:
        """The labels in one line: their number and names, or the group that the data name."""
        if self.targets is None:
            return f"{len(self.labels)}: {', '.join(self.labels)}"
        fitting = f" that fit {self.targets.pattern}" if self.targets.pattern else ""
        return f"{self.targets.published}: the targets of the group {self.targets.group}{fitting}, named by the data"

    def labels_among(self, outputs: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
        """Return the task's labels that a run has outputs for, in the order of the task."""
        names = self.labels if self.targets is None else self.targets.among(groups)
        available = set(outputs)
        return [name for name in names if name in available]


def read_task(path: Path) -> Task:
    """Read and check one task file."""
    content = read_mapping(path)
    try:
        return Task.model_validate(content)
    except ValidationError as error:
        problems = [_sentence(dict(item)) for item in error.errors(include_url=False)]
        raise InputError("\n".join(f"{path}: {problem}" for problem in problems)) from error


def _sentence(error: dict[str, Any]) -> str:
    """One pydantic error in words."""
    field_name, value, kind = _field_name(error["loc"]), error["input"], error["type"]
    if kind == "missing":
        return f"field {field_name} is missing."
    if kind == "extra_forbidden":
        name = str(error["loc"][-1])
        allowed = Task.model_fields if len(error["loc"]) == 1 else TargetSelector.model_fields
        return f"unknown field {name!r}.{did_you_mean(name, allowed)} Known: {', '.join(allowed)}."
    if kind == "value_error":
        return f"{error['ctx']['error']}."
    if kind == "literal_error":
        return f"field {field_name}: {value!r} is not allowed.{_suggestion(error)} Allowed: {error['ctx']['expected']}."
    # The label NO of a list without quotes is False in YAML 1.1; the message of pydantic would not say so.
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"field {field_name}: YAML reads {value!r} here, text is expected; put it in quotes."
    if kind == "string_pattern_mismatch":
        return f"field {field_name}: {value!r} is not allowed; use lower-case letters, digits and underscores."
    return f"field {field_name}: {value!r} is not allowed: {error['msg'].lower()}."


def _field_name(loc: tuple[int | str, ...]) -> str:
    name = ".".join(part for part in loc if isinstance(part, str))
    return f"{name!r}" + "".join(f", entry {part + 1}" for part in loc if isinstance(part, int))


def _suggestion(error: dict[str, Any]) -> str:
    allowed = [part.strip(" '") for part in error["ctx"]["expected"].replace(" or ", ", ").split(",")]
    return did_you_mean(str(error["input"]), allowed)


@dataclass(frozen=True)
class Suite:
    """A named set of built-in tasks.

    Attributes:
        name: as given to `--tasks`.
        title: what it holds.
        candidates: tasks the rule chooses from, in registry order.
        where: fields a member must have; `access` is that of its dataset.
        note: what could not be established about it.
    """

    name: str
    title: str
    candidates: tuple[Task, ...]
    where: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def members(self) -> list[str]:
        """Return the names of the member tasks; reads the dataset catalogue when the rule asks for `access`."""
        return [task.name for task in self.candidates if all(_has(task, *item) for item in self.where.items())]


def read_suites(path: Path, tasks: Mapping[str, Task]) -> dict[str, Suite]:
    """Read the rules and return the suites by name, families (FIELD:VALUE) after the single ones."""
    content = read_mapping(path)
    rules: dict[str, dict[str, Any]] = content["suites"]
    named = {name: _suite(name, rules, tasks, path, ()) for name in rules}
    for field_name, rule in content["families"].items():
        # A rule like the others, whose members are then parted.
        members = _suite(field_name, {**rules, field_name: {"title": "", **rule}}, tasks, path, ()).members()
        values = dict.fromkeys(getattr(tasks[name], field_name) for name in members)
        for value in values:
            chosen = tuple(tasks[name] for name in members if getattr(tasks[name], field_name) == value)
            title = CATEGORIES.get(value, value) if field_name == "category" else f"tasks on {value}"
            named[f"{field_name}:{value}"] = Suite(f"{field_name}:{value}", title, chosen)
    return named


def _suite(
    name: str, rules: Mapping[str, dict[str, Any]], tasks: Mapping[str, Task], path: Path, above: tuple[str, ...]
) -> Suite:
    # `above` are the suites on the way here: one that starts from itself would never end.
    if name in above or name not in rules:
        raise InputError(f"{path}: suite {name!r} {'starts from itself' if name in above else 'is not defined'}.")
    rule = rules[name]
    if set(rule) - RULES:
        raise InputError(f"{path}: suite {name!r}: unknown {sorted(set(rule) - RULES)}; allowed: {sorted(RULES)}.")
    if "tasks" in rule:
        missing = [task for task in rule["tasks"] if task not in tasks]
        if missing:
            raise InputError(f"{path}: suite {name!r} lists {missing[0]!r}, which is no task.")
        candidates = [tasks[task] for task in rule["tasks"]]
    else:
        # A superseded task stays runnable by its name, and leaves the suites.
        candidates = [task for task in tasks.values() if task.superseded_by is None]
    where = dict(rule.get("where", {}))
    if "from" in rule:
        base = _suite(rule["from"], rules, tasks, path, (*above, name))
        candidates = list(base.candidates)
        where = {**base.where, **where}
    kept = tuple(task for task in candidates if task.name not in rule.get("except", ()))
    return Suite(name, rule["title"], kept, where, rule.get("note", ""))


def _has(task: Task, field_name: str, value: Any) -> bool:
    if field_name == "access":
        # Only when a rule asks for access: listing tasks reads no catalogue of datasets.
        from dataset_scripts.catalog import get

        return bool(get(task.dataset).access == value)
    return bool(getattr(task, field_name) == value)
