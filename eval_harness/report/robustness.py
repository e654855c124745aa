"""The part on robustness: change at the greatest strength, and curves of score against strength."""

from __future__ import annotations

from collections.abc import Collection

from eval_harness.analyses.robustness.plot import SINGLE, along, by_group, lead_name, score_range, strongest
from eval_harness.analyses.robustness.schema import Condition, RobustnessResult
from eval_harness.analyses.tables import condition_rows
from eval_harness.metrics.registry import title_of
from eval_harness.report.forest import LEFT, TRACE_TOP, Line, Trace, forest, trace_chart
from eval_harness.report.markup import Html, details, scroller, table, tag
from eval_harness.report.svg import NamedAxis, axis
from eval_harness.results.schema import Estimate

WORDS = (
    "The trained head scored again on the same test records, corrupted before the model's own preparation; nothing was "
    "trained. Changes are paired with the clean records. Many conditions are tested and no interval is adjusted for "
    "that: read curves, not single intervals."
)
OLDER = (
    "Made by an earlier version: the strengths of hum, wander and muscle noise held on average only (of hum 0.003 to "
    "0.4 mV for 0.2), and a lower sampling rate made steps at the ends of records. Not to be compared with newer ones."
)
RIGHT, HEIGHT = 280.0, 130.0


def robustness_part(result: RobustnessResult, tasks: Collection[str] | None) -> list[Html]:
    """Return the charts and the table of every task of a robustness analysis."""
    unit = "" if result.signal_unit == "mV" else " Records have no physical unit: mV mean standard deviations."
    about = (
        f"{result.dataset}, {result.records:,} test records at {result.rate_hz} Hz. Clean outputs differ from the "
        f"stored predictions by at most {result.largest_difference or 0.0:.1g}.{unit}"
    )
    parts = [tag("p", WORDS, class_="soft"), tag("p", about, class_="soft small")]
    if result.schema_version == "1.0":
        parts.append(tag("p", OLDER, class_="notice"))
    for task, metric in result.main.items():
        if (tasks is not None and task not in tasks) or task not in result.clean or not result.conditions:
            continue
        if len(result.main) > 1:
            parts.append(tag("h3", task))
        found = [_changes(result, task, metric), _panels(result, task, metric), _leads(result, task, metric)]
        parts += [part for part in found if part is not None]
        parts.append(details("All conditions as a table", _numbers(result, task)))
    return parts


def _changes(result: RobustnessResult, task: str, metric: str) -> Html | None:
    """Every corruption at its greatest strength against the clean records."""
    lines = []
    for group, conditions in by_group(result).items():
        done = [c for c in conditions if c.status == "done"]
        if group == SINGLE or not done:
            continue
        last = done[-1]
        change = last.scores[task][metric].change
        found = Estimate(point=change.point, low=change.low, high=change.high)
        lines.append(Line(f"{last.title} ({last.strength:g})", found, 0))
    if not lines:
        return None
    title = f"{task}: change of {title_of(metric)} at the greatest strength"
    drawn = forest(title, f"change of {title_of(metric)}", [("", lines)], 0.0)
    caption = (
        "Corrupted minus clean at the greatest strength (in brackets; its unit stands below the curves), with "
        "intervals; dashed: no change."
    )
    return tag("figure", scroller(drawn, title), tag("figcaption", caption), class_="wide")


def _panels(result: RobustnessResult, task: str, metric: str) -> Html | None:
    panels = [
        _panel(result, task, metric, conditions) for group, conditions in by_group(result).items() if group != SINGLE
    ]
    return tag("div", panels, class_="many") if panels else None


def _panel(result: RobustnessResult, task: str, metric: str, conditions: list[Condition]) -> Html:
    done = [c for c in conditions if c.status == "done"]
    title = conditions[0].title
    if not done:
        return tag("figure", tag("figcaption", f"{title}: skipped, {conditions[0].reason}"))
    path = along(done, task, metric, result.clean[task][metric])
    places = tuple(place for place, _ in path)
    margin = 0.04 * places[-1]
    across = NamedAxis(-margin, places[-1] + margin, LEFT, RIGHT, *_ticks(places))
    upward = axis(score_range(result, task, metric), TRACE_TOP + HEIGHT, TRACE_TOP, count=4, room=0.0)
    name = title_of(metric)
    drawn = trace_chart(
        f"{task}: {name}, {title}", across, conditions[0].unit, name, [Trace(title, 0, path, shaded=True)],
        height=HEIGHT, upward=upward, level=result.clean[task][metric].point,
    )  # fmt: skip
    return tag("figure", drawn, tag("figcaption", title))


def _ticks(places: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Strengths and their texts; those are left out that would touch the next."""
    kept: list[float] = []
    for place in reversed(places):
        if not kept or kept[-1] - place >= 0.12 * places[-1]:
            kept.append(place)
    ticks = tuple(reversed(kept))
    return ticks, tuple(f"{place:g}" for place in ticks)


def _leads(result: RobustnessResult, task: str, metric: str) -> Html | None:
    """A row for each single lead that is lost."""
    conditions = by_group(result).get(SINGLE, [])
    title, whole = strongest(conditions) if conditions else ("", [])
    if not whole:
        return None
    lines = [Line(lead_name(c), c.scores[task][metric].score, 0) for c in whole]
    lines.insert(0, Line("none", result.clean[task][metric], 1))
    name = f"{task}: {title_of(metric)}, {title}"
    drawn = forest(name, title_of(metric), [("", lines)], None)
    return tag(
        "figure", scroller(drawn, name), tag("figcaption", f"{title.capitalize()}, with intervals"), class_="wide"
    )


def _numbers(result: RobustnessResult, task: str) -> Html:
    rows = [{key: value for key, value in row.items() if key != "task"} for row in condition_rows(result, task)]
    unit = result.settings.get("changes_resampled_by")
    caption = (
        f"{task}: every condition, with intervals; significant: the interval of the change"
        f"{f', resampled by {unit},' if unit else ''} excludes 0; not adjusted for the number of conditions"
    )
    return table(list(rows[0]), [list(row.values()) for row in rows], caption=caption, class_="figures")
