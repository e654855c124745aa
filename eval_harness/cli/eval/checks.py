"""`ecg-eval verify` and `ecg-eval reproduce`: whether a run's numbers are what its predictions and settings give."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ecg_hub.utils.text import print_table
from eval_harness.cli.common import add_json_flag, split_commas

SHOWN = 20


def register(verbs: Any) -> None:
    """Add the two verbs."""
    check = verbs.add_parser(
        "verify",
        help="compute every metric again from the stored predictions",
        description="Compute every metric of runs again from their stored predictions. Exit code 0: all are equal.",
    )
    check.add_argument("runs", nargs="+", metavar="RUN", help="result folders, or folders above them")
    _common(check)
    check.set_defaults(run=run_verify)

    again = verbs.add_parser(
        "reproduce",
        help="make a run again from its run.json and compare",
        description="Make a run again from its run.json and compare predictions and metrics. Exit code 0: identical, "
        "or predictions equal within 1e-5.",
    )
    again.add_argument("folder", metavar="RUN", help="one result folder")
    again.add_argument("--data-root", metavar="DIR", help="the datasets (default: as of `run`; mock runs need none)")
    again.add_argument("--output", type=Path, metavar="DIR", help="keep the new run here (default: discarded)")
    again.add_argument("--device", metavar="D", help="cpu, cuda, mps (default: what there is)")
    again.add_argument("--cache-dir", type=Path, metavar="DIR", help="prepared data (default: $ECG_HUB_HOME)")
    _common(again)
    again.set_defaults(run=run_reproduce)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--include", action="append", metavar="PATH", help="your own task files or folders of them")
    add_json_flag(parser)


def run_verify(args: argparse.Namespace) -> int:
    """Verify runs; prints one line per task, and below it what differs."""
    from eval_harness.results.folders import find_runs
    from eval_harness.results.verify import verdict, verify
    from eval_harness.tasks.registry import tasks

    by_name = tasks(split_commas(args.include))
    checks = [check for run in find_runs(args.runs) for check in verify(run, by_name)]
    if args.json:
        print(json.dumps([asdict(check) for check in checks], indent=1, ensure_ascii=False))
        return verdict(checks)
    # Nothing found is no line: the two apply to the rows that have some.
    rows = [
        {
            "run": check.run,
            "task": check.task,
            "result": check.state,
            "found": _found(check.findings) or None,
            "note": list(check.notes) or None,
        }
        for check in checks
    ]
    print_table(rows, title="results", keep=("run", "task", "result"), notes=("found", "note"))
    return verdict(checks)


def _found(findings: Sequence[str]) -> list[str]:
    more = len(findings) - SHOWN
    return [*findings[:SHOWN], *([f"and {more} more"] if more > 0 else [])]


def run_reproduce(args: argparse.Namespace) -> int:
    """Make a run again and compare."""
    from eval_harness.results.folders import read_found
    from eval_harness.runner.reproduce import changed_environment, compare_runs, options_of
    from eval_harness.runner.run import evaluate

    stored = read_found(Path(args.folder).expanduser())
    others: dict[str, Any] = {"include": tuple(Path(path) for path in split_commas(args.include))}
    others |= {name: getattr(args, name) for name in ("device", "cache_dir") if getattr(args, name) is not None}
    with tempfile.TemporaryDirectory(prefix="ecg-reproduce-") as scratch:
        options = options_of(stored.run, args.data_root or "", args.output or Path(scratch), **others)
        results = evaluate(options)
        if not results:  # of several processes, one holds the results
            return 0
        settings = stored.run.settings
        from eval_harness.runner.plan import result_folder

        again = read_found(result_folder(options, settings.model.id, settings.mode, settings.seed))
        repeats = list(compare_runs(stored, again))
        changed = changed_environment(stored, again)
    if args.json:
        content = {"tasks": [asdict(repeat) for repeat in repeats], "environment": changed}
        print(json.dumps(content, indent=1, ensure_ascii=False))
    else:
        print_table([asdict(repeat) for repeat in repeats], title="results", keep=("task", "state"))
        if changed:
            print("environment: " + "; ".join(changed))
    return int(any(repeat.state not in ("identical", "equal") for repeat in repeats))
