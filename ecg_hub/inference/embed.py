"""Feature vectors of record files in one Parquet file: what `ecg-hub embed` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ecg_hub.auto import AutoFeatureExtractor, AutoModel
from ecg_hub.errors import InputError
from ecg_hub.inference.records import RecordInput, RecordOutput, run_records
from ecg_hub.origin import shown_name
from ecg_hub.utils.files import replacing

_ROWS_PER_GROUP = 4096


@dataclass(frozen=True)
class EmbeddingResult:
    """What `embed` wrote.

    Attributes:
        output: the Parquet file.
        rows: number of rows, one per record.
        dim: width of the vectors.
        failures: (record, reason) of records without a vector.

    Example:
        >>> import tempfile
        >>> from ecg_hub.inference.records import RecordSource
        >>> from ecg_hub.leads import LEADS
        >>> import numpy as np
        >>> record = RecordSource("one", lambda: (np.eye(12, 5000, dtype=np.float32), 500, LEADS))
        >>> folder = tempfile.TemporaryDirectory()
        >>> target = Path(folder.name) / "features.parquet"
        >>> result = embed("random:ecg-cpc-tiny", [record], target, progress=False)
        >>> result.rows, result.dim, result.failures
        (1, 32, ())
        >>> table = pq.read_table(target)
        >>> table.column_names, table["windows"].to_pylist()  # the vector is the mean over the windows
        (['record', 'windows', 'features', 'reason'], [4])
        >>> folder.cleanup()
    """

    output: Path
    rows: int
    dim: int
    failures: tuple[tuple[str, str], ...]

    @property
    def exit_code(self) -> int:
        """0 if every record has a vector, else 1."""
        return 1 if self.failures else 0


def embed(
    model: str | os.PathLike[str],
    records: Sequence[RecordInput],
    output: str | os.PathLike[str],
    *,
    preset: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    seed: int = 0,
    progress: bool = True,
    **prepare: Any,
) -> EmbeddingResult:
    """Encode records and write one row each: `record`, `windows`, `features`, `reason`.

    `features` is the mean of the pooled vectors of all consecutive windows, a list of float32; null with a `reason`
    where the record could not be used. The file appears when it is complete.
    """
    # Checked first: pyarrow would write Parquet under any name.
    target = Path(output).expanduser()
    if target.suffix != ".parquet":
        raise InputError(f"The output is {str(output)!r}; give a file that ends in .parquet.")
    keywords: dict[str, Any] = {"seed": seed} if os.fspath(model).startswith("random:") else {}
    # By name, because transformers keeps the dtype of the checkpoint: of a file in half precision the vectors would be
    # rounded.
    encoder = AutoModel.from_pretrained(model, dtype=torch.float32, **keywords)
    name = shown_name(os.fspath(model), encoder)
    encoder = encoder.to(device)
    extractor = AutoFeatureExtractor.from_pretrained(model)
    extractor = extractor if preset is None else extractor.with_preset(preset)
    results = run_records(
        records,
        extractor,
        lambda windows: encoder(windows).pooler_output,
        batch_size=batch_size,
        device=device,
        progress=progress,
        **prepare,
    )
    dim = int(encoder.config.hidden_size)
    schema = _schema(dim, {"model": name, "preset": extractor.preset})
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial:
        rows, failures = _write(results, partial, schema)
    return EmbeddingResult(target, rows, dim, tuple(failures))


def _schema(dim: int, facts: dict[str, str]) -> pa.Schema:
    columns = [
        ("record", pa.string()),
        ("windows", pa.int32()),
        ("features", pa.list_(pa.float32(), dim)),
        ("reason", pa.string()),
    ]
    return pa.schema(columns, metadata=facts)


def _write(results: Any, path: Path, schema: pa.Schema) -> tuple[int, list[tuple[str, str]]]:
    rows, failures, group = 0, [], []
    with pq.ParquetWriter(path, schema) as writer:
        for result in results:
            group.append(_row(result))
            if result.reason is not None:
                failures.append((result.record, result.reason))
            # In groups, so that memory does not grow with the number of records.
            if len(group) == _ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                rows, group = rows + len(group), []
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    return rows + len(group), failures


def _row(result: RecordOutput) -> dict[str, Any]:
    vectors = result.outputs
    return {
        "record": result.record,
        "windows": 0 if vectors is None else len(vectors),
        # Of the windows' vectors; the published protocol averages too, but probabilities.
        "features": None if vectors is None else vectors.mean(axis=0),
        "reason": result.reason,
    }
