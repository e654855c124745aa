"""The ECGs that a run scored most wrongly: which, whether they may be shown, and their pictures on ECG paper."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import EcgHubError
from eval_harness.figures.markup import Html, tag
from eval_harness.report.content import Scored, TaskContent
from eval_harness.results.predictions import Predictions

if TYPE_CHECKING:
    from eval_harness.data.records import Datasets


@dataclass(frozen=True)
class Example:
    """One record and why it is shown.

    Attributes:
        record_id: the dataset's own name.
        label: label or target that was scored wrongly.
        sentence: what was predicted and what is true.
        true_labels: the record's labels of this task; () for regression.
        age, sex: None where unknown.
    """

    record_id: str
    label: str
    sentence: str
    true_labels: tuple[str, ...]
    age: float | None
    sex: str | None


def choose(content: TaskContent, item: Scored, most: int) -> list[Example]:
    """Return the examples of a task, each record once.

    Classes: labels by rising AUROC; of each in turn the negative record with the highest score and the positive one
    with the lowest, then the labels again. Regression: targets by falling error; of each in turn the largest
    overestimate and the largest underestimate.
    """
    if item.predictions is None or most < 1:
        return []
    test = item.predictions.part("test")
    queues = [
        (label, iter(rows))
        for label in _worst(content, item)
        for rows in _errors(content, test, test.labels.index(label))
    ]
    # Queues in turn, so that one bad label does not fill all places, and no record is shown twice.
    by_row: dict[int, Example] = {}
    while queues and len(by_row) < most:
        left = []
        for label, rows in queues:
            row = next((row for row in rows if row not in by_row), None)
            if row is None:
                continue
            left.append((label, rows))
            if len(by_row) < most:
                by_row[row] = _example(content, item, test, label, row)
        queues = left
    return list(by_row.values())


def _worst(content: TaskContent, item: Scored) -> list[str]:
    """Labels with an interval (all that have a point where none has one), worst first."""
    # The worst AUROC is often one of two positives by chance: labels with an interval say more.
    points, certain = {}, set()
    for entry in item.result.per_label:
        estimate = entry.mae if content.regression else entry.auroc
        if estimate is not None and estimate.point is not None:
            points[entry.label] = -estimate.point if content.regression else estimate.point
            certain |= {entry.label} if estimate.low is not None else set()
    return sorted(certain or points, key=lambda label: (points[label], label))


def _errors(content: TaskContent, test: Predictions, column: int) -> tuple[list[int], list[int]]:
    """Rows that were scored too high and too low, the worst first."""
    true, score = test.y_true[:, column], test.y_prob[:, column].astype(np.float64)
    if content.regression:
        error = score - true
        high, low = np.flatnonzero(error > 0), np.flatnonzero(error < 0)
    else:
        error = score
        high, low = np.flatnonzero(true == 0), np.flatnonzero(true == 1)
    return _sorted(high, -error), _sorted(low, error)


def _sorted(rows: NDArray[np.intp], by: NDArray[np.float64]) -> list[int]:
    # Stable: equal scores keep the order of the records, and the same report shows the same ECGs.
    return [int(row) for row in rows[np.argsort(by[rows], kind="stable")]]


def _example(content: TaskContent, item: Scored, test: Predictions, label: str, row: int) -> Example:
    column = test.labels.index(label)
    text = _value_words(test, label, row) if content.regression else _class_words(item, test, label, row)
    scored = [entry.label for entry in item.result.per_label]
    true = () if content.regression else tuple(n for n in scored if test.y_true[row, test.labels.index(n)] == 1)
    age = test.age[row] if test.age is not None else None
    sex = test.sex[row] if test.sex is not None else None
    assert not np.isnan(test.y_true[row, column])
    return Example(test.record_id[row], label, text, true, None if age is None or np.isnan(age) else age, sex)


def _class_words(item: Scored, test: Predictions, label: str, row: int) -> str:
    column = test.labels.index(label)
    true, score = test.y_true[:, column], test.y_prob[:, column]
    threshold = next((e.threshold for e in item.result.per_label if e.label == label), None)
    against = "" if threshold is None else f" (threshold {threshold:.3f})"
    if true[row] == 0:
        passed = int((score[true == 1] < score[row]).sum())
        return (
            f"{label} scored {score[row]:.3f}{against}, but the record is not labelled so; higher than {passed:,} "
            f"of the {int((true == 1).sum()):,} records that are."
        )
    passed = int((score[true == 0] > score[row]).sum())
    return (
        f"{label} scored only {score[row]:.3f}{against}, but the record is labelled so; lower than {passed:,} of the "
        f"{int((true == 0).sum()):,} records that are not."
    )


def _value_words(test: Predictions, label: str, row: int) -> str:
    column = test.labels.index(label)
    true, score = float(test.y_true[row, column]), float(test.y_prob[row, column])
    error = score - true
    which = "too high" if error > 0 else "too low"
    clinical = ""
    if label in test.scales:
        deviation, unit = test.scales[label]
        clinical = f", {abs(error) * deviation:.3g} {unit}"
    return f"{label} predicted {score:.2f}, true {true:.2f} (z-scores): {abs(error):.2f}{clinical} {which}."


DPI = 6 * 25.4
"""Six pixels a millimetre: the grid falls on whole pixels."""

COLOURS = 16
"""Of the pictures: paper, grid and ink with their in-betweens; a quarter of the size of full colour."""

SECONDS = 10.0


@dataclass
class EcgSource:
    """Draws examples from the datasets below a data root; a dataset is opened once.

    Attributes:
        data_root: as in `ecg-eval run`; "" to show none.
        most: examples per task; 0 to show none.
        options: further fields of `RunOptions` (cache_dir, include).
        drawn: how many pictures were made.
    """

    data_root: str = ""
    most: int = 6
    options: dict[str, Any] = field(default_factory=dict)
    drawn: int = 0
    _opened: dict[tuple[str, bool], Datasets] = field(default_factory=dict)
    _rows: dict[int, dict[str, int]] = field(default_factory=dict)

    def part(self, content: TaskContent) -> Html:
        """Return the examples of a task, or one sentence that says why there are none."""
        best = content.best()
        refusal = self._refusal(content, best)
        if refusal or best is None:
            return tag("p", refusal, class_="soft")
        try:
            figures = self._figures(content, best)
        except EcgHubError as error:
            return tag("p", f"No ECGs are shown: {error}", class_="soft")
        if not figures:
            return tag("p", "No ECGs are shown: no record was scored wrongly.", class_="soft")
        way = (
            "largest errors of the worst targets"
            if content.regression
            else "false alarms and misses of the worst labels"
        )
        about = f"Of {best.entry.name}, whose point is the best here: {way}, by score. Labels are those of the dataset."
        return Html(tag("p", about, class_="soft small") + "".join(figures))

    def _refusal(self, content: TaskContent, best: Scored | None) -> str:
        """Why no ECG of a task is shown; "" where some may be."""
        if self.most < 1:
            return "No ECGs are shown: --examples 0."
        if best is None or best.result.data is None:
            return "No ECGs are shown: no run has finished this task."
        if content.dataset is None:
            name = best.result.data.name
            return f"No ECGs are shown: the licence of {name} is not known here; pass its file by --include."
        if not content.dataset.redistribution:
            return (
                f"No ECGs are shown: the licence of {content.dataset.title} ({content.dataset.licence}) does not allow "
                "passing on its records."
            )
        if not self.data_root:
            return "No ECGs are shown: --data-root was not given."
        return "" if best.predictions is not None else "No ECGs are shown: the predictions cannot be read."

    def _figures(self, content: TaskContent, best: Scored) -> list[Html]:
        from dataset_scripts.reader import SignalReader

        assert best.result.data is not None
        assert content.dataset is not None
        name = best.result.data.name
        prepared = self._datasets(best).open(name)
        # Under the same name other records would be drawn beside scores that are not theirs.
        if prepared.fingerprint != best.result.data.fingerprint:
            return [
                tag(
                    "p",
                    f"No ECGs are shown: the data of {name} below --data-root are not those that were scored "
                    f"(fingerprint {prepared.fingerprint}, scored {best.result.data.fingerprint}).",
                    class_="soft",
                )
            ]
        split = prepared.splits["test"]
        if id(prepared) not in self._rows:
            self._rows[id(prepared)] = {record: row for row, record in enumerate(split["record_id"])}
        rows = self._rows[id(prepared)]
        # As recorded: what the protocol repairs at reading is what a reader of the ECG may want to see.
        reader = SignalReader(split, repaired=False)
        synthetic = bool(prepared.deviations.get("synthetic"))
        figures = []
        for example in choose(content, best, self.most):
            row = rows[example.record_id]
            length = min(int(reader.lengths[row]), round(SECONDS * prepared.sampling_rate))
            signal = reader.window_mv(row, 0, length)
            figures.append(_figure(content, example, signal, prepared.sampling_rate, reader.unit, synthetic))
            self.drawn += 1
        return figures

    def _datasets(self, best: Scored) -> Datasets:
        """The datasets as the run opened them: its release and thresholds."""
        from eval_harness.data.records import Datasets
        from eval_harness.runner.reproduce import options_of

        run = best.entry.run.run
        mock = bool(run.settings.data.get("mock"))
        # Labels and folds depend on it, so runs with another value need the data opened once more.
        key = (str(run.settings.protocol_values.get("min_count")), mock)
        if key not in self._opened:
            options = options_of(run, self.data_root, Path(), **self.options)
            self._opened[key] = Datasets(options)
        return self._opened[key]


def _figure(content: TaskContent, example: Example, signal: Any, rate: float, unit: str, synthetic: bool) -> Html:
    from dataset_scripts.tools.plot import scale_words

    assert content.dataset is not None
    person = ", ".join(
        part for part in (None if example.age is None else f"{example.age:.3g} years", example.sex) if part
    )
    title = f"{content.dataset.title}, record {example.record_id}"
    true = ", ".join(
        f"{name} ({meaning})" if (meaning := content.label_title(name)) != name else name
        for name in example.true_labels
    )
    labels = "" if content.regression else f"labels of this task: {true or 'none'}"
    lines = [f"{person or 'age and sex unknown'}{'   SYNTHETIC: simulated signal' if synthetic else ''}", labels]
    picture = picture_data(signal, rate, title, [line for line in lines if line], unit)
    alternative = f"Twelve-lead ECG on paper, 25 mm/s, {scale_words(unit)}. {title}. {lines[0]}. {labels}"
    image = tag("img", src=picture, alt=alternative, loading="lazy", decoding="async")
    frame = tag("div", image, class_="scroll ecg", tabindex="0", role="region", aria_label=title)
    return tag("figure", tag("figcaption", tag("b", f"Record {example.record_id}. "), example.sentence), frame)


def picture_data(signal: Any, rate: float, title: str, lines: Sequence[str], unit: str) -> str:
    """A recording (samples, 12) in mV or z-scores, NaN = missing, on ECG paper: data URL of a PNG of few colours."""
    from PIL import Image

    from dataset_scripts.tools.plot import plot_ecg

    drawn, small = io.BytesIO(), io.BytesIO()
    plot_ecg(signal, rate, title=title, lines=lines, unit=unit).savefig(drawn, format="png", dpi=DPI)
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(COLOURS).save(small, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(small.getvalue()).decode()
