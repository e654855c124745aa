"""Encoded windows: kept once, shared by tasks, modes and runs, and never a reason for other numbers."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import protocol
from eval_harness.results.predictions import read_predictions
from eval_harness.runner.run import evaluate
from eval_harness.training import features as features_module
from eval_harness.training.feature_store import GIB, FeatureStore
from eval_harness.training.features import FeatureCache

Options = Callable[..., RunOptions]
QUICK = protocol("fast", epochs=3, batch_size=16, resamples=20)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[FeatureCache]:
    """The caches of all encoders that the runner loads, newest last."""
    made: list[FeatureCache] = []

    class Counted(FeatureCache):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr("eval_harness.runner.job.FeatureCache", Counted)
    return made


def total(caches: list[FeatureCache]) -> int:
    number = sum(cache.encoded for cache in caches)
    caches.clear()
    return number


def scores(results: list[Any]) -> list[Any]:
    return [(r.status, r.metrics, r.predictions.sha256) for r in results]


def windows(result: Any) -> int:
    """Windows of 2.5 s in all records of 10 s."""
    counts = result.data.records
    return 4 * int(counts.train + counts.validation + counts.test)


@pytest.mark.heavy
@pytest.mark.parametrize("mode", ["linear", "frozen"])
def test_under_the_fast_protocol_every_window_is_encoded_once_for_all_tasks_and_runs(
    options: Options, encoded: list[FeatureCache], tmp_path: Path, mode: str
) -> None:
    asked = options(modes=(mode,), tasks=("ptbxl_super", "ptbxl_sub"), protocol=QUICK, cache_dir=tmp_path / "cache")
    first = evaluate(asked, quiet=True)
    assert [result.status for result in first] == ["done", "done"]
    assert total(encoded) == windows(first[0])
    again = evaluate(replace(asked, output=tmp_path / "again"), quiet=True)
    assert total(encoded) == 0
    assert scores(again) == scores(first)
    assert first[0].protocol.name == "fast"
    assert "train_windows" not in first[0].protocol.deviations


@pytest.mark.heavy
def test_without_a_store_the_numbers_are_the_same(
    options: Options, encoded: list[FeatureCache], tmp_path: Path
) -> None:
    asked = options(modes=("linear", "frozen"), protocol=QUICK, cache_dir=tmp_path / "cache")
    kept = evaluate(asked, quiet=True)
    total(encoded)
    bare = evaluate(replace(asked, cache_size=0.0, output=tmp_path / "bare"), quiet=True)
    assert [r.metrics for r in bare] == [r.metrics for r in kept]
    assert total(encoded) > windows(kept[0]), "tokens are encoded again each epoch"
    history = (tmp_path / "bare" / "random__ecg-cpc-tiny" / "frozen" / "history" / "ptbxl_super.json").read_text()
    assert "there is no cache folder" in history


@pytest.mark.heavy
def test_under_the_paper_protocol_only_training_windows_are_encoded_again(
    options: Options, encoded: list[FeatureCache], tmp_path: Path
) -> None:
    asked = options(modes=("frozen",), epochs=3, cache_dir=tmp_path / "cache")
    (result,) = evaluate(asked, quiet=True)
    fixed = 4 * (result.data.records.validation + result.data.records.test)
    assert total(encoded) == fixed, "training windows are drawn anew and do not go through the cache"


@pytest.mark.heavy
def test_tokens_beyond_the_cache_size_are_encoded_again_and_said_so(
    options: Options, encoded: list[FeatureCache], tmp_path: Path
) -> None:
    tight = 30_000 / GIB
    asked = options(modes=("frozen",), protocol=QUICK, cache_dir=tmp_path / "cache", cache_size=tight)
    (result,) = evaluate(asked, quiet=True)
    assert result.status == "done"
    history = (asked.output / "random__ecg-cpc-tiny" / "frozen" / "history" / "ptbxl_super.json").read_text()
    assert "more than --cache-size" in history
    assert total(encoded) > 4 * (result.data.records.validation + result.data.records.test)


@pytest.mark.heavy
def test_a_full_disk_while_caching_loses_nothing(
    options: Options, encoded: list[FeatureCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    reference = evaluate(options(modes=("linear", "frozen"), protocol=QUICK, cache_dir=tmp_path / "cache"), quiet=True)
    for place in ("begin", "finish"):
        monkeypatch.setattr(FeatureStore, place, full)
        asked = options(modes=("linear", "frozen"), protocol=QUICK, cache_dir=tmp_path / place)
        results = evaluate(replace(asked, output=tmp_path / f"out-{place}"), quiet=True)
        assert [r.metrics for r in results] == [r.metrics for r in reference]
        assert not list((tmp_path / place / "features").glob("*.npy"))
        assert not list((tmp_path / place / "features").glob("*.partial"))
        monkeypatch.undo()


@pytest.mark.heavy
def test_a_cache_file_cut_in_half_is_made_again(options: Options, encoded: list[FeatureCache], tmp_path: Path) -> None:
    asked = options(modes=("frozen",), protocol=QUICK, cache_dir=tmp_path / "cache")
    first = evaluate(asked, quiet=True)
    total(encoded)
    tables = sorted((tmp_path / "cache" / "features").glob("*.npy"))
    tables[0].write_bytes(tables[0].read_bytes()[: tables[0].stat().st_size // 2])
    again = evaluate(replace(asked, output=tmp_path / "again"), quiet=True)
    assert scores(again) == scores(first)
    assert 0 < total(encoded) < windows(first[0])


@pytest.mark.heavy
def test_half_precision_takes_half_the_room_and_is_listed(options: Options, tmp_path: Path) -> None:
    asked = options(modes=("frozen",), protocol=QUICK, cache_dir=tmp_path / "full")
    (full,) = evaluate(asked, quiet=True)
    smaller = replace(asked, feature_dtype="float16", cache_dir=tmp_path / "half", output=tmp_path / "half-out")
    (half,) = evaluate(smaller, quiet=True)
    assert half.protocol.deviations["feature_dtype"] == "float16"
    assert half.metrics["macro_auroc"].point == pytest.approx(full.metrics["macro_auroc"].point, abs=0.05)
    sizes = [sum(f.stat().st_size for f in (tmp_path / n / "features").glob("*.npy")) for n in ("full", "half")]
    assert sizes[1] < 0.55 * sizes[0]


def test_other_records_or_windows_never_share_a_table(options: Options, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    evaluate(options(modes=("linear",), protocol=QUICK, cache_dir=cache), quiet=True)
    number = len(list((cache / "features").glob("*.npy")))
    assert number == 3
    limited = options(modes=("linear",), protocol=QUICK, cache_dir=cache, limit=20, output=tmp_path / "limited")
    (result,) = evaluate(limited, quiet=True)
    assert result.status == "done"
    fold = read_predictions(limited.output / "random__ecg-cpc-tiny" / "linear" / "predictions" / "ptbxl_super.parquet")
    assert len(fold.record_id) <= 40
    assert len(list((cache / "features").glob("*.npy"))) > number


@pytest.mark.heavy
def test_the_rows_of_a_table_do_not_depend_on_the_batch_that_pooled_features_are_read_in(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = options(modes=("linear",), protocol=QUICK, cache_dir=tmp_path / "cache")
    (whole,) = evaluate(asked, quiet=True)
    monkeypatch.setattr(features_module, "POOLED_ROWS", 7)
    (pieces,) = evaluate(replace(asked, output=tmp_path / "pieces"), quiet=True)
    assert pieces.metrics["macro_auroc"].point == pytest.approx(whole.metrics["macro_auroc"].point, abs=1e-6)
