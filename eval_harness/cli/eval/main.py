"""`ecg-eval`: score models on tasks, list and describe what there is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from eval_harness.cli import eval as verbs_folder
from eval_harness.cli.common import add_verbs, start

ORDER = (
    "run", "compare", "checks", "report", "export", "label_efficiency", "ablation", "cka", "robustness", "transfer",
    "push", "leaderboard", "listing",
)  # fmt: skip
"""Files whose verbs come first in the help."""

EPILOG = """\
examples:
  ecg-eval --model random:ecg-cpc --tasks ptbxl_super --data-root mock --epochs 2 --limit 96
  ecg-eval --model ecg-cpc --tasks all --data-root /data/ecg --download
  ecg-eval ls tasks
  ecg-eval describe ptbxl_super
  ecg-eval compare results/
  ecg-eval verify results/ecg-cpc/linear
  ecg-eval report results/ --output report.html
  ecg-eval export results/ --output scores.csv

A run that was interrupted continues when the same command is given again.
Without a verb, `run` is meant: `ecg-eval --model ...`; its options: `ecg-eval run --help`.
Research software, not a medical device."""


def build_parser() -> argparse.ArgumentParser:
    """The parser with all verbs."""
    parser = argparse.ArgumentParser(
        prog="ecg-eval",
        description="Score ECG models on published clinical tasks, with intervals, resumable.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_verbs(parser, verbs_folder, ORDER)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 all rows done, 1 one failed or lacks data or weights, 2 wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # `ecg-eval --model ...` is `ecg-eval run --model ...`: argparse knows no default for a verb.
    if arguments and arguments[0].startswith("-") and arguments[0] not in ("-h", "--help"):
        arguments.insert(0, "run")
    return start(build_parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
