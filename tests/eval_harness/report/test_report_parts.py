"""The pieces of a report: escaping, axes, bins, colours, training curves, the choice of ECGs."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eval_harness.figures.charts import Forest, Line, forest
from eval_harness.figures.markup import Html, anchor, table, tag, text
from eval_harness.figures.svg import SHAPES, axis, mark, nice_step, shortened
from eval_harness.metrics.calibration import BINS, calibration_error
from eval_harness.report.about import notices, read_history
from eval_harness.report.calibration import MOST_MODELS, calibration_part, label_bins, pooled_bins, rows, wilson
from eval_harness.report.content import ReportRun, Scored, TaskContent, entries, gather
from eval_harness.report.ecgs import Example, _figure, choose
from eval_harness.report.page import _training
from eval_harness.report.scores import (
    label_counts,
    label_order,
    label_table,
    score_table,
    subgroup_part,
    subgroup_words,
)
from eval_harness.results.folders import read_found
from eval_harness.results.predictions import Predictions
from eval_harness.results.schema import Estimate
from eval_harness.tasks.registry import get_task, tasks
from eval_harness.tasks.task import Task
from tests.support.report_runs import regression, shifted, with_people, write_folder
from tests.support.results import SUPER, predictions

HOSTILE = "<script>alert(1)</script>\"' onload=x\x00\u202e"


def test_text_is_escaped_in_content_and_attributes() -> None:
    element = tag("td", HOSTILE, title=HOSTILE)
    assert "<script" not in element
    assert element.count("&lt;script&gt;") == 2
    assert "\x00" not in element
    assert "\u202e" not in element
    assert '"' not in element.partition('title="')[2].partition('">')[0]


def test_markup_is_not_escaped_twice_and_lists_are_flattened() -> None:
    inner = [tag("b", "a & b"), [[], [None, "c"]], ()]
    assert tag("p", inner) == "<p><b>a &amp; b</b>c</p>"
    assert text(Html("<i>")) == "<i>"
    assert tag("input1", open=True, class_=None, stroke_width=1.0) == '<input1 open stroke-width="1"></input1>'


def test_names_of_elements_never_come_from_data() -> None:
    with pytest.raises(ValueError, match="not the name of an element"):
        tag("script src=x")


def test_the_first_cell_of_a_row_heads_it() -> None:
    found = table(["a", "b"], [["x", "y"]], caption="numbers")
    assert '<th scope="row">x</th><td>y</td>' in found
    assert 'aria-label="numbers"' in found
    assert 'tabindex="0"' in found
    assert anchor("A b/<c>") == "a-b-c"


@pytest.mark.parametrize(("rough", "step"), [(0.11, 0.2), (0.1, 0.1), (3.0, 5.0), (0.07, 0.1), (20, 20)])
def test_steps_are_round(rough: float, step: float) -> None:
    assert nice_step(rough) == pytest.approx(step)


def test_an_axis_holds_its_values() -> None:
    scale = axis([0.43, 0.71, math.nan], 100, 300)
    assert scale.low <= 0.43 < 0.71 <= scale.high
    assert scale(scale.low) == 100
    assert scale(scale.high) == 300
    assert [scale.label(tick) for tick in scale.ticks] == ["0.4", "0.5", "0.6", "0.7", "0.8"]
    assert axis([], 0, 1).ticks
    assert axis([0.5], 0, 1).low < 0.5 < axis([0.5], 0, 1).high
    assert all(tick == round(tick) for tick in axis([1, 3], 0, 1, whole=True).ticks)


def test_thirty_six_series_have_marks_of_their_own() -> None:
    colours_and_shapes = set()
    for index in range(36):
        drawn = mark(index, 10, 10)
        points = drawn.partition('points="')[2].partition('"')[0]
        colours_and_shapes.add((drawn.partition("mark s")[2][0], points))
    assert len(colours_and_shapes) == 36
    assert len(SHAPES) == 6


def test_long_names_keep_their_ends() -> None:
    name = "hospital/an-encoder-with-a-rather-long-name finetune seed 3"
    assert shortened(name, 200).endswith("seed 3")
    assert len(shortened(name, 200)) <= 29
    assert shortened("short", 200) == "short"


def test_a_forest_plot_draws_points_where_they_are_and_names_them() -> None:
    lines = [Line("a", Estimate(point=0.6, low=0.5, high=0.7), 0), Line("b <i>", Estimate(point=0.8), 1)]
    drawn = forest(Forest("title", "macro AUROC", [("", lines)], 0.5))
    assert drawn.count("whisker") == 1  # the second has no interval
    assert "0.600 [0.500, 0.700]" in drawn
    assert "b &lt;i&gt;" in drawn
    assert 'role="img"' in drawn
    assert "chance" in drawn
    assert "chance" not in forest(Forest("title", "MAE", [("", lines)], None))


@pytest.mark.parametrize(
    ("positives", "entries", "ends"),
    [(0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634)), (81, 263, (0.2553, 0.3662))],  # the last: Newcombe 1998
)
def test_wilson(positives: int, entries: int, ends: tuple[float, float]) -> None:
    assert wilson(positives, entries) == pytest.approx(ends, abs=1e-4)


def test_bins_of_a_label_give_its_calibration_error() -> None:
    rng = np.random.default_rng(0)
    prob = rng.random(300).astype(np.float32)
    true = (rng.random(300) < 0.3).astype(np.float32)
    true[:20] = np.nan
    bins = label_bins(true, prob)
    assert len(bins) == BINS
    assert sum(item.entries for item in bins) == 280
    gap = sum(abs(item.entries * item.predicted - item.positives) for item in bins if item.entries) / 280
    assert gap == pytest.approx(calibration_error(true[:, None], prob[:, None])[0], abs=1e-6)
    assert all(item.low <= item.observed <= item.high for item in bins if item.entries)
    assert len(rows(bins)) == sum(item.entries > 0 for item in bins)


def test_pooled_bins_count_every_label_of_every_record() -> None:
    test = predictions().part("test")
    bins = pooled_bins(test, [0, 1], 50, "record", 0.95)
    assert sum(item.entries for item in bins) == int((~np.isnan(test.y_true[:, :2])).sum())
    assert sum(item.positives for item in bins) == int((test.y_true[:, :2] == 1).sum())
    by_patient = pooled_bins(test, [0, 1], 50, "patient", 0.95)
    assert [item.entries for item in by_patient] == [item.entries for item in bins]
    assert [item.low for item in by_patient] != [item.low for item in bins]
    assert not any(item.shown for item in bins if item.entries < 10)


def test_a_bin_in_which_nothing_happened_is_not_certain() -> None:
    found = shifted(predictions(), 1.0)
    bins = pooled_bins(found.part("test"), [0, 1, 2, 3, 4], 50, "record", 0.95)
    assert bins[0].positives == 0
    assert bins[0].shown
    assert (bins[0].low, bins[0].high) == pytest.approx(wilson(0, bins[0].entries))


def test_an_interval_of_a_share_stays_within_0_and_1() -> None:
    """Four entries with one positive: laid around its point, the interval of the resamples ended at 1.05."""
    true, prob = np.zeros((30, 1), np.float32), np.full((30, 1), 0.05, np.float32)
    true[3], prob[:4] = 1, 0.45
    names = [f"r{k}" for k in range(30)]
    small = Predictions("x", "multi_label_classification", ("A",), ["test"] * 30, names, true, prob)
    bins = pooled_bins(small, [0], 1000, "record", 0.95)
    assert (bins[6].entries, bins[6].positives) == (4, 1)
    assert all(0 <= item.low <= item.observed <= item.high <= 1 for item in bins if item.entries)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("sex", "female", "sex: female"),
        ("age", "18-39", "age: 18-39 years"),
        ("age", "under 1", "age: under 1 year"),
        ("age", "80 and over", "age: 80 years and over"),
    ],
)
def test_words_of_subgroups(name: str, value: str, words: str) -> None:
    assert subgroup_words(name, value) == words


def content(folder: Path, found: Predictions, task: Task) -> TaskContent:
    run = read_found(folder)
    entry = ReportRun(0, run.name, run)
    return TaskContent(task.name, task, None, [Scored(entry, run.results[task.name], found)], [])


def test_curves_are_those_of_the_leading_models(tmp_path: Path) -> None:
    task, found = get_task("ptbxl_super"), with_people(predictions())
    result = read_found(write_folder(tmp_path, task, found)).results[task.name]
    run = content(next(tmp_path.glob("*/*/*")), found, task).scored[0].entry.run

    def scored(index: int) -> Scored:
        metrics = {**result.metrics, "macro_auroc": Estimate(point=0.5 + index / 100)}
        name = f"model {index:02d}"
        return Scored(ReportRun(index, name, run), result.model_copy(update={"metrics": metrics}), found)

    many = TaskContent(task.name, task, None, [scored(index) for index in range(MOST_MODELS + 2)], [])
    page = calibration_part(many, SUPER)
    assert f"The {MOST_MODELS} best of {MOST_MODELS + 2} models." in page
    assert "model 00" not in page
    assert "model 01" not in page
    assert all(f"model {index:02d}" in page for index in range(2, MOST_MODELS + 2))
    few = TaskContent(task.name, task, None, [scored(0), scored(1)], [])
    assert "best of" not in calibration_part(few, SUPER)


def values_task() -> Task:
    fields: dict[str, Any] = {**get_task("ptbxl_super").model_dump(), "name": "my_values", "run": "my_values"}
    fields |= {"kind": "regression", "metric": "mae", "higher_is_better": False, "labels": ["age", "height"]}
    return Task.model_validate({**fields, "published": False})


def test_the_text_of_a_picture_says_its_own_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of z-scores it said 10 mm/mV, while the paper says 5 mm per standard deviation."""
    monkeypatch.setattr("eval_harness.report.ecgs.picture_data", lambda *given: "data:")
    dataset: Any = SimpleNamespace(title="My archive", label_title=lambda column, label: label)
    shown = TaskContent("ptbxl_super", get_task("ptbxl_super"), dataset, [], [])
    example = Example("7", "MI", "MI scored 0.9.", (), None, None)
    texts = {unit: _figure(shown, example, None, 500, unit, False) for unit in ("mV", "zscore")}
    assert "25 mm/s, 10 mm/mV." in texts["mV"]
    assert "5 mm per standard deviation" in texts["zscore"]
    assert "mm/mV" not in texts["zscore"]


def test_examples_are_the_strongest_false_alarm_and_miss_of_the_worst_label(tmp_path: Path) -> None:
    task, found = get_task("ptbxl_super"), with_people(predictions())
    shown = content(write_folder(tmp_path, task, found), found, task)
    examples = choose(shown, shown.scored[0], 4)
    assert len({example.record_id for example in examples}) == 4
    points = {e.label: e.auroc for e in shown.scored[0].result.per_label if e.auroc and e.auroc.low is not None}
    worst = min(points, key=lambda label: points[label].point or 0)
    test = found.part("test")
    column = test.labels.index(worst)
    negatives = np.flatnonzero(test.y_true[:, column] == 0)
    assert examples[0].label == worst
    assert examples[0].record_id == test.record_id[negatives[np.argmax(test.y_prob[negatives, column])]]
    assert worst not in examples[0].true_labels
    assert worst in examples[1].true_labels
    assert "not labelled so" in examples[0].sentence
    assert choose(shown, shown.scored[0], 0) == []
    assert len(choose(shown, shown.scored[0], 1000)) == 40  # every test record once, then an end


def test_examples_of_values_are_the_largest_errors_in_clinical_units(tmp_path: Path) -> None:
    task, found = values_task(), regression()
    shown = content(write_folder(tmp_path, task, found), found, task)
    examples = choose(shown, shown.scored[0], 4)
    assert {example.label for example in examples} == {"age", "height"}
    of_age = next(e for e in examples if e.label == "age" and "too high" in e.sentence)
    test = found.part("test")
    error = test.y_prob[:, 0] - test.y_true[:, 0]
    assert of_age.record_id == test.record_id[int(np.argmax(error))]
    assert f"{17 * error.max():.3g} years" in of_age.sentence


def test_of_values_the_smallest_error_is_best(tmp_path: Path) -> None:
    task, worse = values_task(), regression()
    worse.y_prob[:] = worse.y_true + np.float32(2.0)
    runs = [
        write_folder(tmp_path, task, worse, model="model-a"),
        write_folder(tmp_path, task, regression(), model="model-b"),
    ]
    found = entries([read_found(folder) for folder in runs])
    (shown,) = gather(["my_values"], found, {"my_values": task}, {})
    assert shown.regression
    assert shown.comparison is not None
    assert shown.comparison.standings[0].model == "model-b linear"
    best = shown.best()
    assert best is not None
    assert best.entry.name == "model-b linear"
    drawn = label_table(shown, ["age", "height"])
    assert "years" in drawn
    assert "var(--worse)" in drawn  # an error of two deviations is worse than predicting the mean
    assert "var(--better)" in drawn
    assert "★ best" in score_table(shown)
    assert shown.standing(found[0]) == (2, 1)


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    task = get_task("ptbxl_super")
    runs = [read_found(write_folder(tmp_path / name, task)) for name in ("old", "new")]
    assert [entry.name for entry in entries(runs)] == ["model-a linear (old)", "model-a linear (new)"]
    assert len({entry.name for entry in entries([*runs, runs[0]])}) == 3
    assert entries(runs[:1])[0].name == "model-a linear"


def test_counts_and_the_limit_on_labels(tmp_path: Path) -> None:
    task, found = get_task("ptbxl_super"), with_people(predictions())
    shown = content(write_folder(tmp_path, task, found), found, task)
    counts = label_counts(shown, SUPER)
    validation = found.part("validation")
    for k, name in enumerate(SUPER):
        assert counts[name].validation == (int((validation.y_true[:, k] == 1).sum()), 10)
    names, left_out = label_order(shown, 2)
    assert left_out == 3
    assert min(counts[n].test[0] for n in names) >= max(counts[n].test[0] for n in set(SUPER) - set(names))
    assert label_order(shown, 0) == (list(SUPER), 0)


def test_runs_on_other_records_show_their_own_numbers_of_records(tmp_path: Path) -> None:
    task = get_task("ptbxl_super")
    many, few = (with_people(predictions(test=test)) for test in (60, 40))
    runs = [
        read_found(write_folder(tmp_path, task, found, model=name)) for name, found in (("many", many), ("few", few))
    ]
    (shown,) = gather([task.name], entries(runs), {task.name: task}, {})
    page = subgroup_part(shown)
    for item, women in zip(shown.scored, (30, 20), strict=True):
        part = next(part for part in item.result.subgroups if part.value == "female")
        assert part.records == women
        assert f"<td>{item.entry.name}</td><td>{women}</td>" in page
    assert "sex: female (20 to 30 test records)" in page
    assert "Runs were scored on different test records" in label_table(shown, SUPER)
    first, second = (item.result.per_label[0] for item in shown.scored)
    assert f"{first.label}: {second.positives} to {first.positives} positives" in calibration_part(shown, SUPER)
    alone = [content(run.folder, found, task) for run, found in zip(runs, (many, few), strict=True)]
    assert "different test records" not in label_table(alone[0], SUPER)
    # Of the first run both counts, also where its predictions cannot be read: those of the other are of other records.
    assert label_counts(shown, SUPER) == label_counts(alone[0], SUPER)
    unread = dataclasses.replace(shown, scored=[Scored(shown.scored[0].entry, shown.scored[0].result), shown.scored[1]])
    assert {counts.validation for counts in label_counts(unread, SUPER).values()} == {None}


def test_a_history_is_read_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    task = get_task("ptbxl_super")
    folder = write_folder(tmp_path, task, shifted(predictions(), 0.5))
    entry = ReportRun(0, "a", read_found(folder))
    history = read_history(entry, "ptbxl_super")
    assert history is not None
    assert (history.epochs, history.best) == ((1, 2, 3), 3)
    path = folder / "history" / "ptbxl_super.json"
    content = json.loads(path.read_text())
    content["history"][1]["validation"] = None
    path.write_text(json.dumps(content))
    again = read_history(entry, "ptbxl_super")
    assert again is not None
    assert math.isnan(again.validation[1])
    for damaged in ("[]", "[" * 100_000):
        path.write_text(damaged)
        assert read_history(entry, "ptbxl_super") is None
    assert read_history(entry, "other") is None


@pytest.mark.parametrize(
    ("run", "regression", "title"),
    [
        ("ptbxl_super", False, "validation macro AUROC"),
        ("mimic", False, "validation macro AUROC - 1 - MAE"),
        ("mimic", True, "validation macro AUROC - 1 - MAE"),
        ("mimic_age", True, "minus validation MAE"),  # trained by itself, with --separate
        ("not_known_here", True, "minus validation MAE"),
    ],
)
def test_validation_curves_are_named_after_what_chose_the_epoch(
    tmp_path: Path, run: str, regression: bool, title: str
) -> None:
    found = read_found(write_folder(tmp_path, get_task("ptbxl_super")))
    entry, result = ReportRun(0, "a", found), found.results["ptbxl_super"]
    metrics = {"mae": Estimate(point=0.5)} if regression else result.metrics
    scored = Scored(entry, result.model_copy(update={"run": run, "metrics": metrics}))
    history = found.folder / "history" / "ptbxl_super.json"
    history.rename(history.with_name(f"{run}.json"))
    page = _training([entry], [TaskContent("any", None, None, [scored], [])], tasks())
    assert f'<th scope="col">{title}</th>' in page


@pytest.mark.parametrize(
    ("model", "origin", "mode", "expected"),
    [
        (
            "unverified:x",
            "unverified",
            "linear",
            "Unverified weights, nobody can tell which: unverified:x.",
        ),
        ("mine", "random", "linear", "Not pre-trained (random weights): mine."),
        ("random:ecg-cpc", None, "linear", "Not pre-trained (random weights): random:ecg-cpc."),
        ("s4", "random", "scratch", None),
        ("ecg-cpc", "catalogue", "linear", None),
    ],
)
def test_weights_that_are_not_a_published_models_are_noticed(
    model: str, origin: str | None, mode: str, expected: str | None
) -> None:
    settings = SimpleNamespace(model=SimpleNamespace(id=model, origin=origin), mode=mode)
    entry: Any = SimpleNamespace(run=SimpleNamespace(run=SimpleNamespace(settings=settings), results={}))
    found = [str(notice) for notice in notices([entry])]
    assert len(found) == (1 if expected is None else 2)
    assert expected is None or expected in found[-1]
