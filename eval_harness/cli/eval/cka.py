"""`ecg-eval cka`: how alike the stages of encoders are, within and between models."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError
from ecg_hub.utils.text import print_table
from eval_harness.cli.common import add_json_flag, split_commas
from eval_harness.cli.program import suggest


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "cka",
        help="linear CKA between the stages of encoders, within and between models",
        description="Linear CKA, debiased and biased, of every two stages of one or several encoders on the records "
        "of any dataset. Writes cka.json, cka.svg and cka.png; the same command continues where it stopped.",
    )
    parser.add_argument("--model", action="append", metavar="M", help="short name, folder, hub id or random:NAME")
    parser.add_argument("--dataset", required=True, metavar="D", help="name of a dataset; see `ecg-hub data ls`")
    parser.add_argument(
        "--data-root", metavar="DIR", help="one folder per dataset, or `mock` (default: $ECG_DATA_ROOT)"
    )
    parser.add_argument("--output", type=Path, default=Path("cka"), metavar="DIR", help="default: cka")
    parser.add_argument("--split", default="test", metavar="S", help="train, validation or test (default: test)")
    parser.add_argument(
        "--records",
        type=int,
        default=1000,
        metavar="N",
        help="at most N records, evenly spaced; 0 = all (default: 1000)",
    )
    parser.add_argument("--preset", default="benchmark", metavar="P", help="benchmark or native (default: benchmark)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random encoders (default: 0)")
    parser.add_argument("--device", metavar="D", help="cpu, cuda, mps (default: what there is)")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="windows at once (default: 64)")
    parser.add_argument("--num-workers", type=int, default=0, metavar="N", help="processes that read (default: 0)")
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="prepared data (default: $ECG_HUB_HOME)")
    parser.add_argument("--include", action="append", metavar="PATH", help="descriptions of your own archives")
    parser.add_argument("--overwrite", action="store_true", help="discard a result made with other settings")
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare; prints one row per stage and where the files lie."""
    from eval_harness.analyses.cka.report import write_heat_maps
    from eval_harness.analyses.cka.run import CkaOptions, run_cka
    from eval_harness.analyses.cka.schema import stage_rows

    models = split_commas(args.model)
    if not models:
        raise InputError("No model was given. Example: --model random:ecg-cpc. See `ecg-eval ls models`.")
    others = {} if args.cache_dir is None else {"cache_dir": args.cache_dir}
    options = CkaOptions(
        models=models,
        dataset=args.dataset,
        data_root=args.data_root or os.environ.get("ECG_DATA_ROOT", ""),
        output=args.output.expanduser(),
        split=args.split,
        records=args.records or None,
        preset=args.preset,
        seed=args.seed,
        device=args.device,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        include=tuple(Path(path) for path in split_commas(args.include)),
        overwrite=args.overwrite,
        quiet=args.json,
        **others,
    )
    result = run_cka(options)
    files = write_heat_maps(result, options.output)
    if args.json:
        print(result.model_dump_json(indent=1))
        return 0
    print_table(stage_rows(result), title="stages", keep=("model", "stage", "most alike elsewhere"))
    print(", ".join(str(path) for path in files))
    suggest(("ecg-eval", "report", "--analyses", options.output))
    return 0
