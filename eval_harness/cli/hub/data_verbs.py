"""What `ecg-hub data prepare`, `verify`, `push`, `export` and `plot` do, imported when one of them runs."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dataset_scripts.catalog import get
from dataset_scripts.core.report import counted
from dataset_scripts.core.spec import SPLITS, ECGDataset
from dataset_scripts.core.walk import folder_of
from dataset_scripts.tools.plot import Record, plot_ecg, read_one
from dataset_scripts.tools.publish import Level, level, push, write_publication
from dataset_scripts.tools.verify import FAULTS, Verification, verify
from ecg_hub.errors import InputError
from ecg_hub.home import home
from ecg_hub.hub.client import check_id
from ecg_hub.utils.files import atomic_path, write_text
from ecg_hub.utils.remote import data_root, place, publish
from ecg_hub.utils.terminal import say
from ecg_hub.utils.text import number_of, print_lines, print_pairs, print_table
from eval_harness.cli.hub.data import raw_folder, refuse_own, require_folder
from eval_harness.cli.program import suggest

if TYPE_CHECKING:
    from dataset_scripts.load import Prepared

SHOWN_LOSSES = 5
SHOWN_REASONS = 8
VERDICTS = {"ok": "ok", "missing": "missing", "differs": "differs", "open": "not compared", "note": "note"}
PUBLISHED_PARTS: dict[Level, str] = {
    "full": "records, labels and splits",
    "ids": "record names with their splits, and label counts; the licence keeps signals and labels back",
    "card": "the card alone; the terms keep everything else back",
}
PLOT_FORMATS = (".png", ".pdf", ".svg")
NOTICE = "research software, not a medical device"


def run_prepare(args: argparse.Namespace) -> int:
    """Prepare a dataset and print splits, labels, exclusions, losses, deviations and fingerprint."""
    thresholds = parse_thresholds(args.threshold)
    check_part(args)
    if args.download:
        fetch(args)
    dataset = get(args.name, args.data_dir)
    folder = raw_folder(args, dataset)
    from dataset_scripts.load import prepare

    begin = time.perf_counter()
    if args.shard is not None:
        return run_part(args, folder)
    prepared = prepare(
        args.name,
        folder,
        cache_dir=args.cache_dir,
        sampling_rate=args.sampling_rate,
        min_count=args.min_count,
        max_unreadable=args.max_unreadable,
        num_proc=args.num_proc,
        max_record_mb=args.max_record_mb,
        engine=args.engine,
        **thresholds,
    )
    shards = None if args.shards is None else write_shard_folder(prepared, args)
    seconds = time.perf_counter() - begin
    if args.report:
        write_text(place(args.report), prepared.report.to_csv(index=False))
        publish(place(args.report))
    if args.json:
        facts = {**summary(prepared), "shards": shards, "seconds": round(seconds, 2)}
        print(json.dumps(facts, indent=1, ensure_ascii=False, default=str))
    else:
        _print_prepared(prepared, seconds, args.report, shards)
        _suggest_use(args, prepared, folder)
    return 0


def check_part(args: argparse.Namespace) -> None:
    """Refuse a --shard that is none, or that asks for what only all records have."""
    number, parts = args.shard or (1, 1)
    if not 1 <= number <= parts:
        raise InputError(f"--shard is {number}/{parts}: write I/N with I from 1 to N, for example --shard 1/4.")
    if args.shard and (args.shards or args.report):
        raise InputError("--shards and --report are of all records: give them without --shard, after all parts.")


def run_part(args: argparse.Namespace, folder: Path | None) -> int:
    """Read one part of the records, as one of several jobs."""
    from dataset_scripts.load import prepare_part

    number, parts = args.shard
    options = {name: getattr(args, name) for name in ("cache_dir", "sampling_rate", "num_proc", "max_record_mb")}
    shards, records = prepare_part(args.name, folder, args.shard, **options)
    if args.json:
        print(json.dumps({"part": number, "parts": parts, "shards": shards, "records": records}))
    else:
        print(f"part {number} of {parts}: {number_of(shards, 'shard')}, {number_of(records, 'record')}")
        say("when all parts are done, the same command without --shard puts them together")
    return 0


def _suggest_use(args: argparse.Namespace, prepared: Prepared, folder: Path | None) -> None:
    name, record = prepared.dataset.name, prepared.report["record_id"].iloc[0]
    where: tuple[str, ...] = ("--mock",) if args.mock else ("--data-dir", args.data_dir) if args.data_dir else ()
    steps: list[tuple[object, ...]] = [("ecg-hub", "data", "plot", args.name, record, *where)]
    # A run looks for the raw folder by the dataset's name, so one of another name cannot be suggested.
    if args.mock or (folder is not None and folder.name == name):
        root = "mock" if args.mock or folder is None else folder.parent
        from eval_harness.tasks.registry import suites

        # A data set without a task can be looked at, and not be evaluated on.
        if (suite := f"dataset:{name}") in suites():
            steps.insert(0, ("ecg-eval", "--model", "random:ecg-cpc-tiny", "--tasks", suite, "--data-root", root))
    suggest(*steps)


def write_shard_folder(prepared: Prepared, args: argparse.Namespace) -> dict[str, Any]:
    """Write the shards that the options ask for, and return what came of it."""
    from dataset_scripts.tools.export import write_shards

    if args.shard_size < 1:
        raise InputError(f"--shard-size {args.shard_size} is no size in MB; give 1 or more.")
    manifest = write_shards(prepared, args.shards, shard_bytes=args.shard_size * 10**6, num_proc=args.num_proc)
    return {
        "folder": str(Path(args.shards).expanduser()),
        "files": len(manifest.files),
        "bytes": sum(entry.size for entry in manifest.files),
        "records": manifest.records,
    }


def fetch(args: argparse.Namespace) -> None:
    """Download what is missing of a dataset's raw files."""
    from dataset_scripts.tools.download import download
    from dataset_scripts.tools.hosts import Transport

    refuse_own(args.name, "--download")
    if args.mock:
        raise InputError("--download fetches real records and --mock simulates them: leave one of the two out.")
    dataset = get(args.name)
    if args.data_dir is None:
        args.data_dir = str(folder_of(dataset.name, data_root()))
    if dataset.access == "open":
        say(f"licence of {dataset.title}: {dataset.licence}", important=True)
    with Transport(remedy=f"The data are at {dataset.page}") as transport:
        done = download(dataset, args.data_dir, transport)
    say(f"{done.files:,} files in {done.folder}")
    for archive, number in done.unpacked.items():
        say(f"unpacked {archive}: {number:,} files")
    if done.unchecked:
        say(f"without a published checksum: {', '.join(done.unchecked)}", important=True)


def parse_thresholds(given: list[str]) -> dict[str, Any]:
    """Return the options `--threshold NAME=VALUE`, values read as in YAML (10, true, 0.5)."""
    thresholds: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"--threshold {text!r}: write NAME=VALUE, for example min_samples=5000.")
        if name == "min_count":
            raise InputError("--threshold min_count: use --min-count.")
        try:
            thresholds[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--threshold {text!r}: {value!r} is not a value.") from None
    return thresholds


def summary(prepared: Prepared) -> dict[str, Any]:
    """Return what a preparation came to, as JSON can hold it."""
    report = prepared.report
    lost = report[report["status"] == "lost"]
    return {
        "dataset": prepared.dataset.name,
        "release": prepared.version,
        "sampling_rate": prepared.sampling_rate,
        "records": {name: len(prepared.splits[name]) for name in SPLITS},
        "labels": {column: len(names) for column, names in prepared.labels.items()},
        "read": int((report["status"] == "ok").sum()),
        "lost": len(lost),
        "lost_first": lost[["record_id", "file", "reason"]].head(SHOWN_LOSSES).to_dict("records"),
        "lost_reasons": dict(counted(lost["reason"], joined=False)[:SHOWN_REASONS]),
        "remarks": dict(counted(report.loc[report["status"] == "ok", "reason"])[:SHOWN_REASONS]),
        "exclusions": dict(prepared.exclusions),
        "deviations": dict(prepared.deviations),
        "label_hashes": dict(prepared.label_hashes),
        "fingerprint": prepared.fingerprint,
        "store": str(prepared.store),
        "derivation": None if prepared.derivation is None else str(prepared.derivation),
    }


def _print_prepared(prepared: Prepared, seconds: float, report: str | None, shards: dict[str, Any] | None) -> None:
    facts = summary(prepared)
    dataset: ECGDataset = prepared.dataset
    release = f", release {prepared.version}" if prepared.version else ""
    print_table([{"split": name, "records": number} for name, number in facts["records"].items()], title="splits")
    print()
    deviations = ", ".join(f"{name} {value}" for name, value in facts["deviations"].items())
    exclusions = ", ".join(f"{rule} {number:,}" for rule, number in facts["exclusions"].items())
    labels = [f"{column} {number}" for column, number in facts["labels"].items()]
    print_pairs(
        {
            "dataset": f"{dataset.title}{release}, {prepared.sampling_rate} Hz",
            "labels": ", ".join([*labels, *([f"targets {len(prepared.targets)}"] if prepared.targets else [])]),
            "records read": f"{facts['read']:,}",
            "lost": f"{facts['lost']:,}",
            "left out by rule": exclusions or "none",
            # Of an archive of one's own no run was published.
            **({"differs from the published run": deviations or "nothing"} if dataset.releases or deviations else {}),
            "fingerprint": prepared.fingerprint,
            "store": facts["store"],
            **({"shards": _shards_text(shards)} if shards else {}),
            "seconds": f"{seconds:.1f}",
        }
    )
    if prepared.derivation is not None:
        from dataset_scripts.core.report import read_steps, steps_text

        print(f"\nhow the targets were derived ({prepared.derivation}):\n")
        print(steps_text(read_steps(prepared.derivation)))
    _print_reasons(facts)
    for item in facts["lost_first"]:
        say(f"lost: {item['record_id']} ({item['file']}): {item['reason']}", important=True)
    if facts["lost"] > SHOWN_LOSSES:
        rest = "see the report" if report else "--report FILE names them"
        say(f"and {facts['lost'] - SHOWN_LOSSES:,} more; {rest}", important=True)


def _print_reasons(facts: dict[str, Any]) -> None:
    """Say why records were lost and what is odd about those that were read: how many of each kind, with an example."""
    for title, total, reasons in (
        ("lost", facts["lost"] + facts["read"], facts["lost_reasons"]),
        ("remark", facts["read"], facts["remarks"]),
    ):
        print_lines(f"{title}: {number:,} of {total:,} records: {reason}" for reason, number in reasons.items())


def _shards_text(shards: dict[str, Any]) -> str:
    """Say how much a folder of shards holds."""
    records = ", ".join(f"{split} {number:,}" for split, number in shards["records"].items())
    return f"{shards['folder']}: {shards['files']:,} files, {shards['bytes'] / 1e6:,.1f} MB ({records})"


def run_verify(args: argparse.Namespace) -> int:
    """Print every comparison; exit code 0 only if all known facts hold."""
    dataset = get(args.name, args.data_dir)
    result = verify(
        dataset,
        require_folder(args, dataset),
        signals=args.signals,
        release=args.release,
        sampling_rate=args.sampling_rate,
        num_proc=args.num_proc,
    )
    if args.json:
        print(json.dumps({**asdict(result), "holds": result.holds}, indent=1, ensure_ascii=False))
    else:
        _print_verified(dataset, result)
    return 0 if result.holds else 1


def _print_verified(dataset: ECGDataset, result: Verification) -> None:
    against = f"release {result.release}" if result.release else "no known release"
    print(f"{dataset.title} in {result.folder}, compared with {against}")
    width = max(len(VERDICTS[finding.verdict]) for finding in result.findings) if result.findings else 0
    for finding in result.findings:
        print(f"  {VERDICTS[finding.verdict].ljust(width)}  {finding.text}")
    print(conclusion(dataset, result))


def conclusion(dataset: ECGDataset, result: Verification) -> str:
    """Return what all comparisons come to in one sentence."""
    holding = sum(finding.verdict == "ok" for finding in result.findings)
    faults = sum(finding.verdict in FAULTS for finding in result.findings)
    if result.synthetic:
        return f"This is a synthetic tree, not {dataset.title}."
    if faults:
        return f"{faults} of {holding + faults} facts do not hold or were not compared. The data are at {dataset.page}"
    if result.release is None:
        return "Nothing is wrong with the files; whether they are the release is not known."
    depth = "" if result.thorough else " Signals were not read: --signals does."
    return f"All {holding} facts hold.{depth}"


def run_push(args: argparse.Namespace) -> int:
    """Write the folder, and send it unless it is a dry run."""
    check_id(args.repo)
    refuse_own(args.name, "push")
    dataset = get(args.name, args.data_dir)
    allowed = level(dataset)
    print(f"{dataset.title} is {dataset.access}, {dataset.licence}: {PUBLISHED_PARTS[allowed]}")
    if args.output is None:
        target = home() / "push" / dataset.name
        # This folder is ours: files of an earlier release must not go along. One that was named is left as it is.
        shutil.rmtree(target, ignore_errors=True)
    else:
        target = Path(args.output).expanduser()
    prepared = None
    # A card needs no data: it can be published by who has none.
    if allowed != "card":
        from dataset_scripts.load import prepare

        folder = raw_folder(args, dataset)
        prepared = prepare(args.name, folder, cache_dir=args.cache_dir, sampling_rate=args.sampling_rate)
    publication = write_publication(dataset, target, prepared, args.repo)
    for name, size in publication.files.items():
        print(f"  {name}  {size:,} bytes")
    if args.dry_run:
        print(f"nothing was sent: {target}")
        return 0
    print(push(dataset, publication, args.repo, private=args.private))
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Print the Croissant description of a dataset, or write it to a file or beside shards."""
    from dataset_scripts.tools.croissant import FILE, croissant, croissant_text, shards_croissant

    dataset = get(args.name)
    if args.shards is not None:
        folder = args.shards.expanduser()
        content, target = shards_croissant(dataset, folder), folder / FILE
    else:
        content, target = croissant(dataset), args.output and args.output.expanduser()
    if target is None:
        print(croissant_text(content), end="")
        return 0
    write_text(target, croissant_text(content))
    print(target)
    return 0


def run_plot(args: argparse.Namespace) -> int:
    """Draw a record and print the name of the file."""
    dataset = get(args.name, args.data_dir)
    # A record's own name is a path in some archives.
    default = f"{dataset.name}-{args.record.replace('/', '_')}.png"
    target = Path(args.output or default).expanduser()
    if target.suffix.lower() not in PLOT_FORMATS:
        raise InputError(f"--output {str(target)!r}: the file must end in {', '.join(PLOT_FORMATS)}.")
    folder = require_folder(args, dataset)
    record = read_one(dataset, folder, args.record, args.sampling_rate)
    try:
        figure = plot_ecg(
            record.values,
            record.sampling_rate,
            title=f"{dataset.title}, record {record.record_id}",
            lines=heading(dataset, record),
            start=args.start,
            seconds=args.seconds,
            unit=record.unit,
            footnote=NOTICE,
        )
    except ImportError as error:
        raise InputError(str(error)) from error
    # matplotlib takes the kind from the ending, which the temporary file does not have, so it is named.
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format=target.suffix.lower().lstrip("."))
    print(target)
    return 0


def heading(dataset: ECGDataset, record: Record) -> list[str]:
    """Return the lines above the paper: who, and the labels of the published target list."""
    # NaN, as tables write what is missing, is the one number that differs from itself.
    age = None if record.age is None or record.age != record.age else f"{record.age:.3g} years"
    person = ", ".join(part for part in (age, record.sex) if part) or "age and sex unknown"
    patient = f"   patient {record.patient_id}" if record.patient_id else ""
    synthetic = "   SYNTHETIC: simulated signal, invented patient" if record.synthetic else ""
    column = dataset.label_columns[0] if dataset.label_columns else ""
    # Labels that cannot be derived from what lies here are not there: "none" would be a finding of the record.
    labels = "; ".join(record.labels[column]) or "none" if column in record.labels else "not known here"
    return [f"{person}{patient}{synthetic}", f"labels: {labels}"]
