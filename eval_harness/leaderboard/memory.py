"""What was computed again before, so that the next build of the page takes seconds: a small file of digests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecg_hub import __version__ as PACKAGE_VERSION  # noqa: N812 - a constant
from eval_harness.atomic import write_text


@dataclass
class Memory:
    """Outcomes by digest of everything they depend on.

    Attributes:
        path: of the file; None keeps nothing.
        checks: of entry and predictions -> what differed; empty when nothing did.
        pairings: of task, predictions and method of comparison -> which rows were paired, and which of them tie.
    """

    path: Path | None = None
    checks: dict[str, list[str]] = field(default_factory=dict)
    pairings: dict[str, dict[str, Any]] = field(default_factory=dict)

    @staticmethod
    def key(*parts: str) -> str:
        """Return the digest of what an outcome depends on, this version of the package among it."""
        return hashlib.sha256("|".join((PACKAGE_VERSION, *parts)).encode()).hexdigest()

    def save(self) -> None:
        """Write the file."""
        if self.path is not None:
            write_text(self.path, json.dumps({"checks": self.checks, "pairings": self.pairings}))


def open_memory(path: Path | None) -> Memory:
    """Read the file; one that cannot be read is started again, it only saves time."""
    if path is None or not path.is_file():
        return Memory(path)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        pairings = {key: dict(pairing) for key, pairing in raw["pairings"].items()}
        return Memory(path, {key: [str(line) for line in lines] for key, lines in raw["checks"].items()}, pairings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Memory(path)
