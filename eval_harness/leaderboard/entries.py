"""Reading a results repository: every entry checked, nothing believed that contradicts itself.

What was computed again before, so that the next build of the page takes seconds: a small file of digests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from ecg_hub import __version__ as PACKAGE_VERSION  # noqa: N812 - a constant
from ecg_hub.errors import EcgHubError, ResultError
from ecg_hub.utils.files import write_text
from eval_harness.publish.checks import content_problems, recompute
from eval_harness.publish.layout import ENTRY, META_FILE, PREDICTIONS, RESULTS, ModelMeta, digest, entry_path, read_meta
from eval_harness.publish.push import MAX_ENTRY_BYTES
from eval_harness.publish.repository import withheld
from eval_harness.results.predictions import read_predictions
from eval_harness.results.schema import Result, in_words, upgraded
from eval_harness.tasks.task import Task


@dataclass
class RecomputeCache:
    """Outcomes by digest of everything they depend on.

    Attributes:
        path: of the file; None keeps nothing.
        checks: of entry and predictions -> what differed; empty when nothing did.
        pairings: of task, predictions and method of comparison -> which rows were paired, and which of them tie.
    """

    path: Path | None = None
    checks: dict[str, list[str]] = field(default_factory=dict)
    pairings: dict[str, dict[str, Any]] = field(default_factory=dict)

    @staticmethod
    def key(*parts: str) -> str:
        """Return the digest of what an outcome depends on, this version of the package among it."""
        return hashlib.sha256("|".join((PACKAGE_VERSION, *parts)).encode()).hexdigest()

    def save(self) -> None:
        """Write the file."""
        if self.path is not None:
            write_text(self.path, json.dumps({"checks": self.checks, "pairings": self.pairings}))


def open_recompute_cache(path: Path | None) -> RecomputeCache:
    """Read the file; one that cannot be read is started again, it only saves time."""
    if path is None or not path.is_file():
        return RecomputeCache(path)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        pairings = {key: dict(pairing) for key, pairing in raw["pairings"].items()}
        return RecomputeCache(
            path, {key: [str(line) for line in lines] for key, lines in raw["checks"].items()}, pairings
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return RecomputeCache(path)


State = Literal["recomputed", "self-reported"]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class LeaderboardEntry:
    """One finished result of the repository.

    Attributes:
        path: in the repository.
        result: without its labels and subgroups, which the page does not show.
        meta: of its model.
        state: "recomputed" when its predictions lie beside it and give these numbers.
        predictions: file, where there is one.
    """

    path: str
    result: Result
    meta: ModelMeta
    state: State
    predictions: Path | None = None

    @property
    def row(self) -> str:
        """The folder of model and revision: what makes a row."""
        return self.path.rsplit("/", 2)[0]


@dataclass
class Contents:
    """What a repository holds.

    Attributes:
        entries: that pass, by path.
        problems: path -> why it is not shown.
    """

    entries: dict[str, LeaderboardEntry] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def read_repository(
    folder: Path, registry: Mapping[str, Task], memory: RecomputeCache, told: Progress | None = None
) -> Contents:
    """Read and check all entries of a folder."""
    root = folder / RESULTS
    if not root.is_dir():
        raise ResultError(f"{str(folder)!r} holds no folder {RESULTS!r}; `ecg-eval push --folder` fills it.")
    contents = Contents()
    for model_folder in sorted(path for path in root.glob("*/*") if path.is_dir()):
        _read_model(folder, model_folder, registry, memory, contents, told or (lambda path: None))
    return contents


def _read_model(
    folder: Path,
    model_folder: Path,
    registry: Mapping[str, Task],
    memory: RecomputeCache,
    contents: Contents,
    told: Progress,
) -> None:
    """One model at one revision: its description, its entries, and whether the two agree."""
    name = model_folder.relative_to(folder).as_posix()
    try:
        meta = read_meta(_content(model_folder / META_FILE), f"{name}/{META_FILE}")
    except (EcgHubError, OSError) as error:
        contents.problems[f"{name}/{META_FILE}"] = str(error) or "it is not there"
        return
    paths: set[str] = set()
    for file in sorted(model_folder.glob("*/*.json")):
        path = file.relative_to(folder).as_posix()
        paths.add(path.removeprefix(f"{name}/").removesuffix(".json"))
        try:
            contents.entries[path] = _read_entry(folder, file, path, meta, registry, memory, told)
        except EcgHubError as error:
            contents.problems[path] = str(error)
    # An entry cannot be removed without a trace because its score was disliked.
    for missing in sorted(set(meta.entries) - paths):
        contents.problems[f"{name}/{missing}.json"] = f"{META_FILE} lists it, and it is not there"
    for file in sorted(model_folder.glob("*/predictions/*")):
        path = file.relative_to(folder).as_posix()
        if (problem := _predictions_problem(path, registry)) is not None:
            contents.problems[path] = problem


def _read_entry(
    folder: Path,
    file: Path,
    path: str,
    meta: ModelMeta,
    registry: Mapping[str, Task],
    memory: RecomputeCache,
    told: Progress,
) -> LeaderboardEntry:
    # The names of folders end up in addresses and on the page.
    if ENTRY.fullmatch(path) is None:
        raise ResultError("its name is none of an entry: results/MODEL/REVISION/MODE/TASK.json")
    content = _content(file)
    result = parse(content, file)
    problems = list(_contradictions(path, content, result, meta))
    if result.status != "done":
        problems.append(f"it is {result.status}, not done")
    problems += content_problems(result, registry)
    if problems:
        raise ResultError("; ".join(problems))
    predictions = file.parent / result.predictions.file if result.predictions else None
    if predictions is None or not predictions.is_file() or _predictions_problem(_below(predictions, folder), registry):
        return LeaderboardEntry(path, _light(result), meta, "self-reported")
    assert result.predictions is not None
    # Everything that the outcome depends on is in the key, so that a stale outcome cannot be found.
    key = memory.key("check", digest(content), digest(predictions.read_bytes()), str(registry[result.task].version))
    wrong = memory.checks.get(key)
    if wrong is None:
        told(path)
        sha256 = result.predictions.sha256
        wrong = recompute(result, registry[result.task], lambda: read_predictions(predictions, sha256))
        memory.checks[key] = wrong
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ResultError(f"computed again from its predictions, it differs: {wrong[0]}{more}")
    return LeaderboardEntry(path, _light(result), meta, "recomputed", predictions)


def parse(content: bytes, file: Path) -> Result:
    """Read an entry of this or an older schema version."""
    try:
        # The present schema first, straight from the bytes: nearly all entries are of it.
        return Result.model_validate_json(content)
    except ValidationError as error:
        first = error
    try:
        raw = json.loads(content)
        if not isinstance(raw, dict) or "schema_version" not in raw:
            raise ResultError(f"it is not a result: {in_words(first)}")
        return Result.model_validate(upgraded(raw, file))
    except ValidationError as error:
        raise ResultError(f"it does not fit the schema of results: {in_words(error)}") from error
    # RecursionError: JSON of thousands of nested brackets.
    except (ValueError, RecursionError) as error:
        raise ResultError(f"it is not JSON ({error})") from error


def _contradictions(path: str, content: bytes, result: Result, meta: ModelMeta) -> Iterator[str]:
    """Where an entry is not what its path and its model's description say."""
    expected = entry_path(result)
    if expected != path:
        yield f"by its content it belongs at {expected}"
    model = result.model
    for what, own, told in (
        ("model", model.id, meta.id),
        ("revision", model.revision, meta.revision),
        ("weights_sha256", model.weights_sha256, meta.weights_sha256),
        ("parameters", model.parameters, meta.parameters),
    ):
        if own != told:
            yield f"its {what} is {own!r}, in {META_FILE} it is {told!r}"
    listed = meta.entries.get(f"{result.mode}/{result.task}")
    if listed is None:
        yield f"{META_FILE} does not list it"
    elif listed != digest(content):
        yield f"it was changed after it was published: its SHA-256 is not the one in {META_FILE}"


def _predictions_problem(path: str, registry: Mapping[str, Task]) -> str | None:
    """Why a file of predictions must not be there, or None."""
    match = PREDICTIONS.fullmatch(path)
    datasets = {task.run: task.dataset for task in registry.values()}
    if match is None or match[4] not in datasets:
        return "it is no file of predictions of the benchmark"
    reason = withheld(datasets[match[4]])
    return None if reason is None else f"these predictions must not be published, remove them: {reason}"


def _content(file: Path) -> bytes:
    # A link in a repository of strangers could lead to any file of the machine that builds the page.
    if file.is_symlink() or not file.is_file():
        raise ResultError("it is not there, or it is a link")
    # The size before the content: reading is what a huge file would harm.
    if file.stat().st_size > MAX_ENTRY_BYTES:
        raise ResultError(f"it has {file.stat().st_size:,} bytes; at most {MAX_ENTRY_BYTES:,} are read")
    return file.read_bytes()


def _below(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _light(result: Result) -> Result:
    """Ten thousand results with all their labels would take a gigabyte."""
    return result.model_copy(update={"per_label": [], "subgroups": [], "environment": {}, "timings_s": {}})
