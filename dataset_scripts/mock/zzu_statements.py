"""Statements and diseases of the mock ZZU pECG: codes and names as published, weights and findings our own.

AHA codes are those of Mason et al., Circulation 2007;115:1325-1332, with the letter of their category as ZZU pECG
writes them. Of the Chinese codes only some are published in the open; the others are made up, in the same form.
"""

from __future__ import annotations

from typing import NamedTuple


class Statement(NamedTuple):
    """One row of ECGCode.csv.

    Attributes:
        aha, chn: its codes, "" where a vocabulary has none.
        weight: how often it occurs.
        findings: what shows in the signal.
        description: its name.
    """

    aha: str
    chn: str
    weight: float
    findings: tuple[str, ...]
    description: str


class Disease(NamedTuple):
    """One row of DiseaseCode.csv.

    Attributes:
        code: ICD-10 code with the prefix that the release puts before some.
        weight: how often it occurs.
        statement: AHA code of the statement that such a child's ECG mostly carries.
        kind: disease type.
        category: disease category.
    """

    code: str
    weight: float
    statement: str
    kind: str
    category: str


_STATEMENTS = """
A1   A1   170 NORM,SR       Normal ECG
A2   A2    60 NORM,LPR      Otherwise normal ECG
C21  C13  220 STACH         Sinus tachycardia
C22  C14   95 SBRAD         Sinus bradycardia
C23  C15  195 SARRH         Sinus arrhythmia
C26  C18    8 2AVB          Sinus pause or arrest
D31  D22    8 PAC           Atrial premature complexes, nonconducted
D36  D27    8 PAC,LPR       Junctional premature complex(es)
D37  D28   18 SBRAD,LVOLT   Junctional escape complex(es)
E50  E48    6 AFIB          Atrial fibrillation
E51  E49    6 AFLT          Atrial flutter
E52  E50   16 SVTAC         Ectopic atrial tachycardia, unifocal
E54  E52   15 PSVT,LVOLT    Junctional tachycardia
E55  E53   10 PSVT          Supraventricular tachycardia
F61  F56    6 PRC(S)        Fusion complex(es)
F62  F57    6 BIGU          Ventricular escape complex(es)
G70  G63    6 TRIGU         Ventricular tachycardia
H80  H70   12 WPW,HVOLT     Short PR interva
H81  H71    6 AFLT,LVOLT    AV conduction ratio N:D
H82  -     14 1AVB          Prolonged PR interval
H83  H74    8 2AVB,LPR      Second-degree AV block, Mobitz type I(Wenckebach)
H84  H75    6 2AVB,HVOLT    Second-degree AV block, Mobitz type II
H85  H76    6 2AVB,IVCD     2:1 AV block
H86  H77    6 2AVB,LOWT     AV block, varying conduction
H87  H78    6 3AVB,LOWT     AV block, advanced (high-grade)
H88  H79   12 3AVB          AV block, complete (third-degree)
H89  H80    9 3AVB,HVOLT    AV dissociation
I101 I90   32 LAFB          Left anterior fascicular block
I102 I91    6 LPFB          Left posterior fascicular block
I104 I93    8 CLBBB         Left bundle-branch block
I105 I94   34 IRBBB         Incomplete right bundle-branch block
I106 I95   29 CRBBB         Right bundle-branch block
I107 I96   12 IVCD          Intraventricular conduction delay
I108 I97   11 WPW           Ventricular preexcitation
J120 J100  34 LPFB,LVOLT    Right-axis deviation
J121 J101  14 LAFB,HVOLT    Left-axis deviation
J124 J104   6 TRIGU,HVOLT   Electrical alternans
J125 -     28 LVOLT         Low voltage
K140 K115  18 LAO/LAE       Left atrial enlargement
K141 K116  20 RAO/RAE       Right atrial enlargement
K142 K117  35 LVH           Left ventricular hypertrophy
K143 K118  69 RVH           Right ventricular hypertrophy
L145 L121  33 STD_          ST deviation
L146 L122  88 ISC_          ST deviation with T-wave change
L147 L123 254 INVT          T-wave abnormality
L148 L124  43 LNGQT         Prolonged QT interval
L149 L125   6 DIG           Short QT interval
L150 L126  40 TAB_          Prominent U waves
L152 L128   6 TAB_,LNGQT    TU fusion
L155 L131  25 STE_          Early repolarization
M165 M135   6 ASMI          Anteroseptal MI
Suggests202 - 6 IRBBB,ANEUR Brugada abnormality
Suggests207 - 6 DIG,LOWT    Hypercalcemia
Suggests208 - 31 EL         Hyperkalemia
Suggests210 - 16 LNGQT,NT_  Hypocalcemia
Suggests211 - 15 TAB_,LOWT  Hypokalemia or drug effect
Suggests213 - 6 LAFB,IRBBB  Ostium primum ASD
Consider226 - 12 ISCAL      Ischemia
-    J106 80 VCLVH          Left ventricular high voltage
-    L129 30 QWAVE          Abnormal Q wave
-    L133 30 LNGQT,VCLVH    Prolonged QTc interval
-    L130  6 ABQRS          Osborn wave
-    H73  12 1AVB,VCLVH     First-degree AV block
-    D30  14 SVARR          Atrial escape complex(es)
"""

_MODIFIED = """
D30  D21  Modifier308 Occasional  20 PAC            Atrial premature complex(es)
F60  F55  Modifier310 Frequent    20 PVC            Ventricular premature complex(es)
L145 L121 Modifier362 Depression  30 ISCIN          ST deviation
L145 L121 Modifier363 Elevation   15 STE_,QWAVE     ST deviation
"""

_DISEASES = """
(F) I40.0   8 J125 Myocarditis | Fulminant myocarditis
I40.0      28 L147 Myocarditis | Viral myocarditis
I40.9       7 L146 Myocarditis | Acute myocarditis
I51.4      18 L145 Myocarditis | Myocarditis
I42.0       8 I104 Cardiomyopathy | Dilated cardiomyopathy
I42.2       3 K142 Cardiomyopathy | Hypertrophic cardiomyopathy
I42.9       2 I107 Cardiomyopathy | Cardiomyopathy
I42.8       2 I108 Cardiomyopathy | Noncompaction of the ventricular myocardium
M30.3      14 C21  Kawasaki disease | Kawasaki disease
Q21.0      65 K142 Congenital heart disease | Ventricular septal defect
Q21.1      66 I105 Congenital heart disease | Atrial septal defect
(FO) Q21.1 42 I105 Congenital heart disease | Atrial septal defect (Foramen ovale)
(OSD) Q21.1 8 I106 Congenital heart disease | Atrial septal defect (Ostium secundum defect )
Q21.2       5 I101 Congenital heart disease | Atrioventricular septal defect
Q21.3       4 K143 Congenital heart disease | Tetralogy of Fallot
Q24.3       2 K143 Congenital heart disease | Stenosis of right ventricular outflow tract
Q25.0      20 K140 Congenital heart disease | Patent ductus arteriosus
Q25.6       2 K141 Congenital heart disease | Stenosis of pulmonary artery
Q22.1       6 J120 Congenital heart disease | Pulmonary valve stenosis
"""


def _parse_statement(line: str) -> Statement:
    aha, chn, weight, findings, description = line.split(maxsplit=4)
    return Statement(aha.strip("-"), chn.strip("-"), float(weight), tuple(findings.split(",")), description)


def _parse_modified(line: str) -> Statement:
    aha, chn, modifier, word, weight, findings, description = line.split(maxsplit=6)
    return Statement(
        f"{aha}+{modifier}", f"{chn}+{word}", float(weight), tuple(findings.split(",")), f"{description}, {word}"
    )


def _parse_disease(line: str) -> Disease:
    left, category = (part.strip() for part in line.split("|"))
    prefix, rest = left.split(") ", 1) if left.startswith("(") else ("", left)
    code, weight, statement, kind = rest.split(maxsplit=3)
    return Disease(f"{prefix}) {code}" if prefix else code, float(weight), statement, kind, category)


STATEMENTS = tuple(map(_parse_statement, _STATEMENTS.strip().splitlines()))
"""The 58 statements that are labels of the benchmark, then some without AHA code."""

MODIFIED = tuple(map(_parse_modified, _MODIFIED.strip().splitlines()))
"""Statements that occur with a modifier and so are no labels."""

PLAIN_ROWS = (
    ("Atrial premature complex(es)", "D30", "D21"),
    ("Ventricular premature complex(es)", "F60", "F55"),
    ("Occasional", "Modifier308", "Occasional"),
    ("Frequent", "Modifier310", "Frequent"),
    ("Depression", "Modifier362", "Depression"),
    ("Elevation", "Modifier363", "Elevation"),
)
"""Further rows of ECGCode.csv: description, AHA, CHN."""

DISEASES = tuple(map(_parse_disease, _DISEASES.strip().splitlines()))
