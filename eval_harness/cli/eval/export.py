"""`ecg-eval export`: results as a table for other programs, or in the format of Every Eval Ever."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_hub.errors import InputError
from ecg_hub.utils.remote import place, publish
from ecg_hub.utils.terminal import say
from ecg_hub.utils.text import number_of
from eval_harness.cli.common import split_commas

if TYPE_CHECKING:
    from eval_harness.results.folders import ResultFolder

EVERY_EVAL_EVER = "every-eval-ever"
FORMATS = ("csv", "json", "latex", "markdown", "parquet", EVERY_EVAL_EVER)
OF_EVERY_EVAL_EVER = ("allow_synthetic", "organization", "relationship")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "export",
        help="write results as CSV, Parquet, JSON, Markdown or LaTeX, or as Every Eval Ever's JSON",
        description="Write the results of one or several runs as one tidy table: a row for every model, mode, seed, "
        "task and metric, with interval, deviations, digests and status. Markdown and LaTeX hold the table that a run "
        "prints: a row for every task. every-eval-ever writes one JSON file for every run, for the EvalEval "
        "coalition's datastore.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="result folders, or folders above them")
    parser.add_argument("--format", choices=FORMATS, help="default: by the ending of --output, otherwise csv")
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", help="file, or the folder of every-eval-ever; "
                        "default: print")  # fmt: skip
    parser.add_argument("--tasks", action="append", metavar="T", help="only these tasks and suites")
    parser.add_argument("--per-label", action="store_true", help="a row for every label in place of the task's means")
    parser.add_argument("--include", action="append", metavar="PATH", help="your own task files or folders of them")
    parser.add_argument("--allow-synthetic", action="store_true", help="every-eval-ever: take simulated data, marked")
    parser.add_argument("--organization", metavar="NAME", help="every-eval-ever: who ran this (default: unknown)")
    parser.add_argument(
        "--relationship",
        metavar="R",
        choices=("first_party", "third_party", "collaborative", "other"),
        help="every-eval-ever: first_party, third_party, collaborative or other: of whoever ran this to the model "
        "(default: third_party for a model of the catalogue, other for any other)",
    )
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> int:
    """Write or print the results; stderr says where they are and whether they are simulated."""
    from eval_harness.results.export import export_table, export_text
    from eval_harness.results.summary import SYNTHETIC

    form = _format(args)
    runs = _chosen(args)
    if form == EVERY_EVAL_EVER:
        return _every_eval_ever(args, runs)
    results = [result for run in runs for result in run.results.values()]
    if args.output is None:
        print(export_text(results, form, args.per_label), end="")
    else:
        export_table(results, place(args.output), form, args.per_label)
        publish(place(args.output))
        say(f"{args.output}: {number_of(len(results), 'result')} of {number_of(len(runs), 'run')}", important=True)
    if any(result.is_synthetic for result in results):
        say(SYNTHETIC, important=True)
    return 0


def _format(args: argparse.Namespace) -> str:
    """The format asked for; options that it does not know, and what cannot be printed, are refused."""
    from eval_harness.results.export import format_of

    form = str(args.format or ("csv" if args.output is None else format_of(args.output)))
    if form in (EVERY_EVAL_EVER, "parquet") and args.output is None:
        raise InputError(f"--format {form} cannot be printed: pass -o PATH.")
    if form == EVERY_EVAL_EVER and args.per_label:
        raise InputError("--per-label is for tables: choose csv, json or parquet.")
    given = [f"--{name.replace('_', '-')}" for name in OF_EVERY_EVAL_EVER if getattr(args, name)]
    if form != EVERY_EVAL_EVER and given:
        raise InputError(f"{', '.join(given)} goes with --format {EVERY_EVAL_EVER}, not with {form}.")
    return form


def _chosen(args: argparse.Namespace) -> list[ResultFolder]:
    """The runs with the tasks that were asked for."""
    from eval_harness.results.folders import find_runs
    from eval_harness.tasks.registry import expand

    runs = find_runs(args.runs)
    if not args.tasks:
        return runs
    wanted = {task.name for task in expand(args.tasks, split_commas(args.include))}
    kept = [
        replace(run, results={task: result for task, result in run.results.items() if task in wanted}) for run in runs
    ]
    if not any(run.results for run in kept):
        there = ", ".join(sorted({task for run in runs for task in run.results})) or "none"
        raise InputError(f"No run has a result of {', '.join(split_commas(args.tasks))}; there are {there}.")
    return kept


def _every_eval_ever(args: argparse.Namespace, runs: list[ResultFolder]) -> int:
    from eval_harness.publish.every_eval_ever import UNKNOWN, write_logs
    from eval_harness.tasks.registry import tasks

    files = write_logs(
        runs,
        tasks(split_commas(args.include)),
        place(args.output),
        organization=args.organization or UNKNOWN,
        relationship=args.relationship,
        synthetic=args.allow_synthetic,
    )
    publish(place(args.output))
    for file in files:
        print(file)
    left_out = sum(result.status != "done" for run in runs for result in run.results.values())
    if left_out:
        say(
            f"{left_out} tasks that failed or were skipped are left out: the format has no place for them.",
            important=True,
        )
    return 0
