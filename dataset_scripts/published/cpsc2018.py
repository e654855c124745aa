"""CPSC2018 (Liu et al., J Med Imaging Health Inform 2018, 10.1166/jmihi.2018.2442): 12 leads, 6 to 144 s, 500 Hz.

Raw folder: part `cpsc_2018` of the PhysioNet/CinC Challenge 2021; layouts, labels and folds as in
`dataset_scripts.challenge`. Records under ten seconds stand in no split.
"""

from __future__ import annotations

from dataset_scripts import challenge

DATASET = challenge.ChallengeDataset(
    name="cpsc2018",
    title="CPSC2018",
    versions=(challenge.RELEASE,),
    sampling_rates=(challenge.SAMPLING_RATE,),
    access="open",
    redistribution=True,
    licence=challenge.LICENCE,
    citation=(
        "Liu, F., Liu, C., Zhao, L., et al. An open access database for evaluating the algorithms of electrocardiogram "
        "rhythm and morphology abnormality detection. Journal of Medical Imaging and Health Informatics 8(7), 2018, "
        f"10.1166/jmihi.2018.2442. {challenge.CITATION}"
    ),
    page=challenge.PAGE,
    label_columns=("label_all",),
    folds=challenge.FOLD_RULE,
    metadata_columns={"dx": "string"},
    thresholds={"min_count": 10, "folds": challenge.FOLDS, "min_samples": challenge.MIN_SAMPLES},
    table_files=(),
    signal_suffixes=(".hea", ".mat"),
    part="cpsc_2018",
    names=challenge.PARTS["CPSC2018"],
    code_table="snomed_cpsc2018",
    description=(
        "6,877 ECGs of eleven Chinese hospitals, twelve leads at 500 Hz, 6 to 144 seconds long: the public training "
        "set of the China Physiological Signal Challenge 2018, in the form of the PhysioNet/CinC Challenge 2021. Each "
        "record carries one to three of nine labels, given by experts. Age and sex stand in the header of each record."
    ),
    problems=(
        challenge.FOLD_PROBLEM,
        challenge.PATIENT_PROBLEM,
        "Only nine findings were labelled. A record without a label may show any other finding.",
        "The published run code reads columns that the published preparation does not write, so the authors' own table "
        "came from other code. The nine labels of the count rule are used here.",
        "Labels are counted and folds made before records under ten seconds leave, so folds differ a little in size.",
    ),
    releases=(challenge.release("snomed_cpsc2018", records=6877, labels=9),),
    sources=(challenge.source("cpsc_2018"),),
)
