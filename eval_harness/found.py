"""Finding and reading runs: result folders below the paths that a user names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ecg_hub.errors import InputError, ResultError
from eval_harness.predictions import Predictions, read_predictions
from eval_harness.results import Result, read_result
from eval_harness.runfile import RUN_FILE, RunFile, read_run
from eval_harness.seeds import SPREAD_FILE


@dataclass(frozen=True)
class FoundRun:
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

    def predictions(self, result: Result) -> Predictions:
        """The predictions that a result was scored from.

        Raises:
            ResultError: they are not there, or were changed after they were scored.
        """
        if result.predictions is None:
            raise ResultError(f"{self.name}: {result.task} is {result.status}; there are no predictions of it.")
        return read_predictions(self.folder / result.predictions.file, result.predictions.sha256)


def find_runs(paths: Iterable[Path | str]) -> list[FoundRun]:
    """Return the runs in the given folders and below them, in the order of the paths, each once.

    Raises:
        InputError: a path that does not exist, or no run below it.
        ResultError: a run file or result that cannot be read.
    """
    folders: dict[Path, None] = {}
    for entry in paths:
        path = Path(entry).expanduser()
        if not path.is_dir():
            raise InputError(
                f"{str(path)!r} is no folder of results; `ecg-eval run` writes them to results/MODEL/MODE."
            )
        below = sorted(file.parent for file in path.rglob(RUN_FILE))
        if not below:
            raise InputError(f"There is no {RUN_FILE} in {str(path)!r} or below it: no run was made there.")
        folders.update(dict.fromkeys(folder.resolve() for folder in below))
    return [read_found(folder) for folder in folders]


def read_found(folder: Path) -> FoundRun:
    """Read one result folder.

    Raises:
        ResultError: a file that cannot be read.
    """
    run = read_run(folder / RUN_FILE)
    files = (path for path in sorted(folder.glob("*.json")) if path.name not in (RUN_FILE, SPREAD_FILE))
    results = {path.stem: read_result(path) for path in files}
    # Folders of several jobs are merged by copying: run.json is then that of the last one.
    others = {task: result.task_version for task, result in results.items() if task not in run.tasks}
    return FoundRun(folder, run.model_copy(update={"tasks": {**run.tasks, **others}}), results)
