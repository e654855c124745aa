"""Scores by sex and age band."""

from __future__ import annotations

from eval_harness.report.content import METRIC_TITLES, TaskContent
from eval_harness.report.forest import Line, forest
from eval_harness.report.markup import Html, details, join, scroller, table, tag
from eval_harness.report.scores import CHANCE
from eval_harness.results import Estimate
from eval_harness.summary import score_text


def subgroup_part(content: TaskContent) -> Html:
    """Return forest plot and table of the subgroups; a sentence where there are none."""
    order: dict[tuple[str, str], int] = {}
    for item in content.scored:
        for part in item.result.subgroups:
            order.setdefault((part.name, part.value), part.records)
    if not order:
        words = "No subgroups: the data hold neither sex nor age of two groups of ten or more test records."
        return tag("p", words, class_="soft")
    metric = METRIC_TITLES.get(content.metric, content.metric)
    head = ["subgroup", "run", "test records", metric, *([] if content.regression else ["labels in the mean"])]
    groups, rows = [], []
    for (name, value), records in order.items():
        words = subgroup_words(name, value)
        heading = f"{words} ({records:,} test records)"
        lines = []
        for item in content.scored:
            found = next((p for p in item.result.subgroups if (p.name, p.value) == (name, value)), None)
            estimate = (found.metrics.get(content.metric) if found else None) or Estimate(point=None)
            lines.append(Line(item.entry.name, estimate, item.entry.index))
            classes = "-" if estimate.classes is None or content.regression else str(estimate.classes)
            rows.append([words, item.entry.name, f"{records:,}", score_text(estimate), classes][: len(head)])
        groups.append((heading, lines))
    title = f"{content.title}: {metric} by sex and age"
    drawn = forest(title, metric, groups, CHANCE.get(content.metric))
    caption = (
        "Each subgroup is resampled by itself. Its mean goes over the labels that have both outcomes within it, so "
        "subgroups may differ in their labels."
        if not content.regression
        else "Each subgroup is resampled by itself."
    )
    numbers = table(head, rows, caption=title, class_="figures")
    return join(
        [
            tag("figure", scroller(drawn, title), tag("figcaption", caption), class_="wide"),
            details("Subgroups as a table", numbers),
        ]
    )


def subgroup_words(name: str, value: str) -> str:
    """Return "sex: female", "age: 18-39 years", "age: under 1 year", "age: 80 years and over"."""
    if name != "age":
        return f"{name}: {value}"
    if value.endswith(" and over"):
        return f"age: {value.removesuffix(' and over')} years and over"
    return f"age: {value} year{'' if value == 'under 1' else 's'}"
