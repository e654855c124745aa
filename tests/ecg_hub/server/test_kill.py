"""The server killed at any moment, and files larger than its memory."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ecg_hub.server.audit import audit
from ecg_hub.server.calls import Options
from ecg_hub.server.serve import open_hub

pytestmark = pytest.mark.heavy
LARGE = 2 * 10**9


def _start(root: Path, port: int = 0) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "eval_harness.cli.hub", "serve", "--root", str(root), "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--min-free", "1MB"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()[-1]


def _put(client: httpx2.Client, url: str, content: bytes) -> str:
    oid = hashlib.sha256(content).hexdigest()
    body = {"operation": "upload", "objects": [{"oid": oid, "size": len(content)}]}
    (one,) = client.post(f"{url}/m.git/info/lfs/objects/batch", json=body).json()["objects"]
    if "actions" in one:
        client.put(one["actions"]["upload"]["href"], content=content).raise_for_status()
    return oid


def _commit(client: httpx2.Client, url: str, number: int) -> dict[str, Any]:
    """Upload a large and a small file and commit both; returns the answer."""
    import base64
    import json

    content = random.Random(number).randbytes(300_000)
    oid = _put(client, url, content)
    small = base64.b64encode(str(number).encode()).decode()
    lines = [
        {"key": "header", "value": {"summary": f"c{number}"}},
        {"key": "lfsFile", "value": {"path": f"d/{number}.bin", "algo": "sha256", "oid": oid, "size": len(content)}},
        {"key": "file", "value": {"path": f"d/{number}.txt", "content": small, "encoding": "base64"}},
    ]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    answer = client.post(f"{url}/api/models/m/commit/main", content=body)
    answer.raise_for_status()
    return dict(answer.json())


def _work(url: str, first: int, done: dict[int, str]) -> None:
    """Commit until the server is gone; remembers what it acknowledged."""
    with httpx2.Client(timeout=20) as client:
        for number in range(first, first + 100_000):
            try:
                done[number] = _commit(client, url, number)["commitOid"]
            except httpx2.HTTPError:
                return


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_keeps_every_acknowledged_commit_and_shows_none_by_half(
    tmp_path: Path, how: signal.Signals
) -> None:
    root, moments, acknowledged = tmp_path / "hub", random.Random(7), dict[int, str]()
    for attempt in range(8):
        process, url = _start(root)
        if attempt == 0:
            httpx2.post(f"{url}/api/repos/create", json={"name": "m"}).raise_for_status()
        workers = [
            threading.Thread(target=_work, args=(url, 10**6 * (2 * attempt + side), acknowledged)) for side in range(2)
        ]
        for worker in workers:
            worker.start()
        time.sleep(0.5 + moments.random())
        process.send_signal(how)
        # What is under way at a stop is finished: both signals end in good order, whenever they come.
        assert process.wait(40) == (-how if how == signal.SIGKILL else 0)
        if process.stdout:
            process.stdout.close()
        for worker in workers:
            worker.join()
    assert len(acknowledged) > 8
    process, url = _start(root)
    assert not list((root / "tmp").iterdir())
    with httpx2.Client(timeout=20) as client:
        info = client.get(f"{url}/api/models/m").json()
        names = {file["rfilename"] for file in info["siblings"]}
        for number, oid in acknowledged.items():
            assert {f"d/{number}.bin", f"d/{number}.txt"} <= names
            assert client.get(f"{url}/api/models/m/revision/{oid}").json()["sha"] == oid
        assert {name.removesuffix(".bin") for name in names if name.endswith(".bin")} == {
            name.removesuffix(".txt") for name in names if name.endswith(".txt")
        }
        for name in sorted(names)[:20]:
            content = client.get(f"{url}/m/resolve/main/{name}").content
            number = int(name.split("/")[1].split(".")[0])
            expected = random.Random(number).randbytes(300_000) if name.endswith(".bin") else str(number).encode()
            assert content == expected
    process.terminate()
    assert process.wait(30) == 0
    if process.stdout:
        process.stdout.close()
    with open_hub(root, Options()) as hub:
        found = audit(hub)
    assert not found.problems
    assert found.commits >= len(acknowledged)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_two_gigabytes_up_and_down_with_flat_memory(tmp_path: Path) -> None:
    if os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize < 4 * LARGE:
        pytest.skip("not enough room on the disk")
    process, url = _start(tmp_path / "hub")
    piece = random.Random(1).randbytes(10**7)
    digest = hashlib.sha256()
    for _ in range(LARGE // len(piece)):
        digest.update(piece)
    oid = digest.hexdigest()

    def peak() -> int:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    with httpx2.Client(timeout=300) as client:
        client.post(f"{url}/api/repos/create", json={"name": "m"}).raise_for_status()
        before = peak()
        body = {"operation": "upload", "objects": [{"oid": oid, "size": LARGE}]}
        (one,) = client.post(f"{url}/m.git/info/lfs/objects/batch", json=body).json()["objects"]
        content = (piece for _ in range(LARGE // len(piece)))
        client.put(one["actions"]["upload"]["href"], content=content).raise_for_status()
        line = (
            '{"key":"header","value":{"summary":"s"}}\n{"key":"lfsFile","value":{"path":"big.bin","oid":"' + oid + '"}}'
        )
        client.post(f"{url}/api/models/m/commit/main", content=line.encode()).raise_for_status()
        back = hashlib.sha256()
        with client.stream("GET", f"{url}/m/resolve/main/big.bin") as answer:
            for chunk in answer.iter_bytes():
                back.update(chunk)
        assert back.hexdigest() == oid
        tail = client.get(f"{url}/m/resolve/main/big.bin", headers={"Range": f"bytes={LARGE - 5}-"})
        assert tail.content == piece[-5:]
    assert peak() - before < 64 * 1024  # kB
    process.terminate()
    assert process.wait(30) == 0
    if process.stdout:
        process.stdout.close()
