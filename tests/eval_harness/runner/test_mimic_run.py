"""The eleven MIMIC-IV-ECG rows from one joint run: classes with missing values and regression targets together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ecg_hub.modeling.heads import classification_loss
from eval_harness.config.options import RunOptions
from eval_harness.data.records import Datasets, open_run
from eval_harness.metrics.ranking import macro_auroc, macro_auroc_paper
from eval_harness.metrics.regression import pooled_mae
from eval_harness.metrics.selection import composite, selection_score
from eval_harness.results.predictions import Predictions, read_predictions
from eval_harness.results.schema import Result
from eval_harness.runner import job as job_module
from eval_harness.runner.run import evaluate
from eval_harness.tasks.registry import expand, runs

Options = Callable[..., RunOptions]
ROWS = {
    "mimic_cardiac": 158, "mimic_noncardiac": 918, "mimic_deterioration": 6, "mimic_mortality": 7, "mimic_icu": 2,
    "mimic_sex": 1, "mimic_age": 1, "mimic_biometrics": 3, "mimic_ecg_features": 7, "mimic_lab_values": 18,
    "mimic_vital_signs": 6,
}  # fmt: skip


@pytest.fixture(scope="module")
def mimic_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dataset_scripts.mock import write

    root = tmp_path_factory.mktemp("mimic")
    write("mimic-iv-ecg", root / "mimic-iv-ecg", records=150, seed=1)
    return root


@pytest.fixture
def joint(options: Options, mimic_root: Path) -> Options:
    return lambda **changes: options(**{"data_root": str(mimic_root), "tasks": ("mimic_*",), **changes})


@pytest.fixture
def done(joint: Options, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Result], Predictions, Path, list[str]]:
    trained: list[str] = []
    real = job_module.Trainer.run
    monkeypatch.setattr(job_module.Trainer, "run", lambda self: trained.append(self.label) or real(self))
    given = joint()
    results = {result.task: result for result in evaluate(given, quiet=True)}
    folder = given.output / "random__ecg-cpc-tiny" / "linear"
    return results, read_predictions(folder / "predictions" / "mimic.parquet"), folder, trained


@pytest.mark.heavy
def test_one_run_is_trained_once_and_scored_for_every_row(
    done: tuple[dict[str, Result], Predictions, Path, list[str]],
) -> None:
    results, predictions, folder, trained = done
    assert set(results) == set(ROWS)
    assert {task: result.status for task, result in results.items()} == dict.fromkeys(ROWS, "done")
    assert len(trained) == 1
    assert predictions.kind == "mixed"
    assert len(predictions.regression_targets) == 35
    for task, published in ROWS.items():
        data = results[task].data
        assert data is not None
        assert data.labels.published == published
        assert data.labels.scored == len(results[task].per_label)
    test = predictions.part("test")
    codes = [label for label in predictions.labels if label.startswith("I") and label[1].isdigit()]
    assert [entry.label for entry in results["mimic_cardiac"].per_label] == codes
    columns = [predictions.labels.index(code) for code in codes]
    expected = macro_auroc(test.y_true[:, columns], test.y_prob[:, columns])
    assert results["mimic_cardiac"].metrics["macro_auroc"].point == pytest.approx(expected)
    cardiac = results["mimic_cardiac"].data
    assert cardiac is not None
    assert cardiac.labels.unnamed == 158 - len(codes)
    assert results["mimic_cardiac"].protocol.deviations["labels"] == f"{len(codes)}/158"
    age = predictions.labels.index("age")
    known = ~np.isnan(test.y_true[:, age])
    error = np.abs(test.y_true[known, age] - test.y_prob[known, age]).mean()
    assert results["mimic_age"].metrics["mae"].point == pytest.approx(float(error), rel=1e-6)
    entry = results["mimic_age"].per_label[0]
    assert entry.unit == "years"
    assert entry.mae_clinical is not None
    assert entry.mae_clinical.point == pytest.approx(float(error) * predictions.scales["age"][0], rel=1e-5)
    notes = json.loads((folder / "history" / "mimic.json").read_text())
    validation, classes = predictions.part("validation"), len(predictions.labels) - 35
    score = selection_score(validation.y_true, validation.y_prob, classes)
    assert notes["best_score"] == pytest.approx(score, rel=1e-6)
    area = macro_auroc_paper(validation.y_true[:, :classes], validation.y_prob[:, :classes])
    error = pooled_mae(validation.y_true[:, classes:], validation.y_prob[:, classes:])
    assert score == pytest.approx(-composite(area, error))


def test_one_row_alone_trains_the_same_outputs(joint: Options) -> None:
    (alone,) = runs(expand("mimic_sex"))
    (together,) = runs(expand("mimic_*"))
    assert (alone.labels, alone.selectors, alone.kind) == (together.labels, together.selectors, "mixed")
    assert alone.count == 1127
    given = joint()
    first, second = (open_run(run, Datasets(given), 2.5) for run in (alone, together))
    assert first.labels == second.labels
    assert first.classes == len(first.labels) - 35
    assert first.problem_type == "mixed"


def test_targets_are_in_the_order_of_the_dataset_and_missing_ones_are_nan(joint: Options) -> None:
    (run,) = runs(expand("mimic_*"))
    datasets = Datasets(joint())
    data, prepared = open_run(run, datasets, 2.5), datasets.open("mimic-iv-ecg")
    assert data.labels == list(prepared.targets)
    stored = np.array(prepared.splits["test"]["targets"], dtype=np.float32)
    np.testing.assert_array_equal(data.test.targets, stored)
    classes = data.train.targets[:, : data.classes]
    assert set(np.unique(classes[~np.isnan(classes)])) == {0.0, 1.0}
    assert np.isnan(classes[:, data.labels.index("sex")]).any()
    assert data.groups["cardiac"] == [name for name in data.labels if name in set(prepared.target_groups["cardiac"])]
    assert data.scales["age"][1] == "years"


def test_the_loss_is_the_published_one_on_these_targets(joint: Options) -> None:
    """Per class the mean over its known rows, then over classes; the same for the regression targets; the sum."""
    (run,) = runs(expand("mimic_*"))
    data = open_run(run, Datasets(joint()), 2.5)
    targets = data.train.targets[:40].astype(np.float64)
    logits = np.random.default_rng(0).normal(size=targets.shape)
    losses = []
    for part, of in ((slice(0, data.classes), "bce"), (slice(data.classes, None), "l1")):
        columns = []
        for column in range(*part.indices(targets.shape[1])):
            rows = ~np.isnan(targets[:, column])
            t, x = targets[rows, column], logits[rows, column]
            if rows.any():
                columns.append(np.mean(np.logaddexp(0, x) - t * x if of == "bce" else np.abs(t - x)))
        losses.append(np.mean(columns))
    ours = classification_loss(torch.from_numpy(logits), torch.from_numpy(targets), "mixed", data.classes)
    assert float(ours) == pytest.approx(sum(losses), rel=1e-5)


def test_windows_come_repaired(joint: Options) -> None:
    (run,) = runs(expand("mimic_sex"))
    data = open_run(run, Datasets(joint()), 2.5)
    peaks = [np.nanmax(np.abs(data.train.reader.window_mv(int(row), 0, 1250))) for row in data.train.rows]
    assert max(peaks) <= 3.0


@pytest.mark.heavy
def test_the_head_is_saved_with_its_number_of_classes(joint: Options) -> None:
    given = joint(tasks=("mimic_age",), save_model=True, epochs=1)
    (result,) = evaluate(given, quiet=True)
    assert result.status == "done", result.reason
    saved = given.output / "random__ecg-cpc-tiny" / "linear" / "model" / "mimic"
    config = json.loads((saved / "config.json").read_text())
    assert config["problem_type"] == "mixed"
    assert config["num_classification_labels"] == len(config["id2label"]) - 35
