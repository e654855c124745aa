"""`ecg-hub data verify`: a raw folder compared with what is known of the release."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from dataset_scripts.catalog import get
from dataset_scripts.core.spec import ECGDataset
from dataset_scripts.tools.verify import FAULTS, Verification, verify
from eval_harness.cli.hub.data import require_folder

WORDS = {"ok": "ok", "missing": "missing", "differs": "differs", "open": "not compared", "note": "note"}


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
        _print(dataset, result)
    return 0 if result.holds else 1


def _print(dataset: ECGDataset, result: Verification) -> None:
    against = f"release {result.release}" if result.release else "no known release"
    print(f"{dataset.title} in {result.folder}, compared with {against}")
    width = max(len(WORDS[finding.verdict]) for finding in result.findings) if result.findings else 0
    for finding in result.findings:
        print(f"  {WORDS[finding.verdict].ljust(width)}  {finding.text}")
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
