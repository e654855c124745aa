"""What a CKA analysis is asked for; the command line is made of it, so it imports neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError
from ecg_hub.home import home
from eval_harness.config.fields import option
from eval_harness.config.options import DATA_ROOT_HELP, PRESETS, model_names

FEWEST = 4
"""Records that the debiased form needs: its estimator divides by n - 3."""


def _at_most(text: Any) -> int | None:
    """A number of records; 0 stands for all."""
    try:
        return int(text) or None
    except (TypeError, ValueError) as error:
        raise InputError(f"records is {text!r}: give a whole number, 0 for all.") from error


@dataclass(frozen=True)
class CkaOptions:
    """Which encoders are compared, each once, on which records, and where the result goes."""

    models: tuple[str, ...] = option(
        "short name or pattern, folder, hub id or random:NAME", flags=("--model",), metavar="M"
    )
    dataset: str = option("name of a dataset; see `ecg-hub data ls`", required=True, metavar="D")
    data_root: str = option(DATA_ROOT_HELP, "", metavar="DIR")
    output: Path = option("folder of the result (default: {default})", Path("cka"), metavar="DIR")
    split: str = option("train, validation or test (default: {default})", "test", metavar="S")
    records: int | None = option(
        "at most N records, evenly spaced; 0 = all (default: {default})", 1000, metavar="N", parse=_at_most
    )
    preset: str = option("what the encoders are fed (default: {default})", "benchmark", choices=PRESETS)
    seed: int = option("of random encoders (default: {default})", 0, metavar="N")
    device: str | None = option("cpu, cuda, mps (default: what there is)", None, metavar="D")
    batch_size: int = option("windows at once (default: {default})", 64, metavar="N")
    num_workers: int = option("processes that read (default: {default})", 0, metavar="N")
    cache_dir: Path = option("prepared data (default: $ECG_HUB_HOME)", factory=home, metavar="DIR")
    include: tuple[Path, ...] = option("descriptions of your own archives", (), metavar="PATH")
    overwrite: bool = option("discard a result made with other settings", False)
    quiet: bool = False

    def __post_init__(self) -> None:
        """Write names as they are registered, and refuse what cannot run."""
        object.__setattr__(self, "models", tuple(found for name in self.models for found in model_names(name)))
        if not self.models or len(set(self.models)) != len(self.models):
            raise InputError(f"models are {', '.join(self.models) or 'none'!r}: give one or several, each once.")
        if self.records is not None and self.records < FEWEST:
            raise InputError(f"records is {self.records!r}: the debiased form needs at least {FEWEST}.")
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size!r}: it must be at least 1 window.")
