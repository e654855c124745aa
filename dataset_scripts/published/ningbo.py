"""Ningbo First Hospital (Zheng et al., Scientific Reports 2020, 10.1038/s41598-020-59821-7): 12 leads, 10 s, 500 Hz.

Raw folder: part `ningbo` of the PhysioNet/CinC Challenge 2021; layouts, labels and folds as in
`dataset_scripts.published._challenge`. All records last ten seconds, so no length rule applies.
"""

from __future__ import annotations

from dataset_scripts.published._challenge import challenge_part

DATASET = challenge_part(
    "ningbo",
    "ningbo",
    title="Ningbo",
    citation=(
        "Zheng, J., Chu, H., Struppa, D., et al. Optimal Multi-Stage Arrhythmia Classification Approach. Scientific "
        "Reports 10, 2898, 2020, 10.1038/s41598-020-59821-7."
    ),
    description=(
        "34,905 resting ECGs of Ningbo First Hospital, China, twelve leads, ten seconds at 500 Hz, published for the "
        "PhysioNet/CinC Challenge 2021 as the second half of the Chapman-Shaoxing and Ningbo database (the records "
        "JS10647 to JS45551; JS00001 to JS10646 are Chapman-Shaoxing). Physicians labelled rhythms and other findings; "
        "the Challenge mapped them to SNOMED CT codes. Age and sex stand in the header of each record."
    ),
    problems=(
        "The label AF is atrial flutter (164890007). It has 7,615 records and atrial fibrillation (AFIB) none, which "
        "no hospital sees: flutter and fibrillation seem to be one label here, and scores on AF are for both.",
        "The label STE is code 164930006, which SNOMED CT calls an abnormal ST interval; it is not ST elevation, whose "
        "label STTU has no record.",
        "Code 251146004 carries three labels in the published table. The first one wins, so LVQRSCL and LVQRSLL never "
        "occur and LQRSV holds all three. Codes 164909002 and 733534002 both give CLBBB.",
        "Code 106068003 (atrial rhythm, 215 records) has no code in the published table; it is added by hand as ARH.",
        "JPT has exactly 10 records and AIVR 14: a copy of the data that lacks a few records loses these labels.",
    ),
    records=34_905,
    labels=68,
    min_samples=None,
    abbreviated=True,
)
