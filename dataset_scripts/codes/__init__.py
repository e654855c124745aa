"""Code tables: what the codes in raw files mean, as small CSV files of facts. `SOURCES` says where from."""

from __future__ import annotations

import csv
import io
from functools import lru_cache
from importlib.resources import files

from ecg_hub.errors import unknown_name

SOURCES: dict[str, str] = {
    "aha": "code.csv of SPH (AHA/ACC/HRS statements, Mason et al., Circulation 2007;115:1325-1332)",
    "chapman": "ConditionNames.xlsx and RhythmNames.xlsx of Chapman-Shaoxing, spelling put right",
    "head": "outputs of published heads in the spelling of their authors; codes of the harmonised tables by `name`, or "
    "by `abbreviation` where the authors publish nothing else: ours, and `reason` says why an output has none",
    "harmonised": "`challenge2021`: the codes and the equivalences of the Challenge 2021, as its parts carry them; "
    "`leinonen2024`: AHA statements to SNOMED CT, Leinonen et al., Comput Biol Med 2024 (PMID 39427424); `ptbxlplus`: "
    "concept names of ptbxlToSNOMED.csv of PTB-XL+ 1.0.1; `name`: ours, the same finding in words; `outside`: the code "
    "stands in none of the other tables. Withheld: codes of 'Label mappings 2021.xlsx' that this map does not use",
    "scp": "scp_statements.csv of PTB-XL (SCP-ECG statements), descriptions in our words",
    "snomed": "PhysioNet/CinC Challenge 2021, dx_mapping_scored.csv and dx_mapping_unscored.csv (SNOMED CT codes); the "
    "names of each dataset: 'Label mappings 2021.xlsx' of the benchmark's code",
}
"""First part of a table's name -> where its facts were taken from."""


def tables() -> list[str]:
    """Return the names of the code tables."""
    return sorted(path.name.removesuffix(".csv") for path in files(__name__).iterdir() if path.name.endswith(".csv"))


@lru_cache
def read_codes(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of a code table, in its order; the keys are the columns of its first line."""
    if name not in tables():
        raise unknown_name("code table", name, tables())
    text = (files(__name__) / f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(io.StringIO(text)))
