"""`ecg-hub`: list, convert and use models; list, prepare and publish datasets."""

from __future__ import annotations

# Nothing else is imported before `main`, so that Ctrl-C finds somebody who says how to go on.
import sys

from eval_harness.cli import interrupted, watch_interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval_harness.cli.program import Parser

ORDER = ("listing", "models", "bench", "pretrain", "data", "repositories", "serve")
"""Files whose verbs come first in the help."""

EXAMPLES = """\
examples:
  ecg-hub ls
  ecg-hub info ecg-cpc
  ecg-hub pull ecg-cpc
  ecg-hub convert st-mem --checkpoint st_mem_vit_base_full.pth
  ecg-hub embed ecg-cpc records/*.hea -o features.parquet
  ecg-hub predict results/ecg-cpc/finetune/model/ptbxl_super record.hea
  ecg-hub pretrain --model ecg-cpc-tiny --data ptb-xl --data-root mock --steps 50 --batch-size 16 --output runs/trial
  ecg-hub data ls
  ecg-hub data prepare ptb-xl --data-dir /data/ecg/ptb-xl --download
  ecg-hub push ecg-cpc --repo ORG/ecg-cpc --dry-run
  ecg-hub mirror ORG/ecg-cpc --to /media/disk/hub
  ecg-hub import /media/disk/hub
  ecg-hub serve --root /srv/hub --host 127.0.0.1 --port 8080 --token-file tokens
"""


def build_parser() -> Parser:
    """The parser with all verbs."""
    from eval_harness.cli import hub as verbs_folder
    from eval_harness.cli.program import make_parser

    description = "ECG models and datasets by name: list, convert, encode, predict; prepare, verify, draw."
    return make_parser("ecg-hub", description, EXAMPLES, verbs_folder, ORDER)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code (`ecg_hub.errors.EXIT_CODES`)."""
    try:
        if argv is None:
            watch_interrupts()
        from eval_harness.cli.program import start

        return start(build_parser, sys.argv[1:] if argv is None else argv, whole_process=argv is None)
    except KeyboardInterrupt:
        return interrupted()


if __name__ == "__main__":
    sys.exit(main())
