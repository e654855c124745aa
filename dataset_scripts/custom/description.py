"""The YAML file that describes a user's own archive: fields, defaults, checks."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from dataset_scripts.formats.channels import unit_uv
from dataset_scripts.formats.registry import BARE_FORMATS
from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.leads import canonical_lead
from ecg_hub.utils.yaml import read_mapping, sentences

# As registry.FORMATS, spelt out for type checkers.
Format = Literal[
    "auto", "wfdb", "edf", "dicom", "muse", "csv", "parquet",
    "aecg", "bdf", "ishne", "kardia", "mfer", "mortara", "scp", "sierra",
]  # fmt: skip

DEFAULT_SEXES: dict[str, Literal["male", "female"] | None] = {
    "male": "male",
    "m": "male",
    "female": "female",
    "f": "female",
}
DEFAULT_SEPARATOR = ";"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# A misspelt field must not be passed over: with `extra` allowed its default would be taken in silence.
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


def _as_text(value: Any) -> Any:
    """Accept what YAML reads as a whole number where a column or label name stands: 101 is "101"."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, BeforeValidator(_as_text), Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
Renamed = Annotated[dict[Name, Name], Field(min_length=1)]


class Columns(BaseModel):
    """The columns of the table.

    Attributes:
        record: name of the record; must be unique. It finds the signal file where `file` is not given.
        file: path of the signal file below the folder of `signals`.
        patient: whoever the record is of; records of one patient share a fold.
        labels: one column with labels joined by `separator`, or columns of 0 and 1, or such columns with their labels.
        separator: between labels in one cell.
        targets: numeric columns, or such columns with the names of the targets.
        fold: whole numbers; the highest is test, the one below validation, the others train.
        split: train, validation or test.
        age: years.
        sex: male or female, or what `sex_values` says.
        sex_values: cell -> male, female or null.
    """

    model_config = _STRICT

    record: Name
    file: Name | None = None
    patient: Name | None = None
    labels: Name | Names | Renamed | None = None
    separator: Text = DEFAULT_SEPARATOR
    targets: Name | Names | Renamed | None = None
    fold: Name | None = None
    split: Name | None = None
    age: Name | None = None
    sex: Name | None = None
    sex_values: dict[Name, Literal["male", "female"] | None] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # Two sources of one fact may contradict each other, and nobody would notice which one was used.
        if self.fold is not None and self.split is not None:
            raise ValueError(f"'fold' ({self.fold!r}) and 'split' ({self.split!r}) are both given; keep one of them")
        for what, names in (("labels", self.label_columns()), ("targets", self.target_columns())):
            repeated = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
            if repeated:
                raise ValueError(f"{what!r} names {', '.join(map(repr, repeated))} more than once")
        if self.sex_values and self.sex is None:
            raise ValueError("'sex_values' is given without the column 'sex'")
        return self

    def label_columns(self) -> dict[str, str]:
        """Return column -> label where every label has a column of 0 and 1, else {}."""
        return {} if isinstance(self.labels, str) else _renamed(self.labels)

    def target_columns(self) -> dict[str, str]:
        """Return column -> name of the target."""
        return _renamed((self.targets,) if isinstance(self.targets, str) else self.targets)

    def sexes(self) -> dict[str, Literal["male", "female"] | None]:
        """Return what the cells of the column `sex` mean."""
        own = {name.lower(): value for name, value in self.sex_values.items()}
        # Where another letter stands for male, M may stand for a woman (hombre, mujer): only the description can say.
        letters = {name for name, value in own.items() if value == "male" and len(name) == 1 and name.isalpha()}
        usual = {name: value for name, value in DEFAULT_SEXES.items() if name != "m" or letters <= {"m"}}
        # The user's own words win over the usual ones.
        return {**usual, **own}

    def needed(self) -> list[str]:
        """Return every column that is named, each once."""
        single = [self.record, self.file, self.patient, self.fold, self.split, self.age, self.sex]
        if isinstance(self.labels, str):
            single.append(self.labels)
        names = [name for name in single if name is not None]
        return list(dict.fromkeys([*names, *self.label_columns(), *self.target_columns()]))


class Folds(BaseModel):
    """How folds are made where the table has none: stratified by labels, patients kept together."""

    model_config = _STRICT

    number: Annotated[int, Field(ge=3, le=100)] = 10
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Description(BaseModel):
    """What the YAML file says.

    Attributes:
        name: of the dataset: in task files, results, and below the data root.
        title: its name in prose.
        description: a paragraph.
        folder: the data folder, relative to the YAML file; other paths are relative to it.
        signals: folder of the signal files (searched with its sub-folders), or a pattern with * or **.
        format: one of registry.FORMATS; "auto" goes by the content of each file, where it tells nothing by the ending.
        sampling_rate: Hz; needed where the files state none (CSV, Parquet), checked against the file otherwise.
        unit: of samples for which the files state none (CSV, Parquet, an EDF without dimension): V, mV, uV, nV, or a
            multiple such as "4.88 uV".
        lead_names: name in the files -> standard lead, or null for a channel that is left out.
        encoding: code page of a table in CSV that is not UTF-8, for example cp1252.
        max_record_mb: the largest record, in MB of its twelve leads as float32 (512); larger ones are lost.
        table: CSV, Parquet or Excel file with one row per record.
        columns: its columns.
        folds: how folds are made where the table has none.
        min_seconds: shorter records stay out of the splits.
        min_count: labels with fewer occurrences are dropped.
        access, redistribution, licence, citation: as for the published datasets.
    """

    model_config = _STRICT

    name: str
    title: Text | None = None
    description: str = ""
    folder: Text | None = None
    signals: Text
    format: Format = "auto"
    sampling_rate: Annotated[int, Field(ge=1, le=100_000)] | None = None
    unit: Text | None = None
    lead_names: dict[Name, Name | None] = Field(default_factory=dict)
    encoding: Text | None = None
    max_record_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    table: Text | None = None
    columns: Columns | None = None
    folds: Folds | None = None
    min_seconds: Annotated[float, Field(ge=0, strict=False)] = 0.0
    min_count: Annotated[int, Field(ge=1)] = 10
    # The careful answer is the default: nothing leaves the machine unless the description says that it may.
    access: Literal["open", "restricted", "credentialed"] = "restricted"
    redistribution: bool = False
    licence: Text = "not stated"
    citation: str = ""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"{value!r} is not allowed; use lower-case letters, digits and hyphens, as in my-hospital")
        return value

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, value: str | None) -> str | None:
        if value is not None:
            unit_uv(value)
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        try:
            return value if value is None else codecs.lookup(value).name
        except LookupError:
            raise ValueError(
                f"{value!r} is no code page; cp1252 is that of Western Europe, cp1250 Central Europe"
            ) from None

    @field_validator("lead_names")
    @classmethod
    def _known_leads(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        try:
            return {name: None if lead is None else canonical_lead(lead) for name, lead in value.items()}
        except UnknownNameError as error:
            raise ValueError(str(error).removesuffix(".")) from None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.table is None) != (self.columns is None):
            given, absent = ("table", "columns") if self.columns is None else ("columns", "table")
            raise ValueError(f"{given!r} is given without {absent!r}; they go together")
        if self.format in BARE_FORMATS and (self.sampling_rate is None or self.unit is None):
            absent = " and ".join(repr(n) for n in ("sampling_rate", "unit") if getattr(self, n) is None)
            raise ValueError(f"format {self.format!r} needs {absent}: such files state neither")
        if self.folds is not None and self.columns is not None and (self.columns.fold or self.columns.split):
            raise ValueError("'folds' is given, and the table has folds already; keep one of the two")
        # Both fields decide what is published; a contradiction must not be settled by whichever is looked at first.
        if self.redistribution and self.access != "open":
            raise ValueError(f"access {self.access!r} with redistribution true: only open data may be passed on")
        return self


def read_description(path: Path) -> Description:
    """Read and check a description.

    Raises:
        InputError: the file cannot be read, or a field is missing, unknown or not allowed; every problem is listed.
    """
    content = read_mapping(path)
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        fields = {"": list(Description.model_fields), "columns": list(Columns.model_fields)}
        fields["folds"] = list(Folds.model_fields)
        # All problems at once, each told once: a union of forms may report the same one several times.
        problems = dict.fromkeys(sentences(_without_union_branches(error, content), fields))
        raise InputError("\n".join(f"{path}: {problem}" for problem in problems)) from error


def is_description(path: Path) -> bool:
    """Return whether a YAML file describes a dataset and not a task: by its fields. False where it cannot be read."""
    try:
        content = read_mapping(path)
    except InputError:
        return False
    # A task file and a description both end in .yaml, and users mistake one for the other.
    return bool({"signals", "table", "columns"} & set(content)) and not {"kind", "run"} & set(content)


def _renamed(names: tuple[str, ...] | dict[str, str] | None) -> dict[str, str]:
    return dict(names) if isinstance(names, Mapping) else {name: name for name in names or ()}


def _without_union_branches(error: ValidationError, content: Mapping[str, Any]) -> ValidationError:
    """Return the errors with one entry per field that allows text, a list or a mapping, instead of one per form."""
    kept: list[Any] = []
    for item in error.errors():
        loc = item["loc"]
        if loc[:1] == ("columns",) and loc[1:2] in (("labels",), ("targets",)) and len(loc) > 2:
            value = content["columns"][loc[1]]
            forms = ValueError(
                f"{value!r} is not allowed; give a column, a list of columns, or a mapping from column to name"
            )
            kept.append({"type": "value_error", "loc": loc[:2], "input": value, "ctx": {"error": forms}})
        else:
            kept.append({key: item[key] for key in ("type", "loc", "input", "ctx") if key in item})
    return ValidationError.from_exception_data(error.title, kept)
