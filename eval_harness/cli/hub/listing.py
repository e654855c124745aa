"""`ecg-hub ls` and `ecg-hub info NAME`: what models there are, read from data files alone.

Also which checkpoints a command line means: patterns of short names, and filters by what the catalogue says.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ecg_hub import catalog
from ecg_hub.catalog import ModelEntry
from ecg_hub.errors import InputError, unknown_name
from ecg_hub.spelling import matching, normalised, registered, spelt
from ecg_hub.utils.text import number_of, print_lines, print_pairs, print_table
from eval_harness.cli.common import add_json_flag

OPEN = "open"
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}


def register(verbs: Any) -> None:
    """Add the verbs."""
    ls = verbs.add_parser(
        "ls",
        help="list the models",
        description="List the checkpoints, grouped by architecture: each architecture stands first, with the weights "
        "that its name means, and its further checkpoints below it.",
    )
    ls.add_argument("names", nargs="*", metavar="NAME", help="short names or patterns such as 'hubert-ecg-*'")
    add_filters(ls)
    add_json_flag(ls)
    ls.set_defaults(run=run_ls)
    info = verbs.add_parser("info", help="everything about one model: input, licence, where its weights come from")
    info.add_argument("name", metavar="NAME", help="short name, see `ecg-hub ls`")
    add_json_flag(info)
    info.set_defaults(run=run_info)


def installed_folder(alias: str) -> Path | None:
    """Where a model's converted weights lie on this machine, or None."""
    from ecg_hub.catalog import get
    from ecg_hub.names import model_folder

    places = (model_folder(alias), get(alias).embedded)
    return next((place for place in places if place and (place / "config.json").is_file()), None)


def how_to_get(entry: Any) -> str:
    """The command that gets a model's weights."""
    if entry.weights.kind == "none":
        return str(entry.how_to_get)
    convert = f"ecg-hub convert {entry.alias} --checkpoint FILE"
    if entry.weights.can_be_fetched:
        return f"no: fetched at first use, or with ecg-hub pull {entry.alias}, or {convert}"
    return f"no: {convert}"


def run_ls(args: argparse.Namespace) -> int:
    """Print one line per checkpoint, by architecture."""
    rows = [
        {
            "model": entry.alias,
            "architecture": entry.architecture,
            "parameters": f"{entry.parameters / 1e6:.1f} M",
            "input": str(entry.input),
            "dim": str(entry.dim),
            "head": _head(entry),
            "licence of the weights": entry.licence.name,
            "weights": entry.weights.kind,
            "installed": "yes" if installed_folder(entry.alias) else "no",
            "package": entry.package,
        }
        for entry in chosen(args, args.names)
    ]
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    # The group shows by the indent, where filters have left what it is indented under.
    grouped = {row["architecture"] for row in rows} <= {row["model"] for row in rows}
    shown = [{**row, "model": f"{_indent(row)}{row['model']}"} if grouped else dict(row) for row in rows]
    for row in shown:
        # One column of two: what is on this machine need not be got from anywhere.
        row["weights"] = "here" if row.pop("installed") == "yes" else row["weights"]
        if grouped:
            del row["architecture"]
    print_table(shown, title="models", prose=("licence of the weights",))
    print_lines(
        [
            "",
            "weights: here, or where `ecg-hub pull` gets them (manual: from a page, with a browser).",
            "random:NAME is an architecture with random weights, random:NAME-tiny a small one for trials.",
        ]
    )
    return 0


def _head(entry: Any) -> str:
    if entry.head is None:
        return "no"
    return number_of(entry.head.num_labels, "label")


def _more(entry: Any) -> dict[str, str]:
    """What only some checkpoints have."""
    from ecg_hub.catalog import look_alikes

    facts = {}
    if entry.finetuning_corpora:
        facts["fine-tuned on"] = ", ".join(entry.finetuning_corpora)
    if entry.head is not None:
        kept = "kept" if entry.keeps_head else "left out: of a form that no classifier here computes"
        facts["head of the authors"] = f"{_head(entry)}, {kept}; not validated here"
        facts["its labels"] = ", ".join(entry.labels) or "names not known"
    if entry.keeps_head:
        largest = f", the largest for {', '.join(entry.head.maximum)}" if entry.head.maximum else ""
        facts["its rule"] = f"preset {entry.head.preset}; the mean over the windows of a record{largest}; no thresholds"
    if alike := ", ".join(other.alias for other in look_alikes(entry)):
        facts["same shapes"] = f"{alike}; name and digest of the file tell them apart"
    if entry.note is not None:
        facts["not certain"] = entry.note
    return facts


def _indent(row: dict[str, str]) -> str:
    return "" if row["model"] == row["architecture"] else "  "


def _place(entry: Any) -> str:
    """Where the weights are published."""
    if entry.embedded:
        size = sum(path.stat().st_size for path in entry.embedded.iterdir())
        return f"in this package ({size / 1e6:.1f} MB)"
    weights = entry.weights
    return "none: trained from scratch" if weights.kind == "none" else f"{weights.file} at {weights.page}"


def run_info(args: argparse.Namespace) -> int:
    """Print everything about one model."""
    from ecg_hub.names import entry_of

    entry = entry_of(args.name)
    if args.json:
        print(json.dumps(entry.as_dict(), indent=1, default=str))
        return 0
    licence = entry.licence
    folder = installed_folder(entry.alias)
    trained = "trained on" if entry.kind == "supervised" else "pre-trained on"
    print_pairs(
        {
            "model": f"{entry.title} ({entry.alias})",
            "what it is": entry.summary,
            "parameters": f"{entry.parameters:,}",
            "features": f"{entry.dim} per window",
            "input": f"{entry.input}, unit {entry.input.unit}, leads {', '.join(entry.input.leads)}",
            "architecture": entry.architecture,
            "presets": ", ".join(entry.presets),
            trained: ", ".join(entry.pretraining_corpora) or "nothing",
            **_more(entry),
            "licence of the weights": str(licence),
            "may be passed on": "yes" if licence.redistribution else "no",
            "weights": _place(entry),
            "paper": entry.paper,
            "code of the authors": entry.repository,
            "package": entry.package,
            "installed": str(folder) if folder else how_to_get(entry),
        }
    )
    return 0


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options by which checkpoints are chosen."""
    parser.add_argument("--architecture", metavar="NAME", help="only its checkpoints")
    parser.add_argument("--leads", type=int, metavar="N", help="only those that read N leads")
    parser.add_argument(
        "--licence",
        metavar="NAME",
        help="`open`: weights that may be passed on, on conditions of their authors such as non-commercial use; or an "
        "SPDX identifier such as MIT",
    )
    parser.add_argument("--head", action="store_true", help="only those whose file holds a classifier")
    parser.add_argument("--clean-on", metavar="DATASET", help="only those that have not seen it, as far as is known")
    parser.add_argument("--max-parameters", type=number, metavar="N", help="only those of N or fewer, e.g. 10M")


def number(text: str) -> float:
    """Read a number of parameters such as 10M.

    Example:
        >>> number("10M"), number("2.5k")
        (10000000.0, 2500.0)
    """
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number such as 500k, 10M or 1.5G")
    return float(match[1]) * _FACTORS[match[2].lower()]


def chosen(args: argparse.Namespace, names: Sequence[str] = ()) -> list[ModelEntry]:
    """Return the checkpoints that names and filters leave, by architecture, its own one first."""
    entries: Iterable[ModelEntry] = _named(names) if names else catalog.checkpoints().values()
    tests = list(_tests(args))
    left = [entry for entry in entries if all(test(entry) for test in tests)]
    return sorted(left, key=lambda entry: (entry.architecture, not entry.is_default, entry.alias))


def _named(names: Sequence[str]) -> list[ModelEntry]:
    """The checkpoints of short names and patterns such as `hubert-ecg-*`."""
    known, found = catalog.checkpoints(), []
    for name in names:
        fitting = matching(name, known) if re.search(r"[*?\[]", name) else [catalog.get(name).alias]
        if not fitting:
            raise unknown_name("pattern of models", name, known, "See `ecg-hub ls`.")
        found += fitting
    return [known[alias] for alias in dict.fromkeys(found)]


def _tests(args: argparse.Namespace) -> Iterable[Any]:
    if args.architecture is not None:
        architecture = catalog.get(args.architecture).architecture
        yield lambda entry: entry.architecture == architecture
    if args.leads is not None:
        yield lambda entry: len(entry.input.leads) == args.leads
    if args.licence is not None:
        yield _licence_test(args.licence)
    if args.head:
        yield lambda entry: entry.head is not None
    if args.clean_on is not None:
        yield _clean_test(args.clean_on)
    if args.max_parameters is not None:
        yield lambda entry: entry.parameters <= args.max_parameters


def _licence_test(name: str) -> Any:
    if normalised(name) == OPEN:
        return lambda entry: entry.licence.redistribution and entry.weights.kind != "none"
    known = sorted({entry.licence.spdx for entry in catalog.checkpoints().values() if entry.licence.spdx is not None})
    spdx = spelt(name, known)
    if spdx is None:
        raise InputError(f"No checkpoint has the licence {name!r}; known: {OPEN}, {', '.join(known)}.")
    return lambda entry: entry.licence.spdx == spdx


def _clean_test(name: str) -> Any:
    from eval_harness.results.contamination import known_datasets, state

    dataset = registered("dataset", name, sorted(known_datasets()))
    return lambda entry: state(entry.corpora, dataset) == "clean"
