"""`ecg-eval ablation`: what the parts of mode `post_train` bring, at several fractions of the training records."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ecg_hub.errors import unknown_name
from ecg_hub.utils.remote import shown
from ecg_hub.utils.text import number_of, print_lines, print_table
from eval_harness.cli.common import add_json_flag, shared, split_commas
from eval_harness.cli.eval import run as run_verb
from eval_harness.cli.program import suggest


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "ablation",
        help="post_train with and without its parts, at several fractions of the training records",
        description="Run mode post_train with {preview on, off} x {stochastic depth on, off} x {pretrained, random "
        "weights} x fractions of the training records x seeds, and tabulate macro AUROC and macro AUPRC with "
        "intervals. Repeating a command continues where it stopped.",
        argument_default=argparse.SUPPRESS,
    )
    group = parser.add_argument_group("ablation")
    group.add_argument("--preview", action="append", metavar="on,off", help="stage 1 (default: on,off)")
    group.add_argument("--depth", action="append", metavar="on,off", help="stochastic depth (default: on,off)")
    group.add_argument("--weights", action="append", metavar="W", help="default: pretrained,random")
    group.add_argument("--fractions", action="append", metavar="F", help="of the training records (default: 1,0.3,0.1)")
    add_json_flag(group)
    run_verb.add_options(parser)
    parser.set_defaults(run=run)


def ablation_of(args: argparse.Namespace) -> Any:
    """The study that the words ask for."""
    from eval_harness.analyses.ablation.run import SWITCH, WEIGHTS, Ablation

    given = vars(args)
    return Ablation(
        options=run_verb.options_from({"mode": ["post_train"], "output": Path("ablation"), **run_verb.gather(args)}),
        previews=_switches("preview", given.get("preview"), SWITCH),
        depths=_switches("depth", given.get("depth"), SWITCH),
        weights=_switches("weights", given.get("weights"), WEIGHTS),
        fractions=run_verb.fractions(args) or (1.0, 0.3, 0.1),
    )


def _switches(name: str, given: Any, switches: dict[str, bool]) -> tuple[bool, ...]:
    chosen = split_commas(given) or tuple(switches)
    for switch in chosen:
        if switch not in switches:
            raise unknown_name(f"value of --{name}", switch, switches)
    return tuple(switches[switch] for switch in chosen)


def run(args: argparse.Namespace) -> int:
    """Run the study; prints the table."""
    from eval_harness.analyses.ablation.run import PLOT_FILE, planned, run_ablation
    from eval_harness.analyses.ablation.schema import RESULT_FILE, ablation_rows
    from eval_harness.analyses.studies import reasons
    from eval_harness.runner.preflight import preflight
    from eval_harness.runner.run import exit_code

    study = ablation_of(args)
    if getattr(args, "dry_run", False):
        calls = list(planned(study))
        found = preflight(*(call.options for call in calls))
        if not found.is_complete:
            print(found.describe())
        for call in calls:
            print(call.options.output)
        print(number_of(len(calls), "run"))
        return int(not found.is_complete)
    with shared(study.options.output):
        content, results = run_ablation(study)
    if not results:  # of several processes, one holds the results
        return 0
    if getattr(args, "json", False):
        print(json.dumps(content, indent=1))
    else:
        print_table(ablation_rows(content), title="ablation", keep=("fraction", "macro AUROC", "macro AUPRC"))
        print_lines(["", *reasons(content), *(f"not done: {fault.splitlines()[0]}" for fault in content["not_done"])])
        print(", ".join(shown(study.options.output / name) for name in (RESULT_FILE, PLOT_FILE)))
        suggest(("ecg-eval", "report", "--analyses", shown(study.options.output)))
    return exit_code(results)
