"""Writes a Ningbo folder in its true format; see `dataset_scripts.mock.challenge`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dataset_scripts.mock.challenge import Part, parse_cases, write_part
from dataset_scripts.published.ningbo import DATASET

CASES = parse_cases("""
260 SB | 60 SB TAb | 45 SB LVHV | 30 SB SA | 25 SB STC TAb | 20 SB ERe | 20 SB CVCL/CCVCL | 15 SB LAD | 15 SB STIAb
110 NSR | 30 NSR TAb | 22 NSR LVHV | 20 NSR PAC | 20 NSR PVC | 15 NSR TInv | 12 NSR LQRSV | 10 NSR QAb | 10 NSR RAD
100 STach | 35 STach STC TAb | 20 STach TInv | 12 STach RAD | 10 STach LQRSV
80 AFL | 45 AFL STC | 35 AFL TAb | 25 AFL LVHV | 20 AFL PVC | 15 AFL CRBBB | 12 AFL STD
50 SA | 15 SA STIAb | 35 PR | 25 NSR TInv TAb | 20 STD LVHV NSR | 14 LVH STC SB | 10 LVH LVHV NSR
22 CRBBB NSR | 12 CRBBB SB | 20 IAVB SB | 12 IAVB NSR | 18 LAD NSR | 16 PRWP NSR | 14 NSIVCB SB | 10 BBB NSR
10 LAnFB LAD NSR | 9 LQT SB | 8 IRBBB SB | 8 ARH | 8 CLBBB NSR | 3 LBBB SB | 7 TPW STach | 6 RBBB SB | 6 ATach
5 AVJR | 5 SVT | 4 UAb SB | 4 FB NSR | 4 PVT | 4 PPW NSR | 4 RVH RAD NSR | 4 VEsR | 3 MI SB | 3 AVB SB | 3 CHB
3 WPW NSR | 3 BPAC NSR | 3 JE SB | 3 AVD SB | 3 VF | 3 IIAVB SB | 3 AnMI NSR | 3 AMI STach | 3 VEsB SB | 2 PWC SB
2 LPR SB | 2 RAH STach | 2 SARR SB | 2 RAHV NSR | 2 MoI NSR | 2 JTach | 2 SPRI STach | 2 AVRT | 2 AED SB | 2 AAR
2 AIVR | 2 AJR | 2 JPC SB
""")
"""What occurs together and how often, as abbreviations of the code table."""

PART = Part(dataset=DATASET, cases=CASES, mean_age=58, written=datetime(2021, 3, 25, 14, 20, 37), other="JS00001")


def write(folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None) -> dict[str, Any]:
    """Write the tree and return the thresholds that suit its size; errors as in `write_part`."""
    return write_part(PART, folder, records, seed, awkward, sampling_rates)
