"""The tasks by name: the built-in ones, a user's own beside them, and the training runs they are read from.

Included files are tasks, or descriptions of a user's own archives; their fields tell which.

Importing this module reads nothing and imports no torch, transformers or datasets.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import ecg_hub.packages as packages
from ecg_hub.errors import InputError, unknown_name
from ecg_hub.spelling import looked_up, matching, normalised, spelt
from ecg_hub.utils.remote import bring, place
from eval_harness.tasks.checks import check_dataset, check_references, definition_of
from eval_harness.tasks.task import (
    CATEGORIES,
    SUITES_FILE,
    Suite,
    TargetSelector,
    Task,
    read_suites,
    read_task,
)

if TYPE_CHECKING:
    from dataset_scripts.core.spec import ECGDataset
    from dataset_scripts.custom import CustomDataset


__all__ = ["Run", "Task", "custom_datasets", "datasets", "expand", "get_task", "runs", "suites", "tasks", "validate"]

TASKS_FOLDER = Path(__file__).resolve().parent
REMEDY = "See `ecg-eval ls tasks` and `ecg-eval ls suites`; files of your own are named by --include."

RunKind = Literal["multi_label_classification", "regression", "mixed"]


@dataclass(frozen=True)
class Run:
    """One training run and the tasks that were asked for and are read from it.

    Attributes:
        name: of the run; predictions are kept under it.
        dataset: name of the dataset.
        label_column: column that holds the targets.
        kind: mixed when classes and regression targets are trained jointly.
        labels: all published outputs of the run, classes first, then regression targets: also those that no task asked
            for scores, because training on fewer would give another model. Without those that `selectors` add.
        regression_targets: the outputs that are regression targets.
        tasks: the tasks asked for.
        selectors: (kind, selector) of outputs that only the data name.
    """

    name: str
    dataset: str
    label_column: str
    kind: RunKind
    labels: tuple[str, ...]
    regression_targets: tuple[str, ...]
    tasks: tuple[Task, ...]
    selectors: tuple[tuple[str, TargetSelector], ...] = ()

    @property
    def defined(self) -> str:
        """The digest of what is trained: data and outputs."""
        parts = (self.dataset, self.label_column, self.kind, self.labels, self.regression_targets, self.selectors)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def outputs(self, regression: bool, groups: Mapping[str, Sequence[str]]) -> list[str]:
        """Return classes, or regression targets, of the run; selected ones as far as the data name them."""
        targets = set(self.regression_targets)
        chosen = [s.among(groups) for kind, s in self.selectors if (kind == "regression") == regression]
        listed = [label for label in self.labels if (label in targets) == regression]
        return list(dict.fromkeys([*(name for names in chosen for name in names), *listed]))

    @property
    def count(self) -> int:
        """Number of published outputs."""
        return len(self.labels) + sum(selector.published for _, selector in self.selectors)


def tasks(include: Iterable[Path | str] = ()) -> dict[str, Task]:
    """Return all tasks by name: built-in ones by category and name, those of other installed packages, then a user's.

    Args:
        include: a user's task files and descriptions of own archives, or folders of them (`*.yaml` and `*.yml`, not
                deeper).

    Raises:
        InputError: a file that is not valid, a name given twice or already built in, a dataset or label column that
            does not exist, or tasks of one run that disagree.

    Example:
        >>> tasks()["ptbxl_super"].title, "chapman_rhythm" in tasks()
        ('PTB-XL (super)', True)
    """
    own = _read_all(include)
    # A copy: the mapping is cached, and callers may change theirs.
    return _joined(own, _registered()) if own.tasks else dict(_registered())


def custom_datasets(include: Iterable[Path | str]) -> dict[str, CustomDataset]:
    """Return a user's own archives by name: those described in the given files, and those that tasks in them name."""
    return _read_all(include).datasets


def datasets(include: Iterable[Path | str] = ()) -> dict[str, ECGDataset]:
    """Return the published datasets by name, and after them a user's own.

    Raises:
        InputError: as `tasks`.
    """
    from dataset_scripts import catalog

    return {**catalog.datasets(), **custom_datasets(include)}


def get_task(name: str, include: Iterable[Path | str] = ()) -> Task:
    """Return one task.

    Raises:
        UnknownNameError: no such task, with suggestions.
        InputError: as `tasks`.

    Example:
        >>> task = get_task("ptbxl_super")
        >>> task.dataset, task.labels, task.count
        ('ptb-xl', ('CD', 'HYP', 'MI', 'NORM', 'STTC'), 5)
        >>> get_task("ptbxl_supr")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.UnknownNameError: Unknown task 'ptbxl_supr'. ...
    """
    return looked_up("task", name, tasks(include), REMEDY)


def suites() -> dict[str, Suite]:
    """Return all suites by name; they hold built-in tasks only.

    Example:
        >>> [name for name in suites() if ":" not in name]
        ['all', 'published', 'open', 'pretraining-strategies', 'demo']
    """
    return read_suites(TASKS_FOLDER / SUITES_FILE, _built_in())


def package_of(name: str) -> str:
    """Return the package that brings a registered task."""
    return _listed().package_of(name)


def expand(names: str | Iterable[str], include: Iterable[Path | str] = ()) -> list[Task]:
    """Return the tasks behind names of tasks and suites, in the order asked for, each once.

    Args:
        names: "ptbxl_super,all", or several such strings; `*`, `?` and `[...]` match task names.
        include: a user's task files or folders.

    Raises:
        UnknownNameError: a name that is neither task nor suite, or a pattern without match, with suggestions.
        InputError: no name at all, or as `tasks`.

    Example:
        >>> [task.name for task in expand("ptbxl_s*,ptbxl_super")]  # each once, in the order asked for
        ['ptbxl_sub', 'ptbxl_super']
        >>> expand("ptbxl_sup*r,ptbx")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.UnknownNameError: Unknown task or suite 'ptbx'. ...
    """
    parts = [names] if isinstance(names, str) else names
    wanted = [name.strip() for part in parts for name in part.split(",") if name.strip()]
    if not wanted:
        raise InputError(f"No task was named. {REMEDY}")
    by_name, known_suites = tasks(include), suites()
    chosen: dict[str, Task] = {}
    for name in wanted:
        chosen.update({member: by_name[member] for member in _members(name, by_name, known_suites)})
    return list(chosen.values())


def runs(wanted: Sequence[Task], include: Iterable[Path | str] = (), separate: bool = False) -> list[Run]:
    """Return the training runs that the tasks need, in order of first need.

    A run trains all its published outputs, whichever of its tasks were asked for.

    Args:
        wanted: tasks of `expand`.
        include: the files or folders that were given to `expand`.
        separate: train every task by itself instead, which is not what was published.

    Raises:
        InputError: as `tasks`, or a task whose file was not included.

    Example:
        >>> [run.name for run in runs(expand("mimic_sex,mimic_mortality"))]  # both are read from one joint run
        ['mimic']
        >>> runs(expand("mimic_sex"))[0].count, runs(expand("mimic_sex"), separate=True)[0].count
        (1127, 1)
    """
    by_name = tasks(include)
    # Compared as a whole: a task of the same name from another file is another task.
    unknown = [task.name for task in wanted if by_name.get(task.name) != task]
    if unknown:
        raise InputError(
            f"Tasks {', '.join(map(repr, unknown))} are not in the registry; pass their files as `include`."
        )
    if separate:
        wanted = [task.alone for task in wanted]
    return [
        _run(name, [task for task in wanted if task.run == name], by_name)
        for name in dict.fromkeys(task.run for task in wanted)
    ]


def validate(paths: Iterable[Path | str]) -> list[Task]:
    """Check task files and descriptions together and return their tasks; built-in files may be checked in place."""
    own = _read_all(paths)
    # A built-in file is known by its name already and would be refused as given twice.
    beside = [(file, task) for file, task in own.tasks if file.resolve().parent != TASKS_FOLDER]
    _joined(Included(beside, own.datasets), _registered())
    return [task for _, task in own.tasks]


@dataclass(frozen=True)
class Included:
    """What a user's files hold.

    Attributes:
        tasks: every task with its file; `dataset` is a name.
        datasets: the described archives by name.
    """

    tasks: list[tuple[Path, Task]]
    datasets: dict[str, CustomDataset]


@cache
def _built_in() -> Mapping[str, Task]:
    paths = sorted(path for path in TASKS_FOLDER.glob("*.yaml") if path.name != SUITES_FILE)
    order = list(CATEGORIES)
    ordered = sorted((read_task(path) for path in paths), key=lambda task: (order.index(task.category), task.name))
    by_name = {task.name: task for task in ordered}
    check_references(by_name, by_name)
    return by_name


def _registered() -> Mapping[str, Task]:
    """The tasks of this package and of others."""
    listed = _listed()
    return {**listed.own, **listed.added}


@cache
def _listed() -> packages.Listed[Task]:
    return packages.listed("task", packages.TASKS, _built_in(), _offered)


def _offered(offer: packages.Offer) -> list[tuple[str, Task]]:
    """The tasks of another package: a folder of task files, checked together like a user's own."""
    if offer.folder is None:
        raise InputError(f"{offer.entry.value} is no folder of task files (*.yaml)")
    own = _read_all([offer.folder])
    if own.datasets:
        raise InputError(f"{', '.join(own.datasets)}: datasets of a package are announced under {packages.DATASETS}")
    joined = _joined(own, _built_in())
    return [(task.name, joined[task.name]) for _, task in own.tasks]


def _joined(own: Included, known: Mapping[str, Task]) -> dict[str, Task]:
    """The registered tasks and a user's own, checked against each other."""
    built_in = _built_in()
    by_name, origin = dict(known), dict[str, Path]()
    for path, read in own.tasks:
        task = _spelled_as_registered(path, read, own)
        there, before = spelt(task.name, known), spelt(task.name, origin)
        if there is not None:
            whose = "is built in" if there in built_in else f"is registered by {package_of(there)}"
            raise InputError(
                f"{path}: task {there!r} {whose}, and a result under its name must mean the published task; "
                "choose another name."
            )
        if before is not None:
            raise InputError(f"{path}: task {before!r} is already defined in {origin[before]}; names are unique.")
        # Published rows are ranked beside the paper's; a user's own must not pass for one.
        if task.published:
            raise InputError(f"{path}: field 'published': true is reserved for rows of the paper; leave it out.")
        by_name[task.name], origin[task.name] = task, path
    check_references(by_name, built_in)
    return by_name


def _read_all(include: Iterable[Path | str]) -> Included:
    """Read tasks and descriptions; a task may name the archive, or give the path of its description."""
    files = _files(include)
    if not files:
        return Included([], {})
    from dataset_scripts.catalog import is_path
    from dataset_scripts.custom import is_description

    own_tasks: list[tuple[Path, Task]] = []
    described: dict[str, CustomDataset] = {}
    problems = []
    for path in files:
        try:
            if is_description(path):
                _add_own(described, path)
                continue
            task = read_task(path)
            if is_path(task.dataset):
                name = _add_own(described, path.parent / Path(task.dataset).expanduser())
                task = task.model_copy(update={"dataset": name})
            own_tasks.append((path, task))
        except InputError as error:
            # All files are read before anything is refused, so that one call shows every fault.
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return Included(own_tasks, described)


def _add_own(described: dict[str, CustomDataset], path: Path) -> str:
    """Read a description, unless it is known already, and return the archive's name."""
    from dataset_scripts.catalog import refuse_published_name
    from dataset_scripts.custom import open_custom

    own = open_custom(path)
    refuse_published_name(own.name, path)
    # The same description may be reached from several tasks, by other spellings of its path.
    first = described.setdefault(own.name, own)
    if first.source.resolve() != own.source.resolve():
        raise InputError(f"{path}: dataset {own.name!r} is already described in {first.source}; names are unique.")
    return own.name


def _files(include: Iterable[Path | str]) -> list[Path]:
    files: list[Path] = []
    for entry in include:
        try:
            path = bring(place(entry))
            folder, file = path.is_dir(), path.is_file()
        except InputError:
            raise
        # A name that is too long, or holds a NUL; a home that nobody has.
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{str(entry)[:200]!r}: no such task file or folder ({error}).") from error
        if folder:
            inside = sorted(one for one in path.iterdir() if one.suffix in (".yaml", ".yml"))
            if not inside:
                raise InputError(f"{path}: the folder holds no task file (*.yaml).")
            # The list of suites lies among the built-in tasks and is none; a link may lead to itself.
            files += [one for one in inside if os.path.realpath(one) != str(TASKS_FOLDER / SUITES_FILE)]
        elif file:
            files.append(path)
        else:
            raise InputError(f"{path}: no such task file or folder.")
    # A file that is named itself and lies in a named folder is one task, not two of one name.
    return list(dict.fromkeys(files))


def _run(name: str, asked: Sequence[Task], by_name: Mapping[str, Task]) -> Run:
    definition = definition_of(name, by_name, _built_in())
    classes = _union(task for task in definition if task.kind != "regression")
    targets = _union(task for task in definition if task.kind == "regression")
    kinds = {task.kind for task in definition}
    kind: RunKind = "mixed" if len(kinds) > 1 else next(iter(kinds))
    selectors = tuple((task.kind, task.targets) for task in definition if task.targets is not None)
    first = asked[0]
    return Run(name, first.dataset, first.label_column, kind, classes + targets, targets, tuple(asked), selectors)


def _union(definition: Iterable[Task]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for task in definition for label in task.labels))


def _members(name: str, by_name: Mapping[str, Task], known_suites: Mapping[str, Suite]) -> list[str]:
    task, suite = spelt(name, by_name), spelt(name, known_suites)
    if task is not None:
        return [task]
    if suite is not None:
        return known_suites[suite].members()
    if any(character in name for character in "*?["):
        # Tasks alone: a pattern that matched suites too would bring tasks whose names do not fit it.
        matched = matching(name, by_name)
        if not matched:
            raise unknown_name("task pattern", name, by_name, REMEDY)
        return matched
    family = [suite for suite in known_suites if normalised(suite.partition(":")[2]) == normalised(name)]
    remedy = f"Write {family[0]!r} for all its tasks. {REMEDY}" if family else REMEDY
    raise unknown_name("task or suite", name, [*by_name, *known_suites], remedy)


def _spelled_as_registered(path: Path, task: Task, own: Included) -> Task:
    """The task with its dataset and run as they are registered, after a check that they fit."""
    from dataset_scripts import catalog

    dataset = spelt(task.dataset, {**catalog.datasets(), **own.datasets}) or task.dataset
    homes = [*_built_in(), *(other.name for _, other in own.tasks)]
    task = task.model_copy(update={"dataset": dataset, "run": spelt(task.run, homes) or task.run})
    check_dataset(path, task, own.datasets)
    return task
