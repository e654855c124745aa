"""Predicting and embedding of record files: order, batches, damaged files, output formats."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import ecg_hub
from ecg_hub.errors import CheckpointError, ExitCode, InputError, UnknownNameError
from ecg_hub.inference.predict import Prediction, Predictions, embed, predict
from ecg_hub.inference.records import run_records
from ecg_hub.leads import LEADS
from ecg_hub.names import model_folder
from tests.support.models import tiny_classifier
from tests.support.records import write_record

TINY = "random:ecg-cpc-tiny"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four records of 10, 2.5, 5 and 10 s, and in their midst one without a signal file and one that is too short."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(0)
    for name, seconds in (("a", 10), ("b", 2.5), ("lost", 10), ("c", 5), ("short", 1), ("d", 10)):
        write_record(folder / name, 0.3 * rng.standard_normal((12, int(seconds * 500))), 500, LEADS)
    (folder / "lost.dat").unlink()
    return [folder / name for name in ("a", "b", "lost", "c", "short", "d")]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    tiny_classifier("ecg-cpc", id2label={0: "NORM", 1: "MI", 2: "CD"}).save_pretrained(folder)
    ecg_hub.AutoFeatureExtractor.from_pretrained(TINY).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_embed(batch_size: int, records: list[Path], tmp_path: Path) -> None:
    result = embed(TINY, records, tmp_path / "out" / "features.parquet", batch_size=batch_size, progress=False)
    assert (result.rows, result.dim, result.exit_code) == (6, 32, ExitCode.PARTLY)
    assert [Path(record).name for record, _ in result.failures] == ["lost", "short"]
    table = pq.read_table(result.output)
    assert table.schema.metadata[b"model"] == TINY.encode()
    kind = table.schema.field("features").type
    assert (kind.list_size, kind.value_type) == (32, pa.float32())
    rows = table.to_pylist()
    assert [Path(row["record"]).name for row in rows] == ["a", "b", "lost", "c", "short", "d"]
    assert [row["windows"] for row in rows] == [4, 1, 0, 2, 0, 4]
    assert rows[2]["features"] is None
    assert "lost.dat" in rows[2]["reason"]
    assert "shorter than the window" in rows[4]["reason"]
    model, extractor = ecg_hub.AutoModel.from_pretrained(TINY), ecg_hub.AutoFeatureExtractor.from_pretrained(TINY)
    for index in (0, 1, 3, 5):
        x = extractor(records[index], window="all", return_tensors="pt")["input_values"]
        with torch.no_grad():
            expected = model(x).pooler_output.mean(0).numpy()
        assert np.allclose(rows[index]["features"], expected, atol=1e-5)
    assert [path.name for path in result.output.parent.iterdir()] == ["features.parquet"]


def test_embed_with_another_preset(records: list[Path], tmp_path: Path) -> None:
    result = embed(TINY, [records[0], records[1]], tmp_path / "f.parquet", preset="native", progress=False)
    rows = pq.read_table(result.output).to_pylist()
    assert [row["windows"] for row in rows] == [1, 0]  # 10 s windows
    assert pq.read_schema(result.output).metadata[b"preset"] == b"native"


def test_a_short_name_that_finds_other_weights_is_not_written_down(
    records: list[Path], classifier: Path, tmp_path: Path
) -> None:
    shutil.copytree(classifier, model_folder("ecg-cpc"))
    result = embed("ecg-cpc", records[:1], tmp_path / "f.parquet", progress=False)
    assert pq.read_schema(result.output).metadata[b"model"] == b"unverified:ecg-cpc"
    assert predict("ecg-cpc", records[:1], progress=False).model == "unverified:ecg-cpc"


def test_a_worker_that_outlives_a_call_loads_the_weights_that_a_folder_has_now(
    records: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_on_ray(function: Any, tasks: Any, processes: int, engine: str) -> Any:
        return map(function, tasks)

    monkeypatch.setattr("ecg_hub.inference.predict.run", as_on_ray)
    monkeypatch.setattr("ecg_hub.inference.predict._loaded.cache_clear", lambda: None, raising=False)
    found = []
    for seed in (1, 2):
        model = ecg_hub.AutoModel.from_pretrained(TINY, seed=seed)
        model.save_pretrained(tmp_path / "m")
        ecg_hub.AutoFeatureExtractor.from_pretrained(TINY).save_pretrained(tmp_path / "m")
        embed(tmp_path / "m", records[:1], tmp_path / "f.parquet", engine="ray", num_proc=1, progress=False)
        found.append(pq.read_table(tmp_path / "f.parquet")["features"].to_pylist())
    assert found[0] != found[1]


def test_embed_mistakes(records: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.parquet"):
        embed(TINY, records, tmp_path / "features.csv")
    with pytest.raises(InputError, match="no records"):
        embed(TINY, [], tmp_path / "f.parquet")
    with pytest.raises(InputError, match="batch_size"):
        embed(TINY, records, tmp_path / "f.parquet", batch_size=0)
    with pytest.raises(UnknownNameError, match="preset"):
        embed(TINY, records, tmp_path / "f.parquet", preset="nativ")
    assert list(tmp_path.iterdir()) == []


def test_predict(records: list[Path], classifier: Path) -> None:
    result = predict(classifier, records, batch_size=3, progress=False)
    assert result.labels == ("NORM", "MI", "CD")
    assert result.exit_code == ExitCode.PARTLY
    assert [Path(record).name for record, _ in result.failures] == ["lost", "short"]
    pipe = ecg_hub.load_pipeline(classifier)
    for index in (0, 1, 3, 5):
        row = result.rows[index]
        assert [score["label"] for score in row.scores] == [score["label"] for score in pipe(records[index])]
        assert [s["score"] for s in row.scores] == pytest.approx([s["score"] for s in pipe(records[index])], abs=1e-5)
    assert [row.windows for row in result.rows] == [4, 1, 0, 2, 0, 4]
    assert predict(classifier, records[:2], progress=False).exit_code == 0
    assert len(predict(classifier, records[:1], top_k=1, progress=False).rows[0].scores) == 1


def test_predict_formats(records: list[Path], classifier: Path) -> None:
    result = predict(classifier, records[:3], progress=False)
    parsed = json.loads(result.to_json())
    assert [Path(row["record"]).name for row in parsed["records"]] == ["a", "b", "lost"]
    assert parsed["records"][0]["scores"] == result.rows[0].scores
    rows = list(csv.DictReader(result.to_csv().splitlines()))
    assert list(rows[0]) == ["record", "windows", "NORM", "MI", "CD", "reason"]
    assert {name: float(rows[0][name]) for name in ("NORM", "MI", "CD")} == pytest.approx(
        {score["label"]: score["score"] for score in result.rows[0].scores}
    )
    assert rows[2]["NORM"] == ""
    assert "lost.dat" in rows[2]["reason"]


@pytest.mark.parametrize("width", [None, 80])
def test_a_table_cuts_neither_records_nor_labels(width: int | None) -> None:
    scores = [{"label": f"a label of many words {k}", "score": 0.5} for k in range(4)]
    path = "/data/ecg/a/long/way/down/to/a/folder/of/records/00000/of/a/dataset/00001"
    rows = (Prediction(path, 4, scores), Prediction("lost", 0, [], "lost.dat does not exist"))
    table = Predictions("a model", (), rows).to_table(width)
    assert path in table
    assert all(f"{score['label']} 0.500" in table for score in scores)
    assert table.endswith("reason: lost.dat does not exist")
    assert table.count("failed") == 1


def test_predict_needs_a_trained_head(records: list[Path]) -> None:
    with pytest.raises(CheckpointError, match="random weights"):
        predict(TINY, records)


def test_other_errors_are_not_swallowed(records: list[Path]) -> None:
    def fail(windows: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of memory")

    extractor = ecg_hub.AutoFeatureExtractor.from_pretrained(TINY)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(run_records(records, extractor, fail, progress=False))
