"""The ablations of mode `post_train` as one study: {preview} x {stochastic depth} x {weights} x fractions x seeds.

Every run is an ordinary run of the mode with its switches among the deviations; it continues when the same command is
given again. Parts of the training records lie in each other, are drawn anew for every seed, and leave validation whole.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ecg_hub.errors import InputError
from ecg_hub.utils.files import write_text
from eval_harness.analyses.ablation.report import write_plot
from eval_harness.analyses.ablation.schema import RESULT_FILE, AblationResult
from eval_harness.analyses.studies import (
    METRICS,
    RunScore,
    SeedAverage,
    checked,
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
from eval_harness.config.protocol import POST_TRAIN
from eval_harness.results.schema import Result, read_json
from eval_harness.runner.plan import result_folder
from eval_harness.tasks.registry import Run, expand, get_task, runs

PLOT_FILE = "ablation.png"
WEIGHTS = {"pretrained": True, "random": False}
SWITCH = {"on": True, "off": False}


@dataclass(frozen=True)
class Arm:
    """One setting of the three switches: the preview stage, stochastic depth, and the encoder's own weights."""

    preview: bool = True
    depth: bool = True
    pretrained: bool = True

    @property
    def name(self) -> str:
        """As in folders and tables: "preview-on_depth-off_pretrained"."""
        switch = {True: "on", False: "off"}
        weights = "pretrained" if self.pretrained else "random"
        return f"preview-{switch[self.preview]}_depth-{switch[self.depth]}_{weights}"


@dataclass(frozen=True)
class Ablation:
    """What is asked for.

    Attributes:
        options: of the runs; its settings of post-training are those of the full method, `output` the study's folder.
        previews, depths, weights: the values of the three switches.
        fractions: of the training records; 1 takes all of them.
    """

    options: RunOptions
    previews: tuple[bool, ...] = (True, False)
    depths: tuple[bool, ...] = (True, False)
    weights: tuple[bool, ...] = (True, False)
    fractions: tuple[float, ...] = (1.0, 0.3, 0.1)

    def __post_init__(self) -> None:
        """Refuse what cannot be distinguished."""
        if any(self.depths) and not self.options.post_training.depth_rate:
            raise InputError("depth_rate is 0: with stochastic depth on and off the runs would be the same.")
        # Two arms of equal runs would show a difference of chance as one of pre-training.
        named = [model for model in self.options.models if model.startswith("random:")]
        if named and len(self.weights) > 1:
            raise InputError(
                f"{named[0]!r} has random weights already: its runs would be the same; add --weights random."
            )
        if self.options.modes not in ((), (POST_TRAIN,)):
            raise InputError(f"Ablations are of mode {POST_TRAIN!r}, not of {', '.join(self.options.modes)}.")
        if self.options.train_subset is not None or self.options.shard is not None:
            raise InputError("--train-fraction and --shard are for `ecg-eval run`; here --fractions says what is run.")
        for values in (self.previews, self.depths, self.weights, self.fractions):
            if not values or len(set(values)) != len(values):
                raise InputError(f"{values!r}: give one or several different values of each switch and fraction.")

    @property
    def arms(self) -> list[Arm]:
        """All settings of the switches, the full method first."""
        return [Arm(*values) for values in itertools.product(self.previews, self.depths, self.weights)]


@dataclass(frozen=True)
class Planned:
    """One call of the runner."""

    arm: Arm
    fraction: float
    seed: int
    options: RunOptions


def planned(study: Ablation) -> Iterator[Planned]:
    """All calls, the largest fraction first."""
    full = study.options.post_training
    for model, fraction, seed, arm in itertools.product(
        study.options.models, sorted(study.fractions, reverse=True), study.options.seeds, study.arms
    ):
        subset = TrainSubset(fraction, seed, nested=True, one_record_per_patient=False, validation=False)
        # Off is a rate of 0 and not another code path, so that arms differ in this alone.
        rate = full.depth_rate if arm.depth else 0.0
        switches = replace(full, preview=arm.preview, pretrained=arm.pretrained, depth_rate=rate)
        output = study.options.output / "runs" / arm.name / fraction_folder(fraction) / f"seed_{seed}"
        yield Planned(arm, fraction, seed, replace(
            study.options, models=(model,), modes=(POST_TRAIN,), seeds=(seed,), output=output, post_training=switches,
            # All records are no subset: it would stand among the deviations of a run that does not deviate.
            train_subset=None if fraction == 1 else subset,
        ))  # fmt: skip


Key = tuple[str, str, float, Arm]
"""Task, model, fraction, arm."""


@dataclass
class Collected:
    """What the runs of a study gave: scores and validation curves by key, and what was not done."""

    scores: dict[Key, list[RunScore]]
    curves: dict[Key, list[list[dict[str, Any]]]]
    faults: list[str]
    results: list[Result]


def run_ablation(study: Ablation, quiet: bool = False) -> tuple[dict[str, Any], list[Result]]:
    """Do all runs, or what is left of them, and write table, curves and plot."""
    from eval_harness.runner.provide import ready
    from eval_harness.runner.run import evaluate

    names: dict[str, Run] = {}
    for run in runs(expand(study.options.tasks, study.options.include), study.options.include, study.options.separate):
        if run.kind != "multi_label_classification":
            raise InputError(f"Run {run.name!r} has regression targets; ablations compare AUROC and AUPRC of classes.")
        names.update({task.name: run for task in run.tasks})
    collected = Collected({}, {}, [], [])
    calls = list(planned(study))
    found = ready(*(call.options for call in calls))
    for call in calls:
        _collect(collected, call, evaluate(call.options, quiet, found), study)
    content = summary(study, collected)
    if collected.results:  # of several processes, one holds the results
        content = checked(content, AblationResult)
        write_text(study.options.output / RESULT_FILE, json.dumps(content, indent=1) + "\n")
        write_plot(AblationResult.model_validate(content), study.options.output / PLOT_FILE)
    return content, collected.results


def _collect(collected: Collected, call: Planned, results: list[Result], study: Ablation) -> None:
    protocol = study.options.protocol
    for result in results:
        collected.results.append(result)
        model = call.options.models[0]
        where = f"{model} {result.task} {call.arm.name} {fraction_name(call.fraction)} seed {call.seed}"
        if result.status != "done":
            collected.faults.append(f"{where}: {result.status}: {result.reason}")
            continue
        folder = result_folder(call.options, model, POST_TRAIN, call.seed)
        task = get_task(result.task, call.options.include).read_from(result.run)
        key = (result.task, model, call.fraction, call.arm)
        score = score_run(folder, result, task, protocol.resamples)
        collected.scores.setdefault(key, []).append(score)
        history = read_json(folder / "history" / f"{result.run}.json")["history"]
        collected.curves.setdefault(key, []).append(history)


def summary(study: Ablation, collected: Collected) -> dict[str, Any]:
    """Scores, curves, and the difference of each arm to plain fine-tuning, as they are written."""
    confidence = study.options.protocol.confidence
    joints = {key: joint(scores) for key, scores in collected.scores.items()}
    rows = []
    for key, value in joints.items():
        task, model, fraction, arm = key
        # From the same weights, so that the gain of the method is not mixed with that of pre-training.
        plain = joints.get((task, model, fraction, Arm(False, False, arm.pretrained)))
        rows.append(
            {
                "task": task,
                "model": model,
                "fraction": fraction,
                "records": value.records,
                "preview": arm.preview,
                "stochastic_depth": arm.depth,
                "pretrained": arm.pretrained,
                "arm": arm.name,
                "runs": len(value.by_run[METRICS[0]]),
                **value.content(confidence),
                "minus_plain": minus(value, plain, confidence),
                "curve": mean_curve(collected.curves[key]),
            }
        )
    return {
        **head_of("ablation", study.options, not collected.faults, collected.results),
        "post_training": study.options.post_training.as_dict(),
        "fractions": sorted(study.fractions, reverse=True),
        "seeds": list(study.options.seeds),
        "resamples": study.options.protocol.resamples,
        "confidence": confidence,
        "rows": rows,
        "not_done": collected.faults,
        **made_now(),
    }


def minus(value: SeedAverage, plain: SeedAverage | None, confidence: float) -> dict[str, Any] | None:
    """The difference to plain fine-tuning, paired by seed and on the same resamples of test records.

    Its interval is that of the mean of the paired differences. None for plain fine-tuning itself, and where the two
    were not done with the same seeds.
    """
    # Pairs by seed: a missing one on either side would pair runs of different draws.
    if plain is None or plain is value or plain.seeds != value.seeds:
        return None
    differences = {}
    for metric in METRICS:
        point = value.points[metric] - plain.points[metric]
        replicates = value.replicates[metric] - plain.replicates[metric]
        differences[metric] = numbers_of(point, replicates, confidence, (-1.0, 1.0), too_few(value.repetitions))
    return differences


def mean_curve(histories: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Per epoch the stage and the means over the runs of loss and of validation AUROC and AUPRC."""
    curve = []
    for steps in zip(*histories, strict=True):
        row: dict[str, Any] = {"epoch": steps[0]["epoch"], "stage": steps[0]["stage"]}
        for name in ("loss", "validation", "validation_auprc"):
            values = [step[name] for step in steps if step.get(name) is not None]
            row[name] = float(np.mean(values)) if values else None
        curve.append(row)
    return curve
