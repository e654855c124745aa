"""`ecg-eval report`: one self-contained HTML page from result folders."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError
from ecg_hub.utils.remote import place, publish, shown
from ecg_hub.utils.text import number_of
from eval_harness.cli.common import add_json_flag, split_commas

DEFAULT = Path("report.html")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "report",
        help="write one HTML page: scores, forest plots, labels, reliability, subgroups, ECGs, analyses",
        description="Write the results of one or several runs, and analyses beside them, as one HTML file that needs "
        "no network and no script. "
        "ECGs are drawn only with --data-root, and only of data whose licence allows it.",
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="result folders, or folders above them")
    parser.add_argument(
        "--analyses", action="append", metavar="DIR", help="folders of analyses; those in and below RUN are found"
    )
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT, metavar="FILE", help="default: report.html")
    parser.add_argument("--tasks", action="append", metavar="T", help="only these tasks and suites")
    parser.add_argument("--data-root", default="", metavar="DIR", help="draw ECGs from here; mock runs: `mock`")
    parser.add_argument("--examples", type=int, default=6, metavar="N", help="ECGs per task, 0 = none (default: 6)")
    parser.add_argument("--labels", type=int, default=60, metavar="N", help="labels per task, 0 = all (default: 60)")
    parser.add_argument("--resamples", type=int, metavar="N", help="of the comparison (default: those of the runs)")
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="prepared data (default: $ECG_HUB_HOME)")
    parser.add_argument("--include", action="append", metavar="PATH", help="your own task files or folders of them")
    add_json_flag(parser)
    parser.set_defaults(run=run_report)


def run_report(args: argparse.Namespace) -> int:
    """Write the page; prints the file, its size and what it shows."""
    from eval_harness.report.content import find_content
    from eval_harness.report.page import ReportOptions, write_report
    from eval_harness.tasks.registry import expand

    include = split_commas(args.include)
    options = ReportOptions(
        tasks=frozenset(task.name for task in expand(args.tasks, include)) if args.tasks else None,
        include=include,
        data_root=args.data_root,
        examples=args.examples,
        labels=args.labels,
        resamples=args.resamples,
        others={} if args.cache_dir is None else {"cache_dir": args.cache_dir},
    )
    analyses = split_commas(args.analyses)
    # Analyses may be named without runs, so argparse cannot ask for one of the two.
    if not args.runs and not analyses:
        raise InputError("Nothing was named: give result folders, or --analyses DIR.")
    written = write_report(find_content(args.runs, analyses), place(args.output), options, quiet=args.json)
    publish(written.path)
    facts = {
        "file": shown(written.path),
        "bytes": written.size,
        "runs": written.runs,
        "tasks": written.tasks,
        "results": written.results,
        "ecgs": written.ecgs,
        "analyses": written.analyses,
    }
    if args.json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        # Recorded ones are drawn on request alone: a newcomer takes the 0 for a fault.
        ecgs = (
            number_of(written.ecgs, "ECG")
            if written.ecgs or args.data_root or not written.results
            else "no ECGs without --data-root"
        )
        size = f"{written.size / 1e3:,.0f} kB"
        counts = ", ".join(
            [
                number_of(written.runs, "run"),
                number_of(written.tasks, "task"),
                number_of(written.results, "result"),
                ecgs,
            ]
        )
        counts += f", {number_of(written.analyses, 'analysis', 'analyses')}" if written.analyses else ""
        print(f"{shown(written.path)}: {size}, {counts}")
    return 0
