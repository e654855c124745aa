"""`log.jsonl`: one line per step and per probe, cut to the checkpoint that a run continues from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval_harness.atomic import write_error, write_text

LOG_FILE = "log.jsonl"


class TrainingLog:
    """The log of a run.

    A line of a step holds `step` (steps done), `loss`, `accuracy` (by tokens ahead), `learning_rate`, `grad_norm` and
    `records_per_s`; a line of a probe `step` and `probe`.

    Args:
        path: of the file; written by the main process only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None

    def cut(self, step: int) -> list[dict[str, Any]]:
        """Drop what was logged after a step, and a line that a kill left half written; return what stays.

        Raises:
            ResultError: the file cannot be written.
        """
        self.close()
        kept = [row for row in read_log(self.path) if row["step"] <= step]
        write_text(self.path, "".join(f"{json.dumps(row)}\n" for row in kept))
        return kept

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a line.

        Raises:
            ResultError: the file cannot be written.
        """
        try:
            if self._file is None:
                self._file = self.path.open("a", encoding="utf-8")
            self._file.write(f"{json.dumps(dict(row))}\n")
            self._file.flush()
        except OSError as error:
            raise write_error(self.path, error) from error

    def sync(self) -> None:
        """Bring what was appended to the disk."""
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise write_error(self.path, error) from error

    def close(self) -> None:
        """Close the file; `add` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a log; a line that is not whole ends it.

    Args:
        path: of the file; an absent one is empty.
    """
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            break
        rows.append(row)
    return rows
