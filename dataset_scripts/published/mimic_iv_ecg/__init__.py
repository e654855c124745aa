"""The eleven MIMIC-IV-ECG tasks, derived from nine tables in bounded memory.

    from dataset_scripts.published.mimic_iv_ecg.derive import derive

One module per step: `sources` finds and checks the tables, `selection` the records and their ICD-10 codes, `values` the
measured values and the nearest to each ECG, `derive` the outcomes, the 1,127 columns and their z-scores; `engine` runs
a step on DuckDB and keeps its result. Rules: arXiv 2509.25095 with the published `mimic_preprocessing.py`.

The row number of each file is carried along as a column, because it decides ties; nothing depends on threads, on
memory or on the order in which DuckDB happens to work.
"""

from dataset_scripts.published.mimic_iv_ecg.dataset import DATASET

__all__ = ["DATASET"]
