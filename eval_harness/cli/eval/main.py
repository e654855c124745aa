"""`ecg-eval`: score models on tasks, list and describe what there is."""

from __future__ import annotations

# Nothing else is imported before `main`, so that Ctrl-C finds somebody who says how to go on.
import sys

from eval_harness.cli import interrupted, watch_interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval_harness.cli.program import Parser

ORDER = (
    "run", "compare", "checks", "report", "export", "label_efficiency", "ablation", "cka", "robustness", "transfer",
    "push", "leaderboard", "listing",
)  # fmt: skip
"""Files whose verbs come first in the help."""

EXAMPLES = """\
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
Without a verb, `run` is meant: `ecg-eval --model ...`; its options: `ecg-eval run --help`."""


def build_parser() -> Parser:
    """The parser with all verbs."""
    from eval_harness.cli import eval as verbs_folder
    from eval_harness.cli.program import make_parser

    description = "Score ECG models on published clinical tasks, with intervals, resumable."
    return make_parser("ecg-eval", description, EXAMPLES, verbs_folder, ORDER)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code (`ecg_hub.errors.EXIT_CODES`)."""
    try:
        if argv is None:
            watch_interrupts()
        from eval_harness.cli.program import start

        words = with_verb(sys.argv[1:] if argv is None else argv)
        return start(build_parser, words, whole_process=argv is None)
    except KeyboardInterrupt:
        return interrupted()


def with_verb(words: Sequence[str]) -> list[str]:
    """Return the words with `run` in front where no verb stands: argparse knows no default for one.

    Example:
        >>> with_verb(["--model", "ecg-cpc"]), with_verb(["-q", "ls"])
        (['run', '--model', 'ecg-cpc'], ['-q', 'ls'])
    """
    first = next((word for word in words if word not in ("-q", "--quiet")), "")
    return ["run", *words] if first.startswith("-") and first not in ("-h", "--help", "--version") else list(words)


if __name__ == "__main__":
    sys.exit(main())
