"""The result of one task as a checked, versioned model, and its JSON file.

JSON holds no NaN: a number that is undefined is null. Unknown fields are refused, so that a file that reads is a file
that is understood; files of older schema versions are brought up to date when read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from ecg_hub.errors import DataError, ResultError
from ecg_hub.utils.files import is_inside, write_text
from ecg_hub.utils.untrusted import plain_file
from eval_harness.results.contamination import State

MAX_JSON = 2**26  # bytes of a file of results or of an analysis
SCHEMA_VERSION: Final = "1.3"
UPGRADES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    # 1.1 adds optional fields to labels: decisions at thresholds, calibration, clinical units.
    "1.0": lambda content: {**content, "schema_version": "1.1"},
    # 1.2 adds the optional model.pretraining_corpora.
    "1.1": lambda content: {**content, "schema_version": "1.2"},
    # 1.3 says how intervals were made, where the weights come from and how much of the release the data are.
    # A result that predates it was made with the percentile intervals of statistics version 1.
    "1.2": lambda content: {**content, "schema_version": "1.3"},
}
"""Older schema version -> function that returns the content in the next one, with its `schema_version` set."""


def _inside(name: str) -> str:
    if not is_inside(name):
        raise ValueError("it lies outside the folder of the result")
    return name


def _nan_to_none(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


Finite = Annotated[float, Field(allow_inf_nan=False)]
# Before the check for finite numbers, which would refuse the NaN of an undefined metric.
Number = Annotated[Finite | None, BeforeValidator(_nan_to_none)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# In one zone and in whole seconds, so that the order of the texts is that of the times.
UtcTime = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$")]


class Strict(BaseModel):
    """Base: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(Strict):
    """A metric with its interval (95 %, or as asked); null where undefined. `classes`: outputs it is taken over."""

    point: Number
    low: Number = None
    high: Number = None
    classes: Count | None = None


class SourceFile(Strict):
    """A file of the authors, as the configuration of the weights names it."""

    file: str
    sha256: Sha256


class ModelInfo(Strict):
    """The encoder that was scored: what was asked for and what was loaded.

    `pretraining_corpora`: what the model's own configuration says it was pre-trained on (`ecg-hub pretrain` writes it);
    null where it says nothing and the catalogue may. `pretraining_train_only`: those of them of which only the training
    records were read -> fingerprint of their records and splits.
    `origin`: where the weights come from: "catalogue" (the checkpoint that the short name stands for, by `evidence`:
    the digest of the "tensors" or of the authors' "file" is the one that the catalogue knows, or the record of the
    conversion has "declared" it), "random" (never trained), "own" (trained, as their configuration says, or not of the
    hub's classes), "unverified"; null in results of older versions. `source`: the authors' file that they descend from.
    """

    id: str
    revision: str | None = None
    weights_sha256: Sha256 | None = None
    preset: str
    parameters: Count | None = None
    pretraining_corpora: list[str] | None = None
    pretraining_train_only: dict[str, str] | None = None
    origin: Literal["catalogue", "random", "own", "unverified"] | None = None
    evidence: Literal["tensors", "file", "declared"] | None = None
    source: SourceFile | None = None


class MappedOutput(Strict):
    """A label of a task that outputs of a published head stand for: `code` is what the tables say that both mean."""

    label: str
    outputs: list[str]
    code: str


class HeadInfo(Strict):
    """The authors' head that was scored in mode `published_head`, and what of the task it can say.

    Attributes:
        checkpoint: short name of the checkpoint that it belongs to.
        sha256: digest of its tensors.
        outputs: how many it has.
        mapped: the labels that were scored; of several outputs the largest probability counts.
        unmapped: label of the run -> why no output stands for it.
        maximum: outputs of which a record has the largest probability of its windows, as its authors do.
    """

    checkpoint: str
    sha256: Sha256
    outputs: Count
    mapped: list[MappedOutput]
    unmapped: dict[str, str] = {}
    maximum: list[str] = []


class ProtocolInfo(Strict):
    """The protocol by name, and everything that differed from it: field -> value used.

    Attributes:
        trained_parameters: how many numbers of encoder and head training could change; None in results of earlier
            versions, which left part of ECG-FM at its random start where nothing was pre-trained.
        published_head: in mode `published_head`, the head and its labels; None in all others.
    """

    name: str
    deviations: dict[str, JsonValue] = {}
    trained_parameters: Count | None = None
    published_head: HeadInfo | None = None


class RecordCounts(Strict):
    """Records of each split that were used."""

    train: Count
    validation: Count
    test: Count


class LabelCoverage(Strict):
    """Published labels of the task, how many the run has an output for, and the names of the others.

    `unnamed` counts published labels that only the full data name (codes of a group that are too rare in this copy).
    A copy with other thresholds may score more labels of such a group than were published.
    """

    published: Count
    scored: Count
    missing: list[str] = []
    unnamed: Count = 0

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        absent = len(self.missing) + self.unnamed
        if self.scored + absent != self.published and (absent or self.scored < self.published):
            raise ValueError(f"{self.scored} scored and {absent} missing do not make {self.published} labels")
        return self


class ReleaseInfo(Strict):
    """What the copy of the dataset held, so that it can be compared with the release without the data.

    `version`: the release that its tables reveal; `read`: records that were read, in all; `records`: those of each
    split before a limit, a window length or a subset; digests of the labels and folds of all records.
    """

    version: str | None = None
    read: Count
    records: RecordCounts
    label_sha256: dict[str, Sha256] = {}
    fold_sha256: Sha256 | None = None


class DataInfo(Strict):
    """The data a task was scored on.

    `contamination`: whether declared pre-training corpora hold this dataset; "seen-train" where they hold its training
    records alone. `release`: null for simulated data, a user's own data, and results before schema 1.3.
    """

    name: str
    fingerprint: str
    records: RecordCounts
    labels: LabelCoverage
    contamination: State
    release: ReleaseInfo | None = None


class LabelResult(Strict):
    """One label on the test split: `records` with a target, `positives` among them (classes only), its metrics.

    `threshold` is where F1 was best on validation; F1, sensitivity and specificity are those of the test records at it.
    `mae` is in standard deviations of the training records, `mae_clinical` in `unit`.
    """

    label: str
    positives: Count | None = None
    records: Count
    auroc: Estimate | None = None
    auprc: Estimate | None = None
    threshold: Number = None
    f1: Estimate | None = None
    sensitivity: Estimate | None = None
    specificity: Estimate | None = None
    brier: Estimate | None = None
    calibration_error: Estimate | None = None
    calibration_rms: Estimate | None = None
    mae: Estimate | None = None
    mae_clinical: Estimate | None = None
    unit: str | None = None


class Subgroup(Strict):
    """The metrics on the test records of one subgroup, e.g. name "sex", value "female"."""

    name: str
    value: str
    records: Count
    metrics: dict[str, Estimate]


class PredictionsFile(Strict):
    """The predictions of the run, relative to the folder of the result, with their digest."""

    file: Annotated[str, AfterValidator(_inside)]
    sha256: Sha256


NO_DATA, NO_MODEL = "no data: ", "no model: "
"""How the reason of a skipped row begins whose data or weights were not there."""


class Result(Strict):
    """One task scored, failed or skipped.

    `statistics_version`: the methods of the intervals (docs/statistics.md); files that do not say it are of version 1.
    """

    schema_version: Literal["1.3"] = SCHEMA_VERSION
    task: str
    task_version: Annotated[int, Field(ge=1)]
    run: str
    status: Literal["done", "failed", "skipped"]
    reason: str | None = None
    model: ModelInfo
    mode: str
    protocol: ProtocolInfo
    seed: int
    statistics_version: Annotated[int, Field(ge=1)] = 1
    data: DataInfo | None = None
    # A mutable default does no harm here: pydantic copies it for every instance.
    metrics: dict[str, Estimate] = {}
    per_label: list[LabelResult] = []
    subgroups: list[Subgroup] = []
    predictions: PredictionsFile | None = None
    timings_s: dict[str, Seconds] = {}
    environment: dict[str, str] = {}
    created: UtcTime

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.status == "done":
            absent = [name for name in ("data", "metrics", "per_label", "predictions") if not getattr(self, name)]
            if absent:
                raise ValueError(f"status 'done' needs {', '.join(absent)}")
        elif not self.reason:
            raise ValueError(f"status {self.status!r} needs a reason")
        elif self.metrics:
            raise ValueError(f"status {self.status!r} must have no metrics")
        return self

    @property
    def lacks(self) -> bool:
        """Whether it was skipped for want of data or weights, and not because its mode makes no sense."""
        return self.status == "skipped" and str(self.reason).startswith((NO_DATA, NO_MODEL))

    @property
    def is_synthetic(self) -> bool:
        """Whether it was made with simulated data."""
        return bool(self.protocol.deviations.get("synthetic"))


def utc_now() -> str:
    """Return the time for `created`: UTC, whole seconds, "2026-11-21T20:00:00Z"."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_result(path: Path, result: Result) -> None:
    """Write a result atomically, indented, keys in the order of the schema."""
    write_text(path, result.model_dump_json(indent=1) + "\n")


def read_result(path: Path) -> Result:
    """Read a result of this or an older schema version."""
    content = upgraded(read_json(path), path)
    try:
        return Result.model_validate(content)
    except ValidationError as error:
        raise ResultError(
            f"{str(path)!r} is not a result of schema {SCHEMA_VERSION}: {in_words(error)}. If it is no result of a "
            "task, move it to a folder of its own: every .json beside results is read as one."
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that must hold one object and no NaN."""
    try:
        # A link of a stranger may lead to a pipe or device, which never ends.
        plain_file(path, MAX_JSON)
        # Python's parser takes NaN and Infinity, which JSON does not have, unless it is told otherwise.
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except DataError as error:
        raise ResultError(f"{str(path)!r} cannot be read ({error}).") from error
    except OSError as error:
        raise ResultError(f"{str(path)!r} cannot be read ({error.strerror or error}).") from error
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise ResultError(
            f"{str(path)!r} is not valid JSON ({error}). Remove it and give the same command again."
        ) from error
    if not isinstance(content, dict):
        raise ResultError(f"{str(path)!r} holds a {type(content).__name__}; one JSON object is expected.")
    return content


def upgraded(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Bring the content of an older schema version up to the present one, step by step."""
    version = content.get("schema_version")
    # A step that forgets to raise the version would go round for ever.
    seen: set[str] = set()
    while version != SCHEMA_VERSION:
        # A foreign file may have a list there, which no dictionary can be asked for.
        if not isinstance(version, str) or version not in UPGRADES or version in seen:
            readable = ", ".join([*UPGRADES, SCHEMA_VERSION])
            raise ResultError(
                f"{str(path)!r} has schema_version {version!r}; this ecg-hub reads {readable}. "
                "A newer file needs a newer ecg-hub: pip install --upgrade ecg-hub."
            )
        seen.add(version)
        content = UPGRADES[version](content)
        version = content.get("schema_version")
    return content


def result_json_schema() -> dict[str, Any]:
    """Return the JSON schema of a result file, for documentation and for checks outside Python."""
    return Result.model_json_schema()


def in_words(error: ValidationError) -> str:
    """Return every problem of a validation error as "field: what is wrong", separated by semicolons."""
    parts = []
    for item in error.errors(include_url=False):
        field_path = ".".join(str(part) for part in item["loc"]) or "file"
        parts.append(f"{field_path}: {item['msg'][:1].lower()}{item['msg'][1:]}")
    return "; ".join(parts)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON; undefined numbers are null")
