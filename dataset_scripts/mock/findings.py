"""What each finding does to the heart's electrical vector: the table behind the simulator.

Vectors are (x left, y down, z back) in millivolt on the scale of Dower's lead vectors; times and widths in
milliseconds, a width being the standard deviation of a Gaussian. Most names are SCP-ECG statements; mock trees of
datasets with other vocabularies map theirs onto these. The numbers are drawn from textbook descriptions (which leads
show a Q wave, where an injury current points) and tuned by eye; they are no model of any patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Range = tuple[float, float]
Rhythm = Literal["sinus", "fibrillation", "flutter", "paced"]
Pattern = Literal["", "respiratory", "second_degree", "third_degree", "bigeminy", "trigeminy"]


@dataclass(frozen=True, slots=True)
class Wave:
    """One Gaussian bump of the vector.

    Attributes:
        part: "P" (time from the middle of the P wave), "Q" (from the R peak, part of the QRS complex), "S" (from the R
            peak, ST segment) or "T" (from the R peak, moves with the QT interval).
        centre: its time in ms.
        width: its standard deviation in ms.
        vector: (x, y, z) in mV.
    """

    part: Literal["P", "Q", "S", "T"]
    centre: float
    width: float
    vector: tuple[float, float, float]


@dataclass(frozen=True)
class Finding:
    """The effect of one finding.

    Attributes:
        ranges: values drawn uniformly that replace the normal ones: rate (beats/min), irregularity (standard deviation
            of the RR interval as a fraction), pr (ms).
        factors: values drawn uniformly that multiply: amplitude, p, q, r, s, t (sizes), qrs, qt, t_width (durations).
        axis: degrees by which the QRS vector turns in the frontal plane, positive towards the right.
        waves: bumps that are added.
        rhythm: what drives the ventricles.
        pattern: a disturbance of the sequence of beats.
        premature: premature beats in ten seconds, (atrial, ventricular).
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)
    factors: Mapping[str, Range] = field(default_factory=dict)
    axis: Range = (0.0, 0.0)
    waves: tuple[Wave, ...] = ()
    rhythm: Rhythm | None = None
    pattern: Pattern = ""
    premature: tuple[int, int] = (0, 0)


def _q(centre: float, width: float, x: float, y: float, z: float) -> Wave:
    return Wave("Q", centre, width, (x, y, z))


def _st(x: float, y: float, z: float, centre: float = 115.0, width: float = 50.0) -> Wave:
    return Wave("S", centre, width, (x, y, z))


def _t(x: float, y: float, z: float, centre: float = 265.0, width: float = 45.0) -> Wave:
    return Wave("T", centre, width, (x, y, z))


NORMAL: Mapping[str, tuple[Wave, ...]] = MappingProxyType(
    {
        "p": (Wave("P", -12, 16, (0.05, 0.07, -0.04)), Wave("P", 14, 18, (0.06, 0.06, 0.03))),
        "q": (_q(-24, 7, -0.10, -0.02, -0.18),),
        "r": (_q(0, 10, 1.0, 0.75, 0.25),),
        "s": (_q(22, 9, -0.25, -0.05, 0.45),),
        "t": (_t(0.16, 0.12, -0.10, 270, 40), _t(0.10, 0.07, -0.07, 228, 52)),
    }
)
"""The waves of a normal beat by the size factor that governs them."""

_LEFT_BUNDLE = (
    *(_q(-14, 16, 0.62, 0.18, 0.40), _q(22, 17, 0.62, 0.06, 0.75), _q(48, 13, 0.55, 0.02, 0.35)),
    *(_st(-0.10, -0.02, -0.16), _t(-0.36, -0.12, -0.30)),
)
_PACED = (
    *(_q(0, 20, 0.20, -0.75, 0.60), _q(38, 20, 0.35, -0.85, 0.70), _st(-0.02, 0.12, -0.10)),
    _t(-0.10, 0.40, -0.25),
)
# The normal complex goes, and waves of the finding's own take its place; a rest of the normal T wave stays.
_NO_QRS = {"q": (0.0, 0.0), "r": (0.0, 0.0), "s": (0.0, 0.0), "t": (0.15, 0.25)}

CONDUCTION: Mapping[str, Finding] = MappingProxyType(
    {
        "1AVB": Finding(ranges={"pr": (235, 300)}),
        "LPR": Finding(ranges={"pr": (205, 228)}),
        "2AVB": Finding(pattern="second_degree", ranges={"rate": (60, 75), "pr": (200, 230)}),
        "3AVB": Finding(pattern="third_degree", ranges={"rate": (32, 42)}),
        "CLBBB": Finding(factors=_NO_QRS, waves=_LEFT_BUNDLE),
        "ILBBB": Finding(
            factors={"q": (0.0, 0.1), "r": (0.7, 0.8)}, waves=(_q(17, 13, 0.38, 0.15, 0.35), _t(-0.12, 0, -0.05))
        ),
        "CRBBB": Finding(factors={"s": (0.4, 0.6)}, waves=(_q(46, 15, -0.55, 0.0, -0.66), _t(0.05, 0, 0.26))),
        "IRBBB": Finding(waves=(_q(36, 9, -0.22, -0.05, -0.45),)),
        # Added to the normal axis of about 37 degrees: LAFB ends around -48, LPFB around 107.
        "LAFB": Finding(axis=(-92, -78), waves=(_q(-24, 7, -0.05, 0.18, 0.0),)),
        "LPFB": Finding(axis=(62, 78), waves=(_q(-24, 7, 0.1, -0.15, 0.0),)),
        "IVCD": Finding(factors={"qrs": (1.4, 1.6)}),
        "WPW": Finding(
            ranges={"pr": (85, 105)},
            factors={"t": (0.2, 0.5)},
            waves=(_q(-28, 14, 0.36, 0.24, -0.12), _st(-0.05, -0.05, 0)),
        ),
    }
)
HYPERTROPHY: Mapping[str, Finding] = MappingProxyType(
    {
        "LVH": Finding(
            factors={"r": (1.7, 2.1), "s": (1.5, 1.8), "t": (0.1, 0.3)},
            waves=(_st(-0.12, -0.05, 0.08), _t(-0.26, -0.06, 0.08)),
        ),
        "VCLVH": Finding(factors={"r": (1.6, 1.9), "s": (1.4, 1.7)}),
        "RVH": Finding(
            factors={"r": (0.45, 0.6), "s": (0.5, 0.8)},
            axis=(25, 45),
            waves=(_q(8, 13, -0.65, 0.2, -0.95), _t(0.1, -0.1, 0.28)),
        ),
        "SEHYP": Finding(factors={"q": (2.2, 3.0), "r": (1.3, 1.5)}),
        "LAO/LAE": Finding(waves=(Wave("P", 36, 17, (0.09, 0.05, 0.16)),)),
        "RAO/RAE": Finding(waves=(Wave("P", -10, 15, (0.02, 0.17, -0.08)),)),
        "HVOLT": Finding(factors={"amplitude": (1.6, 1.9)}),
        "LVOLT": Finding(factors={"amplitude": (0.35, 0.45)}),
    }
)
INFARCTION: Mapping[str, Finding] = MappingProxyType(
    {
        "AMI": Finding(factors={"q": (0, 0.2)}, waves=(_q(-10, 16, -0.1, 0, 0.7), _st(0, 0, -0.08), _t(-0.1, 0, 0.36))),
        "ASMI": Finding(factors={"q": (0, 0.1)}, waves=(_q(-16, 14, 0, 0, 0.6), _st(0, 0, -0.12), _t(0, 0, 0.32))),
        "ALMI": Finding(factors={"r": (0.6, 0.75)}, waves=(_q(-16, 15, -0.55, 0, 0.38), _t(-0.32, 0, 0.22))),
        "LMI": Finding(factors={"r": (0.75, 0.9)}, waves=(_q(-21, 13, -0.55, 0, 0), _t(-0.3, 0, 0))),
        "IMI": Finding(factors={"r": (0.75, 0.9)}, waves=(_q(-22, 13, 0, -0.52, 0), _t(0, -0.3, 0))),
        "ILMI": Finding(factors={"r": (0.7, 0.85)}, waves=(_q(-22, 14, -0.35, -0.48, 0), _t(-0.16, -0.28, 0))),
        "PMI": Finding(waves=(_q(20, 14, 0.05, 0, -0.8), _t(0, 0, -0.25))),
        "IPMI": Finding(waves=(_q(-22, 13, 0, -0.42, 0), _q(20, 14, 0, 0, -0.65), _t(0, -0.2, -0.15))),
        "IPLMI": Finding(waves=(_q(-22, 13, -0.35, -0.38, 0), _q(20, 14, 0, 0, -0.6), _t(-0.15, -0.2, -0.1))),
        "QWAVE": Finding(waves=(_q(-25, 11, -0.1, -0.3, 0),)),
        # Subendocardial injury: the ST vector points away from the region, the ST segment falls there.
        "INJAS": Finding(waves=(_st(0, 0, 0.2),)),
        "INJAL": Finding(waves=(_st(-0.16, 0, 0.12),)),
        "INJIN": Finding(waves=(_st(0, -0.2, 0),)),
        "INJIL": Finding(waves=(_st(-0.14, -0.18, 0),)),
        "INJLA": Finding(waves=(_st(-0.22, 0.04, -0.04),)),
        "STE_": Finding(waves=(_st(0.08, 0.08, -0.12),)),
        "ANEUR": Finding(factors={"q": (0, 0.1)}, waves=(_q(-16, 14, 0, 0, 0.5), _st(0, 0, -0.24, 120, 50))),
    }
)
REPOLARISATION: Mapping[str, Finding] = MappingProxyType(
    {
        "ISC_": Finding(factors={"t": (0.4, 0.6)}, waves=(_st(-0.1, -0.07, 0.03),)),
        "ISCAL": Finding(waves=(_st(-0.1, 0, 0.02), _t(-0.36, 0, 0.22))),
        "ISCAS": Finding(waves=(_t(-0.05, 0, 0.44),)),
        "ISCAN": Finding(waves=(_t(-0.22, 0, 0.36),)),
        "ISCIN": Finding(waves=(_t(0, -0.4, 0),)),
        "ISCLA": Finding(waves=(_t(-0.42, 0, 0),)),
        "ISCIL": Finding(waves=(_t(-0.28, -0.32, 0),)),
        "STD_": Finding(waves=(_st(-0.12, -0.11, 0.06),)),
        "NST_": Finding(factors={"t": (0.65, 0.8)}, waves=(_st(-0.05, -0.05, 0.03),)),
        "NDT": Finding(factors={"t": (0.25, 0.45)}),
        "NT_": Finding(factors={"t": (0.45, 0.6)}, waves=(_t(-0.06, 0, 0.03),)),
        "LOWT": Finding(factors={"t": (0.3, 0.5)}),
        "INVT": Finding(factors={"t": (-0.9, -0.6)}),
        "TAB_": Finding(waves=(_t(0.1, 0.05, -0.1, 215, 30), _t(-0.28, -0.14, 0.24, 300, 28))),
        "DIG": Finding(factors={"qt": (0.84, 0.9), "t": (0.4, 0.6)}, waves=(_st(-0.14, -0.1, 0.1, 125, 60),)),
        "LNGQT": Finding(factors={"qt": (1.22, 1.35)}),
        "EL": Finding(factors={"t": (2.0, 2.6), "t_width": (0.55, 0.65)}),
        "ABQRS": Finding(waves=(_q(9, 4, -0.36, -0.28, 0.05),)),
        "NORM": Finding(),
    }
)
RHYTHM: Mapping[str, Finding] = MappingProxyType(
    {
        "SR": Finding(ranges={"rate": (60, 92)}),
        "SBRAD": Finding(ranges={"rate": (42, 54)}),
        "STACH": Finding(ranges={"rate": (104, 138)}),
        "SARRH": Finding(ranges={"rate": (60, 84)}, pattern="respiratory"),
        "AFIB": Finding(ranges={"rate": (70, 135), "irregularity": (0.17, 0.24)}, rhythm="fibrillation"),
        "AFLT": Finding(ranges={"rate": (70, 150), "irregularity": (0.0, 0.01)}, rhythm="flutter"),
        "PACE": Finding(
            ranges={"rate": (60, 75), "irregularity": (0.0, 0.003)}, factors=_NO_QRS, waves=_PACED, rhythm="paced"
        ),
        # P waves fall into the complex and are not seen.
        "PSVT": Finding(ranges={"rate": (165, 200), "irregularity": (0.0, 0.006)}, factors={"p": (0, 0)}),
        "SVTAC": Finding(ranges={"rate": (142, 165), "pr": (95, 115)}, factors={"p": (-0.6, -0.4)}),
        "SVARR": Finding(ranges={"rate": (68, 98), "irregularity": (0.09, 0.13)}, premature=(2, 0)),
        "PAC": Finding(premature=(2, 0)),
        "PVC": Finding(premature=(0, 2)),
        "PRC(S)": Finding(premature=(1, 1)),
        "BIGU": Finding(pattern="bigeminy"),
        "TRIGU": Finding(pattern="trigeminy"),
    }
)

_ESCAPE = (*(_q(-10, 20, 0.3, 0.2, 0.75), _q(34, 18, 0.45, 0.1, 0.8)), _t(-0.2, -0.1, -0.4))

FURTHER: Mapping[str, Finding] = MappingProxyType(
    {
        "LAD": Finding(axis=(-75, -60)),
        "RAD": Finding(axis=(48, 62)),
        # Seen from below: clockwise rotation moves the transition zone towards V5 and V6, the other one towards V1.
        "CLOCKWISE": Finding(factors={"r": (0.75, 0.85)}, waves=(_q(2, 11, -0.1, 0, 0.55),)),
        "COUNTERCLOCKWISE": Finding(factors={"s": (0.3, 0.5)}, waves=(_q(2, 11, 0, 0, -0.6),)),
        "LVOLT_LIMB": Finding(factors={"r": (0.35, 0.45)}, waves=(_q(20, 9, 0.1, 0, 0.3),)),
        "LVOLT_CHEST": Finding(
            factors={"r": (0.5, 0.6), "s": (0.2, 0.3), "q": (0.1, 0.2)}, waves=(_q(0, 10, 0, 0.35, 0),)
        ),
        "UWAVE": Finding(waves=(_t(0.10, 0.08, -0.10, 420, 30),)),
        "EARLY_REPOLARISATION": Finding(factors={"t": (1.3, 1.5)}, waves=(_st(0.12, 0.10, -0.16, 80, 40),)),
        "PWAVE": Finding(factors={"p": (0.1, 0.3)}, waves=(Wave("P", 30, 9, (0.10, 0.02, -0.05)),)),
        "ATACH": Finding(ranges={"rate": (118, 145), "pr": (110, 130)}, factors={"p": (-0.9, -0.6)}),
        "JTACH": Finding(ranges={"rate": (98, 118), "irregularity": (0.0, 0.006)}, factors={"p": (0, 0)}),
        "JESC": Finding(ranges={"rate": (38, 48), "irregularity": (0.0, 0.01)}, factors={"p": (0, 0)}),
        "VESC": Finding(ranges={"rate": (32, 40)}, factors={**_NO_QRS, "p": (0.0, 0.0)}, waves=_ESCAPE),
        "AVB": Finding(ranges={"rate": (44, 56), "pr": (230, 270)}),
        "2TO1AVB": Finding(ranges={"rate": (36, 44), "irregularity": (0.0, 0.006), "pr": (190, 215)}),
        "PAUSE": Finding(ranges={"rate": (54, 66), "irregularity": (0.18, 0.24)}),
        "SHPR": Finding(ranges={"pr": (88, 108)}),
        "WANDERING": Finding(
            ranges={"rate": (60, 84), "irregularity": (0.07, 0.1), "pr": (105, 135)}, factors={"p": (0.2, 0.4)}
        ),
        "ATRIAL_RHYTHM": Finding(ranges={"rate": (58, 84), "pr": (105, 125)}, factors={"p": (-0.9, -0.6)}),
        "ATRIAL_PACING": Finding(
            ranges={"rate": (60, 75), "irregularity": (0.0, 0.003)}, waves=(Wave("P", -34, 1.5, (0.2, 0.6, 0.2)),)
        ),
        "AJR": Finding(ranges={"rate": (64, 90), "irregularity": (0.0, 0.01)}, factors={"p": (0, 0)}),
        "AIVR": Finding(
            ranges={"rate": (62, 95), "irregularity": (0, 0.02)}, factors={**_NO_QRS, "p": (0, 0)}, waves=_ESCAPE
        ),
        "VT": Finding(
            ranges={"rate": (145, 190), "irregularity": (0, 0.01)}, factors={**_NO_QRS, "p": (0, 0)}, waves=_ESCAPE
        ),
        "VFIB": Finding(
            ranges={"rate": (200, 225), "irregularity": (0.25, 0.35)},
            factors={"p": (0, 0), "q": (0, 0), "r": (0, 0), "s": (0, 0), "t": (0, 0)},
            waves=(_q(0, 38, 0.35, 0.45, 0.25), _q(105, 45, -0.25, -0.35, -0.15)),
        ),
        "PRWP": Finding(waves=(_q(-2, 13, 0, 0, 0.45),)),
        "SQT": Finding(factors={"qt": (0.76, 0.82), "t": (1.1, 1.3)}),
    }
)
"""Findings that other datasets name and SCP-ECG does not, or does not distinguish."""

FINDINGS: Mapping[str, Finding] = MappingProxyType(
    {**RHYTHM, **CONDUCTION, **HYPERTROPHY, **INFARCTION, **REPOLARISATION, **FURTHER}
)
"""Every finding that the simulator knows: the 71 SCP-ECG statements of PTB-XL, then `FURTHER`."""
