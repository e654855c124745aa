"""What the charts share: linear axes, ticks, marks that differ in colour and shape, and the frame of a figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eval_harness.figures.markup import Html, tag

COLOURS = 6
"""Colours of series in the style sheet (`s0` to `s5`), chosen to stay apart for colour-blind readers."""

SHAPES = ("circle", "square", "diamond", "up", "down", "cross")
LETTER = 6.9
"""Usual width in pixels of a letter of the charts' 12 px type."""


@dataclass(frozen=True)
class Axis:
    """A linear scale.

    Attributes:
        low, high: values at its ends.
        start, end: their places in pixels; a vertical axis has start below end.
        ticks: values that are marked.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Return the place of a value, cut off at the ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def label(self, tick: float) -> str:
        """Return the text of a tick, with the decimals that the distance between ticks needs."""
        step = abs(self.ticks[1] - self.ticks[0]) if len(self.ticks) > 1 else 1.0
        # log10(0.01) may come out just below -2, which without the 1e-9 would ask for a third decimal.
        decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0
        return f"{tick:.{decimals}f}"


def axis(
    values: Iterable[float], start: float, end: float, *, count: int = 6, room: float = 0.04, whole: bool = False
) -> Axis:
    """Return an axis that holds all values, its ends at round numbers."""
    # A chart without any value still has axes.
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    margin = (high - low) * room if high > low else max(abs(high), 1.0) * 0.05
    step = nice_step((high - low + 2 * margin) / max(count - 1, 1))
    if whole:
        step = max(step, 1.0)
    first, last = math.floor((low - margin) / step), math.ceil((high + margin) / step)
    # 3 * 0.1 is 0.30000000000000004, and ticks are compared and written.
    ticks = tuple(round(number * step, 12) for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], start, end, ticks)


def fixed_axis(ticks: Sequence[float], start: float, end: float) -> Axis:
    """Return an axis from the first to the last of the given ticks."""
    return Axis(ticks[0], ticks[-1], start, end, tuple(ticks))


@dataclass(frozen=True)
class NamedAxis(Axis):
    """A scale whose ticks have names: fractions, or powers on a logarithmic scale."""

    names: tuple[str, ...] = ()

    def label(self, tick: float) -> str:
        """Return the name of a tick."""
        return self.names[self.ticks.index(tick)]


def log_axis(values: Iterable[float], start: float, end: float, *, most: int = 7) -> NamedAxis:
    """Return an axis of log10 of the values, which are above 0; what is drawn on it are logarithms.

    Ticks are 1, 2 and 5 times powers of ten within the range, or powers alone where those are more than `most`.
    """
    logs = [math.log10(value) for value in values if math.isfinite(value) and value > 0] or [0.0, 1.0]
    # Some room even for a single value, or the axis would have no length.
    room = max(0.04 * (max(logs) - min(logs)), 0.05)
    low, high = min(logs) - room, max(logs) + room
    for steps in ((1, 2, 5), (1,)):
        exact = [(step, power) for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
        ticks = [(math.log10(step) + power, f"{step * 10.0**power:,.10g}") for step, power in exact]
        inside = [(tick, name) for tick, name in ticks if low <= tick <= high]
        if len(inside) <= most:
            break
    every = -(-len(inside) // most) or 1
    kept = inside[::every]
    return NamedAxis(low, high, start, end, tuple(p for p, _ in kept), tuple(n for _, n in kept))


def nice_step(rough: float) -> float:
    """Return the next of 1, 2, 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(rough))
    # A step that is round already may have lost its last digit, and would be taken for a little too large.
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9))


def series(index: int) -> str:
    """Return the CSS class of a series; colours repeat after six, with another shape."""
    return f"s{index % COLOURS}"


def mark(index: int, x: float, y: float, *, size: float = 4.5, title: str | None = None, open_: bool = False) -> Html:
    """Return the mark of a series at a place, filled or `open_`; 36 series have marks of their own."""
    shape = SHAPES[(index + index // COLOURS) % len(SHAPES)]
    inner = tag("title", title) if title else None
    style = f"mark {series(index)}{' open' if open_ else ''}"
    if shape == "circle":
        return tag("circle", inner, cx=x, cy=y, r=size, class_=style)
    reach = size * 1.25
    outlines: dict[str, list[tuple[float, float]]] = {
        "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
        "diamond": [(0, -1.1), (1.1, 0), (0, 1.1), (-1.1, 0)],
        "up": [(0, -1), (1, 0.8), (-1, 0.8)],
        "down": [(0, 1), (1, -0.8), (-1, -0.8)],
        "cross": [
            (-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35),
            (0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35),
        ],
    }  # fmt: skip
    points = " ".join(f"{x + reach * dx:.1f},{y + reach * dy:.1f}" for dx, dy in outlines[shape])
    return tag("polygon", inner, points=points, class_=style)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Html:
    """Return a line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=style)


def curve(points: Iterable[tuple[float, float]], style: str, **attributes: object) -> Html:
    """Return a line through places in pixels."""
    return tag("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points), class_=style, **attributes)


def label(
    x: float, y: float, content: object, style: str = "", anchor: str = "start", title: str | None = None
) -> Html:
    """Return text whose baseline begins, ends or is centred (`start`, `end`, `middle`) at a place."""
    return tag(
        "text",
        tag("title", title) if title else None,
        content,
        x=x,
        y=y,
        class_=style or None,
        text_anchor=None if anchor == "start" else anchor,
    )


def horizontal(scale: Axis, top: float, bottom: float, title: str) -> list[Html]:
    """Return grid lines, ticks and title of a horizontal axis below a chart."""
    parts = []
    for tick in scale.ticks:
        parts.append(line(scale(tick), top, scale(tick), bottom, "grid"))
        parts.append(label(scale(tick), bottom + 16, scale.label(tick), "tick", "middle"))
    parts.append(label((scale.start + scale.end) / 2, bottom + 34, title, "axis", "middle"))
    return parts


def vertical(scale: Axis, left: float, right: float, title: str) -> list[Html]:
    """Return grid lines, ticks and title of a vertical axis at the left of a chart."""
    parts = []
    for tick in scale.ticks:
        parts.append(line(left, scale(tick), right, scale(tick), "grid"))
        parts.append(label(left - 6, scale(tick) + 4, scale.label(tick), "tick", "end"))
    middle = (scale.start + scale.end) / 2
    turned = tag(
        "text", title, x=left - 40, y=middle, class_="axis", text_anchor="middle",
        transform=f"rotate(-90 {left - 40:.0f} {middle:.0f})",
    )  # fmt: skip
    return [*parts, turned]


def chart(width: float, height: float, title: str, description: str, *children: object) -> Html:
    """Return an SVG that shrinks with the page, named and described for those who cannot see it."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *children,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=round(width),
        height=round(height),
        role="img",
        aria_label=f"{title}. {description}",
    )


def shortened(content: str, room: float) -> str:
    """Return a text that fits into so many pixels, its middle left out where it is longer."""
    letters = max(int(room / LETTER), 8)
    if len(content) <= letters:
        return content
    half = (letters - 1) // 2
    return f"{content[:half]}…{content[len(content) - (letters - 1 - half) :]}"
