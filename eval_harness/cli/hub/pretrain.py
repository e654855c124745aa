"""`ecg-hub pretrain`: train an encoder on records without labels."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ecg_hub.utils.remote import shown
from eval_harness.cli.common import add_arguments, read_values
from eval_harness.cli.program import suggest
from eval_harness.config.options import default_data_root
from eval_harness.pretrain.config import (
    DATA,
    NUMBERS,
    WATCHING,
    WHAT,
    DataOptions,
    PretrainConfig,
    PretrainOptions,
    Probe,
    architecture,
)

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
    add_arguments(parser.add_argument_group(WHAT), PretrainOptions, WHAT)
    add_arguments(parser.add_argument_group(DATA), DataOptions)
    add_arguments(parser.add_argument_group(NUMBERS), PretrainConfig, suffix=" (default: {default})")
    watching = parser.add_argument_group(WATCHING)
    add_arguments(watching, PretrainOptions, WATCHING)
    add_arguments(watching, Probe)
    parser.set_defaults(run=run_pretrain)


def run_pretrain(args: argparse.Namespace) -> int:
    """Train; prints where the model is."""
    # Everything that can be wrong on the command line is found before torch is imported, which takes seconds.
    given = vars(args)
    config = PretrainConfig(**read_values(PretrainConfig, given))
    data = DataOptions(**{"data_root": default_data_root(), **read_values(DataOptions, given)})
    options = PretrainOptions(**read_values(PretrainOptions, given), probe=_probe(given, data))
    if options.init is None:
        architecture(options.model)
    from eval_harness.pretrain.data import open_data
    from eval_harness.pretrain.run import pretrain

    log = pretrain(options, config, partial(open_data, data))
    if log:  # of several processes, one holds the log
        _report(log, options.output)
        _suggest(options, data.data_root)
    return 0


def _probe(given: Mapping[str, Any], data: DataOptions) -> Probe | None:
    values = read_values(Probe, given)
    return Probe(**{"data_root": data.data_root, "cache_dir": data.cache_dir, **values}) if "task" in values else None


def _report(log: Sequence[dict[str, Any]], output: Path) -> None:
    steps = [row for row in log if "loss" in row]
    last = steps[-1]
    accuracy = ", ".join(f"{value:.3f} at {ahead} tokens" for ahead, value in last["accuracy"].items())
    print(f"{last['step']} steps: loss {last['loss']:.3f}, accuracy {accuracy}")
    probes = [row for row in log if row.get("probe", {}).get("point") is not None]
    # The first and the last: whether the encoder became better is what the probe is for.
    for row in probes[:1] + probes[1:][-1:]:
        probe = row["probe"]
        score = f"{probe['metric']} {probe['point']:.4f}"
        if probe["low"] is not None:
            score += f" [{probe['low']:.4f}, {probe['high']:.4f}]"
        print(f"probe {probe['task']} {probe['mode']} at step {row['step']}: {score}")
    print(f"curves: {shown(output / 'curves.png')}\nmodel: {shown(output / 'model')}")


def _suggest(options: PretrainOptions, data_root: str) -> None:
    model, task = options.output / "model", options.probe.task if options.probe else "demo"
    suggest(
        ("ecg-eval", "--model", model, "--tasks", task, "--mode", "linear", "--data-root", data_root or "DIR"),
        ("ecg-hub", "embed", model, "RECORD.hea", "-o", "features.parquet"),
    )
