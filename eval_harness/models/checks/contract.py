"""All checks in their order, and the call that runs them on a model."""

from __future__ import annotations

import os
from typing import Any

from eval_harness.models.checks import inputs, outputs, training
from eval_harness.models.checks.check import CheckFunction, ModelCheck, first_line, require, run_check
from eval_harness.models.checks.subject import Subject, subject_of

LOADS = "loads"
CHECKS: dict[str, CheckFunction] = {
    "input contract": inputs.input_contract,
    "main input name": inputs.main_input_name,
    "output shapes": outputs.output_shapes,
    "hidden states": outputs.hidden_states,
    "batch of one": outputs.batch_of_one,
    "determinism": outputs.determinism,
    "no random numbers": outputs.no_random_numbers,
    "float32": outputs.float32,
    "bfloat16": outputs.bfloat16,
    "NaN": inputs.nan_shows,
    "infinity": inputs.infinity_stays,
    "flat signals": inputs.flat_signals,
    "wrong input": inputs.wrong_input,
    "window length": inputs.window_length,
    "feature extractor": inputs.extractor_refuses,
    "train and eval": training.train_and_eval,
    "gradients": training.gradients,
    "layer groups": training.layer_groups,
    "save and load": training.save_and_load,
    "cost": outputs.cost,
}
"""Checks by name, in the order of the table; a new one is a function here and is tested by being listed."""


def validate_model(model: Any, *, raises: bool = False) -> list[ModelCheck]:
    """Run the model contract on a model and return the outcome of every check.

    Args:
        model: a short name, folder, hub id, "FILE.py:NAME" or "python:MODULE:NAME"; or an object: a PreTrainedModel, an
            nn.Module, or something with `encode`, `sampling_rate` (Hz) and `input_seconds` (s). A class is called. An
            nn.Module is copied, and left as it is.
        raises: raise ModelCheckError if a check failed, which is what a test wants.

    Returns:
        The checks in a fixed order; the first says whether the model loads, and is alone if it does not. Whatever the
        model raises becomes a failed check.

    Raises:
        ModelCheckError: with `raises`, if a check failed; names each with what was seen and what helps.

    Example:
        >>> import torch
        >>> class Encoder(torch.nn.Module):
        ...     sampling_rate, input_seconds = 100, 10
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.conv = torch.nn.Conv1d(12, 64, 50, 25)
        ...         self.unused = torch.nn.Linear(2, 2)
        ...     def encode(self, signals):
        ...         return self.conv(signals).transpose(1, 2)
        >>> [check.check for check in validate_model(Encoder()) if check.status == "failed"]
        ['gradients']
        >>> validate_model(Encoder(), raises=True)
        Traceback (most recent call last):
            ...
        eval_harness.models.checks.check.ModelCheckError: Encoder fails 1 of 21 checks:
          gradients: no gradient reaches unused.bias, unused.weight Leave unused layers out, ...
    """
    name = os.fspath(model) if isinstance(model, str | os.PathLike) else getattr(model, "__name__", None)
    try:
        subject = subject_of(model)
    except Exception as error:  # whatever somebody's code raises while it is imported or built
        checks = [ModelCheck(LOADS, "failed", first_line(error), str(error).partition("\n")[2].replace("\n", " "))]
    else:
        loaded = ModelCheck(LOADS, "ok", f"{type(subject.model).__name__}, {_KINDS[subject.kind]}")
        checks = [loaded, *(run_check(title, function, subject) for title, function in CHECKS.items())]
    if raises:
        require(checks, name or type(model).__name__)
    return checks


def check_one(title: str, subject: Subject) -> ModelCheck:
    """Run the check of that title."""
    return run_check(title, CHECKS[title], subject)


_KINDS = {
    "hub": "a model of the hub's classes",
    "pretrained": "a PreTrainedModel of another library",
    "module": "an nn.Module",
    "object": "an object with encode()",
}
