"""`ecg-eval verify` and `ecg-eval reproduce`: whether a run's numbers are what its predictions and settings give."""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ecg_hub.utils.text import print_table
from eval_harness.cli.common import add_json_flag, split_commas


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
    print_table([{"run": check.run, "task": check.task, "result": check.state} for check in checks], title="verified")
    for check in checks:
        for line in check.findings[:20]:
            print(f"  {check.run} {check.task}: {line}")
        if len(check.findings) > 20:
            print(f"  {check.run} {check.task}: and {len(check.findings) - 20} more")
        for line in check.notes:
            print(f"  {check.run} {check.task}: {line}")
    return verdict(checks)


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
        print_table([asdict(repeat) for repeat in repeats], title="made again")
        if changed:
            print("environment: " + "; ".join(changed))
    return int(any(repeat.state not in ("identical", "equal") for repeat in repeats))
