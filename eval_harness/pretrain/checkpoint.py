"""Checkpoints of a pre-training run: a folder per step that is whole or absent, each with a hub model in it.

    checkpoints/step_00001000/model/         weights, configuration, feature extractor and card
    checkpoints/step_00001000/optimizer.pt   state of the optimiser (and of the gradient scaler of fp16)
    checkpoints/step_00001000/state.json     step, fingerprint of the run, SHA-256 of every file

Nothing random is stored: all of it is drawn anew from (seed, step, lane).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from ecg_hub.errors import CheckpointError, ResultError
from ecg_hub.utils.files import atomic_folder, file_sha256
from eval_harness.results.schema import Strict, read_json

MODEL, OPTIMIZER, STATE = "model", "optimizer.pt", "state.json"
_NAME = re.compile(r"step_(\d{8,})$")


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

    state = load_file(checkpoint / MODEL / "model.safetensors")
    try:
        model.load_state_dict(state, strict=True)
        load_optimizer(torch.load(checkpoint / OPTIMIZER, map_location="cpu", weights_only=True))
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{str(checkpoint)!r} does not fit the model: {error}") from error
    return step_of(checkpoint)
