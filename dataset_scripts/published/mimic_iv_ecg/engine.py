"""Runs the steps of the derivation on DuckDB: bounded memory, progress, results kept per step and found again.

A step writes one parquet file. It gets its name when it is complete, and a JSON file beside it, written last, says so
and holds the step's report; a killed run leaves finished steps and nothing that could be taken for one. The name
carries a fingerprint of everything the step depends on: tables by name, size and time, parameters, the steps before.
Memory limit and threads are not part of it, because they change nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dataset_scripts.core.report import Step
from dataset_scripts.published.mimic_iv_ecg.sources import Source, literal
from ecg_hub.errors import DataError, InputError
from ecg_hub.utils.files import replacing
from ecg_hub.utils.terminal import progress

MEMORY_VARIABLE = "ECG_HUB_MEMORY_LIMIT"
THREADS_VARIABLE = "ECG_HUB_THREADS"
BAR = "{desc}: {percentage:3.0f}% {bar} {elapsed}<{remaining}"
DERIVATION_VERSION = 1
"""Raise it whenever a step gives other results; all steps are then done again."""


@dataclass(frozen=True)
class Settings:
    """How DuckDB works; no setting changes a result.

    Attributes:
        memory_limit: what its buffers may take, e.g. "2GB"; the process needs some hundred MB more.
        threads: at most so many; None takes as many as there are processors, eight at most.
        quiet: no progress bar.
    """

    memory_limit: str = "2GB"
    threads: int | None = None
    quiet: bool = False

    @classmethod
    def from_environment(cls) -> Settings:
        """Return the settings in ECG_HUB_MEMORY_LIMIT and ECG_HUB_THREADS."""
        threads = os.environ.get(THREADS_VARIABLE)
        if threads and (not threads.isdecimal() or int(threads) < 1):
            raise InputError(f"{THREADS_VARIABLE}={threads!r} is not a number of threads; write 1 or more.")
        return cls(os.environ.get(MEMORY_VARIABLE) or cls.memory_limit, int(threads) if threads else None)


@dataclass(frozen=True)
class Result:
    """A finished step.

    Attributes:
        path: its parquet file.
        fingerprint: of everything it depends on.
        steps: its report.
        facts: what later steps and the label layer need besides the rows.
    """

    path: Path
    fingerprint: str
    steps: tuple[Step, ...]
    facts: dict[str, Any]

    @property
    def sql(self) -> str:
        """The rows, to be used as a table in SQL."""
        return f"read_parquet({literal(self.path)})"


@dataclass
class Work:
    """What a step's function works with: a connection, and the report it adds to."""

    connection: Any
    target: Path
    title: str
    quiet: bool
    steps: list[Step] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    source: Source | None = None

    def note(self, table: str, step: str, rows_in: int | None, rows_out: int, note: str = "") -> None:
        """Add a line to the report."""
        self.steps.append(Step(table, step, rows_in, rows_out, note))

    def all(self, sql: str) -> list[tuple[Any, ...]]:
        """Return all rows of a small query."""
        rows: list[tuple[Any, ...]] = self.connection.execute(sql).fetchall()
        return rows

    def one(self, sql: str) -> Any:
        """Return the only cell of a query."""
        return self.all(sql)[0][0]

    def write(self, sql: str) -> int:
        """Write a query into the step's file and return its number of rows."""
        written = f"COPY ({sql}) TO {literal(self.target)} (FORMAT parquet, COMPRESSION zstd)"
        with _progress(self.connection, self.title, self.quiet):
            return int(self.one(written))

    def scan(self, source: Source, sql: str) -> tuple[int | None, int]:
        """Write a query over one table of the raw folder; return the rows of that table and those written."""
        self.source = source
        # DuckDB counts the rows it reads; counting them ourselves would be a second pass over the largest tables.
        profile = self.target.with_suffix(".profile.json")
        self.connection.execute(f"PRAGMA enable_profiling='json'; SET profiling_output={literal(profile)}")
        try:
            written = self.write(sql)
            self.connection.execute("PRAGMA disable_profiling")
            return _rows_scanned(profile, source.path), written
        finally:
            profile.unlink(missing_ok=True)

    @property
    def written(self) -> str:
        """The step's file as a table in SQL, once it is written."""
        return f"read_parquet({literal(self.target)})"


class Engine:
    """Does steps in a work folder, or finds them done."""

    def __init__(self, work: Path, settings: Settings) -> None:
        self.work, self.settings = work, settings

    def step(
        self, name: str, title: str, build: Callable[[Work], None], sources: Sequence[Source], *depends: Any
    ) -> Result:
        """Do a step unless it is done."""
        parts = [DERIVATION_VERSION, name, *(source.identity for source in sources)]
        parts += [item.fingerprint if isinstance(item, Result) else item for item in depends]
        fingerprint = hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]
        path = self.work / f"{name}-{fingerprint}.parquet"
        marker = path.with_suffix(".json")
        return _finished(path, marker, fingerprint) or self._do(path, marker, fingerprint, title, build, sources)

    def _do(
        self,
        path: Path,
        marker: Path,
        fingerprint: str,
        title: str,
        build: Callable[[Work], None],
        sources: Sequence[Source],
    ) -> Result:
        partial = path.with_name(f"{path.stem}.partial.parquet")
        begin = time.perf_counter()
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            with replacing(path, partial):
                with self._connection() as connection:
                    work = Work(connection, partial, title, self.settings.quiet)
                    with explained(work, sources, self.settings):
                        build(work)
                size = partial.stat().st_size
            state = {"size": size, "steps": [asdict(step) for step in work.steps], "facts": work.facts}
            state["seconds"] = round(time.perf_counter() - begin, 3)
            with replacing(marker, marker.with_suffix(".partial.json")) as aside:
                aside.write_text(json.dumps(state), encoding="utf-8")
        except OSError as error:
            raise DataError(
                f"Writing to {str(self.work)!r} failed: {error}. Make room or choose another cache_dir; the same "
                "command continues where it stopped."
            ) from error
        # As they will be read back the next time, so that both times give the same types.
        return Result(path, fingerprint, tuple(work.steps), json.loads(json.dumps(work.facts)))

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """Open a database in memory that spills into the work folder."""
        try:
            import duckdb
        except ImportError:
            raise DataError("Deriving the MIMIC-IV-ECG tasks needs DuckDB: pip install 'duckdb>=2.0'.") from None
        # In the work folder, which has room for the data; the system's temporary folder may be memory.
        spill = self.work / f"spill-{os.getpid()}"
        # More threads need more memory each, and the longest steps read one gzip file in one thread.
        threads = self.settings.threads or min(os.cpu_count() or 1, 8)
        config: Any = {"memory_limit": self.settings.memory_limit, "threads": threads, "temp_directory": str(spill)}
        try:
            connection = duckdb.connect(config=config)
        except duckdb.Error as error:
            raise InputError(f"DuckDB refuses memory_limit={self.settings.memory_limit!r}: {error}.") from None
        try:
            # `query_progress` answers only while the bar is on; its own drawing would go between our lines.
            connection.execute("SET enable_progress_bar=true; SET enable_progress_bar_print=false")
            # Times of the tables carry no zone, and that of the machine must decide nothing.
            connection.execute("SET TimeZone='UTC'")
            yield connection
        finally:
            connection.close()
            shutil.rmtree(spill, ignore_errors=True)


def _finished(path: Path, marker: Path, fingerprint: str) -> Result | None:
    try:
        state = json.loads(marker.read_text(encoding="utf-8"))
        whole = state["size"] == path.stat().st_size
        steps = tuple(Step(**step) for step in state["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # By size: a file that was cut or replaced since is made again.
    return Result(path, fingerprint, steps, state["facts"]) if whole else None


@contextmanager
def explained(work: Work, sources: Sequence[Source], settings: Settings) -> Iterator[None]:
    """Turn what DuckDB complains of into a `DataError` that names the table and the remedy."""
    import duckdb

    try:
        yield
    except (RuntimeError, duckdb.InterruptException) as error:
        # What DuckDB makes of Ctrl-C; as an ordinary error it would count as a failed dataset, and the run would go on.
        if "interrupted" in str(error).lower():
            raise KeyboardInterrupt from None
        raise
    except duckdb.OutOfMemoryException as error:
        raise DataError(
            f"{work.title}: the memory limit of {settings.memory_limit!r} is too small, or the disk for spilling is "
            f"full ({_first_line(error)}). Raise {MEMORY_VARIABLE}, lower {THREADS_VARIABLE}, or make room; the same "
            "command continues where it stopped."
        ) from None
    except duckdb.Error as error:
        source = work.source or (sources[0] if sources else None)
        if source is None:
            raise DataError(f"{work.title} failed: {_first_line(error)}.") from error
        text = str(error)
        cause = "it ends in the middle of its compressed data" if "GZIP" in text else _first_line(error)
        raise DataError(
            f"{str(source.path)!r} is damaged: {cause}. The download may have been cut off: get it again from "
            f"{source.spec.page} and compare it with the SHA256SUMS.txt there."
        ) from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3]) if lines and "CSV Error" in lines[0] else (lines[0] if lines else type(error).__name__)


def _rows_scanned(profile: Path, table: Path) -> int | None:
    """Return how many rows DuckDB read from a file, from its profile of the query; None where it does not say."""
    try:
        pending: list[Any] = [json.loads(profile.read_text(encoding="utf-8"))["operator"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
            continue
        if str(table) in json.dumps(node.get("extra_info"), ensure_ascii=False) and "rows_scanned" in node:
            return int(node["rows_scanned"])
        pending += node.get("children", [])
    return None


@contextmanager
def _progress(connection: Any, title: str, quiet: bool) -> Iterator[None]:
    """Show how far a query is, with the time left, from a thread that asks DuckDB."""
    if quiet:
        yield
        return
    done = threading.Event()
    with progress(total=100, desc=title, unit="%", bar_format=BAR, delay=1) as bar:

        def watch() -> None:
            while not done.wait(0.5):
                # The estimate may go back, and is -1 where DuckDB cannot tell.
                bar.n = max(bar.n, min(float(connection.query_progress()), 100.0))
                bar.refresh()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
            bar.n = 100
        finally:
            done.set()
            thread.join()
