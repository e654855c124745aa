"""From the names that a user gives to the batches of one process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError
from eval_harness.pretrain.config import PretrainConfig
from eval_harness.pretrain.opening import open_source
from eval_harness.pretrain.reader import ReaderOptions, StreamingReader

PRESET = "pretraining"


@dataclass(frozen=True)
class DataOptions:
    """What is read, and how.

    Attributes:
        names: datasets, descriptions of own archives, folders of shards, datasets on a hub.
        data_root: folder with one folder per dataset, or "mock"; for datasets by name.
        cache_dir: where record stores are kept; None is the user's cache folder.
        all_records: use the records of validation and test folds, and those in no split, too.
        max_loss: fraction of damaged records that is put up with.
        num_proc: processes that prepare a dataset.
        num_workers: processes that read; 0 reads in a thread.
        prefetch: batches that are made ready in advance.
    """

    names: tuple[str, ...]
    data_root: str = ""
    cache_dir: Path | None = None
    all_records: bool = False
    max_loss: float = 0.01
    num_proc: int | None = None
    num_workers: int = 0
    prefetch: int = 4

    def __post_init__(self) -> None:
        """Refuse a call without data.

        Raises:
            InputError: no name.
        """
        if not self.names:
            raise InputError("No data was given. Example: --data ptb-xl --data-root mock. See `ecg-eval ls datasets`.")

    def open(self, config: PretrainConfig, model: Any, rank: int, world: int) -> StreamingReader:
        """The batches of a process.

        Args:
            config: the numbers of the run.
            model: configuration of the model.
            rank: number of the process.
            world: how many there are.

        Raises:
            EcgHubError: data that are not there, are damaged, or do not go together.
        """
        sources = [
            open_source(
                name,
                data_root=self.data_root,
                cache_dir=self.cache_dir,
                all_records=self.all_records,
                max_loss=self.max_loss,
                num_proc=self.num_proc,
            )
            for name in self.names
        ]
        options = ReaderOptions(
            seed=config.seed,
            batch_size=config.batch_size,
            lanes=config.lanes,
            rank=rank,
            world=world,
            shuffle_records=config.shuffle_records,
            max_loss=self.max_loss,
            prefetch=self.prefetch,
            workers=self.num_workers,
        )
        return StreamingReader(sources, options, window_extractor(model, config.seconds))


def window_extractor(model: Any, seconds: float) -> Any:
    """What prepares windows: the preset `native` of the architecture, with windows of another length where asked for.

    Args:
        model: configuration of the model.
        seconds: length of a window.
    """
    from ecg_hub import ECGFeatureExtractor
    from ecg_hub.catalog import by_model_type

    entry = by_model_type(model.model_type)
    assert entry is not None
    preset = {**entry.presets["native"], "input_seconds": seconds}
    return ECGFeatureExtractor(len(model.lead_names), preset["sampling_rate"], presets={PRESET: preset}, preset=PRESET)
