"""Write every generated page anew: `python docs/pages.py`.

Pages of tasks, metrics and datasets, the cards and the table of models, the counts of the README, the list of classes
in the reference, the public names in `ecg_hub/__init__.py`, and the picture of the packages. Operations of a model that
is new are counted first. All texts are made before the first file is written: an error leaves the pages as they were.
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import ecg_hub
from dataset_scripts.catalog import get
from dataset_scripts.tools.card import own_datasets
from dataset_scripts.tools.card import pages as dataset_pages
from ecg_hub import catalog
from ecg_hub.errors import EcgHubError
from eval_harness.metrics.registry import metrics_page
from eval_harness.tasks.registry import runs, suites, tasks
from eval_harness.tasks.task import CATEGORIES, Task
from model_cards import table
from model_cards.__main__ import cards, count_new
from model_cards.card import MEASURED

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
REFERENCE = DOCS / "reference" / "ecg_hub.md"
NAMES = ROOT / "ecg_hub" / "__init__.py"
PICTURE = DOCS / "architecture.svg"

TASKS_HEAD = """\
# Tasks

Made from `eval_harness/tasks/*.yaml` by `python docs/pages.py`; do not edit.
`ecg-eval describe NAME` prints everything about one of them. How to add one: [here](contributing/task.md).
"""
CLASSES_BEGIN, CLASSES_END = "<!-- classes: python docs/pages.py -->\n", "<!-- end of classes -->\n"
NAMES_OF_THE_MODULE = ("__version__", "list_datasets", "load_dataset")
"""Public names of `ecg_hub` that stand in its own file."""


def pages() -> dict[Path, str]:
    """Return the text of every generated page."""
    picture = runpy.run_path(str(DOCS / "architecture.py"))
    return {
        DOCS / "tasks.md": tasks_page(),
        DOCS / "metrics.md": metrics_page(),
        **dataset_pages(DOCS),
        **cards(),
        table.PAGE: table.with_table(table.PAGE.read_text(encoding="utf-8")),
        README: with_counts(README.read_text(encoding="utf-8")),
        REFERENCE: with_classes(REFERENCE.read_text(encoding="utf-8")),
        NAMES: with_public_names(NAMES.read_text(encoding="utf-8"), ecg_hub._HOMES | catalog.public_classes()),
        PICTURE: picture["draw"](picture["import_graph"]()),
    }


def tasks_page() -> str:
    """Return docs/tasks.md: the tasks by category with their datasets, runs and labels, then the suites."""
    by_category = list(tasks().values())
    lines = [TASKS_HEAD]
    for category, title in CATEGORIES.items():
        rows = [task for task in by_category if task.category == category]
        if rows:
            lines += [f"## {title[0].upper()}{title[1:]}\n", *_task_table(rows), ""]
    lines += ["## Suites\n", "| suite | holds | tasks |", "|---|---|---|"]
    lines += [f"| `{suite.name}` | {suite.title} | {len(suite.members())} |" for suite in suites().values()]
    lines += [f"\n`{suite.name}`: {suite.note}" for suite in suites().values() if suite.note]
    return "\n".join(lines) + "\n"


def _task_table(rows: list[Task]) -> list[str]:
    lines = ["| task | title | dataset | access | training run | labels | metric | version |", "|" + "---|" * 8]
    for task in rows:
        dataset = get(task.dataset)
        (run,) = runs([task])
        lines.append(
            f"| `{task.name}` | {task.title} | [{dataset.title}]({dataset.page}) | {dataset.access} | `{run.name}` | "
            f"{task.count} | {task.metric} | {task.version} |"
        )
    return lines


def with_counts(readme: str) -> str:
    """Return the README with its rows of models and datasets, and its count of proofs, as they are now."""
    numbers = table.counts()
    titles: dict[str, list[str]] = {"foundation": [], "supervised": []}
    for entry in catalog.built_in().values():
        if entry.is_default:
            titles[entry.kind].append(entry.title)
    models = (
        f"| models | {numbers['architectures']} architectures: {', '.join(titles['foundation'])}, and the supervised "
        f"{' and '.join(titles['supervised'])}, each also as `random:NAME` and `random:NAME-tiny`; "
        f"{numbers['checkpoints']} published checkpoints of them, other sizes, one lead and fine-tuned ones included "
        "(`ecg-hub ls`, [all of them](docs/models.md#architectures-and-checkpoints)) |"
    )
    data = f"| datasets | {', '.join(one.title for one in own_datasets())}, each with a mock; your own |"
    shared = numbers["checkpoints"] - numbers["proved"]
    proofs = rf"{numbers['checkpoints']}\g<1>{numbers['proved']}\g<2>{shared}\g<3>"
    for pattern, text in (
        (r"^\| models \| .*$", models.replace("\\", r"\\")),
        (r"^\| datasets \| .*$", data.replace("\\", r"\\")),
        (r"\d+(\s+checkpoints\s+)\d+(\s+have\s+such\s+a\s+proof\s+of\s+their\s+own;\s+)\d+(\s+share)", proofs),
    ):
        readme, found = re.subn(pattern, text, readme, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"{README} has {found} places like {pattern!r}, where a count is written; one is needed.")
    return readme


def with_classes(page: str) -> str:
    """Return the reference with the classes of every model between its two marks."""
    parts = []
    for entry in (entry for entry in catalog.built_in().values() if entry.is_default):
        lines = [f"### {entry.title}", "", "```{eval-rst}", ".. currentmodule:: ecg_hub", ""]
        for name in (reference.partition(":")[2] for reference in entry.public_classes):
            lines += [f".. autoclass:: {name}", *([] if name.endswith("Config") else ["   :members: forward"])]
        parts.append("\n".join([*lines, "```"]))
    before, begin, rest = page.partition(CLASSES_BEGIN)
    _, end, after = rest.partition(CLASSES_END)
    if not begin or not end:
        raise ValueError(f"{REFERENCE} lacks the lines {CLASSES_BEGIN.strip()!r} and {CLASSES_END.strip()!r}.")
    return "\n".join([f"{before}{begin}", "\n\n".join(parts), "", f"{end}{after}"])


def with_public_names(code: str, homes: Mapping[str, str]) -> str:
    """Return `ecg_hub/__init__.py` with its static names: what type checkers are told, and `__all__`."""
    lines = ["if _typing.TYPE_CHECKING:"]
    for module, names in groupby(sorted(homes, key=lambda name: (homes[name], name)), homes.__getitem__):
        for name in names:
            line = f"    from {module} import {name} as {name}"
            wrapped = [f"    from {module} import (", f"        {name} as {name},", "    )"]
            lines += [line] if len(line) <= 120 else wrapped
    listed = [f'    "{name}",' for name in sorted({*homes, *NAMES_OF_THE_MODULE})]
    for pattern, text in (
        (r"^if _typing\.TYPE_CHECKING:\n(?:    .*\n)+", "\n".join([*lines, ""])),
        (r"^__all__ = \[\n(?:    .*\n)+\]\n", "\n".join(["__all__ = [", *listed, "]", ""])),
    ):
        code, found = re.subn(pattern, text, code, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"{NAMES} has {found} places like {pattern!r}, where names are written; one is needed.")
    return code


def main() -> None:
    """Write what has changed, and print its paths."""
    if count_new():
        print(MEASURED.relative_to(ROOT))
    made = pages()
    for path, text in made.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    try:
        main()
    except EcgHubError as error:
        raise SystemExit(f"error: {error}\nNo page was written.") from None
