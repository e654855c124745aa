"""`ecg-eval compare`: models against each other on the same test records and resamples."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from typing import Any

from ecg_hub.utils.text import print_lines, print_table
from eval_harness.cli.common import add_json_flag, split_commas


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
    from eval_harness.results.compared import compare_folders, pair_rows, rank_rows, reading
    from eval_harness.results.folders import find_runs

    chosen = {"metric": args.metric, "resamples": args.resamples, "by": args.by, "include": split_commas(args.include)}
    compared = list(compare_folders(find_runs(args.runs), split_commas(args.tasks), **chosen))
    comparisons = [comparison for comparison, _ in compared]
    if args.json:
        print(json.dumps([_defined(asdict(comparison)) for comparison in comparisons], indent=1, ensure_ascii=False))
        return 0
    # Both readings side by side: who knows the paper's tables would otherwise take a missing star for a fault.
    ranks = [row for comparison, results in compared for row in rank_rows(comparison, results)]
    print_table(ranks, title="ranks", keep=("model", "rank", "score"), notes=("deviations",))
    if args.pairs:
        print()
        pairs = [row for comparison in comparisons for row in pair_rows(comparison)]
        print_table(pairs, title="pairs", keep=("first", "second", "first - second"))
    print()
    print_lines(reading(comparisons))
    return 0


def _defined(value: Any) -> Any:
    """The same with null for what is not defined, as JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _defined(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
