"""From checked runs to one commit in a results repository; again and again gives the same repository."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ecg_hub.errors import EcgHubError, InputError, ResultError
from ecg_hub.hub.client import Repository, Stored, is_there, until_committed
from eval_harness.publish.checks import Finding, check_run, refusal
from eval_harness.publish.layout import (
    META_FILE,
    ModelMeta,
    describe,
    digest,
    entry_folder,
    entry_path,
    predictions_path,
    public_id,
    read_meta,
)
from eval_harness.publish.repository import (
    HubModels,
    ModelFacts,
    Models,
    UnreachableError,
    refuse_withheld,
    revision_problem,
    root_files,
    withheld,
)
from eval_harness.results.extent import partial_words
from eval_harness.results.folders import ResultFolder
from eval_harness.results.schema import Result
from eval_harness.tasks.task import Task

TRIES = 12
MAX_ENTRY_BYTES = 4 * 10**6


class PublishError(EcgHubError):
    """Results that a leaderboard does not take."""


@dataclass
class Submission:
    """What is to be published.

    Attributes:
        files: path -> content of entries and predictions.
        metas: folder of a model's revision -> its description.
        results: path -> result.
        notes: what a submitter should know: not scored, withheld, not confirmed.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    metas: dict[str, ModelMeta] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """What came of a push.

    Attributes:
        written: paths that were written, or would be in a dry run.
        unchanged: entries that were there already.
        address: of the commit or pull request; None where nothing was sent.
        tries: how often it took until nobody else was faster.
    """

    written: list[str]
    unchanged: list[str]
    address: str | None
    tries: int = 1


def prepare(
    runs: Sequence[ResultFolder],
    tasks: Mapping[str, Task],
    *,
    synthetic: bool = False,
    predictions: bool = False,
    models: Models | None = None,
) -> Submission:
    """Check runs and lay out what is to be published; one result that does not pass refuses all of it."""
    submission, problems = Submission(), list[Finding]()
    for run in runs:
        passed, wrong, absent = check_run(run, tasks)
        # All problems of all runs are collected first: one refusal that names everything, not one at a time.
        problems += wrong
        submission.notes += [f"not published, {finding}" for finding in absent]
        facts = _facts(run, passed, problems, submission, models or HubModels())
        for result in passed:
            if result.is_synthetic and not synthetic:
                text = "it was made with simulated data; a test leaderboard takes it with --allow-synthetic"
                problems.append(Finding(run.name, result.task, text))
            else:
                _add(submission, problems, run, result, facts)
                submission.notes += [f"{run.name} {result.task}: {text}" for text in partial_words(result)]
        if predictions:
            _add_predictions(submission, run, passed)
    if problems:
        raise PublishError(refusal(problems))
    if not submission.results:
        raise PublishError("\n".join(["Nothing was published: no task is done.", *submission.notes]))
    return submission


def push(
    submission: Submission,
    repository: Repository,
    tasks: Iterable[Task],
    *,
    replace: bool = False,
    request: bool = False,
    dry_run: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Send what is not there yet in one commit; when somebody else was faster, look again and send what is left."""
    all_tasks = list(tasks)

    def attempt(number: int) -> Outcome:
        head = repository.head()
        files, unchanged = _missing(submission, repository, head, replace)
        # A repository that has every entry gets no commit for the sake of its card.
        files |= _root(repository, head, all_tasks) if files else {}
        refuse_withheld(files, all_tasks)
        if not files or dry_run:
            return Outcome(sorted(files), unchanged, None, number)
        title = _title(submission, files)
        # The title carries a digest of the files, so the same proposal again is the open pull request.
        if request and (address := repository.open_request(title)) is not None:
            return Outcome([], sorted(submission.results), address, number)
        commit = repository.commit(files, title, head, request=request)
        return Outcome(sorted(files), unchanged, commit.link, number)

    return until_committed(
        repository.name,
        attempt,
        tries=TRIES,
        # At random, since writers that waited equally long would meet again.
        pause=lambda number: pause(random.uniform(0.05, 0.2) * 2 ** min(number, 5)),
        error=PublishError,
    )


def entry_bytes(result: Result) -> bytes:
    """Return the file of an entry: the result, its model under the name it is published under."""
    model = result.model
    model = model.model_copy(update={"id": public_id(model.id, model.revision, model.origin)})
    return (result.model_copy(update={"model": model}).model_dump_json(indent=1) + "\n").encode()


def _facts(
    run: ResultFolder, passed: Sequence[Result], problems: list[Finding], submission: Submission, models: Models
) -> ModelFacts | None:
    """Ask for the revision of the run's model."""
    model = run.run.settings.model
    if not passed:
        return None
    try:
        problem, facts = revision_problem(model.id, model.revision, models)
    # No network is no fault of the result: it is published with a note, and the leaderboard asks again.
    except UnreachableError as error:
        submission.notes.append(f"not confirmed, {run.name}: commit {model.revision} of the model; {error}")
        return None
    if problem:
        text = f"{problem}. Publish the model first (`ecg-hub push`), or score a commit that is there"
        problems.append(Finding(run.name, "all tasks", text))
    return facts


def _add(
    submission: Submission, problems: list[Finding], run: ResultFolder, result: Result, facts: ModelFacts | None
) -> None:
    try:
        path, folder = entry_path(result), entry_folder(result)
    except InputError as error:
        problems.append(Finding(run.name, result.task, str(error)))
        return
    content = entry_bytes(result)
    # Two runs of one model, revision, mode and task in one call: nobody can say which of them is meant.
    if submission.files.get(path, content) != content:
        text = f"another run among these gives another result for {path}; publish one of them"
        problems.append(Finding(run.name, result.task, text))
    if len(content) > MAX_ENTRY_BYTES:
        problems.append(
            Finding(run.name, result.task, f"{len(content):,} bytes; at most {MAX_ENTRY_BYTES:,} are taken")
        )
    submission.files[path], submission.results[path] = content, result
    meta = submission.metas.get(folder) or describe(result, facts.licence if facts else None)
    entries = {**meta.entries, f"{result.mode}/{result.task}": digest(content)}
    submission.metas[folder] = meta.model_copy(update={"entries": entries})


def _add_predictions(submission: Submission, run: ResultFolder, passed: Sequence[Result]) -> None:
    for result in passed:
        if result.data is None or result.predictions is None:
            continue
        reason = withheld(result.data.name)
        if reason:
            note = f"predictions of {run.name} {result.run} stay here: {reason}"
            submission.notes += [] if note in submission.notes else [note]
        else:
            submission.files[predictions_path(result)] = (run.folder / result.predictions.file).read_bytes()


def _missing(
    submission: Submission, repository: Repository, head: str | None, replace: bool
) -> tuple[dict[str, bytes], list[str]]:
    """What has to be written on top of a commit, and what is there already."""
    there: dict[str, Stored] = {}
    for folder in submission.metas:
        # Only the folders that would be written: a leaderboard may hold thousands of others.
        there |= repository.files(head, folder)
    files, unchanged, others = dict[str, bytes](), list[str](), list[str]()
    for path, content in submission.files.items():
        if is_there(there, path, content) or (path in there and _same_score(repository, head, path, submission)):
            unchanged.append(path)
        elif path in there and not replace:
            others.append(path)
        else:
            files[path] = content
    if others:
        raise PublishError(
            "\n".join(
                [
                    f"{repository.name} holds other scores of the same model, revision, mode and task:",
                    *(f"  {path}" for path in others),
                    "The same settings gave another number: find out why (`ecg-eval reproduce`), or --replace them.",
                ]
            )
        )
    for folder, meta in submission.metas.items():
        path = f"{folder}/{META_FILE}"
        old = repository.read(head, path) if path in there else None
        content = _merged(meta, old, path, files).text().encode()
        if old is None or old != content:
            files[path] = content
    return files, unchanged


def _root(repository: Repository, head: str | None, tasks: Sequence[Task]) -> dict[str, bytes]:
    """The card and the list of tasks of a new repository; where they are, they are somebody's to edit."""
    files = root_files(tasks, repository.on_public_hub)
    return {name: content for name, content in files.items() if repository.read(head, name) is None}


def _merged(meta: ModelMeta, old: bytes | None, path: str, files: Mapping[str, bytes]) -> ModelMeta:
    """The description with the entries of both; of entries that stay as they are, the digest stays too."""
    if old is None:
        return meta
    stored = read_meta(old, path)
    folder = path.removesuffix(f"/{META_FILE}")
    # The newest digest for what is written now; an entry that stays as it is keeps the digest of its own bytes.
    written = {key: value for key, value in meta.entries.items() if f"{folder}/{key}.json" in files}
    entries = {**meta.entries, **stored.entries, **written}
    licence = meta.licence or stored.licence
    return meta.model_copy(update={"entries": entries, "licence": licence})


def _same_score(repository: Repository, head: str | None, path: str, submission: Submission) -> bool:
    """Whether a file that differs says the same: the run was made again, at another time or on another machine."""
    mine = submission.results.get(path)
    content = repository.read(head, path) if mine is not None else None
    if mine is None or content is None:
        return False
    try:
        theirs = Result.model_validate_json(content)
    except ValueError as error:
        raise ResultError(f"{repository.name} holds {path}, which is no result: {error}") from error
    # From the bytes that would be sent, in which the model has its public name.
    ours = Result.model_validate_json(submission.files[path])
    aside = {"created": "", "timings_s": {}, "environment": {}}
    return theirs.model_copy(update=aside) == ours.model_copy(update=aside)


def _title(submission: Submission, files: Mapping[str, bytes]) -> str:
    """The commit's title: models, number of entries, and a mark by which the same proposal is found again."""
    names = list(dict.fromkeys(meta.id for meta in submission.metas.values()))
    models = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    count = sum(path in submission.results for path in files)
    mark = digest("".join(sorted(f"{path} {digest(content)}" for path, content in files.items())).encode())[:8]
    return f"{models}: {count} {'entry' if count == 1 else 'entries'} ({mark})"
