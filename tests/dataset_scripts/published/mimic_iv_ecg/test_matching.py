"""The nearest value of each kind: windows, distances, ties."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mimic_tables import Row, Tree, chart, ecg, lab, omr, vital

WEIGHT, HEIGHT, BMI = "Weight (Lbs)", "Height (Inches)", "BMI (kg/m2)"
KG = 2.20462


@pytest.mark.parametrize(
    ("date", "found"),
    [
        ("2150-05-16", True),  # 30 days and 12 hours before noon
        ("2150-05-15", False),
        ("2150-07-16", True),  # 30 days and 12 hours after
        ("2150-07-17", False),
    ],
)
def test_biometrics_within_thirty_whole_days_from_midnight(date: str, found: bool, tmp_path: Path) -> None:
    assert Tree(tmp_path, omr=[omr(BMI, "25", date)]).near_sizes() == ({BMI: 25.0} if found else {})


def test_chart_rows_keep_their_hours(tmp_path: Path) -> None:
    last = chart(4, 180, time="2150-07-16 11:59:59")
    assert Tree(tmp_path, chartevents=[last]).near_sizes() == {HEIGHT: 180 * 0.393701}
    (tmp_path / "b").mkdir()
    assert Tree(tmp_path / "b", chartevents=[chart(4, 180, time="2150-07-16 12:00:00")]).near_sizes() == {}


def test_biometrics_of_the_same_whole_day_are_equally_near_and_the_row_decides(tmp_path: Path) -> None:
    rows = [omr(BMI, "25", "2150-06-16"), omr(BMI, "26", "2150-06-15")]  # noon is half a day from either midnight
    assert Tree(tmp_path, omr=[*middle(BMI), *rows]).near_sizes() == {BMI: 25.0}


def middle(name: str) -> list[Row]:
    """Two far rows that the percentiles take, so that those in between are left for matching."""
    return [omr(name, value, "2100-01-01") for value in ("1", "999")]


def test_omr_rows_come_before_chart_weights_and_heights(tmp_path: Path) -> None:
    rows = [*middle(WEIGHT), omr(WEIGHT, "150", "2150-06-15"), *middle(HEIGHT)]
    events = [chart(6, 60), chart(5, 70)]
    assert Tree(tmp_path, omr=rows, chartevents=events).near_sizes() == {WEIGHT: 150.0, HEIGHT: 70.0}


def test_a_nearer_chart_weight_wins(tmp_path: Path) -> None:
    rows = [*middle(WEIGHT), omr(WEIGHT, "150", "2150-06-10")]
    assert Tree(tmp_path, omr=rows, chartevents=[chart(6, 60)]).near_sizes() == {WEIGHT: 60 * KG}


def test_the_first_of_equally_near_chart_rows_wins_over_all_labels(tmp_path: Path) -> None:
    events = [chart(7, 61), chart(6, 60), chart(6, 1), chart(6, 300)]
    assert Tree(tmp_path, chartevents=events).near_sizes() == {WEIGHT: 61 * KG}


@pytest.mark.parametrize(
    ("time", "found"),
    [
        ("2150-06-15 11:00:00", True),
        ("2150-06-15 10:59:59", False),
        ("2150-06-15 13:00:00", True),
        ("2150-06-15 13:00:01", False),
        ("", False),
    ],
)
def test_vital_signs_and_lab_values_within_one_hour_on_either_side(time: str, found: bool, tmp_path: Path) -> None:
    tree = Tree(tmp_path, vitalsign=[vital(time, sbp="120")], labevents=[lab(50862, 3.5, time=time)])
    assert tree.near_vitals() == ({"sbp": 120.0} if found else {})
    assert tree.near_labs() == ({"Albumin": 3.5} if found else {})


def ends(**names: tuple[str, str]) -> list[Row]:
    return [vital("2100-01-01 00:00:00", **{name: value}) for name, pair in names.items() for value in pair]


def test_of_equally_near_vital_signs_the_earlier_one_wins_wherever_it_stands(tmp_path: Path) -> None:
    rows = [vital("2150-06-15 12:10:00", sbp="121"), vital("2150-06-15 11:50:00", sbp="119")]
    tree = Tree(tmp_path, vitalsign=[*rows, *ends(sbp=("1", "999"))])
    assert tree.near_vitals() == {"sbp": 119.0}


def test_of_vital_signs_at_the_same_time_the_first_in_the_file_wins(tmp_path: Path) -> None:
    rows = [vital("2150-06-15 12:10:00", sbp="121"), vital("2150-06-15 12:10:00", sbp="119")]
    assert Tree(tmp_path, vitalsign=[*rows, *ends(sbp=("1", "999"))]).near_vitals() == {"sbp": 121.0}


def test_vital_signs_of_the_department_come_before_chart_rows(tmp_path: Path) -> None:
    events = [chart(1, 80, time="2150-06-15 11:50:00")]
    rows = [vital("2150-06-15 12:10:00", heartrate="90"), *ends(heartrate=("1", "999"))]
    assert Tree(tmp_path, vitalsign=rows, chartevents=events).near_vitals() == {"heartrate": 90.0}


def test_of_equally_near_chart_rows_the_first_in_the_file_wins_not_the_earlier(tmp_path: Path) -> None:
    events = [chart(1, 80, time="2150-06-15 12:10:00"), chart(1, 70, time="2150-06-15 11:50:00")]
    tree = Tree(tmp_path, vitalsign=ends(heartrate=("1", "999")), chartevents=events)
    assert tree.near_vitals() == {"heartrate": 80.0}


def test_lab_events_come_before_chart_rows_and_otherwise_the_file_decides(tmp_path: Path) -> None:
    far = [lab(51222, value, time="2100-01-01 00:00:00") for value in ("0.1", "99", "0.2", "98", "0.3", "97")]
    rows = [lab(51222, 13.0, time="2150-06-15 12:10:00"), lab(51222, 12.0, time="2150-06-15 11:50:00")]
    events = [chart(9, 11.0, time="2150-06-15 11:50:00")]
    assert Tree(tmp_path, labevents=[*far, *rows], chartevents=events).near_labs() == {"Hemoglobin": 13.0}


def test_the_nearest_value_wins_before_and_after(tmp_path: Path) -> None:
    rows = [vital("2150-06-15 11:01:00", sbp="118"), vital("2150-06-15 12:05:00", sbp="122")]
    assert Tree(tmp_path, vitalsign=[*rows, *ends(sbp=("1", "999"))]).near_vitals() == {"sbp": 122.0}


def test_values_of_other_subjects_do_not_match(tmp_path: Path) -> None:
    tree = Tree(tmp_path, records=[ecg(1), ecg(2, subject=2)], vitalsign=[vital(sbp="120", subject=2)])
    assert tree.near_vitals() == {}
