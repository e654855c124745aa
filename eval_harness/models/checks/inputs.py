"""Checks of what goes in: what the model states, what it refuses, and signals that are damaged or flat."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from ecg_hub.errors import InputError
from ecg_hub.leads import LEADS, canonical_lead
from eval_harness.models.checks.check import DrawbackError, FailedError, first_line
from eval_harness.models.checks.subject import AMPLITUDE, Subject, contract_of

RATE = 500
"""Hz of the records that the feature extractor is tried with."""


def input_contract(subject: Subject) -> str:
    """The model states rate, leads and seconds, and its feature extractor feeds just that."""
    stated = contract_of(subject)
    for name, value in (("sampling_rate", stated.sampling_rate), ("input_seconds", stated.input_seconds)):
        # Not `value <= 0`, which NaN would pass.
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise FailedError(
                f"{name} is {value!r}", f"State {name}, a number above 0, in the config or as an attribute."
            )
    leads = list(LEADS) if stated.lead_names is None else stated.lead_names
    try:
        known = {canonical_lead(name) for name in leads}
    except (InputError, AttributeError) as error:
        raise FailedError(first_line(error), "lead_names are standard leads, in the order of the rows.") from error
    if not leads or len(known) != len(leads):
        raise FailedError(f"lead_names is {leads!r}", "Name each row once.")
    if subject.extractor is None:
        raise FailedError(subject.lacks, "Save an ecg_hub.ECGFeatureExtractor beside the weights.")
    spec = subject.extractor.spec("benchmark")
    fed = (float(spec.sampling_rate), float(spec.input_seconds), list(spec.lead_names))
    # A PreTrainedModel of another library need not repeat in its config what the extractor beside it says.
    if fed != (float(stated.sampling_rate), float(stated.input_seconds), leads):
        raise FailedError(
            f"the extractor feeds {fed[1]:g} s at {fed[0]:g} Hz of {len(fed[2])} leads, the model states "
            f"{stated.input_seconds:g} s at {stated.sampling_rate:g} Hz of {len(leads)}",
            "Make the preset `benchmark` and the config say the same, leads in the same order.",
        )
    return f"{len(leads)} x {stated.input_seconds:g} s @ {stated.sampling_rate:g} Hz"


def main_input_name(subject: Subject) -> str:
    """The forward pass takes `input_values`, and says so."""
    config = subject.config
    named = getattr(subject.model, "main_input_name", None)
    first = next(iter(inspect.signature(subject.model.forward).parameters), None)
    if (named, first) != ("input_values", "input_values"):
        raise FailedError(
            f"{type(config).__name__}: main_input_name is {named!r}, the first argument of forward {first!r}",
            'Write main_input_name = "input_values" in the class and forward(self, input_values, ...).',
        )
    return "input_values"


def extractor_refuses(subject: Subject) -> str:
    """The feature extractor refuses what it cannot read, and its windows are what the model takes."""
    extractor = subject.extractor
    if extractor is None:
        raise FailedError(subject.lacks, "Save an ecg_hub.ECGFeatureExtractor beside the weights.")
    rng = np.random.default_rng(0)
    record = AMPLITUDE * rng.standard_normal((12, RATE * 30)).astype(np.float32)
    damaged = record.copy()
    damaged[0, 5] = np.nan
    named: dict[str, Any] = {"sampling_rate": RATE, "lead_names": LEADS}
    cases: dict[str, Callable[[], Any]] = {
        "no rate": lambda: extractor(record, lead_names=LEADS),
        "no lead names": lambda: extractor(record, sampling_rate=RATE),
        "an unknown lead": lambda: extractor(record, sampling_rate=RATE, lead_names=[*LEADS[:-1], "MLII"]),
        "a missing lead": lambda: extractor(record[:1], sampling_rate=RATE, lead_names=["V1"]),
        "11 rows": lambda: extractor(record[:11], **named),
        "microvolts as millivolts": lambda: extractor(1000 * record, **named),
        "NaN": lambda: extractor(damaged, **named),
        "a record that is too short": lambda: extractor(record[:, :10], **named),
    }
    # A model of one lead may want just the one that is there.
    if set(extractor.spec().lead_names) == {"V1"}:
        del cases["a missing lead"]
    wrong = _misread(cases, InputError)
    if wrong:
        raise FailedError("; ".join(wrong), "Use ecg_hub.ECGFeatureExtractor as it is; it refuses each.")
    windows = extractor(record, **named, window="all", return_tensors="pt")["input_values"]
    if not torch.isfinite(subject.encode(windows)).all():
        raise FailedError("features of its windows are not finite", "Look at the scaling steps of the preset.")
    return f"{len(cases)} kinds of wrong records refused; its windows {tuple(windows.shape[1:])} are taken"


def wrong_input(subject: Subject) -> str:
    """Too few leads, no batch axis, integers and arrays are refused rather than misread."""
    x = subject.signals()
    cases: dict[str, Any] = {"too few leads": x[:, 1:], "no batch axis": x[0]}
    if subject.is_hub:
        cases |= {"int16": (1000 * x).short(), "an array": x.numpy()}
    calls = {name: partial(subject.encode, given) for name, given in cases.items()}
    # The hub's classes say what is wrong; of others any exception will do.
    wrong = _misread(calls, InputError if subject.is_hub else Exception)
    if wrong and subject.is_hub:
        raise FailedError("; ".join(wrong), "Call self.check_input(input_values) first in forward.")
    if wrong:
        raise DrawbackError("; ".join(wrong), "Refuse input of another shape: it would be misread silently.")
    return f"refused: {', '.join(cases)}"


def window_length(subject: Subject) -> str:
    """Windows of another length are refused, or give sound features."""
    usual = subject.shape[1]
    if subject.is_hub:
        _stated_limits(subject)
    seen = []
    for name, samples in (("half", usual // 2), ("double", 2 * usual)):
        try:
            tokens = subject.encode(subject.signals(samples=samples))
        except Exception as error:  # of whatever kind: it is refused
            seen.append(f"{name} refused ({type(error).__name__})")
            continue
        if len(tokens) != 2 or not torch.isfinite(tokens).all():
            raise FailedError(
                f"{samples} samples instead of {usual}: features {tuple(tokens.shape)}, or not finite",
                "Refuse lengths that the model was not made for.",
            )
        seen.append(f"{name} supported")
    return ", ".join(seen)


def _stated_limits(subject: Subject) -> None:
    """What the configuration rules out is refused with an InputError."""
    config = subject.config
    wrong = {config.min_samples - 1}
    if config.sample_multiple > 1:
        wrong.add(config.samples - 1)
    if config.max_samples is not None:
        wrong.add(config.max_samples + config.sample_multiple)
    leads = len(config.lead_names)
    calls = {f"{samples} samples": partial(subject.encode, torch.zeros(1, leads, samples)) for samples in sorted(wrong)}
    taken = _misread(calls, InputError)
    if taken:
        raise FailedError(
            "; ".join(taken) + ", which min_samples, max_samples or sample_multiple of the config rule out",
            "Call self.check_input(input_values) first in forward.",
        )


def nan_shows(subject: Subject) -> str:
    """NaN in a window is refused, or shows in its features and in no other window's."""
    seen = _damaged(subject, float("nan"))
    if seen == "finite":
        raise FailedError(
            f"features of a window with NaN are {seen}",
            "Let NaN pass: the feature extractor decides about missing samples, and a damaged signal must not score.",
        )
    return f"features of its window are {seen}, the other window's are unchanged"


def infinity_stays(subject: Subject) -> str:
    """An infinite sample is refused, or concerns its own window alone."""
    return f"features of its window are {_damaged(subject, float('inf'))}, the other window's are unchanged"


def _damaged(subject: Subject, value: float) -> str:
    """What becomes of the features of the first of two windows with a damaged sample."""
    x = subject.signals()
    whole = subject.encode(x)
    x[0, 0, 5] = value
    try:
        features = subject.encode(x)
    except Exception as error:  # of whatever kind: it is refused, which is sound as well
        return f"refused ({type(error).__name__})"
    if not torch.isfinite(features[1]).all() or not torch.allclose(features[1], whole[1], atol=1e-5, rtol=1e-4):
        raise FailedError("the other window's features change with it", "No operation may mix the windows of a batch.")
    return "finite" if torch.isfinite(features[0]).all() else "not finite"


def flat_signals(subject: Subject) -> str:
    """A flat lead and a window of zeros, which real records have, give finite features."""
    x = subject.signals(3)
    x[0, 0] = 0.0
    x[1] = 0.0
    x[2] = 1.5
    features = subject.encode(x)
    names = ("a flat lead", "zeros", "a constant")
    wrong = [name for name, row in zip(names, features, strict=True) if not torch.isfinite(row).all()]
    if wrong:
        raise FailedError(
            f"not finite for {', '.join(wrong)}", "Add an epsilon where the signal's deviation is divided by."
        )
    return f"finite for {', '.join(names)}"


def _misread(calls: Mapping[str, Callable[[], Any]], expected: type[Exception]) -> list[str]:
    """Those of some calls that are not refused with an error of the expected kind, each with what happened."""
    found = []
    for name, call in calls.items():
        try:
            call()
        except expected:
            continue
        except Exception as error:  # refused, but nobody learns why
            found.append(f"{name}: {first_line(error)}")
        else:
            found.append(f"{name}: taken")
    return found
