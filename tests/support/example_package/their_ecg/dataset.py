"""The dataset: records.csv, and one array of microvolts (samples, 12) for each record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.core.labels import split_by_fold
from dataset_scripts.core.spec import ECGDataset, LabelTable, RawRecord, Scan, Signal

if TYPE_CHECKING:
    import pandas as pd

TABLE = "records.csv"
RATE = 100


class TheirDataset(ECGDataset):
    """Reads the three columns of the table, and the arrays."""

    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        """Read the table."""
        import pandas as pd

        table = pd.read_csv(data_dir / TABLE, dtype={"record_id": str, "label": str})
        table["file"] = table["record_id"] + ".npy"
        return Scan(table)

    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        """Read an array."""
        samples = np.load(data_dir / record.file)
        return Signal(samples, np.ones(12, np.float32), np.zeros(12, np.int32), self.sampling_rate)

    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        """One label for each record, ten folds."""
        fold = metadata["strat_fold"].to_numpy(dtype=np.int32)
        labels = {"label_all": [[label] for label in metadata["label"]]}
        return LabelTable(labels, fold, split_by_fold(fold, last=9))


DATASET = TheirDataset(
    name="their-data",
    title="Their Data",
    versions=("1",),
    sampling_rates=(RATE,),
    access="open",
    redistribution=True,
    licence="CC0-1.0",
    citation="Them, 2026.",
    page="https://example.org/data",
    label_columns=("label_all",),
    folds="ten folds, 0 to 7 train",
    metadata_columns={"label": "string", "strat_fold": "int32"},
    thresholds={"min_count": 1},
    table_files=(TABLE,),
    signal_suffixes=(".npy",),
    mock="their_ecg.mock:write",
)
