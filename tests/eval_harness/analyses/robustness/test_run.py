"""A whole robustness analysis on a tiny run: scores, pairing, resuming, refusals, the command."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_hub import AutoFeatureExtractor, AutoModelForECGClassification
from ecg_hub.errors import DataError, InputError, ResultError, UnknownNameError
from eval_harness.analyses.files import read_analysis
from eval_harness.analyses.robustness import run as robustness
from eval_harness.analyses.robustness.corruptions import VERSION, corruptions
from eval_harness.analyses.robustness.report import robustness_part, write_curves
from eval_harness.analyses.robustness.run import RobustnessOptions, Scorer, choose, corrupted, run_robustness
from eval_harness.analyses.robustness.schema import RobustnessResult
from eval_harness.analyses.trained import find_one, open_its_data, open_trained
from eval_harness.cli.eval.main import main
from eval_harness.results.schema import read_result

FEW = ("reversal", "missing_segment")


@pytest.fixture
def wanted(trained_folder: Path, data_root: Path, data_cache: Path) -> Any:
    def make(**changes: Any) -> RobustnessOptions:
        settings: dict[str, Any] = {
            "folder": trained_folder, "wanted": FEW, "data_root": str(data_root), "quiet": True,
            "cache_dir": data_cache, "device": "cpu",
        }  # fmt: skip
        return RobustnessOptions(**{**settings, **changes})

    return make


@pytest.mark.heavy
def test_whole_analysis(wanted: Any, trained_folder: Path) -> None:
    (result,) = run_robustness(wanted())
    assert result.complete
    assert result.synthetic, "mock records are simulated"
    assert [(c.corruption, c.strength) for c in result.conditions] == [
        (name, strength) for name in FEW for strength in corruptions()[name].strengths
    ]
    stored = read_result(trained_folder / "ptbxl_super.json")
    clean = result.clean["ptbxl_super"]
    for metric in ("macro_auroc", "macro_auprc", "macro_f1", "macro_sensitivity", "macro_specificity"):
        assert clean[metric].point == pytest.approx(stored.metrics[metric].point, abs=1e-6)
        assert clean[metric].low == pytest.approx(stored.metrics[metric].low, abs=1e-6)
    for condition in result.conditions:
        for metric, found in condition.scores["ptbxl_super"].items():
            assert found.score.point is not None
            before = clean[metric].point
            assert before is not None
            assert found.change.point == pytest.approx(found.score.point - before, abs=1e-9)
    assert read_analysis(trained_folder / "robustness" / "robustness_ptbxl_super.json", RobustnessResult) == result
    files = write_curves(result, trained_folder / "robustness")
    assert [path.name for path in files] == ["robustness_ptbxl_super.svg", "robustness_ptbxl_super.png"]
    assert "share of the record" in files[0].read_text()


def test_corruption_comes_before_windows_are_cut(wanted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = wanted()
    found = find_one(options.folder)
    trained = open_trained(found, "ptbxl_super", **options.open_options)
    data = open_its_data(trained)
    shapes = []
    chosen = corruptions()["reversal"]

    def watch(record: Any, *others: Any) -> Any:
        shapes.append(record.shape)
        return record

    object.__setattr__(chosen, "apply", watch)
    part = corrupted(data.test, data.rate, chosen, 1.0, 0)
    same = trained.predict(data, part, quiet=True)
    assert shapes == [(int(n), 12) for n in data.test.reader.lengths[data.test.rows]]
    assert np.array_equal(same, trained.predict(data, data.test, quiet=True))


def test_lead_i_only_is_what_the_extractor_does_with_missing_leads(wanted: Any) -> None:
    """Lead I through the 12-lead extractor: the eleven others are fed as zeros and none is derived."""
    options = wanted()
    trained = open_trained(find_one(options.folder), "ptbxl_super", **options.open_options)
    data = open_its_data(trained)
    outputs = trained.predict(data, corrupted(data.test, data.rate, corruptions()["lead_i_only"], 1.0, 0), quiet=True)
    folder = options.folder / "model" / "ptbxl_super"
    extractor, model = (
        AutoFeatureExtractor.from_pretrained(folder),
        AutoModelForECGClassification.from_pretrained(folder),
    )
    row = int(data.test.rows[0])
    watch = data.test.reader.window_mv(row, 0, int(data.test.reader.lengths[row])).T[:1]
    values = extractor(watch, data.rate, ["I"], window="all", missing_leads="zero", nan="zero", return_tensors="pt")[
        "input_values"
    ]
    expected = model.eval()(values).logits.sigmoid().mean(0).detach().numpy()
    np.testing.assert_allclose(outputs[0], expected, atol=1e-5)


@pytest.mark.heavy
def test_continues_and_grows(wanted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = run_robustness(wanted())
    shutil.rmtree(wanted().folder / "robustness")
    calls: list[Any] = []
    condition = robustness._condition

    def stop(trained: Any, data: Any, split: Any, corruption: Any, strength: float, scorer: Any) -> Any:
        if len(calls) == 3:
            calls.append("stop")
            raise KeyboardInterrupt
        calls.append((corruption.name, strength))
        return condition(trained, data, split, corruption, strength, scorer)

    monkeypatch.setattr(robustness, "_condition", stop)
    with pytest.raises(KeyboardInterrupt):
        run_robustness(wanted())
    (result,) = run_robustness(wanted())
    assert len(calls) == 1 + len(whole.conditions)
    assert result.conditions == whole.conditions
    (grown,) = run_robustness(wanted(wanted=("gain",)))
    assert [c.corruption for c in grown.conditions] == ["reversal"] * 4 + ["gain"] * 4 + ["missing_segment"] * 4
    assert grown.complete
    with pytest.raises(ResultError, match="seed"):
        run_robustness(wanted(seed=1))
    (fresh,) = run_robustness(wanted(seed=1, wanted=("gain",), overwrite=True))
    assert len(fresh.conditions) == 4


@pytest.mark.heavy
def test_results_of_other_corruptions_are_readable_and_not_mixed(wanted: Any) -> None:
    (now,) = run_robustness(wanted(wanted=("gain",)))
    assert (now.schema_version, now.settings["corruptions"]) == ("1.1", VERSION)
    path = wanted().folder / "robustness" / "robustness_ptbxl_super.json"
    content = json.loads(path.read_text())
    del content["settings"]["corruptions"]
    path.write_text(json.dumps({**content, "schema_version": "1.0"}))
    old = read_analysis(path, RobustnessResult)
    assert old.conditions == now.conditions
    assert any("earlier version" in str(part) for part in robustness_part(old, None))
    assert not any("earlier version" in str(part) for part in robustness_part(now, None))
    with pytest.raises(ResultError, match="corruptions: None in the folder, 2 asked for"):
        run_robustness(wanted(wanted=("gain",)))


@pytest.mark.heavy
def test_a_subset_of_the_records(wanted: Any) -> None:
    (result,) = run_robustness(wanted(records=6, wanted=("gain",), output=wanted().folder / "six"))
    assert result.records == 6
    assert result.largest_difference is not None
    assert result.largest_difference < 1e-5


def test_names_of_corruptions() -> None:
    assert len(choose(())) == len(corruptions())
    assert len(choose(("lead_loss",))) == 12
    assert [c.name for c in choose(("muscle*", "gain"))] == ["muscle_noise", "gain"]
    with pytest.raises(UnknownNameError, match="mains_hum"):
        choose(("mains_humm",))


def test_a_run_without_stored_heads(wanted: Any) -> None:
    shutil.rmtree(wanted().folder / "model")
    with pytest.raises(ResultError, match="Run again with --save-model"):
        run_robustness(wanted())


@pytest.mark.heavy
def test_refusals(wanted: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="ptbxl_sub"):
        run_robustness(wanted(runs=("ptbxl_sub",)))
    with pytest.raises(InputError, match="no folder of results"):
        run_robustness(wanted(folder=tmp_path / "nothing"))
    with pytest.raises(InputError, match="at least 1"):
        wanted(records=0)
    from dataset_scripts.mock import write

    write("ptb-xl", tmp_path / "other" / "ptb-xl", records=60, seed=5)
    with pytest.raises(DataError, match="fingerprint"):
        run_robustness(wanted(data_root=str(tmp_path / "other")))


def test_a_head_that_is_not_that_of_the_predictions(wanted: Any) -> None:
    import torch

    folder = wanted().folder / "model" / "ptbxl_super"
    model = AutoModelForECGClassification.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(0.5)
    model.save_pretrained(folder)
    with pytest.raises(ResultError, match="not of one training"):
        run_robustness(wanted())


def test_the_command(wanted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    options = wanted()
    words = ["robustness", str(options.folder), "--data-root", options.data_root, "--corruptions", "lead_loss_V1,gain"]
    words += ["--device", "cpu", "--cache-dir", str(options.cache_dir), "--records", "8"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "lead_loss_V1" in printed
    assert "robustness_ptbxl_super.png" in printed
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["analysis"] == "robustness"
    shutil.rmtree(options.folder / "model")
    assert main(words) == 1
    assert "--save-model" in capsys.readouterr().err


def test_changes_draw_patients_where_one_has_several_records(wanted: Any) -> None:
    """Every record twice: the intervals of changes are those of the records once, by patient."""
    options = wanted()
    trained = open_trained(find_one(options.folder), "ptbxl_super", **options.open_options)
    split = open_its_data(trained).test
    n = len(split)
    outputs = np.random.default_rng(0).random((2, n, split.targets.shape[1])).astype(np.float32)

    def changes(rows: list[int], patients: list[str]) -> tuple[Any, Any]:
        part = dataclasses.replace(
            split, rows=split.rows[rows], targets=split.targets[rows], patient_ids=patients,
            record_ids=[f"{k}" for k in range(len(rows))],
        )  # fmt: skip
        scorer = Scorer.of(trained, part, 50)
        scorer.set_clean(outputs[0][rows])
        return scorer, scorer.scores(outputs[1][rows])["ptbxl_super"]["macro_auroc"]

    alone, once = changes(list(range(n)), [f"{k:04d}" for k in range(n)])
    both, twice = changes([*range(n), *range(n)], [f"{k:04d}" for k in range(n)] * 2)
    assert (alone.paired_by, both.paired_by) == ("record", "patient")
    assert (twice.change.low, twice.change.high) == pytest.approx((once.change.low, once.change.high), abs=1e-12)
    width = once.score.high - once.score.low
    assert twice.score.high - twice.score.low < 0.85 * width, "scores keep the interval of the protocol, by record"
