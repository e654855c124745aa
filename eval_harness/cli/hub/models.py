"""`ecg-hub pull` and `ecg-hub convert`: from the authors' file to a model folder."""

from __future__ import annotations

import argparse
from typing import Any


def register(verbs: Any) -> None:
    """Add the verbs."""
    pull = verbs.add_parser(
        "pull",
        help="fetch the authors' weights and convert them",
        description="Fetch the authors' file from figshare, Zenodo or the Hugging Face Hub, compare its checksum, and "
        "convert it. A download that broke off continues when the same command is given again. Where the authors only "
        "give a page, the page is named. The first use of a short name does the same, unless ECG_HUB_OFFLINE=1 or "
        "HF_HUB_OFFLINE=1 is set.",
    )
    pull.add_argument("alias", metavar="NAME", help="short name, see `ecg-hub ls`")
    pull.add_argument("--output", metavar="DIR", help="folder to write (default: where the short name is looked up)")
    pull.add_argument("--overwrite", action="store_true", help="fetch again and replace the folder if it is there")
    pull.add_argument("--keep", action="store_true", help="keep the authors' file, under $ECG_HUB_HOME/downloads")
    pull.set_defaults(run=run_pull)
    convert = verbs.add_parser(
        "convert",
        help="turn the authors' checkpoint into a model folder",
        description="Read the authors' checkpoint (nothing in it is run), check every entry, write a model folder.",
    )
    convert.add_argument("alias", metavar="NAME", help="short name, see `ecg-hub ls`")
    convert.add_argument("--checkpoint", required=True, metavar="FILE", help="the published file, or the zip it is in")
    convert.add_argument("--output", metavar="DIR", help="folder to write (default: where the short name is looked up)")
    convert.add_argument("--overwrite", action="store_true", help="replace the folder if it is there")
    convert.set_defaults(run=run_convert)


def run_pull(args: argparse.Namespace) -> int:
    """Fetch, convert and print the summary."""
    from ecg_hub.catalog import get

    get(args.alias)  # an unknown name is told before torch is imported
    from ecg_hub.weights.pull import pull

    summary = pull(args.alias, args.output, overwrite=args.overwrite, keep=args.keep)
    print("\n".join(summary.lines()))
    return 0


def run_convert(args: argparse.Namespace) -> int:
    """Convert and print the summary."""
    from ecg_hub.catalog import get

    get(args.alias)  # an unknown name is told before torch is imported
    from ecg_hub.weights.conversion import convert

    summary = convert(args.alias, args.checkpoint, args.output, overwrite=args.overwrite)
    print("\n".join(summary.lines()))
    return 0
