"""`ecg-hub data`: list, describe, prepare, verify, draw, export and publish datasets.

Listings read metadata alone; the other verbs are in `data_verbs`, which is imported when one of them runs.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_scripts.core.walk import folder_of
from ecg_hub.errors import DataError, InputError
from ecg_hub.utils import terminal
from ecg_hub.utils.remote import data_root, place
from ecg_hub.utils.text import print_pairs, print_table
from ecg_hub.utils.untrusted import MAX_RECORD_MB
from eval_harness.cli.common import add_engine, add_json_flag, add_old_name
from eval_harness.config.options import parse_shard

if TYPE_CHECKING:
    from dataset_scripts.core.spec import ECGDataset


MOCK_RECORDS = 1000
NAME_HELP = "a name from `ecg-hub data ls`, or the YAML file that describes your own archive"


def register(verbs: Any) -> None:
    """Add the verb `data` and the verbs below it."""
    data = verbs.add_parser(
        "data",
        help="datasets: list, describe, prepare, verify, draw, export, publish",
        description="Datasets by name: from raw files to records, labels and splits.",
    )
    below = data.add_subparsers(dest="data_verb", metavar="VERB", required=True)
    ls = below.add_parser("ls", help="list the datasets")
    add_json_flag(ls)
    ls.set_defaults(run=run_ls)
    info = below.add_parser("info", help="everything about one dataset: labels, licence, how to get it, problems")
    info.add_argument("name", metavar="NAME", help=NAME_HELP)
    add_json_flag(info)
    info.set_defaults(run=run_info)
    _add_prepare(below)
    _add_verify(below)
    _add_push(below)
    _add_export(below)
    _add_plot(below)


def _add_prepare(verbs: Any) -> None:
    prepare = verbs.add_parser(
        "prepare",
        help="write the record store, derive labels and splits, and say what was lost",
        description="Read every record once, derive labels and splits, and print what came of it. The same command "
        "again continues where it stopped, and finds finished work.",
    )
    prepare.add_argument("name", metavar="NAME", help=NAME_HELP)
    _where(prepare)
    prepare.add_argument("--download", action="store_true", help="first fetch what is missing (open datasets only)")
    prepare.add_argument("--num-proc", type=int, metavar="N", help="processes that read records (default: by size)")
    share = prepare.add_argument(
        "--max-unreadable", type=float, default=0.01, metavar="X", help="share of unreadable records tolerated (0.01)"
    )
    add_old_name(prepare, "--max-loss", share)
    prepare.add_argument(
        "--max-record-mb",
        type=float,
        metavar="MB",
        help=f"largest record as float32, in MB; larger ones are lost ({MAX_RECORD_MB})",
    )
    prepare.add_argument("--min-count", type=int, metavar="N", help="drop labels with fewer occurrences (default: 10)")
    prepare.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another rule, see `data info NAME`",
    )
    prepare.add_argument("--shards", metavar="DIR", help="also write every record there as Parquet shards")
    prepare.add_argument(
        "--shard-size", type=int, default=500, metavar="MB", help="records of one shard, before packing (500)"
    )
    add_engine(prepare)
    prepare.add_argument(
        "--shard",
        type=parse_shard,
        metavar="I/N",
        help="read the I-th of N parts of the records, as one of N jobs; without it the parts are put together",
    )
    prepare.add_argument("--report", metavar="FILE.csv", help="write the line of every record there")
    add_json_flag(prepare)
    prepare.set_defaults(run=_later("run_prepare"))


def _add_verify(verbs: Any) -> None:
    verify = verbs.add_parser(
        "verify",
        help="compare a raw folder with what is known of the release",
        description="Compare records, label counts, folds and checksums with what is known of the release. Exit code 0 "
        "only if every known fact was compared and holds.",
    )
    verify.add_argument("name", metavar="NAME", help=NAME_HELP)
    verify.add_argument("--data-dir", metavar="DIR", help="the raw folder")
    verify.add_argument("--sampling-rate", type=int, metavar="HZ", help="where the data come at several rates")
    verify.add_argument("--release", metavar="VERSION", help="compare with this release (default: what the tables say)")
    verify.add_argument("--signals", action="store_true", help="also read every record and every listed checksum")
    verify.add_argument("--num-proc", type=int, default=1, metavar="N", help="processes that read records (default: 1)")
    add_json_flag(verify)
    verify.set_defaults(run=_later("run_verify"))


def _add_push(verbs: Any) -> None:
    push = verbs.add_parser(
        "push",
        help="publish as much of a dataset as its licence lets through",
        description="Publish on the Hugging Face Hub, or on the one at $HF_ENDPOINT: Parquet where the licence allows "
        "passing on, else record names with splits and label counts, or the card alone.",
    )
    push.add_argument("name", metavar="NAME", help=NAME_HELP)
    _where(push)
    push.add_argument("--repo", required=True, metavar="ORG/NAME", help="repository; made if it is not there")
    push.add_argument("--private", action="store_true", help="make the repository private")
    push.add_argument("--dry-run", action="store_true", help="write the folder, name its files, send nothing")
    push.add_argument("-o", "--output", metavar="DIR", help="folder to write (default: $ECG_HUB_HOME/push/NAME)")
    push.set_defaults(run=_later("run_push"))


def _add_export(verbs: Any) -> None:
    export = verbs.add_parser(
        "export",
        help="describe a dataset or its shards as Croissant metadata",
        description="Write what is known of a dataset as Croissant (MLCommons), JSON-LD that search engines and data "
        "loaders read. Metadata alone: no record and no label of a record is written. With --shards the description "
        "lies beside the shards, with their checksums, and Croissant loaders read the records.",
    )
    export.add_argument("name", metavar="NAME", help=NAME_HELP)
    export.add_argument("--format", choices=("croissant",), default="croissant", help="default: croissant")
    where = export.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: print")
    where.add_argument("--shards", type=Path, metavar="DIR", help="describe these shards, in DIR/croissant.json")
    export.set_defaults(run=_later("run_export"))


def _add_plot(verbs: Any) -> None:
    plot = verbs.add_parser(
        "plot",
        help="draw twelve leads on ECG paper",
        description="Draw a record on ECG paper, 25 mm/s and 10 mm/mV, at true size when printed without scaling.",
    )
    plot.add_argument("name", metavar="NAME", help=NAME_HELP)
    plot.add_argument("record", metavar="RECORD", help="the dataset's own name of the record")
    _where(plot)
    plot.add_argument("-o", "--output", metavar="FILE", help=".png, .pdf or .svg (default: NAME-RECORD.png)")
    plot.add_argument("--start", type=float, default=0.0, metavar="S", help="first second (default: 0)")
    plot.add_argument("--seconds", type=float, default=10.0, metavar="S", help="how much to draw (default: 10)")
    plot.set_defaults(run=_later("run_plot"))


def _where(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where records come from."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data-dir", metavar="DIR", help="the raw folder (default: NAME in $ECG_DATA_ROOT)")
    source.add_argument("--mock", action="store_true", help=f"a synthetic tree of {MOCK_RECORDS:,} records instead")
    parser.add_argument("--cache-dir", metavar="DIR", help="where stores and synthetic trees are kept")
    parser.add_argument("--sampling-rate", type=int, metavar="HZ", help="where the data come at several rates")


def _later(function: str) -> Callable[[argparse.Namespace], int]:
    """Return a verb of `data_verbs`, which is imported when it runs."""

    def run(args: argparse.Namespace) -> int:
        # By name, since that module takes its folders from this one: a plain import would close a circle.
        return int(getattr(import_module("eval_harness.cli.hub.data_verbs"), function)(args))

    return run


def raw_folder(args: argparse.Namespace, dataset: ECGDataset) -> Path | None:
    """Return the raw folder that the options name, writing the synthetic tree of `--mock` on first use."""
    if getattr(args, "mock", False):
        refuse_own(args.name, "--mock")
        from dataset_scripts.mock import mock_root
        from ecg_hub.home import home

        cache = Path(args.cache_dir).expanduser() if args.cache_dir else home()
        # The same folder at every call, so that `prepare --mock` continues and `plot --mock` sees its records.
        return mock_root(cache, [dataset.name], records=MOCK_RECORDS) / dataset.name
    given = args.data_dir if args.data_dir is not None else getattr(dataset, "folder", None)
    if given is None:
        given = folder_of(dataset.name, data_root())
        return given if given.is_dir() else None
    return place(given)


def refuse_own(name: str, what: str) -> None:
    """Refuse what only published datasets have."""
    from dataset_scripts.catalog import is_path

    if is_path(name):
        raise InputError(f"{what} is for the published datasets; {name!r} describes an archive of your own.")


def require_folder(args: argparse.Namespace, dataset: ECGDataset) -> Path:
    """Return the raw folder that the options name."""
    folder = raw_folder(args, dataset)
    if folder is None:
        absent = folder_of(dataset.name, data_root())
        raise DataError(
            f"There is no folder {str(absent)!r}: pass --data-dir DIR if the data lie elsewhere. {dataset.how_to_get()}"
        )
    return folder


def finished_stores(name: str) -> list[Path]:
    """Return the record stores of a dataset in the default cache, those of simulated records left out."""
    from dataset_scripts.core.spec import is_mock
    from ecg_hub.home import home

    stores = sorted(path.parent for path in (home() / "datasets" / name).glob("*hz-*/*/dataset_info.json"))
    return [store for store in stores if not is_mock(store)]


def run_ls(args: argparse.Namespace) -> int:
    """Print one line per dataset."""
    from dataset_scripts.catalog import datasets, package_of
    from dataset_scripts.mock import available
    from dataset_scripts.tools.card import short_licence

    mocks = set(available())
    rows = [
        {
            "dataset": dataset.name,
            "title": dataset.title,
            "records": dataset.releases[0].records if dataset.releases else None,
            "Hz": dataset.sampling_rate,
            "access": dataset.access,
            "licence": short_licence(dataset),
            "mock": dataset.name in mocks,
            "prepared": bool(finished_stores(dataset.name)),
            "package": package_of(dataset.name),
        }
        for dataset in datasets().values()
    ]
    if args.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    # The title says little more than the name; --json and `info` have it.
    shown = [{name: value for name, value in row.items() if name != "title"} for row in rows]
    print_table(shown, title="datasets", prose=("licence",))
    return 0


def run_info(args: argparse.Namespace) -> int:
    """Print everything about one dataset."""
    from dataset_scripts.catalog import get

    dataset = get(args.name)
    if args.json:
        print(json.dumps(metadata(dataset), indent=1, ensure_ascii=False, default=str))
        return 0
    print_pairs(_pairs(dataset))
    for heading, lines in _paragraphs(dataset).items():
        if lines:
            print(f"\n{heading}")
            for line in lines:
                print(textwrap.indent(line, "  "))
    return 0


def metadata(dataset: ECGDataset) -> dict[str, Any]:
    """Return what a dataset declares about itself, without functions and user paths."""
    from dataclasses import asdict

    fields = (
        "name", "title", "description", "versions", "sampling_rates", "unit", "access", "redistribution", "licence",
        "citation", "page", "label_columns", "folds", "thresholds", "table_files", "optional_files", "signal_suffixes",
        "problems",
    )  # fmt: skip
    from dataset_scripts.tools.download import instructions

    return {
        **{name: getattr(dataset, name) for name in fields},
        "metadata_columns": dict(dataset.metadata_columns),
        "releases": [asdict(release) for release in dataset.releases],
        "sources": [asdict(source) for source in dataset.sources],
        "how_to_get": instructions(dataset),
        "prepared": [str(path) for path in finished_stores(dataset.name)],
    }


def _pairs(dataset: ECGDataset) -> dict[str, object]:
    stores = finished_stores(dataset.name)
    thresholds = ", ".join(f"{name} {value}" for name, value in dataset.thresholds.items())
    return {
        "dataset": f"{dataset.title} ({dataset.name})",
        "releases": ", ".join(dataset.versions),
        "records": f"{dataset.releases[0].records:,}" if dataset.releases else None,
        "sampling rate": ", ".join(f"{rate} Hz" for rate in dataset.sampling_rates),
        "unit": "mV" if dataset.unit == "mV" else "none: z-scored as published",
        "label columns": ", ".join(_label_columns(dataset)) or "none",
        "folds": dataset.folds,
        "thresholds": thresholds,
        "raw folder": ", ".join((*dataset.table_files, *dataset.optional_files, *dataset.signal_suffixes)),
        "access": dataset.access,
        "licence": dataset.licence,
        "may be passed on": dataset.redistribution,
        "page": dataset.page,
        "citation": dataset.citation,
        "prepared": ", ".join(str(path) for path in stores) or "no",
    }


def _label_columns(dataset: ECGDataset) -> list[str]:
    """Return the label columns with the number of their labels where it is known."""
    numbers = dataset.releases[0].label_numbers if dataset.releases else {}
    return [f"{name} ({numbers[name]} labels)" if name in numbers else name for name in dataset.label_columns]


def _paragraphs(dataset: ECGDataset) -> dict[str, list[str]]:
    from dataset_scripts.tools.download import instructions

    own = hasattr(dataset, "source")  # the archive of a user, described in a YAML file
    wrap = textwrap.TextWrapper(
        width=max((terminal.width() or 120) - 2, 1), break_long_words=False, break_on_hyphens=False
    )
    return {
        "what it is": [wrap.fill(dataset.description)] if dataset.description else [],
        "get it": [] if own else instructions(dataset),
        "known problems": ["- " + wrap.fill(problem).replace("\n", "\n  ") for problem in dataset.problems],
    }
