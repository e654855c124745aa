"""What the files of all analyses share: the head of a result, settings that a folder keeps, reading and writing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, JsonValue, ValidationError

from ecg_hub.errors import ResultError
from ecg_hub.utils.files import resumed, write_text
from eval_harness.results.schema import Strict, UtcTime, in_words, read_json

SCHEMA_VERSION = "1.0"


class Analysis(Strict):
    """Head of every analysis result.

    Attributes:
        settings: what decides the numbers; a folder is continued only with equal settings.
        complete: whether everything that was asked for is there; a file that is not goes on where it stopped.
        synthetic: whether the records are simulated.
        part_of_release: "1978/17418 train; 261/2198 test" where not all of the release was prepared, else None.
        command: the command line.
        environment: versions and machine.
        created: when it was begun.
    """

    schema_version: Literal["1.0", "1.1"] = "1.0"
    settings: dict[str, JsonValue]
    complete: bool = False
    synthetic: bool = False
    part_of_release: str | None = None
    command: list[str] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)
    created: UtcTime


A = TypeVar("A", bound=Analysis)


def write_analysis(path: Path, result: Analysis) -> None:
    """Write a result atomically."""
    write_text(path, result.model_dump_json(indent=1) + "\n")


def read_analysis(path: Path, kind: type[A]) -> A:
    """Read a result of an analysis."""
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        raise ResultError(
            f"{str(path)!r} is not a {kind.__name__} of version {SCHEMA_VERSION}: {in_words(error)}."
        ) from error


def continued(path: Path, asked: A, overwrite: bool = False) -> A:
    """Return the result to go on with: the one in the file where its settings are those asked for, else the new one."""
    try:
        # With --overwrite a file that cannot be read is no obstacle: it is discarded anyway.
        stored = read_analysis(path, type(asked)) if path.is_file() else None
    except ResultError:
        if not overwrite:
            raise
        stored = None

    def refusal(different: Sequence[str]) -> ResultError:
        listed = "\n".join(f"  {line}" for line in different)
        return ResultError(
            f"{str(path)!r} was made with other settings:\n{listed}\n"
            "Choose another --output, or --overwrite to discard what is there."
        )

    # Settings alone decide; command, machine and date of the first call stay in the file.
    result = resumed(stored, lambda old: changed(old.settings, asked.settings), refusal, overwrite=overwrite)
    return asked if result is None else result


def changed(stored: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Say in words which settings differ."""
    return [
        f"{name}: {stored.get(name)!r} in the folder, {asked.get(name)!r} asked for"
        for name in sorted(stored.keys() | asked.keys())
        if stored.get(name) != asked.get(name)
    ]


def interval_text(estimate: Any, sign: str = "") -> str:
    """An estimate as "0.842 [0.831, 0.853]", with a sign where `sign` is "+"; what is missing in words."""
    if estimate is None or estimate.point is None:
        return "undefined"
    if estimate.low is None:
        return f"{estimate.point:{sign}.3f} [no interval]"
    return f"{estimate.point:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"
