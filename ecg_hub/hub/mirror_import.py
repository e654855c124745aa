"""`ecg-hub import`: mirrored repositories, checked against their manifest, on the hub at $HF_ENDPOINT."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_hub.errors import DataError, InputError, unknown_name
from ecg_hub.hub.cards import INTERNAL_HINT, folder_withheld
from ecg_hub.hub.client import HubRepository, Stored, git_sha1, until_committed
from ecg_hub.hub.manifest import FILE, MirroredFile, MirroredRepository, read_manifest
from ecg_hub.hub.package import shown
from ecg_hub.names import endpoint, is_public_hub
from ecg_hub.utils.files import file_sha256
from ecg_hub.utils.repo_names import check_name
from ecg_hub.utils.terminal import progress
from ecg_hub.utils.text import number_of

# What one commit brought is not sent again after a cut.
FILES_PER_COMMIT = 2000
RESULTS = ".eval_results/"
_LABELS = ("upstream-", "copy-")
# What operating systems leave on a disk that is carried around; nothing but the manifest's files is ever sent.
_LITTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class ImportSummary:
    """What an import did with one repository.

    Attributes:
        repository: its entry in the manifest.
        id: its id on this hub.
        sent: number of files that were sent.
        removed: files of an earlier import that its origin has no more.
        commit: the commit that holds it.
        taken: tags that stand for other commits here, and stay there.
    """

    repository: MirroredRepository
    id: str
    sent: int
    removed: tuple[str, ...]
    commit: str
    taken: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        one = self.repository
        what = f"{number_of(self.sent, 'file')} sent" if self.sent else "nothing to do"
        tags = tuple(tag for tag in (one.label, *one.tags) if tag not in self.taken)
        return [
            f"{one.kind} {self.id}: {what}, commit {self.commit}, tags {', '.join(tags)}",
            *([f"removed, as its origin did: {shown(self.removed)}"] if self.removed else []),
            *([f"tags that stand for other commits here, left alone: {', '.join(self.taken)}"] if self.taken else []),
            f"load it with: {_loading(one, self.id, self.commit if one.label in self.taken else one.label)}",
        ]


def check_mirror(folder: Path, only: Sequence[str] = ()) -> tuple[MirroredRepository, ...]:
    """Read a mirror and compare every file with the manifest."""
    manifest = read_manifest(folder)
    ids = {one.id for one in manifest.repositories}
    for name in only:
        if name not in ids:
            raise unknown_name("repository of the mirror", name, ids)
    chosen = tuple(one for one in manifest.repositories if not only or one.id in only)
    bar = progress(total=sum(one.size for one in chosen), desc="checking", unit="B", unit_scale=True)
    with bar:
        problems = [problem for one in chosen for problem in _differences(folder, one, bar)]
    if not only:
        listed = {one.folder for one in manifest.repositories}
        problems += [f"{path}: {_stray(path)}" for path in _repository_folders(folder) if path not in listed]
    if problems:
        text = "\n  ".join(problems[:_SHOWN_PROBLEMS])
        more = len(problems) - _SHOWN_PROBLEMS
        raise DataError(
            f"{str(folder)!r} is not what {FILE} says, so nothing was imported:\n  {text}"
            + (f"\n  and {more} more" if more > 0 else "")
            + "\nWhere there is network, the same `ecg-hub mirror` command fixes it."
        )
    return chosen


def targets(chosen: Sequence[MirroredRepository], namespace: str | None) -> dict[str, MirroredRepository]:
    """Return "kind id" on this hub -> repository."""
    by_target: dict[str, MirroredRepository] = {}
    for one in chosen:
        target = f"{one.kind} {target_id(one, namespace)}"
        if target in by_target:
            raise InputError(
                f"{by_target[target].id} and {one.id} would both become {target}: import them one by one, --only."
            )
        by_target[target] = one
    return by_target


def target_id(one: MirroredRepository, namespace: str | None) -> str:
    """Return the id of a repository on this hub."""
    if namespace is None:
        return one.id
    try:
        return f"{check_name(namespace, 'namespace')}/{one.id.partition('/')[2]}"
    except ValueError as error:
        raise InputError(f"--namespace: {error}") from None


def check_terms(folder: Path, chosen: Sequence[MirroredRepository], *, internal: bool) -> None:
    """Refuse what may not go to this hub."""
    if is_public_hub():
        raise InputError(
            f"`ecg-hub import` is for a hub of your own, and {endpoint()} is the public one: set HF_ENDPOINT."
        )
    for one in chosen:
        reason = keeps_inside(folder, one)
        if reason and not internal:
            raise InputError(f"{one.id}: {reason}\n{INTERNAL_HINT}")


def keeps_inside(folder: Path, one: MirroredRepository) -> str | None:
    """Return why a repository has to stay inside one institution, or None."""
    reason = None if one.kind != "model" else folder_withheld(folder / one.folder)
    return reason or (f"It was copied as internal. Licence: {one.licence or 'not stated'}." if one.internal else None)


def bring_in(folder: Path, one: MirroredRepository, id: str, api: Any = None) -> ImportSummary:
    """Send one repository, tag it, and compare what the hub then holds with the manifest.

    What is there already is not sent again, so that the same command continues after a cut. What others have added,
    such as scores, stays.
    """
    remote = HubRepository(id, one.kind, api)
    # What its licence keeps inside is private here, whatever it was at its origin.
    private = one.private or keeps_inside(folder, one) is not None
    info = remote.info()
    if info is None:
        remote.create(private=private or None)
    elif private and not info.private:
        raise InputError(
            f"{remote.name} is public, and {one.id} was private or gated: make it private first, or --namespace."
        )
    tags = remote.tags()
    # This very state was imported: what others have added since, such as scores, is not looked at.
    if one.label in tags and not _missing(folder, one, remote.files(tags[one.label])):
        return _tagged(remote, one, tags[one.label], 0, ())
    sent, removed, commit = _send(folder, one, remote, tags)
    # Compared before it is tagged: the tag is a promise.
    if lost := _missing(folder, one, remote.files(commit)):
        raise DataError(f"{remote.name} does not hold what the manifest says: {shown([file.path for file in lost])}.")
    return _tagged(remote, one, commit, sent, removed)


def _send(
    folder: Path, one: MirroredRepository, remote: HubRepository, tags: dict[str, str]
) -> tuple[int, tuple[str, ...], str]:
    """Commit what is missing, in portions that a cut does not undo."""
    earlier = {path for tag, at in tags.items() if tag.startswith(_LABELS) for path in remote.files(at)}
    # Only what an import has brought may go again: other files belong to others.
    outdated = {path for path in earlier - {file.path for file in one.files} if not path.startswith(RESULTS)}
    sent, removed, commit = 0, tuple[str, ...](), ""
    for _ in range(1 + len(one.files) // FILES_PER_COMMIT):
        portion = until_committed(remote.name, lambda _: _send_portion(folder, one, remote, outdated))
        sent, removed, commit = sent + portion.sent, removed + portion.removed, portion.commit
        if not portion.left:
            break
    return sent, removed, commit


@dataclass(frozen=True)
class _Portion:
    """What one commit brought, the commit, and how many files are left to send."""

    sent: int
    removed: tuple[str, ...]
    commit: str
    left: int


def _send_portion(folder: Path, one: MirroredRepository, remote: HubRepository, outdated: set[str]) -> _Portion:
    head = str(remote.head())
    there = remote.files(head)
    missing = _missing(folder, one, there)
    portion = missing[:FILES_PER_COMMIT]
    gone = tuple(path for path in there if path in outdated)
    if not portion and not gone:
        return _Portion(0, (), head, 0)
    files = {file.path: folder / one.folder / file.path for file in portion}
    title = f"{one.id} at {one.commit or one.label}, by ecg-hub import"
    commit = remote.commit(files, title, head, gone=gone).oid
    return _Portion(len(portion), gone, commit, len(missing) - len(portion))


def _missing(folder: Path, one: MirroredRepository, there: dict[str, Stored]) -> list[MirroredFile]:
    return [file for file in one.files if not _is_there(there.get(file.path), file, folder / one.folder)]


def _is_there(stored: Stored | None, file: MirroredFile, root: Path) -> bool:
    # The size first: git's digest costs a reading of the file.
    if stored is None or stored.size != file.size:
        return False
    return stored.digest == (file.sha256 if len(stored.digest) == 64 else git_sha1(root / file.path))


def _tagged(
    remote: HubRepository, one: MirroredRepository, commit: str, sent: int, removed: tuple[str, ...]
) -> ImportSummary:
    tags = remote.tags()
    for tag in (one.label, *one.tags):
        # A tag that is there may be cited in results: it is never moved.
        if tag not in tags:
            remote.tag(tag, commit)
    taken = tuple(tag for tag in (one.label, *one.tags) if tags.get(tag, commit) != commit)
    return ImportSummary(one, remote.id, sent, removed, commit, taken)


def _differences(folder: Path, one: MirroredRepository, bar: Any) -> Iterator[str]:
    """Yield what of a repository is not as the manifest says."""
    parts = one.folder.split("/")
    # A link anywhere on the way could lead out of the disk.
    for depth in range(1, len(parts) + 1):
        if (folder / "/".join(parts[:depth])).is_symlink():
            yield f"{'/'.join(parts[:depth])}: a link"
            return
    root = folder / one.folder
    present, links = set[str](), set[str]()
    for path in _walk(root):
        (links if (root / path).is_symlink() else present).add(path)
    for path in sorted(links):
        yield f"{one.folder}/{path}: a link"
    for file in one.files:
        copy = root / file.path
        if file.path not in present:
            if not any(file.path == link or file.path.startswith(f"{link}/") for link in links):
                yield f"{one.folder}/{file.path}: missing"
        elif copy.stat().st_size != file.size:
            yield f"{one.folder}/{file.path}: damaged, {copy.stat().st_size:,} bytes instead of {file.size:,}"
        elif file_sha256(copy) != file.sha256:
            yield f"{one.folder}/{file.path}: damaged, another SHA-256"
        bar.update(file.size)
    for path in sorted(present - {file.path for file in one.files}):
        yield f"{one.folder}/{path}: not in the manifest"


def _walk(root: Path) -> Iterator[str]:
    """Yield files and links below a folder, without following links and without litter."""
    for parent, folders, files in os.walk(root):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in (*files, *links):
            if name not in _LITTER and not name.startswith("._"):
                yield (Path(parent) / name).relative_to(root).as_posix()


def _repository_folders(folder: Path) -> Iterator[str]:
    """Yield the folders of repositories, and those that a mirror has begun."""
    for kind in ("models", "datasets", "spaces"):
        for path in sorted((folder / kind).glob("*/*")):
            if path.is_dir() and path.name not in _LITTER:
                yield path.relative_to(folder).as_posix()


def _stray(path: str) -> str:
    return "a mirror that was not finished" if path.endswith(".partial") else "not in the manifest"


def _loading(one: MirroredRepository, id: str, revision: str) -> str:
    if one.kind == "model":
        return f'ecg_hub.AutoModel.from_pretrained("{id}", revision="{revision}")'
    if one.kind == "dataset":
        return f'datasets.load_dataset("{id}", revision="{revision}")'
    return f"{endpoint()}/spaces/{id}/view/main/"
