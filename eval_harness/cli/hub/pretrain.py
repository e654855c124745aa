"""`ecg-hub pretrain`: train an encoder on records without labels."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from eval_harness.cli.common import add_arguments, add_old_name, read_values, split_commas
from eval_harness.cli.program import suggest
from eval_harness.pretrain.config import PretrainConfig

DESCRIPTION = """\
Pre-train ECG-CPC by its published loss on any of the datasets, an archive of your own, shards, or a dataset on a hub.
Records of validation and test folds are left out. The same command again continues after the last checkpoint.

  ecg-hub pretrain --model ecg-cpc-tiny --data ptb-xl --data-root mock --steps 50 --batch-size 16 --output runs/trial
  ecg-hub pretrain --data code-15 --data sph --data-root /data/ecg --epochs 20 --output runs/one
  torchrun --nproc_per_node 4 -m eval_harness.cli.hub.main pretrain --data shards/code-15 --output runs/two
  ecg-eval --model runs/one/model --tasks ptbxl_super --data-root /data/ecg"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "pretrain",
        help="pre-train an encoder on ECGs without labels",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _what(parser.add_argument_group("what to train"))
    _data(parser.add_argument_group("data"))
    numbers = parser.add_argument_group("numbers (default: the published run)")
    add_arguments(numbers, PretrainConfig, suffix=" (default: {default})")
    _watch(parser.add_argument_group("watching"))
    parser.set_defaults(run=run_pretrain)


def _what(group: Any) -> None:
    group.add_argument(
        "--model", default="ecg-cpc", metavar="M", help="ecg-cpc (default) or ecg-cpc-tiny, from scratch"
    )
    group.add_argument(
        "--set", action="append", metavar="KEY=VALUE", help="change the architecture, e.g. hidden_size=128; repeatable"
    )
    group.add_argument(
        "--init", metavar="M", help="continue from weights: a folder, a short name, a hub id, or the authors' file"
    )
    group.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the run")
    group.add_argument("--overwrite", action="store_true", help="discard what is in the folder")
    group.add_argument("--device", metavar="D", help="cpu, cuda, mps (default: what there is)")


def _data(group: Any) -> None:
    group.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="NAME",
        help="a dataset, the YAML file of an archive of your own, a folder of shards, or ORG/NAME on a hub; repeatable",
    )
    group.add_argument(
        "--data-root", default="", metavar="DIR", help="one folder per dataset, or mock ($ECG_DATA_ROOT)"
    )
    group.add_argument("--all-records", action="store_true", help="use validation and test records too")
    group.add_argument("--cache-dir", type=Path, metavar="DIR", help="prepared data (default: $ECG_HUB_HOME)")
    share = group.add_argument(
        "--max-unreadable", type=float, default=0.01, metavar="SHARE", help="damaged records (default: 0.01)"
    )
    add_old_name(group, "--max-loss", share)
    group.add_argument("--num-proc", type=int, metavar="N", help="processes that prepare a dataset (default: 1)")
    group.add_argument(
        "--num-workers", type=int, default=0, metavar="N", help="processes that read (default: a thread)"
    )
    group.add_argument("--prefetch", type=int, default=4, metavar="N", help="batches made ready (default: 4)")


def _watch(group: Any) -> None:
    group.add_argument("--track", action="append", metavar="T", help="tensorboard or trackio, if installed; repeatable")
    group.add_argument("--probe-task", metavar="TASK", help="score the encoder on this task now and then")
    group.add_argument("--probe-every", type=int, default=500, metavar="N", help="steps between probes (default: 500)")
    group.add_argument("--probe-mode", default="linear", metavar="MODE", help="linear (default) or frozen")
    group.add_argument("--probe-epochs", type=int, default=20, metavar="N", help="epochs of the head (default: 20)")
    group.add_argument("--probe-limit", type=int, default=1000, metavar="N", help="records per split (default: 1000)")
    group.add_argument("--probe-data-root", metavar="DIR", help="data of the probe (default: --data-root)")
    group.add_argument(
        "--include", action="append", type=Path, metavar="FILE", help="task file for the probe; repeatable"
    )


def run_pretrain(args: argparse.Namespace) -> int:
    """Train; prints where the model is."""
    config = PretrainConfig(**read_values(PretrainConfig, vars(args)))
    # Everything that can be wrong on the command line is found before torch is imported, which takes seconds.
    settings = parse_settings(args.set or ())
    if args.init is None:
        from eval_harness.pretrain.config import architecture

        architecture(args.model)  # a wrong name is told before torch is imported
    from eval_harness.pretrain.data import DataOptions
    from eval_harness.pretrain.run import PretrainOptions, pretrain

    data_root = args.data_root or os.environ.get("ECG_DATA_ROOT", "")
    data = DataOptions(
        names=split_commas(args.data),
        data_root=data_root,
        cache_dir=args.cache_dir,
        all_records=args.all_records,
        max_unreadable=args.max_unreadable,
        num_proc=args.num_proc,
        num_workers=args.num_workers,
        prefetch=args.prefetch,
    )
    options = PretrainOptions(
        output=args.output,
        model=args.model,
        settings=settings,
        init=args.init,
        device=args.device,
        overwrite=args.overwrite,
        track=split_commas(args.track),
        probe=_probe(args, data_root),
    )
    log = pretrain(options, config, data.open)
    if log:  # of several processes, one holds the log
        _report(log, args.output)
        _suggest(args, data_root)
    return 0


def _probe(args: argparse.Namespace, data_root: str) -> Any:
    if args.probe_task is None:
        return None
    from eval_harness.pretrain.run import Probe

    return Probe(
        task=args.probe_task,
        every=args.probe_every,
        data_root=args.probe_data_root or data_root,
        mode=args.probe_mode,
        epochs=args.probe_epochs,
        limit=args.probe_limit,
        include=tuple(args.include or ()),
        cache_dir=args.cache_dir,
    )


def parse_settings(given: Sequence[str]) -> dict[str, Any]:
    """Changes to a configuration from words KEY=VALUE; values are read as YAML ("prediction_steps=[1, 14]")."""
    from ecg_hub.errors import InputError

    settings = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise InputError(f"--set takes KEY=VALUE, not {text!r}; for example --set hidden_size=128.")
        try:
            settings[key.strip().replace("-", "_")] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {text!r}: the value cannot be read: {error}") from error
    return settings


def _report(log: Sequence[dict[str, Any]], output: Path) -> None:
    steps = [row for row in log if "loss" in row]
    last = steps[-1]
    accuracy = ", ".join(f"{value:.3f} at {ahead} tokens" for ahead, value in last["accuracy"].items())
    print(f"{last['step']} steps: loss {last['loss']:.3f}, accuracy {accuracy}")
    probes = [row for row in log if row.get("probe", {}).get("point") is not None]
    # The first and the last: whether the encoder became better is what the probe is for.
    for row in probes[:1] + probes[1:][-1:]:
        probe = row["probe"]
        print(
            f"probe {probe['task']} {probe['mode']} at step {row['step']}: {probe['metric']} {probe['point']:.4f} "
            f"[{probe['low']:.4f}, {probe['high']:.4f}]"
        )
    print(f"curves: {output / 'curves.png'}\nmodel: {output / 'model'}")


def _suggest(args: argparse.Namespace, data_root: str) -> None:
    model, task = args.output / "model", args.probe_task or "demo"
    suggest(
        ("ecg-eval", "--model", model, "--tasks", task, "--mode", "linear", "--data-root", data_root or "DIR"),
        ("ecg-hub", "embed", model, "RECORD.hea", "-o", "features.parquet"),
    )
