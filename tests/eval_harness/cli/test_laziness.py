"""Listings and help import none of torch, transformers, datasets."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "datasets", "evaluate", "accelerate")
PROGRAM = """
import sys
from eval_harness.cli.{module} import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print("HEAVY", [name for name in {heavy!r} if name in sys.modules], code)
"""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("eval.main", ["--help"]),
        ("eval.main", ["run", "--help"]),
        ("eval.main", ["ls"]),
        ("eval.main", ["ls", "suites"]),
        ("eval.main", ["ls", "models"]),
        ("eval.main", ["ls", "datasets"]),
        ("eval.main", ["ls", "modes"]),
        ("eval.main", ["describe", "ptbxl_super"]),
        ("eval.main", ["describe", "ecg-cpc"]),
        ("eval.main", ["describe", "ptb-xl"]),
        ("hub.main", ["--help"]),
        ("hub.main", ["ls"]),
        ("hub.main", ["info", "ecg-cpc"]),
        ("hub.main", ["convert", "--help"]),
        ("hub.main", ["push", "--help"]),
        ("hub.main", ["mirror", "--help"]),
        ("hub.main", ["import", "--help"]),
        ("hub.main", ["pretrain", "--help"]),
    ],
)
def test_listing_is_light(module: str, words: list[str]) -> None:
    program = PROGRAM.format(module=module, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("HEAVY [] 0"), done.stdout + done.stderr
