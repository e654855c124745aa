"""`ecg-hub validate-model MODEL`: the model contract, run on anybody's model."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

from ecg_hub.utils.text import print_table
from eval_harness.cli.common import add_json_flag

DESCRIPTION = """\
Run the model contract on a model: shapes, batches, determinism, precision, damaged input, gradients, saving. Code that
FILE.py names is run; nothing is trained. Exit code 1 if a check fails; a warning is a drawback, such as a mode or a
precision that cannot be used."""


def register(verbs: Any) -> None:
    """Add the verb."""
    validate = verbs.add_parser(
        "validate-model", help="check a model of anybody's against the model contract", description=DESCRIPTION
    )
    validate.add_argument("model", metavar="MODEL", help="short name, folder, hub id, or FILE.py:NAME of an own object")
    add_json_flag(validate)
    validate.set_defaults(run=run_validate_model)


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
