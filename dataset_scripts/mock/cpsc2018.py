"""Writes a CPSC2018 folder in its true format; see `dataset_scripts.mock.challenge`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dataset_scripts.mock.challenge import Part, parse_cases, write_part
from dataset_scripts.published.cpsc2018 import DATASET

CASES = parse_cases("""
918 NSR | 976 AF | 1533 RBBB | 172 AF RBBB | 686 IAVB | 10 IAVB RBBB | 179 LBBB | 29 AF LBBB | 532 PAC | 55 PAC RBBB
607 VEB | 51 VEB RBBB | 784 STD | 30 STD AF | 185 STE | 20 STE RBBB | 12 RBBB PAC VEB
""")
"""What occurs together and how often, as abbreviations of the code table."""

PART = Part(
    dataset=DATASET,
    cases=CASES,
    long=(0.35, 30),
    cut=True,
    mean_age=60,
    written=datetime(2020, 5, 12, 12, 33, 59),
    other="Q0001",
)


def write(folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None) -> dict[str, Any]:
    """Write the tree and return the thresholds that suit its size; errors as in `write_part`."""
    return write_part(PART, folder, records, seed, awkward, sampling_rates)
