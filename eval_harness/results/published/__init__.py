"""The published numbers as data: every point and 95 % interval of arXiv 2509.25095, and which faults touch which row.

    from eval_harness.results.published import scores
    for score in scores():
        print(score.model, score.task, score.mode, score.point, [flag.name for flag in score.flags])

Models, tasks and modes bear the names that they have in this package; the supervised baselines' mode is `scratch`. The
evidence for the flags: docs/differences.md. Reading imports neither torch nor pandas.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import yaml

from eval_harness.metrics.registry import MACRO_AUROC, MAE

__all__ = ["Flag", "Score", "Study", "scores", "study"]

_FOLDER = Path(__file__).resolve().parent
_STUDY = "al_masud_2026"
_SEVERITIES = ("wrong", "doubtful", "note")
_POINT_OUTSIDE = "point_outside_interval"


@dataclass(frozen=True)
class Flag:
    """Something to know about some rows.

    Attributes:
        name: short name.
        severity: "wrong" (the row is not what its name says), "doubtful" (it may not be) or "note".
        text: one or two sentences.
        models: models that it touches; empty for all.
        modes: modes that it touches; empty for all.
        tasks: tasks that it touches; empty for all.
        when: a condition on the row itself, "point_outside_interval", or None.
    """

    name: str
    severity: Literal["wrong", "doubtful", "note"]
    text: str
    models: frozenset[str] = frozenset()
    modes: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()
    when: str | None = None

    def touches(self, model: str, task: str, mode: str, inside: bool) -> bool:
        """Say whether a row is touched.

        Args:
            model: short name.
            task: task of the row.
            mode: mode of the row.
            inside: whether the row's interval contains its point.
        """
        named = ((model, self.models), (task, self.tasks), (mode, self.modes))
        return all(name in names or not names for name, names in named) and not (self.when == _POINT_OUTSIDE and inside)


@dataclass(frozen=True)
class Score:
    """One published cell.

    Attributes:
        model: short name, as in `ecg-hub ls`.
        task: task name.
        mode: "linear", "frozen", "finetune", or "scratch" for the supervised baselines.
        metric: "macro_auroc" (higher is better) or "mae" of z-scores (lower is better).
        point: the published number.
        low: lower end of the published 95 % interval.
        high: upper end.
        flags: what to know about it, worst first.
    """

    model: str
    task: str
    mode: str
    metric: str
    point: float
    low: float
    high: float
    flags: tuple[Flag, ...]


@dataclass(frozen=True)
class Study:
    """Where the numbers come from.

    Attributes:
        title: of the paper.
        authors: as they sign.
        venue: where it appeared.
        paper: link.
        source: file that the numbers were read from.
        tasks: task -> title, in the order of the paper.
        regression: tasks whose metric is the error of z-scores.
        caveats: what is true of every row.
        flags: flags by name, worst first.
    """

    title: str
    authors: str
    venue: str
    paper: str
    source: str
    tasks: Mapping[str, str]
    regression: frozenset[str]
    caveats: tuple[str, ...]
    flags: Mapping[str, Flag]


@cache
def study() -> Study:
    """Return what is known about the published tables as a whole."""
    raw: dict[str, Any] = yaml.safe_load((_FOLDER / f"{_STUDY}.yaml").read_text(encoding="utf-8"))
    flags = [_flag(name, fields) for name, fields in raw.pop("flags").items()]
    # The file lists flags by subject; who shows only one of a row shows the worst.
    flags.sort(key=lambda flag: _SEVERITIES.index(flag.severity))
    return Study(
        **{name: raw[name] for name in ("title", "authors", "venue", "paper", "source")},
        tasks=MappingProxyType(raw["tasks"]),
        regression=frozenset(raw["regression"]),
        caveats=tuple(raw["caveats"]),
        flags=MappingProxyType({flag.name: flag for flag in flags}),
    )


@cache
def scores() -> tuple[Score, ...]:
    """Return all published cells, by model, then in the order of the paper's tasks."""
    with (_FOLDER / f"{_STUDY}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_score(row) for row in csv.DictReader(file))


def _flag(name: str, fields: Mapping[str, Any]) -> Flag:
    sets = {part: frozenset(fields.get(part, ())) for part in ("models", "modes", "tasks")}
    return Flag(name, fields["severity"], fields["text"], **sets, when=fields.get("when"))


def _score(row: Mapping[str, str]) -> Score:
    model, task, mode = row["model"], row["task"], row["mode"]
    point, low, high = (float(row[name]) for name in ("point", "low", "high"))
    # Some published intervals do not hold their point: flagged on the row, not corrected.
    inside = low <= point <= high
    flags = tuple(flag for flag in study().flags.values() if flag.touches(model, task, mode, inside))
    metric = MAE if task in study().regression else MACRO_AUROC
    return Score(model, task, mode, metric, point, low, high, flags)
