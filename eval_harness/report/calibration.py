"""The part on reliability: one curve per run over all labels, and per label on demand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval_harness.report.content import Scored, TaskContent, resampling
from eval_harness.report.markup import Html, details, join, table, tag
from eval_harness.report.reliability import LEAST, Bin, label_bins, pooled_bins, reliability_chart, rows
from eval_harness.results import Estimate
from eval_harness.summary import score_text

MOST_LABELS = 12
HEAD = ["predicted", "entries", "positives", "mean predicted", "observed", "interval"]


def calibration_part(content: TaskContent, names: Sequence[str]) -> Html:
    """Return the reliability curves of a task; a sentence where there are none.

    Args:
        content: of the task.
        names: labels that are shown; the curves per label are of the most frequent of them.
    """
    if content.regression:
        return tag("p", "Reliability curves are for probabilities; this task predicts values.", class_="soft")
    readable = [item for item in content.scored if item.predictions is not None]
    if not readable:
        return tag("p", "No curves: the predictions cannot be read.", class_="soft")
    figures, numbers = [], []
    for item in readable:
        bins = _pooled(item)
        error = item.result.metrics.get("macro_calibration_rms") or Estimate(point=None)
        caption = f"{item.entry.name}. Calibration error over all labels, debiased: {score_text(error)}"
        title = f"Reliability of {item.entry.name} on {content.title}, all labels"
        figures.append(tag("figure", reliability_chart(title, bins, item.entry.index), tag("figcaption", caption)))
        numbers.append(table(HEAD, rows(bins), caption=title))
    words = (
        f"All labels pooled, 15 bins of equal width; bars: predictions in each bin. Bins with fewer than {LEAST} "
        "are not drawn. Dashed: perfect agreement. Intervals: resampling of whole records, or Wilson where wider."
    )
    return join(
        [
            tag("p", words, class_="soft small"),
            tag("div", figures, class_="many"),
            details("Bins as tables", numbers),
            _per_label(content, readable, names),
        ]
    )


def _pooled(item: Scored) -> list[Bin]:
    assert item.predictions is not None
    test = item.predictions.part("test")
    columns = [test.labels.index(entry.label) for entry in item.result.per_label]
    number, unit, confidence = resampling([item])
    return pooled_bins(test, columns, number, unit, confidence)


def _per_label(content: TaskContent, readable: Sequence[Scored], names: Sequence[str]) -> Html:
    """Curves of the most frequent labels, folded away: one fold per label."""
    sizes = {e.label: e.positives or 0 for item in readable for e in item.result.per_label if e.label in set(names)}
    chosen = set(sorted(sizes, key=lambda name: -sizes[name])[:MOST_LABELS])
    folds = []
    for name in (name for name in names if name in chosen):
        figures = []
        for item in readable:
            assert item.predictions is not None
            if name not in item.predictions.labels:
                continue
            rows_ = np.array([split == "test" for split in item.predictions.split], dtype=bool)
            column = item.predictions.labels.index(name)
            bins = label_bins(item.predictions.y_true[rows_, column], item.predictions.y_prob[rows_, column])
            drawn = reliability_chart(f"Reliability of {item.entry.name} for {name}", bins, item.entry.index)
            figures.append(tag("figure", drawn, tag("figcaption", item.entry.name)))
        folds.append(details(f"{name}: {sizes[name]:,} positives", tag("div", figures, class_="many")))
    fewer = f", the {MOST_LABELS} most frequent" if len(sizes) > MOST_LABELS else ""
    words = f"One label each{fewer}; Wilson intervals of 95 %, records taken as independent."
    return details("Reliability of single labels", tag("p", words, class_="soft small"), folds)
