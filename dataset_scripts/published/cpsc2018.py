"""CPSC2018 (Liu et al., J Med Imaging Health Inform 2018, 10.1166/jmihi.2018.2442): 12 leads, 6 to 144 s, 500 Hz.

Raw folder: part `cpsc_2018` of the PhysioNet/CinC Challenge 2021; layouts, labels and folds as in
`dataset_scripts.published._challenge`. Records under ten seconds stand in no split.
"""

from __future__ import annotations

from dataset_scripts.published._challenge import challenge_part

DATASET = challenge_part(
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
