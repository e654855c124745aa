"""The verb `ecg-eval run`: options from the command line or a YAML file, then the runner."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_hub.errors import InputError
from ecg_hub.utils.remote import shown
from ecg_hub.utils.terminal import say
from eval_harness.cli.common import add_arguments, add_json_flag, in_spelling_of, read_config, split_commas
from eval_harness.cli.program import suggest
from eval_harness.config.options import HOW, NUMBERS, WHAT, RunOptions, parse_fraction
from eval_harness.config.protocol import PROTOCOLS, Protocol
from eval_harness.config.reading import options_from as options_from

if TYPE_CHECKING:
    from eval_harness.results.schema import Result
    from eval_harness.runner.preflight import Preflight


def register(verbs: Any) -> None:
    """Add the verb `run`."""
    parser = verbs.add_parser(
        "run",
        help="score models on tasks (the default verb)",
        description="Score models on tasks. Repeating a command continues where it stopped.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    add_options(parser)
    add_json_flag(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run; verbs that make many runs take them too."""
    what, how, numbers = (parser.add_argument_group(title) for title in (WHAT, HOW, NUMBERS))
    add_arguments(what, RunOptions, WHAT)
    what.add_argument("--config", type=Path, metavar="FILE", help="YAML file with these options; flags win")
    add_arguments(how, RunOptions, HOW)
    how.add_argument("--dry-run", action="store_true", help="show runs, sizes, estimated time and disk, then stop")
    spelling = in_spelling_of(PROTOCOLS)
    numbers.add_argument("--protocol", choices=sorted(PROTOCOLS), type=spelling, help="base protocol (default: paper)")
    add_arguments(numbers, Protocol, suffix=" (paper: {default})")
    add_arguments(numbers, RunOptions, NUMBERS)


def gather(args: argparse.Namespace) -> dict[str, Any]:
    """Merge the file given by --config with the command line, which wins."""
    # Nothing has a default in the parser, so what stands here was given, and may win over the file.
    given = {key: value for key, value in vars(args).items() if key not in ("run", "verb", "config")}
    if "config" not in args:
        return given
    return {**read_config(args.config, RunOptions, Protocol, others=("protocol", "dry_run")), **given}


def fractions(args: argparse.Namespace) -> tuple[float, ...]:
    """The parts of the training records that a study asks for by `--fractions`."""
    return tuple(parse_fraction(text) for text in split_commas(getattr(args, "fractions", None)))


def run(args: argparse.Namespace) -> int:
    """Score; prints the table and returns the exit code."""
    merged = gather(args)
    as_json = merged.pop("json", False)
    if as_json and merged.get("dry_run"):
        raise InputError("--json is of results, and --dry-run makes none: leave one of them out.")
    options = options_from(merged)
    # Imported here, as everywhere in the verbs: the help must start without torch. What is missing is told without it.
    from eval_harness.runner.preflight import preflight

    checked = preflight(options)
    if not options.download:
        checked.require()
    if merged.get("dry_run"):
        from eval_harness.runner.run import describe_run

        print(describe_run(options, checked))
        return int(not checked.is_complete)
    results, code = score(options, checked)
    if results and as_json:
        print(json.dumps(document(results, options), indent=1, ensure_ascii=False))
    elif results:  # of several processes, one holds the results
        from eval_harness.results.summary import print_summary

        say("")
        print_summary(results)
        next_steps(results, options)
    return code


def score(options: RunOptions, checked: Preflight) -> tuple[list[Result], int]:
    """The results of a call and its exit code; found again where the same call had them all before."""
    from eval_harness.runner.receipt import finished_results, keep_receipt

    found = finished_results(options, checked)
    if found is not None:
        return found, 0
    from eval_harness.runner.provide import ready
    from eval_harness.runner.run import evaluate, exit_code

    checked = ready(options, checked=checked)
    results = evaluate(options, checked=checked)
    keep_receipt(options, checked, results)
    return results, exit_code(results)


def document(results: Sequence[Result], options: RunOptions) -> dict[str, Any]:
    """The results of a run for programs: where each lies and its score; null where there is none."""
    from eval_harness.metrics.registry import main_of
    from eval_harness.runner.plan import plan

    files = [job.folder / f"{task.name}.json" for job in plan(options) for task in job.tasks]
    rows = []
    for result, file in zip(results, files, strict=True):
        metric = main_of(result.metrics)
        estimate = result.metrics[metric] if metric is not None else None
        score = {name: getattr(estimate, name, None) for name in ("point", "low", "high")}
        about = {"model": result.model.id, "mode": result.mode, "seed": result.seed, "task": result.task}
        done = {"status": result.status, "reason": result.reason}
        rows.append({**about, **done, "metric": metric, **score, "file": shown(file) if file.is_file() else None})
    return {"output": shown(options.output), "results": rows}


def next_steps(results: Sequence[Result], options: RunOptions) -> None:
    """Say where the results are, and what to do with them."""
    done = Counter(result.task for result in results if result.status == "done")
    where = f"results: {shown(options.output)}/"
    if any(result.status == "failed" for result in results):
        where += "; the same command tries what failed again"
    mock = ("--data-root", "mock") if options.data_root == "mock" else ()
    own = ("--include", ",".join(map(shown, options.include))) if options.include else ()
    output = shown(options.output)
    steps = [("ecg-eval", "report", output, *mock, *own)]
    # Two runs of a task can be compared, a single one can be checked.
    steps.append(("ecg-eval", "compare" if max(done.values(), default=0) > 1 else "verify", output, *own))
    suggest(*(steps if done else ()), where=where)
