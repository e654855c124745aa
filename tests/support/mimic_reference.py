"""The MIMIC-IV-ECG derivation a second time: slow, row by row where it decides, in pandas and plain Python.

Written from the rules alone, without the code under test: no name, constant or helper is shared with it.
"""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

EVENTS = [
    "deterioration_severe_hypoxemia",
    "deterioration_ecmo",
    "deterioration_vasopressors",
    "deterioration_inotropes",
    "deterioration_mechanical_ventilation",
    "deterioration_cardiac_arrest",
    "deterioration_icu_24h",
    "deterioration_icu_stay",
    "deterioration_mortality_1d",
    "deterioration_mortality_7d",
    "deterioration_mortality_28d",
    "deterioration_mortality_90d",
    "deterioration_mortality_180d",
    "deterioration_mortality_365d",
    "deterioration_mortality_stay",
]
SIZES = ["Height (Inches)", "Weight (Lbs)", "BMI (kg/m2)"]
FEATURES = ["RR", "QRS", "QT", "QTc", "P_wave_axis", "QRS_axis", "T_wave_axis"]
LABS = [
    "PT",
    "Albumin",
    "Anion Gap",
    "Bicarbonate",
    "Bilirubin, Total",
    "Calcium, Total",
    "Creatinine",
    "Ferritin",
    "Urea Nitrogen",
    "Hematocrit",
    "Hemoglobin",
    "Lymphocytes",
    "MCHC",
    "RDW",
    "Red Blood Cells",
    "RDW-SD",
    "Creatine Kinase (CK)",
    "NTproBNP",
]
VITALS = ["dbp", "heartrate", "o2sat", "resprate", "sbp", "temperature"]
MEASURED = ["age", *SIZES, *FEATURES, *LABS, *VITALS]
ITEMS = [
    *(50963, 51006, 52647, 50811, 51222, 51640, 50912, 52546, 50924, 51221, 51480, 51638, 51639, 52028, 50862, 53085),
    *(52172, 50868, 52500, 51277, 50882, 50885, 53089, 51237, 51675, 51279, 51274, 52921, 50910, 51249, 50893, 51244),
]


def reference(folder: Path, min_icd_count: int, min_chart_count: int) -> tuple[pd.DataFrame, list[str]]:
    """Return one row per used ECG, indexed by study_id, and the names of the kept codes.

    Columns: strat_fold, labels (set of kept codes), the fifteen outcomes, sex, the measured values under
    "measured <name>" and their z-scores under the name.
    """
    records = _table(folder, "records_w_diag_icd10.csv")
    records["ecg_time"] = pd.to_datetime(records["ecg_time"])
    records["raw_codes"] = [ast.literal_eval(cell) for cell in records["all_diag_all"]]
    records["codes"] = [_labels(codes) for codes in records["raw_codes"]]
    counts: dict[str, int] = {}
    for codes in records["codes"]:
        for code in codes:
            counts[code] = counts.get(code, 0) + 1
    kept = [code for code, count in counts.items() if count >= min_icd_count]
    records["labels"] = [codes & set(kept) for codes in records["codes"]]
    limit = records["fold"].max() - 1
    selected = []
    for _, row in records.iterrows():
        usable = bool(row["ecg_taken_in_ed"]) and len(row["raw_codes"]) > 0
        selected.append(usable and (row["fold"] < limit or row["ecg_no_within_stay"] == 0))
    used = records[selected].copy().set_index("study_id", drop=False)
    used = used.join(_outcomes(folder)).join(_features(folder))
    used["sex"] = [{"F": 0.0, "M": 1.0}.get(gender, math.nan) for gender in used["gender"]]
    chart = _chart(folder, set(records["subject_id"]), min_chart_count)
    for values, days in ((_sizes(folder, chart), True), (_vitals(folder, chart), False)):
        _match(used, values, days)
    _match(used, _labs(folder, chart, set(records["subject_id"])), False)
    for name in MEASURED:
        used[f"measured {name}"] = used[name].astype(float)
        train = used.loc[used["strat_fold"] <= 17, name].dropna().astype(float).to_numpy()
        spread = train.std() if len(train) else math.nan
        used[name] = (used[name].astype(float) - (train.mean() if len(train) else math.nan)) / (spread or 1.0)
    columns = ["strat_fold", "labels", *EVENTS, "sex", *(f"measured {name}" for name in MEASURED), *MEASURED]
    return used[columns], kept


def _table(folder: Path, name: str) -> pd.DataFrame:
    (path,) = [p for p in folder.rglob("*") if p.name in (name, f"{name}.gz")]
    return pd.read_csv(path, low_memory=False)


def _labels(codes: list[str]) -> set[str]:
    found = set()
    for code in codes:
        short = code.strip()[:5]
        while short.endswith("X"):
            short = short[:-1]
        for length in range(3, len(short) + 1):
            found.add(short[:length])
    return found


def _outcomes(folder: Path) -> pd.DataFrame:
    table = _table(folder, "mds_ed.csv")
    table["general_intime"] = pd.to_datetime(table["general_intime"])
    best: dict[int, Any] = {}
    for _, row in table.iterrows():
        study = int(row["general_study_id"])
        if study not in best or row["general_intime"] < best[study]["general_intime"]:
            best[study] = row
    rows = {s: {n: math.nan if row[n] == -999 else float(row[n]) for n in EVENTS} for s, row in best.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=EVENTS)


def _features(folder: Path) -> pd.DataFrame:
    table = _table(folder, "machine_measurements.csv")
    for name in ("p_axis", "qrs_axis", "t_axis"):
        table[name] = [math.nan if value < -360 or value > 360 else value for value in table[name]]
    for name in ("p_onset", "p_end", "qrs_onset", "qrs_end", "t_end", "rr_interval"):
        table[name] = [math.nan if value < 0 or value > 5000 else value for value in table[name]]
    qt = table["t_end"] - table["qrs_onset"]
    corrected = [
        math.nan if rr == 0 or math.isnan(rr) else value / math.sqrt(rr / 1000)
        for value, rr in zip(qt, table["rr_interval"], strict=True)
    ]
    columns = {"RR": table["rr_interval"], "QRS": table["qrs_end"] - table["qrs_onset"], "QT": qt, "QTc": corrected}
    columns |= {"P_wave_axis": table["p_axis"], "QRS_axis": table["qrs_axis"], "T_wave_axis": table["t_axis"]}
    return pd.DataFrame(columns).set_index(table["study_id"])


def _chart(folder: Path, subjects: set[int], min_count: int) -> pd.DataFrame:
    table = _table(folder, "chartevents.csv").merge(_table(folder, "d_items.csv")[["itemid", "label"]], on="itemid")
    table = table[table["subject_id"].isin(subjects)]
    counts = table["label"].value_counts()
    return table[table["label"].isin(counts[counts >= min_count].index)].copy()


def _rows(table: pd.DataFrame, time: str, name: Any, value: Any) -> pd.DataFrame:
    frame = {"subject_id": table["subject_id"], "time": pd.to_datetime(table[time]), "name": name, "value": value}
    return pd.DataFrame(frame)


def _sizes(folder: Path, chart: pd.DataFrame) -> pd.DataFrame:
    omr = _table(folder, "omr.csv")
    omr = omr[omr["result_name"].isin(SIZES)]
    parts = [_rows(omr, "chartdate", omr["result_name"], pd.to_numeric(omr["result_value"], errors="coerce"))]
    weights = chart[chart["label"].isin(["Daily Weight", "Admission Weight (Kg)"])]
    parts.append(_rows(weights, "storetime", "Weight (Lbs)", weights["valuenum"] * 2.20462))
    heights = chart[chart["label"].isin(["Height (cm)", "Height"])]
    inches = np.where(heights["label"] == "Height", heights["valuenum"], heights["valuenum"] * 0.393701)
    parts.append(_rows(heights, "storetime", "Height (Inches)", inches))
    table = pd.concat(parts, ignore_index=True)
    high = {name: table.loc[table["name"] == name, "value"].quantile(0.99) for name in SIZES}
    table = table[[value <= high[name] for name, value in zip(table["name"], table["value"], strict=True)]]
    low = {name: table.loc[table["name"] == name, "value"].quantile(0.01) for name in SIZES}
    return table[[value >= low[name] for name, value in zip(table["name"], table["value"], strict=True)]]


def _both_bounds(table: pd.DataFrame) -> pd.DataFrame:
    kept = []
    for name in table["name"].unique():
        of_name = table[table["name"] == name]
        low, high = of_name["value"].quantile(0.01), of_name["value"].quantile(0.99)
        kept.append(of_name[(of_name["value"] >= low) & (of_name["value"] <= high)])
    return pd.concat(kept).sort_index(kind="stable") if kept else table


def _vitals(folder: Path, chart: pd.DataFrame) -> pd.DataFrame:
    table = _table(folder, "vitalsign.csv")
    parts = [_rows(table, "charttime", name, table[name]) for name in VITALS]
    of_department = pd.concat(parts, ignore_index=True).sort_values("time", kind="stable")
    names = {"Heart Rate": "heartrate", "Respiratory Rate": "resprate", "O2 saturation pulseoxymetry": "o2sat"}
    names |= {"Temperature Fahrenheit": "temperature", "Temperature Celsius": "temperature"}
    rows = chart[chart["label"].isin(names)]
    fahrenheit = np.where(rows["label"] == "Temperature Celsius", (rows["valuenum"] * 9 / 5) + 32, rows["valuenum"])
    of_chart = _rows(rows, "storetime", rows["label"].map(names), fahrenheit)
    return _both_bounds(pd.concat([of_department, of_chart], ignore_index=True).dropna(subset=["value"]))


def _labs(folder: Path, chart: pd.DataFrame, subjects: set[int]) -> pd.DataFrame:
    items = _table(folder, "d_labitems.csv")
    table = _table(folder, "labevents.csv")
    table = table[table["itemid"].isin(ITEMS) & table["valuenum"].notna()]
    table = table.drop(columns="value").merge(items[["itemid", "label"]], on="itemid")
    table = table.rename(columns={"label": "name", "valuenum": "value"})
    parts = []
    for _, of_label in table.groupby("name", sort=False):
        counts = of_label["itemid"].value_counts()
        usual = min(counts[counts == counts.max()].index)
        parts.append(of_label[of_label["itemid"] == usual])
    table = _both_bounds(pd.concat(parts).sort_index())
    parts = []
    for _, of_item in table.groupby("itemid", sort=False):
        counts = of_item["valueuom"].dropna().value_counts()
        if len(counts):
            parts.append(of_item[of_item["valueuom"] == min(counts[counts == counts.max()].index)])
    table = pd.concat(parts).sort_index()
    table = table[table["subject_id"].isin(subjects)]
    names = {"Creatinine (serum)": "Creatinine", "Hemoglobin": "Hemoglobin", "Hematocrit (serum)": "Hematocrit"}
    names |= {"Total Bilirubin": "Bilirubin, Total", "Albumin": "Albumin"}
    rows = chart[chart["label"].isin(names)]
    rows = rows[(rows["label"] == "Hemoglobin") | rows["valueuom"].notna()]
    both = [
        _rows(table, "storetime", table["name"], table["value"]),
        _rows(rows, "storetime", rows["label"].map(names), rows["valuenum"]),
    ]
    return _both_bounds(pd.concat(both, ignore_index=True).dropna(subset=["value"]))


def _match(used: pd.DataFrame, values: pd.DataFrame, days: bool) -> None:
    """For every ECG and kind take the first value of the smallest distance, in the order of the rows."""
    for name in SIZES if days else sorted(set(values["name"])):
        if name not in used:
            used[name] = math.nan
    by_subject = dict(list(values.groupby("subject_id", sort=False)))
    for study, ecg in used.iterrows():
        best: dict[str, float] = {}
        for row in by_subject.get(ecg["subject_id"], values.iloc[:0]).itertuples():
            if pd.isna(row.time):
                continue
            gap = abs(row.time - ecg["ecg_time"])
            distance = gap.days if days else gap.total_seconds()
            if distance <= (30 if days else 3600) and distance < best.get(row.name, math.inf):
                best[row.name] = distance
                used.at[study, row.name] = row.value
    for name in LABS + VITALS:
        if name not in used:
            used[name] = math.nan
