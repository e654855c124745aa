"""Reliability curves: how often something happened, by what was predicted, in 15 bins, with intervals and counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval_harness.figures.markup import Html, details, join, table, tag
from eval_harness.figures.svg import Axis, chart, curve, fixed_axis, horizontal, label, line, mark, series, vertical
from eval_harness.metrics.calibration import BINS, probability_bins
from eval_harness.report.content import Scored, TaskContent, resampling
from eval_harness.results.predictions import Predictions
from eval_harness.results.schema import Estimate
from eval_harness.results.scoring import RESAMPLE_SEED, ResampleUnit, patient_groups
from eval_harness.results.summary import score_text
from eval_harness.stats.bootstrap import bootstrap_counts
from eval_harness.stats.intervals import share_ends
from eval_harness.stats.resampled import interval

LEAST = 10
"""Bins with fewer entries are not drawn; their counts are in the table."""

BLOCK = 32
"""Labels that are put into bins at a time."""


@dataclass(frozen=True)
class Bin:
    """One bin.

    Attributes:
        start, stop: of the probabilities.
        entries: predictions in it.
        positives: how many of them happened.
        predicted: mean probability; NaN where empty.
        low, high: interval of the observed frequency; NaN where none is defined.
    """

    start: float
    stop: float
    entries: int
    positives: int
    predicted: float
    low: float
    high: float

    @property
    def observed(self) -> float:
        """Observed frequency; NaN where empty."""
        return self.positives / self.entries if self.entries else math.nan

    @property
    def shown(self) -> bool:
        """Whether it has enough entries and an interval."""
        return self.entries >= LEAST and not math.isnan(self.low)


def pooled_bins(
    test: Predictions, columns: Sequence[int], resamples: int, unit: ResampleUnit, confidence: float
) -> list[Bin]:
    """Return the bins over all labels of a task; each record enters once per label.

    Intervals: percentiles of bootstrap resamples of records (or patients), because the labels of a record go together;
    or Wilson's where that is wider, because a bin in which nothing happened is the same in every resample.
    """
    true, prob = test.y_true[:, columns], test.y_prob[:, columns]
    tables = _per_record(true, prob)
    counts = bootstrap_counts(len(true), resamples, RESAMPLE_SEED, patient_groups(test) if unit == "patient" else None)
    # Two matrix products over all resamples; one by one this would take a thousand passes.
    weights = np.ascontiguousarray(counts.T, dtype=np.float64)
    entries, positives = weights @ tables[0], weights @ tables[1]
    rates = np.divide(positives, entries, out=np.full(entries.shape, np.nan), where=entries > 0)
    totals = [part.sum(axis=0) for part in tables]
    points = np.divide(totals[1], totals[0], out=np.full(BINS, np.nan), where=totals[0] > 0)
    ends = []
    for b in range(BINS):
        drawn = interval(float(points[b]), rates[:, b], confidence=confidence)
        low, high = wilson(int(totals[1][b]), int(totals[0][b]), confidence)
        # fmin and fmax, which ignore the NaN of a bin that many resamples leave empty. The interval of resamples is
        # laid around its point, and may so leave the range of a share, which Wilson's never does.
        ends.append((float(np.fmin(max(drawn.low, 0.0), low)), float(np.fmax(min(drawn.high, 1.0), high))))
    return [_bin(b, totals, ends[b]) for b in range(BINS)]


def label_bins(true: NDArray[np.float32], prob: NDArray[np.float32]) -> list[Bin]:
    """The bins of one label with Wilson's intervals (JASA 22, 1927); true (records,) 0, 1 or NaN (left out)."""
    totals = [part.sum(axis=0) for part in _per_record(true[:, None], prob[:, None])]
    return [_bin(b, totals, wilson(int(totals[1][b]), int(totals[0][b]))) for b in range(BINS)]


def wilson(positives: int, entries: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share; NaN for no entries."""
    if entries == 0:
        return math.nan, math.nan
    ends = share_ends(np.array([positives / entries]), np.array([float(entries)]), confidence)
    return float(ends.low[0]), float(ends.high[0])


def reliability_chart(title: str, bins: Sequence[Bin], index: int) -> Html:
    """Return a square chart of observed against predicted, and below it how many entries each bin has."""
    left, right, top, bottom = 48.0, 268.0, 8.0, 228.0
    across = fixed_axis((0, 0.2, 0.4, 0.6, 0.8, 1), left, right)
    upward = fixed_axis((0, 0.2, 0.4, 0.6, 0.8, 1), bottom, top)
    parts: list[object] = [
        *horizontal(across, top, bottom, "predicted probability"),
        *vertical(upward, left, right, "observed frequency"),
        line(left, bottom, right, top, "chance"),
    ]
    shown = [item for item in bins if item.shown]
    if len(shown) > 1:
        places = [(across(item.predicted), upward(item.observed)) for item in shown]
        parts.append(curve(places, f"curve {series(index)}", opacity=0.55))
    for item in shown:
        x = across(item.predicted)
        parts.append(line(x, upward(item.low), x, upward(item.high), f"whisker {series(index)}"))
        parts.append(mark(index, x, upward(item.observed), size=3.6, title=_words(item)))
    parts += _histogram(bins, across, bottom + 44, 40.0)
    described = "; ".join(_words(item) for item in shown) or "no bin with ten entries or more"
    return chart(284, bottom + 104, title, f"Observed frequency by predicted probability. {described}.", *parts)


def rows(bins: Sequence[Bin]) -> list[list[str]]:
    """Return the bins that are not empty as cells: range, entries, positives, mean predicted, observed, interval."""
    return [
        [
            f"{item.start:.3f}-{item.stop:.3f}",
            f"{item.entries:,}",
            f"{item.positives:,}",
            f"{item.predicted:.3f}",
            f"{item.observed:.3f}",
            "undefined" if math.isnan(item.low) else f"[{item.low:.3f}, {item.high:.3f}]",
        ]
        for item in bins
        if item.entries
    ]


def _histogram(bins: Sequence[Bin], across: Axis, top: float, height: float) -> list[Html]:
    most = max((item.entries for item in bins), default=0) or 1
    parts = []
    for item in bins:
        if item.entries:
            # A bin of a few entries would vanish beside one of many thousands.
            tall = max(height * item.entries / most, 1.0)
            inner = tag("title", f"{item.start:.2f} to {item.stop:.2f}: {item.entries:,} entries")
            width = across(item.stop) - across(item.start) - 1
            parts.append(
                tag("rect", inner, x=across(item.start), y=top + height - tall, width=width, height=tall, class_="bar")
            )
    parts.append(line(across(0.0), top + height, across(1.0), top + height, "grid"))
    return [*parts, label(across(0.0), top + height + 14, f"entries per bin, at most {most:,}", "tick")]


def _per_record(true: NDArray[np.float32], prob: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Entries, positives and sum of probabilities of every record in every bin, (records, bins) each."""
    totals = [np.zeros(len(true) * BINS) for _ in range(3)]
    for first in range(0, true.shape[1], BLOCK):
        part, scores = true[:, first : first + BLOCK], prob[:, first : first + BLOCK]
        has_target = ~np.isnan(part)
        # Record and bin as one number, so that one bincount fills the whole table.
        cells = (np.arange(len(true))[:, None] * BINS + probability_bins(scores))[has_target]
        weights = (None, part[has_target].astype(np.float64), scores[has_target].astype(np.float64))
        for total, weight in zip(totals, weights, strict=True):
            total += np.bincount(cells, weight, total.size)
    return [total.reshape(len(true), BINS) for total in totals]


def _bin(number: int, totals: Sequence[NDArray[np.float64]], ends: tuple[float, float]) -> Bin:
    entries, positives, total = (float(part[number]) for part in totals)
    predicted = total / entries if entries else math.nan
    return Bin(number / BINS, (number + 1) / BINS, int(entries), int(positives), predicted, *ends)


def _words(item: Bin) -> str:
    return (
        f"predicted {item.predicted:.2f}, observed {item.observed:.2f} [{item.low:.2f}, {item.high:.2f}], "
        f"{item.positives:,} of {item.entries:,}"
    )


MOST_LABELS = 12
MOST_MODELS = 24
"""Models whose curves are drawn: of hundreds the page would be too large for a browser."""
HEAD = ["predicted", "entries", "positives", "mean predicted", "observed", "interval"]


def calibration_part(content: TaskContent, names: Sequence[str]) -> Html:
    """Return the reliability curves of a task; a sentence where there are none."""
    if content.regression:
        return tag("p", "Reliability curves are for probabilities; this task predicts values.", class_="soft")
    leading = {item.entry.index for item in content.leading(MOST_MODELS)}
    readable = [item for item in content.scored if item.predictions is not None and item.entry.index in leading]
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
    about = (
        f"All labels pooled, 15 bins of equal width; bars: predictions in each bin. Bins with fewer than {LEAST} "
        "are not drawn. Dashed: perfect agreement. Intervals: resampling of whole records, or Wilson where wider."
    )
    if len(content.scored) > MOST_MODELS:
        about = f"The {MOST_MODELS} best of {len(content.scored):,} models. {about}"
    return join(
        [
            tag("p", about, class_="soft small"),
            tag("div", figures, class_="many"),
            details("Bins as tables", numbers),
            _per_label(content, readable, names),
        ]
    )


def _pooled(item: Scored) -> list[Bin]:
    assert item.predictions is not None
    test = item.predictions.part("test")
    # By name: a task may score some of the outputs of its run, in an order of its own.
    columns = [test.labels.index(entry.label) for entry in item.result.per_label]
    number, unit, confidence = resampling([item])
    return pooled_bins(test, columns, number, unit, confidence)


def _per_label(content: TaskContent, readable: Sequence[Scored], names: Sequence[str]) -> Html:
    """Curves of the most frequent labels, folded away: one fold per label."""
    # Runs may have been scored on other parts of the data.
    sizes: dict[str, set[int]] = {}
    for entry in (entry for item in readable for entry in item.result.per_label if entry.label in set(names)):
        sizes.setdefault(entry.label, set()).add(entry.positives or 0)
    chosen = set(sorted(sizes, key=lambda name: -max(sizes[name]))[:MOST_LABELS])
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
        positives = " to ".join(f"{size:,}" for size in sorted({min(sizes[name]), max(sizes[name])}))
        folds.append(details(f"{name}: {positives} positives", tag("div", figures, class_="many")))
    fewer = f", the {MOST_LABELS} most frequent" if len(sizes) > MOST_LABELS else ""
    about = f"One label each{fewer}; Wilson intervals of 95 %, records taken as independent."
    return details("Reliability of single labels", tag("p", about, class_="soft small"), folds)
