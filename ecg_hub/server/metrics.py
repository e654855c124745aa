"""What a monitoring system asks for, in the text form of Prometheus: requests, durations, connections, disk, memory."""

from __future__ import annotations

import os
import shutil
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from ecg_hub.utils import __version__

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0)  # s; durations are counted up to each
_Label = tuple[str, ...]


class Metrics:
    """Counts since the start; they are kept in memory alone.

    Attributes:
        connections: open ones by the address they come from, kept by the protocol.
    """

    def __init__(self) -> None:
        self.connections: Counter[str] = Counter()
        self._guard = threading.Lock()
        self._requests: Counter[_Label] = Counter()
        self._slow = [0] * (len(BOUNDS) + 1)
        self._seconds, self._sent, self._waiting = 0.0, 0, 0
        self._started = time.time()

    def begin(self) -> None:
        """Count a request that is under way."""
        with self._guard:
            self._waiting += 1

    def end(self, method: str, route: str, status: int, seconds: float, sent: int) -> None:
        """Count a request that was answered; `route` is one of a fixed set, or the series would grow with the names."""
        with self._guard:
            self._waiting -= 1
            self._requests[method, route, str(status)] += 1
            self._slow[bisect_left(BOUNDS, seconds)] += 1
            self._seconds += seconds
            self._sent += sent

    def text(self, root: Path, reserve: int, repositories: Mapping[str, int]) -> str:
        """Return everything as text: counts, the disk of the hub's folder, and this process."""
        with self._guard:
            requests, slow, seconds = dict(self._requests), list(self._slow), self._seconds
            sent, waiting = self._sent, self._waiting
        disk = shutil.disk_usage(root)
        lines = _family("ecg_hub_info", "gauge", "Version of the hub.", [({"version": __version__}, 1)])
        counted = [(dict(zip(("method", "route", "status"), key, strict=True)), n) for key, n in requests.items()]
        lines += _family("ecg_hub_requests_total", "counter", "Requests that were answered.", sorted(counted, key=str))
        lines += _histogram("ecg_hub_request_seconds", "Time from a request's head to the end of its answer.", slow)
        lines += [f"ecg_hub_request_seconds_sum {seconds:.6f}", f"ecg_hub_request_seconds_count {sum(slow)}"]
        plain: list[tuple[str, str, str, float | None]] = [
            ("ecg_hub_sent_bytes_total", "counter", "Bytes of bodies of answers.", sent),
            ("ecg_hub_requests_under_way", "gauge", "Requests that are not answered yet.", waiting),
            ("ecg_hub_connections", "gauge", "Open connections.", sum(self.connections.copy().values())),
            ("ecg_hub_disk_size_bytes", "gauge", "Size of the disk that the folder lies on.", disk.total),
            ("ecg_hub_disk_free_bytes", "gauge", "What is free on it.", disk.free),
            ("ecg_hub_disk_reserve_bytes", "gauge", "What uploads leave free on it (--min-free).", reserve),
            ("process_cpu_seconds_total", "counter", "Processor time of the hub.", time.process_time()),
            ("process_resident_memory_bytes", "gauge", "Memory of the hub.", _resident()),
            ("process_open_fds", "gauge", "Open files and sockets.", _descriptors()),
            ("process_start_time_seconds", "gauge", "When the hub was started.", self._started),
        ]
        for name, kind, about, value in plain:
            lines += _family(name, kind, about, [({}, value)]) if value is not None else []
        held = [({"kind": kind}, count) for kind, count in repositories.items()]
        lines += _family("ecg_hub_repositories", "gauge", "Repositories.", held)
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, about: str, values: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    # No value needs escapes: methods, routes, statuses and kinds are the hub's own words.
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    for labels, value in values:
        inner = ",".join(f'{label}="{text}"' for label, text in labels.items())
        lines.append(f"{name}{{{inner}}} {value}" if inner else f"{name} {value}")
    return lines


def _histogram(name: str, about: str, counts: list[int]) -> list[str]:
    lines, below = [f"# HELP {name} {about}", f"# TYPE {name} histogram"], 0
    for bound, count in zip([*map(str, BOUNDS), "+Inf"], counts, strict=True):
        below += count
        lines.append(f'{name}_bucket{{le="{bound}"}} {below}')
    return lines


def _resident() -> int | None:
    """Return the memory of this process in bytes, where the system says."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _descriptors() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None
