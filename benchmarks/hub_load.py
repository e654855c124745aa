"""The hub server under mixed load, and under requests that make no sense.

    python benchmarks/hub_load.py [--clients 8] [--seconds 600]
    python benchmarks/hub_load.py --fuzz 100000 [--seed 1]

Load: clients with tokens that read or write go through lists, pages, downloads, commits, uploads by LFS, tags,
discussions, and repositories that are made and deleted, each as fast as it is answered. Prints latencies for each kind,
the server's memory over time, and whether every acknowledged commit is there and whole in the end.

Fuzz: well-formed requests with mutated methods, addresses, headers and bodies, and bytes that are no HTTP, over
connections of their own. Ends with an error if one is answered by 5xx, leaves a trace in the log, or keeps another
client waiting for more than a second.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from ecg_hub.server.app import ROUTES
from ecg_hub.server.audit import audit
from ecg_hub.server.calls import Options
from ecg_hub.server.serve import open_hub

MB = 10**6
WRITE, READ = "hf_a-token-that-writes", "hf_a-token-that-reads"
# How often each kind of work is drawn.
SHARES = {
    "info": 20, "list": 8, "tree": 10, "page": 8, "download small": 20, "download 0.5 MB": 6, "history": 5, "search": 4,
    "commit": 10, "upload and commit": 4, "tag": 2, "discussion": 2, "repository": 1,
}  # fmt: skip


@dataclass
class Server:
    """A server in a process of its own."""

    url: str
    root: Path
    log: Path
    process: subprocess.Popen[str] = field(repr=False)

    def memory_mb(self) -> float:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(found[1]) / 1000 if found else 0.0

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    tokens = folder / "tokens"
    tokens.write_text(f"{WRITE} alice\nread:{READ} bob\n")
    tokens.chmod(0o600)
    command = [sys.executable, "-m", "eval_harness.cli.hub", "serve", "--root", str(folder / "hub"), "--port", "0"]
    command += ["--token-file", str(tokens), "--min-free", "100MB", "--open-read"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            yield Server(process.stdout.readline().split()[-1], folder / "hub", folder / "log", process)
        finally:
            process.kill()
            process.wait()


class Client:
    """One client; remembers latencies and what was acknowledged."""

    def __init__(self, server: Server, number: int, seed: int) -> None:
        self.url, self.number = server.url, number
        self.random = random.Random(f"{seed} {number}")
        self.http = httpx2.Client(timeout=60, headers={"Authorization": f"Bearer {WRITE}"})
        self.times: dict[str, list[float]] = defaultdict(list)
        self.statuses: Counter[int] = Counter()
        self.acknowledged: dict[str, str] = {}  # path -> SHA-256 of what was committed there
        self.count = 0
        self.repo = f"load/m{number % 4}"  # two clients share each

    def ask(self, method: str, path: str, good: tuple[int, ...] = (200,), **options: Any) -> httpx2.Response:
        answer = self.http.request(method, path if path.startswith("http") else f"{self.url}/{path}", **options)
        self.statuses[answer.status_code] += 1
        if answer.status_code not in good:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer

    def work(self, until: float) -> None:
        kinds, shares = list(SHARES), list(SHARES.values())
        while time.monotonic() < until:
            kind = self.random.choices(kinds, shares)[0]
            began = time.monotonic()
            self.do(kind)
            self.times[kind].append(1000 * (time.monotonic() - began))

    def do(self, kind: str) -> None:
        api, self.count = f"api/models/{self.repo}", self.count + 1
        plain = {
            "info": api, "list": "api/models?full=true", "tree": f"{api}/tree/main?recursive=true", "page": self.repo,
            "download small": f"{self.repo}/resolve/main/README.md", "history": f"{api}/commits/main",
            "download 0.5 MB": f"{self.repo}/resolve/main/w.bin", "search": "api/models?search=m1",
        }  # fmt: skip
        if kind in plain:
            self.ask("GET", plain[kind])
        elif kind == "commit":
            files = {f"c{self.number}/{self.count % 50}-{n}.txt": self.random.randbytes(200) for n in range(3)}
            self.commit(files)
        elif kind == "upload and commit":
            self.commit({}, self.random.randbytes(self.random.choice([100_000, MB])))
        elif kind == "tag":
            self.ask("POST", f"{api}/tag/main", json={"tag": f"t{self.number}-{self.count}"})
        elif kind == "discussion":
            self.ask("POST", f"{api}/discussions", json={"title": f"talk {self.count}", "description": "text"})
        else:
            name = f"r{self.number}"
            self.ask("POST", "api/repos/create", json={"name": name, "organization": "load"})
            self.ask("DELETE", "api/repos/delete", json={"name": name, "organization": "load"})

    def commit(self, files: dict[str, bytes], large: bytes | None = None) -> None:
        lines: list[dict[str, Any]] = [{"key": "header", "value": {"summary": f"{self.number} {self.count}"}}]
        for path, content in files.items():
            value = {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}
            lines.append({"key": "file", "value": value})
        if large is not None:
            oid, path = hashlib.sha256(large).hexdigest(), f"c{self.number}/{self.count % 5}.bin"
            wanted = {"operation": "upload", "objects": [{"oid": oid, "size": len(large)}]}
            (one,) = self.ask("POST", f"{self.repo}.git/info/lfs/objects/batch", json=wanted).json()["objects"]
            if "actions" in one:
                self.ask("PUT", one["actions"]["upload"]["href"], content=large)
            lines.append({"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, "size": len(large)}})
            files = {path: large}
        self.ask("POST", f"api/models/{self.repo}/commit/main", content="\n".join(map(json.dumps, lines)).encode())
        self.acknowledged |= {f"{self.repo} {path}": hashlib.sha256(data).hexdigest() for path, data in files.items()}


def load(clients: int, seconds: float, seed: int, folder: Path) -> dict[str, Any]:
    """Run the load; returns what was measured."""
    with served(folder) as server:
        first = Client(server, 0, seed)
        for number in range(4):
            first.repo = f"load/m{number}"
            first.ask("POST", "api/repos/create", json={"name": f"m{number}", "organization": "load"})
            first.commit({"README.md": b"---\nlicense: mit\n---\n# A model\n" + b"text " * 400})
            first.commit({}, bytes(MB))
            first.acknowledged.clear()
        workers = [Client(server, number, seed) for number in range(clients)]
        for number in range(4):  # the name that downloads ask for
            first.repo = f"load/m{number}"
            first.commit({"w.bin": bytes(MB // 2)})
        failed: list[str] = []

        def run(worker: Client) -> None:
            try:
                worker.work(until)
            except Exception as error:
                failed.append(f"{type(error).__name__}: {error}")

        began, memory = time.monotonic(), [server.memory_mb()]
        until = began + seconds
        threads = [threading.Thread(target=run, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(min(1.0, seconds / 20))
            memory.append(server.memory_mb())
        wall, code = time.monotonic() - began, server.stop()
        log = server.log.read_text()
    with open_hub(folder / "hub", Options()) as hub:
        found = audit(hub)
        lost = _lost(hub, workers)
    tenth = max(1, len(memory) // 10)
    return {
        "clients": clients, "seconds": round(wall, 1), "failed": failed, "stopped with": code,
        "statuses": dict(sum((worker.statuses for worker in workers), Counter())),
        "requests a second": round(sum(sum(w.statuses.values()) for w in workers) / wall, 1),
        "traces in the log": log.count("Traceback"), "commits": found.commits, "problems": found.problems,
        "acknowledged and not there": lost,
        "memory MB": {
            "before": round(memory[0], 1), "first tenth": round(max(memory[:tenth]), 1),
            "last tenth": round(max(memory[-tenth:]), 1), "most": round(max(memory), 1),
        },
        "latency ms": {kind: _percentiles([t for w in workers for t in w.times[kind]]) for kind in SHARES},
    }  # fmt: skip


def _lost(hub: Any, workers: list[Client]) -> list[str]:
    """What was acknowledged and is not in the head; a path belongs to one client, so its last content counts."""
    lost = []
    for worker in workers:
        repo = hub.repos.get("models", worker.repo)
        files = hub.history.trees.files(hub.history.read(repo, repo.state().heads["main"]).tree)
        for key, sha256 in worker.acknowledged.items():
            file = files.get(key.split(" ", 1)[1])
            if file is None or file.sha256 != sha256:
                lost.append(key)
    return lost


def _percentiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    if not ordered:
        return {"count": 0}
    shown = {
        f"p{share}": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 1) for share in (50, 95, 99)
    }
    return {"count": len(ordered), **shown, "most": round(ordered[-1], 1)}


BATCH, PATIENCE = 500, 0.5  # s
PLAIN = ("main", "README.md", "refs%2Fpr%2F1", "1", "v1", "x.bin", "a")
WORDS = (
    *("ward", "m", "refs/pr/1", "..", "%2e%2e", "%00", "%ff", "a" * 300, "%C3%A4", "", ".git", "models", "datasets"),
    *("info/lfs/objects/batch", "0" * 40, "0" * 64, "-1", "spaces", "%20", "?", "a=b&c", "%2F", "~", "*"),
)  # fmt: skip
VALUES: tuple[Any, ...] = (None, True, 0, -1, 1.5, 10**30, "", "a", "x" * 2000, "\0", "\ud800", [], [[]], {}, {"a": {}})
NAMES = ("name", "type", "files", "objects", "operation", "paths", "tag", "title", "content", "oid", "size", "private")
HEADERS = (
    *("Range", "If-None-Match", "Content-Type", "Accept", "Origin", "Expect", "Cookie", "X-Forwarded-For", "Referer"),
    *("Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Accept-Encoding", "If-Range", "TE", "Host"),
)  # fmt: skip
TEXTS = (
    *("bytes=0-0", "bytes=5-1", "bytes=-0", "bytes=0-1,2-3,4-", "close", "chunked", "gzip", "100-continue", "*/*", "0"),
    *("99999999999999999999", "-5", "text/html", "application/json", "websocket", "\x01", "é", "a" * 9000, "", '"0"'),
)  # fmt: skip


def odd_request(rng: random.Random) -> bytes:
    """Return one request; most are HTTP."""
    area, method, verb = rng.choice(list(ROUTES))
    kind, repo = (
        rng.choice(["models", "datasets", "spaces"]),
        rng.choice(["ward/m", "m", "ward/none", rng.choice(WORDS)]),
    )
    parts = {"api": ["api", kind, repo, verb], "web": ["" if kind == "models" else kind, repo, verb], "site": [verb]}[
        area
    ]
    parts = [rng.choice(WORDS) if rng.random() < 0.1 else part for part in parts]
    parts += [rng.choice(PLAIN) if rng.random() < 0.8 else rng.choice(WORDS) for _ in range(rng.randrange(4))]
    path = "/" + "/".join(part for part in parts if part)
    if rng.random() < 0.4:
        path += "?" + "&".join(f"{rng.choice(NAMES)}={rng.choice(WORDS)}" for _ in range(3))
    body = _body(rng) if method != "GET" or rng.random() < 0.1 else b""
    method = method if rng.random() < 0.9 else rng.choice(["PATCH", "OPTIONS", "CONNECT", "get", "X" * 50, "HEAD"])
    token = rng.choice([WRITE, WRITE, READ, "hf_unknown-token-of-somebody", ""])
    # Deleting is for the load: the fuzz would soon ask an empty hub.
    if method == "DELETE":
        token = READ
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2])):
        lines.append(f"{rng.choice(HEADERS)}: {rng.choice(TEXTS)}")
    request = "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body
    return request if rng.random() < 0.85 else _mutated(rng, request)


def _body(rng: random.Random) -> bytes:
    chosen = rng.random()
    if chosen < 0.15:
        return rng.randbytes(rng.randrange(3000))
    value: Any = {name: rng.choice(VALUES) for name in rng.sample(NAMES, rng.randrange(6))}
    if chosen < 0.4:
        value = {"key": rng.choice(["header", "file", "lfsFile", "deletedFile"]), "value": rng.choice([value, *VALUES])}
        return b"\n".join([b'{"key":"header","value":{"summary":"s"}}', json.dumps(value).encode()])
    return _mutated(rng, json.dumps(value).encode()) if chosen < 0.6 else json.dumps(value).encode()


def _mutated(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(changed) + 1)
        if rng.random() < 0.5:
            changed[at : at + rng.randrange(8)] = rng.randbytes(rng.randrange(8))
        else:
            changed[at:at] = rng.choice([b"\r\n", b"\r\n\r\n", b"\0", b"%", b" ", b"\n", b"\xff" * 100, b":"])
    return bytes(changed)


def fuzz(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Send odd requests; returns what was answered."""
    statuses: Counter[str] = Counter()
    bad: list[str] = []
    with served(folder) as server:
        client = Client(server, 0, seed)
        client.repo = "ward/m"
        client.ask("POST", "api/repos/create", json={"name": "m", "organization": "ward"})
        client.commit({"README.md": b"---\nlicense: mit\n---\n# hi\n"})
        place, memory, slowest = urlsplit(server.url), server.memory_mb(), 0.0
        most = memory
        where = (str(place.hostname), place.port or 0)

        def one(number: int) -> None:
            request = odd_request(random.Random(f"{seed} {number}"))
            status = _send(where, request)
            statuses[status] += 1
            if status.startswith("5"):
                bad.append(f"{number}: {status} for {request[:300]!r}")

        for begin in range(0, count, BATCH):
            with ThreadPoolExecutor(16) as threads:
                sent = threads.map(one, range(begin, min(count, begin + BATCH)))
                # While they are sent.
                began = time.monotonic()
                assert client.http.get(f"{server.url}/healthz").status_code == 200
                slowest, most = max(slowest, time.monotonic() - began), max(most, server.memory_mb())
                list(sent)
        code, log = server.stop(), server.log.read_text()
    with open_hub(folder / "hub", Options()) as hub:
        problems = audit(hub).problems
    return {
        "requests": count, "seed": seed, "statuses": dict(sorted(statuses.items())), "answered by 5xx": bad[:20],
        "traces in the log": len(re.findall("Traceback", log)), "stopped with": code, "problems": problems,
        "slowest look at health s": round(slowest, 3),
        "memory MB": {"before": round(memory, 1), "most": round(most, 1)},
    }  # fmt: skip


def _send(place: tuple[str, int], request: bytes) -> str:
    """Send bytes and nothing more; returns the status, or how the connection ended."""
    with socket.create_connection(place, 30) as connection:
        # What the server still waits for never comes; tests/ecg_hub/server/test_limits.py waits for the end of it.
        connection.settimeout(PATIENCE)
        try:
            connection.sendall(request)
            head = connection.recv(64)
            while connection.recv(65536):
                pass
        except TimeoutError:
            return "waits for more"
        except OSError:
            return "closed"
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    return found[1].decode() if found else "closed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--fuzz", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="for the hub (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        work: Callable[[Path], dict[str, Any]] = lambda folder: (  # noqa: E731
            fuzz(args.fuzz, args.seed, folder) if args.fuzz else load(args.clients, args.seconds, args.seed, folder)
        )
        result = work(Path(name))
    print(json.dumps(result, indent=1))
    faults = ("failed", "answered by 5xx", "problems", "acknowledged and not there")
    if any(result.get(name) for name in faults) or result["traces in the log"] or result["stopped with"]:
        sys.exit("not as promised")


if __name__ == "__main__":
    main()
