"""The weights of a pre-training run: those it begins with, its checkpoints, and the hub model that it leaves.

    checkpoints/step_00001000/model/         weights, configuration, feature extractor and card
    checkpoints/step_00001000/optimizer.pt   state of the optimiser (and of the gradient scaler of fp16)
    checkpoints/step_00001000/state.json     step, fingerprint of the run, SHA-256 of every file

A checkpoint is whole or absent. Nothing random is stored: all of it is drawn anew from (seed, step, lane).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError

from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError, ResultError
from ecg_hub.hub.card_parts import FOLDER, pretraining_code
from ecg_hub.hub.cards import own_front
from ecg_hub.hub.package import TRAINING_LOG
from ecg_hub.utils.files import atomic_folder, file_sha256
from ecg_hub.weights.conversion import fill_model_folder
from eval_harness.pretrain.config import RANDOM, architecture, trainable
from eval_harness.pretrain.log import read_log
from eval_harness.results.runfile import environment
from eval_harness.results.schema import Strict, read_json

MODEL, OPTIMIZER, STATE = "model", "optimizer.pt", "state.json"
# To the end of the name: what was put aside is called step_00001000.damaged.
_NAME = re.compile(r"step_(\d{8,})$")
VERSIONS = ("ecg-hub", "torch", "transformers", "python")


@dataclass(frozen=True)
class InitialWeights:
    """What training starts from.

    Attributes:
        model: ECGCPCForPreTraining in float32 on the CPU.
        entry: catalogue entry of its architecture.
        init: in words, for the card.
        decisive: what decides the weights at step 0, for the fingerprint.
        corpora: that these weights have seen already.
        train_only: those of them of which they have seen only training records -> fingerprint of records and splits.
        simulated: those of them of which they have seen simulated records alone.
    """

    model: Any
    entry: catalog.ModelEntry
    init: str
    decisive: dict[str, Any]
    corpora: tuple[str, ...]
    train_only: Mapping[str, str] = field(default_factory=dict)
    simulated: tuple[str, ...] = ()


def from_scratch(name: str, settings: Mapping[str, Any], seed: int) -> InitialWeights:
    """An architecture with random weights."""
    from huggingface_hub.errors import StrictDataclassError

    import ecg_hub

    chosen = architecture(name)
    try:
        model = ecg_hub.AutoModelForPreTraining.from_pretrained(chosen, seed=seed, **settings)
    except StrictDataclassError as error:
        raise InputError(f"--set: {error}") from error
    decisive = {"architecture": chosen.removeprefix(RANDOM), "settings": dict(settings)}
    return InitialWeights(model, _entry(model), "random weights", decisive, ())


def from_weights(name: str, settings: Mapping[str, Any], seed: int) -> InitialWeights:
    """The weights of a folder, short name or hub id, or the authors' checkpoint file.

    Projections that are not in them are drawn anew; the authors' file has them.
    """
    import ecg_hub
    from ecg_hub.origin import origin_of, weights_digest
    from eval_harness.models.loading import UNDECLARED, corpora_of
    from eval_harness.results.contamination import config_train_only

    if settings:
        raise InputError(f"--set {', '.join(settings)} goes with --model: --init brings its own configuration.")
    # As --init it would hide that nothing was learned before; as --model the card says "random weights".
    if name.startswith(RANDOM):
        raise InputError(f"--init {name!r} has no weights to begin with; give it as --model.")
    if Path(name).expanduser().is_file():
        return from_published(Path(name).expanduser())
    config = ecg_hub.AutoConfig.from_pretrained(name)
    entry = catalog.of_config(config)
    if entry is None or entry.classes.pretraining is None:
        raise InputError(
            f"--init {name!r} is of type {config.model_type!r}, which cannot be pre-trained here. Known: "
            f"{', '.join(trainable())}."
        )
    # Projections that the weights lack are drawn here, from the seed of the run and from nothing else.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        model = ecg_hub.AutoModelForPreTraining.from_pretrained(name, dtype=torch.float32, new_head=True)
    digest = weights_digest(model)
    description = f"{name} (sha256 of the weights {digest[:16]})" + (", new projections" if model.head_is_new else "")
    # A chain of trainings keeps what every link has seen, or a test set could be washed clean by one more step.
    seen = corpora_of(model.config, entry, origin_of(model))
    corpora, alone = (UNDECLARED,) if seen is None else tuple(seen), config_train_only(model.config) or {}
    simulated = tuple((model.config.pretraining or {}).get("simulated") or ())
    return InitialWeights(model, entry, description, {"weights_sha256": digest}, corpora, alone, simulated)


def from_published(path: Path) -> InitialWeights:
    """The weights of the authors' checkpoint of ECG-CPC, projection included; nothing in the file is run."""
    from ecg_hub.models.ecg_cpc.convert_ecg_cpc import convert_for_pretraining
    from ecg_hub.models.ecg_cpc.pretraining_ecg_cpc import ECGCPCForPreTraining
    from ecg_hub.origin import weights_digest
    from ecg_hub.weights.checkpoint import read_checkpoint
    from ecg_hub.weights.state_dict import StateDictMapper

    entry = catalog.get("ecg-cpc")
    source = read_checkpoint(path, member=entry.weights.member, usual_key=entry.weights.key)
    # Not the converter of the encoder: that one leaves the projection of the loss out.
    conversion = convert_for_pretraining(StateDictMapper(source.state))
    model = ECGCPCForPreTraining(conversion.config)
    model.load_state_dict(conversion.state, strict=True)
    description = f"{path.name} of the authors (sha256 of the file {source.sha256[:16]})"
    return InitialWeights(model, entry, description, {"weights_sha256": weights_digest(model)}, entry.corpora)


def _entry(model: Any) -> catalog.ModelEntry:
    entry = catalog.of_config(model.config)
    assert entry is not None
    return entry


class CheckpointState(Strict):
    """The content of state.json: `files` is the SHA-256 of each other file by its path in the folder."""

    step: int
    fingerprint: str
    files: dict[str, str]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run.

    Attributes:
        folder: that holds them.
        fingerprint: of the run.
        keep: how many stay.
        report: called with a line of text that should stay visible.
    """

    folder: Path
    fingerprint: str
    keep: int
    report: Callable[[str], None]

    def path(self, step: int) -> Path:
        """The folder of a step."""
        return self.folder / f"step_{step:08d}"

    def save(self, step: int, fill_model: Callable[[Path], None], optimizer: dict[str, Any]) -> Path:
        """Write a checkpoint, then remove the oldest ones."""
        target = self.path(step)
        try:
            with atomic_folder(target) as aside:
                (aside / MODEL).mkdir()
                fill_model(aside / MODEL)
                torch.save(optimizer, aside / OPTIMIZER)
                # Digests of what is written: only a folder that can prove that it is whole is continued from.
                files = {str(p.relative_to(aside)): file_sha256(p) for p in sorted(aside.rglob("*")) if p.is_file()}
                state = CheckpointState(step=step, fingerprint=self.fingerprint, files=files)
                (aside / STATE).write_text(state.model_dump_json(indent=1) + "\n", encoding="utf-8")
        except ResultError as error:
            raise ResultError(f"{error} {self._what_stays()}") from error
        except Exception as error:  # torch and safetensors raise errors of their own on a full disk
            raise ResultError(
                f"The checkpoint {str(target)!r} cannot be written ({error}). The disk may be full: free space, then "
                f"give the same command again. {self._what_stays()}"
            ) from error
        # After the new one stands: a kill before leaves one too many, never one too few.
        for step_there in self.steps()[: -self.keep]:
            shutil.rmtree(self.path(step_there), ignore_errors=True)
        return target

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        matches = [_NAME.match(path.name) for path in self.folder.glob("step_*")] if self.folder.is_dir() else []
        return sorted(int(match[1]) for match in matches if match)

    def latest(self) -> Path | None:
        """The newest whole checkpoint; damaged ones after it are named and put aside."""
        there = self.steps()
        for step in reversed(there):
            path = self.path(step)
            fault = self.fault(path)
            if fault is None:
                return path
            aside = path.with_name(f"{path.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            # Not deleted: who has a copy of one file may still repair it.
            path.rename(aside)
            self.report(f"checkpoint {str(path)!r} is damaged ({fault}); put aside as {aside.name!r}")
        if there:
            raise ResultError(
                f"None of the checkpoints in {str(self.folder)!r} is whole. --overwrite begins anew; restore one from "
                "a copy to continue."
            )
        return None

    def fault(self, path: Path) -> str | None:
        """What is wrong with a checkpoint, or None."""
        try:
            state = CheckpointState.model_validate(read_json(path / STATE))
        except (ResultError, ValidationError) as error:
            return str(error).splitlines()[0]
        # Whole, and still not ours: another data set or seed under the same folder name.
        if state.fingerprint != self.fingerprint:
            return "it belongs to another run"
        for name, digest in state.files.items():
            file = path / name
            if not file.is_file():
                return f"{name} is absent"
            if file_sha256(file) != digest:
                return f"{name} was changed or cut off"
        return None

    def _what_stays(self) -> str:
        there = self.steps()
        return f"The checkpoint of step {there[-1]} is whole." if there else "There is no checkpoint before it."


def step_of(checkpoint: Path) -> int:
    """The steps done at a checkpoint."""
    return int(json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["step"])


def restore(checkpoint: Path, model: Any, load_optimizer: Callable[[dict[str, Any]], None]) -> int:
    """Put a checkpoint into a model and an optimiser; return the steps done."""
    from safetensors.torch import load_file

    # Safetensors and weights_only: a folder that somebody sent may be continued from without running its content.
    state = load_file(checkpoint / MODEL / "model.safetensors")
    try:
        model.load_state_dict(state, strict=True)
        # To the CPU: `load_state_dict` brings moments to the devices of their parameters, which may be others now.
        load_optimizer(torch.load(checkpoint / OPTIMIZER, map_location="cpu", weights_only=True))
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{str(checkpoint)!r} does not fit the model: {error}") from error
    return step_of(checkpoint)


def filler(
    model: Any, entry: catalog.ModelEntry, facts: Mapping[str, Any], log: Path, seconds: float
) -> Callable[[Path, int], None]:
    """Return a function that writes the model, trained on windows of `seconds`, after some steps into a folder."""
    installed = environment()
    versions = {name: installed[name] for name in VERSIONS}

    def fill(folder: Path, steps: int) -> None:
        # The weights were trained: what drew them at first says no longer what they are.
        model.config.random_weights = None
        model.config.pretraining = {**facts, "steps": steps, "versions": versions}
        with no_bar():
            fill_model_folder(folder, model, entry, card(model.config, entry), native_seconds=seconds)
        # After a resume the log may hold steps beyond this checkpoint, which will be done again.
        rows = [_public(row) for row in read_log(log) if row["step"] <= steps]
        (folder / TRAINING_LOG).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")

    return fill


def _public(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the log without the reason of a failed probe, which may name folders."""
    probe = row.get("probe")
    return dict(row) if probe is None else {**row, "probe": {key: probe[key] for key in probe if key != "reason"}}


@contextmanager
def no_bar() -> Iterator[None]:
    """Without the progress bar that transformers shows for every file, below the one of the run."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def publish(checkpoint_model: Path, target: Path) -> None:
    """Copy the model of a checkpoint to where the run's model is looked for."""
    with atomic_folder(target) as aside:
        shutil.copytree(checkpoint_model, aside, dirs_exist_ok=True)


def card(config: Any, entry: catalog.ModelEntry) -> str:
    """README.md of a user's own model."""
    facts = config.pretraining
    corpora = ", ".join(_corpus(name, facts) for name in facts["corpora"]) or "nothing"
    rows = [
        ("architecture", f"{entry.title} ({entry.paper})"),
        ("pre-trained on", corpora),
        ("records", f"{facts['records']:,}"),
        ("optimiser steps", f"{facts['steps']:,}"),
        ("started from", facts["init"]),
        ("seed", facts["seed"]),
        ("other than the published run", _changes(facts["settings"])),
        ("fingerprint of the data", f"`{facts['data_fingerprint']}`"),
        ("fingerprint of the run", f"`{facts['run_fingerprint']}`"),
        ("made with", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    title = f"{entry.title}, pre-trained by ecg-hub"
    front = yaml.safe_dump(own_front(entry, config.to_dict(), title), sort_keys=False, allow_unicode=True, width=120)
    return f"""---
{front}---

# {entry.title}, pre-trained by `ecg-hub pretrain`

Not the authors' weights: the architecture and loss of {entry.title}, trained on other data.

| | |
| --- | --- |
{table}

## Use

{pretraining_code(FOLDER)}

Scored by `ecg-eval --model FOLDER --tasks TASK`: results on the corpora above are marked as seen, or as seen in the
training folds only.
Who pre-trains on records decides the licence of these weights; the licence of the records may bind it.
Research software, not a medical device.
"""


def architecture_changes(config: Any) -> dict[str, Any]:
    """Fields of an architecture that are other than published: those of -tiny, and those that --init brings."""
    published, kind = type(config)(), type(config)

    def written(of: Any, name: str) -> str:
        # As JSON, in which tuples that were written and read again are lists.
        return json.dumps(getattr(of, name), sort_keys=True)

    names = [name for name in kind.__annotations__ if written(config, name) != written(published, name)]
    return {name: getattr(config, name) for name in names}


def _corpus(name: str, facts: Mapping[str, Any]) -> str:
    if name in facts.get("simulated", ()):
        return f"simulated records in the form of {name}"
    return f"{name} (training folds only)" if name in facts.get("train_only", {}) else name


def _changes(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "nothing"
