"""Result folders: found below paths, held by one process at a time, never shared by runs of different settings."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ecg_hub.errors import InputError, ResultError
from ecg_hub.utils.files import remove_abandoned, resumed, take_lock
from ecg_hub.utils.remote import bring, place
from eval_harness.results.predictions import Predictions, read_predictions
from eval_harness.results.runfile import RUN_FILE, RunFile, differences, merged, read_run, write_run
from eval_harness.results.schema import Result, read_result
from eval_harness.results.summary import SPREAD_FILE
from eval_harness.tasks.task import Task

LOCK_FILE = ".lock"
SUBFOLDERS = ("checkpoints", "history", "predictions", "errors")


class FolderRefusedError(ResultError):
    """A result folder that belongs to other settings or is in use: nothing may be written into it."""


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it is released when the process ends, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        busy = f"Another process is working in {str(folder)!r}. Wait for it, or choose another --output."
        lock = take_lock(folder / LOCK_FILE, FolderRefusedError(busy))
    except OSError as error:
        raise ResultError(f"{str(folder)!r} cannot be written ({error}). Choose another --output.") from error
    with lock:
        yield


def claim(folder: Path, asked: RunFile, overwrite: bool) -> None:
    """Write run.json, or refuse a folder of other settings; `overwrite` discards what such a folder holds."""
    stored = check_continues(folder, asked, overwrite)
    if stored is None and (folder / RUN_FILE).exists():
        # run.json last: while it is there, a kill in between leaves a folder that is refused or cleared again, not one
        # in which a new run takes old results for its own.
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == RUN_FILE):
            # Removing the lock's file would let a second process lock a new one of that name.
            if entry.name != LOCK_FILE:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    # The subfolders by name: below OUTPUT/MODEL/MODE lie other seeds, in which another process may be writing.
    for part in (folder, *(folder / name for name in SUBFOLDERS)):
        remove_abandoned(part, keep=SPREAD_FILE)
    write_run(folder, merged(stored, asked))


def check_continues(folder: Path, asked: RunFile, overwrite: bool = False) -> RunFile | None:
    """Return the run of a result folder when the one asked for may continue it, None for a folder to be begun."""
    path = folder / RUN_FILE
    try:
        stored = read_run(path) if path.exists() else None
    except ResultError as error:
        raise FolderRefusedError(str(error)) from error

    def refusal(different: Sequence[str]) -> FolderRefusedError:
        listed = "\n".join(f"  {line}" for line in different)
        return FolderRefusedError(
            f"{str(folder)!r} holds results of another run:\n{listed}\n"
            "Choose another --output, or --overwrite to discard what is there."
        )

    return resumed(stored, lambda run: differences(_binding(folder, run), asked), refusal, overwrite=overwrite)


def _binding(folder: Path, run: RunFile) -> RunFile:
    """A run file with the definitions that something was made by: what failed may be mended and tried again."""

    def holds(entry: str) -> bool:
        kind, name = entry.split(" ", 1)
        if kind == "run":
            return (folder / "predictions" / f"{name}.parquet").is_file()
        file = folder / f"{name}.json"
        return file.is_file() and read_result(file).status == "done"

    kept = {entry: digest for entry, digest in run.definitions.items() if holds(entry)}
    return run.model_copy(update={"definitions": kept})


@dataclass(frozen=True)
class ResultFolder:
    """A result folder: its run file and the results in it, by task."""

    folder: Path
    run: RunFile
    results: dict[str, Result]

    @property
    def name(self) -> str:
        """Model, mode and, where it is not 0, seed."""
        settings = self.run.settings
        seed = f" seed {settings.seed}" if settings.seed else ""
        return f"{settings.model.id} {settings.mode}{seed}"

    def check_definition(self, task: Task) -> None:
        """Refuse a task that is another than what was scored under its name: its numbers would stand for this."""
        version = self.run.tasks.get(task.name, task.version)
        definition = self.run.definitions.get(f"task {task.name}", task.defined)
        if (version, definition) != (task.version, task.defined):
            raise ResultError(
                f"{self.name}: task {task.name!r} was scored as version {version} and by another definition than that "
                f"of version {task.version} which is known here: give the task file it was scored with by --include, "
                "or score it again."
            )

    def predictions(self, result: Result) -> Predictions:
        """The predictions that a result was scored from."""
        if result.predictions is None:
            raise ResultError(f"{self.name}: {result.task} is {result.status}; there are no predictions of it.")
        return read_predictions(self.folder / result.predictions.file, result.predictions.sha256)


def find_runs(paths: Iterable[Path | str], left_out: list[str] | None = None) -> list[ResultFolder]:
    """Return the runs in the given folders and below them, in the order of the paths, each once.

    Args:
        paths: the folders.
        left_out: takes a sentence for each file that cannot be read, which is then left out; None raises instead.
    """
    folders: dict[Path, None] = {}
    for entry in paths:
        path = bring(place(entry))
        if not path.is_dir():
            raise InputError(
                f"{str(path)!r} is no folder of results; `ecg-eval run` writes them to results/MODEL/MODE."
            )
        below = sorted(file.parent for file in path.rglob(RUN_FILE))
        if not below:
            raise InputError(f"There is no {RUN_FILE} in {str(path)!r} or below it: no run was made there.")
        # Resolved: the same run named twice would count as two in a comparison.
        folders.update(dict.fromkeys(folder.resolve() for folder in below))
    if left_out is None:
        return [read_found(folder) for folder in folders]
    found = (_readable(folder, left_out) for folder in folders)
    return [run for run in found if run is not None]


def find_run(path: Path | str) -> ResultFolder:
    """Return the one run in a folder or below it.

    Raises:
        ecg_hub.errors.InputError: there is none, or there are several; names them.
    """
    runs = find_runs([path])
    if len(runs) > 1:
        names = ", ".join(str(run.folder) for run in runs)
        raise InputError(f"There are {len(runs)} runs below {str(path)!r}; name one of them: {names}.")
    return runs[0]


def read_found(folder: Path) -> ResultFolder:
    """Read one result folder."""
    return _with_results(folder, {path.stem: read_result(path) for path in _result_files(folder)})


def _readable(folder: Path, left_out: list[str]) -> ResultFolder | None:
    """Read what can be read of one result folder; None where that is not even its run file."""
    results = {}
    try:
        for path in _result_files(folder):
            try:
                results[path.stem] = read_result(path)
            except ResultError as error:
                left_out.append(_of_folder(error, folder))
        return _with_results(folder, results)
    except ResultError as error:
        left_out.append(_of_folder(error, folder))
        return None


def _of_folder(error: ResultError, folder: Path) -> str:
    # Model, mode and seed, and not where on this machine they lie: what is written with it is passed on.
    return f"Left out: {str(error).replace(str(folder), '/'.join(folder.parts[-3:]))}"


def _result_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.json")) if path.name not in (RUN_FILE, SPREAD_FILE)]


def _with_results(folder: Path, results: dict[str, Result]) -> ResultFolder:
    run = read_run(folder / RUN_FILE)
    # Folders of several jobs are merged by copying: run.json is then that of the last one.
    others = {task: result.task_version for task, result in results.items() if task not in run.tasks}
    return ResultFolder(folder, run.model_copy(update={"tasks": {**run.tasks, **others}}), results)
