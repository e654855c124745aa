"""What tasks there are, as rows that show themselves as a table."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import Path

from ecg_hub.spelling import registered
from ecg_hub.utils.rows import Rows
from eval_harness.tasks.registry import expand, tasks
from eval_harness.tasks.task import CATEGORIES


def list_tasks(
    pattern: str | None = None,
    *,
    suite: str | None = None,
    category: str | None = None,
    dataset: str | None = None,
    include: Iterable[Path | str] = (),
) -> Rows:
    """List the tasks, all or those that every given filter keeps. Reads task files alone; imports no torch.

    Args:
        pattern: of names, for example "ptbxl_*".
        suite: only the members of a suite, for example "all" or "open"; `ecg-eval ls suites` lists them.
        category: for example "acute_care".
        dataset: for example "ptb-xl".
        include: your own task files or folders of them, which are listed too.

    Returns:
        Rows: task, title, category, dataset, kind, metric, labels (how many), run, published.

    Raises:
        UnknownNameError: no such suite, category or dataset, with suggestions.

    Example:
        >>> list_tasks(dataset="ptb-xl", suite="all").column("task")
        ['ptbxl_all', 'ptbxl_form', 'ptbxl_rhythm', 'ptbxl_sub', 'ptbxl_super']
        >>> list_tasks("chapman*", category="adult_interpretation").column("labels")
        [42, 9]
        >>> list_tasks(dataset="ptb-xxl")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.UnknownNameError: Unknown dataset 'ptb-xxl'. Did you mean 'ptb-xl' or 'ptb'? ...
    """
    listed = list(tasks(include).values())
    category = None if category is None else registered("category", category, CATEGORIES)
    dataset = None if dataset is None else registered("dataset", dataset, {task.dataset for task in listed})
    members = None if suite is None else {task.name for task in expand(suite, include)}
    return Rows(
        {
            "task": task.name,
            "title": task.title,
            "category": task.category,
            "dataset": task.dataset,
            "kind": task.kind,
            "metric": task.metric,
            "labels": task.count,
            "run": task.run,
            "published": task.published,
        }
        for task in listed
        if fnmatch.fnmatchcase(task.name, pattern or "*")
        and (members is None or task.name in members)
        and category in (None, task.category)
        and dataset in (None, task.dataset)
    )
