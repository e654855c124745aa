"""What was computed again before, so that the next build of the page takes seconds: a small file of digests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from ecg_hub import __version__ as PACKAGE_VERSION  # noqa: N812 - a constant
from eval_harness.atomic import write_text


@dataclass
class Memory:
    """Outcomes by digest of everything they depend on.

    Attributes:
        path: of the file; None keeps nothing.
        checks: of entry and predictions -> what differed; empty when nothing did.
        ties: of task and predictions -> pairs of rows that cannot be told apart.
    """

    path: Path | None = None
    checks: dict[str, list[str]] = field(default_factory=dict)
    ties: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @staticmethod
    def key(*parts: str) -> str:
        """Return the digest of what an outcome depends on, this version of the package among it."""
        return hashlib.sha256("|".join((PACKAGE_VERSION, *parts)).encode()).hexdigest()

    def save(self) -> None:
        """Write the file."""
        if self.path is not None:
            write_text(self.path, json.dumps({"checks": self.checks, "ties": self.ties}))


def open_memory(path: Path | None) -> Memory:
    """Read the file; one that cannot be read is started again, it only saves time."""
    if path is None or not path.is_file():
        return Memory(path)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        ties = {key: [(str(a), str(b)) for a, b in pairs] for key, pairs in raw["ties"].items()}
        return Memory(path, {key: [str(line) for line in lines] for key, lines in raw["checks"].items()}, ties)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Memory(path)
