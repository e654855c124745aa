"""The runner end to end on the mock PTB-XL with the tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecg_hub.errors import InputError, UnknownNameError
from eval_harness.cli.eval.main import main
from eval_harness.config.options import RunOptions
from eval_harness.results.folders import FolderRefusedError, locked_folder
from eval_harness.results.predictions import read_predictions
from eval_harness.results.schema import read_result
from eval_harness.results.scoring import ScoringError
from eval_harness.results.summary import seed_rows
from eval_harness.runner import job as job_module
from eval_harness.runner.run import evaluate
from tests.support.hub_cards import check_model_card

Options = Callable[..., RunOptions]


def numbers(results: list[Any]) -> list[tuple[Any, ...]]:
    """What must be equal between two runs of the same settings."""
    return [
        (
            r.task,
            r.mode,
            r.seed,
            r.model_dump()["metrics"],
            r.model_dump()["per_label"],
            r.predictions and r.predictions.sha256,
        )
        for r in results
    ]


@pytest.mark.parametrize("mode", ["linear", "frozen", "finetune", "scratch"])
def test_every_mode_gives_a_complete_result(options: Options, mode: str) -> None:
    given = options(modes=(mode,))
    (result,) = evaluate(given, quiet=True)
    assert result.status == "done", result.reason
    assert {"macro_auroc", "macro_auroc_paper", "macro_auprc"} <= set(result.metrics)
    assert result.data is not None
    assert result.data.records.train > result.data.records.test > 0
    assert result.data.contamination == "clean"
    assert result.protocol.deviations["epochs"] == 2
    assert result.model.weights_sha256
    folder = given.output / "random__ecg-cpc-tiny" / mode
    assert read_result(folder / "ptbxl_super.json") == result
    predictions = read_predictions(folder / "predictions" / "ptbxl_super.parquet")
    assert predictions.y_prob.min() >= 0
    assert predictions.y_prob.max() <= 1
    assert len(predictions.part("test").record_id) == result.data.records.test
    assert not list(folder.glob("checkpoints/*.pt"))


@pytest.mark.heavy
def test_a_run_as_one_json_document(
    data_root: Path, data_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "random:ecg-cpc-tiny", "--mode", "linear", "--tasks", "ptbxl_super,georgia", "--epochs", "1"]
    places = ["--data-root", str(data_root), "--cache-dir", str(data_cache), "-o", str(tmp_path), "--device", "cpu"]
    assert main([*words, *places, "--resamples", "20", "--json"]) == 3
    printed = json.loads(capsys.readouterr().out)
    assert printed["output"] == str(tmp_path)
    done, lacking = printed["results"]
    stored = read_result(Path(done["file"]))
    assert (done["task"], done["status"], done["metric"]) == ("ptbxl_super", "done", "macro_auroc")
    assert (done["point"], done["low"]) == (stored.metrics["macro_auroc"].point, stored.metrics["macro_auroc"].low)
    assert (lacking["task"], lacking["status"], lacking["point"], lacking["file"]) == ("georgia", "skipped", None, None)
    assert "data" in lacking["reason"]
    assert main([*words, *places, "--json", "--dry-run"]) == 1
    assert "--json is of results" in capsys.readouterr().err


@pytest.mark.heavy
def test_one_run_serves_all_tasks_read_from_it(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    real = job_module.Trainer.run
    monkeypatch.setattr(job_module.Trainer, "run", lambda self: trained.append(self.label) or real(self))
    results = evaluate(options(tasks=("ptbxl_all,ptbxl_diag,ptbxl_form,ptbxl_rhythm",)), quiet=True)
    assert [r.status for r in results] == ["done"] * 4
    assert len(trained) == 1
    everything, form = results[0], results[2]
    by_label = {entry.label: entry for entry in everything.per_label}
    for entry in form.per_label:
        assert entry.auroc.point == by_label[entry.label].auroc.point
    assert everything.data.labels.missing
    assert everything.protocol.deviations["labels"] == f"{len(everything.per_label)}/71"


def test_repeating_a_finished_run_trains_nothing_and_changes_nothing(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(options(), quiet=True)
    monkeypatch.setattr(job_module.Trainer, "run", lambda self: pytest.fail("trained again"))
    monkeypatch.setattr(job_module, "open_run", lambda *_: pytest.fail("opened the records again"))
    assert evaluate(options(), quiet=True) == first


def test_a_task_without_a_score_does_not_cost_the_others(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    real = job_module.score_task

    def score(task: Any, *rest: Any, **more: Any) -> Any:
        if task.name in ("ptbxl_all", "ptbxl_form"):
            raise ScoringError(f"{task.name}: nothing to score.")
        return real(task, *rest, **more)

    given = options(tasks=("ptbxl_all,ptbxl_diag,ptbxl_form,ptbxl_rhythm",))
    with monkeypatch.context() as patch:
        patch.setattr(job_module, "score_task", score)
        rows = {row.task: row for row in evaluate(given, quiet=True)}
    assert {name: row.status for name, row in rows.items()} == {
        "ptbxl_all": "failed", "ptbxl_diag": "done", "ptbxl_form": "failed", "ptbxl_rhythm": "done",
    }  # fmt: skip
    assert rows["ptbxl_form"].reason == "ptbxl_form: nothing to score."
    assert [row.status for row in evaluate(given, quiet=True)] == ["done"] * 4


@pytest.mark.heavy
def test_a_folder_made_under_the_old_name_of_an_option_continues(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(FutureWarning, match="max_loss is now called max_unreadable"):
        old = options(max_loss=0.02)
    first = evaluate(old, quiet=True)
    run = old.output / "random__ecg-cpc-tiny" / "linear" / "run.json"
    assert "max_" not in run.read_text().partition('"command"')[0], "it decides no score, so the fingerprint lacks it"
    monkeypatch.setattr(job_module.Trainer, "run", lambda self: pytest.fail("trained again"))
    assert evaluate(options(max_unreadable=0.02), quiet=True) == first


@pytest.mark.heavy
def test_metrics_are_computed_again_from_kept_predictions(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluate(options(), quiet=True)
    (options().output / "random__ecg-cpc-tiny" / "linear" / "ptbxl_super.json").unlink()
    monkeypatch.setattr(job_module.Trainer, "run", lambda self: pytest.fail("trained again"))
    assert numbers(evaluate(options(), quiet=True)) == numbers(first)


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
@pytest.mark.parametrize("stop_after", [1, pytest.param(2, marks=pytest.mark.heavy)])
def test_a_run_that_died_between_epochs_ends_with_the_same_numbers(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, stop_after: int
) -> None:
    undisturbed = evaluate(options(modes=(mode,), epochs=3, output=tmp_path / "whole"), quiet=True)
    real = job_module.Checkpoint.save
    calls = []

    def save_then_die(self: Any, *args: Any) -> None:
        real(self, *args)
        calls.append(1)
        if len(calls) == stop_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job_module.Checkpoint, "save", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            evaluate(options(modes=(mode,), epochs=3, output=tmp_path / "killed"), quiet=True)
    torch.manual_seed(12345)
    resumed = evaluate(options(modes=(mode,), epochs=3, output=tmp_path / "killed"), quiet=True)
    assert numbers(resumed) == numbers(undisturbed)


@pytest.mark.heavy
def test_the_seed_decides_the_numbers_and_several_seeds_have_a_spread(options: Options) -> None:
    given = options(seeds=(0, 1))
    zero, one = evaluate(given, quiet=True)
    assert zero.metrics["macro_auroc"].point != one.metrics["macro_auroc"].point
    folder = given.output / "random__ecg-cpc-tiny" / "linear"
    written = json.loads((folder / "seeds.json").read_text())["ptbxl_super"]["macro_auroc"]
    points = [zero.metrics["macro_auroc"].point, one.metrics["macro_auroc"].point]
    assert written["mean"] == pytest.approx(np.mean(points))
    assert written["sd"] == pytest.approx(np.std(points, ddof=1))
    assert (folder / "seed_1" / "ptbxl_super.json").is_file()
    (shown,) = seed_rows([zero, one])
    assert shown["seeds"] == "0, 1"
    assert shown["score"].startswith(f"{np.mean(points):.3f} +- {np.std(points, ddof=1):.3f}")
    assert seed_rows([zero]) == []


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("change", "named"),
    [({"epochs": 3}, "epochs"), ({"preset": "native"}, "preset"), ({"seeds": (5,)}, "seed"), ({"limit": 9}, "limit")],
)
def test_a_folder_of_other_settings_is_refused_unless_overwritten(
    options: Options, change: dict[str, Any], named: str
) -> None:
    first = evaluate(options(), quiet=True)
    with pytest.raises(FolderRefusedError, match=named):
        evaluate(options(**change), quiet=True)
    assert evaluate(options(), quiet=True) == first
    (result,) = evaluate(options(**change, overwrite=True), quiet=True)
    assert result.status == "done", result.reason


def test_a_folder_in_use_is_refused(options: Options) -> None:
    given = options()
    with (
        locked_folder(given.output / "random__ecg-cpc-tiny" / "linear"),
        pytest.raises(FolderRefusedError, match="Another process"),
    ):
        evaluate(given, quiet=True)


def test_weights_that_are_not_to_be_had_are_asked_for_once(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load(name: str, *settings: Any) -> Any:
        asked.append(name)
        raise OSError("the connection was closed")

    monkeypatch.setattr(job_module, "load_model", load)
    results = evaluate(options(tasks=("ptbxl_super", "ptbxl_sub"), modes=("linear", "frozen")), quiet=True)
    assert [(result.status, result.reason) for result in results] == [("failed", "the connection was closed")] * 4
    assert asked == ["random:ecg-cpc-tiny"]


@pytest.mark.heavy
def test_an_unexpected_error_is_a_row_with_its_traceback_kept(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = job_module.Trainer.run

    def broken(self: Any) -> Any:
        if self.mode == "linear":
            raise ZeroDivisionError("broken")
        return real(self)

    monkeypatch.setattr(job_module.Trainer, "run", broken)
    given = options(modes=("linear", "frozen"))
    linear, frozen = evaluate(given, quiet=True)
    assert (linear.status, linear.reason) == ("failed", "ZeroDivisionError: broken")
    assert frozen.status == "done"
    trace = given.output / "random__ecg-cpc-tiny" / "linear" / "errors" / "ptbxl_super.txt"
    assert "ZeroDivisionError" in trace.read_text()
    monkeypatch.undo()
    again, _ = evaluate(given, quiet=True)
    assert again.status == "done"


@pytest.mark.heavy
def test_a_train_set_smaller_than_the_batch_uses_one_smaller_batch_and_says_so(options: Options) -> None:
    (result,) = evaluate(options(limit=12), quiet=True)
    assert result.status == "done", result.reason
    assert result.protocol.deviations["batch_size"] == 12
    assert result.protocol.deviations["limit"] == 12


@pytest.mark.heavy
def test_a_saved_model_classifies_like_the_run(options: Options, data_root: Path) -> None:
    import ecg_hub
    from ecg_hub import AutoFeatureExtractor, AutoModelForECGClassification

    given = options(modes=("finetune",), save_model=True)
    (result,) = evaluate(given, quiet=True)
    assert result.status == "done", result.reason
    folder = given.output / "random__ecg-cpc-tiny" / "finetune"
    model = AutoModelForECGClassification.from_pretrained(folder / "model" / "ptbxl_super").eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder / "model" / "ptbxl_super")
    test = read_predictions(folder / "predictions" / "ptbxl_super.parquet").part("test")
    record = int(test.record_id[0])
    path = data_root / "ptb-xl" / "records500" / f"{record // 1000 * 1000:05d}" / f"{record:05d}_hr"
    values = extractor(str(path), window="all", nan="zero", return_tensors="pt")["input_values"]
    with torch.no_grad():
        probabilities = model(values).logits.sigmoid().mean(0)
    assert probabilities.numpy() == pytest.approx(test.y_prob[0], abs=1e-5)
    assert list(model.config.id2label.values()) == list(test.labels)
    assert len(model.config.thresholds) == len(test.labels)
    config = ecg_hub.AutoModel.from_pretrained(folder / "model" / "ptbxl_super").config
    step = {"dataset": "ptb-xl", "run": "ptbxl_super", "mode": "finetune", "seed": given.seeds[0], "began": "random"}
    step["simulated"] = True
    assert (config.random_weights, config.training) == (None, [step])
    facts = check_model_card((folder / "model" / "ptbxl_super" / "README.md").read_text())
    assert facts["pipeline_tag"] == "other"
    assert "datasets" not in facts, "simulated records are no data set"


def test_unknown_names_are_refused_before_anything_runs(options: Options) -> None:
    for change in ({"models": ("random:ecg-cpd",)}, {"tasks": ("ptbxl_supr",)}):
        given = options(**change)
        with pytest.raises(UnknownNameError, match="Did you mean"):
            evaluate(given, quiet=True)
        assert not given.output.exists()
    with pytest.raises(InputError, match="'tpu'"):
        evaluate(options(device="tpu"), quiet=True)


@pytest.mark.heavy
def test_lower_precision_and_reading_processes_work_and_precision_is_listed(options: Options) -> None:
    given = options(modes=("frozen", "finetune"), dtype="bfloat16", num_workers=2, limit=24)
    for result in evaluate(given, quiet=True):
        assert result.status == "done", result.reason
        assert result.protocol.deviations["dtype"] == "bfloat16"
