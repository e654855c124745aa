"""Georgia 12-lead ECG database (Perez Alday et al., Physiol Meas 2020, 10.1088/1361-6579/abc960): 12 leads, 500 Hz.

Raw folder: part `georgia` of the PhysioNet/CinC Challenge 2021; layouts, labels and folds as in
`dataset_scripts.published._challenge`. Records under ten seconds stand in no split.
"""

from __future__ import annotations

from dataset_scripts.published._challenge import challenge_part

DATASET = challenge_part(
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
        "Copies from the Challenge 2020 name a file where the record's name belongs, and some state a gain of 4880 "
        "units per mV instead of 1000, which makes signals five times too small. They are refused as unreadable.",
        "Labels overlap: premature ventricular complexes (164884008) and ventricular ectopic beats (17338001), bundle "
        "branch block and its kinds, are separate labels, as the codes are.",
    ),
    records=10_344,
    labels=50,
)
