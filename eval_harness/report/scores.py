"""The scores: a matrix of tasks and runs, and of each task the table with everything to know about each score."""

from __future__ import annotations

from collections.abc import Sequence

from eval_harness.figures.charts import Forest, Line, forest
from eval_harness.figures.markup import Html, anchor, details, join, scroller, state, table, tag
from eval_harness.metrics.registry import MACRO_AUROC_PAPER, MACRO_MAE, chance_of, title_of
from eval_harness.report.content import ReportRun, Scored, TaskContent, main_estimate
from eval_harness.results.comparison import p_text
from eval_harness.results.schema import Result
from eval_harness.results.summary import deviations_text, score_text, seed_rows


def matrix(contents: Sequence[TaskContent], entries: Sequence[ReportRun]) -> Html:
    """Return the scores at a glance: one row per task, one column per run."""
    head = [tag("th", name, scope="col") for name in ("task", "metric", *(entry.name for entry in entries))]
    body = []
    for content in contents:
        link = tag("a", content.title, href=f"#{anchor(content.name)}")
        by_run = {item.entry.index: item for item in content.scored}
        reasons = {entry.index: reason for entry, reason in content.unscored}
        cells = [_cell(content, by_run.get(e.index), reasons.get(e.index)) for e in entries]
        metric = title_of(content.metric)
        body.append(tag("tr", tag("th", link, scope="row"), tag("td", metric), cells))
    caption = "Scores at a glance: point and, below it, the interval"
    scores = tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body))
    return scroller(scores, caption)


def score_table(content: TaskContent) -> Html:
    """Return every run's score on a task, with rank, both macro readings, labels, contamination and deviations."""
    rows: list[list[object]] = [_row(content, item) for item in content.scored]
    width = len(_heads(content))
    for entry, reason in content.unscored:
        rows.append([entry.name, tag("td", reason, colspan=width - 1, class_="bad")])
    caption = f"{content.title}: scores with intervals{'; = shares its rank' if content.comparison else ''}"
    return table(_heads(content), rows, caption=caption)


def score_forest(content: TaskContent) -> Html | None:
    """Return the forest plot of a task; None where nothing was scored."""
    if not content.scored:
        return None
    best = {item.entry.index for item in content.scored if (content.standing(item.entry) or (0, 0))[0] == 1}
    lines = [
        Line(item.entry.name, main_estimate(item.result), item.entry.index, item.entry.index in best)
        for item in content.scored
    ]
    metric = title_of(content.metric)
    title = f"{content.title}: {metric}"
    drawn = forest(Forest(title, metric, [("", lines)], chance_of(content.metric)))
    chance = " Dashed: chance." if 'class="chance"' in drawn else ""
    caption = f"{metric} with interval.{chance}{' Bold: the best and its ties.' if best else ''}"
    return tag("figure", scroller(drawn, title), tag("figcaption", caption), class_="wide")


def metric_table(content: TaskContent) -> Html | None:
    """Return all metrics of a task beside each other, folded away."""
    names = list(dict.fromkeys(name for item in content.scored for name in item.result.metrics))
    if not names:
        return None
    rows = [[title_of(name), *(score_text(item.result.metrics.get(name)) for item in content.scored)] for name in names]
    head = ["metric", *(item.entry.name for item in content.scored)]
    numbers = table(head, rows, caption="All metrics, with intervals", class_="figures")
    return details("All metrics of this task", numbers)


def difference_table(content: TaskContent) -> Html | None:
    """Return the differences between the best run and the others; None without a comparison."""
    comparison = content.comparison
    if comparison is None:
        return None
    best = comparison.standings[0].model
    rows = [
        [
            pair.second,
            f"{pair.difference.point:+.3f} [{pair.difference.low:+.3f}, {pair.difference.high:+.3f}]",
            p_text(pair.p),
            p_text(pair.p_holm),
            "yes" if pair.distinguished else "no",
            "differ" if pair.difference.significant else "tie",
        ]
        for pair in comparison.pairs
        if pair.first == best
    ]
    caption = f"{best} minus each other, on the same resamples: {comparison.resampled}"
    head = ["run", "best minus it", "p", "p (Holm, all pairs)", "distinguished", "as published (unadjusted)"]
    return details("Differences to the best", table(head, rows, caption=caption))


def comparison_words(content: TaskContent) -> str:
    """Say in a few sentences who is best, who is tied and how pairs were resampled; "" without a comparison."""
    comparison = content.comparison
    if comparison is None:
        return ""
    first = [standing.model for standing in comparison.standings if standing.rank == 1]
    tied = f" Not distinguished from it: {', '.join(first[1:])}." if len(first) > 1 else " It differs from all others."
    most = max(len(item.result.per_label) for item in content.scored)
    fewer = f" Compared on the {len(comparison.labels)} labels that all have." if len(comparison.labels) < most else ""
    plain = [standing.model for standing in comparison.standings if standing.rank_published == 1]
    published = "" if plain == first else f" As published, unadjusted, it ties with {', '.join(plain[1:]) or 'none'}."
    drawn = f" Pairs are {comparison.resampled}."
    return f"Best point: {first[0]}.{tied}{published}{drawn}{fewer}"


def spread_table(results: Sequence[Result]) -> Html | None:
    """Return the spread over seeds, where there are several."""
    rows = seed_rows(results)
    if not rows:
        return None
    cells = [[value.replace("+-", "±") for value in row.values()] for row in rows]
    spread = table(list(rows[0]), cells, caption="Mean ± standard deviation and range of the points")
    return join([tag("h3", "Spread over seeds"), spread])


def _cell(content: TaskContent, item: Scored | None, reason: str | None) -> Html:
    if item is None:
        text = "not asked for" if reason is None else reason.partition(":")[0]
        return tag("td", text, class_="soft" if reason is None else "bad", title=reason)
    estimate = main_estimate(item.result)
    if estimate.point is None:
        return tag("td", "undefined", class_="soft")
    ends = "no interval"
    if estimate.low is not None and estimate.high is not None:
        ends = f"{estimate.low:.3f}-{estimate.high:.3f}"
    badge = _badge(content, item.entry)
    seen = item.result.data is not None and item.result.data.contamination != "clean"
    warning = tag("span", state(item.result.data.contamination)) if seen and item.result.data else None
    return tag("td", f"{estimate.point:.3f}", badge, tag("span", ends), warning, class_="ci best" if badge else "ci")


def _badge(content: TaskContent, entry: ReportRun) -> Html | None:
    """Best, or tied with it."""
    standing = content.standing(entry)
    if standing is None or standing[0] != 1 or content.comparison is None:
        return None
    lone = standing[1] == 1
    word = "best" if lone or content.comparison.standings[0].model == entry.name else "tied"
    return tag("b", f" ★ {word}" if word == "best" else " ☆ tied", class_="badge")


def _heads(content: TaskContent) -> list[str]:
    readings = ["MAE, pooled", "MAE, mean over targets"] if content.regression else ["macro AUROC", "published reading"]
    return ["run", "rank", *readings, "labels", "test records", "test set", "deviations from the protocol"]


def _row(content: TaskContent, item: Scored) -> list[object]:
    result, data = item.result, item.result.data
    standing = content.standing(item.entry)
    rank = "-" if standing is None else f"{standing[0]}{' =' if standing[1] > 1 else ''}"
    second = result.metrics.get(MACRO_MAE if content.regression else MACRO_AUROC_PAPER)
    estimate = main_estimate(result)
    labels = "-"
    if data is not None:
        labels = f"{data.labels.scored}/{data.labels.published}"
        if estimate.classes is not None and estimate.classes != data.labels.scored and not content.regression:
            labels += f", mean over {estimate.classes}"
    return [
        item.entry.name,
        tag("td", rank, _badge(content, item.entry), class_="name"),
        tag("td", score_text(estimate), class_="ci best" if standing and standing[0] == 1 else "ci"),
        tag("td", score_text(second), class_="ci"),
        labels,
        "-" if data is None else f"{data.records.test:,}",
        "-" if data is None else state(data.contamination),
        f"{result.protocol.name}: {deviations_text(result)}",
    ]
