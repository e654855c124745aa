"""The 71 SCP-ECG statements of PTB-XL: kinds, class and subclass as published, descriptions in our words."""

from __future__ import annotations

from typing import NamedTuple


class Statement(NamedTuple):
    """One row of scp_statements.csv.

    Attributes:
        kinds: any of d (diagnostic), f (form), r (rhythm).
        superclass: the diagnostic class, or "".
        subclass: the diagnostic subclass, or "".
        description: what it says.
    """

    kinds: str
    superclass: str
    subclass: str
    description: str


_ROWS = """
NDT      df STTC STTC         T wave change of no diagnostic weight
NST_     df STTC NST_         ST change of no specific kind
DIG      df STTC STTC         effect of digitalis
LNGQT    df STTC STTC         prolonged QT interval
NORM     d  NORM NORM         normal tracing
IMI      d  MI   IMI          inferior infarction
ASMI     d  MI   AMI          anteroseptal infarction
LVH      d  HYP  LVH          left ventricular hypertrophy
LAFB     d  CD   LAFB/LPFB    left anterior fascicular block
ISC_     d  STTC ISC_         ischaemic ST-T change, site not given
IRBBB    d  CD   IRBBB        incomplete right bundle branch block
1AVB     d  CD   _AVB         first degree atrioventricular block
IVCD     d  CD   IVCD         intraventricular conduction delay of no specific kind
ISCAL    d  STTC ISCA         ischaemic change, anterolateral
CRBBB    d  CD   CRBBB        complete right bundle branch block
CLBBB    d  CD   CLBBB        complete left bundle branch block
ILMI     d  MI   IMI          inferolateral infarction
LAO/LAE  d  HYP  LAO/LAE      left atrial overload or enlargement
AMI      d  MI   AMI          anterior infarction
ALMI     d  MI   AMI          anterolateral infarction
ISCIN    d  STTC ISCI         ischaemic change, inferior
INJAS    d  MI   AMI          subendocardial injury, anteroseptal
LMI      d  MI   LMI          lateral infarction
ISCIL    d  STTC ISCI         ischaemic change, inferolateral
LPFB     d  CD   LAFB/LPFB    left posterior fascicular block
ISCAS    d  STTC ISCA         ischaemic change, anteroseptal
INJAL    d  MI   AMI          subendocardial injury, anterolateral
ISCLA    d  STTC ISCA         ischaemic change, lateral
RVH      d  HYP  RVH          right ventricular hypertrophy
ANEUR    d  STTC STTC         ST-T change that suggests a ventricular aneurysm
RAO/RAE  d  HYP  RAO/RAE      right atrial overload or enlargement
EL       d  STTC STTC         effect of electrolytes or drugs
WPW      d  CD   WPW          Wolff-Parkinson-White pattern
ILBBB    d  CD   ILBBB        incomplete left bundle branch block
IPLMI    d  MI   IMI          inferoposterolateral infarction
ISCAN    d  STTC ISCA         ischaemic change, anterior
IPMI     d  MI   IMI          inferoposterior infarction
SEHYP    d  HYP  SEHYP        septal hypertrophy
INJIN    d  MI   IMI          subendocardial injury, inferior
INJLA    d  MI   AMI          subendocardial injury, lateral
PMI      d  MI   PMI          posterior infarction
3AVB     d  CD   _AVB         third degree atrioventricular block
INJIL    d  MI   IMI          subendocardial injury, inferolateral
2AVB     d  CD   _AVB         second degree atrioventricular block
ABQRS    f  -    -            abnormal QRS complex
PVC      f  -    -            ventricular premature complex
STD_     f  -    -            ST depression of no specific kind
VCLVH    f  -    -            voltage criteria for left ventricular hypertrophy
QWAVE    f  -    -            Q waves present
LOWT     f  -    -            low T waves
NT_      f  -    -            T wave change of no specific kind
PAC      f  -    -            atrial premature complex
LPR      f  -    -            prolonged PR interval
INVT     f  -    -            inverted T waves
LVOLT    f  -    -            low QRS voltage
HVOLT    f  -    -            high QRS voltage
TAB_     f  -    -            abnormal T waves
STE_     f  -    -            ST elevation of no specific kind
PRC(S)   f  -    -            premature complexes
SR       r  -    -            sinus rhythm
AFIB     r  -    -            atrial fibrillation
STACH    r  -    -            sinus tachycardia
SARRH    r  -    -            sinus arrhythmia
SBRAD    r  -    -            sinus bradycardia
PACE     r  -    -            working pacemaker
SVARR    r  -    -            supraventricular arrhythmia
BIGU     r  -    -            bigeminy
AFLT     r  -    -            atrial flutter
SVTAC    r  -    -            supraventricular tachycardia
PSVT     r  -    -            paroxysmal supraventricular tachycardia
TRIGU    r  -    -            trigeminy
"""


def _parse(line: str) -> tuple[str, Statement]:
    code, kinds, superclass, subclass, description = line.split(maxsplit=4)
    return code, Statement(kinds, superclass.strip("-"), subclass.strip("-"), description)


STATEMENTS: dict[str, Statement] = dict(map(_parse, _ROWS.strip().splitlines()))
"""Code -> statement, in the order of the published file."""
