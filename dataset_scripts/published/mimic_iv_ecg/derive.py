"""The whole derivation: nine tables in, one table of targets and a report of every step out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm.auto import tqdm

import dataset_scripts.published.mimic_iv_ecg.sources as sources
from dataset_scripts.core.report import Step, steps_csv
from dataset_scripts.published.mimic_iv_ecg.engine import Engine, Result, Settings
from dataset_scripts.published.mimic_iv_ecg.matching import nearest_by_day, nearest_by_time
from dataset_scripts.published.mimic_iv_ecg.names import CARDIAC_CHAPTER, EVENTS, GROUPS, MEASURED, UNITS
from dataset_scripts.published.mimic_iv_ecg.selection import read_records
from dataset_scripts.published.mimic_iv_ecg.targets import assemble, read_deterioration, read_measurements
from dataset_scripts.published.mimic_iv_ecg.values import (
    biometrics,
    lab_values,
    read_chart,
    read_labs,
    read_omr,
    read_vitals,
    vital_signs,
)

MIN_ICD_COUNT = 2000
MIN_CHART_COUNT = 1000


@dataclass(frozen=True)
class Derived:
    """What was derived.

    Attributes:
        path: parquet with one row per used ECG; see `targets.assemble`.
        fingerprint: of tables and parameters.
        report: CSV of the steps.
        steps: the same.
        codes: the ICD-10 targets with their counts over all records, the most frequent first.
        scale: measured target -> mean, standard deviation, number of training values.
        units: measured target -> unit; of lab values the most frequent one in the data.
        absent: tables that the raw folder lacks, or that say nothing without one that it lacks.
    """

    path: Path
    fingerprint: str
    report: Path
    steps: tuple[Step, ...]
    codes: tuple[tuple[str, int], ...]
    scale: Mapping[str, Sequence[float]]
    units: Mapping[str, str]
    absent: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The targets in the published order: codes, outcomes, sex, measured values."""
        return [*(code for code, _ in self.codes), *EVENTS, "sex", *MEASURED]

    @property
    def groups(self) -> dict[str, list[str]]:
        """Target group -> its names; every target is in one group."""
        codes = [code for code, _ in self.codes]
        cardiac = {
            "cardiac": [code for code in codes if code.startswith(CARDIAC_CHAPTER)],
            "noncardiac": [code for code in codes if not code.startswith(CARDIAC_CHAPTER)],
        }
        return {**cardiac, **{name: list(names) for name, names in GROUPS.items()}}


def derive(
    folder: Path,
    work: Path,
    min_icd_count: int = MIN_ICD_COUNT,
    min_chart_count: int = MIN_CHART_COUNT,
    settings: Settings | None = None,
) -> Derived:
    """Derive the targets from the nine tables, or find them derived.

    One pass over each table. Steps that are done are kept in the work folder and found again by tables (name, size,
    time) and parameters, so the same command continues after an interruption. The tables' rows never leave that
    folder.
    """
    tables = sources.open_tables(folder, work)
    absent = tuple(spec.stem for spec, source in tables.items() if source.absent)
    if absent:
        tqdm.write(sources.describe_missing(sources.find_tables(folder)), file=sys.stderr)
    with FileLock(work / "derive.lock"):
        results = _results(
            Engine(work, settings or Settings.from_environment()), tables, min_icd_count, min_chart_count
        )
    last = results[-1]
    steps = tuple(step for result in results for step in result.steps)
    report = last.path.with_name(f"report-{last.fingerprint}.csv")
    report.write_text(steps_csv(steps), encoding="utf-8")
    codes = tuple((str(code), int(count)) for code, count in last.facts["codes"])
    units = {**UNITS, **next(result.facts["units"] for result in results if "units" in result.facts)}
    return Derived(last.path, last.fingerprint, report, steps, codes, last.facts["scale"], units, absent)


def _results(engine: Engine, tables: Mapping[Any, sources.Source], min_icd: int, min_chart: int) -> list[Result]:
    records = read_records(engine, tables[sources.RECORDS])
    outcomes = read_deterioration(engine, tables[sources.MDS_ED], records)
    measured = read_measurements(engine, tables[sources.MEASUREMENTS], records)
    omr = read_omr(engine, tables[sources.OMR])
    vitals = read_vitals(engine, tables[sources.VITAL_SIGN])
    labs = read_labs(engine, tables[sources.LAB_EVENTS], tables[sources.LAB_ITEMS])
    chart = read_chart(engine, tables[sources.CHART_EVENTS], tables[sources.CHART_ITEMS], records)
    sizes = biometrics(engine, omr, chart, min_chart)
    signs = vital_signs(engine, vitals, chart, min_chart)
    values = lab_values(engine, labs, chart, records, min_chart)
    near = [
        nearest_by_day(engine, "biometrics", sizes, records),
        nearest_by_time(engine, "vital_signs", signs, records),
        nearest_by_time(engine, "lab_values", values, records),
    ]
    targets = assemble(engine, records, outcomes, measured, near, min_icd)
    return [records, outcomes, measured, omr, vitals, labs, chart, sizes, signs, values, *near, targets]
