"""The names that the derivation knows: targets by group, item ids, labels of chart events, units.

Facts of the published preparation (arXiv 2509.25095, `mimic_preprocessing.py`) and of the MIMIC-IV dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DETERIORATION = (
    "deterioration_severe_hypoxemia",
    "deterioration_ecmo",
    "deterioration_vasopressors",
    "deterioration_inotropes",
    "deterioration_mechanical_ventilation",
    "deterioration_cardiac_arrest",
)
ICU = ("deterioration_icu_24h", "deterioration_icu_stay")
MORTALITY = tuple(f"deterioration_mortality_{when}" for when in ("1d", "7d", "28d", "90d", "180d", "365d", "stay"))
EVENTS = DETERIORATION + ICU + MORTALITY
"""The fifteen columns of mds_ed.csv, in the order of the file."""

BIOMETRICS = ("Height (Inches)", "Weight (Lbs)", "BMI (kg/m2)")
ECG_FEATURES = ("RR", "QRS", "QT", "QTc", "P_wave_axis", "QRS_axis", "T_wave_axis")
LAB_VALUES = (
    *("PT", "Albumin", "Anion Gap", "Bicarbonate", "Bilirubin, Total", "Calcium, Total", "Creatinine", "Ferritin"),
    *("Urea Nitrogen", "Hematocrit", "Hemoglobin", "Lymphocytes", "MCHC", "RDW", "Red Blood Cells", "RDW-SD"),
    *("Creatine Kinase (CK)", "NTproBNP"),
)
VITAL_SIGNS = ("dbp", "heartrate", "o2sat", "resprate", "sbp", "temperature")
MEASURED = ("age", *BIOMETRICS, *ECG_FEATURES, *LAB_VALUES, *VITAL_SIGNS)
"""The 35 regression targets in the published order."""

CARDIAC_CHAPTER = "I"
"""First letter of the codes of ICD-10 chapter IX, diseases of the circulatory system."""

# Item ids of labevents: several per label (chemistry, blood gas, newer analysers); one of each label is used.
LAB_ITEMS = frozenset(
    {50811, 50862, 50868, 50882, 50885, 50893, 50910, 50912, 50924, 50963, 51006, 51221, 51222, 51237, 51244, 51249}
    | {51274, 51277, 51279, 51480, 51638, 51639, 51640, 51675, 52028, 52172, 52500, 52546, 52647, 52921, 53085, 53089}
)

# Label of a chart event -> (target, factor applied to its value).
# The published factors, cut as they are there: more digits would give other values. Weights charted in pounds are not
# among them, as published.
CHART_WEIGHTS: Mapping[str, float] = MappingProxyType({"Daily Weight": 2.20462, "Admission Weight (Kg)": 2.20462})
CHART_HEIGHTS: Mapping[str, float] = MappingProxyType({"Height (cm)": 0.393701, "Height": 1.0})
CHART_VITALS: Mapping[str, str] = MappingProxyType(
    {
        "Temperature Fahrenheit": "temperature",
        "Temperature Celsius": "temperature",
        "Heart Rate": "heartrate",
        "Respiratory Rate": "resprate",
        "O2 saturation pulseoxymetry": "o2sat",
    }
)
CHART_LABS: Mapping[str, str] = MappingProxyType(
    {
        "Creatinine (serum)": "Creatinine",
        "Hemoglobin": "Hemoglobin",
        "Hematocrit (serum)": "Hematocrit",
        "Total Bilirubin": "Bilirubin, Total",
        "Albumin": "Albumin",
    }
)
CHART_LAB_WITHOUT_UNIT = "Hemoglobin"
"""The one lab value of chartevents whose rows count without a unit."""

CHART_LABELS = (*CHART_WEIGHTS, *CHART_HEIGHTS, *CHART_VITALS, *CHART_LABS)

UNITS: Mapping[str, str] = MappingProxyType(
    {
        **{"age": "years", "Height (Inches)": "in", "Weight (Lbs)": "lb", "BMI (kg/m2)": "kg/m2"},
        **dict.fromkeys(("RR", "QRS", "QT", "QTc"), "ms"),
        **dict.fromkeys(("P_wave_axis", "QRS_axis", "T_wave_axis"), "degrees"),
        **{"dbp": "mmHg", "heartrate": "1/min", "o2sat": "%", "resprate": "1/min", "sbp": "mmHg", "temperature": "F"},
    }
)
"""The unit of each measured target but lab values, whose unit the data tell."""

# A number in the file, which any statistic would take for a value.
MISSING_EVENT = -999.0
FOLDS = 20

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "deterioration": DETERIORATION,
        "icu": ICU,
        "mortality": MORTALITY,
        "sex": ("sex",),
        "age": ("age",),
        "biometrics": BIOMETRICS,
        "ecg_features": ECG_FEATURES,
        "lab_values": LAB_VALUES,
        "vital_signs": VITAL_SIGNS,
    }
)
"""Target groups with fixed names; the ICD-10 codes make up the groups `cardiac` and `noncardiac`."""
