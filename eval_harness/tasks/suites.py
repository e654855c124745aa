"""Suites: names for several tasks, given by rules so that they stay right when tasks arrive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError
from ecg_hub.utils.yaml import read_mapping
from eval_harness.tasks.task import CATEGORIES, Task

SUITES_FILE = "suites.yaml"
RULES = {"title", "tasks", "where", "from", "except"}


@dataclass(frozen=True)
class Suite:
    """A named set of built-in tasks.

    Attributes:
        name: as given to `--tasks`.
        title: what it holds.
        candidates: tasks the rule chooses from, in registry order.
        where: fields a member must have; `access` is that of its dataset.
    """

    name: str
    title: str
    candidates: tuple[Task, ...]
    where: Mapping[str, Any] = field(default_factory=dict)

    def members(self) -> list[str]:
        """Return the names of the member tasks; reads the dataset catalogue when the rule asks for `access`."""
        return [task.name for task in self.candidates if all(_has(task, *item) for item in self.where.items())]


def read_suites(path: Path, tasks: Mapping[str, Task]) -> dict[str, Suite]:
    """Read the rules and return the suites by name, families (FIELD:VALUE) after the single ones."""
    content = read_mapping(path)
    rules: dict[str, dict[str, Any]] = content["suites"]
    found = {name: _suite(name, rules, tasks, path, ()) for name in rules}
    for field_name, rule in content["families"].items():
        members = _suite(rule["from"], rules, tasks, path, ()).members()
        values = dict.fromkeys(getattr(tasks[name], field_name) for name in members)
        for value in values:
            chosen = tuple(tasks[name] for name in members if getattr(tasks[name], field_name) == value)
            title = CATEGORIES.get(value, value) if field_name == "category" else f"tasks on {value}"
            found[f"{field_name}:{value}"] = Suite(f"{field_name}:{value}", title, chosen)
    return found


def _suite(
    name: str, rules: Mapping[str, dict[str, Any]], tasks: Mapping[str, Task], path: Path, above: tuple[str, ...]
) -> Suite:
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
        candidates = [task for task in tasks.values() if task.superseded_by is None]
    where = dict(rule.get("where", {}))
    if "from" in rule:
        base = _suite(rule["from"], rules, tasks, path, (*above, name))
        candidates = list(base.candidates)
        where = {**base.where, **where}
    kept = tuple(task for task in candidates if task.name not in rule.get("except", ()))
    return Suite(name, rule["title"], kept, where)


def _has(task: Task, field_name: str, value: Any) -> bool:
    if field_name == "access":
        from dataset_scripts.catalog import get

        return bool(get(task.dataset).access == value)
    return bool(getattr(task, field_name) == value)
