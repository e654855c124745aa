"""Presets: what a model wants to be fed, as data.

A preset is a mapping that lives in preprocessor_config.json:

    {"sampling_rate": 240, "input_seconds": 2.5, "lead_names": ["I", ..., "V6"], "steps": [{"name": "clip", ...}],
     "resample": "kaiser_best"}

`steps` (see ecg_hub.input.preparation) and `resample` (see ecg_hub.input.resampling.METHODS) may be left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecg_hub.errors import InputError, did_you_mean, unknown_name
from ecg_hub.input.preparation import check_step
from ecg_hub.input.resampling import METHODS
from ecg_hub.input.windows import window_length
from ecg_hub.leads import LEADS, canonical_leads

_REQUIRED = ("sampling_rate", "input_seconds", "lead_names")
_KEYS = (*_REQUIRED, "steps", "resample")


@dataclass(frozen=True)
class InputSpec:
    """What one preset feeds the model.

    Attributes:
        preset: the preset's name.
        sampling_rate: rate in Hz.
        input_seconds: length of the window in seconds.
        lead_names: canonical names in the model's order.
        samples: samples per window at `sampling_rate`.
        steps: checked preparation steps, in order.
        resample: name of the resampling method.
    """

    preset: str
    sampling_rate: int
    input_seconds: float
    lead_names: tuple[str, ...]
    samples: int
    steps: tuple[dict[str, Any], ...] = ()
    resample: str = "kaiser_best"

    @property
    def source_steps(self) -> tuple[dict[str, Any], ...]:
        """The steps for the whole record at its own rate; empty for every `benchmark` preset."""
        return tuple(step for step in self.steps if step["at"] == "source")

    @property
    def model_steps(self) -> tuple[dict[str, Any], ...]:
        """The steps for each window at the model's rate."""
        return tuple(step for step in self.steps if step["at"] == "model")

    def to_dict(self) -> dict[str, Any]:
        """Return the preset as plain JSON values."""
        return {
            "sampling_rate": self.sampling_rate,
            "input_seconds": self.input_seconds,
            "lead_names": list(self.lead_names),
            "steps": [dict(step) for step in self.steps],
            "resample": self.resample,
        }


def parse_preset(name: str, preset: Mapping[str, Any]) -> InputSpec:
    """Check a preset and return what it feeds.

    Args:
        name: the preset's name, for messages.
        preset: the mapping described at the head of this module.

    Raises:
        InputError: a key is absent, unknown, or holds a value that does not fit (unknown lead, step or method, ...).

    Example:
        >>> spec = parse_preset("mine", {"sampling_rate": 240, "input_seconds": 2.5, "lead_names": ["II", "V1"]})
        >>> spec.samples, spec.lead_names, spec.resample
        (600, ('II', 'V1'), 'kaiser_best')
        >>> parse_preset("mine", {"sampling_rate": 240, "input_seconds": 2.5, "leads": ["II"]})
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: Preset 'mine' has no key 'leads'. Did you mean 'lead_names'? ...
    """
    if not isinstance(preset, Mapping):
        raise InputError(f"Preset {name!r} must be a mapping, not {preset!r}.")
    for key in preset:
        if key not in _KEYS:
            raise InputError(f"Preset {name!r} has no key {key!r}.{did_you_mean(str(key), _KEYS)} Keys: {_KEYS}.")
    absent = [key for key in _REQUIRED if key not in preset]
    if absent:
        raise InputError(f"Preset {name!r} lacks {', '.join(absent)}: give {', '.join(_REQUIRED)}.")
    rate, seconds = _whole_rate(name, preset["sampling_rate"]), _seconds(name, preset["input_seconds"])
    # The default is how the benchmark resampled; another is what some authors' own pipelines do.
    method = preset.get("resample", "kaiser_best")
    if method not in METHODS:
        raise unknown_name("resampling method", str(method), METHODS)
    return InputSpec(
        preset=name,
        sampling_rate=rate,
        input_seconds=seconds,
        lead_names=_standard_leads(name, preset["lead_names"]),
        samples=window_length(seconds, rate),
        steps=tuple(check_step(step) for step in preset.get("steps", ())),
        resample=method,
    )


def _whole_rate(name: str, rate: Any) -> int:
    # True is an integer to Python. A rate that is not a number (NaN) differs from itself, so from its whole part.
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or rate != rate // 1 or not 0 < rate < math.inf:
        raise InputError(f"Preset {name!r}: sampling_rate must be a positive whole number of Hz, not {rate!r}.")
    return int(rate)


def _seconds(name: str, seconds: Any) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise InputError(f"Preset {name!r}: input_seconds must be a positive number of seconds, not {seconds!r}.")
    return float(seconds)


def _standard_leads(name: str, names: Any) -> tuple[str, ...]:
    leads = canonical_leads(names)
    surplus = [lead for lead in leads if lead not in LEADS]
    if surplus or not leads:
        raise InputError(f"Preset {name!r}: lead_names must be some of {', '.join(LEADS)}, not {list(leads)!r}.")
    return leads
