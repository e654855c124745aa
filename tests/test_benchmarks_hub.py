"""What strains the hub and the commands, at a hundredth of its size; ECG_STRESS=100 runs the whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
STRESS = int(os.environ.get("ECG_STRESS", "1"))
pytestmark = [pytest.mark.heavy, pytest.mark.skipif(os.name != "posix", reason="forks, and reads /proc")]


def _run(script: str, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}.py", *words],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_mixed_load_loses_nothing() -> None:
    result = _run("hub_load", "--seconds", str(6 * STRESS))
    assert set(result["statuses"]) == {"200"}
    assert result["commits"] > 8
    # 100 MB of folders and what the page cache of a run leaves, whatever its length.
    assert result["memory MB"]["most"] < 400


def test_odd_requests_end_in_no_trace() -> None:
    result = _run("hub_load", "--fuzz", str(1000 * STRESS))
    assert sum(result["statuses"].values()) == 1000 * STRESS
    assert set(result["statuses"]) > {"200", "400", "401", "404"}
    assert result["memory MB"]["most"] < 100


def test_commands_that_are_killed_go_on() -> None:
    chosen = [] if STRESS >= 100 else ["info", "data info", "data shards", "mirror", "import", "data push"]
    result = _run("kills", "--kills", str(max(9, 2 * STRESS)), *(word for name in chosen for word in ("--only", name)))
    assert result["kills"] == sum(result["ends"].values()) == max(9, 2 * STRESS)
