"""Which analyses there are: one for each folder here whose `report.py` defines `ANALYSIS`, found by listing."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from types import MappingProxyType
from typing import Any

from eval_harness.analyses.files import Analysis
from eval_harness.analyses.studies import short_name
from eval_harness.figures.markup import Html

ORDER = ("ablation", "label_efficiency", "robustness", "transfer", "cka")
"""Folders whose parts come first on a page, in this order."""


def run_title(result: Any) -> str:
    """Return "encoder linear seed 1, ptbxl_super" of a result that is about one trained head."""
    seed = f" seed {result.seed}" if result.seed else ""
    return f"{short_name(result.model.id)} {result.mode}{seed}, {result.run}"


def of_no_task(result: Any) -> set[str]:
    """The tasks of an analysis that is about none, so shown whatever tasks are asked for."""
    return set()


@dataclass(frozen=True)
class AnalysisKind:
    """One kind of analysis, as the report finds and shows it.

    Attributes:
        file: name of its result files, wildcards allowed; no other kind has it.
        result: the model that reads them.
        title: a result -> what it is about, in a few words.
        part: a result and the tasks that are shown (None: all) -> its part of the page.
        tasks: a result -> names of its tasks.
    """

    file: str
    result: type[Analysis]
    title: Callable[[Any], str]
    part: Callable[[Any, Collection[str] | None], list[Html]]
    tasks: Callable[[Any], set[str]] = of_no_task


@cache
def kinds() -> Mapping[str, AnalysisKind]:
    """Return every kind of analysis by the name of its folder, in the order of a page."""
    import eval_harness.analyses as folder

    names = {item.name for item in pkgutil.iter_modules(folder.__path__) if item.ispkg}
    # Folders that are not in ORDER follow, so that a new analysis is shown without being listed anywhere.
    ordered = (*ORDER, *sorted(names - {*ORDER}))
    return MappingProxyType({name: _kind(f"{folder.__name__}.{name}.report") for name in ordered})


def _kind(module: str) -> AnalysisKind:
    """Import the module of a report, and only it: it brings neither torch nor the runs of its analysis."""
    if importlib.util.find_spec(module) is None:
        raise TypeError(f"{module} does not exist: an analysis shows itself there (docs/contributing/analysis.md).")
    kind: AnalysisKind | None = getattr(importlib.import_module(module), "ANALYSIS", None)
    if kind is None:
        raise TypeError(f"{module} defines no ANALYSIS (docs/contributing/analysis.md).")
    return kind


def kind_of(file_name: str) -> AnalysisKind:
    """Return the kind of a result file by its name; one of the kinds must fit."""
    return next(kind for kind in kinds().values() if fnmatchcase(file_name, kind.file))
