"""CPSC-Extra (Liu et al., J Med Imaging Health Inform 2018, 10.1166/jmihi.2018.2442): 12 leads, 8 to 98 s, 500 Hz.

Raw folder: part `cpsc_2018_extra` of the PhysioNet/CinC Challenge 2021; layouts, labels and folds as in
`dataset_scripts.published._challenge`. Records under ten seconds stand in no split.
"""

from __future__ import annotations

from dataset_scripts.published._challenge import challenge_part

DATASET = challenge_part(
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
