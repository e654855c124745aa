"""Which checkpoints a command line means: patterns of short names, and filters by what the catalogue says."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ecg_hub import catalog
from ecg_hub.catalog import ModelEntry
from ecg_hub.errors import InputError, unknown_name
from ecg_hub.spelling import matching, normalised, registered, spelt

OPEN = "open"
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}


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
