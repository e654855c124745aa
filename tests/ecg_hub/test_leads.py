from __future__ import annotations

import subprocess
import sys

import pytest

from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.leads import DERIVED_LEADS, EXTRA_LEADS, LEADS, canonical_lead, canonical_leads, plan_leads


def test_canonical_order_is_the_benchmarks() -> None:
    assert LEADS == ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.mark.parametrize("lead", [*LEADS, *EXTRA_LEADS])
def test_case_and_blanks_do_not_matter(lead: str) -> None:
    for spelling in (lead, lead.upper(), lead.lower(), f"  {lead} ", f"Lead {lead}", f"ECG_{lead}", f"ECG Lead {lead}"):
        assert canonical_lead(spelling) == lead


@pytest.mark.parametrize(
    ("name", "lead"),
    [("DI", "I"), ("D2", "II"), ("diii", "III"), ("X", "vx"), ("Frank Y", "vy"), ("VZ", "vz"), ("AVR", "aVR")],
)
def test_other_spellings(name: str, lead: str) -> None:
    assert canonical_lead(name) == lead


@pytest.mark.parametrize("name", ["MLII", "VR", "-aVR", "V7", "V", "", "IV", "lead", "12", "a V R"])
def test_a_name_that_only_resembles_a_lead_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match="Unknown lead") as caught:
        canonical_lead(name)
    assert repr(name) in str(caught.value)
    assert "V6" in str(caught.value)


def test_the_error_suggests_the_nearest_name_or_the_reason() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'aVR'"):
        canonical_lead("aaVR")
    with pytest.raises(UnknownNameError, match="monitoring lead"):
        canonical_lead("MLII")


def test_a_name_must_be_text() -> None:
    with pytest.raises(UnknownNameError, match="must be text, not None"):
        canonical_lead(None)  # type: ignore[arg-type]


def test_duplicates_are_refused_in_any_spelling() -> None:
    with pytest.raises(InputError, match=r"Lead II is named twice \('ii' and 'D2'"):
        canonical_leads(["I", "ii", "D2"])


def test_a_single_string_is_not_a_list_of_names() -> None:
    with pytest.raises(InputError, match="not the string 'III'"):
        canonical_leads("III")


def test_plan_of_a_shuffled_complete_record() -> None:
    names = ["vx", *reversed([lead.lower() for lead in LEADS])]
    plan = plan_leads(names)
    assert dict(plan.rows) == {lead: 12 - position for position, lead in enumerate(LEADS)}
    assert list(plan.rows) == list(LEADS)
    assert (plan.derived, plan.missing) == ((), ())
    assert plan.limb_rows == (12, 11)


def test_plan_derives_limb_leads_only_from_both_i_and_ii() -> None:
    plan = plan_leads(["I", "II", "V1"])
    assert plan.derived == ("III", "aVR", "aVL", "aVF")
    assert plan.missing == ("V2", "V3", "V4", "V5", "V6")
    without = plan_leads(["I", "III", "V1"], ["I", "II", "aVR"])
    assert (without.derived, without.missing, without.limb_rows) == ((), ("II", "aVR"), None)


def test_plan_keeps_measured_limb_leads_and_can_be_told_not_to_derive() -> None:
    assert plan_leads(["I", "II", "III"], ["III"]).derived == ()
    assert plan_leads(["I", "II"], ["III"], derive=False).missing == ("III",)


def test_plan_follows_the_order_asked_for() -> None:
    assert plan_leads(LEADS, ["aVF", "aVL", "I"]).wanted == ("aVF", "aVL", "I")


def test_derivation_factors_obey_einthoven_and_goldberger() -> None:
    left, right, foot = 0.7, -0.2, 1.1
    potentials = {
        "III": foot - left,
        "aVR": right - (left + foot) / 2,
        "aVL": left - (right + foot) / 2,
        "aVF": foot - (right + left) / 2,
    }
    for lead, (of_i, of_ii) in DERIVED_LEADS.items():
        assert of_i * (left - right) + of_ii * (foot - right) == pytest.approx(potentials[lead])


def test_importing_leads_loads_nothing_heavy() -> None:
    code = "import sys, ecg_hub.leads; print([m for m in ('numpy', 'torch', 'transformers') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={})
    assert out.stdout.strip() == "[]"
