"""Outcomes, machine measurements, z-scores."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from dataset_scripts.published.mimic_iv_ecg import sources
from dataset_scripts.published.mimic_iv_ecg.derive import read_deterioration, read_measurements, z_scores
from dataset_scripts.published.mimic_iv_ecg.names import EVENTS
from ecg_hub.errors import DataError
from tests.support.mimic_tables import Row, Tree, ecg, machine, rows, stay, targets

ECMO = "deterioration_ecmo"


def outcomes(folder: Path, *stays: Row) -> dict[int, dict[str, float | None]]:
    tree = Tree(folder, records=[ecg(1), ecg(2)], mds_ed=stays)
    result = read_deterioration(tree.engine, tree.tables[sources.MDS_ED], tree.records())
    return {row["study_id"]: row for row in rows(result)}


def features(folder: Path, **values: object) -> dict[str, float | None]:
    tree = Tree(folder, measurements=[machine(1, **values)])
    (row,) = rows(read_measurements(tree.engine, tree.tables[sources.MEASUREMENTS], tree.records()))
    return row


def test_the_earliest_arrival_of_an_ecg_counts_and_999_is_no_value(tmp_path: Path) -> None:
    found = outcomes(
        tmp_path,
        stay(1, "2150-06-15 11:30:00", **{ECMO: 0.0}),
        stay(1, "2150-06-15 10:30:00", **{ECMO: 1.0, EVENTS[0]: -999.0, EVENTS[14]: ""}),
        stay(1, "", **{ECMO: 0.0}),
        stay(2, "2150-06-15 11:00:00", 1, **{ECMO: 1.0}),
        stay(2, "2150-06-15 11:00:00", 1, **{ECMO: 0.0}),  # the same time: the first in the file
    )
    assert found[1][ECMO] == 1.0
    assert found[1][EVENTS[0]] is None
    assert found[1][EVENTS[14]] is None
    assert found[2][ECMO] == 1.0


@pytest.mark.heavy
def test_an_ecg_that_mds_ed_does_not_list_has_no_outcome(tmp_path: Path) -> None:
    derived = Tree(tmp_path, records=[ecg(1), ecg(2)], mds_ed=[stay(2, data=1)]).derive()
    found = targets(derived)
    assert [found[1][name] for name in EVENTS] == [None] * 15
    assert [found[2][name] for name in EVENTS] == [0.0] * 15


@pytest.mark.heavy
def test_a_row_number_that_names_another_study_is_reported_and_the_study_counts(tmp_path: Path) -> None:
    derived = Tree(tmp_path, records=[ecg(1), ecg(2)], mds_ed=[stay(2, data=0, **{ECMO: 1.0})]).derive()
    assert targets(derived)[2][ECMO] == 1.0
    assert [step.note for step in derived.steps if step.table == "mds_ed.csv"] == [
        "general_data names another study in 1 rows: joined on the study"
    ]


def test_an_outcome_is_0_or_1(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 1 of the data: deterioration_ecmo is none of 0, 1 and -999"):
        outcomes(tmp_path, stay(1, **{ECMO: 2}))


def test_the_seven_features(tmp_path: Path) -> None:
    found = features(tmp_path, rr_interval=810, qrs_onset=100, qrs_end=188, t_end=460)
    assert {name: found[name] for name in ("RR", "QRS", "QT")} == {"RR": 810.0, "QRS": 88.0, "QT": 360.0}
    assert found["QTc"] == pytest.approx(360 / math.sqrt(0.81))
    assert [found[name] for name in ("P_wave_axis", "QRS_axis", "T_wave_axis")] == [50.0, 40.0, 30.0]


@pytest.mark.parametrize(("value", "kept"), [(360, True), (-360, True), (361, False), (-361, False), (29999, False)])
def test_axes_within_their_bounds(value: int, kept: bool, tmp_path: Path) -> None:
    found = features(tmp_path, p_axis=value, qrs_axis=value, t_axis=value)
    assert [found[name] for name in ("P_wave_axis", "QRS_axis", "T_wave_axis")] == [value if kept else None] * 3


@pytest.mark.parametrize(("value", "kept"), [(5000, True), (0, True), (5001, False), (-1, False), ("", False)])
def test_times_within_their_bounds(value: object, kept: bool, tmp_path: Path) -> None:
    assert features(tmp_path, rr_interval=value)["RR"] == (value if kept else None)


def test_a_negative_duration_stays_and_the_p_wave_times_change_nothing(tmp_path: Path) -> None:
    found = features(tmp_path, qrs_onset=200, qrs_end=150, t_end=100, p_onset=29999, p_end=29999)
    assert (found["QRS"], found["QT"]) == (-50.0, -100.0)


def test_qtc_is_missing_where_rr_is_0_and_rr_0_stays(tmp_path: Path) -> None:
    found = features(tmp_path, rr_interval=0)
    assert (found["RR"], found["QTc"], found["QT"]) == (0.0, None, 400.0)


@pytest.mark.heavy
def test_measurements_are_joined_by_study(tmp_path: Path) -> None:
    tree = Tree(tmp_path, records=[ecg(1), ecg(2)], measurements=[machine(2, rr_interval=700), machine(1)])
    derived = tree.derive()
    found = targets(derived)
    assert (found[1]["measured RR"], found[2]["measured RR"]) == (1000.0, 700.0)
    (step,) = [step for step in derived.steps if step.table == "machine_measurements.csv"]
    assert "2 rows name another study" in step.note


@pytest.mark.heavy
def test_z_scores_come_from_the_training_folds_with_the_population_deviation(tmp_path: Path) -> None:
    records = [
        ecg(1, strat_fold=0, age="40.0"),
        ecg(2, strat_fold=17, age="60.0"),
        ecg(3, strat_fold=18, age="70.0"),
        ecg(4, strat_fold=19, age=""),
        ecg(5, strat_fold=3, age="99.0", ecg_taken_in_ed=False),  # not used
    ]
    derived = Tree(tmp_path, records=records).derive()
    found = targets(derived)
    assert [found[study]["age"] for study in (1, 2, 3, 4)] == [-1.0, 1.0, 2.0, None]
    assert derived.scale["age"] == [50.0, 10.0, 2]


def test_a_constant_column_is_only_centred_and_one_without_training_values_has_no_z_scores() -> None:
    train = np.array([True, True, False])
    scores, (mean, deviation, number) = z_scores(np.array([0.1, 0.1, 0.4]), train)
    assert scores == pytest.approx([0, 0, 0.3])
    assert (mean, number) == (pytest.approx(0.1), 2)
    assert deviation == pytest.approx(0)
    scores, (mean, deviation, number) = z_scores(np.array([np.nan, np.nan, 3.0]), train)
    assert np.isnan(scores).all()
    assert np.isnan([mean, deviation]).all()
    assert number == 0
