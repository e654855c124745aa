"""`ecg-eval label-efficiency`: how many labelled records a model needs, against a supervised baseline."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError
from ecg_hub.utils.remote import shown
from ecg_hub.utils.text import number_of, print_lines, print_table
from eval_harness.cli.common import add_json_flag, shared, split_commas
from eval_harness.cli.eval import run as run_verb
from eval_harness.cli.program import suggest

DEFAULT_TASK = "ptbxl_label_efficiency"
DEFAULT_OUTPUT = Path("label_efficiency")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "label-efficiency",
        help="score on 1 ... 1/128 of the training records, curves, records saved against a baseline",
        description="Train on stratified parts of the training records, fit C N^-alpha + L0 to 1 - macro AUROC, and "
        "give r(N), the records that a model needs for the score of the baseline at N records, over N. Published sets "
        "of labels: echonext_label_efficiency (6), ptbxl_label_efficiency (5), ptbxl_all_label_efficiency (13); any "
        "task of classes will do. Repeating a command continues where it stopped.",
        argument_default=argparse.SUPPRESS,
    )
    group = parser.add_argument_group("label efficiency")
    group.add_argument("--fractions", action="append", metavar="F", help="default: 1,1/2,1/4,...,1/128")
    group.add_argument("--subset-seeds", action="append", metavar="N", help="draws of each fraction (default: 0)")
    group.add_argument("--baseline", metavar="M", help="supervised baseline, or none (default: s4)")
    group.add_argument("--baseline-mode", metavar="MODE", help="default: scratch")
    group.add_argument("--ratio-at", action="append", metavar="N", help="records to give r(N) at (default: all sizes)")
    group.add_argument("--nested", action="store_true", help="smaller subsets lie in larger ones")
    group.add_argument("--all-records", action="store_true", help="not one record per patient; validation left whole")
    add_json_flag(group)
    run_verb.add_options(parser)
    parser.set_defaults(run=run)


def study_of(args: argparse.Namespace) -> Any:
    """The study that the words ask for."""
    from eval_harness.analyses.label_efficiency.run import FRACTIONS, Study
    from eval_harness.config.options import TrainSubset

    given, defaults = vars(args), {"tasks": [DEFAULT_TASK], "mode": ["finetune"], "output": DEFAULT_OUTPUT}
    whole = bool(given.get("all_records"))
    baseline = given.get("baseline", "s4")
    return Study(
        options=run_verb.options_from({**defaults, **run_verb.gather(args)}),
        fractions=run_verb.fractions(args) or FRACTIONS,
        subset_seeds=_numbers("--subset-seeds", given.get("subset_seeds"), int) or (0,),
        subset=TrainSubset(nested=bool(given.get("nested")), one_record_per_patient=not whole, validation=not whole),
        baseline=None if baseline == "none" else (baseline, given.get("baseline_mode", "scratch")),
        ratio_at=_numbers("--ratio-at", given.get("ratio_at"), float),
    )


def _numbers(option: str, given: Any, kind: Any) -> tuple[Any, ...]:
    texts = split_commas(given)
    try:
        numbers = tuple(kind(text) for text in texts)
    except ValueError as error:
        raise InputError(f"{option} is {','.join(texts)!r}: give numbers, for example {option} 1,2.") from error
    if any(not value >= 0 for value in numbers) or (kind is float and any(not 1 <= value < 1e12 for value in numbers)):
        raise InputError(f"{option} is {','.join(texts)!r}: too small, or no number.")
    return numbers


def run(args: argparse.Namespace) -> int:
    """Run the study; prints points, curves and ratios."""
    from eval_harness.analyses.label_efficiency.run import PLOT_FILE, planned, run_study
    from eval_harness.analyses.label_efficiency.schema import RESULT_FILE
    from eval_harness.analyses.studies import fraction_name
    from eval_harness.runner.preflight import preflight
    from eval_harness.runner.run import exit_code

    study = study_of(args)
    if getattr(args, "dry_run", False):
        calls = list(planned(study))
        found = preflight(*(call.options for call in calls))
        if not found.is_complete:
            print(found.describe())
        for call in calls:
            print(f"{call.task} {call.model} {call.mode} {fraction_name(call.fraction)} -> {call.options.output}")
        print(number_of(len(calls) * len(study.options.seeds), "run"))
        return int(not found.is_complete)
    with shared(study.options.output):
        content, results = run_study(study)
    if not results:  # of several processes, one holds the results
        return 0
    if getattr(args, "json", False):
        print(json.dumps(content, indent=1))
    else:
        _print(content)
        print(", ".join(shown(study.options.output / name) for name in (RESULT_FILE, PLOT_FILE)))
        suggest(("ecg-eval", "report", "--analyses", shown(study.options.output)))
    return exit_code(results)


def _print(content: dict[str, Any]) -> None:
    from eval_harness.analyses.label_efficiency.schema import curve_rows, point_rows, ratio_rows
    from eval_harness.analyses.studies import reasons

    print_table(
        point_rows(content), title="points", heading="points", keep=("model", "fraction", "macro AUROC", "macro AUPRC")
    )
    print()
    curve = "curves: 1 - macro AUROC = C N^-alpha + L0"
    print_table(curve_rows(content), title="curves", heading=curve, keep=("model", "C", "alpha"), notes=("note",))
    if content["ratios"]:
        print()
        needed = "records needed, over those of the baseline"
        shown = ("model", "N of the baseline", "r(N)")
        print_table(ratio_rows(content), title="ratios", heading=needed, keep=shown, notes=("note",))
    print_lines(["", *reasons(content), *(f"not done: {fault.splitlines()[0]}" for fault in content["not_done"])])
