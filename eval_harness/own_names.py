"""Names of models outside the catalogue: Python objects and the baseline; importable without torch."""

from __future__ import annotations

PREFIX = "python:"
TRIVIAL = "trivial"
"""The baseline without an encoder."""

FORM = "python:FILE.py:NAME or python:MODULE:NAME"


def is_own(name: str) -> bool:
    """Whether a model name is a Python object."""
    return name.startswith(PREFIX)
