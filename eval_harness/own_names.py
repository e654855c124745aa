"""How a Python object is named on the command line; importable without torch."""

from __future__ import annotations

PREFIX = "python:"
FORM = "python:FILE.py:NAME or python:MODULE:NAME"


def is_own(name: str) -> bool:
    """Whether a model name is a Python object."""
    return name.startswith(PREFIX)
