"""Scores in the repository of the model itself: `.eval_results/*.yaml`, and the older model-index of its card."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from ecg_hub.errors import InputError
from ecg_hub.hub.client import Repository, is_there, until_committed
from ecg_hub.utils.yaml import CardError, load_yaml
from eval_harness.metrics.registry import MACRO_AUROC, MAE
from eval_harness.publish.layout import entry_path, settings
from eval_harness.publish.push import TRIES, Outcome, PublishError
from eval_harness.publish.repository import CARD, task_id
from eval_harness.results.extent import deviations_of
from eval_harness.results.schema import Result
from eval_harness.results.summary import deviations_text, score_text
from eval_harness.tasks.task import Task

FOLDER = ".eval_results"
HUB_METRICS = {MACRO_AUROC: "roc_auc", MAE: "mae"}
"""Metric that ranks a task -> what the Hub calls it."""


def update_model_repo(
    results: Sequence[Result],
    tasks: Mapping[str, Task],
    repository: Repository,
    leaderboard: str,
    link: Callable[[str], str],
    *,
    model_index: bool = False,
    dry_run: bool = False,
) -> Outcome:
    """Write scores into a model's repository, in one commit; entries of other tasks stay."""
    folders = sorted({entry_path(result).split("/")[1] for result in results})
    if len(folders) != 1:
        raise PublishError(f"--model-repo takes the results of one model; these are of {', '.join(folders) or 'none'}.")

    def attempt(number: int) -> Outcome:
        head = repository.head()
        if head is None:
            raise InputError(f"{repository.name} is not there: publish the model first with `ecg-hub push`.")
        files = {}
        for path, own in sorted(_by_file(results, leaderboard).items()):
            files[path] = entries_yaml(own, tasks, leaderboard, link, repository.read(head, path))
        if model_index:
            files[CARD] = with_model_index(repository.read(head, CARD), results, tasks, link)
        there = repository.files(head)
        changed = {path: content for path, content in files.items() if not is_there(there, path, content)}
        unchanged = sorted(set(files) - set(changed))
        if not changed or dry_run:
            return Outcome(sorted(changed), unchanged, None, number)
        commit = repository.commit(changed, f"Scores of {leaderboard}", head)
        return Outcome(sorted(changed), unchanged, commit.link, number)

    return until_committed(repository.name, attempt, tries=TRIES, error=PublishError)


def _by_file(results: Sequence[Result], leaderboard: str) -> dict[str, list[Result]]:
    """File -> results: one file per leaderboard, mode and settings."""
    files: dict[str, list[Result]] = {}
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", leaderboard.rpartition("/")[2])
    for result in results:
        files.setdefault(f"{FOLDER}/{name}_{result.mode}{_asked(result)}.yaml", []).append(result)
    return files


def _asked(result: Result) -> str:
    """What was asked for other than the usual, as the end of a name; "" where nothing was."""
    # Scores of other settings must not replace those of the published protocol.
    return "".join(
        f"_{key}-{re.sub(r'[^A-Za-z0-9.-]+', '-', str(value))}" for key, value in sorted(settings(result).items())
    )


def entries_yaml(
    results: Sequence[Result],
    tasks: Mapping[str, Task],
    leaderboard: str,
    link: Callable[[str], str],
    old: bytes | None = None,
) -> bytes:
    """Return a file of `.eval_results`: these results, and of an older file what they do not replace."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml, parse_eval_result_entries

    try:
        entries = (
            {
                (entry.dataset_id, entry.task_id): entry
                for entry in parse_eval_result_entries(load_yaml(old.decode()) or [])
            }
            if old
            else {}
        )
    except (CardError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"A file of {FOLDER} in the model's repository cannot be read ({error}); fix it.") from error
    for result in results:
        metric = tasks[result.task].metric
        better = "higher" if tasks[result.task].higher_is_better else "lower"
        notes = (
            f"{metric} {score_text(result.metrics[metric])}, {better} is better; mode {result.mode}, protocol "
            f"{result.protocol.name}, deviations: {deviations_text(result)}"
        )
        name = task_id(result.task, result.mode)
        # Leaderboards of two organisations may have one name, and so one file.
        entries[leaderboard, name] = EvalResultEntry(
            dataset_id=leaderboard,
            task_id=name,
            value=result.metrics[metric].point,
            date=result.created,
            source_url=link(entry_path(result)),
            source_name="ecg-eval",
            notes=notes,
        )
    listed = eval_result_entries_to_yaml([entries[name] for name in sorted(entries)])
    return yaml.safe_dump(listed, sort_keys=False, allow_unicode=True, width=120).encode()


def with_model_index(
    card: bytes | None, results: Sequence[Result], tasks: Mapping[str, Task], link: Callable[[str], str]
) -> bytes:
    """Return a model card with these results in its model-index; other results in it stay."""
    from huggingface_hub import EvalResult, RepoCard
    from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

    try:
        # Errors in the metadata are raised: ignored, the card would be written back without what could not be read.
        # Not a ModelCard: that reads a model-index as its own fields, and loses `model_name` over it.
        model_card: Any = RepoCard(card.decode() if card else "---\n{}\n---\n", ignore_metadata_errors=False)
        data: dict[str, Any] = model_card.data.to_dict()
        name, old = model_index_to_eval_results(data["model-index"]) if data.get("model-index") else (None, [])
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise InputError(f"{CARD} of the model's repository cannot be read ({error}); fix it.") from error
    new = [_index_entry(result, tasks[result.task], link, EvalResult) for result in results]
    ids = {entry.unique_identifier for entry in new}
    kept = [entry for entry in old if entry.unique_identifier not in ids]
    # In a fixed order, so that equal scores give an equal card and no commit.
    listed = sorted([*kept, *new], key=lambda entry: (entry.dataset_name, str(entry.dataset_config), entry.metric_type))
    metrics = [HUB_METRICS[entry.metric_type] for entry in listed if entry.metric_type in HUB_METRICS]
    # Both at the end, wherever the card had them: a card that is read and written again must be the same.
    before = [*(data.pop("metrics", None) or [])]
    data.pop("model-index", None)
    data["metrics"] = list(dict.fromkeys([*before, *metrics]))
    data["model-index"] = eval_results_to_model_index(name or results[0].model.id, listed)
    front = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n{model_card.text}".encode()


def _index_entry(result: Result, task: Task, link: Callable[[str], str], make: Any) -> Any:
    estimate = result.metrics[task.metric]
    name = ", ".join([task.title, result.mode, *(f"{key} {value}" for key, value in settings(result).items())])
    # The model-index has no notes: what is not as published, part of the data too, is said beside the score.
    deviations = f", deviations: {deviations_text(result)}" if deviations_of(result) else ""
    return make(
        task_type="ecg-classification" if task.kind != "regression" else "ecg-regression",
        task_name=name,
        dataset_type=task.dataset,
        dataset_name=name,
        # What tells entries apart: those of another config are other scores and stay.
        dataset_config=f"{task_id(task.name, result.mode)}{_asked(result)}",
        dataset_split="test",
        metric_type=task.metric,
        metric_name=f"{task.metric} {score_text(estimate)}{deviations}",
        metric_value=estimate.point,
        source_name="ecg-eval",
        source_url=link(entry_path(result)),
    )
