"""`ecg-hub mirror`: repositories of a hub in plain folders, to be carried where there is no network.

A repository grows in `.NAME.partial` beside its place, file by file, each checked against the digest that the hub
states; a mirror that was killed continues there. Its folder takes its place in one step, then the manifest names it.

The files of a repository, brought into a folder beside its place: continued, checked, several at a time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, EcgHubError, InputError
from ecg_hub.hub.cards import folder_withheld
from ecg_hub.hub.client import HubRepository, Kind, Stored, check_id, said, same
from ecg_hub.hub.manifest import (
    FILE,
    Manifest,
    MirroredFile,
    MirroredRepository,
    check_repository,
    check_tag,
    public_origin,
    read_manifest,
    write_manifest,
)
from ecg_hub.hub.package import Package, packed, shown
from ecg_hub.names import canonical, endpoint, resolve
from ecg_hub.origin import withheld
from ecg_hub.utils.files import alone, file_sha256, flush_file, put_in_place, unwritable
from ecg_hub.utils.http import RemoteFile, RetryPolicy, download, open_client
from ecg_hub.utils.repo_names import check_path
from ecg_hub.utils.terminal import progress
from ecg_hub.utils.text import number_of

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
    patience: RetryPolicy

    def file(self, path: str, stored: Stored) -> RemoteFile:
        """Return a file as what is to be downloaded."""
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(self.id, path, repo_type=self.remote.kind, revision=self.commit, endpoint=self._endpoint)
        checksum = f"sha256:{stored.digest}" if len(stored.digest) == 64 else None
        remedy = (
            f"Repository: {self.remote.name}. Where its maintainers decide who gets it, ask there and run "
            "`hf auth login`."
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
    """Return the folder in which a repository grows, without what it does not need any more."""
    staging = target.with_name(f".{target.name}.partial")
    staging.mkdir(parents=True, exist_ok=True)
    expected = {f"{path}{end}" for path in wanted for end in ("", ".part", ".part.json")}
    # From the inside out: a folder can be removed once what was in it is.
    for path in sorted(staging.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with suppress(OSError):
                path.rmdir()
        elif path.relative_to(staging).as_posix() not in expected:
            path.unlink()
    return staging


def check_space(staging: Path, target: Path, chosen: dict[str, Stored]) -> None:
    """Refuse before hours of fetching; what is here already counts by its size."""
    needed = sum(
        stored.size
        for path, stored in chosen.items()
        if not any(
            (folder / path).is_file() and (folder / path).stat().st_size == stored.size for folder in (staging, target)
        )
    )
    begun = sum(path.stat().st_size for path in staging.rglob("*.part"))
    free = shutil.disk_usage(staging).free
    if needed - begun > free:
        raise CheckpointError(f"{needed - begun:,} bytes are missing, and {str(staging.parent)!r} has {free:,} free.")


def fetch_all(source: Source, chosen: dict[str, Stored], staging: Path, finished: Path) -> int:
    """Bring all files into the staging folder, several at a time; returns how many came over the network."""
    total = sum(stored.size for stored in chosen.values())
    bar = progress(total=total, desc=source.id, unit="B", unit_scale=True)
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
            # Those under way stop at their next piece, those that wait never start; all are continued by the next
            # call.
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
    # By its digest: a file of the right size may be half of another revision.
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
        raise CheckpointError(f"{path} of {source.remote.name} came damaged and was deleted. Give the command again.")
    return True


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the disk cannot."""
    try:
        # Takes no room, and either name may be removed without the other.
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


OWN_NAMESPACE = "local"
_PICKLES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")


@dataclass(frozen=True)
class MirrorRequest:
    """What to mirror.

    Attributes:
        id: "ORG/NAME", or a short name.
        kind: "model", "dataset" or "space".
        revision: branch, tag or commit; None is the default branch.
        include: patterns of files to take; all if empty.
        exclude: patterns of files to leave.
        internal: of a converted model that may not be passed on: the copy stays inside one institution.
    """

    id: str
    kind: Kind = "model"
    revision: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    internal: bool = False


@dataclass(frozen=True)
class MirrorSummary:
    """What a mirror did.

    Attributes:
        folder: where the repository lies.
        repository: its entry in the manifest.
        fetched: files that came over the network now.
    """

    folder: Path
    repository: MirroredRepository
    fetched: int

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        one = self.repository
        at = f" at {one.commit}" if one.commit else ", a converted model"
        pickles = tuple(file.path for file in one.files if file.path.endswith(_PICKLES))
        warning = f"warning: what loads these files may run code in them: {shown(pickles)} (--exclude leaves them)"
        return [
            f"{one.kind} {one.id}{at}: {number_of(len(one.files), 'file')}, {one.size:,} bytes, {self.fetched} fetched "
            "now",
            f"licence: {one.licence or 'not stated by its card'}",
            *(["INTERNAL: not to be passed on; `ecg-hub import --internal` takes it"] if one.internal else []),
            *([f"left out as asked: {shown(one.left_out)}"] if one.left_out else []),
            *([warning] if pickles else []),
            f"written: {self.folder}",
        ]


def mirror(wish: MirrorRequest, to: Path, *, patience: RetryPolicy | None = None, api: Any = None) -> MirrorSummary:
    """Copy one repository, or one converted model, into a folder of mirrored repositories."""
    busy = InputError(f"Another process is mirroring to {str(to)!r}. Wait for it, or give another --to.")
    with alone(to, ".ecg-hub-mirror.lock", busy, OPTION):
        manifest = read_manifest(to) if (to / FILE).exists() else Manifest()
        if "/" not in wish.id and wish.kind == "model":
            # A short name is a repository like any other where the hub has one of it.
            resolved = resolve(wish.id)
            if resolved.kind != "hub":
                return _copy_own(wish, to, manifest)
        elif wish.kind != "model":
            check_id(wish.id)
        return _copy_remote(wish, to, manifest, patience, api)


def _copy_own(wish: MirrorRequest, to: Path, manifest: Manifest) -> MirrorSummary:
    """Copy a converted model, under the rule of `ecg-hub push`."""
    if wish.revision or wish.include or wish.exclude:
        raise InputError(f"{wish.id!r} is a converted model here: --revision, --include and --exclude mean nothing.")
    wish = replace(wish, id=canonical(wish.id))
    if wish.id not in catalog.checkpoints():
        raise InputError(f"{wish.id!r} is no repository and no short name. Write ORG/NAME.")
    with packed(wish.id, internal=wish.internal, to_hub=False) as package:
        name = f"models/{OWN_NAMESPACE}/{wish.id}"
        try:
            staging = staging_folder(to / name, set(package.files))
            for path, content in package.files.items():
                _write(staging / path, content)
            repository = _own_entry(wish, package, staging)
            _finish(staging, to, repository, manifest)
        except OSError as error:
            raise unwritable(to / name, error, OPTION) from error
    return MirrorSummary(to / name, repository, 0)


def _own_entry(wish: MirrorRequest, package: Package, staging: Path) -> MirroredRepository:
    licence = package.entry.licence.name if package.config.get("source") else None
    inside = wish.internal or withheld(package.config) is not None
    return MirroredRepository(
        kind="model",
        id=f"{OWN_NAMESPACE}/{wish.id}",
        commit=None,
        revision="main",
        internal=inside,
        private=inside,
        licence=licence,
        files=tuple(_entry(staging, path) for path in sorted(package.files)),
    )


def _copy_remote(
    wish: MirrorRequest, to: Path, manifest: Manifest, patience: RetryPolicy | None, api: Any
) -> MirrorSummary:
    """Copy a repository of the hub at the commit that its revision stands for now."""
    remote = HubRepository(wish.id, wish.kind, api)
    info = remote.info(wish.revision)
    if info is None:
        at = f" at {wish.revision!r}" if wish.revision else ""
        raise InputError(
            f"{wish.kind} {remote.name} is not there{at}, or your token may not see it: run `hf auth login`. Datasets "
            "and spaces need --type."
        )
    # One commit from here on: the branch may move while hours of files come.
    commit, name = str(info.sha), _checked_id(str(info.id))
    _check_place(manifest, wish.kind, name, to)
    there = remote.files(commit)
    chosen = _chosen(there, wish)
    target = to / f"{wish.kind}s" / name
    try:
        staging = staging_folder(target, set(chosen))
        check_space(staging, target, chosen)
        fetched = fetch_all(Source(remote, name, commit, patience or RetryPolicy()), chosen, staging, target)
        repository = MirroredRepository(
            kind=wish.kind,
            id=name,
            commit=commit,
            revision=wish.revision or "main",
            tags=tuple(sorted(tag for tag, at in remote.tags().items() if at == commit and _is_usual(tag))),
            origin=public_origin(endpoint()),
            # Who may read a gated one is decided one by one, which no other hub repeats.
            private=bool(info.private or info.gated),
            # Converted weights stay the authors' on whichever hub somebody has put them.
            internal=wish.kind == "model" and folder_withheld(staging) is not None,
            licence=_licence(info),
            left_out=tuple(sorted(set(there) - set(chosen))),
            files=tuple(_entry(staging, path, stored.digest) for path, stored in sorted(chosen.items())),
        )
        _finish(staging, to, repository, manifest)
    except OSError as error:
        raise unwritable(target, error, OPTION) from error
    return MirrorSummary(target, repository, fetched)


def _check_place(manifest: Manifest, kind: Kind, name: str, to: Path) -> None:
    """Refuse a repository that some disks would lay into the folder of another, before anything is fetched."""
    for one in manifest.repositories:
        if (one.kind, one.id.casefold()) == (kind, name.casefold()) and one.id != name:
            raise InputError(
                f"{str(to)!r} holds {one.id!r}, and disks that do not tell upper from lower case have no second place "
                f"for {name!r}: give another --to."
            )


def _checked_id(text: str) -> str:
    """Return the id by which a hub calls its repository; it names a folder here."""
    try:
        return check_repository(text)
    except ValueError as error:
        raise InputError(f"{endpoint()} calls the repository {text[:200]!r}, no name for a folder: {error}") from error


def _is_usual(tag: str) -> bool:
    with suppress(ValueError):
        return bool(check_tag(tag))
    return False


def _chosen(there: dict[str, Stored], wish: MirrorRequest) -> dict[str, Stored]:
    """Return the files to take; a name that leads out of the folder is refused."""
    # Names are a stranger's: '../' in one would write outside of the mirror.
    for path in there:
        try:
            check_path(path)
        except ValueError as error:
            raise InputError(f"{wish.id} is not mirrored: {error}") from None
    chosen = {path: stored for path, stored in there.items() if _is_chosen(path, wish)}
    if there and not chosen:
        raise InputError(f"--include and --exclude leave nothing of {wish.id}; it holds {shown(sorted(there))}.")
    return chosen


def _is_chosen(path: str, wish: MirrorRequest) -> bool:
    taken = not wish.include or any(fnmatchcase(path, pattern) for pattern in wish.include)
    return taken and not any(fnmatchcase(path, pattern) for pattern in wish.exclude)


def _write(target: Path, content: Path | bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        target.write_bytes(content)
    else:
        shutil.copyfile(content, target)


def _entry(staging: Path, path: str, digest: str = "") -> MirroredFile:
    """Return a file's entry; a SHA-256 that was compared already is not computed again."""
    file = staging / path
    return MirroredFile(path=path, size=file.stat().st_size, sha256=digest if len(digest) == 64 else file_sha256(file))


def _finish(staging: Path, to: Path, repository: MirroredRepository, manifest: Manifest) -> None:
    """Flush the files, give the folder its place, and name it in the manifest."""
    for file in repository.files:
        flush_file(staging / file.path)
    # Files, folder, manifest: what a manifest names is on the disk, whenever the cable is pulled.
    put_in_place(staging, to / repository.folder)
    write_manifest(to, manifest.with_repository(repository))


def _licence(info: Any) -> str | None:
    card = getattr(info, "card_data", None)
    named = (getattr(card, "license_name", None) or getattr(card, "license", None)) if card else None
    return str(named)[:1000] if named else None


def mirror_all(
    wishes: Sequence[MirrorRequest], to: Path, say: Callable[[str], None], *, patience: RetryPolicy | None = None
) -> int:
    """Mirror one after another; one that fails does not stop the others. Returns how many failed."""
    failed = 0
    for wish in wishes:
        try:
            say("\n".join(mirror(wish, to, patience=patience).lines()))
        except EcgHubError as error:
            # A single one is an error of the command, with its exit code.
            if len(wishes) == 1:
                raise
            failed += 1
            say(f"{wish.id} failed: {error}")
    return failed
