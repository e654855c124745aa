"""The scores: a matrix of tasks and runs, and of each task the tables by run, by label, and by sex and age band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval_harness.figures.charts import Forest, Line, forest
from eval_harness.figures.markup import Html, anchor, details, join, scroller, state, table, tag
from eval_harness.metrics.registry import MACRO_AUROC_PAPER, MACRO_MAE, chance_of, metrics, title_of
from eval_harness.report.content import ReportRun, Scored, TaskContent, main_estimate
from eval_harness.results.comparison import p_text
from eval_harness.results.predictions import Predictions
from eval_harness.results.schema import Estimate, LabelResult, Result
from eval_harness.results.summary import deviations_text, score_text, seed_rows

NO_SKILL_MAE = 0.7979
"""Mean absolute deviation of the normal distribution: what the mean as prediction gives for z-scores."""

DECISIONS = ("auroc", "auprc", "f1", "sensitivity", "specificity", "brier", "calibration_rms")


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
        # Against the best alone: of eight runs all 28 pairs would hide the seven that decide.
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
    # Both readings are said where they differ: papers quote the unadjusted one.
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
    # A gap keeps its reason: "failed" and "not asked for" are different news.
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
    # Whatever is not known to be clean carries its warning in the table that people quote.
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


@dataclass(frozen=True)
class Counts:
    """Of one label: positives and records with a target in each split; None where predictions cannot be read."""

    validation: tuple[int, int] | None
    test: tuple[int, int]

    @property
    def shares(self) -> list[float]:
        """Positives as a share of the records, of each split that is known."""
        return [pair[0] / pair[1] for pair in (self.validation, self.test) if pair is not None and pair[1]]


def label_order(content: TaskContent, most: int) -> tuple[list[str], int]:
    """Return the labels to show, in the order of the task, and how many are left out: those with fewest positives."""
    by_name: dict[str, LabelResult] = {}
    for item in content.scored:
        for entry in item.result.per_label:
            # Runs on parts of the data have other labels; the table shows all that any run has.
            by_name.setdefault(entry.label, entry)
    if most == 0 or len(by_name) <= most:
        return list(by_name), 0
    size = {name: entry.records if entry.positives is None else entry.positives for name, entry in by_name.items()}
    # sorted is stable: equally frequent labels stay in the order of the task.
    kept = set(sorted(by_name, key=lambda name: -size[name])[:most])
    return [name for name in by_name if name in kept], len(by_name) - most


def label_table(content: TaskContent, names: Sequence[str]) -> Html:
    """Return the heat map: one row per label, one column per run."""
    counts = label_counts(content, names)
    head = [tag("th", "target" if content.regression else "label", scope="col"), *_count_heads(content)]
    head += [tag("th", item.entry.name, scope="col") for item in content.scored]
    # One scale for all labels of the table: bars of rare and common ones are to be compared.
    largest = max((share for name in names for share in counts[name].shares), default=0.0)
    body = [_label_row(content, name, counts[name], largest) for name in names]
    what = "MAE in standard deviations of each target" if content.regression else "AUROC of each label"
    caption = f"{content.title}: {what}, below it the interval; and how often it occurs"
    heat_map = tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body), class_="heat")
    return join([scroller(heat_map, caption), _counted_records(content, names), _key(content)])


def _counted_records(content: TaskContent, names: Sequence[str]) -> Html | None:
    """Say whose records are counted where runs were scored on others; None where all have the same."""
    sizes: dict[str, set[tuple[int | None, int]]] = {name: set() for name in names}
    for item in content.scored:
        for entry in item.result.per_label:
            sizes.get(entry.label, set()).add((entry.positives, entry.records))
    if all(len(found) < 2 for found in sizes.values()):
        return None
    text = "Runs were scored on different test records: of each label those of the first run that has it are counted."
    return tag("p", text, class_="notice")


def label_counts(content: TaskContent, names: Sequence[str]) -> dict[str, Counts]:
    """Count positives and records of labels in validation and test."""
    counts: dict[str, Counts] = {}
    # Labels are counted in the predictions, for a result lists those of the test records alone.
    parts = [
        (item.predictions.part("validation"), item.predictions.part("test"))
        for item in content.scored
        if item.predictions is not None
    ]
    for name in names:
        entry = next(e for item in content.scored for e in item.result.per_label if e.label == name)
        # Of the same records as the test counts, if they can be read; `label_table` says where runs have others.
        validation = next(
            (part for part, test in parts if name in test.labels and _has_counts(_counted(test, name), entry)), None
        )
        of_validation = None if validation is None else _counted(validation, name)
        counts[name] = Counts(of_validation, (entry.positives or 0, entry.records))
    return counts


def _counted(part: Predictions, name: str) -> tuple[int, int]:
    """Positives and records with a target of a label."""
    column = part.y_true[:, part.labels.index(name)]
    return int((column == 1).sum()), int((~np.isnan(column)).sum())


def _has_counts(counted: tuple[int, int], entry: LabelResult) -> bool:
    """Whether a result counts as many; of values it counts the records alone."""
    return counted[1] == entry.records and entry.positives in (None, counted[0])


def metric_tables(content: TaskContent, names: Sequence[str]) -> Html | None:
    """Return, folded away, all metrics of each label: one table per run; None for regression."""
    if content.regression:
        return None
    parts = []
    for item in content.scored:
        rows = [
            [label.label, _threshold(label), *(score_text(getattr(label, name)) for name in DECISIONS)]
            for label in item.result.per_label
            if label.label in set(names)
        ]
        caption = f"{item.entry.name}: all metrics of each label; F1, sensitivity and specificity at the threshold"
        head = ["label", "threshold", *(metrics()[f"macro_{name}"].heading for name in DECISIONS)]
        numbers = table(head, rows, caption=caption, class_="figures")
        parts.append(details(f"All metrics of each label: {item.entry.name}", numbers))
    return join(parts)


def _label_row(content: TaskContent, name: str, counts: Counts, largest: float) -> Html:
    title = content.label_title(name)
    heading = [name] if title == name else [name, tag("span", f" {title}", class_="soft small")]
    cells = [tag("th", heading, scope="row"), *_count_cells(content, counts, largest)]
    cells += [_label_cell(content, item, name) for item in content.scored]
    return tag("tr", cells)


def _label_cell(content: TaskContent, item: Scored, name: str) -> Html:
    entry = next((entry for entry in item.result.per_label if entry.label == name), None)
    if entry is None:
        return tag("td", "no output", class_="soft")
    estimate = entry.mae if content.regression else entry.auroc
    if estimate is None or estimate.point is None:
        return tag("td", "undefined", class_="soft", title=f"{name}, {item.entry.name}: {_why(entry)}")
    # On one scale: 0 is no skill and 1 perfect, for errors as for areas.
    worth = (NO_SKILL_MAE - estimate.point) / NO_SKILL_MAE if content.regression else 2 * estimate.point - 1
    clinical = entry.mae_clinical
    in_units = None
    if clinical is not None and clinical.point is not None:
        in_units = tag("span", f"{clinical.point:.3g} {entry.unit or ''} {_ends(clinical, 3)}".strip())
    return tag(
        "td",
        f"{estimate.point:.2f}",
        tag("span", _ends(estimate, None)),
        in_units,
        class_="cell" if estimate.low is not None else "cell soft",
        # Without an interval no colour: a handful of positives can give an AUROC of 1.
        style=_colour(worth) if estimate.low is not None else None,
        title=f"{name}, {item.entry.name}: {score_text(estimate)}; {_size(entry)}",
    )


def _colour(worth: float) -> str:
    """Background for a worth of -1 (worse than chance) over 0 (no skill) to 1 (perfect)."""
    kind = "better" if worth >= 0 else "worse"
    return f"background:rgba(var(--{kind}),{0.75 * min(abs(worth), 1.0):.2f})"


def _key(content: TaskContent) -> Html:
    ramp = tag(
        "span",
        class_="ramp",
        aria_hidden="true",
        style="background:linear-gradient(90deg,rgba(var(--worse),.75),transparent,rgba(var(--better),.75))",
    )
    if content.regression:
        text = (
            " orange: larger error than predicting the mean of normally distributed values "
            f"({NO_SKILL_MAE:.2f}); blue: smaller. Third line of a cell: in clinical units."
        )
    else:
        text = (
            " orange: below 0.5 (chance); blue: above. “no interval”: too few positives for one (below about four), "
            "so without colour."
        )
    return tag("p", ramp, text, class_="soft small")


def _count_heads(content: TaskContent) -> list[Html]:
    what = "values" if content.regression else "positives"
    return [tag("th", f"{what}, {split}", scope="col", class_="num") for split in ("validation", "test")]


def _count_cells(content: TaskContent, counts: Counts, largest: float) -> list[Html]:
    if content.regression:
        validation = "-" if counts.validation is None else f"{counts.validation[1]:,}"
        return [tag("td", validation, class_="num"), tag("td", f"{counts.test[1]:,}", class_="num")]
    cells = []
    for pair in (counts.validation, counts.test):
        # Predictions of data that may not be shared are not there; their counts in the test split are in the result.
        if pair is None:
            cells.append(tag("td", "-", class_="num"))
            continue
        share = pair[0] / pair[1] if pair[1] else 0.0
        bar = tag("span", class_="share", style=f"width:{5 * share / (largest or 1.0):.2f}em", aria_hidden="true")
        text = f"{pair[0]:,} ({100 * share:.1f} %)"
        cells.append(tag("td", text, bar, class_="num", title=f"{pair[0]:,} of {pair[1]:,} records"))
    return cells


def _ends(estimate: Estimate, digits: int | None) -> str:
    if estimate.low is None or estimate.high is None:
        return "no interval"
    if digits is None:
        return f"{estimate.low:.2f}-{estimate.high:.2f}"
    return f"({estimate.low:.{digits}g}-{estimate.high:.{digits}g})"


def _size(entry: LabelResult) -> str:
    return (
        f"{entry.records:,} records"
        if entry.positives is None
        else f"{entry.positives:,} of {entry.records:,} positive"
    )


def _why(entry: LabelResult) -> str:
    return "one of the two outcomes is absent from the test split" if entry.positives is not None else "no values"


def _threshold(label: LabelResult) -> str:
    return "-" if label.threshold is None else f"{label.threshold:.3f}"


def subgroup_part(content: TaskContent) -> Html:
    """Return forest plot and table of the subgroups; a sentence where there are none."""
    order: dict[tuple[str, str], list[int]] = {}
    for item in content.scored:
        for part in item.result.subgroups:
            # In the order of the first run; others may lack groups that are too small in their part of the data.
            order.setdefault((part.name, part.value), []).append(part.records)
    if not order:
        text = "No subgroups: the data hold neither sex nor age of two groups of ten or more test records."
        return tag("p", text, class_="soft")
    metric = title_of(content.metric)
    head = ["subgroup", "run", "test records", metric, *([] if content.regression else ["labels in the mean"])]
    groups, rows = [], []
    for (name, value), sizes in order.items():
        text = subgroup_words(name, value)
        # Runs may have been scored on other parts of the data.
        size = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
        heading = f"{text} ({size} test records)"
        lines = []
        for item in content.scored:
            part_of_run = next((p for p in item.result.subgroups if (p.name, p.value) == (name, value)), None)
            estimate = (part_of_run.metrics.get(content.metric) if part_of_run else None) or Estimate(point=None)
            lines.append(Line(item.entry.name, estimate, item.entry.index))
            classes = "-" if estimate.classes is None or content.regression else str(estimate.classes)
            records = "-" if part_of_run is None else f"{part_of_run.records:,}"
            rows.append([text, item.entry.name, records, score_text(estimate), classes][: len(head)])
        groups.append((heading, lines))
    title = f"{content.title}: {metric} by sex and age"
    drawn = forest(Forest(title, metric, groups, chance_of(content.metric)))
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
