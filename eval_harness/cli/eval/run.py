"""The verb `ecg-eval run`: options from the command line or a YAML file, then the runner."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

import yaml

from ecg_hub.errors import InputError, did_you_mean
from ecg_hub.utils.renamed import tell_renamed
from eval_harness.cli.common import add_old_name, split_commas
from eval_harness.config.options import DTYPES, FEATURE_DTYPES, PRESETS, RunOptions, TrainSubset, parse_fraction
from eval_harness.config.post_training import KNOBS, parse_post_training
from eval_harness.config.protocol import MODES, PROTOCOLS, Protocol, protocol

LISTS = ("model", "tasks", "mode", "seeds", "include")
RENAMED = {"max_loss": "max_unreadable"}
"""Old names of options in a file, accepted for one release."""

PROTOCOL_FIELDS = [f for f in dataclasses.fields(Protocol) if f.name != "name"]


def register(verbs: Any) -> None:
    """Add the verb `run`."""
    parser = verbs.add_parser(
        "run",
        help="score models on tasks (the default verb)",
        description="Score models on tasks. Repeating a command continues where it stopped.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run; verbs that make many runs take them too."""
    _what(parser)
    _how(parser)
    _numbers(parser)


def _what(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to score")
    group.add_argument("--model", action="append", metavar="M", help="short name, folder, hub id or random:NAME")
    group.add_argument("--tasks", action="append", metavar="T", help="tasks and suites; wildcards allowed")
    group.add_argument("--mode", action="append", metavar="MODE", help=", ".join(MODES))
    group.add_argument("--preset", choices=PRESETS, help="what the encoder is fed (default: benchmark)")
    group.add_argument("--data-root", metavar="DIR", help="one folder per dataset, or `mock` (default: $ECG_DATA_ROOT)")
    group.add_argument("--include", action="append", metavar="PATH", help="your own task files or folders of them")
    group.add_argument("--separate", action="store_true", help="train tasks of a joint run by themselves")
    group.add_argument("--train-fraction", metavar="F", help="stratified part of the training records, e.g. 1/8")
    group.add_argument("--limit", type=int, metavar="N", help="at most N records per split, evenly spaced")
    group.add_argument("--config", type=Path, metavar="FILE", help="YAML file with these options; flags win")


def _how(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to run")
    group.add_argument("--output", type=Path, metavar="DIR", help="results go to DIR/MODEL/MODE (default: results)")
    group.add_argument("--seed", "--seeds", dest="seeds", action="append", metavar="N", help="one or several seeds")
    group.add_argument("--device", metavar="D", help="cpu, cuda, mps (default: what there is)")
    group.add_argument("--dtype", choices=DTYPES, help="precision of training and scoring (default: float32)")
    group.add_argument("--micro-batch", type=int, metavar="N", help="windows at once; a batch is accumulated")
    group.add_argument("--shard", metavar="I/N", help="do every N-th run from the I-th on, as one of N jobs")
    group.add_argument("--num-workers", type=int, metavar="N", help="processes that read windows (default: 0)")
    group.add_argument("--num-proc", type=int, metavar="N", help="processes that prepare a dataset (default: 1)")
    group.add_argument("--cache-dir", type=Path, metavar="DIR", help="prepared data (default: $ECG_HUB_HOME)")
    group.add_argument("--cache-size", type=float, metavar="GIB", help="disk for encoded windows (default: 20)")
    group.add_argument("--feature-dtype", choices=FEATURE_DTYPES, help="precision of those (default: float32)")
    share = group.add_argument(
        "--max-unreadable", type=float, metavar="SHARE", help="unreadable records tolerated (default: 0.01)"
    )
    add_old_name(group, "--max-loss", share)
    group.add_argument("--save-model", action="store_true", help="keep encoder and head as a loadable folder")
    group.add_argument("--overwrite", action="store_true", help="discard results made with other settings")
    group.add_argument("--dry-run", action="store_true", help="show runs, sizes, estimated time and disk, then stop")


def _numbers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("protocol numbers (every change is listed in the result)")
    group.add_argument("--protocol", choices=sorted(PROTOCOLS), help="base protocol (default: paper)")
    for item in PROTOCOL_FIELDS:
        flag = "--" + item.name.replace("_", "-")
        kind = type(item.default)
        text = f"{item.metadata['help']} (paper: {item.default})"
        group.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=text)
    group.add_argument(
        "--post-train",
        action="append",
        metavar="KEY=VALUE",
        help=f"setting of mode post_train, or a YAML file of them: {', '.join(KNOBS)}",
    )


def read_config(path: Path, allowed: set[str]) -> dict[str, Any]:
    """Options from a YAML file; names as on the command line, with - or _."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"The configuration {str(path)!r} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"The configuration {str(path)!r} must be a YAML mapping such as `model: ecg-cpc`.")
    options = {str(key).replace("-", "_"): value for key, value in content.items()}
    for old, new in RENAMED.items():
        if old in options:
            tell_renamed(old, new)
            options[new] = options.pop(old)
    for name in options:
        if name not in allowed:
            raise InputError(f"{str(path)!r}: unknown option {name!r}.{did_you_mean(name, allowed)}")
    return options


def gather(args: argparse.Namespace) -> dict[str, Any]:
    """Merge the file given by --config with the command line, which wins."""
    given = {key: value for key, value in vars(args).items() if key not in ("run", "verb", "config")}
    names = {
        "model", "tasks", "mode", "preset", "data_root", "include", "limit", "output", "seeds", "device", "dtype",
        "num_workers", "num_proc", "micro_batch", "shard", "separate", "cache_dir", "cache_size", "feature_dtype",
        "max_unreadable", "save_model", "overwrite", "dry_run", "protocol", "post_train", "train_fraction",
        *(item.name for item in PROTOCOL_FIELDS),
    }  # fmt: skip
    if "config" not in args:
        return given
    from_file = read_config(args.config, names | {"seed"})
    if "seed" in from_file:
        from_file["seeds"] = from_file.pop("seed")
    return {**from_file, **given}


def options_from(merged: dict[str, Any]) -> RunOptions:
    """Build checked options from merged names and values."""
    values = {key: value for key, value in merged.items() if key != "dry_run"}
    lists = {name: split_commas(_as_list(values.pop(name, None))) for name in LISTS}
    numbers = {item.name: _number(item, values.pop(item.name)) for item in PROTOCOL_FIELDS if item.name in values}
    chosen = protocol(values.pop("protocol", "paper"), **numbers)
    values.setdefault("data_root", os.environ.get("ECG_DATA_ROOT", ""))
    if "shard" in values:
        values["shard"] = _shard(values["shard"])
    if "post_train" in values:
        given = values.pop("post_train")
        values["post_training"] = parse_post_training(given if isinstance(given, dict) else _as_list(given) or [])
    if "train_fraction" in values:
        values["train_subset"] = TrainSubset(parse_fraction(str(values.pop("train_fraction"))))
    for name in ("output", "cache_dir"):
        if name in values:
            values[name] = Path(values[name])
    return RunOptions(
        models=lists["model"],
        tasks=lists["tasks"],
        modes=lists["mode"],
        seeds=_seeds(lists["seeds"]),
        include=tuple(Path(path) for path in lists["include"]),
        protocol=chosen,
        **values,
    )


def _as_list(value: Any) -> list[str] | None:
    if value is None:
        return None
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]


def _number(item: Any, value: Any) -> Any:
    try:
        return type(item.default)(value)
    except (TypeError, ValueError) as error:
        kind = type(item.default).__name__
        raise InputError(f"{item.name} is {value!r}: it must be of type {kind} ({item.metadata['help']}).") from error


def _shard(text: Any) -> tuple[int, int]:
    index, _, number = str(text).partition("/")
    try:
        return int(index), int(number)
    except ValueError as error:
        raise InputError(f"shard is {text!r}: write I/N with I from 1 to N, for example --shard 1/4.") from error


def _seeds(names: tuple[str, ...]) -> tuple[int, ...]:
    try:
        return tuple(int(name) for name in names) or (0,)
    except ValueError as error:
        raise InputError(f"seeds are {','.join(names)!r}: give whole numbers, for example --seeds 0,1,2.") from error


def run(args: argparse.Namespace) -> int:
    """Score; prints the table and returns the exit code."""
    merged = gather(args)
    options = options_from(merged)
    if merged.get("dry_run"):
        from eval_harness.runner.dryrun import describe_run

        print(describe_run(options))
        return 0
    from eval_harness.results.summary import print_summary
    from eval_harness.runner.run import evaluate, exit_code

    results = evaluate(options)
    if results:  # of several processes, one holds the results
        print_summary(results)
    return exit_code(results)
