"""Writes a Georgia folder in its true format; see `dataset_scripts.mock.challenge`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dataset_scripts.mock.challenge import Part, parse_cases, write_part
from dataset_scripts.published.georgia import DATASET

CASES = parse_cases("""
175 NSR | 70 TAb | 50 TAb SB | 45 TAb LVH | 40 SB | 35 SB SA | 60 NSSTTA | 35 NSSTTA STach | 25 NSSTTA LAD | 40 STach
35 STach LAE | 45 LQT TAb | 30 LQT STIAb | 20 LQT LIs | 35 LVH LAE | 25 LVH SB | 35 STIAb | 20 STIAb LAD | 20 LAD IAVB
30 LIs LVH TAb | 20 LIs IIs | 25 IIs TInv | 20 LAE SB | 25 TInv TAb | 18 TInv STIAb | 30 IAVB | 20 IAVB SB | 30 PAC
15 PAC QAb | 25 AF NSSTTA | 15 AF TAb | 20 RBBB | 12 RBBB LAD | 18 QAb STIAb | 15 SA | 20 IRBBB | 18 LQRSV TAb
18 VPB | 10 VPB LAD | 14 AnMIs LIs | 14 AnMIs TInv | 18 LBBB | 6 LBBB LAE | 14 NSIVCB LAD | 12 AFL | 10 LAnFB LAD
10 ERe SB | 9 STE SB | 8 BBB | 6 ILBBB LVH | 6 RVH RAD | 4 RAD STach | 5 AVB SB | 5 LAA SB | 5 VH TAb | 4 AH LVH
4 AP | 4 VPP | 3 VEB LQT | 3 STD | 3 SVT | 2 ATach | 2 CRBBB | 2 LPFB RAD | 2 IIAVB | 2 AJR | 2 RAAb STach | 2 ALR SB
2 RAb TAb
""")
"""What occurs together and how often, as abbreviations of the code table."""

PART = Part(
    dataset=DATASET, cases=CASES, cut=True, mean_age=61, written=datetime(2020, 5, 5, 14, 50, 55), other="JS10647"
)


def write(folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None) -> dict[str, Any]:
    """Write the tree and return the thresholds that suit its size; errors as in `write_part`."""
    return write_part(PART, folder, records, seed, awkward, sampling_rates)
