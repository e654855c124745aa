"""How robustness is shown: change at the greatest strength, and curves of score against strength."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from eval_harness.analyses.registry import AnalysisKind, run_title
from eval_harness.analyses.robustness.schema import Condition, RobustnessResult, condition_rows
from eval_harness.figures.charts import LEFT, TRACE_TOP, Chart, Forest, Line, Trace, forest, trace_chart
from eval_harness.figures.markup import Html, details, scroller, table, tag
from eval_harness.figures.plots import draw_chart, draw_forest, new_figure, say, write_figure
from eval_harness.figures.svg import NamedAxis, axis
from eval_harness.metrics.registry import title_of
from eval_harness.results.schema import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTRODUCTION = (
    "The trained head scored again on the same test records, corrupted before the model's own preparation; nothing was "
    "trained. Changes are paired with the clean records. Many conditions are tested and no interval is adjusted for "
    "that: read curves, not single intervals."
)
OLDER = (
    "Made by an earlier version: the strengths of hum, wander and muscle noise held on average only (of hum 0.003 to "
    "0.4 mV for 0.2), and a lower sampling rate made steps at the ends of records. Not to be compared with newer ones."
)
RIGHT, HEIGHT = 280.0, 130.0
COLUMNS = 3
SINGLE = "lead_loss"


def robustness_part(result: RobustnessResult, tasks: Collection[str] | None) -> list[Html]:
    """Return the charts and the table of every task of a robustness analysis."""
    unit = (
        ""
        if result.signal_unit == "mV"
        else " Records have no physical unit: strengths are in standard deviations, not in mV."
    )
    about = (
        f"{result.dataset}, {result.records:,} test records at {result.rate_hz} Hz. Clean outputs differ from the "
        f"stored predictions by at most {result.largest_difference or 0.0:.1g}.{unit}"
    )
    parts = [tag("p", INTRODUCTION, class_="soft"), tag("p", about, class_="soft small")]
    if result.schema_version == "1.0":
        parts.append(tag("p", OLDER, class_="notice"))
    for task, metric in result.main.items():
        if (tasks is not None and task not in tasks) or task not in result.clean or not result.conditions:
            continue
        if len(result.main) > 1:
            parts.append(tag("h3", task))
        drawn = [_changes(result, task, metric), _panels(result, task, metric), _leads(result, task, metric)]
        parts += [part for part in drawn if part is not None]
        parts.append(details("All conditions as a table", _numbers(result, task)))
    return parts


def _changes(result: RobustnessResult, task: str, metric: str) -> Html | None:
    """Every corruption at its greatest strength against the clean records."""
    lines = []
    for group, conditions in by_group(result).items():
        done = [c for c in conditions if c.status == "done"]
        if group == SINGLE or not done:
            continue
        # Conditions of a corruption are in ascending strength.
        last = done[-1]
        change = last.scores[task][metric].change
        estimate = Estimate(point=change.point, low=change.low, high=change.high)
        lines.append(Line(f"{last.title} ({last.strength:g})", estimate, 0))
    if not lines:
        return None
    title = f"{task}: change of {title_of(metric)} at the greatest strength"
    drawn = forest(Forest(title, f"change of {title_of(metric)}", [("", lines)], 0.0))
    caption = (
        "Corrupted minus clean at the greatest strength (in brackets; its unit stands below the curves), with "
        "95 % intervals; dashed: no change."
    )
    return tag("figure", scroller(drawn, title), tag("figcaption", caption), class_="wide")


def _panels(result: RobustnessResult, task: str, metric: str) -> Html | None:
    panels = [
        _panel(result, task, metric, conditions) for group, conditions in by_group(result).items() if group != SINGLE
    ]
    return tag("div", panels, class_="many") if panels else None


def _panel(result: RobustnessResult, task: str, metric: str, conditions: list[Condition]) -> Html:
    title, described = conditions[0].title, curve(result, task, metric, conditions)
    if described is None:
        return tag("figure", tag("figcaption", f"{title}: skipped, {conditions[0].reason}"))
    return tag("figure", trace_chart(described), tag("figcaption", title))


def curve(result: RobustnessResult, task: str, metric: str, conditions: list[Condition]) -> Chart | None:
    """Return the score against the strength of one corruption, the clean score first; None where it was skipped."""
    done = [c for c in conditions if c.status == "done"]
    if not done:
        return None
    title, name, clean = conditions[0].title, title_of(metric), result.clean[task][metric]
    path = [(conditions[0].clean_strength, clean), *((c.strength, c.scores[task][metric].score) for c in done)]
    strengths = tuple(strength for strength, _ in path)
    # Room for whiskers and marks at both ends; strengths begin at the clean records.
    margin = 0.04 * (strengths[-1] - strengths[0])
    return Chart(
        f"{task}: {name}, {title}",
        NamedAxis(strengths[0] - margin, strengths[-1] + margin, LEFT, RIGHT, *_ticks(strengths)),
        result.unit_of(conditions[0]),
        name,
        [Trace(title, 0, path, shaded=True)],
        # One range for all panels of a task, so that they can be compared.
        upward=axis(score_range(result, task, metric), TRACE_TOP + HEIGHT, TRACE_TOP, count=4, room=0.0),
        level=clean.point,
        height=HEIGHT,
        caption=title,
    )


def _ticks(strengths: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Strengths and their texts; those are left out that would touch the next."""
    kept: list[float] = []
    for strength in reversed(strengths):
        if not kept or kept[-1] - strength >= 0.12 * (strengths[-1] - strengths[0]):
            kept.append(strength)
    ticks = tuple(reversed(kept))
    return ticks, tuple(f"{tick:g}" for tick in ticks)


def _leads(result: RobustnessResult, task: str, metric: str) -> Html | None:
    described = leads(result, task, metric)
    if described is None:
        return None
    caption = f"{strongest(by_group(result)[SINGLE])[0].capitalize()}, with intervals"
    drawn = scroller(forest(described), described.title)
    return tag("figure", drawn, tag("figcaption", caption), class_="wide")


def leads(result: RobustnessResult, task: str, metric: str) -> Forest | None:
    """Return a row for each single lead that is lost; None where none was."""
    conditions = by_group(result).get(SINGLE, [])
    title, whole = strongest(conditions) if conditions else ("", [])
    if not whole:
        return None
    lines = [Line(c.corruption.removeprefix("lead_loss_"), c.scores[task][metric].score, 0) for c in whole]
    lines.insert(0, Line("none", result.clean[task][metric], 1))
    return Forest(f"{task}: {title_of(metric)}, {title}", title_of(metric), [("", lines)])


def _numbers(result: RobustnessResult, task: str) -> Html:
    rows = [{key: value for key, value in row.items() if key != "task"} for row in condition_rows(result, task)]
    unit = result.settings.get("changes_resampled_by")
    caption = (
        f"{task}: every condition, with intervals; significant: the 95 % interval of the change"
        f"{f', resampled by {unit},' if unit else ''} excludes 0; not adjusted for the number of conditions"
    )
    return table(list(rows[0]), [list(row.values()) for row in rows], caption=caption, class_="figures")


def by_group(result: RobustnessResult) -> dict[str, list[Condition]]:
    """Return the conditions that are drawn together."""
    groups: dict[str, list[Condition]] = {}
    for condition in result.conditions:
        groups.setdefault(condition.group, []).append(condition)
    return groups


def score_range(result: RobustnessResult, task: str, metric: str) -> tuple[float, float]:
    """Return one range for all panels of a task, so that they can be compared."""
    scores = [c.scores[task][metric].score for c in result.conditions if c.status == "done"]
    ends = [
        value for s in [*scores, result.clean[task][metric]] for value in (s.low, s.point, s.high) if value is not None
    ]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    # All scores equal, or none at all: the axis still needs a length.
    room = 0.05 * (high - low) or 0.05
    return low - room, high + room


def strongest(conditions: list[Condition]) -> tuple[str, list[Condition]]:
    """Return a title and the single leads lost for the whole record, or for as much as was scored."""
    most = max(c.strength for c in conditions)
    share = "" if most == 1 else f" for {most:g} of the record"
    return f"one lead lost{share}", [c for c in conditions if c.strength == most and c.status == "done"]


def write_curves(result: RobustnessResult, folder: Path) -> list[Path]:
    """Write the figure of every task as SVG and PNG; return the files."""
    return [
        path
        for task in result.main
        if result.conditions and task in result.clean
        for path in write_figure(curves(result, task), folder / f"robustness_{task}")
    ]


def curves(result: RobustnessResult, task: str) -> Figure:
    """Draw one task of a result: a panel per corruption, one for single leads lost, the clean score dashed."""
    metric, groups = result.main[task], by_group(result)
    rows = max(1, math.ceil(len(groups) / COLUMNS))
    figure = new_figure(3.6 * COLUMNS, 2.7 * rows + 0.7)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, (group, conditions) in zip(panels, groups.items(), strict=False):
        of_leads = leads(result, task, metric) if group == SINGLE else None
        of_strength = None if group == SINGLE else curve(result, task, metric, conditions)
        if of_leads is not None:
            draw_forest(axes, of_leads)
        elif of_strength is not None:
            draw_chart(axes, of_strength)
        else:
            say(axes, conditions[0].reason or "skipped", conditions[0].title)
    # The grid has whole rows, so its last places may be empty.
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    title = f"{result.model.id}, {result.mode}, {task}: {result.dataset}, {result.records:,} test records"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


ANALYSIS = AnalysisKind(
    "robustness_*.json",
    RobustnessResult,
    lambda result: f"Robustness: {run_title(result)}",
    robustness_part,
    lambda result: set(result.main),
)
