"""Repositories that take whole commits, the one on the hub at $HF_ENDPOINT, and the loop in which all are written.

What the hub's client raises is put into sentences that name the remedy.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from ecg_hub.errors import EcgHubError, InputError
from ecg_hub.names import disable_xet, endpoint, is_public_hub
from ecg_hub.utils.files import file_sha256
from ecg_hub.utils.repo_names import is_name

T = TypeVar("T")
Kind: TypeAlias = Literal["model", "dataset", "space"]
KINDS: tuple[Kind, ...] = ("model", "dataset", "space")
# 412: the parent is the newest commit no more; 409: two commits met.
STALE = (409, 412)
MAIN = "main"
TRIES = 5
_REMEDIES = {
    401: "The hub does not know your token: run `hf auth login`, or set HF_TOKEN to one that may write there.",
    403: "Your token may not do that: run `hf auth login` with a token that may write there.",
    429: "Give the same command again in a few minutes.",
    507: "Nothing was committed. Its maintainer has to free space; then the same command continues.",
}


class StaleParentError(EcgHubError):
    """Somebody else committed in the meantime: read again and try again."""


@dataclass(frozen=True)
class Stored:
    """A file in a repository.

    Attributes:
        size: in bytes.
        digest: its SHA-256, or the SHA-1 by which git names it.
    """

    size: int
    digest: str


@dataclass(frozen=True)
class Commit:
    """What a repository holds now. `link`: page of the commit, or of the pull request."""

    oid: str
    link: str


class Repository(Protocol):
    """A repository that takes whole commits: on a hub, or a plain folder."""

    @property
    def name(self) -> str:
        """The repository, for people."""

    @property
    def on_public_hub(self) -> bool:
        """Whether it is on the public hub."""

    def head(self) -> str | None:
        """Return the present commit, None for a repository that does not exist yet or is empty."""

    def files(self, revision: str | None, below: str = "") -> dict[str, Stored]:
        """Return path -> size and digest of the files below a folder; empty if there is none."""

    def read(self, revision: str | None, path: str) -> bytes | None:
        """Return the content of a file, None where there is none."""

    def open_request(self, title: str) -> str | None:
        """Return the address of an open pull request of that title, None where there is none."""

    def commit(self, files: Mapping[str, bytes], message: str, parent: str | None, *, request: bool = False) -> Commit:
        """Write files in one commit on top of `parent`; StaleParentError where that is the newest no more."""

    def link(self, path: str) -> str:
        """Return where people read a file."""


def until_committed(
    name: str,
    attempt: Callable[[int], T],
    *,
    tries: int = TRIES,
    pause: Callable[[int], None] = lambda _: None,
    error: type[EcgHubError] = InputError,
) -> T:
    """Let an attempt read the newest commit and write on top of it, again whenever somebody else was faster.

    Args:
        name: the repository, for people.
        attempt: reads, decides, commits; it gets its number, from 1. All of it is done again: what was read before the
            other commit may be what that one changed.
        tries: how often.
        pause: waits after the attempt of a number.
        error: what is raised in the end.
    """
    for number in range(1, tries + 1):
        try:
            return attempt(number)
        except StaleParentError:
            pause(number)
    raise error(f"{name} kept changing: {tries} tries. Give the same command again later.")


class HubRepository:
    """A repository on the hub at $HF_ENDPOINT.

    All methods raise InputError, with the remedy, if the hub refuses or does not answer.
    """

    def __init__(self, id: str, kind: Kind = "model", api: Any = None) -> None:
        # Before huggingface_hub is imported, which reads the variable once.
        disable_xet()
        from huggingface_hub import HfApi

        self.id, self.kind = id, kind
        self.api = HfApi(library_name="ecg-hub") if api is None else api

    @property
    def name(self) -> str:
        """The repository, for people."""
        return f"{self.id} at {endpoint()}"

    @property
    def on_public_hub(self) -> bool:
        """Whether $HF_ENDPOINT is the public hub."""
        return is_public_hub()

    def link(self, path: str) -> str:
        """The page of a file."""
        prefix = "" if self.kind == "model" else f"{self.kind}s/"
        return f"{endpoint()}/{prefix}{self.id}/blob/{MAIN}/{path}"

    def head(self, branch: str | None = None) -> str | None:
        """Return the commit of a branch, by default the default one; None if there is no such repository or branch."""
        info = self.info(branch)
        return None if info is None else str(info.sha)

    def info(self, revision: str | None = None) -> Any:
        """Return what the hub says of a revision, or None if it has no such repository or revision."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        try:
            with said(self.name):
                return self.api.repo_info(self.id, repo_type=self.kind, revision=revision)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None

    def files(self, revision: str | None, below: str = "") -> dict[str, Stored]:
        """Return path -> size and digest of the files of a revision; empty without revision or folder."""
        from huggingface_hub.errors import EntryNotFoundError

        if revision is None:
            return {}
        try:
            with said(self.name):
                tree = self.api.list_repo_tree(
                    self.id, below or None, recursive=True, revision=revision, repo_type=self.kind
                )
                # The tree is a generator: its requests, and what they raise, come only as it is read.
                files: list[Any] = [item for item in tree if hasattr(item, "blob_id")]
        except EntryNotFoundError:
            return {}
        # git's own SHA-1 of a large file is that of its pointer, which says nothing of the content.
        return {item.path: Stored(item.size, item.lfs.sha256 if item.lfs else item.blob_id) for item in files}

    def read(self, revision: str | None, path: str) -> bytes | None:
        """Return the content of a file, or None where there is none."""
        from huggingface_hub.errors import EntryNotFoundError

        if revision is None:
            return None
        try:
            # Not by way of the cache, where a copy of everything would stay that was only compared.
            with said(self.name), TemporaryDirectory(prefix="ecg-hub-") as folder:
                file = self.api.hf_hub_download(self.id, path, revision=revision, repo_type=self.kind, local_dir=folder)
                return Path(file).read_bytes()
        except EntryNotFoundError:
            return None

    def requests(self, title: str) -> dict[str, str]:
        """Return revision -> address of the open pull requests of a title; a server that keeps no list has none."""
        from huggingface_hub.errors import HfHubHTTPError

        try:
            discussions = self.api.get_repo_discussions(
                self.id, repo_type=self.kind, discussion_type="pull_request", discussion_status="open"
            )
            return {f"refs/pr/{one.num}": str(one.url) for one in discussions if one.title == title}
        # A hub without discussions takes commits all the same.
        except HfHubHTTPError:
            return {}

    def open_request(self, title: str) -> str | None:
        """Return the address of an open pull request of a title."""
        return next(iter(self.requests(title).values()), None)

    def create(self, private: bool | None = None) -> None:
        """Make the repository if it is not there."""
        # The hub takes no space without its kind; ours are plain pages.
        sdk: dict[str, Any] = {"space_sdk": "static"} if self.kind == "space" else {}
        with said(self.name):
            self.api.create_repo(self.id, repo_type=self.kind, private=private, exist_ok=True, **sdk)

    def create_branch(self, branch: str) -> None:
        """Make a branch from the default one if it is not there."""
        with said(self.name):
            self.api.create_branch(self.id, branch=branch, repo_type=self.kind, exist_ok=True)

    def tags(self) -> dict[str, str]:
        """Return tag -> commit."""
        with self._existing():
            refs = self.api.list_repo_refs(self.id, repo_type=self.kind)
            return {tag.name: str(tag.target_commit) for tag in refs.tags}

    def tag(self, name: str, commit: str) -> None:
        """Let a new tag stand for a commit."""
        with self._existing():
            self.api.create_tag(self.id, tag=name, revision=commit, repo_type=self.kind)

    def commit(
        self,
        files: Mapping[str, Path | bytes],
        message: str,
        parent: str | None,
        *,
        gone: Sequence[str] = (),
        branch: str | None = None,
        request: bool = False,
    ) -> Commit:
        """Write and remove files in one commit on top of `parent`; without one the repository is made first."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        if parent is None:
            self.create()
            # A commit without a parent would be put on top of whatever is there by then.
            parent = self.head()
        # Deletions first: a file may make room for a folder of its name.
        steps: list[Any] = [CommitOperationDelete(path) for path in gone]
        steps += [
            CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
            for path, content in files.items()
        ]
        with self._existing():
            done = self.api.create_commit(
                self.id,
                steps,
                commit_message=message,
                repo_type=self.kind,
                revision=branch,
                parent_commit=str(parent),
                create_pr=request,
            )
        return Commit(str(done.oid), str((done.pr_url if request else None) or done.commit_url))

    def upload(self, folder: Path, message: str) -> str:
        """Send a folder of any size, continued where an earlier call broke off; return the address of its commit."""
        with self._existing():
            return str(
                self.api.upload_folder(
                    repo_id=self.id, repo_type=self.kind, folder_path=str(folder), commit_message=message
                )
            )

    @contextmanager
    def _existing(self) -> Iterator[None]:
        """The repository has to be there."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            with said(self.name):
                yield
        except RepositoryNotFoundError as error:
            raise InputError(f"{self.name} is not there, or your token may not see it.") from error


def check_id(repo: str) -> str:
    """Return the id of a repository."""
    parts = repo.split("/")
    if len(parts) != 2 or not all(map(is_name, parts)):
        raise InputError(f"{repo!r} is no repository; write ORG/NAME, with letters, digits, '_', '-' and '.'.")
    return repo


def same(digest: str | None, content: Path | bytes) -> bool:
    """Return whether a file of this digest (SHA-256, or SHA-1 as git computes it) has this content."""
    if digest is None:
        return False
    return digest == (sha256(content) if len(digest) == 64 else git_sha1(content))


def is_there(files: Mapping[str, Stored], path: str, content: Path | bytes) -> bool:
    """Return whether a repository holds this content under a path."""
    stored = files.get(path)
    return stored is not None and same(stored.digest, content)


def sha256(content: Path | bytes) -> str:
    """Return the SHA-256 of bytes or of a file."""
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else file_sha256(content)


def git_sha1(content: Path | bytes) -> str:
    """Return the SHA-1 by which git names bytes or a file."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    # Named as no matter of security, or OpenSSL in FIPS mode refuses SHA-1.
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()


@contextmanager
def said(name: str) -> Iterator[None]:
    """Turn what the client raises into sentences that name the remedy; "not there" passes through."""
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, EcgHubError):
        raise
    except Exception as error:
        raise _in_words(name, error) from error


def _in_words(name: str, error: Exception) -> Exception:
    """Return the error in our words, or the error itself if it is not the hub's or the network's."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    cause = _cause(error)
    if isinstance(cause, HfHubHTTPError):
        if getattr(cause.response, "status_code", None) in STALE:
            return StaleParentError(f"{name} changed in the meantime.")
        return _refusal(name, cause)
    if isinstance(error, LocalTokenNotFoundError):
        return InputError(f"{name} needs a token. {_REMEDIES[401]}")
    # What a hub says of single files comes as a bare ValueError, known by its beginning.
    if isinstance(error, HFValidationError) or str(error).startswith("LFS batch API returned errors"):
        return InputError(f"{name} refuses: {first_lines(error, 3)}")
    if is_connection(cause):
        return InputError(
            f"{name} does not answer ({type(cause).__name__}: {first_lines(cause)}). "
            "The same command continues once it does."
        )
    return error


def _refusal(name: str, error: Any) -> InputError:
    remedy = _REMEDIES.get(getattr(error.response, "status_code", None) or 0, "")
    reason = str(getattr(error, "server_message", None) or first_lines(error)).rstrip(".") + "."
    return InputError(f"{name} refuses: {reason} {remedy}".strip())


def _cause(error: BaseException) -> BaseException:
    """Return the answer or broken connection behind an error: the client wraps what befalls an upload."""
    from huggingface_hub.errors import HfHubHTTPError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, HfHubHTTPError) or is_connection(cause):
            return cause
        cause = cause.__cause__
    return error


def first_lines(error: BaseException, lines: int = 2) -> str:
    """Return the first lines of what an error says, in one line."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(said[:lines]) or type(error).__name__


def is_connection(error: BaseException) -> bool:
    """Whether an exception is the network's: of the HTTP client, the operating system or the client's offline mode."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    # By the module's name: huggingface_hub chooses the HTTP client, and it need not be imported here.
    module = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError | OfflineModeIsEnabled) or module.startswith("httpx")
