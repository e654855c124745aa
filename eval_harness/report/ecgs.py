"""The ECGs of a report: whether they may be shown, where they are, and their pictures on ECG paper."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_hub.errors import EcgHubError
from eval_harness.report.content import Scored, TaskContent
from eval_harness.report.markup import Html, tag
from eval_harness.report.wrongest import Example, choose

if TYPE_CHECKING:
    from eval_harness.records import Datasets

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
        words = f"Of {best.entry.name}, whose point is the best here: {way}, by score. Labels are those of the dataset."
        return Html(tag("p", words, class_="soft small") + "".join(figures))

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
        from dataset_scripts.signals import SignalReader

        assert best.result.data is not None
        assert content.dataset is not None
        name = best.result.data.name
        prepared = self._datasets(best).open(name)
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
        from eval_harness.records import Datasets
        from eval_harness.reproduce import options_of

        run = best.entry.run.run
        mock = bool(run.settings.data.get("mock"))
        known = (str(run.settings.protocol_values.get("min_count")), mock)
        if known not in self._opened:
            options = options_of(run, self.data_root, Path(), **self.options)
            self._opened[known] = Datasets(options)
        return self._opened[known]


def _figure(content: TaskContent, example: Example, signal: Any, rate: float, unit: str, synthetic: bool) -> Html:
    assert content.dataset is not None
    person = ", ".join(
        part for part in (None if example.age is None else f"{example.age:.3g} years", example.sex) if part
    )
    title = f"{content.dataset.title}, record {example.record_id}"
    true = ", ".join(
        f"{name} ({words})" if (words := content.label_title(name)) != name else name for name in example.true_labels
    )
    labels = "" if content.regression else f"labels of this task: {true or 'none'}"
    lines = [f"{person or 'age and sex unknown'}{'   SYNTHETIC: simulated signal' if synthetic else ''}", labels]
    picture = picture_data(signal, rate, title, [line for line in lines if line], unit)
    alternative = f"Twelve-lead ECG on paper, 25 mm/s, 10 mm/mV. {title}. {lines[0]}. {labels}"
    image = tag("img", src=picture, alt=alternative, loading="lazy", decoding="async")
    frame = tag("div", image, class_="scroll ecg", tabindex="0", role="region", aria_label=title)
    return tag("figure", tag("figcaption", tag("b", f"Record {example.record_id}. "), example.words), frame)


def picture_data(signal: Any, rate: float, title: str, lines: Sequence[str], unit: str) -> str:
    """Draw a recording on ECG paper and return it as the data URL of a PNG of few colours.

    Args:
        signal: (samples, 12) millivolt, NaN = missing.
        rate: Hz.
        title: first line of the heading.
        lines: further lines.
        unit: "mV" or "zscore".
    """
    from PIL import Image

    from dataset_scripts.plot import plot_ecg

    drawn, small = io.BytesIO(), io.BytesIO()
    plot_ecg(signal, rate, title=title, lines=lines, unit=unit).savefig(drawn, format="png", dpi=DPI)
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(COLOURS).save(small, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(small.getvalue()).decode()
