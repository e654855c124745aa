"""The page that lists all tasks, made from the task files: `python docs/tasks.py > docs/tasks.md`."""

from __future__ import annotations

from eval_harness.tasks.registry import runs, suites, tasks
from eval_harness.tasks.task import CATEGORIES, Task

HEAD = """\
# Tasks

Made from `eval_harness/tasks/*.yaml` by `python docs/tasks.py > docs/tasks.md`; do not edit.
`ecg-eval describe NAME` prints everything about one of them. How to add one: [here](contributing/task.md).
"""


def tasks_page() -> str:
    """Return docs/tasks.md: the tasks by category with their datasets, runs and labels, then the suites."""
    by_category = list(tasks().values())
    lines = [HEAD]
    for category, title in CATEGORIES.items():
        rows = [task for task in by_category if task.category == category]
        if rows:
            lines += [f"## {title[0].upper()}{title[1:]}\n", *_table(rows), ""]
    lines += ["## Suites\n", "| suite | holds | tasks |", "|---|---|---|"]
    lines += [f"| `{suite.name}` | {suite.title} | {len(suite.members())} |" for suite in suites().values()]
    lines += [f"\n`{suite.name}`: {suite.note}" for suite in suites().values() if suite.note]
    return "\n".join(lines) + "\n"


def _table(rows: list[Task]) -> list[str]:
    from dataset_scripts.catalog import get

    lines = ["| task | title | dataset | access | training run | labels | metric | version |", "|" + "---|" * 8]
    for task in rows:
        dataset = get(task.dataset)
        (run,) = runs([task])
        lines.append(
            f"| `{task.name}` | {task.title} | [{dataset.title}]({dataset.page}) | {dataset.access} | `{run.name}` | "
            f"{task.count} | {task.metric} | {task.version} |"
        )
    return lines


if __name__ == "__main__":
    print(tasks_page(), end="")
