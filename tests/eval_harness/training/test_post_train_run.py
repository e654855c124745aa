"""Runs of mode `post_train`: what each stage changes, resuming, repeating, and awkward training sets."""

from __future__ import annotations

import copy
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import eval_harness.runner.job as job_module
import eval_harness.training.post_training as post_module
from ecg_hub import AutoFeatureExtractor, AutoModel
from eval_harness.config.options import RunOptions, TrainSubset
from eval_harness.config.protocol import PostTraining, protocol
from eval_harness.results.schema import Result
from eval_harness.runner.run import evaluate
from tests.support.forked import Forked, finish

Options = Callable[..., RunOptions]
SHORT = {"stage1_epochs": 3, "stage2_epochs": 2, "batch_size": 16}


@pytest.fixture
def post(options: Options) -> Options:
    """Make options of a tiny run of the mode; settings of the mode under `post`."""

    def make(post: dict[str, Any] | None = None, **changes: Any) -> RunOptions:
        chosen = PostTraining(**{**SHORT, **(post or {})})
        given = {"modes": ("post_train",), "protocol": protocol(resamples=50), "limit": 40, **changes}
        return options(**given, post_training=chosen)

    return make


def numbers(results: list[Result]) -> list[Any]:
    assert [r.status for r in results] == ["done"] * len(results), [r.reason for r in results]
    return [(r.metrics, r.per_label, r.predictions and r.predictions.sha256) for r in results]


def history(given: RunOptions) -> dict[str, Any]:
    folder = given.output / "random__ecg-cpc-tiny" / "post_train"
    return dict(json.loads((folder / "history" / "ptbxl_super.json").read_text()))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[str, Any], dict[str, Any]]]:
    """Copies of everything before and after each stage."""
    seen: list[tuple[int, dict[str, Any], dict[str, Any]]] = []
    real = job_module.Trainer.run

    def run(self: Any) -> Any:
        before = copy.deepcopy(self.model.classifier.state_dict())
        progress = real(self)
        seen.append((self.plan.stage, before, copy.deepcopy(self.model.classifier.state_dict())))
        return progress

    monkeypatch.setattr(job_module.Trainer, "run", run)
    return seen


# A model with BatchNorm, whose statistics are buffers.
@pytest.mark.parametrize("alias", ["ecg-cpc", "merl"])
def test_stage_1_changes_the_head_alone_and_stage_2_starts_from_it(
    alias: str, post: Options, watched: list[tuple[int, dict[str, Any], dict[str, Any]]]
) -> None:
    numbers(evaluate(post(models=(f"random:{alias}-tiny",)), quiet=True))
    (one, before, after), (two, start, end) = watched
    assert (one, two) == (1, 2)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    assert any("running" in name for name in before) or alias != "merl"
    assert all(torch.equal(after[name], start[name]) for name in after)
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert any(not name.startswith("head.") for name in moved)


@pytest.mark.heavy
@pytest.mark.parametrize("kept", ["best", "last"])
def test_stage_2_starts_from_the_head_asked_for(
    kept: str, post: Options, watched: list[tuple[int, dict[str, Any], dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[tuple[int, dict[str, torch.Tensor]]] = []
    real = job_module.Checkpoint.save

    def save(self: Any, progress: Any, model: Any, optimizer: Any) -> None:
        heads.append((progress.best_epoch, model.trained_state()))
        real(self, progress, model, optimizer)

    monkeypatch.setattr(job_module.Checkpoint, "save", save)
    given = post({"stage1_start": kept, "stage1_learning_rate": 0.5}, seeds=(3,))
    numbers(evaluate(given, quiet=True))
    stage1 = heads[:3]
    epoch = stage1[-1][0] if kept == "best" else 3
    expected = stage1[epoch - 1][1]
    started = watched[1][1]
    assert all(torch.equal(started[f"head.{name}"], tensor) for name, tensor in expected.items())


@pytest.mark.heavy
def test_the_curves_of_both_stages_are_kept(post: Options) -> None:
    given = post()
    (result,) = evaluate(given, quiet=True)
    notes = history(given)
    steps = notes["history"]
    assert [step["epoch"] for step in steps] == [1, 2, 3, 4, 5]
    assert [step["stage"] for step in steps] == [1, 1, 1, 2, 2]
    assert [step["learning_rate"] for step in steps[:4]] == [5e-3, 5e-3, 5e-3, 5e-4]
    assert all(step["validation"] is not None and step["validation_auprc"] is not None for step in steps)
    assert notes["best_epoch"] in (4, 5)
    assert notes["post_training"] == PostTraining(**SHORT).as_dict()
    assert result.protocol.deviations["post_train.stage2_epochs"] == 2
    assert "epochs" not in result.protocol.deviations


@pytest.mark.heavy
def test_rate_0_and_no_preview_are_the_plain_training_to_the_bit(
    post: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without stochastic depth nothing is drawn for it: the same bits as with the modules taken out."""
    given = post({"depth_rate": 0.0, "preview": False}, output=tmp_path / "zero")
    with_modules = numbers(evaluate(given, quiet=True))
    assert [step["stage"] for step in history(given)["history"]] == [2, 2]
    real = post_module.check_depth

    def take_out(model: Any, settings: Any) -> None:
        real(model, settings)
        for module in list(model.encoder.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, post_module.DropPath):
                    setattr(module, name, torch.nn.Identity())

    monkeypatch.setattr(post_module, "check_depth", take_out)
    without = numbers(evaluate(post({"depth_rate": 0.0, "preview": False}, output=tmp_path / "without"), quiet=True))
    assert with_modules == without
    monkeypatch.undo()
    assert numbers(evaluate(post({"preview": False}, output=tmp_path / "half"), quiet=True)) != with_modules


@pytest.mark.parametrize("stop_after", [1, *(pytest.param(epoch, marks=pytest.mark.heavy) for epoch in (3, 4))])
def test_a_run_that_died_in_either_stage_ends_with_the_same_numbers(
    post: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    settings = {"stage2_ema": 0.9, "stage1_schedule": "plateau", "stage1_plateau_patience": 1, "stage2_grad_clip": 1.0}
    undisturbed = evaluate(post(settings, output=tmp_path / "whole"), quiet=True)
    real, calls = job_module.Checkpoint.save, []

    def save_then_die(self: Any, *args: Any) -> None:
        real(self, *args)
        calls.append(1)
        if len(calls) == stop_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job_module.Checkpoint, "save", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            evaluate(post(settings, output=tmp_path / "killed"), quiet=True)
    torch.manual_seed(12345)
    assert numbers(evaluate(post(settings, output=tmp_path / "killed"), quiet=True)) == numbers(undisturbed)
    assert not list((tmp_path / "killed").rglob("*.pt"))


@pytest.mark.heavy
def test_every_setting_that_changes_training_changes_the_numbers(post: Options, tmp_path: Path) -> None:
    base = {"stage2_learning_rate": 5e-3, "stage1_epochs": 1}
    plain = numbers(evaluate(post(base, output=tmp_path / "plain"), quiet=True))
    changes: list[dict[str, Any]] = [
        {"pos_weight": "balanced"}, {"stage2_ema": 0.5}, {"stage2_label_smoothing": 0.3}, {"stage2_grad_clip": 1e-3},
        {"stage1_dropout": 0.5}, {"stage2_dropout": 0.5}, {"depth_schedule": "constant"}, {"depth_mode": "batch"},
        {"stage2_layer_decay": 0.1}, {"stage2_head_rate_scale": 9.0}, {"preview": False},
        {"stage2_weight_decay": 5.0}, {"stage1_weight_decay": 5.0}, {"stage2_warmup_epochs": 1},
    ]  # fmt: skip
    for k, change in enumerate(changes):
        assert numbers(evaluate(post({**base, **change}, output=tmp_path / str(k)), quiet=True)) != plain, change


@pytest.mark.heavy
def test_weights_drawn_anew_are_no_weights_of_the_model(post: Options, tmp_path: Path) -> None:
    folder = tmp_path / "trained"
    AutoModel.from_pretrained("random:ecg-cpc-tiny", seed=9).save_pretrained(folder)
    AutoFeatureExtractor.from_pretrained("random:ecg-cpc-tiny").save_pretrained(folder)
    kept = evaluate(post(models=(str(folder),)), quiet=True)[0]
    drawn = evaluate(post({"pretrained": False}, models=(str(folder),), overwrite=True), quiet=True)[0]
    same = evaluate(post(output=tmp_path / "random"), quiet=True)[0]
    assert drawn.model.weights_sha256 != kept.model.weights_sha256
    assert drawn.model.weights_sha256 == same.model.weights_sha256, "as `random:` draws them from the seed"
    assert numbers([drawn]) == numbers([same]) != numbers([kept])
    assert drawn.protocol.deviations["post_train.pretrained"] is False
    assert drawn.data is not None
    assert drawn.data.contamination == "clean"


@pytest.mark.heavy
def test_fewer_records_than_a_batch_make_one_smaller_batch(post: Options) -> None:
    (result,) = evaluate(post({"batch_size": 256}, limit=12), quiet=True)
    assert result.status == "done", result.reason
    assert result.protocol.deviations["batch_size"] == 12


@pytest.mark.heavy
def test_a_fraction_without_positives_of_a_label_trains_and_says_so(post: Options) -> None:
    given = post({"pos_weight": "balanced"}, limit=None, train_subset=TrainSubset(1 / 32, validation=False))
    (result,) = evaluate(given, quiet=True)
    assert result.status == "done", result.reason
    assert result.data is not None
    assert result.data.records.train == 2
    assert result.protocol.deviations["train_fraction"] == 1 / 32
    without, of = result.protocol.deviations["labels_without_train_positive"].split("/")
    assert int(without) >= 1
    assert of == "5"


def test_a_fraction_that_leaves_no_record_is_a_row_with_the_reason(post: Options) -> None:
    (result,) = evaluate(post(train_subset=TrainSubset(1e-4)), quiet=True)
    assert result.status == "failed"
    assert "larger fraction" in (result.reason or "")


OWN = """
import torch
class Encoder(torch.nn.Module):
    sampling_rate, input_seconds = 100, 2.5
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Conv1d(12, 8, 5)
    def encode(self, signals):
        return self.net(signals).transpose(1, 2)
"""


@pytest.mark.heavy
def test_an_own_encoder_is_post_trained_without_stochastic_depth_only(post: Options, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    model = f"python:{file}:Encoder"
    (refused,) = evaluate(post(models=(model,)), quiet=True)
    assert refused.status == "failed"
    assert "depth_rate=0" in (refused.reason or "")
    (done,) = evaluate(post({"depth_rate": 0}, models=(model,), overwrite=True), quiet=True)
    assert done.status == "done", done.reason


@pytest.mark.heavy
def test_a_run_is_made_again_from_its_run_file(
    post: Options, data_root: Path, data_cache: Path, tmp_path: Path
) -> None:
    from eval_harness.results.folders import find_runs
    from eval_harness.runner.reproduce import compare_runs, options_of

    given = post(train_subset=TrainSubset(0.5, nested=True))
    numbers(evaluate(given, quiet=True))
    (stored,) = find_runs([given.output])
    again = options_of(stored.run, str(data_root), tmp_path / "again", cache_dir=data_cache, device="cpu")
    numbers(evaluate(again, quiet=True))
    (made,) = find_runs([tmp_path / "again"])
    (repeat,) = compare_runs(stored, made)
    assert (repeat.state, repeat.reason) == ("identical", "")


def command(output: Path, data_root: Path, home: Path) -> Forked:
    words = ["--model", "random:ecg-cpc-tiny", "--tasks", "ptbxl_super", "--mode", "post_train", "--device", "cpu"]
    words += [
        f"--post-train={word}" for word in ("stage1_epochs=4", "stage2_epochs=4", "batch_size=4", "stage2_ema=0.9")
    ]
    words += ["--resamples", "50", "--seed", "3", "--data-root", str(data_root), "--output", str(output)]
    return Forked("eval_harness", words, ECG_HUB_HOME=str(home))


def finished_numbers(output: Path, data_root: Path, home: Path) -> Any:
    finish(command(output, data_root, home))
    result = json.loads(next(output.rglob("post_train/ptbxl_super.json")).read_text())
    steps = json.loads(next(output.rglob("history/ptbxl_super.json")).read_text())["history"]
    curves = [{name: value for name, value in step.items() if name != "seconds"} for step in steps]
    return result["metrics"], result["predictions"]["sha256"], curves


@pytest.mark.heavy
def test_a_run_killed_in_both_stages_ends_with_the_same_numbers(data_root: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    expected = finished_numbers(tmp_path / "whole", data_root, home)
    output = tmp_path / "killed"
    for stage, times in ((1, 2), (2, 1), (2, 2)):
        process, seen, deadline = command(output, data_root, home), set(), time.monotonic() + 300
        while process.poll() is None and len(seen) < times:
            assert time.monotonic() < deadline
            seen |= {file.stat().st_ino for file in output.rglob(f"*.stage{stage}.pt")}
            time.sleep(0.002)
        assert process.poll() is None, "the run ended before it was killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert finished_numbers(output, data_root, home) == expected
