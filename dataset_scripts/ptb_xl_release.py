"""Facts about PTB-XL 1.0.3: occurrences of every label over all records, label hashes, folds."""

from __future__ import annotations

from dataset_scripts.provenance import Release, split_sizes

ALL = {
    "1AVB": 793, "2AVB": 14, "3AVB": 16, "ABQRS": 3327, "AFIB": 1514, "AFLT": 73, "ALMI": 288, "AMI": 353, "ANEUR":
    104, "ASMI": 2357, "BIGU": 82, "CLBBB": 536, "CRBBB": 541, "DIG": 181, "EL": 96, "HVOLT": 62, "ILBBB": 77,
    "ILMI": 478, "IMI": 2676, "INJAL": 145, "INJAS": 214, "INJIL": 15, "INJIN": 18, "INJLA": 17, "INVT": 294,
    "IPLMI": 51, "IPMI": 33, "IRBBB": 1118, "ISCAL": 659, "ISCAN": 44, "ISCAS": 169, "ISCIL": 179, "ISCIN": 218,
    "ISCLA": 140, "ISC_": 1272, "IVCD": 787, "LAFB": 1623, "LAO/LAE": 426, "LMI": 201, "LNGQT": 117, "LOWT": 438,
    "LPFB": 177, "LPR": 340, "LVH": 2132, "LVOLT": 182, "NDT": 1825, "NORM": 9514, "NST_": 767, "NT_": 423, "PAC":
    398, "PACE": 294, "PMI": 17, "PRC(S)": 10, "PSVT": 24, "PVC": 1143, "QWAVE": 548, "RAO/RAE": 99, "RVH": 126,
    "SARRH": 772, "SBRAD": 637, "SEHYP": 29, "SR": 16748, "STACH": 826, "STD_": 1009, "STE_": 28, "SVARR": 157,
    "SVTAC": 27, "TAB_": 35, "TRIGU": 20, "VCLVH": 875, "WPW": 79,
}  # fmt: skip
FORM = [
    "ABQRS",
    "DIG",
    "HVOLT",
    "INVT",
    "LNGQT",
    "LOWT",
    "LPR",
    "LVOLT",
    "NDT",
    "NST_",
    "NT_",
    "PAC",
    "PRC(S)",
    "PVC",
    "QWAVE",
    "STD_",
    "STE_",
    "TAB_",
    "VCLVH",
]
RHYTHM = ["AFIB", "AFLT", "BIGU", "PACE", "PSVT", "SARRH", "SBRAD", "SR", "STACH", "SVARR", "SVTAC", "TRIGU"]
BOTH = ["DIG", "LNGQT", "NDT", "NST_"]
"""Statements that are diagnostic and of form."""

SUPER = {"CD": 5761, "HYP": 2812, "MI": 6863, "NORM": 9514, "STTC": 5771}
SUB = {
    "AMI": 3374, "CLBBB": 536, "CRBBB": 541, "ILBBB": 77, "IMI": 3271, "IRBBB": 1118, "ISCA": 1012, "ISCI": 397,
    "ISC_": 1272, "IVCD": 787, "LAFB/LPFB": 1800, "LAO/LAE": 426, "LMI": 201, "LVH": 2132, "NORM": 9514, "NST_":
    767, "PMI": 17, "RAO/RAE": 99, "RVH": 126, "SEHYP": 29, "STTC": 2323, "WPW": 79, "_AVB": 823,
}  # fmt: skip

RELEASE = Release(
    version="1.0.3",
    records=21_799,
    label_counts={
        "label_all": ALL,
        "label_diag": {name: count for name, count in ALL.items() if name not in {*FORM, *RHYTHM} or name in BOTH},
        "label_form": {name: ALL[name] for name in FORM},
        "label_rhythm": {name: ALL[name] for name in RHYTHM},
        "label_sub": SUB,
        "label_super": SUPER,
    },
    label_numbers={
        "label_all": 71,
        "label_diag": 44,
        "label_form": 19,
        "label_rhythm": 12,
        "label_sub": 23,
        "label_super": 5,
    },
    label_hashes={
        "label_all": "d1e8d45a3fb09bd284f4ec7820318789df5e6d46b763d2ca4dbd158faf45e962",
        "label_diag": "b3acb79d8c7f0be3056cb32e48876af79726b7046abb543ff309a4e2e7aa1db4",
        "label_form": "755efef33e1702ec02cf1936e1fa455db166ab8da915fa07c70a10ef7096b8d4",
        "label_rhythm": "50198f24c06e7ca2af642e2549b9074ca6435bcff3d30d3fc73a4e517b09ea43",
        "label_sub": "2c423d45852ed3bd384b7bea0e9bb41e3395d1ce69ad2907f5d7509349563d69",
        "label_super": "fac0019a44c20e2344d52831e136834d5d34f5cfb1a43a446d9226db9688c8a6",
    },
    fold_sizes=(2175, 2181, 2192, 2174, 2174, 2173, 2176, 2173, 2183, 2198),
    fold_sha256="1e438abb8b5737e91871bd02a40302ac611c63e4f587bb12c0d95df1f4c7132b",
    split_sizes=split_sizes(17_418, 2_183, 2_198),
)
"""`label_super` and `label_sub` count a class once for every statement that maps to it."""

FIRST_RELEASE = Release(version="1.0.1", records=21_837)
"""38 records more; in which folds they stand is not known without its table."""
