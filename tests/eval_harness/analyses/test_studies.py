"""Intervals over several runs: Student's t for the runs, resamples for the test records, none where none would hold."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

from eval_harness.analyses.ablation import report as ablation_report
from eval_harness.analyses.ablation.run import minus
from eval_harness.analyses.ablation.schema import AblationResult
from eval_harness.analyses.files import read_analysis
from eval_harness.analyses.label_efficiency import report as efficiency_report
from eval_harness.analyses.label_efficiency.report import write_plot
from eval_harness.analyses.label_efficiency.run import Study, summary
from eval_harness.analyses.label_efficiency.schema import EfficiencyResult, point_rows
from eval_harness.analyses.studies import METRICS, TOO_NARROW, RunScore, SeedAverage, error_weights, joint, reasons
from eval_harness.report.content import FoundAnalysis, analysis_part
from tests.eval_harness.conftest import RunOptions
from tests.support.analyses import ablation, efficiency

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
RESAMPLES = 1000


def runs(points: list[float], noise: Any = 0.0, draws: list[int] | None = None) -> SeedAverage:
    """Runs with the given scores; `noise` (resamples,) is what the test records do to all of them."""
    around = np.broadcast_to(noise, (RESAMPLES,))
    return joint(
        [
            RunScore(k, 10, dict.fromkeys(METRICS, point), dict.fromkeys(METRICS, point + around), draw)
            for k, (point, draw) in enumerate(zip(points, draws or [0] * len(points), strict=True))
        ]
    )


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_the_weights_give_students_t_for_any_values(count: int) -> None:
    weights = error_weights(count, RESAMPLES)
    assert np.abs(weights.sum(axis=1)).max() <= 1e-12 * np.abs(weights).max()
    values = np.random.default_rng(count).normal(0.8, 0.1, (count, 300))
    scaled = weights @ values / (values.std(axis=0, ddof=1) / np.sqrt(count))
    ends = np.percentile(scaled, (2.5, 97.5), axis=0)
    assert np.median(ends, axis=1) == pytest.approx(stats.t.ppf([0.025, 0.975], count - 1), rel=0.05)
    error_weights.cache_clear()  # drawn again, and not the same array
    assert np.array_equal(weights, error_weights(count, RESAMPLES))


def test_the_interval_of_a_mean_over_runs_is_that_of_student() -> None:
    points = [0.60, 0.61, 0.65, 0.58]
    found = runs(points).estimate("macro_auprc", 0.95)
    half = stats.t.ppf(0.975, 3) * np.std(points, ddof=1) / 2
    assert found["point"] == pytest.approx(0.61)
    assert found["high"] - found["point"] == pytest.approx(half, rel=0.1)
    assert found["point"] - found["low"] == pytest.approx(half, rel=0.1)
    assert "reason" not in found


def test_test_records_and_runs_add_up() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, RESAMPLES)
    equal = runs([0.7, 0.7, 0.7], noise).estimate("macro_auroc", 0.95)
    assert [equal["low"], equal["high"]] == pytest.approx(0.7 + np.percentile(noise - np.median(noise), (2.5, 97.5)))
    apart = runs([0.69, 0.7, 0.71], noise).estimate("macro_auroc", 0.95)
    assert apart["high"] - apart["low"] > 1.1 * (equal["high"] - equal["low"])


def test_two_runs_leave_much_open_but_no_score_beyond_its_range() -> None:
    found = runs([0.85, 0.95]).estimate("macro_auroc", 0.95)
    assert (found["low"], found["high"]) == (pytest.approx(0.9 - 12.7 * 0.05, rel=0.1), 1.0)


def test_one_run_has_no_interval_and_the_reason_is_said() -> None:
    alone = runs([0.8], np.random.default_rng(0).normal(0, 0.01, RESAMPLES))
    found = alone.estimate("macro_auroc", 0.95)
    assert (found["point"], found["low"], found["high"]) == (0.8, None, None)
    assert found["reason"].startswith("no interval from one run")
    paired = minus(alone, runs([0.7]), 0.95)
    assert paired is not None
    assert paired["macro_auroc"]["point"] == pytest.approx(0.1)
    assert paired["macro_auroc"]["reason"] == found["reason"]


def test_runs_on_one_draw_of_the_records_are_one_repetition() -> None:
    """Two draws of three runs that hardly differ within a draw: six runs would seem to say far more than there is."""
    points = [0.70, 0.701, 0.702, 0.80, 0.801, 0.802]
    grouped = runs(points, draws=[0, 0, 0, 1, 1, 1])
    assert (grouped.repetitions, runs(points).repetitions) == (2, 6)
    assert len(grouped.by_run["macro_auroc"]) == 6
    wide, narrow = (each.estimate("macro_auroc", 0.95) for each in (grouped, runs(points)))
    assert wide["point"] == narrow["point"]
    assert wide["high"] - wide["low"] > 3 * (narrow["high"] - narrow["low"])


def test_paired_differences_have_their_own_error() -> None:
    """Seeds that move both arms alike leave the difference narrow; its interval is Student's of the differences."""
    plain, more = [0.5, 0.6, 0.7], [0.61, 0.69, 0.80]
    found = minus(runs(more), runs(plain), 0.95)
    assert found is not None
    differences = np.subtract(more, plain)
    half = stats.t.ppf(0.975, 2) * differences.std(ddof=1) / np.sqrt(3)
    estimate = found["macro_auprc"]
    assert estimate["point"] == pytest.approx(0.1)
    assert estimate["high"] - estimate["low"] == pytest.approx(2 * half, rel=0.15)
    assert minus(runs(more), runs([0.5, 0.6]), 0.95) is None, "other seeds cannot be paired"


def content(count: int, seed: int = 0) -> dict[str, Any]:
    """A study of a known curve and its baseline with so many runs at each of eight sizes."""
    rng, sizes = np.random.default_rng(seed), [100 * 2**k for k in range(8)]
    curves = {("t", "m", "finetune"): (1.0, 0.5, 0.05), ("t", "s4", "scratch"): (2.0, 0.5, 0.06)}
    joints = {}
    for key, (scale, alpha, floor) in curves.items():
        parts = {}
        for size in sizes:
            scores = 1 - (scale * size**-alpha + floor) + rng.normal(0, 0.002, count)
            made = [RunScore(k, size, dict.fromkeys(METRICS, s), dict.fromkeys(METRICS, np.full(200, s)))
                    for k, s in enumerate(scores.tolist())]  # fmt: skip
            parts[size / sizes[-1]] = joint(made)
        joints[key] = parts
    return summary(Study(RunOptions(models=("m",), tasks=("t",), modes=("finetune",), data_root="mock")), joints, [])


@pytest.mark.parametrize(("count", "words"), [(1, "one run"), (2, "2 runs of a size")])
def test_a_curve_of_too_few_runs_has_points_without_intervals_and_says_why(
    count: int, words: str, tmp_path: Path
) -> None:
    found = content(count)
    curve, ratio = found["entries"][0]["curve"], found["ratios"][0]["at"][3]
    for estimate in (curve["alpha"], curve["L0"], curve["C"], ratio["r"]):
        assert estimate["point"] is not None
        assert (estimate["low"], estimate["high"]) == (None, None)
        assert words in estimate["reason"]
    assert ratio["undefined_replicates"] is None
    assert any(words in reason for reason in reasons(found))
    assert ("[" in point_rows(found)[0]["macro AUROC"]) == (count > 1)
    result = EfficiencyResult.model_validate(found)
    assert words in str(analysis_part(FoundAnalysis(tmp_path, result), "x", None)), "the report says it too"
    write_plot(result, tmp_path / "plot.png")


def test_three_runs_give_intervals_of_the_curve() -> None:
    found = content(3)
    curve = found["entries"][0]["curve"]
    assert curve["alpha"]["low"] < 0.5 < curve["alpha"]["high"]
    assert curve["L0"]["low"] < 0.05 < curve["L0"]["high"]
    assert reasons(found["entries"]) == []


def test_what_is_undefined_in_too_many_resamples_says_so() -> None:
    nowhere = np.where(np.arange(RESAMPLES) < 100, np.nan, 0.0)
    found = runs([0.6, 0.7], nowhere).estimate("macro_auroc", 0.95)
    assert found["low"] is None
    assert "undefined in 10 %" in found["reason"]


def test_files_of_the_version_with_narrow_intervals_are_read_without_them(tmp_path: Path) -> None:
    old = ablation().model_dump_json(exclude_unset=True).replace('"schema_version":"1.1"', "")
    path = tmp_path / "ablation.json"
    path.write_text('{"schema_version": "1.0", "analysis": "ablation",' + old[1:])
    row = read_analysis(path, AblationResult).rows[0]
    assert (row.macro_auroc.low, row.macro_auroc.reason) == (None, TOO_NARROW)
    assert row.macro_auroc.point == ablation().rows[0].macro_auroc.point
    first = EfficiencyResult.model_validate({**efficiency(), "schema_version": "1.0"})
    assert first.entries[0].points[0].macro_auroc.high is None
    assert reasons(first.model_dump()) == [TOO_NARROW]
    assert EfficiencyResult.model_validate(efficiency()).entries[0].points[0].macro_auroc.high is not None


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("coverage_studies")


def test_the_simulation_counts_what_studies_write(simulation: ModuleType) -> None:
    found = simulation.coverage("falling", 1, trials=2)
    assert set(found) == set(simulation.NAMES)
    assert {absent for _, absent, _ in found.values()} == {1.0}
    assert simulation.shown(found["alpha"]) == "none"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("count", "kind"), [*((n, kind) for n in (2, 3) for kind in ("equal", "falling", "shared")), (5, "falling")]
)
def test_intervals_hold_the_truth_as_often_as_they_say(simulation: ModuleType, kind: str, count: int) -> None:
    """The rows of docs/statistics.md, drawn again; 92 % is 95 % less 2.8 standard errors.

    Two runs give intervals of scores and differences alone.
    """
    found = simulation.coverage(kind, count, trials=400)
    given = {name: (held, absent) for name, (held, absent, _) in found.items() if absent < 1}
    assert set(given) == (set(simulation.NAMES) if count > 2 else {"score", "difference"})
    assert min(held for held, _ in given.values()) >= 0.92, given
    assert max(absent for _, absent in given.values()) <= 0.02, given


def test_models_whose_folders_are_called_alike_have_names_of_their_own_in_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Legend and titles called two models `best`."""
    drawn: list[Any] = []
    for module in (efficiency_report, ablation_report):
        monkeypatch.setattr(module, "write_figure", lambda figure, *rest: drawn.append(figure))
    content, folders = efficiency(), ("runs/a/best", "runs/b/best")
    for entry, folder in zip(content["entries"], folders, strict=True):
        entry["model"] = folder
    content["ratios"] = []
    efficiency_report.write_plot(EfficiencyResult.model_validate(content), tmp_path / "plot.png")
    legend = [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()]
    assert [name.partition(" ")[0] for name in legend] == ["a/best", "b/best"]
    rows = [row.model_copy(update={"model": folder}) for folder in folders for row in ablation().rows]
    ablation_report.write_plot(ablation(rows=rows), tmp_path / "plot.png")
    titles = [axes.get_title(loc="left").partition("\n")[0] for axes in drawn[1].axes]
    assert {"ptbxl_super, a/best", "ptbxl_super, b/best"} <= set(titles)
