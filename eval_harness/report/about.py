"""What a report says of its runs: data, machine, distance from the protocol, training.

Training curves are read from the folder `history` of a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_scripts.core.extent import RECORDS
from ecg_hub.errors import ResultError
from eval_harness.config.protocol import MODES
from eval_harness.figures.markup import Html, details, join, state, table, tag
from eval_harness.figures.svg import axis, chart, curve, horizontal, mark, series, vertical
from eval_harness.report.content import ReportRun
from eval_harness.results.extent import deviations_of, extent_of
from eval_harness.results.schema import Result, read_json
from eval_harness.results.scoring import STATISTICS_VERSION

if TYPE_CHECKING:
    from dataset_scripts.core.spec import ECGDataset

NOTICE = "Research software, not a medical device. Nothing on this page is a diagnosis or clinical advice."
STATES = (
    "Test set: clean = no declared pre-training corpus of the model holds this dataset; seen = one does, so the score "
    "is not one of unseen patients; training folds only = it read the training records of this dataset and not the "
    "test records, so the hospital and its devices are known to it; unknown = nothing, an unlisted corpus, or one that "
    "may hold it is declared."
)
READINGS = (
    "Macro AUROC is the mean over the labels with both outcomes on the test split. The published reading counts a "
    "label that cannot be evaluated as 0.5 in every resample, so its interval lies low; it is there to compare with "
    "published numbers only."
)


PAIRS = (
    "Runs are compared in pairs on the same resamples: of patients, where one has several test records. Two are "
    "distinguished when p (Holm), adjusted for all pairs of the task, is below 0.05; so of equal runs any two are "
    "distinguished on at most 5 % of tasks. As published: the unadjusted 95 % interval of the difference decides, and "
    "the best of several equal runs is then often separated (of eight on half of the tasks)."
)


def results_of(entries: Sequence[ReportRun]) -> list[Result]:
    """Return all results of the runs."""
    return [result for entry in entries for result in entry.run.results.values()]


def notices(entries: Sequence[ReportRun]) -> list[Html]:
    """Return what a reader must know before any number."""
    paragraphs = [tag("p", tag("strong", NOTICE), class_="notice")]
    results = results_of(entries)
    synthetic = [r for r in results if r.is_synthetic]
    if synthetic:
        share = (
            "All" if len(synthetic) == len([r for r in results if r.data]) else f"{len(synthetic)} of {len(results)}"
        )
        text = " results are on simulated ECGs of invented patients. They say nothing about any model."
        paragraphs.append(tag("p", tag("strong", "Synthetic data. "), f"{share}{text}", class_="notice"))
    parts = [r for r in results if extent_of(r).state in ("partial", "unknown")]
    if parts:
        text = f"{len(parts)} of {len(results)} results are not, or not shown to be, on all of the dataset's release: "
        shown = dict.fromkeys(f"{r.task} {deviations_of(r).get(RECORDS, 'other labels or folds')}" for r in parts)
        paragraphs.append(tag("p", tag("strong", "Part of a dataset. "), f"{text}{', '.join(shown)}.", class_="notice"))
    runs = [entry.run.run.settings for entry in entries]
    # Trained from scratch is what the mode says; a random encoder in any other mode is what a reader must know.
    models = [run.model for run in runs if run.mode != "scratch" or run.model.id.startswith("random:")]
    # By name or by origin: results of older versions state no origin.
    untrained = dict.fromkeys(model.id for model in models if "random" in (model.id.partition(":")[0], model.origin))
    if untrained:
        text = f"Not pre-trained (random weights): {', '.join(untrained)}."
        paragraphs.append(tag("p", text, class_="notice"))
    unverified = dict.fromkeys(model.id for model in models if model.origin == "unverified")
    if unverified:
        text = f"Unverified weights, nobody can tell which: {', '.join(unverified)}."
        paragraphs.append(tag("p", text, class_="notice"))
    return paragraphs


def run_table(entries: Sequence[ReportRun]) -> Html:
    """Return the runs with their marks: model, mode, protocol and size."""
    rows = []
    for entry in entries:
        settings = entry.run.run.settings
        weights = settings.model.weights_sha256
        rows.append(
            [
                tag("th", key(entry), entry.name, scope="row", class_="name"),
                tag("td", settings.mode, title=MODES.get(settings.mode)),
                str(settings.seed),
                _parameters(settings.model.parameters),
                settings.model.preset,
                settings.protocol,
                _deviations(entry),
                tag("span", weights[:12], class_="id", title=weights) if weights else "-",
                settings.model.revision or "-",
                tag("td", entry.run.run.created[:10], class_="name"),
            ]
        )
    head = [
        "run",
        "mode",
        "seed",
        "parameters",
        "preset",
        "protocol",
        "deviations",
        "weights",
        "revision",
        "begun (UTC)",
    ]
    modes = dict.fromkeys(entry.run.run.settings.mode for entry in entries)
    meanings = [tag("li", tag("b", mode), f": {MODES[mode]}") for mode in modes if mode in MODES]
    return join(
        [table(head, rows, caption="Runs; colour and mark are the same on the whole page"), tag("ul", meanings)]
    )


def key(entry: ReportRun) -> Html:
    """Return the mark of a run as a small picture beside its name."""
    return tag(
        "svg", mark(entry.index, 8, 8), viewBox="0 0 16 16", width=14, height=14, class_="key", aria_hidden="true"
    )


def legend(entries: Sequence[ReportRun]) -> Html:
    """Return the marks and names of runs."""
    return tag("ul", [tag("li", key(entry), entry.name) for entry in entries], class_="legend")


def data_table(entries: Sequence[ReportRun], datasets: Mapping[str, ECGDataset]) -> Html:
    """Return the data sets: records, licence, fingerprint, and whether each model has seen them."""
    rows: list[list[object]] = []
    by_data: dict[tuple[str, str], list[Result]] = {}
    for result in results_of(entries):
        if result.data is not None:
            by_data.setdefault((result.data.name, result.data.fingerprint), []).append(result)
    # By fingerprint as well: two copies of one dataset are two sets of records.
    for (name, print_), results in by_data.items():
        dataset = datasets.get(name)
        states: dict[str, list[str]] = {}
        for result in results:
            assert result.data is not None
            states.setdefault(result.data.contamination, [])
            if result.model.id not in states[result.data.contamination]:
                states[result.data.contamination].append(result.model.id)
        sizes = dict.fromkeys(_sizes(result) for result in results)
        licence = "-" if dataset is None else f"{dataset.licence} ({dataset.access})"
        seen = [tag("div", state(kind), f": {', '.join(models)}") for kind, models in states.items()]
        title = name if dataset is None else f"{dataset.title} ({name})"
        rows.append([title, "; ".join(sizes), tag("td", seen), licence, tag("span", print_, class_="id")])
    head = ["data set", "records: train / validation / test", "test set and models", "licence", "fingerprint"]
    cited = [tag("li", d.citation) for d in (datasets.get(name) for name, _ in by_data) if d is not None and d.citation]
    return join(
        [
            table(head, rows, caption="Data"),
            tag("p", STATES, class_="soft small"),
            details("Sources to cite", tag("ul", cited)) if cited else None,
        ]
    )


def environment_list(entries: Sequence[ReportRun]) -> Html:
    """Return versions and machine; several values where runs differ."""
    values: dict[str, dict[str, None]] = {}
    for entry in entries:
        for name, value in entry.run.run.environment.items():
            values.setdefault(name, {})[value] = None
    pairs = [part for name, given in values.items() for part in (tag("dt", name), tag("dd", ", ".join(given)))]
    return details("Environment", tag("dl", pairs))


def interval_words(entries: Sequence[ReportRun]) -> str:
    """Say what the intervals are."""
    described = dict.fromkeys(
        (values.get("confidence"), values.get("resamples"), values.get("resample_unit"))
        for values in (entry.run.run.settings.protocol_values for entry in entries)
    )
    kinds = [
        f"{100 * float(str(c)):g} % by {u}, that of the published reading from {n} resamples" for c, n, u in described
    ]
    results = [result for result in results_of(entries) if result.status == "done"]
    earlier = sum(result.statistics_version < STATISTICS_VERSION for result in results)
    older = f" Those of {earlier} of {len(results)} results were made by an earlier method." if earlier else ""
    return (
        f"Intervals in brackets: {'; '.join(kinds)}. They show the chance of drawing these test records, not that of "
        f"another training run.{older}"
    )


def _deviations(entry: ReportRun) -> str:
    texts = dict.fromkeys(
        f"{name}={value}" for result in entry.run.results.values() for name, value in deviations_of(result).items()
    )
    return ", ".join(texts) or "none"


def _sizes(result: Result) -> str:
    if result.data is None:
        return "-"
    records = result.data.records
    return f"{records.train:,} / {records.validation:,} / {records.test:,}"


def _parameters(number: int | None) -> str:
    if number is None:
        return "-"
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number:,}"


@dataclass(frozen=True)
class History:
    """The epochs of one training run.

    Attributes:
        entry: the run it belongs to.
        epochs: numbers of the epochs, from 1.
        loss: mean training loss; NaN where it was not a number.
        validation: score on validation that chose the epoch, higher is better; NaN where undefined.
        best: the epoch whose weights were kept, or None.
    """

    entry: ReportRun
    epochs: tuple[int, ...]
    loss: tuple[float, ...]
    validation: tuple[float, ...]
    best: int | None


def read_history(entry: ReportRun, training_run: str) -> History | None:
    """Read the history of a training run; None where there is none or it cannot be read."""
    path = Path(entry.run.folder) / "history" / f"{training_run}.json"
    try:
        content = read_json(path)
        steps = [step for step in content["history"] if isinstance(step["epoch"], int)]
        best = content.get("best_epoch")
        return History(
            entry,
            tuple(step["epoch"] for step in steps),
            tuple(_value(step.get("loss")) for step in steps),
            tuple(_value(step.get("validation")) for step in steps),
            best if isinstance(best, int) else None,
        )
    # Curves only illustrate: a history that is damaged or of another version must not stop the report.
    except (ResultError, ValueError, KeyError, TypeError, AttributeError):
        return None


def training_charts(name: str, histories: Sequence[History], score_title: str) -> Html:
    """Return loss and validation curves of one training run of several models, and the numbers as a table."""
    charts = [
        tag("figure", _curves(f"{name}: training loss by epoch", "training loss", histories, "loss")),
        tag("figure", _curves(f"{name}: {score_title} by epoch", score_title, histories, "validation")),
    ]
    rows = [
        [h.entry.name, f"{epoch}{' (kept)' if epoch == h.best else ''}", _text(loss), _text(value)]
        for h in histories
        for epoch, loss, value in zip(h.epochs, h.loss, h.validation, strict=True)
        # A hundred epochs of ten models would be a thousand rows; the curve shows the others.
        if len(h.epochs) <= 10 or epoch in (1, h.best, h.epochs[-1]) or epoch % 10 == 0
    ]
    numbers = table(["model, mode", "epoch", "training loss", score_title], rows, caption=f"Training of {name}")
    return join(
        [tag("div", charts, class_="many pair"), details("Numbers: first, every tenth, kept and last epoch", numbers)]
    )


def _curves(title: str, axis_title: str, histories: Sequence[History], field: str) -> Html:
    left, right, top, bottom = 56.0, 372.0, 10.0, 210.0
    last = max((history.epochs[-1] for history in histories if history.epochs), default=1)
    # One epoch alone would make an axis without length.
    across = axis([1.0, float(max(last, 2))], left, right, room=0.0, whole=True)
    values = [value for history in histories for value in getattr(history, field)]
    upward = axis(values, bottom, top, count=5)
    parts: list[object] = [*horizontal(across, top, bottom, "epoch"), *vertical(upward, left, right, axis_title)]
    ends = []
    for history in histories:
        index = history.entry.index
        points = [
            (across(float(epoch)), upward(value), epoch, value)
            for epoch, value in zip(history.epochs, getattr(history, field), strict=True)
            if math.isfinite(value)
        ]
        if not points:
            continue
        parts.append(curve([(x, y) for x, y, _, _ in points], f"curve {series(index)}"))
        for x, y, epoch, value in points:
            if epoch == history.best or (history.best is None and epoch == history.epochs[-1]):
                hint = f"{history.entry.name}: epoch {epoch}, {value:.4f}"
                parts.append(mark(index, x, y, title=hint))
                ends.append(hint)
    return chart(384, bottom + 44, title, f"Marks: the epoch that was kept. {'; '.join(ends)}.", *parts)


def _value(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
