"""Biometrics, vital signs and lab values: units, percentiles, thresholds; the nearest of each kind to an ECG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dataset_scripts.published.mimic_iv_ecg.engine import Engine, Work
from dataset_scripts.published.mimic_iv_ecg.values import bounds
from tests.support.mimic_tables import NOON, SMALL, Row, Tree, chart, ecg, lab, omr, rows, values, vital

WEIGHT, HEIGHT, BMI = "Weight (Lbs)", "Height (Inches)", "BMI (kg/m2)"
pytestmark = pytest.mark.heavy
KG = 2.20462
HUNDRED = [str(number) for number in range(102)]
"""0 to 101: one percent is at place 1.01, or at 0.99 once the two largest are gone."""


class TestPercentiles:
    @pytest.mark.parametrize("seed", range(5))
    def test_they_equal_those_of_pandas_to_the_last_bit(self, seed: int, tmp_path: Path) -> None:
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame(
            {
                "name": rng.choice(["a", "b", "c"], 500, p=[0.6, 0.39, 0.01]),
                "value": np.round(rng.normal(98.6, 0.7, 500), int(rng.integers(0, 14))),
            }
        )
        frame.loc[frame.index % 17 == 0, "value"] = np.nan
        with Engine(tmp_path, SMALL)._connection() as connection:
            connection.register("frame", frame)
            work = Work(connection, tmp_path, "", quiet=True)
            for quantile in (0.01, 0.99):
                expected = frame.groupby("name")["value"].quantile(quantile).dropna().to_dict()
                assert bounds(work, "(SELECT name, CASE WHEN NOT isnan(value) THEN value END AS value FROM frame)",
                              quantile) == expected  # fmt: skip

    def test_a_bound_between_equal_values_is_that_value(self, tmp_path: Path) -> None:
        """98.6 * 0.39 + 98.6 * 0.61 is not 98.6 in floating point: every row would be dropped."""
        tree = Tree(tmp_path, vitalsign=[vital(temperature="98.6") for _ in range(140)])
        assert len(values(tree.vitals(), "temperature")) == 140


class TestBiometrics:
    def test_the_largest_are_dropped_first_and_the_smallest_of_the_rest(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, omr=[omr(BMI, value) for value in HUNDRED])
        assert values(tree.sizes(), BMI) == [float(value) for value in range(1, 100)]

    def test_kinds_have_bounds_of_their_own_and_text_is_no_value(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, omr=[omr(BMI, "25.0"), omr(BMI, "over 40"), omr(HEIGHT, "70"), omr(BMI, ""),
                                   omr("Blood Pressure", "120")])  # fmt: skip
        assert [(row["name"], row["value"]) for row in rows(tree.sizes())] == [(BMI, 25.0), (HEIGHT, 70.0)]

    def test_all_subjects_of_omr_count_but_chart_rows_only_of_subjects_with_an_ecg(self, tmp_path: Path) -> None:
        own = [omr(WEIGHT, value, subject=9) for value in HUNDRED]
        tree = Tree(tmp_path, omr=own, chartevents=[chart(6, 9999, subject=9), chart(6, 10, subject=1)])
        found = values(tree.sizes(), WEIGHT)
        assert 10 * KG in found
        assert max(found) == 99.0

    def test_rows_without_a_time_count_for_the_bounds(self, tmp_path: Path) -> None:
        dated = [omr(BMI, value, date="2150-06-15" if 0 < int(value) < 101 else "") for value in HUNDRED]
        tree = Tree(tmp_path, omr=dated)
        assert values(tree.sizes(), BMI) == [float(value) for value in range(1, 100)]

    @pytest.mark.parametrize(
        ("event", "expected"),
        [
            (chart(4, 180), [(HEIGHT, 180 * 0.393701)]),
            (chart(5, 71), [(HEIGHT, 71.0)]),
            (chart(6, 80, unit=""), [(WEIGHT, 80 * KG)]),
            (chart(7, 82), [(WEIGHT, 82 * KG)]),
            (chart(8, 170), []),
        ],
    )
    def test_chart_rows_are_brought_to_pounds_and_inches_and_pounds_are_thrown_away(
        self, event: Row, expected: list[tuple[str, float]], tmp_path: Path
    ) -> None:
        tree = Tree(tmp_path, chartevents=[event, chart(1, 80)])
        assert [(row["name"], row["value"]) for row in rows(tree.sizes())] == expected


class TestChartThreshold:
    def test_the_minimum_counts_rows_of_a_label_over_its_items_missing_values_included(self, tmp_path: Path) -> None:
        events = [chart(5, 70), chart(11, ""), chart(5, 70, time=""), chart(1, 60), chart(1, 60), chart(9, 12)]
        tree = Tree(tmp_path, chartevents=events)
        assert values(tree.sizes(min_chart_count=3), HEIGHT) == [70.0, 70.0]
        assert values(tree.sizes(min_chart_count=4), HEIGHT) == []
        assert values(tree.vitals(min_chart_count=2), "heartrate") == [60.0, 60.0]
        assert values(tree.vitals(min_chart_count=3), "heartrate") == []
        assert values(tree.labs(min_chart_count=1), "Hemoglobin") == [12.0]
        assert values(tree.labs(min_chart_count=2), "Hemoglobin") == []

    def test_rows_of_subjects_without_an_ecg_do_not_count(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, chartevents=[chart(5, 70), chart(5, 70, subject=9)])
        assert values(tree.sizes(min_chart_count=2), HEIGHT) == []


class TestVitalSigns:
    def test_both_bounds_come_from_the_same_rows(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, vitalsign=[vital(sbp=value, subject=9) for value in HUNDRED])
        assert values(tree.vitals(), "sbp") == [float(value) for value in range(2, 100)]

    def test_celsius_becomes_fahrenheit(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, chartevents=[chart(2, 37.5)])
        assert values(tree.vitals(), "temperature") == [37.5 * 9 / 5 + 32]
        other = tmp_path / "other"
        other.mkdir()
        tree = Tree(other, chartevents=[chart(3, 99.5), chart(3, 99.5, subject=9)])
        assert values(tree.vitals(), "temperature") == [99.5]

    def test_long_form(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, vitalsign=[vital(temperature="98.1", heartrate="", dbp="70.0", sbp="x")])
        assert sorted((row["name"], row["value"]) for row in rows(tree.vitals())) == [
            ("dbp", 70.0),
            ("temperature", 98.1),
        ]


class TestLabValues:
    def test_only_the_most_frequent_item_of_a_label_counts_and_of_equal_ones_the_lowest(self, tmp_path: Path) -> None:
        events = [lab(53085, 4.0), lab(50862, 3.0), lab(50862, ""), lab(50862, "")]  # rows without a number: no votes
        assert values(Tree(tmp_path, labevents=events).labs(), "Albumin") == [3.0]
        (tmp_path / "b").mkdir()
        events = [lab(53085, 4.0), lab(53085, 4.0), lab(50862, 3.0)]
        assert values(Tree(tmp_path / "b", labevents=events).labs(), "Albumin") == [4.0, 4.0]

    def test_only_the_most_frequent_unit_counts_as_written(self, tmp_path: Path) -> None:
        written = ["g/dL", "g/dL", "g/dL ", "G/DL", "", "", "", "NA"]
        events = [lab(50862, 3.0 if unit == "g/dL" else 3.5, unit=unit) for unit in written]
        assert values(Tree(tmp_path, labevents=events).labs(), "Albumin") == [3.0, 3.0]

    def test_of_equally_frequent_units_the_first_in_order_counts(self, tmp_path: Path) -> None:
        events = [lab(50862, 3.0, unit="g/dL"), lab(50862, 3.0, unit="g/dL"), *[lab(50862, 3.1, unit="G/DL")] * 2]
        low, high = [lab(50862, value, unit="x") for value in (0.1, 99)]
        assert values(Tree(tmp_path, labevents=[*events, low, high]).labs(), "Albumin") == [3.1, 3.1]

    def test_units_are_counted_after_the_percentiles(self, tmp_path: Path) -> None:
        usual = [lab(50862, 3.0, unit="g/dL")] * 60 + [lab(50862, 3.0, unit="g/L")] * 59
        extreme = [lab(50862, 900.0 + n, unit="g/L") for n in range(2)]
        found = rows(Tree(tmp_path, labevents=usual + extreme).labs())
        assert len(found) == 60

    def test_the_first_bounds_come_from_all_subjects_the_second_from_those_with_an_ecg(self, tmp_path: Path) -> None:
        events = [lab(51222, value, subject=9) for value in HUNDRED] + [lab(51222, value) for value in (5, 50, 100)]
        tree = Tree(tmp_path, labevents=events)
        # 100 is above the bound of all 105 rows; 5 and 50 are the bounds of the rest, and bounds are dropped inside.
        expected = pd.Series([*map(float, HUNDRED), 5.0, 50.0, 100.0])
        low, high = expected.quantile(0.01), expected.quantile(0.99)
        rest = pd.Series([value for value in (5.0, 50.0, 100.0) if low <= value <= high])
        kept = rest[(rest >= rest.quantile(0.01)) & (rest <= rest.quantile(0.99))]
        assert values(tree.labs(), "Hemoglobin") == sorted(kept)

    def test_chart_rows_need_a_unit_but_for_hemoglobin(self, tmp_path: Path) -> None:
        events = [chart(9, 12.0, unit=""), chart(10, 3.5, unit=""), chart(10, 3.6)]
        tree = Tree(tmp_path, labevents=[lab(51222, 12.0, unit="g/dL")], chartevents=events)
        found = tree.labs()
        assert (values(found, "Hemoglobin"), values(found, "Albumin")) == ([12.0, 12.0], [3.6])

    def test_chart_rows_are_clipped_with_the_others(self, tmp_path: Path) -> None:
        events = [chart(9, value) for value in HUNDRED]
        assert values(Tree(tmp_path, chartevents=events).labs(), "Hemoglobin") == [float(v) for v in range(2, 100)]

    def test_items_that_are_not_listed_do_not_count(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path, labevents=[lab(50971, 4.0), lab(50862, 3.0)], records=[ecg(1, time=NOON)])
        assert [row["name"] for row in rows(tree.labs())] == ["Albumin"]


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
