"""The four parts of the PhysioNet/CinC Challenge 2021 that are benchmarked, all 12 leads at 500 Hz.

cpsc2018 and cpsc-extra (Liu et al., 10.1166/jmihi.2018.2442), georgia (Perez Alday et al., 10.1088/1361-6579/abc960),
ningbo (Zheng et al., 10.1038/s41598-020-59821-7). Layouts, labels and folds: `dataset_scripts.published._challenge`.
"""

from __future__ import annotations

from dataset_scripts.published._challenge import challenge_part

CPSC2018 = challenge_part(
    "cpsc2018",
    "cpsc_2018",
    title="CPSC2018",
    citation=(
        "Liu, F., Liu, C., Zhao, L., et al. An open access database for evaluating the algorithms of electrocardiogram "
        "rhythm and morphology abnormality detection. Journal of Medical Imaging and Health Informatics 8(7), 2018, "
        "10.1166/jmihi.2018.2442."
    ),
    description=(
        "6,877 ECGs of eleven Chinese hospitals, twelve leads at 500 Hz, 6 to 144 seconds long: the public training "
        "set of the China Physiological Signal Challenge 2018, in the form of the PhysioNet/CinC Challenge 2021. Each "
        "record carries one to three of nine labels, given by experts. Age and sex stand in the header of each record."
    ),
    problems=(
        "Only nine findings were labelled. A record without a label may show any other finding.",
        "The published run code reads columns that the published preparation does not write, so the authors' own table "
        "came from other code. The nine labels of the count rule are used here.",
        "Labels are counted and folds made before records under ten seconds leave, so folds differ a little in size.",
    ),
    records=6877,
    labels=9,
)

CPSC_EXTRA = challenge_part(
    "cpsc-extra",
    "cpsc_2018_extra",
    title="CPSC-Extra",
    citation=(
        "Liu, F., Liu, C., Zhao, L., et al. An open access database for evaluating the algorithms of electrocardiogram "
        "rhythm and morphology abnormality detection. Journal of Medical Imaging and Health Informatics 8(7), 2018, "
        "10.1166/jmihi.2018.2442."
    ),
    description=(
        "3,453 ECGs, twelve leads at 500 Hz, 8 to 98 seconds long, that were collected for the China Physiological "
        "Signal Challenge 2018 and not used there, published for the PhysioNet/CinC Challenges 2020 and 2021. Names "
        "run from Q0001 to Q3581 with gaps. Age and sex stand in the header of each record."
    ),
    problems=(
        "Labels are counted before records under ten seconds leave. Ventricular fibrillation has exactly 10 records, "
        "so it stays a label and may have fewer than ten positives in the splits; its score rests on one or two.",
        "Labels overlap: ventricular premature beats and premature ventricular contractions, myocardial infarction, "
        "old and anterior myocardial infarction, are separate labels, as the codes are.",
    ),
    records=3453,
    labels=33,
)

GEORGIA = challenge_part(
    "georgia",
    "georgia",
    title="Georgia",
    citation=(
        "Perez Alday, E. A., Gu, A., Shah, A. J., et al. Classification of 12-lead ECGs: the PhysioNet/Computing in "
        "Cardiology Challenge 2020. Physiological Measurement 41(12), 124003, 2020, 10.1088/1361-6579/abc960."
    ),
    description=(
        "10,344 ECGs of Emory University, Atlanta, from a large population of the southeastern United States: twelve "
        "leads at 500 Hz, mostly ten seconds, some five. Published for the PhysioNet/CinC Challenges 2020 and 2021. "
        "Age and sex stand in the header of each record."
    ),
    problems=(
        "Labels are counted and folds made before records under ten seconds leave, so labels near the limit may end "
        "with fewer than ten positives: r wave abnormal (10 records), suspect arm ecg leads reversed (12).",
        "Copies from the Challenge 2020 name a file where the record's name belongs, which WFDB software refuses, and "
        "some state a gain of 4880 units per mV instead of 1000, which makes signals five times too small. They are "
        "read with the gain of release 1.0.3 and a remark.",
        "Labels overlap: premature ventricular complexes (164884008) and ventricular ectopic beats (17338001), bundle "
        "branch block and its kinds, are separate labels, as the codes are.",
    ),
    records=10_344,
    labels=50,
)

# No length rule: all records last ten seconds. Labels are abbreviations, as in the published table of this part.
NINGBO = challenge_part(
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

DATASETS = (CPSC2018, CPSC_EXTRA, GEORGIA, NINGBO)
