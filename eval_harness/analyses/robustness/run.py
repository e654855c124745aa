"""`ecg-eval robustness`: the trained head of a run scored again on corrupted test records, nothing trained again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError, unknown_name
from ecg_hub.spelling import matching, registered
from ecg_hub.utils.terminal import progress
from eval_harness.analyses.files import continued, write_analysis
from eval_harness.analyses.robustness.corruptions import VERSION, Corruption, NotApplicableError, corruptions, generator
from eval_harness.analyses.robustness.schema import Change, Condition, RobustnessResult, Scored
from eval_harness.analyses.trained import (
    Trained,
    check_head,
    find_one,
    head_of_result,
    ids_digest,
    open_its_data,
    open_trained,
    stored_runs,
)
from eval_harness.config.options import ReopenOptions
from eval_harness.data.windows import Float, Reader, RunData, Split, evenly_spaced
from eval_harness.metrics.checks import checked_pair
from eval_harness.metrics.registry import MACRO_AUPRC, MACRO_AUROC, MAE
from eval_harness.metrics.thresholds import choose_thresholds
from eval_harness.results.comparison import repeated_patients
from eval_harness.results.folders import locked_folder
from eval_harness.results.schema import Estimate
from eval_harness.results.scoring import RESAMPLE_SEED, STATISTICS_VERSION, ResampleUnit, patient_groups
from eval_harness.stats import estimates
from eval_harness.stats.bootstrap import bootstrap_counts
from eval_harness.stats.influence import Units
from eval_harness.stats.resampled import Interval, difference, macro, metric_replicates, resample_decisions

FOLDER = "robustness"
Resampled = tuple[float, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class RobustnessOptions(ReopenOptions):
    """What is corrupted and how it is scored; results go to FOLDER/robustness.

    Attributes:
        wanted: names or groups of corruptions, wildcards allowed; () takes all.
        runs: names of training runs; () takes all whose head was kept.
        seed: of the corruptions.
        mains_hz: frequency of the hum.
    """

    wanted: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    seed: int = 0
    mains_hz: float = 50.0

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        super().__post_init__()
        if self.seed < 0 or self.mains_hz <= 0:
            raise InputError(f"seed {self.seed!r} and mains {self.mains_hz!r} Hz must be 0 or more, and above 0.")


class CorruptedReader:
    """Reads windows of corrupted records: as a whole, seeded by seed, corruption and name of the record."""

    def __init__(
        self, reader: Reader, names: Mapping[int, str], rate: float, corruption: Corruption, strength: float, seed: int
    ) -> None:
        self.reader, self.names, self.rate = reader, names, rate
        self.corruption, self.strength, self.seed = corruption, strength, seed
        self.lengths = reader.lengths
        self._last: tuple[int, Float] | None = None

    def window_mv(self, i: int, start: int, stop: int) -> Float:
        """Samples start to stop of corrupted record i, float32 (samples, 12), mV, missing as NaN."""
        # Windows of a record are read one after another, so that keeping one spares corrupting it for each of them.
        if self._last is None or self._last[0] != i:
            record = self.reader.window_mv(i, 0, int(self.lengths[i]))
            rng = generator(self.seed, self.corruption.name, self.names[i])
            self._last = i, self.corruption(record, self.rate, self.strength, rng)
        return self._last[1][start:stop]


def corrupted(split: Split, rate: float, corruption: Corruption, strength: float, seed: int) -> Split:
    """Return the split with every record corrupted."""
    # By name and not by row: a record is disturbed alike whichever part of the split is scored.
    names = {int(row): record for row, record in zip(split.rows, split.record_ids, strict=True)}
    return dataclasses.replace(split, reader=CorruptedReader(split.reader, names, rate, corruption, strength, seed))


def choose(wanted: Sequence[str], mains_hz: float = 50.0) -> list[Corruption]:
    """Return the corruptions of the given names, groups or patterns, each once; all for none."""
    available = corruptions(mains_hz)
    chosen: dict[str, Corruption] = {}
    for name in wanted or ("*",):
        groups = {c.group for c in available.values()}
        fits = set(matching(name, [*available, *groups]))
        fitting = {c.name: c for c in available.values() if fits & {c.name, c.group}}
        if not fitting:
            raise unknown_name("corruption", name, {*available, *groups})
        chosen |= fitting
    return list(chosen.values())


def run_robustness(options: RobustnessOptions) -> list[RobustnessResult]:
    """Score the trained heads of a result folder under every corruption and strength; one result per training run."""
    chosen = choose(options.wanted, options.mains_hz)
    run_folder = find_one(options.folder)
    names = stored_runs(run_folder)
    wanted = [registered("training run", name, names) for name in options.runs]
    output = options.output or run_folder.folder / FOLDER
    results = []
    with locked_folder(output):
        for name in wanted or names:
            trained = open_trained(run_folder, name, **options.open_options)
            results.append(_analyse(trained, chosen, options, output / f"robustness_{name}.json"))
    return results


def _analyse(
    trained: Trained, chosen: Sequence[Corruption], options: RobustnessOptions, path: Path
) -> RobustnessResult:
    """The result of one training run, saved after every condition."""
    data = open_its_data(trained)
    split = data.test.select(evenly_spaced(len(data.test), options.records))
    scorer = Scorer.of(trained, split, options.resamples)
    result = continued(path, _empty(trained, data, split, options, scorer), options.overwrite)
    there = {(c.corruption, c.strength) for c in result.conditions}
    missing = [(c, strength) for c in chosen for strength in c.strengths if (c.name, strength) not in there]
    if not missing and result.complete:
        return result
    # Made again and not read from the run: the comparison with its stored predictions proves head and data.
    outputs = trained.predict(data, split, options.quiet)
    result = result.model_copy(
        update={
            "largest_difference": check_head(trained, split, outputs),
            "clean": scorer.set_clean(outputs),
            # A finished result that is asked for more conditions is unfinished until they are there.
            "complete": False,
        }
    )
    for corruption, strength in progress(missing, desc=trained.run.name, unit=" conditions", quiet=options.quiet):
        part = corrupted(split, data.rate, corruption, strength, options.seed)
        condition = _condition(trained, data, part, corruption, strength, scorer)
        result = result.model_copy(update={"conditions": [*result.conditions, condition]})
        write_analysis(path, result)
    # Later calls may have added conditions in between: the file always has them in the order of the list.
    order = {name: k for k, name in enumerate(corruptions())}
    conditions = sorted(result.conditions, key=lambda c: (order[c.corruption], c.strength))
    result = result.model_copy(update={"conditions": conditions, "complete": True})
    write_analysis(path, result)
    return result


def _condition(
    trained: Trained, data: RunData, split: Split, corruption: Corruption, strength: float, scorer: Scorer
) -> Condition:
    about = {
        "corruption": corruption.name,
        "group": corruption.group,
        "title": corruption.title,
        "strength": strength,
        "unit": corruption.unit,
    }
    try:
        outputs = trained.predict(data, split, quiet=True)
    except NotApplicableError as error:
        return Condition.model_validate({**about, "status": "skipped", "reason": str(error)})
    return Condition.model_validate({**about, "status": "done", "scores": scorer.scores(outputs)})


def _empty(
    trained: Trained, data: RunData, split: Split, options: RobustnessOptions, scorer: Scorer
) -> RobustnessResult:
    settings = trained.result_folder.run.settings
    decides: dict[str, Any] = {
        "run": trained.result_folder.run.fingerprint,
        "head": trained.weights_sha256,
        "data": data.fingerprint,
        "records": ids_digest(split.record_ids),
        "tasks": [task.name for task in trained.tasks],
        "seed": options.seed,
        "mains_hz": options.mains_hz,
        # A curve must not go on with points of a corruption that does something else by now.
        "corruptions": VERSION,
        "resamples": scorer.paired.shape[1],
        "changes_resampled_by": scorer.paired_by,
        "statistics_version": STATISTICS_VERSION,
    }
    return RobustnessResult(
        settings=decides,
        **head_of_result(data, trained.accelerator.device),
        run=trained.run.name,
        model=settings.model,
        mode=settings.mode,
        seed=settings.seed,
        dataset=data.dataset,
        records=len(split),
        rate_hz=data.rate,
        signal_unit=str(getattr(split.reader, "unit", "mV")),
        main={task.name: task.metric for task in trained.tasks},
    )


@dataclass
class Scorer:
    """Scores outputs of the same records on the same resamples, so that differences to the clean ones are paired.

    Attributes:
        units: what is independent, for the intervals of scores.
        paired: (records, resamples) of `bootstrap_counts`, for changes: of patients where one has several records.
        paired_by: what `paired` draws.
        columns: task -> columns of its labels; metrics of a task follow from its kind.
        thresholds: (labels,) chosen on the validation records of the run, uncorrupted.
    """

    targets: Float
    units: Units
    paired: NDArray[np.uint16]
    paired_by: ResampleUnit
    columns: dict[str, list[int]]
    kinds: dict[str, str]
    thresholds: NDArray[np.float64]
    confidence: float
    clean: dict[str, dict[str, Resampled]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, trained: Trained, split: Split, resamples: int | None) -> Scorer:
        """The scorer of a run's tasks on a split."""
        stored, protocol = trained.predictions, trained.options.protocol
        classes = [label not in stored.regression_targets for label in stored.labels]
        validation = stored.part("validation")
        # Of clean validation records: nobody chooses new thresholds when a cable comes loose.
        cut = np.full(len(classes), np.nan)
        cut[classes] = choose_thresholds(validation.y_true[:, classes], validation.y_prob[:, classes])
        groups = None
        if protocol.resample_unit == "patient":
            test = stored.part("test")
            # The split may be a part of the stored test records, and groups follow its order.
            row_of = {record: row for row, record in enumerate(test.record_id)}
            groups = patient_groups(test)[[row_of[record] for record in split.record_ids]]
        drawn = repeated_patients(split.patient_ids, split.record_ids) if groups is None else groups
        # The same resamples for every condition, so that changes are paired.
        paired = bootstrap_counts(len(split), resamples or protocol.resamples, RESAMPLE_SEED, drawn)
        columns = {
            task.name: [stored.labels.index(label) for label in task.labels_among(stored.labels, stored.groups)]
            for task in trained.tasks
        }
        kinds = {task.name: str(task.kind) for task in trained.tasks}
        unit: ResampleUnit = "record" if drawn is None else "patient"
        return cls(split.targets, Units.of(groups), paired, unit, columns, kinds, cut, protocol.confidence)

    def set_clean(self, outputs: Float) -> dict[str, dict[str, Estimate]]:
        """Take the clean outputs as what others are compared with, and return their scores."""
        self.clean = {task: self._metrics(task, outputs) for task in self.columns}
        return {task: self._estimates(task, outputs) for task in self.columns}

    def scores(self, outputs: Float) -> dict[str, dict[str, Scored]]:
        """Scores of corrupted outputs with their paired changes."""
        by_task: dict[str, dict[str, Scored]] = {}
        for task, clean in self.clean.items():
            by_task[task] = {}
            scores = self._estimates(task, outputs)
            for metric, values in self._metrics(task, outputs).items():
                paired = difference(*values, *clean[metric])
                ends = {"point": paired.point, "low": paired.low, "high": paired.high}
                change = Change(**ends, significant=paired.significant)
                by_task[task][metric] = Scored(score=scores[metric], change=change)
        return by_task

    def _metrics(self, task: str, outputs: Float) -> dict[str, Resampled]:
        columns = self.columns[task]
        true, prob = self.targets[:, columns], outputs[:, columns]
        if self.kinds[task] == "regression":
            return {MAE: metric_replicates(MAE, true, prob, self.paired)}
        ranked = {name: metric_replicates(name, true, prob, self.paired) for name in (MACRO_AUROC, MACRO_AUPRC)}
        decided = resample_decisions(true, prob, self.thresholds[columns], self.paired)
        return ranked | {f"macro_{name}": macro(values) for name, values in decided.items()}

    def _estimates(self, task: str, outputs: Float) -> dict[str, Estimate]:
        """Scores with intervals made as those of a result."""
        columns, regression = self.columns[task], self.kinds[task] == "regression"
        # Once, here at the door: the estimates below take pairs as given.
        true, prob = checked_pair(self.targets[:, columns], outputs[:, columns], binary=not regression)
        if regression:
            return {MAE: _estimate(estimates.errors(true, prob, self.units, self.confidence)[1])}
        measured = estimates.ranking(true, prob, self.units, self.confidence)
        measured |= estimates.decisions(true, prob, self.thresholds[columns], self.units, self.confidence)
        return {f"macro_{name}": _estimate(part.macro(self.units, self.confidence)) for name, part in measured.items()}


def _estimate(interval: Interval) -> Estimate:
    return Estimate(point=interval.point, low=interval.low, high=interval.high)
