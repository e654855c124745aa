"""Charts of several series: points where they are, intervals, open marks, logarithmic axes."""

from __future__ import annotations

import math
import re

import pytest

from eval_harness.analyses.studies import distinct_names
from eval_harness.figures.charts import LEFT, TRACE_TOP, Chart, Forest, Line, Trace, forest, names_legend, trace_chart
from eval_harness.figures.svg import NamedAxis, axis, log_axis
from eval_harness.results.schema import Estimate

ACROSS = NamedAxis(0.0, 2.0, LEFT, 258.0, (0.0, 1.0, 2.0), ("1", "1/2", "1/4"))
UPWARD = axis([0.0, 1.0], TRACE_TOP + 200, TRACE_TOP, room=0.0)


def drawn(trace: Trace, **changes: float) -> str:
    return trace_chart(Chart("title", ACROSS, "fraction", "score", [trace], upward=UPWARD, **changes))


def test_points_and_intervals_are_where_they_belong() -> None:
    found = drawn(Trace("a", 0, [(0.0, Estimate(point=0.5, low=0.25, high=1.0)), (1.0, Estimate(point=1.0))]))
    assert re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', found) == [("58", "110"), ("158", "10")]
    assert "M58.0 160.0V10.0" in found, "from 0.25 to 1"
    assert found.count("whisker") == 1, "the second has no interval"
    assert 'd="M58.0 110.0L158.0 10.0"' in found
    assert "a: 0 0.500 [0.250, 1.000], 1 1.000." in found, "those who cannot see it are told"
    assert [name for name in ("1", "1/2", "1/4") if f">{name}</text>" in found] == ["1", "1/2", "1/4"]


def test_a_band_a_given_path_and_a_level() -> None:
    points = [(k, Estimate(point=0.5, low=0.25, high=0.75)) for k in (0.0, 2.0)]
    found = drawn(Trace("a", 1, points, path=[(0.0, 0.0), (2.0, 1.0)], shaded=True), level=0.5)
    assert '<polygon points="58.0,160.0 258.0,160.0 258.0,60.0 58.0,60.0" class="shade s1"' in found
    assert "whisker" not in found
    assert 'd="M58.0 210.0L258.0 10.0"' in found
    assert '<line x1="58" y1="110" x2="258" y2="110" class="chance"' in found
    assert "curve" not in drawn(Trace("a", 1, points, path=None))


def test_undefined_points_are_left_out_and_open_marks_are_open() -> None:
    points = [(0.0, Estimate(point=None)), (1.0, Estimate(point=0.5)), (2.0, Estimate(point=0.6))]
    found = drawn(Trace("a", 0, points, open_=frozenset({2.0}), point_names=("first", "second", "third")))
    assert found.count("<circle") == 2
    assert re.findall(r'class="mark s0( open)?"', found) == ["", " open"]
    assert "first" not in found
    assert "third 0.600" in found
    assert "nothing to draw" in drawn(Trace("a", 0, []))


def test_the_legend_tells_dashed_lines_in_words() -> None:
    legend = names_legend([Trace("a", 0, []), Trace("<b>", 1, [], dashed=True)])
    assert "&lt;b&gt; (dashed)" in legend
    assert legend.count("dashed") == 2


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((47, 375), ("50", "100", "200")),
        ((0.2, 3), ("0.2", "0.5", "1", "2")),
        ((10, 1e6), ("10", "100", "1,000", "10,000", "100,000", "1,000,000")),
        ((5, 5), ("5",)),
    ],
)
def test_a_logarithmic_axis_marks_round_numbers(values: tuple[float, ...], names: tuple[str, ...]) -> None:
    found = log_axis(values, 0.0, 100.0)
    assert tuple(found.label(tick) for tick in found.ticks) == names
    assert all(found.low < math.log10(value) < found.high for value in values)


def test_a_forest_of_aurocs_does_not_go_beyond_1() -> None:
    lines = [Line("a", Estimate(point=0.9, low=0.1, high=1.0), 0)]
    assert ">1.2<" in forest(Forest("title", "AUROC", [("", lines)], None))
    assert ">1.2<" not in forest(Forest("title", "AUROC", [("", lines)], None, (0.0, 1.0)))


def test_models_of_one_name_are_told_apart() -> None:
    assert distinct_names(["/x/a/model", "/x/b/model", "ecg-cpc"]) == {
        "/x/a/model": "a/model",
        "/x/b/model": "b/model",
        "ecg-cpc": "ecg-cpc",
    }
    assert distinct_names(["/x/one", "random:two"]) == {"/x/one": "one", "random:two": "random:two"}
    assert distinct_names([]) == {}
