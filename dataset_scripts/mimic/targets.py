"""The targets of every used ECG: ICD-10 labels, outcomes, sex, and 35 measured values with their z-scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dataset_scripts.mimic.engine import Engine, Result, Work
from dataset_scripts.mimic.names import EVENTS, FOLDS, MEASURED
from dataset_scripts.mimic.selection import count_codes

RAW = "measured "
"""Prefix of the columns that hold a measured value before its z-score."""


def assemble(
    engine: Engine,
    records: Result,
    deterioration: Result,
    measurements: Result,
    near: Sequence[Result],
    min_icd_count: int,
) -> Result:
    """Join everything into one row per used ECG, in the order of the records table.

    Columns: study_id, strat_fold, labels (the kept codes), the fifteen outcomes, sex (0 female, 1 male), the 35
    values as measured (`measured age`, ...) and as z-scores, DOUBLE with NULL for no value. Facts: `codes` (name,
    count) in falling order of count, `scale` (mean, standard deviation, values) per measured column.

    Mean and standard deviation (of the population) come from the ECGs of strat_fold 0 to 17.
    """

    def build(work: Work) -> None:
        codes = count_codes(work, records, min_icd_count)
        work.facts["codes"] = codes
        frame = _one_row_per_ecg(work, records, deterioration, measurements, near)
        rows = frame["study_id"].size
        train = frame["strat_fold"] < FOLDS - 2
        scale: dict[str, tuple[float, float, int]] = {}
        for name in MEASURED:
            frame[name], scale[name] = z_scores(frame[RAW + name], train)
            known = int(np.isfinite(frame[RAW + name]).sum())
            mean, deviation, number = scale[name]
            note = f"mean {mean:g}, standard deviation {deviation:g} of {number:,} training values"
            work.note("targets", f"{name}: ECGs with a value", rows, known, note)
        work.facts["scale"] = scale
        for name in EVENTS:
            work.note("targets", f"{name}: ECGs with a value", rows, int(np.isfinite(frame[name]).sum()))
        _write(work, frame, records, [name for name, _ in codes])

    return engine.step("targets", "Joining the targets", build, [], *_all(records, deterioration, measurements, near),
                       min_icd_count)  # fmt: skip


def _all(*results: Any) -> list[Result]:
    return [item for part in results for item in ([part] if isinstance(part, Result) else part)]


def z_scores(values: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, tuple[float, float, int]]:
    """Return z-scores by mean and population standard deviation of the training values, and these with their number.

    Args:
        values: (records,) float64, NaN for no value.
        train: (records,) boolean.

    A constant column is only centred; one without training values has no z-scores.
    """
    known = values[train & np.isfinite(values)]
    if not known.size:
        return np.full_like(values, np.nan), (float("nan"), float("nan"), 0)
    mean, deviation = float(known.mean()), float(known.std())
    # A rest of rounding is no spread: what scikit-learn's StandardScaler takes for constant.
    rounding = np.finfo(np.float64).eps * known.size
    constant = deviation**2 <= rounding * deviation**2 + (rounding * mean) ** 2
    return (values - mean) / (1.0 if constant else deviation), (mean, deviation, int(known.size))


def _one_row_per_ecg(
    work: Work, records: Result, deterioration: Result, measurements: Result, near: Sequence[Result]
) -> dict[str, np.ndarray]:
    features = [name for name in MEASURED if name in ("RR", "QRS", "QT", "QTc") or name.endswith("_axis")]
    columns = ", ".join([f'd."{name}"' for name in EVENTS] + [f'm."{name}" AS "{RAW}{name}"' for name in features])
    table = work.connection.execute(
        f"SELECT r.row AS record, r.study_id, r.strat_fold, CASE r.gender WHEN 'F' THEN 0e0 WHEN 'M' THEN 1e0 END "
        f'AS sex, r.age AS "{RAW}age", {columns} FROM {records.sql} r '
        f"LEFT JOIN {deterioration.sql} d ON r.study_id = d.study_id "
        f"LEFT JOIN {measurements.sql} m ON r.study_id = m.study_id WHERE r.selected ORDER BY r.row"
    ).fetchnumpy()
    frame = {name: _floats(table[name]) for name in table if name not in ("record", "study_id", "strat_fold")}
    frame |= {name: np.asarray(table[name], dtype=np.int64) for name in ("record", "study_id", "strat_fold")}
    for name in MEASURED:
        if RAW + name not in frame:
            frame[RAW + name] = np.full(frame["record"].size, np.nan)
    for result in near:
        found = work.connection.execute(f"SELECT record, name, value FROM {result.sql}").fetchnumpy()
        place = np.searchsorted(frame["record"], np.asarray(found["record"], dtype=np.int64))
        names, values = np.asarray(found["name"], dtype=object), _floats(found["value"])
        for name in set(names) & set(MEASURED):
            chosen = names == name
            frame[RAW + name][place[chosen]] = values[chosen]
    return frame


def _floats(column: Any) -> np.ndarray:
    return np.array(np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan), dtype=np.float64)


def _write(work: Work, frame: dict[str, np.ndarray], records: Result, codes: list[str]) -> None:
    import pyarrow as pa

    order = ["record", "study_id", "strat_fold", *EVENTS, "sex", *(RAW + name for name in MEASURED), *MEASURED]
    arrays = {name: pa.array(frame[name], from_pandas=frame[name].dtype == np.float64) for name in order}
    work.connection.register("frame", pa.table(arrays))
    work.connection.register("kept", pa.table({"label": pa.array(codes, pa.string())}))
    listed = ", ".join(f'f."{name}"' for name in order if name != "record")
    work.write(
        f"SELECT list_filter(r.labels, lambda x: list_contains(k.names, x)) AS labels, {listed} FROM frame f "
        f"JOIN {records.sql} r ON f.record = r.row, (SELECT coalesce(list(label), []) AS names FROM kept) k "
        "ORDER BY f.record"
    )
