"""Gets what a call lacks before it runs: the weights of its models and, with `--download`, open datasets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import httpx2

from dataset_scripts.tools.download import Remaining, download, remaining
from dataset_scripts.tools.hosts import Hosts, Transport
from ecg_hub.errors import DataError, EcgHubError, InputError
from ecg_hub.names import endpoint
from ecg_hub.utils.files import free_bytes
from ecg_hub.utils.http import RetryPolicy
from ecg_hub.utils.remote import place
from ecg_hub.utils.terminal import say
from ecg_hub.weights.fetch import find_weights
from eval_harness.config.options import RunOptions
from eval_harness.runner.preflight import NeededDataset, NeededModel, Preflight, preflight

PATIENCE = RetryPolicy(retries=1)
"""With hosts that are only asked for sizes: without a network ten datasets must not take minutes to say so."""


def ready(
    options: RunOptions, *more: RunOptions, hosts: Hosts | None = None, checked: Preflight | None = None
) -> Preflight:
    """Look up what a call needs, fetch what may be fetched, and tell on stderr what is still missing.

    Args:
        options: of the call; its `download` also fetches open datasets.
        more: of further calls that belong to it.
        hosts: where datasets are fetched from.
        checked: what was looked up before, so that it is not looked up twice.

    Raises:
        UnknownNameError, CheckpointError, DataError: nothing can run (`Preflight.require`).
    """
    checked = checked or preflight(options, *more)
    if options.download and not checked.unknown:
        failures = fetch_datasets(checked, hosts)
        # Looked up anew: what was fetched may still not be what the dataset's tables and folders need.
        checked = preflight(options, *more).with_problems(datasets=failures)
    # Before weights are fetched, which would be in vain without data, and again when it is known what could be had.
    checked.require()
    checked = fetch_weights(checked)
    checked.require()
    # Of several processes of one run the first tells.
    if not checked.is_complete and os.environ.get("RANK", "0") == "0":
        say(checked.describe(), important=True)
    return checked


def fetch_weights(checked: Preflight) -> Preflight:
    """Fetch the weights of the models that can run; what cannot be had is then missing, told once for all runs.

    Of a model on a hub its configuration alone: the weights come with the first run, and are then kept.
    """
    from ecg_hub import AutoConfig

    problems = {}
    for model in checked.fetches:
        try:
            if model.is_on_hub:
                AutoConfig.from_pretrained(model.name)
            else:
                find_weights(model.name)
        # transformers raises OSError for whatever it cannot find, ValueError for a configuration that it does not know.
        except (EcgHubError, OSError, ValueError) as error:
            problems[model.name] = str(error)
    return checked.with_problems(models=problems) if problems else checked


def weights_to_fetch(model: NeededModel) -> str:
    """Which weights a run would fetch, from where, and their size where it is known; "" where they are here."""
    if not model.is_on_hub or model.resolved is None:
        return model.to_fetch
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    repo = model.resolved.target
    # A path. Of a file that is not here it gives None, of one known not to exist an object of its own, which is true
    # too.
    if isinstance(try_to_load_from_cache(repo, "model.safetensors"), str):
        return ""
    try:
        files = HfApi(endpoint=endpoint()).model_info(repo, files_metadata=True).siblings or []
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, httpx2.TransportError):
        return f"{repo} from {endpoint()} (size unknown)"
    size = sum(file.size or 0 for file in files if file.rfilename.endswith((".safetensors", ".bin")))
    return f"{repo} from {endpoint()} ({size / 1e6:,.0f} MB)"


def fetch_datasets(checked: Preflight, hosts: Hosts | None = None) -> dict[str, str]:
    """Fetch the open datasets that are missing, sizes first; returns why of those that could not be had, by name."""
    wanted = [needed for needed in checked.datasets if needed.problem and needed.can_be_fetched]
    if not wanted:
        return {}
    _refuse_processes()
    sizes, failures = look_at_hosts(wanted, hosts)
    for line in size_lines(sizes, checked.options.data_root):
        say(line, important=True)
    check_room(sizes, checked.options.data_root)
    for needed in wanted:
        if needed.name in sizes:
            say(f"{needed.name}: licence {needed.dataset.licence}", important=True)
            try:
                with Transport() as transport:
                    download(needed.dataset, needed.place, transport, hosts=hosts)
            except DataError as error:
                failures[needed.name] = str(error)
    return failures


def look_at_hosts(
    wanted: Sequence[NeededDataset], hosts: Hosts | None = None
) -> tuple[dict[str, Remaining], dict[str, str]]:
    """What there is to fetch of each dataset, and why of those whose host does not tell; both by name."""
    sizes: dict[str, Remaining] = {}
    failures: dict[str, str] = {}
    for needed in wanted:
        try:
            with Transport(patience=PATIENCE) as transport:
                sizes[needed.name] = remaining(needed.dataset, needed.place, transport, hosts=hosts)
        except (DataError, InputError) as error:
            failures[needed.name] = str(error)
    return sizes, failures


def preview(checked: Preflight, hosts: Hosts | None = None) -> list[str]:
    """What `--download` would fetch, and which hosts do not say; fetches nothing."""
    wanted = [needed for needed in checked.datasets if needed.problem and needed.can_be_fetched]
    sizes, failures = look_at_hosts(wanted, hosts)
    lines = [f"would be fetched: {line}" for line in size_lines(sizes, checked.options.data_root)]
    return lines + [f"{name}: {reason}" for name, reason in failures.items()]


def size_lines(sizes: Mapping[str, Remaining], data_root: str) -> list[str]:
    """One line for each dataset, and one for all beside the room on the disk."""
    if not sizes:
        return []
    total, about, free = _total(sizes, data_root)
    last = f"in all {about}{total / 1e9:,.2f} GB for {data_root}, where {free / 1e9:,.0f} GB are free"
    return [*(f"{name}: {size}" for name, size in sizes.items()), last]


def check_room(sizes: Mapping[str, Remaining], data_root: str) -> None:
    """Refuse what does not fit on the disk, before the first byte.

    Raises:
        DataError: the disk of the data root has less room.
    """
    total, about, free = _total(sizes, data_root)
    if total > free:
        raise DataError(
            f"The disk of {data_root!r} has room for {free / 1e9:,.2f} GB, and {about}{total / 1e9:,.2f} GB are to be "
            "fetched. Give another --data-root, or fewer --tasks."
        )


def _total(sizes: Mapping[str, Remaining], data_root: str) -> tuple[int, str, int]:
    """Bytes to fetch, "about " where they are estimated, and bytes that are free."""
    about = "about " * any(size.estimated for size in sizes.values())
    return sum(size.size or 0 for size in sizes.values()), about, free_bytes(place(data_root))


def _refuse_processes() -> None:
    """Several processes of one run would wait for a download longer than they wait for each other."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "--download is for one process: fetch first, with `ecg-hub data prepare NAME --download` or this command "
            "without a launcher."
        )
