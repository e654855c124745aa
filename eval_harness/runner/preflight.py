"""What a call needs, looked up before anything runs: models, the data root, datasets. What is missing is said once.

Nothing is fetched and nothing heavy imported here; `eval_harness.runner.provide` fetches.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_scripts.core.walk import folder_of
from ecg_hub import catalog as models_catalog
from ecg_hub.errors import CheckpointError, DataError, EcgHubError, UnknownNameError
from ecg_hub.names import Resolved
from ecg_hub.utils.remote import place
from ecg_hub.weights.fetch import look_up
from eval_harness.config.options import TRIVIAL, RunOptions, default_data_root, is_python_object
from eval_harness.results.schema import NO_DATA, NO_MODEL
from eval_harness.runner.plan import Job, entry_for, plan
from eval_harness.tasks.registry import custom_datasets, expand

if TYPE_CHECKING:
    from dataset_scripts.core.spec import ECGDataset

WIDTH = 79


@dataclass(frozen=True)
class NeededModel:
    """A model that a call asks for.

    Attributes:
        name: what the user wrote.
        resolved: what it stands for; None of a Python object, of the baseline, and where it could not be resolved.
        problem: why it cannot be loaded, with the commands that help; "" where nothing is wrong.
    """

    name: str
    resolved: Resolved | None = None
    problem: str = ""

    @property
    def is_on_hub(self) -> bool:
        """Whether a hub has it, which has not been asked."""
        return self.resolved is not None and self.resolved.kind == "hub"

    @property
    def to_fetch(self) -> str:
        """Which file is fetched first, with its size and page; "" where none is."""
        if self.problem or self.resolved is None or self.resolved.kind != "published":
            return ""
        entry = models_catalog.get(self.resolved.target)
        # Nobody states the size of the authors' file before it is asked for; that of the weights in it is known.
        size = f"{entry.parameters / 1e6:,.1f} million parameters, {entry.parameters * 4 / 1e6:,.0f} MB as float32"
        return f"{entry.weights.file} from {entry.weights.page} ({size})"


@dataclass(frozen=True)
class NeededDataset:
    """A dataset that the tasks of a call need.

    Attributes:
        dataset: its metadata.
        folder: where it is looked for; None of simulated records, which are written on first use.
        problem: what is wrong with the folder, with the commands that help; "" where it can be used.
        tried: whether a download failed, which `problem` then is about.
    """

    dataset: ECGDataset
    folder: Path | None = None
    problem: str = ""
    tried: bool = False

    @property
    def name(self) -> str:
        """Its name."""
        return self.dataset.name

    @property
    def place(self) -> Path:
        """Its folder, of a dataset that is not simulated."""
        if self.folder is None:
            raise ValueError(f"{self.name} is simulated")
        return self.folder

    @property
    def detail(self) -> str:
        """What is wrong beyond that the folder is not there, without the commands that the datasets share."""
        if self.is_own or self.tried:
            return self.problem
        there = self.problem and self.place.is_dir()
        return self.problem.removesuffix(self.dataset.how_to_get(self.place)).strip() if there else ""

    @property
    def is_own(self) -> bool:
        """Whether it is an archive of the user's, which no command fetches."""
        return hasattr(self.dataset, "source")

    @property
    def can_be_fetched(self) -> bool:
        """Whether `--download` gets it."""
        return not self.is_own and self.dataset.access == "open" and bool(self.dataset.sources)


@dataclass(frozen=True)
class Preflight:
    """What a call can do and what it lacks.

    Attributes:
        options: what was asked for.
        jobs: all training runs; `Job.missing` says which weights or data one lacks.
        models: of the jobs, in their order.
        datasets: of the jobs, in their order.
        unknown: an error text for each name of a model or task that does not exist; then there are no jobs.
    """

    options: RunOptions
    jobs: tuple[Job, ...] = ()
    models: tuple[NeededModel, ...] = ()
    datasets: tuple[NeededDataset, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def runnable(self) -> list[Job]:
        """The jobs that lack nothing."""
        return [job for job in self.jobs if job.skip is None and job.missing is None]

    @property
    def is_complete(self) -> bool:
        """Whether no job lacks anything."""
        return not self.unknown and all(job.missing is None for job in self.jobs)

    @property
    def fetches(self) -> list[NeededModel]:
        """The models whose weights have to be fetched for the jobs that can run, or that a hub has to be asked for."""
        wanted = {job.model for job in self.runnable if needs_weights(job)}
        return [model for model in self.models if (model.to_fetch or model.is_on_hub) and model.name in wanted]

    def mark(self, jobs: Iterable[Job]) -> list[Job]:
        """Let jobs say what of their model or dataset is missing here."""
        models = {model.name: model for model in self.models if model.problem}
        datasets = {needed.name: needed for needed in self.datasets if needed.problem}
        return [replace(job, missing=missing_of(job, models, datasets)) for job in jobs]

    def with_problems(self, models: Mapping[str, str] = {}, datasets: Mapping[str, str] = {}) -> Preflight:
        """The same after something could not be fetched: name -> why."""
        told = replace(
            self,
            models=tuple(replace(m, problem=models.get(m.name, m.problem)) for m in self.models),
            datasets=tuple(
                replace(d, problem=datasets[d.name], tried=True) if d.name in datasets else d for d in self.datasets
            ),
        )
        return replace(told, jobs=tuple(told.mark(self.jobs)))

    def require(self) -> None:
        """Refuse a call of which nothing can run, or that names what does not exist.

        Raises:
            UnknownNameError: of an unknown model or task.
            CheckpointError: no job has its weights.
            DataError: no job has its weights and its data.
        """
        if self.unknown:
            raise UnknownNameError(self.describe())
        if self.is_complete or self.runnable:
            return
        missing_data = any(needed.problem for needed in self.datasets)
        raise DataError(self.describe()) if missing_data else CheckpointError(self.describe())

    def describe(self) -> str:
        """What is missing and which commands get it, in one block of lines; "" where nothing is."""
        if self.is_complete:
            return ""
        missing = _missing(self.models, self.datasets, self.options.data_root, fetched_by="--download")
        return "\n".join([_headline(self), *(_indented(text, 0) for text in self.unknown), *missing])


def preflight(options: RunOptions, *more: RunOptions) -> Preflight:
    """Look up what a call needs; nothing is fetched, and no simulated records are written.

    Args:
        options: of the call.
        more: of further calls that belong to it, where an analysis makes many.

    Example:
        >>> checked = preflight(RunOptions(models=("random:ecg-cpc",), tasks=("ptbxl_super",), data_root="mock"))
        >>> checked.is_complete, len(checked.runnable)  # one run for each of the modes linear, frozen, finetune
        (True, 3)
    """
    calls = (options, *more)
    unknown = _unknown(calls)
    if unknown:
        return Preflight(options, unknown=unknown)
    jobs = [job for call in calls for job in plan(call)]
    used = [job for job in jobs if job.skip is None]
    # A model that is only trained from scratch needs no weights, and their absence must not stop it.
    loaded = {job.model for job in used if needs_weights(job)}
    include = tuple(dict.fromkeys(path for call in calls for path in call.include))
    # Jobs are marked at the end: what they lack is known only now that models and datasets are looked up.
    return Preflight(
        options,
        tuple(jobs),
        tuple(find_model(name, name in loaded) for name in dict.fromkeys(job.model for job in used)),
        tuple(
            find_dataset(name, options.data_root, include) for name in dict.fromkeys(job.run.dataset for job in used)
        ),
    ).with_problems()


def require_all(models: Sequence[str], datasets: Sequence[str], data_root: str, include: Sequence[Path] = ()) -> None:
    """Look up what a computation needs that makes no sense on part of it; nothing is fetched.

    Args:
        models: their names.
        datasets: their names.
        data_root: as of `RunOptions`; "" is the default one.
        include: descriptions of own archives.

    Raises:
        UnknownNameError: of an unknown model or dataset.
        CheckpointError, DataError: weights or data are missing; names what gets each, in one block.
    """
    root = data_root or default_data_root()
    needed = [find_dataset(name, root, include) for name in datasets]
    lines = _missing([find_model(name) for name in models], needed, root)
    if lines:
        text = "\n".join(["Nothing was run, since all of this is needed and missing:", *lines])
        raise DataError(text) if any(dataset.problem for dataset in needed) else CheckpointError(text)


def needs_weights(job: Job) -> bool:
    """Whether a job begins with the weights that its model's name stands for."""
    return job.mode != "scratch"


def missing_of(job: Job, models: Mapping[str, NeededModel], datasets: Mapping[str, NeededDataset]) -> str | None:
    """Why a job cannot run, given models and datasets with problems; None where it can."""
    if job.skip is not None:
        return None
    if job.model in models and needs_weights(job):
        return NO_MODEL + models[job.model].problem
    return NO_DATA + datasets[job.run.dataset].problem if job.run.dataset in datasets else None


def find_model(name: str, needs_weights: bool = True) -> NeededModel:
    """What a model's name stands for, or why it cannot be loaded."""
    if name == TRIVIAL or is_python_object(name) or not needs_weights:
        return NeededModel(name)
    try:
        return NeededModel(name, look_up(name))
    # A slip of the call, though an EcgHubError as well: nothing that could be fetched would mend it.
    except UnknownNameError:
        raise
    except (EcgHubError, OSError) as error:
        return NeededModel(name, problem=str(error))


def find_dataset(name: str, data_root: str, include: Sequence[Path] = ()) -> NeededDataset:
    """Where a dataset lies, or what its folder lacks."""
    from dataset_scripts import catalog
    from dataset_scripts.tools.download import is_unfinished

    root = None if data_root in ("", "mock") else place(data_root)
    own = custom_datasets(include).get(name)
    dataset = catalog.get(name) if own is None else own
    if own is None and root is None:
        return NeededDataset(dataset)
    folder = own.find_folder(root) if own is not None else folder_of(name, Path(str(root)))
    try:
        # An archive of the user's may state no rate of its own; its signals are not sorted into folders by rate.
        dataset.check_folder(folder, 0 if own is not None else dataset.sampling_rate)
    except DataError as error:
        return NeededDataset(dataset, folder, str(error))
    # Asked last: tables and folders are all there long before a download has ended.
    if own is None and is_unfinished(folder):
        text = f"The download into {str(folder)!r} has not ended. {dataset.how_to_get(folder)}"
        return NeededDataset(dataset, folder, text)
    return NeededDataset(dataset, folder)


def _unknown(calls: Sequence[RunOptions]) -> tuple[str, ...]:
    """An error text for each unknown name, so that one call shows every one."""
    # A dict for want of an ordered set: the calls of an analysis name the same model again and again.
    texts: dict[str, None] = {}
    for call in calls:
        for model in call.models:
            try:
                entry_for(model)
            except UnknownNameError as error:
                texts[str(error)] = None
        for task in call.tasks:
            try:
                expand((task,), call.include)
            except UnknownNameError as error:
                texts[str(error)] = None
    return tuple(texts)


def _headline(checked: Preflight) -> str:
    """How much of what was asked for can run."""
    if checked.unknown:
        return "Nothing was run: there is no such name."
    can, lacking = (sum(len(job.tasks) for job in jobs) for jobs in (checked.runnable, _lacking(checked)))
    if not can:
        which = "the result" if lacking == 1 else f"each of the {lacking:,} results"
        return f"Nothing can run: {which} lacks its model or its data."
    return f"{can:,} of {can + lacking:,} results can be had; the others are skipped, for this is missing:"


def _lacking(checked: Preflight) -> list[Job]:
    return [job for job in checked.jobs if job.missing is not None]


def _missing(
    models: Iterable[NeededModel], datasets: Sequence[NeededDataset], data_root: str, fetched_by: str = ""
) -> list[str]:
    """The weights and the datasets that are missing, with what gets each; none where nothing is."""
    told = [f"model {model.name}\n{_indented(model.problem, 2)}" for model in models if model.problem]
    if not any(needed.problem for needed in datasets):
        return told
    chosen = "" if data_root != default_data_root() else " (the default: no --data-root was given)"
    chosen = " ($ECG_DATA_ROOT)" if chosen and os.environ.get("ECG_DATA_ROOT") else chosen
    return [*told, f"data root {data_root}{chosen}", *_missing_data(datasets, fetched_by)]


def _missing_data(datasets: Sequence[NeededDataset], fetched_by: str) -> list[str]:
    """The datasets below the data root, and for each that is missing the command or the page that gets it."""
    lacking = [needed for needed in datasets if needed.problem]
    lines = []
    there = ", ".join(needed.name for needed in datasets if not needed.problem)
    lines += [_indented(f"there: {there}", 2)] if there else []
    to_fetch = [needed for needed in lacking if needed.can_be_fetched]
    if to_fetch:
        together = f"; `{fetched_by}` fetches all of these, or one by one" if fetched_by else ""
        lines.append(f"  missing{together}:")
        lines += [f"    {needed.dataset.prepare_command(needed.folder)}" for needed in to_fetch]
    behind = [needed for needed in lacking if not needed.can_be_fetched and not needed.is_own]
    if behind:
        lines.append("  missing, and given only by the page; `ecg-hub data info NAME` says what then:")
        lines += [f"    {needed.name} ({needed.dataset.access}): {needed.dataset.page}" for needed in behind]
    details: dict[str, list[str]] = {}
    for needed in lacking:
        details.setdefault(needed.detail, []).append(needed.name)
    # Told together: a host that does not answer is the same fault of all that it has.
    lines += [_indented(f"{', '.join(names)}: {detail}", 2) for detail, names in details.items() if detail]
    if len(lacking) > sum(needed.is_own for needed in lacking):
        lines.append("  simulated records instead of all of them: --data-root mock")
    return lines


def _indented(text: str, by: int) -> str:
    """Lines wrapped to a terminal; those that begin with a blank hold a command or an address and stay whole."""
    margin = " " * by
    lines = [
        [line]
        if line.startswith(" ")
        else textwrap.wrap(line, WIDTH - by, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    ]
    return textwrap.indent("\n".join(part for line in lines for part in line), margin)
