"""The receipt of a finished call, by which the same call finds its results again before anything heavy is imported.

A run compares weights, extractor and data with its folder before it continues; to know them it loads the model and
opens the datasets, which takes seconds, most of them to import torch. What they are made of is cheap to look at: the
options, the code, the files of the weights, the raw data (`raw_fingerprint`, as the record stores are found), and the
result files. Where nothing of it changed since a call ended with every result, the results stand. Anything else, and
whatever a look at files cannot tell (models on a hub, Python objects, own archives), goes the long way.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import dataset_scripts
import ecg_hub
import eval_harness
from ecg_hub.errors import EcgHubError
from ecg_hub.utils.files import file_sha256, write_text
from ecg_hub.utils.remote import is_url, url_of
from eval_harness.config.options import TRIVIAL, RunOptions
from eval_harness.results.runfile import RUN_FILE, environment
from eval_harness.results.schema import Result, read_result
from eval_harness.runner.preflight import NeededDataset, NeededModel, Preflight

FOLDER = "finished"


def finished_results(options: RunOptions, checked: Preflight) -> list[Result] | None:
    """The results of a call that was finished before, in the order of its jobs; None where it has to be run."""
    try:
        path = _path(options)
        if not path.is_file() or path.read_text(encoding="utf-8") != _state(options, checked):
            return None
        return [read_result(file) for file in _result_files(checked)]
    # Whatever cannot be read here is told by the run itself, in its own words.
    except (EcgHubError, OSError):
        return None


def keep_receipt(options: RunOptions, checked: Preflight, results: Sequence[Result]) -> None:
    """Note that a call has all its results."""
    if not results or any(result.status != "done" for result in results):
        return
    try:
        state = _state(options, checked)
        if state is not None:
            write_text(_path(options), state)
    # A cache that cannot be written costs the next call some seconds, and this one nothing.
    except (EcgHubError, OSError):
        return


def _path(options: RunOptions) -> Path:
    asked = f"{options!r}\n{options.output.absolute()}\n{Path.cwd()}"
    return options.cache_dir / FOLDER / hashlib.sha256(asked.encode()).hexdigest()[:32]


def _state(options: RunOptions, checked: Preflight) -> str | None:
    """A digest of all that the results follow from, and of the results; None where files do not tell."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several or options.include or any(job.skip or job.missing for job in checked.jobs):
        return None
    places = [options.output, *(data.folder for data in checked.datasets if data.folder is not None)]
    if any(is_url(place) or url_of(place) for place in places):
        return None  # what stands for a URL here may be older than what is there
    if not all(_is_told_by_files(model) for model in checked.models) or any(data.is_own for data in checked.datasets):
        return None
    digest = hashlib.sha256()
    for line in _lines(options, checked):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _is_told_by_files(model: NeededModel) -> bool:
    if model.resolved is None:
        # Without a name that was looked up: the baseline, random weights by the name of an architecture, or an object.
        return model.name == TRIVIAL or ":" not in model.name
    return model.resolved.kind in ("random", "scratch", "folder")


def _lines(options: RunOptions, checked: Preflight) -> Iterator[str]:
    # Random weights depend on the version of torch, labels on the code that derives them.
    yield repr(sorted(environment().items()))
    yield repr(os.environ.get("ECG_HUB_KERNELS"))
    for package in (ecg_hub, dataset_scripts, eval_harness):
        yield from _files(Path(str(package.__file__)).parent, (".py", ".yaml", ".json", ".csv"))
    for model in checked.models:
        yield repr(model.resolved)
        if model.resolved is not None and model.resolved.kind == "folder":
            yield from _files(Path(model.resolved.target))
    for needed in checked.datasets:
        yield _raw(options, needed)
    for job in checked.jobs:
        yield job.title
        yield file_sha256(job.folder / RUN_FILE)
    for file in _result_files(checked):
        yield f"{file}\t{file_sha256(file)}"


def _raw(options: RunOptions, needed: NeededDataset) -> str:
    from dataset_scripts.core.fingerprint import raw_fingerprint

    folder = needed.folder
    if folder is None:
        from dataset_scripts.mock import mock_root

        folder = mock_root(options.cache_dir, needed.name) / needed.name
    return f"{needed.name}\t{folder}\t{raw_fingerprint(needed.dataset, folder, needed.dataset.check_rate(None))}"


def _files(folder: Path, suffixes: tuple[str, ...] = ()) -> Iterator[str]:
    """Name, size and time of each file below a folder."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not suffixes or name.endswith(suffixes):
                state = os.stat(os.path.join(place, name))
                yield f"{place}/{name}\t{state.st_size}\t{state.st_mtime_ns}"


def _result_files(checked: Preflight) -> list[Path]:
    return [job.folder / f"{task.name}.json" for job in checked.jobs for task in job.tasks]
