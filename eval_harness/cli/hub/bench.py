"""`ecg-hub bench` and `validate-model`: what models cost to run, and whether one keeps the contract."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ecg_hub.utils.terminal import say
from ecg_hub.utils.text import print_table
from eval_harness.cli.common import add_json_flag, in_spelling_of, split_commas
from eval_harness.config.options import PRESETS, model_names

DESCRIPTION = """\
Measure the encoder of each model: parameters, multiply-accumulates per record of 10 s, records per second, and the peak
memory of tensors (weights, input, activations). A short name is measured with random weights: costs do not depend on
their values, and no weights file is needed. A record is cut into as many windows as fit, as in validation and test."""
CONTRACT = """\
Run the model contract on a model: shapes, batches, determinism, precision, damaged input, gradients, saving. Code that
FILE.py names is run; nothing is trained. Exit code 1 if a check fails; a warning is a drawback, such as a mode or a
precision that cannot be used."""


def register(verbs: Any) -> None:
    """Add the verbs."""
    bench = verbs.add_parser(
        "bench",
        help="parameters, operations, speed and memory of models",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument(
        "names", nargs="+", metavar="NAME", help="short name or pattern, folder, hub id; `all`: every architecture"
    )
    bench.add_argument(
        "--preset", choices=PRESETS, type=in_spelling_of(PRESETS), default="benchmark", help="default: benchmark"
    )
    bench.add_argument(
        "--batch-size",
        action="append",
        metavar="N[,N]",
        help="records of 10 s per forward pass, repeatable (default: 1,32)",
    )
    bench.add_argument("--device", default="cpu", help="cpu, cuda, mps (default: cpu)")
    bench.add_argument("--threads", type=int, metavar="N", help="threads of the CPU (default: as torch is set)")
    bench.add_argument(
        "--seconds", type=float, default=2.0, metavar="S", help="time each batch size for so long (default: 2)"
    )
    bench.add_argument("--format", choices=("table", "json", "markdown"), default="table", help="default: table")
    bench.set_defaults(run=run_bench)
    validate = verbs.add_parser(
        "validate-model", help="check a model of anybody's against the model contract", description=CONTRACT
    )
    validate.add_argument("model", metavar="MODEL", help="short name, folder, hub id, or FILE.py:NAME of an own object")
    add_json_flag(validate)
    validate.set_defaults(run=run_validate_model)


def run_bench(args: argparse.Namespace) -> int:
    """Measure and print; progress goes to standard error."""
    sizes = _batch_sizes(args.batch_size)
    names = _names(args.names)
    from ecg_hub.inference.bench import bench, rows

    costs = []
    for number, name in enumerate(names, start=1):
        if len(names) > 1:
            say(f"{number}/{len(names)} {name}")
        costs.append(
            bench(
                name,
                preset=args.preset,
                batch_sizes=sizes,
                device=args.device,
                threads=args.threads,
                seconds=args.seconds,
            )
        )
    if args.format == "json":
        print(json.dumps([dataclasses.asdict(cost) for cost in costs], indent=1))
    elif args.format == "markdown":
        print(markdown(rows(costs)))
    else:
        print_table(rows(costs), title="costs", keep=list(rows(costs)[0]))
        last = costs[-1]
        threads = f", {last.threads} thread{'s' if last.threads > 1 else ''}" if last.threads else ""
        print(f"preset {last.preset}, {last.device}{threads}, float32, torch {last.torch}")
    return 0


def markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as a Markdown table, numbers to the right."""
    columns = list(rows[0])
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *([str(row[key]) for key in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _names(given: Sequence[str]) -> tuple[str, ...]:
    """The models asked for; a name that looks short is checked before torch is imported."""
    from ecg_hub.catalog import checkpoints, models
    from ecg_hub.names import resolve

    named = [models() if name == "all" else model_names(name) for name in split_commas(given)]
    names = tuple(dict.fromkeys(name for group in named for name in group))
    for name in names:
        # A wrong name in second place must not be told after minutes of measuring the first.
        if name not in checkpoints():
            resolve(name)
    return names


def _batch_sizes(given: Sequence[str] | None) -> tuple[int, ...]:
    from ecg_hub.errors import InputError

    try:
        return tuple(int(size) for size in split_commas(given or ["1,32"]))
    except ValueError:
        raise InputError(f"--batch-size takes whole numbers, not {', '.join(given or ())!r}.") from None


def run_validate_model(args: argparse.Namespace) -> int:
    """Print the table; returns 1 if a check failed."""
    from eval_harness.models.checks.contract import validate_model

    checks = validate_model(args.model)
    counts = Counter(check.status for check in checks)
    if args.json:
        print(json.dumps([check.as_dict() for check in checks], indent=1, ensure_ascii=False))
    else:
        print_table([check.as_row() for check in checks], title=args.model)
        print(", ".join(f"{counts[status]} {status}" for status in ("ok", "failed", "warning", "not applicable")))
    return int(counts["failed"] > 0)
