"""Reading one task file: YAML to a checked `Task`, with errors that name file, field, value and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecg_hub.errors import InputError, did_you_mean

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

METRIC_OF_KIND: dict[str, tuple[str, bool]] = {
    "multi_label_classification": ("macro_auroc", True),
    "regression": ("mae", False),
}


class Task(BaseModel):
    """One scored task: which labels of which training run, and how they are scored.

    Attributes:
        name: lower case with underscores; unique.
        version: raised by every change that alters scores.
        title: as in the paper's tables.
        description: one or two sentences.
        category: one of CATEGORIES.
        dataset: name of the dataset, whose licence and access hold for the task.
        run: the training run it is read from: its own name, another task's, or a joint run shared by several tasks.
        label_column: column of the dataset that holds the targets of the run.
        kind: multi_label_classification or regression.
        metric: macro_auroc, or mae on z-scored targets.
        higher_is_better: true for macro_auroc, false for mae.
        labels: the published labels (classes or regression targets), each once.
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
    labels: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]
    resample_unit: Literal["record", "patient"]
    citation: Text
    published: bool = False
    superseded_by: TaskName | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        repeated = sorted({label for label in self.labels if self.labels.count(label) > 1})
        if repeated:
            raise ValueError(f"labels: {', '.join(map(repr, repeated))} given more than once; each label counts once")
        metric, higher = METRIC_OF_KIND[self.kind]
        if (self.metric, self.higher_is_better) != (metric, higher):
            raise ValueError(
                f"metric: {self.metric!r} with higher_is_better {str(self.higher_is_better).lower()} does not fit kind "
                f"{self.kind!r}; it takes metric {metric!r} and higher_is_better {str(higher).lower()}"
            )
        if self.superseded_by == self.name:
            raise ValueError(f"superseded_by: {self.name!r} cannot supersede itself")
        return self


def read_task(path: Path) -> Task:
    """Read and check one task file.

    Raises:
        InputError: the file cannot be read, is not one YAML mapping, or a field is missing, unknown or not allowed;
            every problem of the file is listed.
    """
    content = read_mapping(path)
    try:
        return Task.model_validate(content)
    except ValidationError as error:
        problems = [_sentence(dict(item)) for item in error.errors(include_url=False)]
        raise InputError("\n".join(f"{path}: {problem}" for problem in problems)) from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that must hold one mapping without repeated keys.

    Raises:
        InputError: the file cannot be read, is not YAML, not a mapping, or repeats a key.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}.") from error
    if not isinstance(content, dict):
        found = "empty" if content is None else f"a {type(content).__name__}"
        raise InputError(f"{path}: a mapping of fields such as `name: my_task` is expected; the file is {found}.")
    return content


class _Loader(yaml.SafeLoader):
    """Safe loading that refuses a repeated key instead of keeping the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"field {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _sentence(error: dict[str, Any]) -> str:
    """One pydantic error in words."""
    place, value, kind = _place(error["loc"]), error["input"], error["type"]
    if kind == "missing":
        return f"field {place} is missing."
    if kind == "extra_forbidden":
        name = str(error["loc"][-1])
        return f"unknown field {name!r}.{did_you_mean(name, Task.model_fields)} Known: {', '.join(Task.model_fields)}."
    if kind == "value_error":
        return f"{error['ctx']['error']}."
    if kind == "literal_error":
        return f"field {place}: {value!r} is not allowed.{_suggestion(error)} Allowed: {error['ctx']['expected']}."
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"field {place}: YAML reads {value!r} here, text is expected; put it in quotes."
    if kind == "string_pattern_mismatch":
        return f"field {place}: {value!r} is not allowed; use lower-case letters, digits and underscores."
    return f"field {place}: {value!r} is not allowed: {error['msg'].lower()}."


def _place(loc: tuple[int | str, ...]) -> str:
    name, *rest = loc or ("",)
    return f"{name!r}" + "".join(f", entry {i + 1}" for i in rest if isinstance(i, int))


def _suggestion(error: dict[str, Any]) -> str:
    allowed = [part.strip(" '") for part in error["ctx"]["expected"].replace(" or ", ", ").split(",")]
    return did_you_mean(str(error["input"]), allowed)
