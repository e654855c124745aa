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
        ("evaluate", ["--help"]),
        ("evaluate", ["run", "--help"]),
        ("evaluate", ["ls"]),
        ("evaluate", ["ls", "suites"]),
        ("evaluate", ["ls", "models"]),
        ("evaluate", ["ls", "datasets"]),
        ("evaluate", ["ls", "modes"]),
        ("evaluate", ["describe", "ptbxl_super"]),
        ("evaluate", ["describe", "ecg-cpc"]),
        ("evaluate", ["describe", "ptb-xl"]),
        ("hub", ["--help"]),
        ("hub", ["ls"]),
        ("hub", ["info", "ecg-cpc"]),
        ("hub", ["convert", "--help"]),
        ("hub", ["push", "--help"]),
        ("hub", ["mirror", "--help"]),
        ("hub", ["import", "--help"]),
        ("hub", ["pretrain", "--help"]),
    ],
)
def test_listing_is_light(module: str, words: list[str]) -> None:
    program = PROGRAM.format(module=module, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("HEAVY [] 0"), done.stdout + done.stderr
