"""Mode `published_head` end to end: a tiny model with a head as its authors' would be, on mock data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import eval_harness
from ecg_hub import AutoModelForECGClassification, catalog, load_pipeline
from ecg_hub.leads import LEADS
from ecg_hub.names import model_folder
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import PUBLISHED_HEAD, check_mode, protocol
from eval_harness.data.records import Datasets, open_run
from eval_harness.models.loading import load_model
from eval_harness.models.published_head import NoPublishedHeadError, load_published_head, only
from eval_harness.results.folders import FolderRefusedError, find_runs
from eval_harness.results.predictions import read_predictions
from eval_harness.results.schema import read_result
from eval_harness.results.verify import verify
from eval_harness.runner.plan import plan
from eval_harness.runner.run import evaluate, exit_code
from eval_harness.tasks.registry import tasks
from tests.support.checkpoints import save_tiny, save_tiny_head
from tests.support.tiny_training import run_data

Options = Callable[..., RunOptions]
ALIAS = "ecg-fm-mimic-iv-finetuned"


@pytest.fixture
def chosen(options: Options) -> Options:
    """Options of the mode, with the model under its short name."""
    save_tiny_head(ALIAS)

    def make(**changes: Any) -> RunOptions:
        return options(**{"models": (ALIAS,), "modes": ("published-head",), "tasks": ("ptbxl_rhythm",), **changes})

    return make


def by_hand(options: RunOptions, dataset_run: Any) -> dict[str, dict[str, float]]:
    """Record -> label of the head -> probability, by the pipeline that users have."""
    data = open_run(dataset_run, Datasets(options), 5.0)
    classify = load_pipeline(model_folder(ALIAS))
    found = {}
    for position, record in enumerate(data.test.record_ids):
        row = int(data.test.rows[position])
        signal = data.test.reader.window_mv(row, 0, int(data.test.reader.lengths[row])).T
        scores = classify(np.nan_to_num(signal), sampling_rate=data.rate, lead_names=LEADS)
        found[record] = {score["label"]: score["score"] for score in scores}
    return found


def test_the_scores_are_those_of_the_pipeline(chosen: Options) -> None:
    given = chosen()
    (result,) = evaluate(given, quiet=True)
    assert result.status == "done", result.reason
    assert (result.mode, result.model.preset, result.protocol.trained_parameters) == (PUBLISHED_HEAD, "native", 0)
    head = result.protocol.published_head
    assert head is not None
    assert (head.checkpoint, head.outputs, len(head.maximum)) == (ALIAS, 17, 5)
    mapped = {item.label: item.outputs for item in head.mapped}
    assert mapped["AFIB"] == ["Atrial fibrillation"]
    assert mapped["PVC"] == ["Premature ventricular contraction"]
    # The run of the task has more labels than the task: of these four are scored, and the result says how many.
    assert result.data is not None
    assert [entry.label for entry in result.per_label] == ["AFIB", "AFLT", "PACE", "SR"]
    assert result.protocol.deviations["labels"] == "4/12"
    assert result.data.labels.missing == [n for n in tasks()["ptbxl_rhythm"].labels if n not in mapped]
    assert head.unmapped["SBRAD"].startswith("the head has no output of 426177001")
    assert "epochs" not in result.protocol.deviations
    test = read_predictions(given.output / ALIAS_FOLDER / "predictions" / "ptbxl_all.parquet").part("test")
    expected = by_hand(given, plan(given)[0].run)
    for column, label in enumerate(test.labels):
        for row, record in enumerate(test.record_id):
            assert test.y_prob[row, column] == pytest.approx(max(expected[record][n] for n in mapped[label]), abs=2e-5)


ALIAS_FOLDER = Path(ALIAS) / PUBLISHED_HEAD


def test_a_task_of_a_whole_column_finds_the_labels_that_are_left() -> None:
    data = replace(run_data(), groups={"label_all": ["b", "a"], "other": ["b"]})
    narrowed = only(data, ["a"])
    assert (narrowed.labels, narrowed.groups) == (["a"], {"label_all": ["a"], "other": []})
    assert narrowed.test.targets[:, 0].tolist() == data.test.targets[:, 0].tolist()


@pytest.mark.heavy
def test_it_continues_verifies_and_belongs_to_its_head(chosen: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    given = chosen()
    (first,) = evaluate(given, quiet=True)
    # A further task of the same run needs no model any more, only the predictions.
    monkeypatch.setattr("eval_harness.models.published_head.PublishedHead.scores", None)
    rhythm, whole = evaluate(chosen(tasks=("ptbxl_rhythm", "ptbxl_all")), quiet=True)
    assert rhythm == first
    assert whole.protocol.deviations["labels"] == f"{len(whole.per_label)}/71"
    (folder,) = find_runs([given.output])
    assert {check.state for check in verify(folder, tasks())} == {"equal"}
    # Another head on the same encoder is another run, and may not continue the folder.
    save_tiny_head(ALIAS, seed=1)
    with pytest.raises(FolderRefusedError, match="head_sha256"):
        evaluate(given, quiet=True)
    # So are other tables, by which the same head is scored as other labels.
    save_tiny_head(ALIAS)
    monkeypatch.setattr("eval_harness.models.published_head.head_map_sha256", lambda vocabulary: "other tables")
    with pytest.raises(FolderRefusedError, match="head_rules_sha256"):
        evaluate(given, quiet=True)


def test_numbers_of_training_decide_nothing() -> None:
    changed = protocol(epochs=3, learning_rate=0.1, resamples=7)
    assert changed.for_mode(PUBLISHED_HEAD).deviations() == {"resamples": 7}
    assert check_mode("Published-Head") == PUBLISHED_HEAD


@pytest.mark.parametrize(
    ("model", "task", "reason"),
    [
        (ALIAS, "echonext", "none of the 11 labels of echonext is mapped to one of the 17 of the published head of"),
        ("deepecg-ssl-af-5y", "ptbxl_all", "none of the 71 labels"),
        ("hubert-ecg", "ptbxl_super", "hubert-ecg has no published head"),
        ("xresnet1d101-ptbxl", "ptbxl_super", "of a form that no classifier here computes"),
        ("ecg-fm-physionet2021-finetuned", "ptbxl_super", "names of the outputs .* are not known"),
        ("random:ecg-fm", "ptbxl_super", "random:ecg-fm has no head of its authors"),
        ("trivial", "ptbxl_super", "trivial has no head of its authors"),
    ],
)
def test_what_makes_no_sense_is_skipped(options: Options, model: str, task: str, reason: str) -> None:
    (result,) = evaluate(options(models=(model,), modes=(PUBLISHED_HEAD,), tasks=(task,), data_root="mock"), quiet=True)
    assert result.status == "skipped"
    assert exit_code([result]) == 0
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(result.reason)


def test_tasks_of_one_run_are_skipped_one_by_one(chosen: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    given = chosen(tasks=("ptbxl_rhythm", "ptbxl_form", "ptbxl_diag"))
    monkeypatch.setattr(
        "eval_harness.runner.plan.not_mapped", lambda entry, run, task: {"ptbxl_form": "no"}.get(task.name)
    )
    jobs = plan(given)
    assert [([task.name for task in job.tasks], job.skip) for job in jobs] == [
        (["ptbxl_rhythm", "ptbxl_diag"], None),
        (["ptbxl_form"], "no"),
    ]


@pytest.mark.heavy
def test_folders(chosen: Options, options: Options, tmp_path: Path) -> None:
    """A folder of a conversion is scored; one whose head was trained since has no head of its authors."""
    kept = save_tiny_head(ALIAS, tmp_path / "kept")
    own = save_tiny("ecg-fm", tmp_path / "own", {"file": "a.pt", "sha256": "0" * 64}, labels=17)
    trained = save_tiny_head(ALIAS, tmp_path / "trained")
    weights = load_file(trained / "model.safetensors")
    save_file(
        {**weights, "head.linear.bias": weights["head.linear.bias"] + 1},
        trained / "model.safetensors",
        {"format": "pt"},
    )
    folders = tuple(map(str, (kept, own, trained)))
    results = evaluate(options(models=folders, modes=(PUBLISHED_HEAD,), tasks=("ptbxl_super",), limit=20), quiet=True)
    assert [result.status for result in results] == ["done", "skipped", "skipped"]
    assert results[0].protocol.deviations["labels"] == "1/5"
    assert "has no published head" in str(results[1].reason)
    assert "is not that of the authors of" in str(results[2].reason)
    with pytest.raises(NoPublishedHeadError, match="no head of its authors"):
        load_published_head("own", str(own))


@pytest.mark.heavy
def test_the_api_and_own_objects(chosen: Options, tmp_path: Path) -> None:
    given = chosen(limit=20)
    paths = {"data_root": given.data_root, "cache_dir": given.cache_dir, "device": "cpu"}
    (result,) = eval_harness.evaluate(
        ALIAS, "ptbxl_super", modes=["published-head"], output=tmp_path / "api", limit=20, quiet=True, **paths
    )
    assert result.status == "done", result.reason
    model = AutoModelForECGClassification.from_pretrained(model_folder(ALIAS))
    (result,) = eval_harness.evaluate(
        model, "ptbxl_super", modes=["published_head"], output=tmp_path / "object", limit=20, quiet=True, **paths
    )
    assert result.status == "skipped"


def test_nothing_is_kept_of_what_was_not_trained(chosen: Options) -> None:
    (result,) = evaluate(chosen(save_model=True, limit=20), quiet=True)
    assert (result.status, "trains nothing" in str(result.reason)) == ("failed", True)


@pytest.mark.heavy
def test_what_the_head_was_trained_on_is_seen(chosen: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    alias = "hubert-ecg-small-cardiolearning"
    model = AutoModelForECGClassification.from_pretrained(save_tiny_head(alias))
    entry = replace(catalog.get(alias), parameters=model.base_model.num_parameters())
    known = {**catalog.checkpoints(), alias: entry}
    monkeypatch.setattr(catalog, "checkpoints", lambda: known)
    (result,) = evaluate(chosen(models=(alias,), tasks=("ptbxl_rhythm",), limit=20), quiet=True)
    assert result.status == "done", result.reason
    assert (result.model.origin, result.model.id) == ("catalogue", alias)
    assert result.data is not None
    assert result.data.contamination == "seen"


@pytest.mark.heavy
def test_training_never_begins_with_the_head_of_the_authors(chosen: Options) -> None:
    given = chosen(modes=("linear",), tasks=("ptbxl_super",), limit=20, epochs=1, batch_size=8, save_model=True)
    (result,) = evaluate(given, quiet=True)
    assert result.status == "done", result.reason
    folder = given.output / ALIAS / "linear"
    folder = folder if folder.is_dir() else given.output / f"unverified__{ALIAS}" / "linear"
    model = AutoModelForECGClassification.from_pretrained(folder / "model" / "ptbxl_super")
    assert list(model.config.id2label.values()) == ["CD", "HYP", "MI", "NORM", "STTC"]
    assert (model.config.published_head, model.config.record_maximum) == (None, None)
    # Its encoder is that of the folder, and its features are those that other modes share.
    assert load_model(ALIAS, "linear", "benchmark", 0).weights_sha256 == result.model.weights_sha256
    assert load_model(ALIAS, PUBLISHED_HEAD, "benchmark", 0).weights_sha256 == result.model.weights_sha256
    assert read_result(folder / "ptbxl_super.json").protocol.published_head is None
    assert not torch.equal(model.head.linear.weight, torch.zeros(1))
