"""Figure files: the same points, intervals and axes as the charts of a page, and equal files for equal data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eval_harness.figures.charts import Chart, Forest, Line, Trace
from eval_harness.figures.plots import colour, draw_chart, draw_forest, mark, new_figure, say, write_figure
from eval_harness.figures.svg import NamedAxis, axis
from eval_harness.results.schema import Estimate

ACROSS = NamedAxis(0.0, 2.0, 0.0, 100.0, (0.0, 1.0, 2.0), ("1", "1/2", "1/4"))
POINTS = [(0.0, Estimate(point=0.5, low=0.25, high=0.75)), (1.0, Estimate(point=0.6)), (2.0, Estimate(point=None))]


def drawn(*traces: Trace, **changes: Any) -> Any:
    axes = new_figure(4, 3).add_subplot()
    draw_chart(axes, Chart("title", ACROSS, "fraction", "score", traces, **changes))
    return axes


def test_points_intervals_and_axes_are_those_of_the_chart() -> None:
    axes = drawn(Trace("a", 0, POINTS), Trace("b", 1, POINTS[:1], dashed=True))
    line, first, second = axes.lines[:3]
    assert line.get_xydata().tolist() == [[0.0, 0.5], [1.0, 0.6]], "the undefined point is left out"
    assert [mark.get_xydata().tolist() for mark in (first, second)] == [[[0.0, 0.5]], [[1.0, 0.6]]]
    (whiskers,) = axes.collections[0].get_segments()
    assert whiskers.tolist() == [[0.0, 0.25], [0.0, 0.75]]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "1/2", "1/4"]
    assert (axes.get_xlim(), axes.get_xlabel(), axes.get_ylabel()) == ((0.0, 2.0), "fraction", "score")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_a_band_a_given_path_a_level_and_open_marks() -> None:
    upward = axis([0.0, 1.0], 0.0, 100.0, room=0.0)
    trace = Trace("a", 0, POINTS, path=[(0.0, 0.0), (2.0, 1.0)], shaded=True, open_=frozenset({1.0}))
    axes = drawn(trace, upward=upward, level=0.5, caption="short")
    assert axes.lines[0].get_xydata().tolist() == [[0.0, 0.0], [2.0, 1.0]]
    assert [line.get_markerfacecolor() for line in axes.lines[1:3]] == [colour(0), "white"]
    assert axes.lines[-1].get_ydata() == [0.5, 0.5]
    assert axes.get_ylim() == (0.0, 1.0)
    assert axes.get_title(loc="left") == "short"
    assert axes.get_legend() is None, "one series needs none"


@pytest.mark.parametrize(("heading", "names"), [("", ["one", "two"]), ("both", ["both"])])
def test_rows_of_a_forest(heading: str, names: list[str]) -> None:
    rows = [Line("one", Estimate(point=0.5, low=0.4, high=0.6), 0), Line("two", Estimate(point=None), 1)]
    axes = new_figure(4, 3).add_subplot()
    draw_forest(axes, Forest("title", "AUROC", [(heading, rows)], 0.5))
    assert [text.get_text() for text in axes.get_yticklabels()] == names
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first is on top"
    assert (axes.get_legend() is not None) == bool(heading)
    assert axes.lines[0].get_xdata().tolist() == [0.4, 0.6]


def test_36_series_have_marks_of_their_own() -> None:
    assert len({(colour(k), mark(k)) for k in range(36)}) == 36


def test_equal_figures_are_equal_files(tmp_path: Path) -> None:
    written = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        figure = new_figure(3, 2)
        say(figure.add_subplot(), "nothing to draw", "title")
        written.append(write_figure(figure, tmp_path / folder / "figure.1", ("svg", "png")))
    assert [path.name for path in written[0]] == ["figure.1.svg", "figure.1.png"]
    assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]
    assert "nothing to draw" in written[0][0].read_text(encoding="utf-8"), "letters stay letters"
