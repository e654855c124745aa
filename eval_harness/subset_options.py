"""What part of the training records a run sees, as it is asked for; eval_harness.subsets draws it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ecg_hub.errors import InputError


@dataclass(frozen=True)
class TrainSubset:
    """Which part of the training records a run sees.

    Attributes:
        fraction: share of the training records, above 0, at most 1.
        seed: of the draw; 0 draws the published records.
        nested: whether smaller subsets lie in the larger ones of the same seed.
        one_record_per_patient: keep one record of each patient first, as published, also with fraction 1.
        validation: whether the validation records are reduced alike, as published; the test records never are.
        labelled_only: leave out records with none of the run's labels, in all three splits.
    """

    fraction: float = 1.0
    seed: int = 0
    nested: bool = False
    one_record_per_patient: bool = True
    validation: bool = True
    labelled_only: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 < self.fraction <= 1:
            raise InputError(f"The fraction of training records is {self.fraction!r}: above 0, at most 1, e.g. 1/8.")
        if self.seed < 0:
            raise InputError(f"The seed of a subset is {self.seed!r}: it must not be negative.")

    def as_dict(self) -> dict[str, Any]:
        """All fields, for run.json."""
        return dataclasses.asdict(self)

    def deviations(self) -> dict[str, Any]:
        """How a result lists them: the fraction always, the rest where it is not as published."""
        plain = {f.name: f.default for f in dataclasses.fields(self) if f.name != "fraction"}
        changed = {f"subset_{name}": value for name, value in self.as_dict().items() if plain.get(name, value) != value}
        return {"train_fraction": self.fraction, **changed}


def parse_fraction(text: str) -> float:
    """A share as people write it: "1/8" or "0.125".

    Raises:
        InputError: anything else, or not above 0 and at most 1.
    """
    above, slash, below = str(text).partition("/")
    try:
        value = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        value = float("nan")
    if not 0 < value <= 1:
        raise InputError(f"{text!r} is no fraction of the training records: write 1, 1/2 ... 1/128, or 0.3.")
    return value
