"""Models compared task by task, as a list that shows itself as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ecg_hub.utils.rows import html_table
from ecg_hub.utils.text import text_table
from eval_harness.results.compared import compare_folders, rank_rows, reading
from eval_harness.results.comparison import Comparison, Unit
from eval_harness.results.folders import ResultFolder
from eval_harness.results.schema import Result

if TYPE_CHECKING:
    import pandas as pd


class Comparisons(Sequence[Comparison]):
    """Paired comparisons on the same test records and resamples, one for each task that two runs have done.

    Attributes:
        results: for each task, the compared results by run.
    """

    def __init__(self, compared: Iterable[tuple[Comparison, dict[str, Result]]]) -> None:
        pairs = list(compared)
        self._comparisons = [comparison for comparison, _ in pairs]
        self.results = {comparison.task: results for comparison, results in pairs}

    def to_frame(self) -> pd.DataFrame:
        """Return one row per task and model, best first.

        Columns: task, model, rank (models of one rank are not distinguished from the best of it), metric, point, low,
        high, n (test records), the difference to the best model of the task (behind, behind_low, behind_high, not
        adjusted) and its p-value adjusted for all pairs (p_holm); the last four are NaN for the best.
        """
        import pandas as pd

        return pd.DataFrame([row for comparison in self for row in _ranked(comparison)])

    def pairs(self) -> pd.DataFrame:
        """Return one row per task and pair: first minus second, unadjusted interval, p, p_holm, distinguished."""
        import pandas as pd

        rows = [
            {
                "task": comparison.task,
                "first": pair.first,
                "second": pair.second,
                "difference": pair.difference.point,
                "low": pair.difference.low,
                "high": pair.difference.high,
                "p": pair.p,
                "p_holm": pair.p_holm,
                "distinguished": pair.distinguished,
            }
            for comparison in self
            for pair in comparison.pairs
        ]
        return pd.DataFrame(rows)

    @overload
    def __getitem__(self, index: int) -> Comparison: ...

    @overload
    def __getitem__(self, index: slice) -> Comparisons: ...

    def __getitem__(self, index: int | slice) -> Comparison | Comparisons:
        """One comparison, or several as Comparisons."""
        if isinstance(index, slice):
            return Comparisons((one, self.results[one.task]) for one in self._comparisons[index])
        return self._comparisons[index]

    def __len__(self) -> int:
        return len(self._comparisons)

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self._comparisons)

    def _rows(self) -> list[dict[str, object]]:
        return [row for comparison in self for row in rank_rows(comparison, self.results[comparison.task])]

    def __repr__(self) -> str:
        ranks = text_table(self._rows(), keep=("model", "rank", "score"), notes=("deviations",))
        return "\n".join([ranks, "", *reading(self)])

    def _repr_html_(self) -> str:
        return html_table(self._rows()) + "".join(f"<p>{escape(line)}</p>" for line in reading(self))


def compared(
    runs: Sequence[ResultFolder],
    tasks: Sequence[str],
    metric: str | None,
    resamples: int,
    by: Unit,
    include: Iterable[Path],
) -> Comparisons:
    """Compare runs on the tasks that two of them have done."""
    return Comparisons(compare_folders(runs, tasks, metric=metric, resamples=resamples, by=by, include=include))


def _ranked(comparison: Comparison) -> Iterator[dict[str, Any]]:
    best = comparison.standings[0].model
    to_best = {pair.second: pair for pair in comparison.pairs if pair.first == best}
    for standing in comparison.standings:
        pair = to_best.get(standing.model)
        yield {
            "task": comparison.task,
            "model": standing.model,
            "rank": standing.rank,
            "metric": comparison.metric,
            "point": standing.score.point,
            "low": standing.score.low,
            "high": standing.score.high,
            "n": comparison.records,
            "behind": float("nan") if pair is None else pair.difference.point,
            "behind_low": float("nan") if pair is None else pair.difference.low,
            "behind_high": float("nan") if pair is None else pair.difference.high,
            "p_holm": float("nan") if pair is None else pair.p_holm,
        }
