"""`ecg-hub pull`, `convert`, `predict` and `embed`: from the authors' file to a model folder, and to its outputs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_hub.catalog import ModelEntry
from ecg_hub.errors import EcgHubError, ExitCode, InputError
from ecg_hub.utils import terminal
from ecg_hub.utils.files import write_text
from ecg_hub.utils.remote import shown
from ecg_hub.utils.text import number_of, print_lines, print_table
from eval_harness.cli.common import add_engine, in_spelling_of
from eval_harness.cli.hub.listing import add_filters, chosen
from eval_harness.cli.program import suggest
from eval_harness.config.options import PRESETS

if TYPE_CHECKING:
    from ecg_hub.inference.records import RecordInput


def register(verbs: Any) -> None:
    """Add the verbs."""
    _add_conversion(verbs)
    _add_use(verbs)


def _add_conversion(verbs: Any) -> None:
    pull = verbs.add_parser(
        "pull",
        help="fetch the authors' weights and convert them",
        description="Fetch the authors' file from figshare, Zenodo or the Hugging Face Hub, compare its checksum, and "
        "convert it. A download that broke off continues when the same command is given again. Where the authors only "
        "give a page, the page is named. The first use of a short name does the same, unless ECG_HUB_OFFLINE=1 or "
        "HF_HUB_OFFLINE=1 is set.",
    )
    pull.add_argument("names", nargs="*", metavar="NAME", help="short names or patterns, see `ecg-hub ls`")
    pull.add_argument(
        "--all",
        action="store_true",
        help="all that a program may fetch, sizes first; the others are listed; see the filters",
    )
    add_filters(pull)
    pull.add_argument("--dry-run", action="store_true", help="only say what would be fetched")
    pull.add_argument(
        "-o", "--output", metavar="DIR", help="folder to write (default: where the short name is looked up)"
    )
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
    convert.add_argument(
        "-o", "--output", metavar="DIR", help="folder to write (default: where the short name is looked up)"
    )
    convert.add_argument("--overwrite", action="store_true", help="replace the folder if it is there")
    convert.set_defaults(run=run_convert)


def _add_use(verbs: Any) -> None:
    predict = verbs.add_parser("predict", help="labelled scores of records, by a trained classifier")
    _common(predict)
    predict.add_argument("--top-k", type=int, metavar="K", help="only the K best labels of each record")
    predict.add_argument("--format", choices=("table", "json", "csv"), default="table", help="default: table")
    predict.add_argument("-o", "--output", metavar="FILE", help="write there instead of printing (.json or .csv)")
    predict.set_defaults(run=run_predict)
    embed = verbs.add_parser("embed", help="feature vectors of records in one Parquet file")
    _common(embed)
    embed.add_argument("-o", "--output", required=True, metavar="FILE.parquet", help="file to write")
    add_engine(embed)
    embed.add_argument("--num-proc", type=int, metavar="N", help="workers of Ray on this machine (default: all cores)")
    embed.add_argument("--seed", type=int, metavar="N", help="of a random: model (default: 0)")
    embed.set_defaults(run=run_embed)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder, short name or hub id")
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="records (WFDB, EDF, DICOM, XML, ...), or a YAML that describes an archive",
    )
    presets = "default: benchmark; of a published head that of its training"
    parser.add_argument("--preset", choices=PRESETS, type=in_spelling_of(PRESETS), help=presets)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps (default: cpu)")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="windows per batch (default: 64)")
    parser.add_argument(
        "--sampling-rate", type=float, metavar="HZ", help="of files that state none (most CSV and Parquet tables)"
    )
    parser.add_argument("--unit", metavar="UNIT", help="of files that state none: mV, uV, V")
    parser.add_argument("--nan", choices=("raise", "zero"), default="raise", help="missing samples (default: raise)")
    parser.add_argument(
        "--missing-leads", choices=("raise", "zero"), default="raise", help="absent leads (default: raise)"
    )


def run_pull(args: argparse.Namespace) -> int:
    """Fetch, convert and print the summaries; of several, one that fails is named and the others go on."""
    entries = chosen(args, args.names)  # an unknown name is told before torch is imported
    if not args.names and not args.all:
        raise InputError("No model was given. Name some, or give --all with a filter such as --licence open.")
    by_hand = [entry for entry in entries if entry.weights.kind == "manual"] if args.all else []
    if args.all:
        entries = [entry for entry in entries if entry.weights.can_be_fetched]
    if args.output is not None and len(entries) != 1:
        raise InputError(f"--output is the folder of one model, and {len(entries)} are asked for.")
    if len(entries) != 1 or args.dry_run:
        _show_plan(args, entries)
    if by_hand:
        rows = [{"model": entry.alias, "file": entry.weights.file, "page": entry.weights.page} for entry in by_hand]
        print()
        print_table(rows, heading="with a browser, since no program may follow the links of these pages:")
        print_lines(["then: ecg-hub convert NAME --checkpoint FILE"])
    return 0 if args.dry_run else _pull_each(args, entries)


def _show_plan(args: argparse.Namespace, entries: Sequence[ModelEntry]) -> None:
    """Print what is fetched, and refuse what does not fit on the disk before the first byte."""
    from ecg_hub.home import home
    from ecg_hub.names import model_folder
    from ecg_hub.utils.files import free_bytes
    from ecg_hub.weights.pull import file_sizes, is_there

    here = {entry.alias for entry in entries if is_there(args.output or model_folder(entry.alias), args.overwrite)}
    sizes = file_sizes(entry for entry in entries if entry.alias not in here)
    shown = {alias: "not known" if size is None else megabytes(size) for alias, size in sizes.items()}
    rows = [
        {
            "model": entry.alias,
            "size": shown.get(entry.alias, "here already"),
            "licence": entry.licence.name,
        }
        for entry in entries
    ]
    print_table(rows, title="models", keep=("model", "size", "licence"), prose=("licence",))
    total, unknown = sum(size or 0 for size in sizes.values()), list(sizes.values()).count(None)
    free = free_bytes(home())
    more = f", and {number_of(unknown, 'file')} whose size is not known" if unknown else ""
    print_lines(["", f"to fetch: {megabytes(total)}{more}; free for {home()}: {megabytes(free)}"])
    if total > free and not args.dry_run:
        raise InputError(f"The disk of {str(home())!r} has no room for {megabytes(total)}: name fewer models.")


def megabytes(size: int) -> str:
    """A size as people read it."""
    number, unit = (size / 1e9, "GB") if size >= 1e9 else (size / 1e6, "MB")
    return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"


def _pull_each(args: argparse.Namespace, entries: Sequence[ModelEntry]) -> int:
    from ecg_hub.weights.pull import pull

    done = failed = 0
    for entry in entries:
        try:
            summary = pull(entry.alias, args.output, overwrite=args.overwrite, keep=args.keep)
        except EcgHubError as error:
            if len(entries) == 1:
                raise
            terminal.say(f"failed: {entry.alias}: {error}", important=True)
            failed += 1
        else:
            print("\n".join(summary.lines()), flush=True)
            _suggest_use(args.output or entry.alias, entry)
            done += 1
    return ExitCode.of(done, failed)


def run_convert(args: argparse.Namespace) -> int:
    """Convert and print the summary."""
    from ecg_hub.catalog import get

    entry = get(args.alias)  # an unknown name is told before torch is imported
    from ecg_hub.weights.conversion import convert

    summary = convert(args.alias, args.checkpoint, args.output, overwrite=args.overwrite)
    print("\n".join(summary.lines()))
    _suggest_use(args.output or args.alias, entry)
    return 0


def _suggest_use(model: str, entry: ModelEntry) -> None:
    classifies = [("ecg-hub", "predict", model, "RECORD.hea")] if entry.keeps_head else []
    suggest(
        ("ecg-eval", "--model", model, "--tasks", "demo", "--mode", "linear", "--data-root", "mock"),
        ("ecg-hub", "embed", model, "RECORD.hea", "-o", "features.parquet"),
        *classifies,
    )


def run_predict(args: argparse.Namespace) -> int:
    """Print or write labelled scores; a record that cannot be used is a row with its reason."""
    from ecg_hub.inference.predict import predict

    kind = _predict_format(args)
    records = gather(args.files)
    result = predict(
        args.model,
        records,
        preset=args.preset,
        top_k=args.top_k,
        batch_size=args.batch_size,
        device=args.device,
        **_prepare(args),
    )
    if args.output:
        write_text(Path(args.output), result.to_csv() if kind == "csv" else result.to_json() + "\n")
    elif kind == "table":
        print(result.to_table(terminal.width(), terminal.styles()))
    else:
        print(result.to_csv() if kind == "csv" else result.to_json(), end="")
    return report(result.failures, result.exit_code, len(records))


def _predict_format(args: argparse.Namespace) -> str:
    """The format to print or write: of a file that of its ending, which --format may not contradict."""
    if not args.output:
        return str(args.format)
    ending = Path(args.output).suffix.lower().lstrip(".")
    if ending not in ("csv", "json"):
        raise InputError(f"--output {args.output!r}: the file must end in .csv or .json.")
    if args.format not in ("table", ending):
        raise InputError(f"--format {args.format} is not the ending of --output {args.output!r}: leave --format out.")
    return ending


def _prepare(args: argparse.Namespace) -> dict[str, Any]:
    """What the extractor is told of the records; a whole rate as the whole number that files state."""
    rate = args.sampling_rate
    rate = int(rate) if rate is not None and rate.is_integer() else rate
    return {"sampling_rate": rate, "unit": args.unit, "nan": args.nan, "missing_leads": args.missing_leads}


def run_embed(args: argparse.Namespace) -> int:
    """Write feature vectors; a record that cannot be used is a row with its reason."""
    if args.num_proc is not None and args.engine != "ray":
        raise InputError(f"--num-proc {args.num_proc} goes with --engine ray; here one process encodes.")
    if args.seed is not None and not args.model.startswith("random:"):
        raise InputError(f"--seed {args.seed} goes with a model random:NAME; {args.model!r} has its weights.")
    from ecg_hub.inference.predict import embed

    records = gather(args.files)
    result = embed(
        args.model,
        records,
        args.output,
        preset=args.preset,
        batch_size=args.batch_size,
        device=args.device,
        seed=args.seed or 0,
        engine=args.engine,
        num_proc=args.num_proc,
        **_prepare(args),
    )
    whole = result.rows - len(result.failures)
    share = f"{whole} of " if result.failures else ""
    print(f"{shown(result.output)}: {share}{number_of(result.rows, 'record')}, {result.dim} features each")
    return report(result.failures, result.exit_code, len(records))


def gather(files: Sequence[str]) -> list[RecordInput]:
    """The records that a command line names: those of a described archive in its order, everything else as it is."""
    from dataset_scripts.catalog import is_path
    from dataset_scripts.custom import record_readers
    from ecg_hub.inference.records import RecordSource

    records: list[RecordInput] = []
    for file in files:
        if is_path(file):
            records += [RecordSource(name, partial(_millivolt, read)) for name, read in record_readers(file)]
        else:
            records.append(file)
    return records


def _millivolt(read: Callable[[], Any]) -> tuple[Any, Any, Sequence[str]]:
    """The leads of a record that hold a sample, in millivolts."""
    from dataset_scripts.formats.files import signal_recording

    recording = signal_recording(read())
    return recording.values, recording.sampling_rate, recording.lead_names


_KEYWORD = re.compile(r"`?\b(nan|missing_leads|sampling_rate|unit)(?:='([^']*)'|=([\w.]+))?`?")


def _as_options(reason: str) -> str:
    """Return a remedy that names a keyword of Python, with a value or in backticks, by the option of the same name."""

    def option(found: re.Match[str]) -> str:
        value = found[2] or found[3] or ""
        plain = not value and "`" not in found[0]
        return found[0] if plain else f"--{found[1].replace('_', '-')} {value}".strip()

    return _KEYWORD.sub(option, reason)


def report(failures: Sequence[tuple[str, str]], code: int, records: int) -> int:
    """Name the records that could not be used on standard error; returns the exit code."""
    for record, reason in failures:
        terminal.say(f"failed: {record}: {_as_options(reason)}", important=True)
    if failures:
        terminal.say(f"{len(failures)} of {number_of(records, 'record')} failed", important=True)
    return code
