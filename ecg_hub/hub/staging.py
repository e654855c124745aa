"""The files of a repository, brought into a folder beside its place: continued, checked, several at a time."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ecg_hub.errors import CheckpointError
from ecg_hub.hub.client import HubRepository, Stored, said, same
from ecg_hub.hub.download import Patience, RemoteFile, download, open_client
from ecg_hub.names import endpoint

THREADS = 6
OPTION = "--to"


@dataclass(frozen=True)
class Source:
    """Where files come from: a repository at one commit.

    Attributes:
        remote: the repository.
        id: its full id.
        commit: the commit.
        patience: how often a broken connection is taken up again.
    """

    remote: HubRepository
    id: str
    commit: str
    patience: Patience

    def file(self, path: str, stored: Stored) -> RemoteFile:
        """Return a file as what is to be downloaded."""
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(self.id, path, repo_type=self.remote.kind, revision=self.commit, endpoint=self._endpoint)
        checksum = f"sha256:{stored.digest}" if len(stored.digest) == 64 else None
        remedy = (
            f"Repository: {self.remote.name}. Where its keepers decide who gets it, ask there and run `hf auth login`."
        )
        return RemoteFile(path, url, stored.size, checksum, remedy)

    def headers(self) -> dict[str, str]:
        """The user's token; the HTTP client does not take it along to other hosts."""
        from huggingface_hub import get_token

        given = getattr(self.remote.api, "token", None)
        token = given if isinstance(given, str) else None if given is False else get_token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    @property
    def _endpoint(self) -> str:
        return str(getattr(self.remote.api, "endpoint", None) or endpoint())


def staging_folder(target: Path, wanted: set[str]) -> Path:
    """Return the folder in which a repository grows, without what it does not need any more.

    Args:
        target: place of the finished folder.
        wanted: paths that will lie in it.
    """
    staging = target.with_name(f".{target.name}.partial")
    staging.mkdir(parents=True, exist_ok=True)
    known = {f"{path}{end}" for path in wanted for end in ("", ".part", ".part.json")}
    for path in sorted(staging.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with suppress(OSError):
                path.rmdir()
        elif path.relative_to(staging).as_posix() not in known:
            path.unlink()
    return staging


def check_space(staging: Path, target: Path, chosen: dict[str, Stored]) -> None:
    """Refuse before hours of fetching; what is here already counts by its size.

    Raises:
        CheckpointError: the disk has too little space.
    """
    needed = sum(
        stored.size
        for path, stored in chosen.items()
        if not any(
            (place / path).is_file() and (place / path).stat().st_size == stored.size for place in (staging, target)
        )
    )
    begun = sum(path.stat().st_size for path in staging.rglob("*.part"))
    free = shutil.disk_usage(staging).free
    if needed - begun > free:
        raise CheckpointError(f"{needed - begun:,} bytes are missing, and {str(staging.parent)!r} has {free:,} free.")


def fetch_all(source: Source, chosen: dict[str, Stored], staging: Path, finished: Path) -> int:
    """Bring all files into the staging folder, several at a time; returns how many came over the network.

    Args:
        source: where they come from.
        chosen: path -> size and digest.
        staging: from `staging_folder`.
        finished: the folder of an earlier mirror, whose files are used again.

    Raises:
        CheckpointError: no connection, a file came damaged, or the disk does not take it; the next call continues.
    """
    total = sum(stored.size for stored in chosen.values())
    bar = tqdm(total=total, desc=source.id, unit="B", unit_scale=True, disable=None)
    gate = _Gate(bar)
    with bar, open_client() as client, ThreadPoolExecutor(THREADS) as pool:
        client.headers.update(source.headers())

        def bring(path: str, stored: Stored) -> bool:
            return _bring(source, client, path, stored, staging, finished, gate)

        jobs = [pool.submit(bring, path, stored) for path, stored in chosen.items()]
        try:
            done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
            return sum(job.result() for job in done)
        except BaseException:
            gate.closed = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _StoppedError(Exception):
    """Another file failed, or the user gave up."""


class _Gate:
    """A bar that stops the downloads which move it on; the next call continues them.

    Attributes:
        closed: whether they are to stop.
    """

    def __init__(self, bar: Any) -> None:
        self._bar, self.closed = bar, False

    def update(self, size: int) -> None:
        """Move the bar on by bytes."""
        if self.closed:
            raise _StoppedError
        self._bar.update(size)


def _bring(source: Source, client: Any, path: str, stored: Stored, staging: Path, finished: Path, bar: Any) -> bool:
    """Bring one file: it is there already, an earlier mirror has it, or it is fetched. Returns whether it was."""
    target = staging / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file() and same(stored.digest, target):
        bar.update(stored.size)
        return False
    target.unlink(missing_ok=True)
    earlier = finished / path
    if earlier.is_file() and earlier.stat().st_size == stored.size and same(stored.digest, earlier):
        _link(earlier, target)
        bar.update(stored.size)
        return False
    with said(source.remote.name):
        download(source.file(path, stored), staging, patience=source.patience, client=client, bar=bar, option=OPTION)
    if len(stored.digest) == 40 and not same(stored.digest, target):  # a SHA-256 was compared on the way
        target.unlink()
        raise CheckpointError(
            f"{path} of {source.remote.name} came damaged and was thrown away. Give the command again."
        )
    return True


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the disk cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
