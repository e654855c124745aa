"""Names of what can be pre-trained; importable without torch."""

from __future__ import annotations

from ecg_hub import catalog
from ecg_hub.errors import InputError, unknown_name

RANDOM, _TINY = "random:", "-tiny"


def trainable() -> list[str]:
    """Short names of the models that can be pre-trained."""
    return [alias for alias, entry in catalog.models().items() if entry.classes.pretraining is not None]


def architecture(name: str) -> str:
    """Return the `random:` name of an architecture.

    Args:
        name: short name, with or without `random:` and `-tiny`.

    Raises:
        InputError: a model that the hub cannot pre-train.
        UnknownNameError: no such model.
    """
    plain = name.removeprefix(RANDOM)
    alias = plain.removesuffix(_TINY)
    if alias in trainable():
        return RANDOM + plain
    allowed = [form for known in trainable() for form in (known, known + _TINY)]
    if alias in catalog.models():
        raise InputError(
            f"{alias!r} cannot be pre-trained here: its authors' recipe is not part of the hub. Known: "
            f"{', '.join(allowed)}."
        )
    raise unknown_name("model for pre-training", name, allowed)
