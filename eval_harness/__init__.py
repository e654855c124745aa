"""Scoring: tasks, modes, the runner, statistics and results."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval_harness.models.checks.check import ModelCheck, ModelCheckError
    from eval_harness.models.checks.contract import validate_model

__all__ = ["ModelCheck", "ModelCheckError", "validate_model"]

_HOMES = {
    "ModelCheck": "models.checks.check",
    "ModelCheckError": "models.checks.check",
    "validate_model": "models.checks.contract",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
