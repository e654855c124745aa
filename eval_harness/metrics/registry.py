"""Every metric of a result in one list: name, title, direction, chance level, what it applies to, its function.

A file of this folder that defines `METRICS` is found by being here; nothing else lists a metric.

The names of the metrics that the harness itself reads are constants, so that listings of tasks need no function.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MACRO_AUROC: Final = "macro_auroc"
MACRO_AUROC_PAPER: Final = "macro_auroc_paper"
MACRO_AUPRC: Final = "macro_auprc"
MAE: Final = "mae"
MACRO_MAE: Final = "macro_mae"

Kind = Literal["multi_label_classification", "regression"]

MAIN: Mapping[str, tuple[str, bool]] = MappingProxyType(
    {"multi_label_classification": (MACRO_AUROC, True), "regression": (MAE, False)}
)
"""Kind of task -> the metric that it is ranked by, and whether higher is better; light, for listings of tasks."""

ORDER = ("ranking", "thresholds", "calibration", "regression")
"""Files whose metrics come first, in this order, in every table."""

HELPERS = frozenset({"registry", "checks", "selection"})
"""Files without metrics."""


@dataclass(frozen=True)
class Metric:
    """One number of a result.

    Attributes:
        name: key in `metrics` of result files; never changed once results hold it.
        title: in prose, without the direction.
        kind: of the tasks that it applies to.
        higher_is_better: its direction.
        function: gets targets and outputs (records, outputs) that `checked_pair` has returned, and with `thresholds`
            those chosen on validation, (outputs,). Returns one value per output, NaN where undefined, whose mean over
            the defined ones is the metric; or one number over all outputs.
        description: one line for the documentation: what it is the mean of, who defined it.
        heading: in narrow columns and for single labels; default the title.
        chance: what outputs that know nothing score, drawn as a line; None where that depends on the data.
        bounds: between which it lies by its definition; a published result outside is refused.
        thresholds: whether the function takes thresholds.
        on_leaderboard: whether the details of a cell name it, besides the metric that ranks.
    """

    name: str
    title: str
    kind: Kind
    higher_is_better: bool
    function: Callable[..., NDArray[np.float64] | float]
    description: str
    heading: str = ""
    chance: float | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    thresholds: bool = False
    on_leaderboard: bool = False

    @property
    def full_title(self) -> str:
        """The title, and its direction where lower is better."""
        return self.title if self.higher_is_better else f"{self.title} (lower is better)"

    @property
    def column(self) -> str:
        """Heading of a column of scores: "AUROC", "MAE ↓"."""
        return f"{self.heading or self.title}{'' if self.higher_is_better else ' ↓'}"

    def values(self, y_true: Any, y_score: Any, thresholds: Any = None) -> NDArray[np.float64] | float:
        """Call the function, with the thresholds where it takes them."""
        return self.function(y_true, y_score, thresholds) if self.thresholds else self.function(y_true, y_score)


@cache
def metrics() -> Mapping[str, Metric]:
    """Return every metric by name, in the order of tables."""
    import eval_harness.metrics as folder

    # Found by listing, so that a metric is a new file and nothing else.
    files = {item.name for item in pkgutil.iter_modules(folder.__path__) if not item.ispkg} - HELPERS
    listed: dict[str, Metric] = {}
    for file in (*ORDER, *sorted(files - {*ORDER})):
        module = importlib.import_module(f"{folder.__name__}.{file}")
        if not hasattr(module, "METRICS"):
            raise TypeError(
                f"{module.__name__} defines no METRICS, a tuple of entries (docs/contributing/metric.md); a file that "
                "others import and that holds no metric stands in HELPERS of eval_harness/metrics/registry.py."
            )
        for metric in module.METRICS:
            if metric.name in listed:
                raise TypeError(f"{file}.py: the metric {metric.name!r} is listed twice; names are unique.")
            listed[metric.name] = metric
    return MappingProxyType(listed)


def of_kind(kind: str) -> list[Metric]:
    """Return the metrics of a kind of task."""
    return [metric for metric in metrics().values() if metric.kind == kind]


def title_of(name: str) -> str:
    """Return the title of a metric with its direction; the name of one that is not listed here."""
    return metrics()[name].full_title if name in metrics() else name


def chance_of(name: str) -> float | None:
    """Return the chance level of a metric, None where there is none."""
    return metrics()[name].chance if name in metrics() else None


def main_of(names: Iterable[str]) -> str | None:
    """Return the one of some metrics that ranks; None where none of them does.

    Example:
        >>> main_of(["macro_auprc", "macro_auroc"]), main_of(["macro_mae", "mae"]), main_of([])
        ('macro_auroc', 'mae', None)
    """
    given = set(names)
    # Not the first given: files of results list metrics in the order they were computed in.
    return next((name for name, _ in MAIN.values() if name in given), None)


HEAD = """\
# Metrics

Made from `eval_harness/metrics/*.py` by `python docs/pages.py`; do not edit. How intervals are made:
[statistics.md](statistics.md); how the file looks: [results.md](results.md); how to add one:
[here](contributing/metric.md).

| metric | tasks | better | chance | meaning |
|---|---|---|---|---|
"""


def metrics_page() -> str:
    """Return docs/metrics.md: a row for every metric."""
    rows = []
    for metric in metrics().values():
        tasks = "regression" if metric.kind == "regression" else "classes"
        better = "higher" if metric.higher_is_better else "lower"
        chance = "" if metric.chance is None else f"{metric.chance:g}"
        rows.append(f"| `{metric.name}` | {tasks} | {better} | {chance} | {metric.description} |\n")
    return HEAD + "".join(rows)
