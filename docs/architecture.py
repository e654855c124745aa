"""Draw the rooms of the packages and the imports between them; `python docs/pages.py` writes architecture.svg.

Needs grimp (extra `dev`). The picture holds rooms and arrows only, so that it changes when the house does, not with
every module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "architecture.svg"
# From the highest package to the lowest: two in the left column, two in the right one.
BANDS = {
    "model_cards": "the program that writes the cards",
    "eval_harness": "scoring: tasks, training, statistics, results",
    "dataset_scripts": "data: record stores, labels, mock trees",
    "ecg_hub": "models, their input, weights, hub; the base",
}
WIDTH, COLUMN, MARGIN, BOX, ROW, HEAD, PAD = 1120, 524, 20, 32, 70, 58, 24
LEFT = {"model_cards": MARGIN, "eval_harness": MARGIN}
RIGHT = WIDTH - MARGIN - COLUMN
CHARACTER, SIDE, GAP, POINT = 7.6, 16, 24, 10

STYLE = """
  svg { --paper: #ffffff; --ink: #1f2430; --soft: #667085; --line: #98a2b3; --box: #ffffff;
        --cards: #8b5cf6; --eval: #0f766e; --data: #b45309; --hub: #1d4ed8; --tint: 0.07; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #0d1117; --ink: #e6edf3; --soft: #9aa4b2; --line: #5b6675; --box: #161b22;
          --cards: #b79bff; --eval: #4fd1c5; --data: #f0a54a; --hub: #79a8ff; --tint: 0.1; }
  }
  text { font: 13px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink); }
  .paper { fill: var(--paper); } .title { font-size: 16px; font-weight: 650; } .about { fill: var(--soft); }
  .band { fill: var(--hue); fill-opacity: var(--tint); stroke: var(--hue); stroke-opacity: 0.35; }
  .room { fill: var(--box); stroke: var(--hue); stroke-width: 1.4; } .module { stroke-dasharray: 4 3; }
  .name { text-anchor: middle; } .arrow { fill: none; stroke: var(--line); stroke-width: 1.3; }
  .tip { fill: var(--line); } .package { stroke-width: 2.2; }
  .model_cards { --hue: var(--cards); } .eval_harness { --hue: var(--eval); }
  .dataset_scripts { --hue: var(--data); } .ecg_hub { --hue: var(--hub); }
""".strip("\n")

Arrows = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Box:
    """A room of the picture: middle, upper edge and width in pixels."""

    x: float
    y: float
    width: float


def import_graph() -> grimp.ImportGraph:
    """The modules and their imports, those within functions too, those for type checkers not."""
    return grimp.build_graph(*BANDS, cache_dir=None, exclude_type_checking_imports=True)


def rooms(graph: grimp.ImportGraph, package: str) -> dict[str, bool]:
    """The folders and loose modules of a package by name, and whether each is a folder."""
    names = sorted(name.removeprefix(f"{package}.") for name in graph.find_children(package))
    return {name: (ROOT / package / name).is_dir() for name in names if not name.startswith("__")}


def arrows(graph: grimp.ImportGraph, package: str, names: Sequence[str]) -> dict[str, frozenset[str]]:
    """Which rooms of a package each of its rooms imports."""

    def imports(importer: str, imported: str) -> bool:
        pair = {"importer": f"{package}.{importer}", "imported": f"{package}.{imported}"}
        return importer != imported and graph.direct_import_exists(**pair, as_packages=True)

    return {name: frozenset(other for other in names if imports(name, other)) for name in names}


def levels(edges: Arrows) -> dict[str, int]:
    """The level of each room: 0 imports no other, the others stand above all that they import.

    Raises:
        ValueError: rooms that import each other, so that neither stands above.
    """
    found: dict[str, int] = {}
    while len(found) < len(edges):
        free = [name for name in edges if name not in found and edges[name] <= found.keys()]
        if not free:
            raise ValueError(f"These rooms import each other: {', '.join(sorted(edges.keys() - found.keys()))}.")
        found |= {name: 1 + max((found[other] for other in edges[name]), default=-1) for name in free}
    return found


def needed(edges: Arrows) -> list[tuple[str, str]]:
    """The arrows that follow from no others."""
    reach: dict[str, set[str]] = {}
    for name in sorted(edges, key=levels(edges).__getitem__):
        reach[name] = set(edges[name]).union(*(reach[other] for other in edges[name]))
    return [
        (name, other)
        for name in edges
        for other in sorted(edges[name])
        if not any(other in reach[between] for between in edges[name])
    ]


def paths(edges: Arrows) -> list[list[str]]:
    """The arrows as chains from level to level: one that spans several passes by points, whose names hold a ">"."""
    level = levels(edges)
    return [
        [name, *(f"{name}>{other}>{k}" for k in range(level[name] - 1, level[other], -1)), other]
        for name, other in needed(edges)
    ]


def rows(edges: Arrows) -> list[list[str]]:
    """The rooms, and the points that arrows pass, by level from the top, in each row near what they are tied to."""
    level, steps = levels(edges), [pair for path in paths(edges) for pair in pairwise(path)]
    for path in paths(edges):
        level |= {point: level[path[0]] - k for k, point in enumerate(path)}
    found = [sorted(name for name in level if level[name] == k) for k in range(max(level.values()), -1, -1)]
    place = {name: (k + 0.5) / len(row) for row in found for k, name in enumerate(row)}
    for sweep in range(24):
        for row in found if sweep % 2 else found[::-1]:
            ends = {n: [place[b if a == n else a] for a, b in steps if n in (a, b)] or [place[n]] for n in row}
            row.sort(key={name: (sum(near) / len(near), name) for name, near in ends.items()}.__getitem__)
            place |= {name: (k + 0.5) / len(row) for k, name in enumerate(row)}
    return found


def place_boxes(lines: Sequence[Sequence[str]], left: float, top: float) -> dict[str, Box]:
    """Where each room stands; rows are centred in their column."""
    boxes = {}
    for number, line in enumerate(lines):
        widths = [POINT if ">" in name else len(name) * CHARACTER + 2 * SIDE for name in line]
        gap = min(2 * GAP, (COLUMN - 2 * MARGIN - sum(widths)) / max(len(line) - 1, 1))
        x = left + (COLUMN - sum(widths) - gap * (len(line) - 1)) / 2
        for name, width in zip(line, widths, strict=True):
            boxes[name] = Box(x + width / 2, top + number * ROW, width)
            x += width + gap
    return boxes


def curve(stations: Sequence[Box]) -> str:
    """An arrow from the lower edge of the first box, past points, to the upper edge of the last."""
    path = f"M{stations[0].x:.0f} {stations[0].y + BOX:.0f}"
    for upper, lower in pairwise(stations):
        y, end = upper.y + BOX, lower.y - (7 if lower is stations[-1] else 0)
        bend = (end - y) * 0.5
        path += f"C{upper.x:.0f} {y + bend:.0f} {lower.x:.0f} {end - bend:.0f} {lower.x:.0f} {end:.0f}"
        path += "" if lower is stations[-1] else f"v{BOX}"
    return f'<path class="arrow" d="{path}" marker-end="url(#tip)"/>'


def band(graph: grimp.ImportGraph, package: str, top: float) -> tuple[list[str], float]:
    """The drawing of one package and its lower edge."""
    left = LEFT.get(package, RIGHT)
    folders = rooms(graph, package)
    edges = arrows(graph, package, list(folders))
    lines = rows(edges)
    height = HEAD + (len(lines) - 1) * ROW + BOX + PAD
    boxes = place_boxes(lines, left, top + HEAD)
    drawing = [
        f'<g class="{package}">',
        f'<rect class="band" x="{left}" y="{top:.0f}" width="{COLUMN}" height="{height:.0f}" rx="12"/>',
        f'<text class="title" x="{left + 18}" y="{top + 30:.0f}">{package}'
        f'<tspan class="about" dx="12" font-size="13" font-weight="400">{escape(BANDS[package])}</tspan></text>',
        *(curve([boxes[name] for name in path]) for path in paths(edges)),
    ]
    for name, folder in folders.items():
        kind, box = "room" if folder else "room module", boxes[name]
        x, y = box.x - box.width / 2, box.y
        drawing += [
            f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{box.width:.0f}" height="{BOX}" rx="8"/>',
            f'<text class="name" x="{box.x:.0f}" y="{y + 22:.0f}">{name}</text>',
        ]
    return [*drawing, "</g>"], top + height


def draw(graph: grimp.ImportGraph) -> str:
    """The whole picture as SVG."""
    bottom = {MARGIN: float(MARGIN), RIGHT: float(MARGIN)}
    parts = []
    for package in BANDS:
        left = LEFT.get(package, RIGHT)
        top, middle = bottom[left], left + COLUMN / 2
        if top > MARGIN:
            parts.append(_thick(f"M{middle:.0f} {top:.0f}V{top + 27:.0f}"))
            top += 34
        drawing, bottom[left] = band(graph, package, top)
        parts += drawing
    parts.append(_thick(f"M{MARGIN + COLUMN} {MARGIN + 270}H{RIGHT - 7}"))
    foot = max(bottom.values()) + 30
    legend = "solid: a folder; dashed: a module; an arrow: imports, left out where it follows from others"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {foot + 18:.0f}" role="img">
<title>The rooms of the packages and the imports between them</title>
<style>
{STYLE}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="8" markerHeight="8" orient="auto" \
markerUnits="userSpaceOnUse"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>
<rect class="paper" width="{WIDTH}" height="{foot + 18:.0f}"/>
{chr(10).join(parts)}
<text class="about" x="{MARGIN + 4}" y="{foot:.0f}">{legend}</text>
</svg>
"""


def _thick(line: str) -> str:
    return f'<path class="arrow package" d="{line}" marker-end="url(#tip)"/>'
