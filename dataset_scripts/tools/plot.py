"""Twelve leads on ECG paper: 25 mm/s, 10 mm/mV, a grid of 1 and 5 mm, at true size when printed without scaling.

Three rows of four leads, each lead for a quarter of the time, lead II below over the whole time, a calibration pulse of
1 mV and 0.2 s before each row. Needs matplotlib (extra `plot`), which is imported on first use.

    from dataset_scripts.tools.plot import plot_ecg
    plot_ecg(millivolt, sampling_rate=500, title="record 1").savefig("record.pdf")
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.core.labels import Seen, from_headers, label_frame
from dataset_scripts.core.shards import read_record
from dataset_scripts.core.spec import ECGDataset, PathLike, RawRecord, RecordExcluded, Scan, Signal, is_mock
from ecg_hub.errors import DataError, InputError, did_you_mean
from ecg_hub.input.samples import MISSING
from ecg_hub.leads import LEADS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NEIGHBOURS = 12


@dataclass(frozen=True)
class Record:
    """One record.

    Attributes:
        record_id: the dataset's own name of it.
        values: (samples, 12) float32, NaN = missing; millivolt, or without unit where `unit` is "zscore".
        sampling_rate: Hz.
        unit: "mV" or "zscore".
        patient_id, age, sex: None where unknown; age in years.
        labels: label column -> what each of the record's labels means; {} where they cannot be derived.
        synthetic: whether the folder is a mock tree.
    """

    record_id: str
    values: np.ndarray
    sampling_rate: int
    unit: str
    patient_id: str | None
    age: float | None
    sex: str | None
    labels: Mapping[str, Sequence[str]]
    synthetic: bool


def read_one(dataset: ECGDataset, data_dir: PathLike, record_id: str, sampling_rate: int | None = None) -> Record:
    """Read one record of a raw folder by its name; without a sampling rate (Hz) at the published one."""
    rate = dataset.check_rate(sampling_rate)
    folder = dataset.check_folder(data_dir, rate)
    scan = dataset.scan(folder, rate)
    row = _find(dataset, scan, record_id)
    record = next(scan.records(row, row + 1))
    signal = _read(dataset, folder, record)
    # What the record's own file says wins over the table, as in the store.
    person = {"patient_id": record.patient_id, "age": record.age, "sex": record.sex, **signal.metadata}
    return Record(
        record_id=record.record_id,
        values=to_physical(signal, dataset.unit),
        sampling_rate=signal.sampling_rate,
        unit=dataset.unit,
        patient_id=person["patient_id"],
        age=person["age"],
        sex=person["sex"],
        labels=_labels(dataset, folder, scan, row, signal, rate),
        synthetic=is_mock(folder),
    )


def to_physical(signal: Signal, unit: str) -> np.ndarray:
    """Return samples (samples, 12) as float32 millivolt with NaN where missing; z-scored ones as they are."""
    if unit == "zscore":
        return np.asarray(signal.samples, dtype=np.float32)
    # In 64 bits: int16 minus its baseline could wrap around.
    millivolt = (signal.samples.astype(np.float64) - signal.baseline) * signal.gain_uv / 1000.0
    millivolt[signal.samples == MISSING] = np.nan
    return millivolt.astype(np.float32)


def _find(dataset: ECGDataset, scan: Scan, record_id: str) -> int:
    """Return the row of a record; leading zeros may be left out or added."""
    ids = [str(name) for name in scan.table["record_id"]]
    for wanted in (record_id, record_id.lstrip("0") or "0"):
        if wanted in ids:
            return ids.index(wanted)
    for rejected in (*scan.lost, *scan.excluded):
        if rejected.record_id == record_id:
            raise DataError(f"Record {record_id!r} of {dataset.title} is not used: {rejected.reason}.")
    first = ", ".join(ids[:3])
    raise DataError(
        f"{dataset.title} has no record {record_id!r} in this folder.{did_you_mean(record_id, ids)} "
        f"Its {len(ids):,} records are named like {first or 'none'}."
    )


def _read(dataset: ECGDataset, folder: Path, record: RawRecord) -> Signal:
    try:
        return read_record(dataset, folder, record)
    except RecordExcluded as rule:
        raise DataError(f"Record {record.record_id!r} of {dataset.title} is left out by rule: {rule}.") from None
    except DataError as error:
        raise DataError(f"Record {record.record_id!r} ({record.file}) cannot be read: {error}") from error


def _labels(dataset: ECGDataset, folder: Path, scan: Scan, row: int, signal: Signal, rate: int) -> dict[str, list[str]]:
    """Return the record's labels in words, rare ones included; {} where they cannot be derived from what is here."""
    if from_headers(dataset, scan):  # labels are in the records' own files: fold rules need a few others beside it
        rows, seen = _neighbours(dataset, folder, scan, row, signal)
    else:
        rows, seen = list(range(len(scan))), None
    frame = label_frame(dataset, scan.table.iloc[rows], rate, seen)
    try:
        table = dataset.label_table(frame, folder, dict(dataset.thresholds))
    except DataError:
        return {}
    at = rows.index(row)
    return {
        column: [dataset.label_title(column, label) for label in dict.fromkeys(lists[at])]
        for column, lists in table.labels.items()
    }


def _neighbours(
    dataset: ECGDataset, folder: Path, scan: Scan, row: int, signal: Signal
) -> tuple[list[int], list[Seen]]:
    """Return the record's row and some others, spread over the table, that can be read."""
    rows, seen = [], []
    for number in sorted({row, *np.linspace(0, len(scan) - 1, NEIGHBOURS).astype(int).tolist()}):
        try:
            other = signal if number == row else _read(dataset, folder, next(scan.records(number, number + 1)))
        except DataError:
            continue
        rows.append(number)
        seen.append(Seen(len(other.samples), other.metadata))
    return rows, seen


MM_PER_SECOND = 25.0
MM_PER_MILLIVOLT = 10.0
MM_PER_DEVIATION = 5.0
"""For z-scored data, whose deflections are larger numbers."""

LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
RHYTHM_LEAD = "II"
PULSE_SECONDS = 0.2
LEAST_SECONDS = 1.0

SCALES = {"mV": MM_PER_MILLIVOLT, "zscore": MM_PER_DEVIATION}

MM_PER_INCH = 25.4
MARGIN_MM = 10.0
PULSE_ROOM_MM = 10.0
HEADER_MM = 24.0
FOOTER_MM = 9.0
ROW_MM = 25.0
"""The least height of a row; rows grow in steps of 5 mm where deflections need it."""

MOST_ROW_MM = 60.0
MOST_GRID_MM = 175.0
"""With heading and footer, the height of A4 across."""

HEADROOM_MM = 2.5
DPI = 200

MINOR, MAJOR, INK = "#f5d0cc", "#e59a93", "#101010"


@dataclass(frozen=True)
class Sheet:
    """Where things lie on the page, in mm from the lower left corner of the paper.

    Attributes:
        width, height: of the page.
        left: where the signals begin.
        baselines: zero line of each row, from the top.
        bottom, top: of the grid.
        right: where the grid ends.
    """

    width: float
    height: float
    left: float
    baselines: tuple[float, ...]
    bottom: float
    top: float
    right: float


def plot_ecg(
    values: np.ndarray,
    sampling_rate: float,
    *,
    title: str = "",
    lines: Sequence[str] = (),
    start: float = 0.0,
    seconds: float = 10.0,
    unit: str = "mV",
    footnote: str = "",
) -> Figure:
    """Draw a recording and return the matplotlib figure, whose size is that of the paper.

    Args:
        values: (samples, 12), leads in the order I, II, III, aVR, aVL, aVF, V1 to V6; millivolt, NaN = missing.
        sampling_rate: Hz.
        title: first line of the heading.
        lines: further lines of the heading, at most three.
        start: first second to show.
        seconds: how much to show; of a shorter recording the leads share what there is, and the rest of the paper stays
            empty.
        unit: "mV", or "zscore" for data without a physical unit, drawn as 5 mm per standard deviation and said so.
        footnote: added to the line below the paper.
    """
    if unit not in SCALES:
        raise InputError(f"unit={unit!r}; known: {', '.join(SCALES)}.")
    scale = SCALES[unit]
    section = _section(values, sampling_rate, start, seconds) * scale
    figure_class, lines_class, rectangle, halo = _matplotlib()
    drawn = min(seconds, len(section) / sampling_rate)
    # All leads are shown, however short the recording: a part of a second is all that has no room for their names.
    shared = max(drawn, LEAST_SECONDS)
    sheet = _sheet(section, sampling_rate, seconds, shared)
    figure = figure_class(figsize=(sheet.width / MM_PER_INCH, sheet.height / MM_PER_INCH), dpi=DPI)
    figure.set_facecolor("white")
    # The axes fill the page and count in mm, so that paper and signals share one scale.
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, sheet.width)
    axes.set_ylim(0, sheet.height)
    axes.set_axis_off()
    _draw_grid(axes, sheet, lines_class)
    corner, size = (MARGIN_MM, sheet.bottom), (sheet.right - MARGIN_MM, sheet.top - sheet.bottom)
    paper = rectangle(corner, *size, transform=axes.transData)
    rows = [(tuple(row), shared / len(row)) for row in LAYOUT] + [((RHYTHM_LEAD,), shared)]
    for (names, span), baseline in zip(rows, sheet.baselines, strict=True):
        _draw_pulse(axes, baseline, scale)
        _draw_row(axes, sheet, baseline, names, span, section, sampling_rate, paper)
        _name_leads(axes, sheet, baseline, names, span, section, halo)
    _write(axes, sheet, title, lines, _footer(unit, sampling_rate, start, drawn, footnote))
    return figure


def _matplotlib() -> tuple[Any, Any, Any, Any]:
    """Return the classes that draw; a figure of its own needs no display and leaves pyplot's state alone."""
    try:
        from matplotlib.collections import LineCollection
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
        from matplotlib.patheffects import withStroke
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib: pip install matplotlib.") from error
    return Figure, LineCollection, Rectangle, withStroke(linewidth=2.5, foreground="white")


def _section(values: np.ndarray, sampling_rate: float, start: float, seconds: float) -> np.ndarray:
    """Return the samples to show after checking the request."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != len(LEADS):
        raise InputError(f"The recording has shape {array.shape}, not (samples, {len(LEADS)}).")
    if not sampling_rate > 0:
        raise InputError(f"sampling_rate={sampling_rate!r} is not a number of Hz above 0.")
    length = len(array) / sampling_rate
    if not 0 <= start < length:
        raise InputError(f"start={start!r} is outside the recording, which lasts {length:.1f} s.")
    if not LEAST_SECONDS <= seconds <= 60:
        raise InputError(f"seconds={seconds!r}: a page shows {LEAST_SECONDS:g} to 60 s.")
    first = round(start * sampling_rate)
    return array[first : first + round(seconds * sampling_rate)]


def _sheet(section: np.ndarray, sampling_rate: float, seconds: float, shared: float) -> Sheet:
    """Lay out a page of some seconds, of which the leads of a row share some: each row as high as they need."""
    extents = []
    for names in (*LAYOUT, (RHYTHM_LEAD,)):
        parts = [_part(section, name, k, len(names), sampling_rate, shared)[1] for k, name in enumerate(names)]
        finite = np.concatenate([part[np.isfinite(part)] for part in parts] or [np.zeros(1)])
        high = float(finite.max()) if finite.size else 0.0
        low = float(finite.min()) if finite.size else 0.0
        extents.append((_steps(max(high, MM_PER_MILLIVOLT)), _steps(-low)))
    extents = _fit_paper(extents)
    heights = [max(above + below, ROW_MM) for above, below in extents]
    bottom = FOOTER_MM
    top = bottom + sum(heights)
    baselines, edge = [], top
    for (above, below), height in zip(extents, heights, strict=True):
        # In whole large squares, so that each zero line lies on a thick line of the grid.
        baselines.append(edge - above - 5 * math.floor((height - above - below) / 10))
        edge -= height
    left = MARGIN_MM + PULSE_ROOM_MM
    right = left + 5 * math.ceil(seconds * MM_PER_SECOND / 5)
    return Sheet(right + MARGIN_MM, top + HEADER_MM, left, tuple(baselines), bottom, top, right)


def _fit_paper(extents: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Take room from the tallest deflections until the page fits A4; they then reach into the next row."""
    rows = [list(extent) for extent in extents]
    # Room is taken and not the scale: 10 mm/mV must hold on every page, or nothing can be read off it.
    while sum(max(sum(row), ROW_MM) for row in rows) > MOST_GRID_MM:
        tallest = max(rows, key=sum)
        side = 0 if tallest[0] >= tallest[1] else 1
        tallest[side] -= 5.0
    return [(above, below) for above, below in rows]


def _steps(millimetres: float) -> float:
    """Return a deflection with headroom, rounded up to 5 mm, at most half of the highest row."""
    return min(max(5.0 * math.ceil((millimetres + HEADROOM_MM) / 5), 10.0), MOST_ROW_MM / 2)


def _part(
    section: np.ndarray, name: str, number: int, parts: int, sampling_rate: float, seconds: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return times in s from the start of the page, and heights in mm, of a lead in its own part of the time."""
    first = round(number * seconds / parts * sampling_rate)
    last = round((number + 1) * seconds / parts * sampling_rate)
    values = section[first : last + 1, LEADS.index(name)]  # one more sample, so that neighbours meet
    return (first + np.arange(len(values))) / sampling_rate, values


def _draw_grid(axes: Any, sheet: Sheet, lines_class: Any) -> None:
    """Draw the paper: thin lines each mm, thicker ones each 5 mm."""
    # Half a millimetre more, because `arange` leaves its end out, or not, as rounding falls.
    across = np.arange(MARGIN_MM, sheet.right + 0.5)
    along = np.arange(sheet.bottom, sheet.top + 0.5)
    for thick, colour, width in ((False, MINOR, 0.3), (True, MAJOR, 0.6)):
        chosen = [[(x, sheet.bottom), (x, sheet.top)] for k, x in enumerate(across) if (k % 5 == 0) == thick] + [
            [(MARGIN_MM, y), (sheet.right, y)] for k, y in enumerate(along) if (k % 5 == 0) == thick
        ]
        axes.add_collection(lines_class(chosen, colors=colour, linewidths=width, zorder=1))


def _draw_pulse(axes: Any, baseline: float, height: float) -> None:
    """Draw the calibration pulse: 1 mV (or one standard deviation) high, 0.2 s long."""
    begin = MARGIN_MM + 2.5
    width = PULSE_SECONDS * MM_PER_SECOND
    x = [begin - 1.25, begin, begin, begin + width, begin + width, begin + width + 1.25]
    y = [0.0, 0.0, height, height, 0.0, 0.0]
    axes.plot(x, np.array(y) + baseline, color=INK, linewidth=0.8, solid_joinstyle="miter", zorder=3)


def _draw_row(
    axes: Any,
    sheet: Sheet,
    baseline: float,
    names: tuple[str, ...],
    span: float,
    section: np.ndarray,
    sampling_rate: float,
    paper: Any,
) -> None:
    """Draw the leads of one row and the marks between them; nothing is drawn beside the paper."""
    for number, name in enumerate(names):
        times, values = _part(section, name, number, len(names), sampling_rate, span * len(names))
        x0 = sheet.left + number * span * MM_PER_SECOND
        (line,) = axes.plot(
            sheet.left + times * MM_PER_SECOND,
            baseline + values,
            color=INK,
            linewidth=0.7,
            solid_joinstyle="round",
            zorder=4,
        )
        # Tall deflections may reach into the next row, but not over heading and margin.
        line.set_clip_path(paper)
        if number:
            axes.plot([x0, x0], [baseline + 2.5, baseline + 6.0], color=INK, linewidth=0.9, zorder=4)
            axes.plot([x0, x0], [baseline - 2.5, baseline - 6.0], color=INK, linewidth=0.9, zorder=4)


def _name_leads(
    axes: Any, sheet: Sheet, baseline: float, names: tuple[str, ...], span: float, section: np.ndarray, halo: Any
) -> None:
    """Write the names, readable where a deflection crosses them; a lead without any sample is called missing."""
    for number, name in enumerate(names):
        absent = not np.isfinite(section[:, LEADS.index(name)]).any()
        axes.text(
            sheet.left + number * span * MM_PER_SECOND + 1.5,
            baseline + 8.0,
            f"{name} (missing)" if absent else name,
            fontsize=9,
            fontweight="bold",
            color=INK,
            path_effects=[halo],
            zorder=5,
        )


def _write(axes: Any, sheet: Sheet, title: str, lines: Sequence[str], footer: str) -> None:
    """Write heading and footer."""
    top = sheet.height - 6.5
    room = sheet.right - MARGIN_MM
    axes.text(MARGIN_MM, top, _fit(title, room, 12), fontsize=12, fontweight="bold", color=INK)
    for number, line in enumerate(lines[:3], start=1):
        axes.text(MARGIN_MM, top - 4.6 * number, _fit(line, room, 9), fontsize=9, color=INK)
    axes.text(MARGIN_MM, 3.0, _fit(footer, room, 8), fontsize=8, color=INK)


def _fit(text: str, room_mm: float, points: float) -> str:
    """Cut a line that is wider than the paper, by the usual width of letters."""
    # An estimate by the mean width of a letter: measuring needs a renderer, and the figure may be saved by any.
    letters = int(room_mm / (points / 72 * MM_PER_INCH * 0.52))
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


def scale_words(unit: str) -> str:
    """Return what a millimetre of height means on a page of a unit."""
    return "10 mm/mV" if unit == "mV" else "z-scored, no physical unit: 5 mm per standard deviation"


def _footer(unit: str, sampling_rate: float, start: float, seconds: float, footnote: str) -> str:
    parts = [
        f"25 mm/s   {scale_words(unit)}",
        f"{sampling_rate:g} Hz, as stored",
        f"{start:g} to {start + seconds:g} s",
        footnote,
    ]
    return "   |   ".join(part for part in parts if part)
