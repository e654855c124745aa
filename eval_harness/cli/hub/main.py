"""`ecg-hub`: list, convert and use models; list, prepare and publish datasets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from eval_harness.cli import hub as verbs_folder
from eval_harness.cli.common import add_verbs, start

ORDER = ("listing", "models", "bench", "pretrain", "data", "repositories", "serve")
"""Files whose verbs come first in the help."""

EPILOG = """\
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

Research software, not a medical device."""


def build_parser() -> argparse.ArgumentParser:
    """The parser with all verbs."""
    parser = argparse.ArgumentParser(
        prog="ecg-hub",
        description="ECG models and datasets by name: list, convert, encode, predict; prepare, verify, draw.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_verbs(parser, verbs_folder, ORDER)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return start(build_parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
