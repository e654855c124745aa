"""The YAML of an own archive: what the smallest one means, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dataset_scripts.custom import is_description, open_custom, read_description
from dataset_scripts.formats.channels import unit_uv
from ecg_hub.errors import InputError
from tests.support.own_files import DESCRIPTION, TASK


def write(place: Path, **changes: Any) -> Path:
    path = place / "my_hospital.yaml"
    columns = {**DESCRIPTION["columns"], **changes.pop("columns", {})}
    content = {**DESCRIPTION, "columns": {k: v for k, v in columns.items() if v is not None}, **changes}
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, allow_unicode=True))
    return path


def test_the_smallest_description(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "name: st-elsewhere\nsignals: ecg\ntable: ecgs.csv\ncolumns:\n  record: id\n  patient: person\n"
        "  labels: diagnoses\n"
    )
    own = open_custom(path)
    assert (own.name, own.title, own.access, own.redistribution) == (
        "st-elsewhere",
        "st-elsewhere",
        "restricted",
        False,
    )
    assert own.label_columns == ("label_all",)
    assert own.thresholds == {"min_count": 10, "min_seconds": 0.0}
    assert own.targets == ()
    assert "10 folds stratified by label, by patient, seed 0" in own.folds
    assert own.find_folder() == tmp_path
    (tmp_path / "root" / "st-elsewhere").mkdir(parents=True)
    assert own.find_folder(tmp_path / "root") == tmp_path / "root" / "st-elsewhere"
    assert own.find_folder(tmp_path / "other") == tmp_path


def test_a_described_folder_wins(tmp_path: Path) -> None:
    own = open_custom(write(tmp_path, folder="../data"))
    (tmp_path / "root" / "my-hospital").mkdir(parents=True)
    assert own.find_folder(tmp_path / "root") == tmp_path.parent / "data"
    assert open_custom(write(tmp_path, folder="/archive")).find_folder() == Path("/archive")


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"naem": "x"}, ["unknown field 'naem'. Did you mean 'name'?", "Known: name, title"]),
        ({"columns": {"patinet": "x"}}, ["unknown field 'columns.patinet'. Did you mean 'patient'?"]),
        ({"folds": {"numer": 5}}, ["unknown field 'folds.numer'. Did you mean 'number'? Known: number, seed"]),
        ({"folds": {"number": 2}}, ["'folds.number': 2 is not allowed"]),
        ({"name": "My Hospital"}, ["'My Hospital' is not allowed; use lower-case letters, digits and hyphens"]),
        ({"name": None, "signals": None}, ["field 'name' is missing", "field 'signals' is missing"]),
        ({"format": "efd"}, ["'efd' is not allowed. Did you mean 'edf'?"]),
        ({"unit": "Ampere"}, ["'Ampere' is no unit of voltage; allowed: V, mV, uV, nV"]),
        ({"lead_names": {"A": "V7"}}, ["Unknown lead 'V7'"]),
        ({"sampling_rate": "500"}, ["field 'sampling_rate': '500' is not allowed"]),
        ({"sampling_rate": 0}, ["field 'sampling_rate': 0 is not allowed"]),
        ({"title": 5}, ["YAML reads 5 here, text is expected; put it in quotes"]),
        ({"table": None}, ["'columns' is given without 'table'"]),
        ({"format": "csv"}, ["format 'csv' needs 'sampling_rate' and 'unit'"]),
        ({"format": "parquet", "unit": "mV"}, ["format 'parquet' needs 'sampling_rate'"]),
        ({"redistribution": True}, ["access 'restricted' with redistribution true"]),
        ({"columns": {"fold": "f"}}, ["'folds' is given, and the table has folds already"]),
        ({"columns": {"fold": "f", "split": "s"}}, ["'fold' ('f') and 'split' ('s') are both given"]),
        ({"columns": {"labels": {"a": "X", "b": "X"}}}, ["'labels' names 'X' more than once"]),
        (
            {"columns": {"labels": 2.5}},
            ["field 'columns.labels': 2.5 is not allowed; give a column, a list of columns"],
        ),
        ({"columns": {"labels": []}}, ["field 'columns.labels': [] is not allowed"]),
        ({"columns": {"sex": None, "sex_values": {"1": "male"}}}, ["'sex_values' is given without the column 'sex'"]),
        ({"columns": {"sex_values": {"1": "man"}}}, ["'man' is not allowed"]),
    ],
)
def test_what_is_refused(changes: dict[str, Any], messages: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_description(write(tmp_path, **changes))
    for message in messages:
        assert message in str(caught.value)
    assert all(line.startswith(str(tmp_path / "my_hospital.yaml")) for line in str(caught.value).splitlines())


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_description(write(tmp_path, unit="x", format="y", min_count=0))
    assert len(str(caught.value).splitlines()) == 3


def test_names_that_yaml_reads_as_numbers(tmp_path: Path) -> None:
    about = read_description(write(tmp_path, columns={"labels": {101: "AF"}, "sex_values": {0: "male", 1: None}}))
    assert about.columns is not None
    assert about.columns.label_columns() == {"101": "AF"}
    assert about.columns.sexes()["0"] == "male"
    assert about.columns.sexes()["1"] is None


@pytest.mark.parametrize(
    ("text", "microvolt"),
    [("mV", 1000.0), ("uV", 1.0), ("µV", 1.0), ("μV", 1.0), ("V", 1e6), ("nV", 1e-3), ("4.88 uV", 4.88), ("2mV", 2000)],
)
def test_units(text: str, microvolt: float) -> None:
    assert unit_uv(text) == pytest.approx(microvolt)


@pytest.mark.parametrize("text", ["", "0 mV", "mm", "-1 mV", "mV/2"])
def test_no_units(text: str) -> None:
    with pytest.raises(ValueError, match="no unit of voltage"):
        unit_uv(text)


def test_descriptions_and_tasks_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "broken.yaml").write_text("a: [")
    assert is_description(write(tmp_path))
    assert not is_description(tmp_path / "task.yaml")
    assert not is_description(tmp_path / "broken.yaml")
    assert not is_description(tmp_path / "absent.yaml")


def test_the_store_follows_what_decides_the_reading(tmp_path: Path) -> None:
    first = open_custom(write(tmp_path)).store_version
    for change in ({"min_count": 3}, {"folds": {"seed": 1}}, {"title": "x"}, {"min_seconds": 5}):
        assert open_custom(write(tmp_path, **change)).store_version == first
    for change in ({"unit": "uV"}, {"sampling_rate": 500}, {"lead_names": {"A": "V1"}}, {"columns": {"age": None}}):
        assert open_custom(write(tmp_path, **change)).store_version != first
