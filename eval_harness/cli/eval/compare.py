"""`ecg-eval compare`: models against each other on the same test records and resamples."""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ecg_hub.errors import InputError, ResultError
from ecg_hub.utils.text import print_lines, print_table
from eval_harness.cli.common import add_json_flag, split_commas

if TYPE_CHECKING:
    from eval_harness.results.comparison import Comparison
    from eval_harness.results.folders import ResultFolder
    from eval_harness.results.schema import Result


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "compare",
        help="paired comparison of models: ranks, ties, differences with intervals",
        description="Compare runs on the tasks that two or more of them have done: ranks with tie groups, and every "
        "pairwise difference with its interval, on the same records and resamples. Ranks are adjusted for the number "
        "of comparisons; those that the paper's unadjusted reading gives stand beside.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="result folders, or folders above them")
    parser.add_argument("--tasks", action="append", metavar="T", help="only these tasks and suites")
    parser.add_argument("--metric", metavar="M", help="default: the task's own; or macro_auroc_paper, macro_auprc")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="bootstrap resamples (default: 1000)")
    parser.add_argument(
        "--by",
        "--resample-unit",
        dest="by",
        choices=("auto", "record", "patient"),
        default="auto",
        help="what a resample draws (default: auto: patients where one has several test records, otherwise records; "
        "for macro_auroc_paper records, as published)",
    )
    parser.add_argument("--pairs", action="store_true", help="print every pair, not only the ranks")
    parser.add_argument("--include", action="append", metavar="PATH", help="your own task files or folders of them")
    add_json_flag(parser)
    parser.set_defaults(run=run_compare)


def run_compare(args: argparse.Namespace) -> int:
    """Compare; prints ranks per task, and pairs on request."""
    from eval_harness.results.folders import find_runs

    compared = list(_comparisons(find_runs(args.runs), args))
    comparisons = [comparison for comparison, _ in compared]
    if args.json:
        print(json.dumps([_defined(asdict(comparison)) for comparison in comparisons], indent=1, ensure_ascii=False))
        return 0
    ranks = [row for comparison, results in compared for row in rank_rows(comparison, results)]
    print_table(ranks, title="ranks", keep=("model", "rank", "score"), notes=("deviations",))
    if args.pairs:
        print()
        pairs = [row for comparison in comparisons for row in pair_rows(comparison)]
        print_table(pairs, title="pairs", keep=("first", "second", "first - second"))
    print()
    print_lines(reading(comparisons))
    return 0


def reading(comparisons: Sequence[Comparison]) -> list[str]:
    """Say how many pairs were compared, by what they were resampled and what a rank means."""
    from eval_harness.results.comparison import ALPHA

    number = sum(len(comparison.pairs) for comparison in comparisons)
    units = [f"{comparison.task}: {comparison.resampled}" for comparison in comparisons]
    lines = [
        f"{number} {'pair' if number == 1 else 'pairs'}; {'; '.join(units)}.",
        f"Models of one rank are not distinguished from the best of it: p (Holm), adjusted for all pairs of a task, is "
        f"{ALPHA:g} or more. So equal models are separated on at most {100 * ALPHA:g} % of tasks.",
        "As published: the unadjusted 95 % interval of the difference decides; of several equal models the best is "
        "then often separated (of eight on half of the tasks).",
    ]
    if any(c.unit == "record" and c.patients is not None and c.patients < c.records for c in comparisons):
        lines.append(
            "Records of one patient are not independent: drawn by record, equal models differ more often than said "
            "here; --by patient draws patients."
        )
    return lines


def _comparisons(runs: list[ResultFolder], args: argparse.Namespace) -> Any:
    from eval_harness.results.comparison import compare_models
    from eval_harness.tasks.registry import expand, tasks

    include = split_commas(args.include)
    by_name = tasks(include)
    wanted = {task.name for task in expand(args.tasks, include)} if args.tasks else None
    by_task: dict[str, dict[str, ResultFolder]] = defaultdict(dict)
    for run in runs:
        for task, result in run.results.items():
            if result.status == "done" and (wanted is None or task in wanted):
                # Two folders of one model, mode and seed are compared as well: the second is called by its folder.
                name = run.name if run.name not in by_task[task] else f"{run.name} ({run.folder})"
                by_task[task][name] = run
    # Tasks that only one run has done are left out in silence where others can be compared.
    shared = {task: group for task, group in by_task.items() if len(group) > 1}
    if not shared:
        there = ", ".join(sorted(by_task)) or "none"
        raise InputError(f"No task was done by two of these {len(runs)} runs. Done by one: {there}.")
    for task, group in shared.items():
        if task not in by_name:
            raise ResultError(f"Task {task!r} is not known here; pass its file by --include.")
        predictions = {name: run.predictions(run.results[task]) for name, run in group.items()}
        comparison = compare_models(by_name[task], predictions, args.metric, args.resamples, by=args.by)
        yield comparison, {name: run.results[task] for name, run in group.items()}


def rank_rows(comparison: Comparison, results: Mapping[str, Result]) -> list[dict[str, object]]:
    """One row per model: both ranks, score with interval, difference to the best, deviations from the protocol."""
    from eval_harness.results.summary import deviation_parts

    best = comparison.standings[0].model
    to_best = {pair.second: pair for pair in comparison.pairs if pair.first == best}
    rows: list[dict[str, object]] = []
    for standing in comparison.standings:
        score, pair = standing.score, to_best.get(standing.model)
        rows.append(
            {
                "task": comparison.task,
                "model": standing.model,
                "rank": standing.rank,
                "as published": standing.rank_published,
                "score": f"{score.point:.3f} [{score.low:.3f}, {score.high:.3f}]",
                "behind the best": "-" if pair is None else _text(pair.difference),
                "metric": comparison.metric,
                "records": comparison.records,
                "drawn by": comparison.unit,
                "labels": len(comparison.labels),
                "deviations": deviation_parts(results[standing.model]),
            }
        )
    return rows


def pair_rows(comparison: Comparison) -> list[dict[str, object]]:
    """One row per pair: difference with its unadjusted interval, p-values, and both readings."""
    from eval_harness.results.comparison import p_text

    return [
        {
            "task": comparison.task,
            "first": pair.first,
            "second": pair.second,
            "first - second": _text(pair.difference),
            "p": p_text(pair.p),
            "p (Holm)": p_text(pair.p_holm),
            "distinguished": "yes" if pair.distinguished else "no",
            "as published": "differ" if pair.difference.significant else "tie",
        }
        for pair in comparison.pairs
    ]


def _text(difference: Any) -> str:
    return f"{difference.point:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _defined(value: Any) -> Any:
    """The same with null for what is not defined, as JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _defined(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
