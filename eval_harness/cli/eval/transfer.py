"""`ecg-eval transfer`: a trained head on another dataset."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_hub.errors import ExitCode
from ecg_hub.utils.remote import shown
from ecg_hub.utils.text import print_lines, print_table
from eval_harness.cli.common import shared, split_commas
from eval_harness.cli.eval.robustness import add_reopening, reopening
from eval_harness.cli.program import suggest

if TYPE_CHECKING:
    from eval_harness.analyses.transfer.schema import TransferResult


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "transfer",
        help="score a run's trained head on another dataset",
        description="Score the trained heads of a run on another dataset, through SNOMED CT codes of the labels of "
        "both; thresholds are those of the run's validation records. Lists what could not be mapped. The run must have "
        "been made with --save-model.",
    )
    parser.add_argument("folder", metavar="RUN", help="a result folder of `ecg-eval run --save-model`")
    parser.add_argument("--to", required=True, metavar="DATASET", help="the other dataset; see `ecg-hub data ls`")
    parser.add_argument("--tasks", action="append", metavar="T", help="only these tasks of the run")
    parser.add_argument("--map", type=Path, metavar="FILE", help="your own label map: CSV source,target,code,origin")
    parser.add_argument("--column", default="label_all", metavar="C", help="label column (default: label_all)")
    parser.add_argument("--split", default="test", metavar="S", help="train, validation or test (default: test)")
    parser.add_argument("--records", type=int, metavar="N", help="at most N records, evenly spaced (default: all)")
    parser.add_argument("--resamples", type=int, metavar="N", help="bootstrap resamples (default: those of the run)")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: RUN/transfer")
    add_reopening(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score; prints one row per concept, what is not mapped, and where the files lie."""
    from eval_harness.analyses.transfer.report import write_dumbbells
    from eval_harness.analyses.transfer.run import FOLDER, TransferOptions, run_transfer

    options = TransferOptions(
        to=args.to,
        tasks=split_commas(args.tasks),
        column=args.column,
        split=args.split,
        label_map=args.map,
        **reopening(args),
    )
    output = options.output or options.folder / FOLDER
    with shared(output):
        results = run_transfer(options)
        files = [path for result in results for path in write_dumbbells(result, output)]
    failed = [task.status == "failed" for result in results for task in result.tasks.values()]
    code = ExitCode.of(failed.count(False), failed.count(True))
    if args.json:
        print(json.dumps([result.model_dump(mode="json") for result in results], indent=1, ensure_ascii=False))
        return code
    for result in results:
        _print(result)
    print(", ".join(shown(path) for path in files))
    suggest(("ecg-eval", "report", shown(options.folder), "--analyses", shown(output)))
    return code


def _print(result: TransferResult) -> None:
    from eval_harness.analyses.transfer.schema import concept_rows

    for name, task in result.tasks.items():
        about = f"{name}: {result.source} -> {result.target}, {result.records} records, {result.contamination}"
        if task.status == "failed":
            print_lines([about, f"failed: {task.reason}"])
        else:
            print_lines([about])
            linked = (result.source, result.target, "who links them")
            heading = f"{result.model.id} {result.mode} {name}"
            keep = ("concept", "AUROC", *linked[:2])
            print_table(concept_rows(result, name), title="concepts", heading=heading, keep=keep, prose=linked)
        print_lines(f"doubtful: {mapped.name}: {mapped.flag}" for mapped in task.mapped if mapped.flag is not None)
        for side, unmapped in ((result.source, task.unmapped_source), (result.target, task.unmapped_target)):
            none = "; ".join(f"{k} ({v})" for k, v in unmapped.items()) or "none"
            print_lines([f"not mapped, {side}: {none}"])
