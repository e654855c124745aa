"""Trackers that Accelerate knows, each an optional package; without one there are log.jsonl and curves.png."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError, unknown_name

TRACKERS = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",)}
"""Tracker -> packages, one of which it needs."""

PROJECT = "ecg-hub-pretrain"


def check_trackers(names: Iterable[str]) -> None:
    """Refuse trackers that are not known or not installed.

    Raises:
        UnknownNameError: not known.
        InputError: not installed; names the command that installs it.
    """
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
        if not any(find_spec(package) for package in TRACKERS[name]):
            raise InputError(
                f"--track {name} needs a package that is not installed: pip install {TRACKERS[name][0]}. Without it, "
                "log.jsonl and curves.png show the same numbers."
            )


@contextmanager
def tracked(accelerator: Any, names: tuple[str, ...], settings: Mapping[str, Any]) -> Iterator[None]:
    """Start the trackers with the settings of the run, and end them with it.

    Args:
        accelerator: made with `log_with=names`.
        names: of the trackers; none does nothing.
        settings: JSON values; nested ones are written as text.
    """
    if not names:
        yield
        return
    flat = {
        name: value if isinstance(value, int | float | str | bool) else str(value) for name, value in settings.items()
    }
    accelerator.init_trackers(PROJECT, config=flat)
    try:
        yield
    finally:
        accelerator.end_training()


def tracking_arguments(names: tuple[str, ...], output: Path) -> dict[str, Any]:
    """Arguments of the Accelerator for some trackers; TensorBoard reads `OUTPUT/tensorboard`."""
    return {"log_with": list(names), "project_dir": str(output / "tensorboard")} if names else {}
