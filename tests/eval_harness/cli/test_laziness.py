"""Listings and help import none of torch, transformers, datasets."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "datasets", "evaluate", "accelerate")
COMMANDS = {
    "eval": (
        *("--help", "run --help", "ls", "ls suites", "ls models", "ls datasets", "ls modes"),
        *("describe ptbxl_super", "describe ecg-cpc", "describe ptb-xl"),
    ),
    "hub": (
        *("--help", "ls", "info ecg-cpc", "convert --help", "push --help", "mirror --help", "import --help"),
        "pretrain --help",
    ),
}
PROGRAM = """
import sys
from eval_harness.cli.{package}.main import main
for words in sys.argv[1:]:
    try:
        code = main(words.split())
    except SystemExit as stop:
        code = stop.code
    print("AFTER", words, [name for name in {heavy!r} if name in sys.modules], code)
# What a call needs that was finished before.
import dataset_scripts.core.fingerprint, dataset_scripts.mock, eval_harness.results.summary, eval_harness.runner.receipt
print("AFTER finished", [name for name in {heavy!r} if name in sys.modules], 0)
"""


@pytest.mark.parametrize("package", COMMANDS)
def test_listings_are_light(package: str) -> None:
    """One process for all of them: what one imports stays imported, so that the next ones name it too."""
    program, commands = PROGRAM.format(package=package, heavy=HEAVY), COMMANDS[package]
    done = subprocess.run([sys.executable, "-c", program, *commands], capture_output=True, text=True, timeout=60)
    after = [line for line in done.stdout.splitlines() if line.startswith("AFTER")]
    assert after == [f"AFTER {words} [] 0" for words in (*commands, "finished")], done.stderr
