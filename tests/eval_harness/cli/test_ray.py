"""`--engine ray` with two workers of this machine: the bytes of the single process, also when one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset_scripts import mock, prepare
from ecg_hub.inference.predict import embed
from tests.conftest import ROOT

pytest.importorskip("ray", reason="pip install 'ecg-hub[ray]'")
pytestmark = pytest.mark.heavy
RECORDS = 330


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mock.write("ptb-xl", tmp_path_factory.mktemp("raw") / "ptb-xl", records=RECORDS)


def start(words: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "eval_harness.cli.hub", *words, "--engine", "ray", "--num-proc", "2"]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def workers_at_work(driver: int, task: str) -> Iterator[int]:
    """Process ids of Ray's workers that are at a task, started by the driver's own Ray."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            number = int(folder.name)
            if task in (folder / "cmdline").read_bytes().decode() and parent_of(parent_of(number)) == driver:
                yield number
        except (OSError, ValueError):
            continue


def kill_one(driver: subprocess.Popen[str], task: str) -> int:
    while driver.poll() is None:
        for worker in workers_at_work(driver.pid, task):
            os.kill(worker, signal.SIGKILL)
            return worker
        time.sleep(0.01)
    return 0


def test_a_store_by_two_workers_one_of_which_is_killed(raw: Path, tmp_path: Path) -> None:
    whole = prepare("ptb-xl", raw, cache_dir=tmp_path / "one")
    driver = start(["data", "prepare", "ptb-xl", "--data-dir", str(raw), "--cache-dir", str(tmp_path / "ray")])
    killed = kill_one(driver, "_write_numbered")
    _, errors = driver.communicate(timeout=600)
    assert driver.returncode == 0, errors
    assert killed
    store = tmp_path / "ray" / whole.store.relative_to(tmp_path / "one")
    assert {path.name: path.read_bytes() for path in store.iterdir()} == {
        path.name: path.read_bytes() for path in whole.store.iterdir()
    }


def test_vectors_by_two_workers(raw: Path, tmp_path: Path) -> None:
    records = sorted(str(path) for path in raw.rglob("*.hea"))[:40]
    embed("random:ecg-cpc-tiny", records, tmp_path / "one.parquet")
    driver = start(["embed", "random:ecg-cpc-tiny", *records, "-o", str(tmp_path / "ray.parquet")])
    _, errors = driver.communicate(timeout=600)
    assert driver.returncode == 0, errors
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
