"""A label-efficiency study: runs on growing parts of the training records, the curves, and the ratio of records.

Every run is an ordinary one: a result in the same schema, with `train_fraction` among its deviations, which continues
when the same command is given again.

The three sets of labels that label efficiency is published for, as tasks that can be run and read again.

Source: arXiv 2509.25095 and its code. They are no rows of the benchmark's tables, so they are not built in: the task
file is written beside the results, for `ecg-eval verify` and `reproduce` with --include.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ecg_hub.errors import InputError
from ecg_hub.utils.files import write_text
from eval_harness.analyses.label_efficiency.report import write_plot
from eval_harness.analyses.label_efficiency.schema import LEAST_SIZES, RESULT_FILE, Curve, EfficiencyResult, fit, ratio
from eval_harness.analyses.studies import (
    LEAST_OF_CURVES,
    RunScore,
    SeedAverage,
    checked,
    finite,
    fraction_folder,
    fraction_name,
    head_of,
    joint,
    made_now,
    numbers_of,
    score_run,
    too_few,
)
from eval_harness.config.options import RunOptions, TrainSubset
from eval_harness.metrics.registry import MACRO_AUROC
from eval_harness.results.schema import Result
from eval_harness.runner.plan import result_folder
from eval_harness.tasks.registry import get_task
from eval_harness.tasks.task import Task


@dataclass(frozen=True)
class LabelSet:
    """One published set of labels.

    Attributes:
        title, description: of the task.
        parent: the built-in task whose dataset and label column it has.
        labels: the labels; () takes those of the parent.
        labelled_only: whether records with none of the labels are left out, test records too.
    """

    title: str
    description: str
    parent: str
    labels: tuple[str, ...] = ()
    labelled_only: bool = False


SETS: Mapping[str, LabelSet] = {
    "echonext_label_efficiency": LabelSet(
        "EchoNext, six labels",
        "Reduced ejection fraction, thick wall, tricuspid regurgitation, right ventricular dysfunction, and two signs "
        "of pulmonary hypertension.",
        "echonext",
        (
            "lvef_lte_45_flag",
            "lvwt_gte_13_flag",
            "tricuspid_regurgitation_moderate_or_greater_flag",
            "rv_systolic_dysfunction_moderate_or_greater_flag",
            "pasp_gte_45_flag",
            "tr_max_gte_32_flag",
        ),
    ),
    "ptbxl_label_efficiency": LabelSet("PTB-XL, five superclasses", "The five diagnostic superclasses.", "ptbxl_super"),
    "ptbxl_all_label_efficiency": LabelSet(
        "PTB-XL, thirteen statements",
        "Thirteen frequent statements; records with none of them are left out, test records too.",
        "ptbxl_all",
        ("SR", "NORM", "ABQRS", "IMI", "ASMI", "LVH", "NDT", "LAFB", "AFIB", "ISC_", "PVC", "IRBBB", "STD_"),
        labelled_only=True,
    ),
}


def write_set(name: str, folder: Path) -> Path:
    """Write the task file of a published set and return its path."""
    chosen, parent = SETS[name], get_task(SETS[name].parent)
    # From the parent, so that dataset, column and metric cannot drift from the published task.
    task = Task(
        **{
            **parent.model_dump(exclude={"targets"}),
            "name": name,
            "run": name,
            "title": chosen.title,
            "description": chosen.description,
            "labels": chosen.labels or parent.labels,
            "published": False,
        }
    )
    path = folder / f"{name}.yaml"
    content = {key: value for key, value in task.model_dump(mode="json").items() if value is not None}
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
    return path


PLOT_FILE = "label_efficiency.png"
FRACTIONS = tuple(1 / 2**k for k in range(8))
LOSS = "1 - macro AUROC"


@dataclass(frozen=True)
class Study:
    """What is asked for.

    Attributes:
        options: of the runs; `models` and `modes` without the baseline, `output` is the folder of the study.
        fractions: of the training records.
        subset_seeds: draws of each fraction.
        subset: how subsets are drawn; its fraction and seed are replaced.
        baseline: model and mode of the supervised baseline; None for curves alone.
        ratio_at: numbers of records to give the ratio at; () takes those of the baseline's runs.
    """

    options: RunOptions
    fractions: tuple[float, ...] = FRACTIONS
    subset_seeds: tuple[int, ...] = (0,)
    subset: TrainSubset = field(default_factory=TrainSubset)
    baseline: tuple[str, str] | None = ("s4", "scratch")
    ratio_at: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no curve can be made of."""
        if not self.fractions or len(set(self.fractions)) != len(self.fractions):
            raise InputError(f"Fractions are {self.fractions!r}: give one or several different ones.")
        if not self.options.modes:
            raise InputError("No mode was given: --mode finetune is what was published.")
        if self.options.train_subset is not None or self.options.shard is not None:
            raise InputError("--train-fraction and --shard are for `ecg-eval run`; here --fractions says what is run.")
        if len(set(self.subset_seeds)) != len(self.subset_seeds) or not self.subset_seeds:
            raise InputError(f"Subset seeds are {self.subset_seeds!r}: give one or several different ones.")

    @property
    def entries(self) -> list[tuple[str, str]]:
        """Model and mode of every curve; the baseline comes last."""
        pairs = [(model, mode) for model in self.options.models for mode in self.options.modes]
        return pairs if self.baseline is None or self.baseline in pairs else [*pairs, self.baseline]


@dataclass(frozen=True)
class Planned:
    """One call of the runner: a model and mode on one draw of a fraction, for one task."""

    task: str
    model: str
    mode: str
    fraction: float
    draw: int
    options: RunOptions


def planned(study: Study) -> Iterator[Planned]:
    """All calls, those of one dataset and model together; the largest part first."""
    output = study.options.output
    include = [*study.options.include]
    include += [write_set(name, output / "tasks") for name in study.options.tasks if name in SETS]
    for name in study.options.tasks:
        # Published so: records with none of the thirteen statements are left out of this set alone.
        subset = replace(study.subset, labelled_only=SETS[name].labelled_only) if name in SETS else study.subset
        task = get_task(name, include)
        if task.kind != "multi_label_classification":
            # The curve is fitted to 1 - macro AUROC, which a regression does not have.
            raise InputError(f"Task {name!r} is a regression; label efficiency is measured on classes.")
        for model, mode in study.entries:
            for fraction in sorted(study.fractions, reverse=True):
                for seed in study.subset_seeds:
                    yield Planned(name, model, mode, fraction, seed, replace(
                        study.options, models=(model,), modes=(mode,), tasks=(name,), include=tuple(include),
                        output=output / "runs" / name / fraction_folder(fraction) / f"subset_{seed}",
                        train_subset=replace(subset, fraction=fraction, seed=seed),
                    ))  # fmt: skip


def run_study(study: Study, quiet: bool = False) -> tuple[dict[str, Any], list[Result]]:
    """Do all runs, or what is left of them, and write curves, ratios and the plot."""
    from eval_harness.runner.provide import ready
    from eval_harness.runner.run import evaluate

    results: list[Result] = []
    scores: dict[tuple[str, str, str], dict[float, list[RunScore]]] = {}
    faults: list[str] = []
    calls = list(planned(study))
    found = ready(*(call.options for call in calls))
    for call in calls:
        task = get_task(call.task, call.options.include)
        for result in evaluate(call.options, quiet, found):
            results.append(result)
            if result.status != "done":
                draw = f"{call.model} {call.mode} {call.task} {fraction_name(call.fraction)}"
                faults.append(f"{draw}: {result.status}: {result.reason}")
                continue
            folder = result_folder(call.options, call.model, call.mode, result.seed)
            protocol = study.options.protocol
            score = replace(score_run(folder, result, task, protocol.resamples), draw=call.draw)
            by_fraction = scores.setdefault((call.task, call.model, call.mode), {})
            by_fraction.setdefault(call.fraction, []).append(score)
    joints = {key: {f: joint(runs) for f, runs in parts.items()} for key, parts in scores.items()}
    content = summary(study, joints, faults, results)
    if results:  # of several processes, one holds the results
        content = checked(content, EfficiencyResult)
        write_text(study.options.output / RESULT_FILE, json.dumps(content, indent=1) + "\n")
        write_plot(EfficiencyResult.model_validate(content), study.options.output / PLOT_FILE)
    return content, results


def summary(
    study: Study,
    joints: dict[tuple[str, str, str], dict[float, SeedAverage]],
    faults: Sequence[str],
    results: Sequence[Result] = (),
) -> dict[str, Any]:
    """Points, curves with intervals, and ratios, as they are written."""
    confidence = study.options.protocol.confidence
    curves = {key: fitted(parts) for key, parts in joints.items()}
    entries, ratios = [], []
    for (task, model, mode), parts in joints.items():
        about = {"task": task, "model": model, "mode": mode, "baseline": (model, mode) == study.baseline}
        fit_of_entry = curves[task, model, mode]
        entries.append(
            {**about, "points": _points(parts, confidence), "curve": curve_of(fit_of_entry, parts, confidence)}
        )
        base = None if study.baseline is None else (task, *study.baseline)
        if base is not None and base in joints and (task, model, mode) != base:
            rows = ratios_at(study.ratio_at, (fit_of_entry, parts), (curves[base], joints[base]), confidence)
            ratios.append({**about, "at": rows})
    return {
        **head_of("label_efficiency", study.options, not faults, results),
        "loss": LOSS,
        "form": "C N^-alpha + L0",
        "resamples": study.options.protocol.resamples,
        "confidence": confidence,
        "fractions": sorted(study.fractions, reverse=True),
        "subset_seeds": list(study.subset_seeds),
        "seeds": list(study.options.seeds),
        "subset": study.subset.as_dict() | {"fraction": None, "seed": None},
        "baseline": None if study.baseline is None else list(study.baseline),
        "entries": entries,
        "ratios": ratios,
        "not_done": list(faults),
        **made_now(),
    }


def losses(parts: dict[float, SeedAverage]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Records (fractions,), losses (fractions,) and their replicates (resamples, fractions) of the defined points."""
    chosen = [part for _, part in sorted(parts.items()) if np.isfinite(part.points[MACRO_AUROC])]
    records = np.array([part.records for part in chosen])
    values = np.array([1 - part.points[MACRO_AUROC] for part in chosen])
    replicates = np.array([1 - part.replicates[MACRO_AUROC] for part in chosen]).T
    return records, values, replicates


Fitted = tuple[Curve, Curve] | str
"""A curve and those of its replicates, or why there is none."""


def fitted(parts: dict[float, SeedAverage]) -> Fitted:
    """The curve and those of the replicates, NaN where there are too few runs; why there is none, in words."""
    records, values, replicates = losses(parts)
    if len(set(records.tolist())) < LEAST_SIZES:
        return f"{len(set(records.tolist()))} different numbers of records; a curve needs {LEAST_SIZES} or more"
    unknown = np.full(len(replicates), np.nan)
    # The curve itself needs no repetition; what cannot be had from too few runs is its uncertainty.
    return fit(records, values), Curve(unknown, unknown, unknown) if few_runs(parts) else fit(records, replicates)


def few_runs(*curves: dict[float, SeedAverage]) -> str | None:
    """Why there are too few runs at some size of the curves for intervals; None where there are enough."""
    least = min(part.repetitions for parts in curves for part in parts.values())
    return too_few(least, LEAST_OF_CURVES)


def _points(parts: dict[float, SeedAverage], confidence: float) -> list[dict[str, Any]]:
    return [
        {
            "fraction": fraction,
            "records": part.records,
            **part.content(confidence),
        }
        for fraction, part in sorted(parts.items(), reverse=True)
    ]


def curve_of(fitted_curve: Fitted, parts: dict[float, SeedAverage], confidence: float) -> dict[str, Any]:
    """Parameters with intervals of what `fitted` gave, and how well it fits; the reason where there is no curve."""
    if isinstance(fitted_curve, str):
        return {"reason": fitted_curve}
    point, replicates = fitted_curve
    records, values, _ = losses(parts)
    named = {"C": "scale", "alpha": "alpha", "L0": "floor"}
    return {
        name: numbers_of(float(getattr(point, part)), getattr(replicates, part), confidence, reason=few_runs(parts))
        for name, part in named.items()
    } | {
        "residual": float(np.sqrt(np.mean((point.loss(records) - values) ** 2))),
        "falls": bool(np.isfinite(point.alpha)),
        "alpha_at_bound": bool(point.at_bound),
        "records": [float(records.min()), float(records.max())],
    }


def ratios_at(
    numbers: Sequence[float],
    model: tuple[Fitted, dict[float, SeedAverage]],
    baseline: tuple[Fitted, dict[float, SeedAverage]],
    confidence: float,
) -> list[dict[str, Any]]:
    """r(N) with its interval at numbers of records; without a value where nothing may be extrapolated."""
    (fitted_curve, parts), (base, base_parts) = model, baseline
    if isinstance(fitted_curve, str) or isinstance(base, str):
        return [{"records": None, "reason": fitted_curve if isinstance(fitted_curve, str) else base}]
    sizes = losses(base_parts)[0]
    few = few_runs(parts, base_parts)
    smallest, largest = losses(parts)[0].min(), losses(parts)[0].max()
    rows = []
    for number in numbers or sorted(set(sizes.tolist())):
        point = float(ratio(fitted_curve[0], base[0], number))
        replicates = ratio(fitted_curve[1], base[1], number)
        why = few if np.isfinite(point) else None
        row: dict[str, Any] = {"records": number, "r": numbers_of(point, replicates, confidence, reason=why)}
        row["baseline_loss"] = finite(float(base[0].loss(number)))
        row["undefined_replicates"] = None if few else float(np.mean(~np.isfinite(replicates)))
        if not np.isfinite(point):
            row["reason"] = "the baseline's loss lies at the model's floor or below: no number of records is enough"
        else:
            # r(N) is read from two curves, so both places must lie among measured sizes: the model's at r N, the
            # baseline's at N.
            within = smallest <= point * number <= largest and sizes.min() <= number <= sizes.max()
            row["within_measured"] = bool(within)
        rows.append(row)
    return rows
