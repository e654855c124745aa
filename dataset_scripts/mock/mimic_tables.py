"""Writes the nine tables of a mock MIMIC-IV-ECG folder, in their true columns and with their oddities.

Values hang together with the ECGs: heart rates with the RR interval, sizes with sex, lab values with the codes. Around
each ECG stand values before and after it, some at equal distance, some just inside and just outside of the window.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.published.mimic_iv_ecg.names import EVENTS

if TYPE_CHECKING:
    from dataset_scripts.mock.mimic_iv_ecg import Ecg

RECORD_COLUMNS = (
    # The first has no name in the release either: it is the index that pandas wrote along.
    *("", "file_name", "study_id", "subject_id", "ecg_time", "ed_stay_id", "ed_hadm_id", "hosp_hadm_id", "ed_diag_ed"),
    *("ed_diag_hosp", "hosp_diag_hosp", "all_diag_hosp", "all_diag_all", "gender", "age", "anchor_year", "anchor_age"),
    *("dod", "ecg_no_within_stay", "ecg_taken_in_ed", "ecg_taken_in_hosp", "ecg_taken_in_ed_or_hosp", "fold"),
    "strat_fold",
)
STAY_COLUMNS = (
    *("general_subject_id", "general_stay_id", "general_study_id", "general_data", "general_strat_fold"),
    *("general_intime", "general_ecg_time", "demographics_age", "demographics_gender"),
)
MACHINE_COLUMNS = (
    *("subject_id", "study_id", "cart_id", "ecg_time", *(f"report_{n}" for n in range(18)), "bandwidth", "filtering"),
    *("rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end", "p_axis", "qrs_axis", "t_axis"),
)
OMR_COLUMNS = ("subject_id", "chartdate", "seq_num", "result_name", "result_value")
VITAL_COLUMNS = (
    *("subject_id", "stay_id", "charttime", "temperature", "heartrate", "resprate", "o2sat", "sbp", "dbp", "rhythm"),
    "pain",
)
LAB_COLUMNS = (
    *("labevent_id", "subject_id", "hadm_id", "specimen_id", "itemid", "order_provider_id", "charttime", "storetime"),
    *("value", "valuenum", "valueuom", "ref_range_lower", "ref_range_upper", "flag", "priority", "comments"),
)
CHART_COLUMNS = (
    *("subject_id", "hadm_id", "stay_id", "caregiver_id", "charttime", "storetime", "itemid", "value", "valuenum"),
    *("valueuom", "warning"),
)

# label, usual item, other item, unit, mean, spread, factor in women
LABS = (
    *(("PT", 51274, 52921, "sec", 13.5, 2.5, 1.0), ("Albumin", 50862, 53085, "g/dL", 3.6, 0.5, 1.0)),
    *(("Anion Gap", 50868, 52500, "mEq/L", 14.0, 3.0, 1.0), ("Bicarbonate", 50882, 0, "mEq/L", 25.0, 3.5, 1.0)),
    *(("Bilirubin, Total", 50885, 53089, "mg/dL", 0.7, 0.4, 1.0), ("Calcium, Total", 50893, 0, "mg/dL", 9.0, 0.6, 1.0)),
    *(("Creatinine", 50912, 52546, "mg/dL", 1.1, 0.5, 0.85), ("Ferritin", 50924, 0, "ng/mL", 200.0, 120.0, 0.7)),
    *(("Urea Nitrogen", 51006, 52647, "mg/dL", 22.0, 11.0, 1.0), ("Hematocrit", 51221, 51638, "%", 38.0, 5.0, 0.92)),
    *(("Hemoglobin", 51222, 50811, "g/dL", 12.5, 1.9, 0.92), ("Lymphocytes", 51244, 0, "%", 18.0, 8.0, 1.0)),
    *(("MCHC", 51249, 0, "%", 32.5, 1.4, 1.0), ("RDW", 51277, 0, "%", 15.0, 2.0, 1.0)),
    *(("Red Blood Cells", 51279, 0, "m/uL", 4.2, 0.6, 0.93), ("RDW-SD", 52172, 0, "fL", 48.0, 6.0, 1.0)),
    *(
        ("Creatine Kinase (CK)", 50910, 0, "IU/L", 160.0, 90.0, 0.8),
        ("NTproBNP", 50963, 0, "pg/mL", 1500.0, 900.0, 1.0),
    ),
    ("INR(PT)", 51237, 51675, "", 1.2, 0.3, 1.0),
)
OTHER_LAB = (50971, "Potassium")
CHART = {
    "Heart Rate": 220045,
    "Respiratory Rate": 220210,
    "O2 saturation pulseoxymetry": 220277,
    "Temperature Fahrenheit": 223761,
    "Temperature Celsius": 223762,
    "Height": 226707,
    "Height (cm)": 226730,
    "Daily Weight": 224639,
    "Admission Weight (Kg)": 226512,
    "Admission Weight (lbs.)": 226531,
    "Creatinine (serum)": 220615,
    "Hemoglobin": 220228,
    "Hematocrit (serum)": 220545,
    "Total Bilirubin": 225690,
    "Albumin": 227456,
    "Anion gap": 227073,
    "PAR-Oxygen saturation": 227292,
    "Safety Measures": 228299,
}
TIME = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class Person:
    """What stays the same in a subject."""

    female: bool
    height_in: float
    weight_lb: float


def write_tables(folder: Path, ecgs: Sequence[Ecg], seed: int, min_chart_count: int) -> None:
    """Write the nine tables."""
    rng = np.random.default_rng([seed, 5])
    people = {ecg.subject: _person(ecg.subject, ecg.female, seed) for ecg in ecgs}
    # Subjects without an ECG: their values count for some percentiles and not for others.
    strangers = [19_999_000 + number for number in range(max(3, len(people) // 10))]
    people |= {subject: _person(subject, subject % 2 == 0, seed) for subject in strangers}
    _write(folder / "records_w_diag_icd10.csv", RECORD_COLUMNS, (_record(n, ecg) for n, ecg in enumerate(ecgs)))
    _write(folder / "mds_ed.csv", (*STAY_COLUMNS, *EVENTS, "diagnoses_labels"), _stays(ecgs, rng))
    _write(folder / "machine_measurements.csv", MACHINE_COLUMNS, (_machine(ecg, rng) for ecg in ecgs))
    _write(folder / "hosp/omr.csv.gz", OMR_COLUMNS, _omr(ecgs, people, strangers, rng))
    _write(folder / "hosp/d_labitems.csv.gz", ("itemid", "label", "fluid", "category"), _lab_items())
    _write(folder / "hosp/labevents.csv.gz", LAB_COLUMNS, _labs(ecgs, people, strangers, rng))
    chart_items = ({"itemid": item, "label": label, "category": "mock"} for label, item in CHART.items())
    columns = ("itemid", "label", "abbreviation", "linksto", "category", "unitname", "param_type")
    _write(folder / "icu/d_items.csv.gz", columns, chart_items)
    _write(folder / "icu/chartevents.csv.gz", CHART_COLUMNS, _chart(ecgs, people, strangers, rng, min_chart_count))
    _write(folder / "ed/vitalsign.csv.gz", VITAL_COLUMNS, _vitals(ecgs, rng))


def _write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file; gzip without name and time, so that the same seed gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    table = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    content = buffer.getvalue().encode()
    # The time of writing would be part of a gzip header.
    path.write_bytes(gzip.compress(content, compresslevel=1, mtime=0) if path.suffix == ".gz" else content)


def _person(subject: int, female: bool, seed: int) -> Person:
    rng = np.random.default_rng([seed, 6, subject])
    height = rng.normal(63.5 if female else 69.5, 2.5)
    # 703 is what turns a body mass index, in kg/m2, into pounds and inches.
    return Person(female, float(height), float(rng.normal(24.5 + 4, 4) * height**2 / 703))


def _record(number: int, ecg: Ecg) -> dict[str, Any]:
    codes = str(ecg.codes)
    top = "mimic-iv-ecg-diagnostic-electrocardiogram-matched-subset-1.0"
    return {
        "": number,
        "file_name": f"{top}/{ecg.stem}",
        "study_id": ecg.study,
        "subject_id": ecg.subject,
        "ecg_time": ecg.time.strftime(TIME),
        "ed_stay_id": f"{ecg.stay}.0" if ecg.stay else "",
        "ed_diag_ed": codes if ecg.in_ed else "[]",
        "ed_diag_hosp": "[]",
        "hosp_diag_hosp": "[]" if ecg.in_ed else codes,
        "all_diag_hosp": codes,
        "all_diag_all": codes,
        "gender": ("F" if ecg.female else "M") if ecg.sex_known else "missing",
        "age": f"{ecg.age}.0" if ecg.sex_known else "",
        "anchor_year": f"{ecg.time.year}.0",
        "anchor_age": f"{ecg.age}.0",
        "ecg_no_within_stay": ecg.number,
        "ecg_taken_in_ed": ecg.in_ed,
        "ecg_taken_in_hosp": not ecg.in_ed,
        "ecg_taken_in_ed_or_hosp": True,
        "fold": ecg.fold,
        "strat_fold": ecg.strat_fold,
    }


def _stays(ecgs: Sequence[Ecg], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Yield the rows of mds_ed.csv: ECGs of the emergency department, some listed twice with a later arrival first."""
    for number, ecg in enumerate(ecgs):
        if not ecg.in_ed or number % 11 == 5:
            continue
        row = {
            "general_subject_id": ecg.subject,
            "general_stay_id": ecg.stay,
            "general_study_id": ecg.study,
            "general_data": number,
            "general_strat_fold": ecg.strat_fold,
            "general_intime": ecg.arrival.strftime(TIME),
            "general_ecg_time": ecg.time.strftime(TIME),
            "demographics_age": ecg.age,
            "demographics_gender": int(not ecg.female),
            **_events(ecg, rng),
            "diagnoses_labels": "[]",
        }
        if number % 13 == 3:
            # The later stay comes first in the file: whoever takes the first row instead of the earliest arrival gets
            # other outcomes.
            later = (ecg.arrival + timedelta(minutes=45)).strftime(TIME)
            yield {**row, "general_intime": later, **dict.fromkeys(EVENTS, "-999.0")}
        yield row


def _events(ecg: Ecg, rng: np.random.Generator) -> dict[str, str]:
    """Draw the outcomes; they are likelier in ill hearts and with age, and consistent over the horizons."""
    ill = {"STACH", "INJAS", "RVH", "EL", "3AVB", "CLBBB", "AFIB"} & set(ecg.findings)
    risk = 0.06 + 0.3 * bool(ill) + 0.004 * max(ecg.age - 60, 0)
    days = rng.exponential(200 / (risk + 0.05))
    outcomes: dict[str, str] = {}
    for name in EVENTS:
        # One draw for all horizons: whoever dies within a day does so within a week.
        horizon = name.rpartition("_")[2]
        if "mortality" in name:
            happened = days < (float(horizon[:-1]) if horizon != "stay" else 10) * 4
        elif name.endswith("icu_stay"):
            happened = outcomes["deterioration_icu_24h"] == "1.0" or bool(rng.random() < risk / 4)
        else:
            happened = bool(rng.random() < risk)
        outcomes[name] = "-999.0" if rng.random() < 0.04 else f"{float(happened)}"
    return outcomes


def _machine(ecg: Ecg, rng: np.random.Generator) -> dict[str, Any]:
    """Return one row of the machine's table: now and then a value at or beyond its bounds, or an RR interval of 0."""
    values: dict[str, Any] = dict(ecg.measured)
    odd = ecg.study % 97
    # At the bounds themselves and just beyond: rules that differ by one sign differ here.
    values |= {
        11: {"qrs_axis": 360, "t_axis": -360},
        13: {"qrs_axis": 361, "t_axis": -361},
        17: {"rr_interval": 0},
        19: {"rr_interval": 5001, "t_end": 5000},
        23: {"qrs_end": values["qrs_onset"] - 40},
        29: {"rr_interval": ""},
    }.get(odd, {})
    return {
        "subject_id": ecg.subject,
        "study_id": ecg.study,
        "cart_id": 6_000_000 + int(rng.integers(0, 300)),
        "ecg_time": ecg.time.strftime(TIME),
        "report_0": "Sinus rhythm, borderline" if "SR" in ecg.findings else "Abnormal ECG",
        "bandwidth": "0.005-150 Hz",
        "filtering": "60 Hz notch Baseline filter",
        **values,
    }


def _omr(
    ecgs: Sequence[Ecg], people: Mapping[int, Person], strangers: Sequence[int], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Yield office measurements: days before and after the ECG, also 30 and 31 days, equal distances, odd text."""
    for number, ecg in enumerate(ecgs):
        person = people[ecg.subject]
        days = {0: (-30, 31), 1: (5, -5), 2: (30,), 3: (31, 40), 4: (0, 0, 1)}.get(
            number % 9, (int(rng.integers(-20, 20)),)
        )
        for sequence, day in enumerate(days):
            date = (ecg.time + timedelta(days=day)).strftime("%Y-%m-%d")
            yield from _office(ecg.subject, date, sequence, person, rng)
    for subject in strangers:
        yield from _office(subject, "2150-06-01", 1, people[subject], rng)


def _office(
    subject: int, date: str, sequence: int, person: Person, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    weight = person.weight_lb * rng.normal(1, 0.01)
    values = {
        "Weight (Lbs)": f"{weight:.1f}" if rng.random() > 0.02 else "unable to stand",
        "Height (Inches)": f"{person.height_in:.0f}" if rng.random() > 0.02 else "",
        "BMI (kg/m2)": f"{weight * 703 / person.height_in**2:.1f}" if rng.random() > 0.006 else "5000",
        "Blood Pressure": f"{rng.integers(100, 170)}/{rng.integers(60, 95)}",
    }
    for name, value in values.items():
        row = {"subject_id": subject, "chartdate": date, "seq_num": sequence}
        yield {**row, "result_name": name, "result_value": value}


def _moments(ecg: Ecg, number: int, rng: np.random.Generator) -> list[datetime]:
    """Return times around an ECG: at the ends of the hour, just outside, at equal distance, the same twice."""
    seconds = {
        0: (-3600, 3601),
        1: (600, -600),
        2: (3600, -3601),
        3: (-5000, 7000),
        4: (120, 120),
        5: (-900, 900, 900),
    }.get(number % 8, tuple(int(s) for s in rng.integers(-5400, 5400, size=2)))
    return [ecg.time + timedelta(seconds=second) for second in seconds]


def _vitals(ecgs: Sequence[Ecg], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for number, ecg in enumerate(ecgs):
        if ecg.stay is None:
            continue
        for moment in _moments(ecg, number, rng):
            row = {"subject_id": ecg.subject, "stay_id": ecg.stay, "charttime": moment.strftime(TIME)}
            yield row | {name: _vital(name, ecg, rng) for name in VITAL_COLUMNS[3:9]} | {"pain": "0"}


def _vital(name: str, ecg: Ecg, rng: np.random.Generator) -> str:
    """Return one vital sign as text, now and then empty or impossible."""
    chance = rng.random()
    if chance < 0.06:
        return ""
    beat = ecg.measured["rr_interval"]
    usual = {
        "temperature": rng.normal(98.4, 0.9),
        "heartrate": (60_000 / beat if 300 < beat < 2500 else 80) + rng.normal(0, 3),
        "resprate": rng.normal(21 if "STACH" in ecg.findings else 17, 2),
        "o2sat": min(rng.normal(97, 2), 100),
        "sbp": rng.normal(120 + 0.3 * (ecg.age - 50), 18),
        "dbp": rng.normal(74, 11),
    }[name]
    if chance < 0.064:
        usual *= 10
    return f"{usual:.1f}" if name == "temperature" else f"{usual:.0f}.0"


def _lab_items() -> Iterator[dict[str, Any]]:
    for label, usual, other, *_ in LABS:
        for item in filter(None, (usual, other)):
            yield {"itemid": item, "label": label, "fluid": "Blood", "category": "Chemistry"}
    yield {"itemid": OTHER_LAB[0], "label": OTHER_LAB[1], "fluid": "Blood", "category": "Chemistry"}


def _labs(
    ecgs: Sequence[Ecg], people: Mapping[int, Person], strangers: Sequence[int], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Yield lab events: two items per label, units spelled differently, missing numbers and units, free text."""
    number = 100
    for index, ecg in enumerate(ecgs):
        for moment in _moments(ecg, index + 3, rng):
            for lab in LABS:
                if rng.random() < 0.7:
                    number += 1
                    yield _lab(number, ecg.subject, moment, lab, people[ecg.subject].female, ecg.codes, rng)
            number += 1
            row = {"labevent_id": number, "subject_id": ecg.subject, "itemid": OTHER_LAB[0], "valuenum": 4.1}
            # Quotes, commas and a line break inside a cell, as in the comments of the original.
            yield row | {"storetime": moment.strftime(TIME), "valueuom": "mEq/L", "comments": 'text, "quoted"\nline'}
    for subject in strangers:
        for lab in LABS:
            number += 1
            yield _lab(number, subject, datetime(2150, 6, 1), lab, people[subject].female, [], rng)


def _lab(
    number: int,
    subject: int,
    moment: datetime,
    lab: tuple[Any, ...],
    female: bool,
    codes: list[str],
    rng: np.random.Generator,
) -> dict[str, Any]:
    label, usual, other, unit, mean, spread, in_women = lab
    value = abs(rng.normal(mean * (in_women if female else 1.0), spread))
    if (label == "NTproBNP" and "I509" in codes) or (label == "Creatinine" and {"N179", "N186"} & set(codes)):
        value *= 3
    chance = rng.random()
    if chance < 0.005:
        value *= 100
    # The derivation compares units letter by letter, so one in capitals is another one.
    spelled = unit if chance < 0.9 else ("" if chance < 0.94 else unit.upper())
    return {
        "labevent_id": number,
        "subject_id": subject,
        "specimen_id": 5_000_000 + number,
        "itemid": other if other and rng.random() < 0.2 else usual,
        # The derivation goes by storetime; whoever takes this one finds other values to be the nearest.
        "charttime": (moment - timedelta(minutes=40)).strftime(TIME),
        "storetime": "" if rng.random() < 0.02 else moment.strftime(TIME),
        "value": f"{value:.2f}",
        "valuenum": "" if rng.random() < 0.03 else f"{value:.2f}",
        "valueuom": spelled,
        "priority": "STAT",
        "comments": "___" if chance < 0.5 else "",
    }


def _chart(
    ecgs: Sequence[Ecg],
    people: Mapping[int, Person],
    strangers: Sequence[int],
    rng: np.random.Generator,
    min_chart_count: int,
) -> Iterator[dict[str, Any]]:
    """Yield chart events of intensive care for a third of the ECGs, and of subjects without an ECG."""
    heights = 0
    for number, ecg in enumerate(ecgs):
        if number % 3:
            continue
        for moment in _moments(ecg, number // 3 + 1, rng):
            for label in CHART:
                if label == "Admission Weight (Kg)":
                    heights += 1
                    # One label stays just below the minimum, so that the count rule has something to leave out.
                    if heights >= min_chart_count:
                        continue
                if rng.random() < 0.75:
                    yield _event(ecg.subject, label, moment, people[ecg.subject], rng)
    for subject in strangers:
        for label in CHART:
            yield _event(subject, label, datetime(2150, 6, 1, 12), people[subject], rng)


def _event(subject: int, label: str, moment: datetime, person: Person, rng: np.random.Generator) -> dict[str, Any]:
    value, unit = {
        "Heart Rate": (rng.normal(84, 15), "bpm"),
        "Respiratory Rate": (rng.normal(18, 4), "insp/min"),
        "O2 saturation pulseoxymetry": (min(rng.normal(97, 2), 100), "%"),
        "Temperature Fahrenheit": (rng.normal(98.5, 1), "°F"),
        "Temperature Celsius": (rng.normal(36.9, 0.6), "°C"),
        "Height": (person.height_in, "Inch"),
        "Height (cm)": (person.height_in * 2.54, "cm"),
        "Daily Weight": (person.weight_lb / 2.20462, "kg"),
        "Admission Weight (Kg)": (person.weight_lb / 2.20462, "kg"),
        "Admission Weight (lbs.)": (person.weight_lb, "lbs"),
        "Creatinine (serum)": (abs(rng.normal(1.2, 0.6)), "mg/dL"),
        "Hemoglobin": (rng.normal(11.5, 1.8), "g/dl"),
        "Hematocrit (serum)": (rng.normal(35, 5), "%"),
        "Total Bilirubin": (abs(rng.normal(0.8, 0.5)), "mg/dL"),
        "Albumin": (rng.normal(3.3, 0.5), "g/dL"),
    }.get(label, (1.0, ""))
    chance = rng.random()
    whole = label in ("Heart Rate", "Respiratory Rate", "O2 saturation pulseoxymetry", "Height")
    text = f"{value:.0f}" if whole else f"{value:.1f}"
    return {
        "subject_id": subject,
        "hadm_id": 20_000_000 + subject % 1_000_000,
        "stay_id": 39_000_000 + subject % 1_000_000,
        "caregiver_id": int(rng.integers(1, 90_000)),
        "charttime": (moment - timedelta(minutes=20)).strftime(TIME),
        "storetime": "" if chance < 0.02 else moment.strftime(TIME),
        "itemid": CHART[label],
        "value": "No Restraints, bed rails" if label == "Safety Measures" else text,
        "valuenum": "" if label == "Safety Measures" or chance > 0.97 else text,
        "valueuom": "" if chance > 0.85 else unit,
        "warning": "0",
    }
