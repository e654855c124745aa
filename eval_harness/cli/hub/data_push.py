"""`ecg-hub data push`: publish as much of a dataset as its licence lets through."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from dataset_scripts.catalog import get
from dataset_scripts.tools.publish import Level, level, push, write_publication
from ecg_hub.hub.client import check_id
from ecg_hub.names import home
from eval_harness.cli.hub.data import raw_folder, refuse_own

SAYS: dict[Level, str] = {
    "full": "records, labels and splits",
    "ids": "record names with their splits, and label counts; the licence keeps signals and labels back",
    "card": "the card alone; the terms keep everything else back",
}


def run_push(args: argparse.Namespace) -> int:
    """Write the folder, and send it unless it is a dry run."""
    check_id(args.repo)
    refuse_own(args.name, "push")
    dataset = get(args.name, args.data_dir)
    allowed = level(dataset)
    print(f"{dataset.title} is {dataset.access}, {dataset.licence}: {SAYS[allowed]}")
    if args.output is None:
        target = home() / "push" / dataset.name
        shutil.rmtree(target, ignore_errors=True)
    else:
        target = Path(args.output).expanduser()
    prepared = None
    if allowed != "card":
        from dataset_scripts.load import prepare

        folder = raw_folder(args, dataset)
        prepared = prepare(args.name, folder, cache_dir=args.cache_dir, sampling_rate=args.sampling_rate)
    publication = write_publication(dataset, target, prepared)
    for name, size in publication.files.items():
        print(f"  {name}  {size:,} bytes")
    if args.dry_run:
        print(f"nothing was sent: {target}")
        return 0
    print(push(dataset, publication, args.repo, private=args.private))
    return 0
