"""Lead names: spelling, order, and the limb leads that follow from I and II. Pure Python.

The canonical order, of the published benchmark and of most 12-lead files, is I, II, III, aVR, aVL, aVF, V1 to V6.
Names match without case. Accepted besides: surrounding blanks, a leading "lead", "ECG", "EKG" or "MDC_ECG_LEAD" ("Lead
II", "EKG_V1"), a unit behind ("I (mV)"), the chest leads as C1 to C6 (IEC) and MV1 to MV6 (of some monitors), the
Brazilian D1, D2, D3 and DI, DII, DIII for the limb leads, and the codes of DICOM and SCP-ECG ("2:1",
"5.6.3-9-1"). Names that only resemble a standard lead are refused, because feeding them as one would be silently wrong:
MLII (a monitoring lead on the chest), VR, VL, VF (not augmented, two thirds of the amplitude), -aVR (inverted).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ecg_hub.errors import InputError, UnknownNameError, did_you_mean

LEADS: tuple[str, ...] = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The twelve standard leads in canonical order."""

EXTRA_LEADS: tuple[str, ...] = ("vx", "vy", "vz")
"""The orthogonal Frank leads, which some files carry beside the twelve; known, and ignored by every model here."""

DERIVED_LEADS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
)
"""Limb leads as (factor of I, factor of II): Einthoven's III = II - I and Goldberger's augmented leads."""

LEAD_NUMBERS: Mapping[int, str] = MappingProxyType(
    {
        **{1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6"},
        **{61: "III", 62: "aVR", 63: "aVL", 64: "aVF"},
    }
)
"""The same numbers in both code schemes of DICOM CID 3001: MDC "2:n" (ISO/IEEE 11073-10102), SCPECG "5.6.3-9-n" (EN
1064)."""

_SPELLINGS: dict[str, str] = {
    **{lead.lower(): lead for lead in (*LEADS, *EXTRA_LEADS)},
    **{f"{chest}{n}": f"V{n}" for chest in ("c", "mv") for n in range(1, 7)},
    **{"d1": "I", "d2": "II", "d3": "III", "di": "I", "dii": "II", "diii": "III"},
    **{"x": "vx", "y": "vy", "z": "vz", "frank x": "vx", "frank y": "vy", "frank z": "vz"},
}
# The languages in which watches and recorders name a lead.
_LEAD_WORDS = "lead|ableitung|abl\\.|d[ée]rivation|derivaci[óo]n|derivazione|deriva[çc][ãa]o|afleiding"
_PREFIX = re.compile(rf"^(?:mdc[\s_-]+)?(?:e[ck]g[\s_-]+)?(?:(?:{_LEAD_WORDS})[\s_-]*)?")
_SUFFIX = re.compile(r"\s*(?:\([^()]*\)|\[[^\[\]]*\]|[_\s/,-][munµμ]v)$")
_APART = re.compile(r"v[ _][1-6]|a[ _]v[rlf]")
_BEHIND = ("einthoven", "goldberger", "wilson")
_CODE = re.compile(r"(?:2:|5\.6\.3-9-)(\d+)")
# Refused with a reason: taken for a lead, each of these would be wrong by a factor, a sign or a place on the body.
_LOOKALIKES: dict[str, str] = {
    "mlii": "MLII is a monitoring lead, not lead II.",
    "vr": "VR is not augmented; aVR = 1.5 x VR.",
    "vl": "VL is not augmented; aVL = 1.5 x VL.",
    "vf": "VF is not augmented; aVF = 1.5 x VF.",
    "-avr": "-aVR is inverted; aVR = -1 x it.",
}


def canonical_lead(name: str) -> str:
    """Return the canonical spelling of a lead name, for example "aVR" for "AVR" and "vx" for "Frank X".

    Args:
        name: the name as a file or a user spells it.

    Raises:
        UnknownNameError: the name is not one of LEADS or EXTRA_LEADS in any accepted spelling.

    Example:
        >>> canonical_lead("AVR"), canonical_lead("Lead II"), canonical_lead("DIII"), canonical_lead("C1 (mV)")
        ('aVR', 'II', 'III', 'V1')
        >>> canonical_lead("MLII")  # looks like a limb lead, and is none
        Traceback (most recent call last):
            ...
        ecg_hub.errors.UnknownNameError: Unknown lead 'MLII'. MLII is a monitoring lead, not lead II. ...
    """
    if not isinstance(name, str):
        raise UnknownNameError(f"A lead name must be text, not {name!r}. Known: {', '.join((*LEADS, *EXTRA_LEADS))}.")
    lead = find_lead(name)
    if lead is None:
        bare = " ".join(name.lower().split())
        hint = f" {_LOOKALIKES[bare]}" if bare in _LOOKALIKES else did_you_mean(name, (*LEADS, *EXTRA_LEADS))
        raise UnknownNameError(
            f"Unknown lead {name!r}.{hint} Known: {', '.join((*LEADS, *EXTRA_LEADS))}. "
            "Rename the lead or leave its row out."
        )
    return lead


def find_lead(name: str) -> str | None:
    """Return the canonical spelling of a lead name, None where it is none: `canonical_lead` without the cost of advice.

    Example:
        >>> find_lead("AVR"), find_lead("Resp")
        ('aVR', None)
    """
    bare = " ".join(name.lower().split())
    return _spelling(bare) or _spelling(_without_suffix(bare))


def _spelling(bare: str) -> str | None:
    """Return the lead of a name in small letters, with or without words before it; None if it is no lead."""
    code = _CODE.fullmatch(bare)
    if code:
        return LEAD_NUMBERS.get(int(code[1]))
    core = _PREFIX.sub("", bare)
    joined = core.replace(" ", "").replace("_", "") if _APART.fullmatch(core) else core
    return _SPELLINGS.get(bare) or _SPELLINGS.get(core) or _SPELLINGS.get(joined)


def _without_suffix(bare: str) -> str:
    """Return a name without a unit or the name of its inventor behind it: "i (mv)" and "i (einthoven)" are "i"."""
    match = _SUFFIX.search(bare)
    if match is None:
        return bare
    behind = match[0].strip(" ()[]_/,-")
    return bare[: match.start()] if behind in _BEHIND or re.fullmatch(r"[munµμ]?v", behind) else bare


def canonical_leads(names: Iterable[str]) -> tuple[str, ...]:
    """Return the canonical spelling of several lead names, in the order given.

    Args:
        names: one name per row of a signal.

    Raises:
        UnknownNameError: a name is not a known lead.
        InputError: two names mean the same lead, or `names` is a single string.

    Example:
        >>> canonical_leads(["i", "II", "v1"])  # the order stays that of the file
        ('I', 'II', 'V1')
        >>> canonical_leads(["II", "Lead II"])
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: Lead II is named twice ('II' and 'Lead II' in ['II', 'Lead II']). ...
    """
    if isinstance(names, str):
        raise InputError(f"Lead names must be a list with one name per lead, not the string {names!r}.")
    given = list(names)
    seen: dict[str, str] = {}
    for name in given:
        lead = canonical_lead(name)
        if lead in seen:
            raise InputError(
                f"Lead {lead} is named twice ({seen[lead]!r} and {name!r} in {given!r}). Leave one of the two out."
            )
        seen[lead] = name
    return tuple(seen)


@dataclass(frozen=True)
class LeadPlan:
    """Where each wanted lead comes from.

    Attributes:
        wanted: canonical names, in the order asked for.
        rows: row of the source for every wanted lead that it holds.
        derived: wanted leads that are absent and follow from I and II (DERIVED_LEADS).
        missing: wanted leads that are neither there nor derivable.
        limb_rows: rows of I and II in the source, None unless both are there.
    """

    wanted: tuple[str, ...]
    rows: Mapping[str, int]
    derived: tuple[str, ...]
    missing: tuple[str, ...]
    limb_rows: tuple[int, int] | None


def plan_leads(names: Sequence[str], wanted: Sequence[str] = LEADS, derive: bool = True) -> LeadPlan:
    """Say for given source names which row feeds which lead, what can be derived and what is missing.

    Args:
        names: one name per row of the source, in any accepted spelling; extra leads are ignored.
        wanted: the leads asked for, in order.
        derive: whether absent limb leads may be computed from I and II (not for z-scored signals).

    Raises:
        UnknownNameError: a name is not a known lead.
        InputError: a lead is named twice.

    Example:
        >>> plan = plan_leads(["II", "I", "V1"], wanted=["I", "II", "aVR", "V1", "V2"])
        >>> dict(plan.rows)  # rows of the source, which has II first
        {'I': 1, 'II': 0, 'V1': 2}
        >>> plan.derived, plan.missing
        (('aVR',), ('V2',))
        >>> plan_leads(["I", "II"], ["I", "aVR"], derive=False).missing  # z-scored leads cannot be added
        ('aVR',)
    """
    order = canonical_leads(wanted)
    position = {lead: row for row, lead in enumerate(canonical_leads(names))}
    # Both or nothing: every derived lead is made of the two.
    limb_rows = (position["I"], position["II"]) if "I" in position and "II" in position else None
    absent = [lead for lead in order if lead not in position]
    derivable = [lead for lead in absent if derive and limb_rows is not None and lead in DERIVED_LEADS]
    return LeadPlan(
        wanted=order,
        rows=MappingProxyType({lead: position[lead] for lead in order if lead in position}),
        derived=tuple(derivable),
        missing=tuple(lead for lead in absent if lead not in derivable),
        limb_rows=limb_rows,
    )
