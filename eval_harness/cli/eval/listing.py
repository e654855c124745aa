"""`ecg-eval ls`, `ecg-eval describe` and `ecg-eval validate`: what there is, read from data files alone."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ecg_hub.names import canonical
from ecg_hub.packages import OWN
from ecg_hub.spelling import registered
from ecg_hub.utils.text import number_of, print_lines, print_pairs, print_table
from eval_harness.cli.common import add_json_flag, split_commas
from eval_harness.config.options import TRIVIAL, model_name
from eval_harness.tasks.registry import custom_datasets, datasets, package_of, suites, tasks, validate
from eval_harness.tasks.task import CATEGORIES

BASELINE: dict[str, Any] = {
    "name": TRIVIAL,
    "title": "Age, sex, heart rate and amplitudes",
    "kind": "baseline",
    "input": "whole records, 12 leads",
    "dim": 30,
    "summary": "a regularised linear model without an encoder: what any encoder must beat",
}
PROSE = ("category", "what it holds", "what it trains", "licence", "licence of the weights")
"""Columns of the lists that may be wrapped between words."""


def register(verbs: Any) -> None:
    """Add the three verbs."""
    ls = verbs.add_parser("ls", help="list tasks, suites, models, datasets or modes")
    ls.add_argument(
        "what", nargs="?", choices=sorted(LISTS), default="tasks", metavar="LIST",
        help=f"{', '.join(LISTS)} (default: tasks)",
    )  # fmt: skip
    _add_include(ls)
    add_json_flag(ls)
    ls.set_defaults(run=run_ls)

    describe = verbs.add_parser("describe", help="everything about one task, suite, model, dataset or mode")
    describe.add_argument("name", metavar="NAME", help="a name from `ecg-eval ls`")
    _add_include(describe)
    add_json_flag(describe)
    describe.set_defaults(run=run_describe)

    check = verbs.add_parser("validate", help="check your own task files before a run")
    check.add_argument("files", nargs="+", metavar="FILE", help="task files, or folders of them")
    check.set_defaults(run=run_validate)


def run_ls(args: argparse.Namespace) -> int:
    """Print one line per item, or a JSON list with every field."""
    rows, whole = LISTS[args.what](split_commas(args.include))
    if args.json:
        print(json.dumps(whole, indent=1, ensure_ascii=False, default=str))
    else:
        # Titles, licences and pages in the shape that 80 columns hold; --json has every field.
        print_table(rows, title=args.what, keep=list(rows[0]) if rows else (), prose=PROSE, notes=("page",))
        if args.what == "models":
            print_lines(["", f"{TRIVIAL}: {BASELINE['title'].lower()}, {BASELINE['summary']}."])
    return 0


def run_describe(args: argparse.Namespace) -> int:
    """Print everything about what has this name: a task and a dataset may share one."""
    from eval_harness.cli.hub import listing as hub_listing

    include = split_commas(args.include)
    alias = canonical(args.name)
    # Models first, and by their own listing: `ecg-eval describe` and `ecg-hub info` say the same.
    if alias.startswith("random:") or _model_names() & {alias, alias.removesuffix("-tiny")}:
        return hub_listing.run_info(argparse.Namespace(name=args.name, json=args.json))
    if model_name(args.name) == TRIVIAL:
        print(json.dumps(BASELINE, indent=1)) if args.json else print_pairs(BASELINE)
        return 0
    listed = [(kind, item) for kind in ("tasks", "suites", "datasets", "modes") for item in LISTS[kind](include)[1]]
    names = [item["name"] for _, item in listed]
    name = registered("name", args.name, dict.fromkeys([*names, TRIVIAL, *_model_names()]), "See `ecg-eval ls`.")
    described = [(kind, item) for kind, item in listed if item["name"] == name]
    if args.json:
        print(json.dumps([{"what": kind.removesuffix("s"), **item} for kind, item in described], indent=1, default=str))
        return 0
    for i, (kind, item) in enumerate(described):
        if i:
            print()
        print_pairs(_task_pairs(name, include) if kind == "tasks" else _pairs(kind, item))
    return 0


def run_validate(args: argparse.Namespace) -> int:
    """Check task files and descriptions of own archives together; prints one line each."""
    checked = validate(args.files)
    for own in custom_datasets(args.files).values():
        print(f"ok: dataset {own.name}, {_rate(own)}, folds: {own.folds}")
    for task in checked:
        labels = number_of(task.count, "label")
        print(f"ok: {task.name} version {task.version}, {labels}, run {task.run} on {task.dataset}")
    return 0


def _tasks(include: tuple[str, ...]) -> Listing:
    listed = tasks(include).values()
    rows = [
        {
            "task": task.name,
            "labels": task.count,
            "metric": task.metric,
            "dataset": task.dataset,
            "category": CATEGORIES[task.category],
            "package": package_of(task.name),
        }
        for task in listed
    ]
    return rows, [{**task.model_dump(), "package": package_of(task.name)} for task in listed]


def _suites(include: tuple[str, ...]) -> Listing:
    del include  # suites hold built-in tasks only
    whole = [
        {"name": suite.name, "title": suite.title, "tasks": suite.members(), "note": suite.note}
        for suite in suites().values()
    ]
    rows = [{"suite": suite["name"], "tasks": len(suite["tasks"]), "what it holds": suite["title"]} for suite in whole]
    return rows, whole


def _models(include: tuple[str, ...]) -> Listing:
    del include
    from ecg_hub.catalog import checkpoints

    rows = [
        {
            "model": entry.alias,
            "kind": entry.kind,
            "input": str(entry.input),
            "dim": entry.dim,
            "parameters": f"{entry.parameters / 1e6:.1f} M",
            "licence of the weights": entry.licence.name,
            "package": entry.package,
        }
        for entry in checkpoints().values()
    ]
    shown = ("kind", "input", "dim")
    baseline = {
        "model": TRIVIAL,
        **{key: BASELINE[key] for key in shown},
        "parameters": "-",
        "licence of the weights": "-",
        "package": OWN,
    }
    whole = [{"name": entry.alias, **entry.as_dict()} for entry in checkpoints().values()]
    return [*rows, baseline], [*whole, dict(BASELINE)]


def _datasets(include: tuple[str, ...]) -> Listing:
    from dataset_scripts import catalog
    from dataset_scripts.tools.card import short_licence

    listed = datasets(include)
    fields = (
        "name", "title", "versions", "sampling_rates", "access", "redistribution", "licence", "label_columns", "folds",
        "page", "citation",
    )  # fmt: skip
    rows = [
        {
            "dataset": dataset.name,
            "rate": _rate(dataset),
            "access": dataset.access,
            "licence": short_licence(dataset),
            "tasks": sum(task.dataset == dataset.name for task in tasks(include).values()),
            "page": dataset.page,
            "package": catalog.package_of(dataset.name),
        }
        for dataset in listed.values()
    ]
    return rows, [
        {**{field: getattr(dataset, field) for field in fields}, "package": catalog.package_of(dataset.name)}
        for dataset in listed.values()
    ]


def _rate(dataset: Any) -> str:
    """The published rate; a user's own archive may leave it to its files."""
    return f"{dataset.sampling_rate} Hz" if dataset.sampling_rates else "rate of its files"


def _modes(include: tuple[str, ...]) -> Listing:
    del include
    from eval_harness.config.protocol import DEFAULT_MODES, MODES

    rows = [{"mode": name, "by default": name in DEFAULT_MODES, "what it trains": text} for name, text in MODES.items()]
    whole = [{"name": name, "default": name in DEFAULT_MODES, "description": text} for name, text in MODES.items()]
    return rows, whole


Listing = tuple[list[dict[str, Any]], list[dict[str, Any]]]
LISTS: dict[str, Callable[[tuple[str, ...]], Listing]] = {
    "tasks": _tasks,
    "suites": _suites,
    "models": _models,
    "datasets": _datasets,
    "modes": _modes,
}


def _task_pairs(name: str, include: tuple[str, ...]) -> dict[str, object]:
    by_name = tasks(include)
    task, dataset = by_name[name], datasets(include)[by_name[name].dataset]
    shared = [other.name for other in by_name.values() if other.run == task.run and other.name != task.name]
    run = f"{task.run}, shared with {', '.join(shared)}" if shared else task.run
    pairs: dict[str, object] = {
        "task": f"{task.title} ({task.name}), version {task.version}",
        "what it is": task.description,
        "category": CATEGORIES[task.category],
        "dataset": f"{dataset.title} ({dataset.name}), {dataset.access}, {dataset.licence}",
        "get the data": dataset.page,
        "splits": dataset.folds,
        "records": dataset.releases[0].split_text if dataset.releases else None,
        "training run": run,
        "label column": task.label_column,
        "scored by": _scoring(task.metric),
        "intervals": f"95 %, by {task.resample_unit} (docs/statistics.md)",
        "published": "a row of arXiv:2509.25095" if task.published else "no",
        "package": package_of(task.name),
        "labels": task.listed,
        "citation": task.citation,
    }
    if task.superseded_by:
        pairs["superseded by"] = task.superseded_by
    return pairs


def _scoring(name: str) -> str:
    """A metric in a line."""
    from eval_harness.metrics.registry import metrics

    metric = metrics()[name]
    return f"{metric.title}, {'higher' if metric.higher_is_better else 'lower'} is better: {metric.description}"


def _pairs(kind: str, item: dict[str, Any]) -> dict[str, object]:
    """Name first under its kind, then the other fields; lists as comma lists, with their length for tasks."""
    pairs: dict[str, object] = {kind.removesuffix("s"): item["name"]}
    for field, value in item.items():
        if field != "name" and value != "":
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            pairs[field.replace("_", " ")] = f"{len(value)}: {text}" if field == "tasks" else text
    return pairs


def _model_names() -> set[str]:
    from ecg_hub.catalog import checkpoints

    return set(checkpoints())


def _add_include(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--include", action="append", metavar="PATH", type=_path, help="your own task files or folders")


def _path(text: str) -> str:
    return str(Path(text).expanduser())
