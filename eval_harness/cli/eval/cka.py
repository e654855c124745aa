"""`ecg-eval cka`: how alike the stages of encoders are, within and between models."""

from __future__ import annotations

import argparse
from typing import Any

from ecg_hub.errors import InputError
from ecg_hub.utils.remote import shown
from ecg_hub.utils.text import print_table
from eval_harness.analyses.cka.options import CkaOptions
from eval_harness.cli.common import add_arguments, add_json_flag, read_values, shared
from eval_harness.cli.program import suggest


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "cka",
        help="linear CKA between the stages of encoders, within and between models",
        description="Linear CKA, debiased and biased, of every two stages of one or several encoders on the records "
        "of any dataset. Writes cka.json, cka.svg and cka.png; the same command continues where it stopped.",
    )
    add_arguments(parser, CkaOptions)
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare; prints one row per stage and where the files lie."""
    from eval_harness.analyses.cka.report import write_heat_maps
    from eval_harness.analyses.cka.run import run_cka
    from eval_harness.analyses.cka.schema import stage_rows

    given = read_values(CkaOptions, vars(args))
    if not given.get("models"):
        raise InputError("No model was given. Example: --model random:ecg-cpc. See `ecg-eval ls models`.")
    options = CkaOptions(**{"quiet": args.json, **given})
    with shared(options.output):
        result = run_cka(options)
        files = write_heat_maps(result, options.output)
    if args.json:
        print(result.model_dump_json(indent=1))
        return 0
    print_table(stage_rows(result), title="stages", keep=("model", "stage", "most alike elsewhere"))
    print(", ".join(shown(path) for path in files))
    suggest(("ecg-eval", "report", "--analyses", shown(options.output)))
    return 0
