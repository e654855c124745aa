"""Which predictions may leave the machine: those of data that may be passed on, record by record."""

from __future__ import annotations

from collections.abc import Iterable

from ecg_hub.errors import InputError
from eval_harness.publish.names import PREDICTIONS
from eval_harness.publish.publisher import CARD, EVAL
from eval_harness.tasks.task import Task


def kept_back(dataset: str) -> str | None:
    """Return why the predictions on a dataset stay where they are, or None if they may be published."""
    from dataset_scripts import catalog

    known = catalog.datasets().get(dataset)
    if known is None:
        return f"{dataset} is no published dataset, so nothing is known of its terms"
    if known.access != "open" or not known.redistribution:
        return f"{known.title} ({known.access}, {known.licence}) may not be passed on record by record"
    return None


def refuse_kept_back(paths: Iterable[str], tasks: Iterable[Task]) -> None:
    """Look once more at everything that is about to be sent: no predictions of data that may not be passed on."""
    datasets = {task.run: task.dataset for task in tasks}
    for path in paths:
        if not path.endswith((".json", ".parquet")) and path not in (CARD, EVAL):
            raise InputError(f"{path!r} is no file of a results repository.")
        if path.endswith(".parquet"):
            found = PREDICTIONS.fullmatch(path)
            run = found[4] if found else path
            reason = kept_back(datasets[run]) if run in datasets else f"{run!r} is no run of the benchmark"
            if reason:
                raise InputError(f"{path} must not be published: {reason}.")
