"""Small raw trees of every dataset in its real file format, from a label-conditional simulator.

    from dataset_scripts.mock import mock_root, write

One module per dataset, named like its file in `dataset_scripts/published/`, with a function `write(folder, records,
seed, awkward, sampling_rates)` that writes the tree and returns the thresholds that suit its size. The parts of the
Challenge 2021 stand in one table, `dataset_scripts.mock.challenge.PARTS`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock

from dataset_scripts.catalog import datasets, get
from dataset_scripts.core.spec import MOCK_FILE, ECGDataset, PathLike, is_mock
from dataset_scripts.mock.simulator import SIMULATOR_VERSION
from dataset_scripts.published._challenge import ChallengeDataset
from ecg_hub.errors import InputError

__all__ = ["available", "mock_root", "write"]


def available() -> list[str]:
    """Return the names of the datasets that have a mock writer.

    Example:
        >>> "ptb-xl" in available()
        True
    """
    return [name for name, dataset in datasets().items() if find_spec(_module(dataset)) is not None]


def write(
    name: str,
    folder: PathLike,
    records: int = 1000,
    seed: int = 0,
    awkward: bool = False,
    sampling_rates: Sequence[int] | None = None,
) -> Path:
    """Write a mock tree of one dataset; the folder appears when it is complete.

    Args:
        name: a registered dataset.
        folder: the raw folder to be made; must not exist or be empty.
        records: how many records. 1,000 records of ten seconds at 500 Hz take 120 MB.
        seed: the same seed gives the same bytes.
        awkward: damage a few records in the ways in which real folders are damaged.
        sampling_rates: rates to write, where the dataset comes at several; None writes the published one.

    Returns:
        The folder.

    Raises:
        UnknownNameError: no such dataset.
        InputError: `records` is below 1, or the folder holds something.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> raw = write("ptb-xl", folder.name + "/ptb-xl", records=40)
        >>> sorted(path.name for path in raw.glob("*.csv"))
        ['ptbxl_database.csv', 'scp_statements.csv']
        >>> write("ptb-xl", raw)
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: '.../ptb-xl' exists and is not an empty folder; choose another one.
        >>> folder.cleanup()
    """
    dataset = get(name)
    target = Path(folder)
    if records < 1:
        raise InputError(f"records={records!r} is not a number of records; pass 1 or more.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{str(target)!r} exists and is not an empty folder; choose another one.")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Named by process: two that write the same tree do not mix their files.
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        thresholds = _writer(dataset)(unfinished, records, seed, awkward, sampling_rates)
        about = {"synthetic": True, "dataset": dataset.name, "records": records, "seed": seed, "thresholds": thresholds}
        about["simulator_version"] = SIMULATOR_VERSION
        (unfinished / MOCK_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        # A tree that a kill left half-written never has the final name.
        os.replace(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def mock_root(cache_dir: PathLike, names: Sequence[str] | str, records: int = 1000, seed: int = 0) -> Path:
    """Return a data root with mock trees of the named datasets, each written once and then reused.

    Args:
        cache_dir: where mock trees are kept.
        names: registered datasets; each lies in a folder of its name.
        records: records per dataset.
        seed: of the simulator.

    Raises:
        UnknownNameError: no such dataset.
    """
    root = Path(cache_dir).expanduser() / "mock" / f"v{SIMULATOR_VERSION}-{records}-records-seed-{seed}"
    root.mkdir(parents=True, exist_ok=True)
    for name in (get(given).name for given in ([names] if isinstance(names, str) else names)):
        # Several workers of one test run ask for the same tree at once.
        with FileLock(root / f"{name}.lock"):
            if not is_mock(root / name):
                write(name, root / name, records, seed)
    return root


def _module(dataset: ECGDataset) -> str:
    if dataset.mock:
        return dataset.mock.partition(":")[0]
    name = "challenge" if isinstance(dataset, ChallengeDataset) else dataset.name.replace("-", "_")
    return f"{__name__}.{name}"


def _writer(dataset: ECGDataset) -> Callable[..., dict[str, Any]]:
    if find_spec(_module(dataset)) is None:
        raise InputError(f"There is no mock writer for {dataset.name!r}; available: {', '.join(available())}.")
    function = dataset.mock.partition(":")[2] or "write"
    write_tree: Callable[..., dict[str, Any]] = getattr(import_module(_module(dataset)), function)
    return partial(write_tree, dataset.name) if isinstance(dataset, ChallengeDataset) else write_tree
