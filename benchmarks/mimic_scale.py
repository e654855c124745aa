"""How fast and in how much memory the MIMIC-IV-ECG tables are derived, on made-up tables of true layout and size.

    python benchmarks/mimic_scale.py                      # 1/100: 300,000 lab events, 600,000 chart events, 2,000 ECGs
    python benchmarks/mimic_scale.py --scale 1            # 30 and 60 million rows, 200,000 ECGs: 9 GB, about 20 minutes
    python benchmarks/mimic_scale.py --scale 1 --folder D # keeps the tables in D and continues there

The derivation runs in a process of its own, whose peak memory is measured. Rows per second of the two large tables
are projected to their size in MIMIC-IV 3.1. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from dataset_scripts.mock.mimic_tables import CHART, LABS
from dataset_scripts.published.mimic_iv_ecg.names import EVENTS, LAB_ITEMS

LAB_EVENTS, CHART_EVENTS, ECGS = 30_000_000, 60_000_000, 200_000
REAL_ROWS = {"labevents": 158_000_000, "chart": 433_000_000}
CHUNK = 500_000
START = np.datetime64("2140-01-01T00:00:00")
SPAN_S = 30 * 365 * 86_400
OTHER_LABS = 200  # item ids that nobody asked for
OTHER_CHARTS = 60

# The same rows and columns by hand: every line parsed, the items that are asked for kept, joined with the ECGs of their
# subjects within the window, and counted. Less than the derivation does, which chooses, converts and writes.
_PLAIN = """
import json, sys, time
import duckdb
from dataset_scripts.mock.mimic_tables import CHART
from dataset_scripts.published.mimic_iv_ecg.names import LAB_ITEMS
folder, memory, threads = sys.argv[1:]
link = duckdb.connect(config={"memory_limit": memory, "threads": int(threads)})
link.execute("SET enable_progress_bar = false")  # after two seconds it would be printed among the numbers
records = f"read_csv('{folder}/records_w_diag_icd10.csv')"
link.execute(f"CREATE TABLE ecg AS SELECT subject_id, ecg_time::TIMESTAMP AS t FROM {records}")
seconds = {}
for name, table, items in (("labevents", "labevents", LAB_ITEMS), ("chart", "chartevents", CHART.values())):
    started = time.perf_counter()
    kept = ", ".join(str(item) for item in sorted(items))
    link.execute(
        "SELECT count(*), avg(e.valuenum) FROM "
        "(SELECT subject_id, itemid, charttime::TIMESTAMP AS t, valuenum, valueuom "
        f"FROM read_csv('{folder}/{table}.csv.gz') WHERE itemid IN ({kept}) AND valuenum IS NOT NULL) e "
        "JOIN ecg USING (subject_id) WHERE abs(epoch(e.t) - epoch(ecg.t)) <= 7200"
    ).fetchall()
    seconds[name] = time.perf_counter() - started
print(json.dumps(seconds))
"""
_RUN = """
import sys
from pathlib import Path
from dataset_scripts.published.mimic_iv_ecg.derive import derive
from dataset_scripts.published.mimic_iv_ecg.engine import Settings
folder, work, memory, threads, icd, chart = sys.argv[1:]
derive(Path(folder), Path(work), int(icd), int(chart), Settings(memory, int(threads), quiet=not sys.stderr.isatty()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scale", type=float, default=0.01, help="1 is the full size of this benchmark")
    parser.add_argument("--folder", type=Path, help="where the tables are made and kept; default a temporary folder")
    parser.add_argument("--memory-limit", default="2GB")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="mimic-scale-"))
    try:
        print(json.dumps(measure(folder, args.scale, args.memory_limit, args.threads), indent=1))
    finally:
        if args.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, scale: float, memory_limit: str, threads: int) -> dict[str, object]:
    begin = time.perf_counter()
    done = folder / "made.json"
    if not done.is_file():
        make(folder, scale)
        done.write_text(json.dumps({"scale": scale}))
    made_s = time.perf_counter() - begin
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    begin = time.perf_counter()
    limits = [str(max(2, round(2000 * scale))), str(max(2, round(1000 * scale)))]
    command = [sys.executable, "-c", _RUN, str(folder), str(work), memory_limit, str(threads), *limits]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    seconds = time.perf_counter() - begin
    steps = {path.name.split("-")[0]: json.loads(path.read_text()) for path in work.glob("*-*.json")}
    speeds = {name: steps[name]["steps"][-1]["rows_in"] / steps[name]["seconds"] for name in REAL_ROWS}
    plain = json.loads(
        subprocess.run(
            [sys.executable, "-c", _PLAIN, str(folder), memory_limit, str(threads)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ).stdout
    )
    rest = seconds - sum(steps[name]["seconds"] for name in REAL_ROWS)
    factor = {name: rows / steps[name]["steps"][-1]["rows_in"] for name, rows in REAL_ROWS.items()}
    projected = sum(REAL_ROWS[name] / speeds[name] for name in REAL_ROWS) + rest * max(factor.values())
    return {
        "scale": scale,
        "memory_limit": memory_limit,
        "threads": threads,
        "tables_gb": round(sum(p.stat().st_size for p in folder.glob("*.csv*")) / 1e9, 3),
        "made_s": round(made_s, 1),
        "derived_s": round(seconds, 1),
        "seconds": {name: step["seconds"] for name, step in sorted(steps.items())},
        "rows_per_s": {name: round(speed) for name, speed in speeds.items()},
        "plain_query_s": {name: round(value, 2) for name, value in plain.items()},
        "times_the_plain_query": {name: round(steps[name]["seconds"] / plain[name], 2) for name in REAL_ROWS},
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9, 3),
        "work_gb": round(sum(p.stat().st_size for p in work.iterdir()) / 1e9, 3),
        "projected_minutes_at_the_real_size": round(projected / 60, 1),
    }


def make(folder: Path, scale: float) -> None:
    """Write the nine tables."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ecgs = max(20, round(ECGS * scale))
    subjects = 10_000_000 + np.arange(ecgs // 2 * 3) * 5  # a third of the subjects has no ECG
    owner = np.sort(rng.choice(subjects[: len(subjects) * 2 // 3], ecgs))
    moment = START + rng.integers(0, SPAN_S, ecgs).astype("timedelta64[s]")
    small(folder, rng, owner, moment)
    near = Near(owner, moment, subjects)
    write(folder / "omr.csv.gz", round(6_000_000 * scale), lambda n: office(near, rng, n))
    write(folder / "vitalsign.csv.gz", round(1_600_000 * scale), lambda n: department(near, rng, n))
    write(folder / "labevents.csv.gz", round(LAB_EVENTS * scale), lambda n: laboratory(near, rng, n))
    write(folder / "chartevents.csv.gz", round(CHART_EVENTS * scale), lambda n: charted(near, rng, n))


class Near:
    """Draws subjects and times: half of the rows within three hours of an ECG."""

    def __init__(self, owner: np.ndarray, moment: np.ndarray, subjects: np.ndarray) -> None:
        self.owner, self.moment, self.subjects = owner, moment, subjects

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        place = rng.integers(0, len(self.owner), rows)
        close = rng.random(rows) < 0.5
        subject = np.where(close, self.owner[place], rng.choice(self.subjects, rows))
        shift = np.where(close, rng.integers(-10_800, 10_800, rows), rng.integers(-SPAN_S // 2, SPAN_S // 2, rows))
        return subject, self.moment[place] + shift.astype("timedelta64[s]")


def write(path: Path, rows: int, draw: Callable[[int], pa.Table]) -> None:
    """Write a table chunk by chunk, compressed at the fastest level."""
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for number, size in enumerate(sizes(rows)):
            table = draw(size)
            options = pa.csv.WriteOptions(include_header=number == 0, quoting_style="needed")
            pa.csv.write_csv(table, stream, options)


def sizes(rows: int) -> Iterator[int]:
    for start in range(0, rows, CHUNK):
        yield min(CHUNK, rows - start)


def small(folder: Path, rng: np.random.Generator, owner: np.ndarray, moment: np.ndarray) -> None:
    """Write the tables with a row per ECG, and the two dictionaries."""
    ecgs = len(owner)
    pool = [f"{letter}{number:04d}" for letter in "EIJKNRZ" for number in rng.integers(0, 9999, 60)]
    lists = [str(sorted(rng.choice(pool, int(rng.integers(1, 16)), replace=False).tolist())) for _ in range(ecgs)]
    patient_fold = {int(subject): int(f) for subject, f in zip(owner, rng.integers(0, 20, ecgs), strict=True)}
    fold = np.array([patient_fold[int(subject)] for subject in owner])
    study = 40_000_000 + np.arange(ecgs) * 3
    text = text_of(moment)
    records = {
        "": np.arange(ecgs), "study_id": study, "subject_id": owner, "ecg_time": text, "all_diag_all": lists,
        "gender": np.where(owner % 2 == 0, "F", "M"), "age": rng.integers(18, 95, ecgs).astype(float),
        "ecg_no_within_stay": rng.integers(-1, 3, ecgs), "ecg_taken_in_ed": np.where(rng.random(ecgs) < 0.5, "True",
        "False"), "fold": fold, "strat_fold": (fold * 7 + 3) % 20,
    }  # fmt: skip
    stays = {"general_study_id": study, "general_data": np.arange(ecgs), "general_intime": text}
    stays |= {name: rng.choice([0.0, 1.0, -999.0], ecgs, p=[0.9, 0.08, 0.02]) for name in EVENTS}
    machine = {"study_id": study, **{n: rng.integers(-10, 900, ecgs) for n in ("p_axis", "qrs_axis", "t_axis")}}
    machine |= {n: rng.integers(0, 1500, ecgs) for n in ("rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end")}
    machine["t_end"] = rng.integers(300, 900, ecgs)
    for name, columns in (("records_w_diag_icd10", records), ("mds_ed", stays), ("machine_measurements", machine)):
        pa.csv.write_csv(pa.table(columns), folder / f"{name}.csv", pa.csv.WriteOptions(quoting_style="needed"))
    labels = [(item, label) for label, usual, other, *_ in LABS for item in (usual, other) if item]
    dictionary(folder / "d_labitems.csv.gz", labels)
    dictionary(folder / "d_items.csv.gz", [(item, label) for label, item in CHART.items()])


def dictionary(path: Path, items: list[tuple[int, str]]) -> None:
    with gzip.open(path, "wt") as stream:
        stream.write("itemid,label\n" + "".join(f'{item},"{label}"\n' for item, label in items))


def text_of(moment: np.ndarray) -> pa.Array:
    return pa.compute.strftime(pa.array(moment), format="%Y-%m-%d %H:%M:%S")


def office(near: Near, rng: np.random.Generator, rows: int) -> pa.Table:
    subject, moment = near.draw(rng, rows)
    kind = rng.integers(0, 5, rows)
    names = np.array(["Weight (Lbs)", "Height (Inches)", "BMI (kg/m2)", "Blood Pressure", "eGFR"])[kind]
    value = np.array([170.0, 66.0, 27.0, 120.0, 60.0])[kind] * np.exp(rng.normal(0, 0.15, rows))
    day = pa.compute.strftime(pa.array(moment), format="%Y-%m-%d")
    columns = {"subject_id": subject, "chartdate": day, "seq_num": 1 + kind, "result_name": names}
    return pa.table({**columns, "result_value": np.round(value, 1)})


def department(near: Near, rng: np.random.Generator, rows: int) -> pa.Table:
    subject, moment = near.draw(rng, rows)
    means = {"temperature": 98.2, "heartrate": 84, "resprate": 17, "o2sat": 98, "sbp": 134, "dbp": 76}
    values = {name: np.round(rng.normal(mean, mean / 12, rows), 1) for name, mean in means.items()}
    return pa.table({"subject_id": subject, "stay_id": subject + 1, "charttime": text_of(moment), **values})


def laboratory(near: Near, rng: np.random.Generator, rows: int) -> pa.Table:
    subject, moment = near.draw(rng, rows)
    known = np.array(sorted(LAB_ITEMS))
    item = np.where(rng.random(rows) < 0.4, rng.choice(known, rows), 52_700 + rng.integers(0, OTHER_LABS, rows))
    value = np.round(np.exp(rng.normal(2, 0.7, rows)), 1)
    text = text_of(moment)
    return pa.table(
        {
            "labevent_id": np.arange(rows), "subject_id": subject, "hadm_id": subject + 9, "specimen_id": subject + 3,
            "itemid": item, "order_provider_id": np.full(rows, "P123AB"), "charttime": text, "storetime": text,
            "value": value, "valuenum": value, "valueuom": np.where(rng.random(rows) < 0.9, "mg/dL", "g/dL"),
            "flag": np.full(rows, ""), "priority": np.full(rows, "STAT"), "comments": np.full(rows, "___"),
        }
    )  # fmt: skip


def charted(near: Near, rng: np.random.Generator, rows: int) -> pa.Table:
    subject, moment = near.draw(rng, rows)
    known = np.array(sorted(CHART.values()))
    item = np.where(rng.random(rows) < 0.4, rng.choice(known, rows), 229_000 + rng.integers(0, OTHER_CHARTS, rows))
    value = np.round(rng.normal(80, 15, rows))
    text = text_of(moment)
    return pa.table(
        {
            "subject_id": subject, "hadm_id": subject + 9, "stay_id": subject + 3, "caregiver_id": subject % 90_000,
            "charttime": text, "storetime": text, "itemid": item, "value": value, "valuenum": value,
            "valueuom": np.full(rows, "bpm"), "warning": np.zeros(rows, dtype=np.int8),
        }
    )  # fmt: skip


if __name__ == "__main__":
    main()
