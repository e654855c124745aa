"""`ecg-eval robustness`: where a trained head breaks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecg_hub.utils.remote import bring, place, shown
from ecg_hub.utils.text import print_lines, print_table
from eval_harness.cli.common import add_arguments, add_json_flag, read_values, shared, split_commas
from eval_harness.cli.program import suggest
from eval_harness.config.options import ReopenOptions


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "robustness",
        help="score a run's trained heads again on corrupted records",
        description="Score the trained heads of a run again on corrupted test records, at graded strengths: leads "
        "lost, exchanged or flat, lower rate, wrong gain, wander, hum, muscle noise, missing segments. Nothing is "
        "trained. The run must have been made with --save-model. The same command continues where it stopped.",
    )
    parser.add_argument("folder", metavar="RUN", help="a result folder of `ecg-eval run --save-model`")
    parser.add_argument("--corruptions", action="append", metavar="C", help="names or groups; wildcards allowed")
    parser.add_argument("--runs", action="append", metavar="R", help="only these training runs of the folder")
    parser.add_argument("--records", type=int, metavar="N", help="at most N test records, evenly spaced (default: all)")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: RUN/robustness")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the corruptions (default: 0)")
    parser.add_argument("--mains", type=float, default=50.0, metavar="HZ", help="of the hum: 50 or 60 (default: 50)")
    parser.add_argument("--resamples", type=int, metavar="N", help="bootstrap resamples (default: those of the run)")
    add_reopening(parser)
    parser.set_defaults(run=run)


def add_reopening(parser: argparse.ArgumentParser) -> None:
    """Add the options of a verb that reopens a run."""
    add_arguments(parser, ReopenOptions)
    add_json_flag(parser)


def reopening(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `ReopenOptions` that the command line gave."""
    return {
        "folder": bring(place(args.folder)),
        "output": place(args.output) if args.output else None,
        "records": args.records,
        "resamples": args.resamples,
        "quiet": args.json,
        **read_values(ReopenOptions, vars(args)),
    }


def run(args: argparse.Namespace) -> int:
    """Score; prints one row per condition and where the files lie."""
    from eval_harness.analyses.robustness.report import write_curves
    from eval_harness.analyses.robustness.run import FOLDER, RobustnessOptions, run_robustness
    from eval_harness.analyses.robustness.schema import condition_rows

    options = RobustnessOptions(
        wanted=split_commas(args.corruptions),
        runs=split_commas(args.runs),
        seed=args.seed,
        mains_hz=args.mains,
        **reopening(args),
    )
    output = options.output or options.folder / FOLDER
    with shared(output):
        results = run_robustness(options)
        files = [path for result in results for path in write_curves(result, output)]
    if args.json:
        print(json.dumps([result.model_dump(mode="json") for result in results], indent=1))
        return 0
    for result in results:
        for task in result.main:
            rows = [_with_reason(row, result.main[task]) for row in condition_rows(result, task)]
            heading = f"{result.model.id} {result.mode} {task}"
            print_table(rows, title="conditions", heading=heading, keep=_kept(rows), notes=("reason",))
            print()
    units = dict.fromkeys(str(result.settings["changes_resampled_by"]) for result in results)
    print_lines(
        [
            f"Changes are resampled by {' and '.join(units)}; significant: their interval excludes 0, not adjusted for "
            "the number of conditions."
        ]
    )
    print(", ".join(shown(path) for path in files))
    suggest(("ecg-eval", "report", shown(options.folder), "--analyses", shown(output)))
    return 0


def _with_reason(row: dict[str, object], metric: str) -> dict[str, object]:
    """The row with what is too long for its column in one of its own."""
    word, _, reason = str(row[metric]).partition(": ")
    return {**row, metric: word if reason else row[metric], "reason": reason or None}


def _kept(rows: Sequence[dict[str, object]]) -> tuple[str, ...]:
    return tuple(name for name in rows[0] if name not in ("task", "unit"))
