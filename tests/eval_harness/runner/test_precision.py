"""Which precision `--dtype auto` takes, and that features of one precision or kernel never serve another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from eval_harness.config.options import RunOptions
from eval_harness.runner import job, run
from eval_harness.runner.job import RunContext
from eval_harness.runner.predicting import precision_deviations
from eval_harness.runner.run import with_dtype


def options(tmp_path: Path, dtype: str) -> RunOptions:
    return RunOptions(
        ("random:ecg-cpc-tiny",), ("ptbxl_super",), data_root="mock", device="cpu", dtype=dtype, cache_dir=tmp_path
    )


@pytest.mark.parametrize(("has", "taken"), [(True, "bfloat16"), (False, "float32")])
def test_auto_says_what_it_takes(
    has: bool, taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "fast_bfloat16", lambda: has)
    chosen = with_dtype(options(tmp_path, "auto"))
    assert chosen == options(tmp_path, taken)
    assert f"--dtype auto: {taken}, because this cpu" in capsys.readouterr().err
    # The result names what was taken.
    assert precision_deviations(chosen, frozen=True) == ({"dtype": "bfloat16"} if has else {})


def test_a_named_precision_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = options(tmp_path, "float32")
    assert with_dtype(asked) is asked
    assert not capsys.readouterr().err


def test_the_cache_of_features_knows_precision_and_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = SimpleNamespace(to_json_string=lambda: "{}")
    loaded: Any = SimpleNamespace(weights_sha256="a", extractor=extractor, encoder=nn.Linear(1, 1))

    def key(asked: RunOptions, kernels: str, device: str = "cpu") -> tuple[str, ...]:
        monkeypatch.setattr(job, "numerics", lambda: kernels)
        accelerator = SimpleNamespace(device=torch.device(device))
        return RunContext(asked, accelerator, None)._cache(loaded).key  # type: ignore[arg-type]

    one = options(tmp_path, "float32")
    assert key(one, "1-onednn-AVX512") == key(one, "1-onednn-AVX512")
    others = [
        key(one, "1-plain-AVX512"),
        key(one, "2-onednn-AVX512"),
        key(one, "1-plain-AVX2"),
        key(replace(one, dtype="bfloat16"), "1-onednn-AVX512"),
    ]
    assert len({key(one, "1-onednn-AVX512"), *others}) == 5
    # What the CPU would do says nothing about features of a GPU.
    assert key(one, "1-plain-AVX2", "cuda") == key(one, "1-onednn-AVX512", "cuda")
