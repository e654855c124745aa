"""Uploads to `ecg-hub serve` and downloads from it, against plain file copy through uvicorn.

    python benchmarks/hub_transfer.py [--megabytes 400] [--repeats 5]

Plain is the least that a server can do: a bare ASGI application that writes what arrives to a file, and sends a file
back. The hub also checks who asks, hashes what arrives, looks for room, and flushes to disk before it answers. Both run
under uvicorn in a process of their own on 127.0.0.1 and serve the same client, which streams from a file and into a
file. Both ways take turns; each upload is new content. Prints the best of all rounds, which other work on the machine
disturbs least, as JSON; ends with an error where the hub reaches less than half of plain copy's throughput.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

MB = 10**6
PIECE = 1 << 20
LEAST = 0.5
PLAIN = """
import sys, uvicorn
from starlette.responses import FileResponse

class Download(FileResponse):
    chunk_size = 1 << 20

async def app(scope, receive, send):
    path = sys.argv[1] + scope["path"]
    if scope["method"] == "GET":
        return await Download(path)(scope, receive, send)
    more = True
    with open(path, "wb") as file:
        while more:
            message = await receive()
            file.write(message["body"])
            more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})

config = uvicorn.Config(app, port=0, lifespan="off", access_log=False, log_level="warning", ws="none")
server = uvicorn.Server(config)
socket = config.bind_socket()
print(f"at http://127.0.0.1:{socket.getsockname()[1]}", flush=True)
server.run(sockets=[socket])
"""


@contextmanager
def serving(command: list[str]) -> Iterator[str]:
    """Run a server; yields the address that it prints."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield line.rsplit(" at ", 1)[-1].removeprefix("at ").strip()
    finally:
        process.terminate()
        process.communicate()


def fresh(path: Path, size: int) -> str:
    """Write new content; returns its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, PIECE):
            piece = os.urandom(min(PIECE, size - start))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def put(client: httpx2.Client, address: str, path: Path) -> None:
    headers = {"Content-Length": str(path.stat().st_size)}
    client.put(address, content=pieces(path), headers=headers).raise_for_status()


def get(client: httpx2.Client, address: str, path: Path) -> None:
    with client.stream("GET", address) as answer, path.open("wb") as file:
        answer.raise_for_status()
        for piece in answer.iter_bytes(PIECE):
            file.write(piece)


class OnHub:
    """The hub's way: an address from the LFS batch, the content, a commit, the file by its name."""

    def __init__(self, client: httpx2.Client, url: str) -> None:
        self.client, self.url = client, url
        client.post(f"{url}/api/repos/create", json={"name": "weights", "type": "model"}).raise_for_status()

    def upload(self, path: Path, sha256: str) -> None:
        size = path.stat().st_size
        batch = {"operation": "upload", "hash_algo": "sha256", "objects": [{"oid": sha256, "size": size}]}
        answer = self.client.post(f"{self.url}/local/weights.git/info/lfs/objects/batch", json=batch)
        put(self.client, answer.json()["objects"][0]["actions"]["upload"]["href"], path)
        large = {"path": "model.safetensors", "algo": "sha256", "oid": sha256, "size": size}
        lines = [{"key": "header", "value": {"summary": "weights"}}, {"key": "lfsFile", "value": large}]
        content = "\n".join(json.dumps(line) for line in lines)
        self.client.post(f"{self.url}/api/models/local/weights/commit/main", content=content).raise_for_status()

    def download(self, path: Path) -> None:
        get(self.client, f"{self.url}/local/weights/resolve/main/model.safetensors", path)


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call, with the disk at rest when it starts."""
    os.sync()
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure(folder: Path, size: int, repeats: int) -> dict[str, float]:
    """Seconds of each way in its best round."""
    (folder / "plain").mkdir()
    seconds: dict[str, list[float]] = {}
    hub_command = [
        sys.executable,
        "-m",
        "eval_harness.cli.hub.main",
        "serve",
        "--root",
        str(folder / "hub"),
        "--port",
        "0",
    ]
    with (
        serving([sys.executable, "-c", PLAIN, str(folder / "plain")]) as plain,
        serving(hub_command) as url,
        httpx2.Client(timeout=600) as client,
    ):
        hub = OnHub(client, url)
        source, target = folder / "source", folder / "target"
        for number in range(repeats + 1):
            sha256 = fresh(source, size)
            ways: list[tuple[str, Callable[[], Any]]] = [
                ("plain up", lambda: put(client, f"{plain}/file", source)),
                ("hub up", lambda: hub.upload(source, sha256)),  # noqa: B023 - called in this round
                ("plain down", lambda: get(client, f"{plain}/file", target)),
                ("hub down", lambda: hub.download(target)),
            ]
            for name, way in ways if number % 2 else (ways[1], ways[0], ways[3], ways[2]):
                took = timed(way)
                if number:  # the first round warms up
                    seconds.setdefault(name, []).append(took)
            if hashlib.sha256(target.read_bytes()).hexdigest() != sha256:
                sys.exit("what came back is not what was sent")
    return {name: min(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--least", type=float, default=LEAST, help="share of plain copy's throughput; 0 asks for nothing"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), options.megabytes * MB, options.repeats)
    shares = {way: seconds[f"plain {way}"] / seconds[f"hub {way}"] for way in ("up", "down")}
    report = {
        "megabytes": options.megabytes,
        "mb_per_s": {name: round(options.megabytes / took) for name, took in seconds.items()},
        "share_of_plain": {way: round(share, 2) for way, share in shares.items()},
    }
    print(json.dumps(report, indent=1))
    if min(shares.values()) < options.least:
        sys.exit(f"{min(shares.values()):.2f} of plain copy's throughput; the goal is {options.least:g}")


if __name__ == "__main__":
    main()
