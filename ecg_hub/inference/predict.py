"""Record files to a table: labelled scores (`ecg-hub predict`) and feature vectors (`ecg-hub embed`)."""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ecg_hub.errors import ExitCode, InputError
from ecg_hub.inference.pipeline import average_outputs, check_classifier, check_top_k, extractor_for, labelled_scores
from ecg_hub.inference.records import RecordInput, RecordOutput, run_records, usable_device
from ecg_hub.modeling.auto import AutoFeatureExtractor, AutoModel, AutoModelForECGClassification
from ecg_hub.origin import shown_name
from ecg_hub.utils import terminal
from ecg_hub.utils.files import replacing
from ecg_hub.utils.remote import place, publish
from ecg_hub.utils.text import TIE, text_table
from ecg_hub.utils.workers import Engine, run, usable_processors

_SHOWN_LABELS = 5


@dataclass(frozen=True)
class Prediction:
    """Scores of one record.

    Attributes:
        record: path as it was given.
        windows: number of windows that were averaged.
        scores: as the pipeline returns them; empty if the record could not be used.
        reason: why it could not.
    """

    record: str
    windows: int
    scores: list[dict[str, Any]]
    reason: str | None = None


@dataclass(frozen=True)
class Predictions:
    """Scores of several records.

    Attributes:
        model: what the user asked for; `unverified:` before a short name that finds other weights.
        labels: names of all outputs, in the model's order.
        rows: one per record, in the order given.
    """

    model: str
    labels: tuple[str, ...]
    rows: tuple[Prediction, ...]

    @property
    def failures(self) -> tuple[tuple[str, str], ...]:
        """(record, reason) of records without scores."""
        return tuple((row.record, row.reason) for row in self.rows if row.reason is not None)

    @property
    def exit_code(self) -> int:
        """How many records have scores, as an exit code."""
        return ExitCode.of(len(self.rows) - len(self.failures), len(self.failures))

    def to_json(self) -> str:
        """Return all rows as JSON."""
        rows = [
            {"record": row.record, "windows": row.windows, "scores": row.scores, "reason": row.reason}
            for row in self.rows
        ]
        return json.dumps({"model": self.model, "records": rows}, indent=2, ensure_ascii=False)

    def to_csv(self) -> str:
        """Return a table with one column per label; empty cells where there is no score."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["record", "windows", *self.labels, "reason"])
        for row in self.rows:
            values = {score["label"]: score.get("score", score.get("value")) for score in row.scores}
            writer.writerow([row.record, row.windows, *(values.get(label, "") for label in self.labels), row.reason])
        return text.getvalue()

    def to_table(self, width: int | None = None, styles: bool = False) -> str:
        """Return a table for people with the best labels of each record; records and labels are never cut.

        Args:
            width: columns of the terminal; None never wraps.
            styles: write the heads bold.
        """
        rows = [
            {
                "record": row.record,
                "windows": row.windows if row.reason is None else "",
                "scores": ", ".join(_as_text(score).replace(" ", TIE) for score in row.scores[:_SHOWN_LABELS])
                or "failed",
                "reason": row.reason,
            }
            for row in self.rows
        ]
        keep = ("record", "windows", "scores")
        return text_table(rows, width, keep=keep, prose=("scores",), notes=("reason",), styles=styles)


def predict(
    model: str | os.PathLike[str],
    records: Sequence[RecordInput],
    *,
    preset: str | None = None,
    top_k: int | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    progress: bool = True,
    **prepare: Any,
) -> Predictions:
    """Score records with a trained classifier.

    Args:
        model: folder, short name or hub id of a classifier.
        records: paths of records in any format, or sources (ecg_hub.inference.records.RecordSource).
        preset: preset of the feature extractor; None is that of a published head's training, or the default.
        top_k: how many of the best labels to keep per record; None is all.
        batch_size: windows per batch.
        device: for example "cpu" or "cuda".
        progress: show a progress bar on a terminal.
        **prepare: passed to the extractor: missing_leads, nan.

    Raises:
        UnknownNameError: no such model or preset.
        CheckpointError: the checkpoint has no trained head, or lacks weights.
        InputError: no records.

    Example:
        >>> predict("random:ecg-cpc-tiny", ["records/00001"])
        Traceback (most recent call last):
            ...
        ecg_hub.errors.CheckpointError: The head of this ECGCPCForECGClassification has random weights: its ...
    """
    check_top_k(top_k)
    target = usable_device(device)
    # By name, because transformers keeps the dtype of the checkpoint.
    classifier = AutoModelForECGClassification.from_pretrained(model, dtype=torch.float32)
    # Before the model moves: the weights are hashed on the CPU.
    name = shown_name(os.fspath(model), classifier)
    classifier = classifier.to(target)
    check_classifier(classifier)
    config = classifier.config
    extractor = extractor_for(config, AutoFeatureExtractor.from_pretrained(model), preset)
    results = run_records(
        records,
        extractor,
        lambda windows: classifier(windows).logits,
        batch_size=batch_size,
        device=device,
        progress=progress,
        **prepare,
    )
    labels = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    return Predictions(name, labels, tuple(_prediction(result, config, top_k) for result in results))


def _prediction(result: RecordOutput, config: Any, top_k: int | None) -> Prediction:
    """The labelled scores of a record, or why it has none."""
    if result.outputs is None:
        return Prediction(result.record, 0, [], result.reason)
    outputs = average_outputs(torch.from_numpy(result.outputs), config)
    return Prediction(result.record, len(result.outputs), labelled_scores(outputs, config, top_k))


def _as_text(score: dict[str, Any]) -> str:
    number = score["score"] if "score" in score else score["value"]
    unit = f" {score['unit']}" if score.get("unit") else ""
    return f"{score['label']} {number:.3f}{unit}{' +' if score.get('positive') else ''}"


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
        """How many records have a vector, as an exit code."""
        return ExitCode.of(self.rows - len(self.failures), len(self.failures))


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
    engine: Engine = "local",
    num_proc: int | None = None,
    **prepare: Any,
) -> EmbeddingResult:
    """Encode records and write one row each: `record`, `windows`, `features`, `reason`.

    With the engine "ray" parts of some thousand records are encoded on the Ray cluster of RAY_ADDRESS, else by
    `num_proc` workers of Ray here; the file has the bytes of the local one.

    `features` is the mean of the pooled vectors of all consecutive windows, a list of float32; null with a `reason`
    where the record could not be used. The file appears when it is complete.
    """
    # Checked first: pyarrow would write Parquet under any name.
    target = place(output)
    if target.suffix != ".parquet":
        raise InputError(f"The output is {str(output)!r}; give a file that ends in .parquet.")
    job = _Embedding(os.fspath(model), preset, seed, device, batch_size, tuple(prepare.items()), uuid.uuid4().hex)
    try:
        encoder, extractor, name = job.loaded()
        dim = int(encoder.config.hidden_size)
        schema = _schema(dim, {"model": name, "preset": extractor.preset})
        if engine == "local":
            results: Iterator[dict[str, Any]] = map(_row, job.run(records, progress=progress))
        else:
            results = _in_order(job, records, num_proc or usable_processors(), engine, progress)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            rows, failures = _write(results, partial, schema)
    finally:
        # After a failure as well: a folder may hold another model at the next call.
        _loaded.cache_clear()
    publish(target)
    return EmbeddingResult(target, rows, dim, tuple(failures))


@dataclass(frozen=True)
class _Embedding:
    """How records are encoded: all that a worker has to know.

    Attributes:
        call: of which call of `embed` it is: workers of Ray outlive it, and a folder may change before the next.
    """

    model: str
    preset: str | None
    seed: int
    device: str
    batch_size: int
    prepare: tuple[tuple[str, Any], ...]
    call: str

    def loaded(self) -> tuple[Any, Any, str]:
        """Encoder, feature extractor and the model's name, loaded once in each process."""
        return _loaded(self.model, self.preset, self.seed, self.device, self.call)

    def run(self, records: Sequence[RecordInput], progress: bool = False) -> Iterator[RecordOutput]:
        """Encode records."""
        encoder, extractor, _ = self.loaded()
        return run_records(
            records,
            extractor,
            lambda windows: encoder(windows).pooler_output,
            batch_size=self.batch_size,
            device=self.device,
            progress=progress,
            part=_ROWS_PER_GROUP,
            **dict(self.prepare),
        )


# Once for all parts that a worker gets.
@functools.lru_cache(maxsize=1)
def _loaded(model: str, preset: str | None, seed: int, device: str, call: str) -> tuple[Any, Any, str]:
    """Return encoder, feature extractor and the model's name."""
    del call  # a key alone
    target = usable_device(device)
    keywords: dict[str, Any] = {"seed": seed} if model.startswith("random:") else {}
    # By name, because transformers keeps the dtype of the checkpoint: of a file in half precision the vectors would be
    # rounded.
    encoder = AutoModel.from_pretrained(model, dtype=torch.float32, **keywords)
    name = shown_name(model, encoder)
    extractor = AutoFeatureExtractor.from_pretrained(model)
    return encoder.to(target), extractor if preset is None else extractor.with_preset(preset), name


def _encoded(task: tuple[int, _Embedding, Sequence[RecordInput]]) -> tuple[int, list[dict[str, Any]]]:
    number, job, records = task
    # As rows: one vector of a record travels, and not those of all its windows.
    return number, [_row(output) for output in job.run(records)]


def _in_order(
    job: _Embedding, records: Sequence[RecordInput], processes: int, engine: Engine, progress: bool
) -> Iterator[dict[str, Any]]:
    """Yield the rows of parts that are encoded elsewhere, in the order of the records."""
    starts = range(0, len(records), _ROWS_PER_GROUP)
    tasks = ((n, job, records[start : start + _ROWS_PER_GROUP]) for n, start in enumerate(starts))
    early: dict[int, list[dict[str, Any]]] = {}
    wanted = 0
    with terminal.progress(total=len(records), desc="records", unit="files", quiet=not progress) as bar:
        for number, rows in run(_encoded, tasks, processes, engine):
            bar.update(len(rows))
            early[number] = rows
            while wanted in early:
                yield from early.pop(wanted)
                wanted += 1


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
        for row in results:
            group.append(row)
            if row["reason"] is not None:
                failures.append((row["record"], row["reason"]))
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
