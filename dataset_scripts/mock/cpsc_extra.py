"""Writes a CPSC-Extra folder in its true format; see `dataset_scripts.mock.challenge`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dataset_scripts.mock.challenge import Part, parse_cases, write_part
from dataset_scripts.published.cpsc_extra import DATASET

CASES = parse_cases("""
330 NSSTTA | 300 OldMI | 110 OldMI NSSTTA | 60 OldMI STach | 90 MI | 60 MI NSSTTA | 70 MIs | 60 MIs NSSTTA
110 STIAb | 60 STIAb NSSTTA | 60 STach NSSTTA | 70 Brady | 40 PVC NSSTTA | 30 PVC OldMI | 45 CMI | 40 LVH NSSTTA
20 LVH OldMI | 40 AF NSSTTA | 30 CRBBB NSSTTA | 28 IAVB OldMI | 24 IRBBB NSSTTA | 20 PAC NSSTTA | 18 STE MI
16 AnMI NSSTTA | 16 STD | 14 AFL | 14 SVPB NSSTTA | 12 SB OldMI | 11 ILBBB NSSTTA | 10 LAH NSSTTA | 10 AFAFL
10 LBBB NSSTTA | 7 CHB | 6 TAb | 6 IIAVB OldMI | 5 RVH NSSTTA | 5 RAH NSSTTA | 4 ATach PAC NSSTTA | 3 SA NSSTTA | 3 VF
""")
"""What occurs together and how often, as abbreviations of the code table."""

PART = Part(
    dataset=DATASET,
    cases=CASES,
    long=(0.35, 30),
    cut=True,
    mean_age=63,
    written=datetime(2020, 5, 15, 15, 35, 30),
    other="A0001",
)


def write(folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None) -> dict[str, Any]:
    """Write the tree and return the thresholds that suit its size; errors as in `write_part`."""
    return write_part(PART, folder, records, seed, awkward, sampling_rates)
