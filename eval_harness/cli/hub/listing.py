"""`ecg-hub ls` and `ecg-hub info NAME`: what models there are, read from data files alone."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ecg_hub.utils.text import print_lines, print_pairs, print_table
from eval_harness.cli.common import add_json_flag


def register(verbs: Any) -> None:
    """Add the verbs."""
    ls = verbs.add_parser("ls", help="list the models")
    add_json_flag(ls)
    ls.set_defaults(run=run_ls)
    info = verbs.add_parser("info", help="everything about one model: input, licence, where its weights come from")
    info.add_argument("name", metavar="NAME", help="short name, see `ecg-hub ls`")
    add_json_flag(info)
    info.set_defaults(run=run_info)


def installed_folder(alias: str) -> Path | None:
    """Where a model's converted weights lie on this machine, or None."""
    from ecg_hub.names import model_folder

    folder = model_folder(alias)
    return folder if (folder / "config.json").is_file() else None


def how_to_get(entry: Any) -> str:
    """The command that gets a model's weights."""
    if entry.weights.kind == "none":
        return str(entry.how_to_get)
    convert = f"ecg-hub convert {entry.alias} --checkpoint FILE"
    if entry.weights.can_be_fetched:
        return f"no: fetched at first use, or with ecg-hub pull {entry.alias}, or {convert}"
    return f"no: {convert}"


def run_ls(args: argparse.Namespace) -> int:
    """Print one line per model."""
    from ecg_hub.catalog import models

    rows = [
        {
            "model": entry.alias,
            "parameters": f"{entry.parameters / 1e6:.1f} M",
            "input": str(entry.input),
            "dim": str(entry.dim),
            "licence of the weights": entry.licence.name,
            "weights": entry.weights.kind,
            "installed": "yes" if installed_folder(entry.alias) else "no",
            "package": entry.package,
        }
        for entry in models().values()
    ]
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        # One column of two: what is on this machine need not be got from anywhere.
        row["weights"] = "here" if row.pop("installed") == "yes" else row["weights"]
    print_table(rows, title="models", prose=("licence of the weights",))
    print_lines(
        [
            "",
            "weights: here, or where `ecg-hub pull` gets them (manual: from a page, with a browser).",
            "random:NAME is the same architecture with random weights, random:NAME-tiny a small one for trials.",
        ]
    )
    return 0


def run_info(args: argparse.Namespace) -> int:
    """Print everything about one model."""
    from ecg_hub.catalog import get
    from ecg_hub.names import canonical

    entry = get(canonical(args.name).removeprefix("random:").removesuffix("-tiny"))
    if args.json:
        print(json.dumps(entry.as_dict(), indent=1, default=str))
        return 0
    weights, licence = entry.weights, entry.licence
    folder = installed_folder(entry.alias)
    print_pairs(
        {
            "model": f"{entry.title} ({entry.alias})",
            "what it is": entry.summary,
            "parameters": f"{entry.parameters:,}",
            "features": f"{entry.dim} per window",
            "input": f"{entry.input}, unit {entry.input.unit}, leads {', '.join(entry.input.leads)}",
            "presets": ", ".join(entry.presets),
            "pre-trained on": ", ".join(entry.pretraining_corpora) or "nothing",
            "licence of the weights": str(licence),
            "may be passed on": "yes" if licence.redistribution else "no",
            "weights": "none: trained from scratch" if weights.kind == "none" else f"{weights.file} at {weights.page}",
            "paper": entry.paper,
            "code of the authors": entry.repository,
            "package": entry.package,
            "installed": str(folder) if folder else how_to_get(entry),
        }
    )
    return 0
