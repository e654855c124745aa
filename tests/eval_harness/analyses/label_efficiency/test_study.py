"""`ecg-eval label-efficiency` and `ecg-eval ablation` from the command line to table, JSON and plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eval_harness.runner.job as job_module
from ecg_hub.errors import InputError
from eval_harness.analyses.ablation.run import Ablation, Arm
from eval_harness.analyses.label_efficiency.run import FRACTIONS, SETS, Study, planned, summary, write_set
from eval_harness.analyses.label_efficiency.schema import EfficiencyResult
from eval_harness.analyses.studies import METRICS, RunScore, SeedAverage, fraction_name, joint
from eval_harness.cli.eval.ablation import ablation_of
from eval_harness.cli.eval.label_efficiency import study_of
from eval_harness.cli.eval.main import build_parser, main
from eval_harness.report.content import find_content
from eval_harness.results.schema import read_result
from eval_harness.tasks.registry import get_task, validate
from eval_harness.tasks.task import read_task
from tests.eval_harness.conftest import RunOptions

PNG = b"\x89PNG"


def asked(words: list[str]) -> Any:
    return study_of(build_parser().parse_args(["label-efficiency", "--model", "m", "--data-root", "mock", *words]))


def asked_ablation(words: list[str]) -> Any:
    return ablation_of(build_parser().parse_args(["ablation", "--tasks", "ptbxl_super", "--data-root", "mock", *words]))


def test_the_published_study_is_the_default() -> None:
    study = asked([])
    assert study.fractions == FRACTIONS == tuple(1 / 2**k for k in range(8))
    assert study.options.tasks == ("ptbxl_label_efficiency",)
    assert study.entries == [("m", "finetune"), ("s4", "scratch")]
    assert study.subset.validation
    assert study.subset.one_record_per_patient
    other = asked(
        ["--baseline", "none", "--all-records", "--nested", "--subset-seeds", "0,1", "--ratio-at", "250,1000"]
    )
    assert other.entries == [("m", "finetune")]
    assert (other.subset.nested, other.subset.validation) == (True, False)
    assert (other.subset_seeds, other.ratio_at) == ((0, 1), (250.0, 1000.0))


@pytest.mark.parametrize(
    "words", [["--fractions", "2"], ["--train-fraction", "1/2"], ["--ratio-at", "0"], ["--subset-seeds", "x"]]
)
def test_what_makes_no_study_is_refused(words: list[str]) -> None:
    with pytest.raises(InputError):
        asked(words)


def test_the_published_sets_are_valid_tasks(tmp_path: Path) -> None:
    counts = {"echonext_label_efficiency": 6, "ptbxl_label_efficiency": 5, "ptbxl_all_label_efficiency": 13}
    for name, count in counts.items():
        path = write_set(name, tmp_path)
        task, parent = read_task(path), get_task(SETS[name].parent)
        assert len(task.labels) == count
        assert set(task.labels) <= set(parent.labels)
        assert (task.dataset, task.label_column, task.published) == (parent.dataset, parent.label_column, False)
    assert len(validate([tmp_path])) == 3
    assert [name for name, chosen in SETS.items() if chosen.labelled_only] == ["ptbxl_all_label_efficiency"]


@pytest.mark.parametrize(("fraction", "name"), [(1.0, "1"), (1 / 128, "1/128"), (0.3, "0.3"), (0.1, "1/10")])
def test_fractions_have_names(fraction: float, name: str) -> None:
    assert fraction_name(fraction) == name


def made(loss: float, records: int, rng: np.random.Generator, runs: int = 3) -> SeedAverage:
    """A point of a curve: runs around it, and replicates around each."""
    noise, away = rng.normal(0, 0.002, 200), 0.002 * (np.arange(runs) - (runs - 1) / 2)
    scores = (1 - loss + rng.permutation(away)).tolist()
    return joint(
        [
            RunScore(k, records, dict.fromkeys(METRICS, s), dict.fromkeys(METRICS, s + noise))
            for k, s in enumerate(scores)
        ]
    )


@pytest.mark.heavy
def test_known_curves_and_their_ratio_are_in_the_summary(tmp_path: Path) -> None:
    from eval_harness.analyses.label_efficiency.report import write_plot

    rng, sizes = np.random.default_rng(0), [100 * 2**k for k in range(8)]
    options = RunOptions(models=("m",), tasks=("t",), modes=("finetune",), data_root="mock")
    study = Study(options, ratio_at=(200.0, 10000.0, 1e8))
    curves = {("t", "m", "finetune"): (1.0, 0.5, 0.05), ("t", "s4", "scratch"): (2.0, 0.5, 0.04)}
    joints = {
        key: {1 / 2 ** (7 - k): made(c * n**-a + floor, n, rng) for k, n in enumerate(sizes)}
        for key, (c, a, floor) in curves.items()
    }
    content = summary(study, joints, [])
    found = content["entries"][0]["curve"]
    assert found["alpha"]["low"] < 0.5 < found["alpha"]["high"]
    assert found["L0"]["low"] < 0.05 < found["L0"]["high"]
    few, many, below = content["ratios"][0]["at"]
    expected = ((2 * 200**-0.5 + 0.04 - 0.05) / 1.0) ** -2 / 200
    assert few["r"]["point"] == pytest.approx(expected, rel=0.01)
    assert few["r"]["low"] < expected < few["r"]["high"]
    assert few["within_measured"] is False, "it needs fewer records than were measured"
    assert many["r"]["point"] == pytest.approx(1.0, rel=0.1)
    assert many["within_measured"] is True
    assert below["r"]["point"] is None
    assert "floor" in below["reason"]
    json.dumps(content, allow_nan=False)
    write_plot(EfficiencyResult.model_validate(content), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:4] == PNG


@pytest.mark.heavy
def test_too_few_sizes_give_points_and_the_reason(tmp_path: Path) -> None:
    from eval_harness.analyses.label_efficiency.report import write_plot

    options = RunOptions(models=("m",), tasks=("t",), modes=("finetune",), data_root="mock")
    rng = np.random.default_rng(0)
    joints = {("t", m, mode): {1.0: made(0.2, 50, rng)} for m, mode in (("m", "finetune"), ("s4", "scratch"))}
    content = summary(Study(options), joints, ["x: failed"])
    assert "needs 4" in content["entries"][0]["curve"]["reason"]
    assert "needs 4" in content["ratios"][0]["at"][0]["reason"]
    write_plot(EfficiencyResult.model_validate(content), tmp_path / "plot.png")
    none = EfficiencyResult.model_validate(summary(Study(options), {}, ["all failed"]))
    write_plot(none, tmp_path / "none.png")


@pytest.fixture
def words(data_root: Path, data_cache: Path, tmp_path: Path) -> list[str]:
    numbers = ["--resamples", "50", "--device", "cpu", "--output", str(tmp_path / "study")]
    return ["--model", "random:ecg-cpc-tiny", "--data-root", str(data_root), "--cache-dir", str(data_cache), *numbers]


@pytest.mark.heavy
def test_a_study_runs_resumes_and_writes_results_of_the_schema(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = ["--mode", "linear", "--epochs", "1", "--batch-size", "16", "--tasks", "ptbxl_all_label_efficiency"]
    study += ["--fractions", "1,1/2,1/4,1/8", "--baseline", "none", "--limit", "60"]
    assert main(["label-efficiency", *words, *study]) == 0
    printed = capsys.readouterr().out
    assert "1/8" in printed
    assert "alpha" in printed
    output = tmp_path / "study"
    assert "no interval from one run" in printed
    content = json.loads((output / "label_efficiency.json").read_text())
    assert [entry["baseline"] for entry in content["entries"]] == [False]
    assert content["ratios"] == []
    records = [point["records"] for point in content["entries"][0]["points"]]
    assert records == sorted(records, reverse=True)
    assert (output / "label_efficiency.png").read_bytes()[:4] == PNG
    file = next(output.rglob("fraction_1-8/subset_0/*/linear/ptbxl_all_label_efficiency.json"))
    result = read_result(file)
    assert result.protocol.deviations["train_fraction"] == 0.125
    assert result.data is not None
    assert result.data.records.train == records[-1]
    monkeypatch.setattr(job_module.Trainer, "run", lambda self: pytest.fail("trained again"))
    (found,) = find_content([output]).analyses
    assert (found.result.complete, found.result.synthetic) == (True, True)
    assert main(["label-efficiency", *words, *study]) == 0
    again = json.loads((output / "label_efficiency.json").read_text())
    assert {**again, "created": ""} == {**content, "created": ""}


def test_runs_say_which_draw_of_the_records_they_had() -> None:
    options = RunOptions(models=("m",), tasks=("ptbxl_super",), modes=("finetune",), data_root="mock")
    calls = list(planned(Study(options, fractions=(0.5,), subset_seeds=(3, 7), baseline=None)))
    assert [call.draw for call in calls] == [3, 7]
    assert [call.options.train_subset.seed for call in calls if call.options.train_subset] == [3, 7]


ABLATION = ["--tasks", "ptbxl_super", "--limit", "40", "--fractions", "1/4", "--weights", "random"]
ABLATION += [f"--post-train={word}" for word in ("stage1_epochs=1", "stage2_epochs=1", "batch_size=16")]


@pytest.mark.heavy
def test_an_ablation_runs_resumes_and_compares_with_plain_fine_tuning(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["ablation", *words, *ABLATION]) == 0
    printed = capsys.readouterr().out
    assert "AUPRC minus plain" in printed
    assert printed.count("no interval from one run") == 1
    content = json.loads((tmp_path / "study" / "ablation.json").read_text())
    rows = content["rows"]
    assert len(rows) == 2 * 2
    assert {row["runs"] for row in rows} == {1}
    assert {row["macro_auprc"]["low"] for row in rows} == {None}
    for row in rows:
        assert row["macro_auprc"]["point"] == pytest.approx(np.mean(row["macro_auprc_by_run"]))
        assert (row["minus_plain"] is None) == (not row["preview"] and not row["stochastic_depth"])
        assert [step["stage"] for step in row["curve"]] == ([1, 2] if row["preview"] else [2])
    assert {row["records"] for row in rows} == {10}
    shown = find_content([tmp_path / "study"])
    assert shown.runs == [], "they are in the part of the study"
    assert [(item.title, item.result.synthetic) for item in shown.analyses] == [("Ablation of post-training", True)]
    assert content["settings"]["limit"] == 40
    assert (tmp_path / "study" / "ablation.png").read_bytes()[:4] == PNG
    monkeypatch.setattr(job_module.Trainer, "run", lambda self: pytest.fail("trained again"))
    assert main(["ablation", *words, *ABLATION]) == 0
    assert json.loads((tmp_path / "study" / "ablation.json").read_text())["rows"] == rows


def test_the_switches_of_an_ablation() -> None:
    study = asked_ablation(["--model", "ecg-cpc", "--preview", "on"])
    assert [arm.name for arm in study.arms] == [
        "preview-on_depth-on_pretrained",
        "preview-on_depth-on_random",
        "preview-on_depth-off_pretrained",
        "preview-on_depth-off_random",
    ]
    assert study.arms[0] == Arm()
    assert isinstance(study, Ablation)
    for refused in (
        ["--model", "random:ecg-cpc"],
        ["--model", "ecg-cpc", "--depth", "maybe"],
        ["--model", "ecg-cpc", "--mode", "linear"],
        ["--model", "ecg-cpc", "--post-train", "depth_rate=0"],
        ["--model", "ecg-cpc", "--shard", "1/2"],
    ):
        with pytest.raises(InputError):
            asked_ablation(refused)


def test_what_would_be_run_is_shown_without_running(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label-efficiency", *words, "--dry-run", "--fractions", "1,1/2"]) == 0
    assert "4 runs" in capsys.readouterr().out
    assert main(["ablation", *words, *ABLATION, "--fractions", "1", "--seeds", "0,1", "--dry-run"]) == 0
    assert "16 runs" in capsys.readouterr().out
