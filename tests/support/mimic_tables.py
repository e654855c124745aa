"""Nine tables small enough to check by eye, and the steps of the derivation on them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dataset_scripts.published.mimic_iv_ecg import sources
from dataset_scripts.published.mimic_iv_ecg.derive import Derived, derive
from dataset_scripts.published.mimic_iv_ecg.engine import Engine, Result, Settings
from dataset_scripts.published.mimic_iv_ecg.names import EVENTS
from dataset_scripts.published.mimic_iv_ecg.selection import read_records
from dataset_scripts.published.mimic_iv_ecg.values import (
    biometrics,
    lab_values,
    nearest_by_day,
    nearest_by_time,
    read_chart,
    read_labs,
    read_omr,
    read_vitals,
    vital_signs,
)

Row = Mapping[str, Any]
NOON = "2150-06-15 12:00:00"
SMALL = Settings("200MB", 1, quiet=True)
HEADERS = {spec.stem: spec.columns for spec in sources.TABLES}
LAB_ITEMS = {50862: "Albumin", 53085: "Albumin", 51222: "Hemoglobin", 50912: "Creatinine", 51237: "INR(PT)"}
CHART_ITEMS = {
    1: "Heart Rate",
    2: "Temperature Celsius",
    3: "Temperature Fahrenheit",
    4: "Height (cm)",
    5: "Height",
    6: "Daily Weight",
    7: "Admission Weight (Kg)",
    8: "Admission Weight (lbs.)",
    9: "Hemoglobin",
    10: "Albumin",
    11: "Height",
    12: "Respiratory Rate",
}


def ecg(study: int, subject: int = 1, time: str = NOON, codes: Sequence[str] = ("I10",), **changes: Any) -> Row:
    """One row of the records table: an ECG that is used."""
    row = {"study_id": study, "subject_id": subject, "ecg_time": time, "all_diag_all": str(list(codes))}
    usual = {"gender": "F", "age": "50.0", "ecg_no_within_stay": 0, "ecg_taken_in_ed": True, "fold": 19}
    return {**row, **usual, "strat_fold": 0, **changes}


def chart(item: int, value: Any, subject: int = 1, time: str = NOON, unit: str = "u") -> Row:
    """One row of chartevents."""
    return {"subject_id": subject, "itemid": item, "storetime": time, "valuenum": value, "valueuom": unit}


lab = chart


def omr(name: str, value: Any, date: str = "2150-06-15", subject: int = 1) -> Row:
    """One row of omr."""
    return {"subject_id": subject, "chartdate": date, "result_name": name, "result_value": value}


def vital(time: str = NOON, subject: int = 1, **values: Any) -> Row:
    """One row of vitalsign."""
    return {"subject_id": subject, "charttime": time, **values}


def stay(study: int, intime: str = "2150-06-15 11:00:00", data: int = 0, **events: Any) -> Row:
    """One row of mds_ed."""
    return {"general_study_id": study, "general_data": data, "general_intime": intime, **dict.fromkeys(EVENTS, 0.0),
            **events}  # fmt: skip


def machine(study: int, **values: Any) -> Row:
    """One row of the machine measurements."""
    usual = {"rr_interval": 1000, "qrs_onset": 100, "qrs_end": 190, "t_end": 500, "p_onset": 10, "p_end": 60}
    return {"study_id": study, **usual, "p_axis": 50, "qrs_axis": 40, "t_axis": 30, **values}


class Tree:
    """A raw folder of tables; those that a test does not give hold one harmless row or none."""

    def __init__(self, folder: Path, **tables: Sequence[Row]) -> None:
        self.folder = folder
        rows: dict[str, Sequence[Row]] = {
            "records_w_diag_icd10.csv": [ecg(1)],
            "d_labitems.csv": [{"itemid": item, "label": label} for item, label in LAB_ITEMS.items()],
            "d_items.csv": [{"itemid": item, "label": label} for item, label in CHART_ITEMS.items()],
        }
        given = {"records": "records_w_diag_icd10.csv", "measurements": "machine_measurements.csv"}
        rows |= {given.get(name, f"{name}.csv"): content for name, content in tables.items()}
        for name in HEADERS:
            self.put(name, rows.get(name, []))

    def put(self, name: str, rows: Sequence[Row], header: Sequence[str] = ()) -> None:
        """Write one table."""
        columns = header or tuple(dict.fromkeys([*HEADERS[name], *(column for row in rows for column in row)]))
        with (self.folder / name).open("w", encoding="utf-8", newline="") as handle:
            table = csv.DictWriter(handle, columns, restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(rows)

    @property
    def engine(self) -> Engine:
        """Does steps in a folder below the tree."""
        return Engine(self.folder / "work", SMALL)

    @property
    def tables(self) -> Mapping[sources.TableSpec, sources.Source]:
        """The nine tables, checked."""
        return sources.open_tables(self.folder, self.folder / "work")

    def records(self) -> Result:
        """The records table."""
        return read_records(self.engine, self.tables[sources.RECORDS])

    def chart(self) -> Result:
        """The wanted chart events."""
        tables = self.tables
        return read_chart(self.engine, tables[sources.CHART_EVENTS], tables[sources.CHART_ITEMS], self.records())

    def sizes(self, min_chart_count: int = 1) -> Result:
        """Heights, weights, body mass indices after clipping."""
        return biometrics(self.engine, read_omr(self.engine, self.tables[sources.OMR]), self.chart(), min_chart_count)

    def vitals(self, min_chart_count: int = 1) -> Result:
        """Vital signs after clipping."""
        own = read_vitals(self.engine, self.tables[sources.VITAL_SIGN])
        return vital_signs(self.engine, own, self.chart(), min_chart_count)

    def labs(self, min_chart_count: int = 1) -> Result:
        """Lab values after clipping."""
        tables = self.tables
        own = read_labs(self.engine, tables[sources.LAB_EVENTS], tables[sources.LAB_ITEMS])
        return lab_values(self.engine, own, self.chart(), self.records(), min_chart_count)

    def near_sizes(self) -> dict[str, float]:
        """Nearest sizes of the first ECG, by name."""
        return _first(nearest_by_day(self.engine, "biometrics", self.sizes(), self.records()))

    def near_vitals(self) -> dict[str, float]:
        """Nearest vital signs of the first ECG, by name."""
        return _first(nearest_by_time(self.engine, "vital_signs", self.vitals(), self.records()))

    def near_labs(self) -> dict[str, float]:
        """Nearest lab values of the first ECG, by name."""
        return _first(nearest_by_time(self.engine, "lab_values", self.labs(), self.records()))

    def derive(self, min_icd_count: int = 1, min_chart_count: int = 1) -> Derived:
        """Everything."""
        return derive(self.folder, self.folder / "work", min_icd_count, min_chart_count, SMALL)


def rows(result: Result) -> list[dict[str, Any]]:
    """The rows of a step."""
    found: list[dict[str, Any]] = pq.read_table(result.path).to_pylist()
    return found


def values(result: Result, name: str) -> list[float]:
    """The values of one kind, sorted."""
    return sorted(row["value"] for row in rows(result) if row["name"] == name)


def targets(derived: Derived) -> dict[int, dict[str, Any]]:
    """The derived row of each study."""
    return {row["study_id"]: row for row in pq.read_table(derived.path).to_pylist()}


def _first(result: Result) -> dict[str, float]:
    return {row["name"]: row["value"] for row in rows(result) if row["record"] == 0}
