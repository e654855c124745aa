"""The parts of a report on analyses: found beside the runs, each with its numbers, intervals and chart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.errors import InputError
from eval_harness.analyses.files import write_analysis
from eval_harness.analyses.robustness.report import curve, curves
from eval_harness.analyses.robustness.schema import condition_rows
from eval_harness.cli.eval.main import main
from eval_harness.report.content import find_content
from eval_harness.report.page import ReportOptions, write_report
from eval_harness.tasks.registry import get_task
from tests.eval_harness.report.test_report import HOSTILE, Page
from tests.support.analyses import MODEL, ablation, cka, efficiency, robustness, transfer, write_all
from tests.support.report_runs import write_folder

TITLES = {
    "ablation.json": "Ablation of post-training",
    "label_efficiency.json": "Label efficiency",
    "robustness_ptbxl_super.json": "Robustness: encoder linear, ptbxl_super",
    "transfer_ptbxl_super_to_georgia.json": "Transfer: encoder linear, ptbxl_super to georgia",
    "cka.json": "Similarity of stages (CKA)",
}
IMAGE = r'<svg [^>]*role="img"[^>]*aria-label="([^"]+)"[^>]*><title>'


def written(folder: Path, *more: Path, runs: tuple[Path, ...] = (), **changes: Any) -> tuple[str, Page]:
    """The report of the runs in and analyses below some folders: its text and its elements."""
    target = folder / "report.html"
    write_report(find_content(runs, more or (folder,)), target, ReportOptions(**changes))
    content = target.read_text(encoding="utf-8")
    return content, Page(content)


def part(content: str, number: int) -> str:
    """The markup of one analysis."""
    return content.partition(f'id="analysis-{number}"')[2].partition("</section>")[0]


def said(estimate: Any, sign: str = "") -> str:
    return f"{estimate['point']:{sign}.3f} [{estimate['low']:{sign}.3f}, {estimate['high']:{sign}.3f}]"


def test_every_analysis_has_its_part(tmp_path: Path) -> None:
    content, page = written(write_all(tmp_path))
    assert page.open == []
    assert "script" not in page.elements
    for number, title in enumerate(TITLES.values(), 1):
        found = part(content, number)
        assert title in page.text
        assert f'href="#analysis-{number}"' in content
        assert "Simulated ECGs of invented patients" in found
        assert re.search(IMAGE, found), title
        assert "<caption>" in found, title
    assert "Runs and data" not in page.text, "no run was named"
    assert "5 analyses" in page.text
    assert str(tmp_path) not in content
    assert "/home/someone" not in content, "no folder of the machine is in the page"


def test_an_ablation_shows_every_difference_and_score(tmp_path: Path) -> None:
    result = ablation()
    write_analysis(tmp_path / "ablation.json", result)
    found = part(written(tmp_path)[0], 1)
    for row in result.rows:
        assert said(row.macro_auprc.model_dump()) in found
        if row.minus_plain is not None:
            assert said(row.minus_plain["macro_auprc"].model_dump()) in found
    assert "3 + 3 epochs" in found
    assert "limit=300" in found
    charts = re.findall(IMAGE, found)
    full = next(row for row in result.rows if row.minus_plain is not None)
    assert full.minus_plain is not None
    assert f"preview + stochastic depth: {said(full.minus_plain['macro_auprc'].model_dump())}" in charts[0]
    assert len(charts) == 5, "differences, two metrics, the validation curves of two fractions"
    assert "stage 2 from epoch 4" in found
    assert found.count("dashed") > 10, "random weights are distinguished without colour"
    assert "encoder ptbxl_super x: failed: no record" in found
    assert MODEL["id"] not in found


def test_label_efficiency_shows_curves_and_ratios(tmp_path: Path) -> None:
    content = efficiency()
    (tmp_path / "label_efficiency.json").write_text(json.dumps(content))
    found = part(written(tmp_path)[0], 1)
    for entry in content["entries"]:
        for name in ("C", "alpha", "L0"):
            assert said(entry["curve"][name]) in found
        for point in entry["points"]:
            assert said(point["macro_auroc"]) in found
    rows = content["ratios"][0]["at"]
    assert all(said(row["r"]) in found for row in rows)
    beyond = [row for row in rows if not row["within_measured"]]
    assert beyond
    assert found.count("mark s0 open") == len(beyond), "what rests on the form of the curve alone is drawn open"
    assert found.count("beyond the measured sizes") == len(beyond)


def test_label_efficiency_without_ratio_says_so(tmp_path: Path) -> None:
    content = efficiency(ratios=[])
    content["entries"][0]["curve"] = {"reason": "3 different numbers of records; a curve needs 4 or more"}
    (tmp_path / "label_efficiency.json").write_text(json.dumps(content))
    found = part(written(tmp_path)[0], 1)
    assert "No ratio is defined" in found
    assert "a curve needs 4 or more" in found


def test_strengths_on_z_scores_are_in_no_millivolts() -> None:
    """Axes of the figures and rows of the table said mV of records that have no physical unit."""
    units = {}
    for unit in ("mV", "zscore"):
        result = robustness(signal_unit=unit)
        (panel,) = [axes for axes in curves(result, "ptbxl_super").axes if axes.get_title(loc="left") == "muscle noise"]
        (row, *_) = [row for row in condition_rows(result, "ptbxl_super") if row["corruption"] == "muscle_noise"]
        assert panel.get_xlabel() == row["unit"]
        units[unit] = row["unit"]
    assert units == {
        "mV": "mV RMS over the twelve leads", "zscore": "standard deviations, RMS over the twelve leads",
    }  # fmt: skip
    other = robustness().conditions[0].model_copy(update={"unit": "filters of a 5 mV range"})
    assert robustness(signal_unit="zscore").unit_of(other) == other.unit, "not every mV is a strength that is added"


def test_clean_records_have_once_their_rate() -> None:
    """They stood at 0 times lower, a rate that there is not."""
    result = robustness()
    for name, first in (("resampling", 1.0), ("gain", 0.0)):
        described = curve(result, "ptbxl_super", "macro_auroc", [c for c in result.conditions if c.corruption == name])
        assert described is not None
        (trace,) = described.traces
        assert trace.points[0] == (first, result.clean["ptbxl_super"]["macro_auroc"])
        assert first - 0.5 < described.across.low < first


def test_robustness_shows_every_condition(tmp_path: Path) -> None:
    result = robustness()
    write_analysis(tmp_path / "robustness_ptbxl_super.json", result)
    found = part(written(tmp_path)[0], 1)
    groups = {c.group for c in result.conditions}
    drawn = re.findall(IMAGE, found)
    assert len(drawn) == len(groups - {"mains_hum", "lead_loss"}) + 2, "a curve each, the summary, single leads"
    assert "skipped, 50 Hz does not fit into 100 Hz" in found
    for condition in result.conditions:
        if condition.status == "done":
            change = condition.scores["ptbxl_super"]["macro_auroc"].change
            assert said(change.model_dump(), "+") in found
    leads = next(name for name in drawn if "one lead lost" in name)
    assert "none: 0.800 [0.750, 0.850]; I: 0.700 [0.650, 0.750]" in leads
    assert "gain error, 0.25: " in found, "points say where they are"


def test_transfer_shows_both_sides_and_what_is_not_mapped(tmp_path: Path) -> None:
    write_analysis(tmp_path / "transfer_ptbxl_super_to_georgia.json", transfer())
    found = part(written(tmp_path)[0], 1)
    assert "challenge2021, ptbxlplus" in found
    assert "TAB_ + NT_" in found
    assert "ptb-xl has no label of 426627000" in found
    assert "Not mapped: 2 labels" in found
    assert "Doubtful: atrial fibrillation: 1 % of the records at home, 30 % there (30 times)." in found
    assert found.count("Doubtful: ") == 1
    (name,) = re.findall(IMAGE, found)
    assert "on georgia: 0.700 [0.650, 0.750]; at home, ptb-xl: 0.800 [0.750, 0.850]" in name
    assert ">-0." not in found.partition("</svg>")[0], "no AUROC lies below 0"
    failed = {"ptbxl_super": {"status": "failed", "reason": "no label has a partner"}}
    write_analysis(tmp_path / "transfer_ptbxl_super_to_georgia.json", transfer(tasks=failed))
    assert "failed: no label has a partner" in written(tmp_path)[1].text


def test_cka_is_a_square_of_cells_with_its_numbers(tmp_path: Path) -> None:
    write_analysis(tmp_path / "cka.json", cka())
    found = part(written(tmp_path)[0], 1)
    paths = re.findall(r'<path d="([^"]*)" class="(?:cells|ring chance)"', found)
    wide = dict.fromkeys("012345", 0)
    for path in paths:
        for row, width in re.findall(r"M\d+ (\d+)h(\d+)v1", path):
            wide[row] += int(width)
    assert set(wide.values()) == {6}, "every row is whole"
    assert found.count("–</text>") == 11, "the stage that does not vary"
    assert "a/encoder stage0" in found
    assert "b/encoder" in found, "two encoders of one name are distinguished"
    write_analysis(tmp_path / "cka.json", cka(encoders=[], pairs=[], complete=False))
    assert "Not complete: give its command again" in written(tmp_path)[1].text


@pytest.mark.parametrize(("name", "most_kb"), [("all", 200), ("cka", 200)])
def test_parts_keep_to_their_size(tmp_path: Path, name: str, most_kb: int) -> None:
    if name == "all":
        write_all(tmp_path)
    else:
        write_analysis(tmp_path / "cka.json", cka(stages=14, models=10))
    assert len(written(tmp_path)[0]) < 1000 * most_kb
    assert ("pairs are in cka.json" in (tmp_path / "report.html").read_text()) == (name == "cka")


def test_analyses_are_found_beside_the_runs(tmp_path: Path) -> None:
    task = get_task("ptbxl_super")
    folder = write_folder(tmp_path / "results", task)
    write_analysis(folder / "robustness" / "robustness_ptbxl_super.json", robustness())
    write_analysis(tmp_path / "elsewhere" / "cka.json", cka())
    found = find_content([tmp_path / "results"])
    assert [run.folder.name for run in found.runs] == ["seed0"]
    assert [item.path.name for item in found.analyses] == ["robustness_ptbxl_super.json"]
    content, page = written(tmp_path, tmp_path / "elsewhere", runs=(tmp_path / "results",))
    assert "Scores at a glance" in page.text
    assert "1 run, 1 task, 2 analyses" in page.text
    ids = [value for name, value in page.attributes if name == "id"]
    assert {"runs", "scores", "ptbxl_super", "analysis-1", "analysis-2", "training"} <= set(ids)
    assert content.index('id="analysis-2"') > content.index('id="ptbxl_super"')


def test_the_runs_of_a_study_are_in_its_part_alone(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_analysis(study / "ablation.json", ablation())
    inner = write_folder(study / "runs" / "preview-on", get_task("ptbxl_super"))
    outer = write_folder(tmp_path / "results", get_task("ptbxl_super"))
    assert [run.folder for run in find_content([tmp_path]).runs] == [outer]
    assert find_content([study]).runs == []
    assert [run.folder for run in find_content([study / "runs"]).runs] == [inner], "a folder within was named"
    (study / "ablation.json").unlink()
    assert len(find_content([tmp_path]).runs) == 2


def test_a_file_that_cannot_be_read_is_named_and_the_others_stand(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "cka.json").write_text("{")
    broken = json.loads((tmp_path / "ablation.json").read_text())
    (tmp_path / "ablation.json").write_text(json.dumps({**broken, "more": 1}))
    content, page = written(tmp_path)
    assert "cka.json is not shown: " in page.text
    assert "ablation.json is not shown: " in page.text
    assert "more: extra inputs" in page.text
    assert TITLES["label_efficiency.json"] in page.text
    assert str(tmp_path) not in content


def test_a_result_of_a_task_with_such_a_name_is_no_analysis(tmp_path: Path) -> None:
    (tmp_path / "robustness_of_mine.json").write_text(
        json.dumps({"schema_version": "1.1", "task": "robustness_of_mine"})
    )
    with pytest.raises(InputError, match="holds no analysis"):
        find_content([], [tmp_path])
    with pytest.raises(InputError, match=r"no run\.json"):
        find_content([tmp_path])


def test_only_the_tasks_asked_for_are_shown(tmp_path: Path) -> None:
    write_all(tmp_path)
    page = written(tmp_path, tasks=frozenset({"ptbxl_form"}))[1]
    assert "Robustness" not in page.text
    assert TITLES["cka.json"] in page.text, "CKA is about no task"
    (tmp_path / "cka.json").unlink()
    with pytest.raises(InputError, match="None of these 0 runs and 4 analyses was asked for ptbxl_form"):
        written(tmp_path, tasks=frozenset({"ptbxl_form"}))


def test_the_same_analyses_give_the_same_bytes(tmp_path: Path) -> None:
    assert written(write_all(tmp_path))[0] == written(tmp_path)[0]


def test_names_cannot_run_as_code(tmp_path: Path) -> None:
    model = {**MODEL, "id": HOSTILE}
    write_analysis(tmp_path / "robustness_x.json", robustness(model=model, run=HOSTILE))
    write_analysis(tmp_path / "transfer_x_to_y.json", transfer(model=model, target=HOSTILE))
    rows = [row.model_dump() | {"model": HOSTILE, "task": HOSTILE} for row in ablation().rows]
    write_analysis(tmp_path / "ablation.json", ablation(rows=rows))
    content, page = written(tmp_path)
    assert "script" not in page.elements
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script" not in content


def test_the_verb_takes_analyses_alone_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "page.html")
    assert main(["report", "--analyses", str(write_all(tmp_path / "some")), "--output", target]) == 0
    assert "0 runs, 0 tasks, 0 results, 0 ECGs, 5 analyses" in capsys.readouterr().out
    assert main(["report", "--output", target]) == 1
    assert "give result folders, or --analyses DIR" in capsys.readouterr().err
    assert main(["report", "--analyses", str(tmp_path / "nothing"), "--output", target]) == 1
    assert "holds no analysis" in capsys.readouterr().err
