"""Where entries are sent: the little that publishing needs of a repository, and its form as a plain folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from ecg_hub.errors import ResultError
from ecg_hub.hub.client import StaleParentError, sha256
from eval_harness.atomic import atomic_path, write_text

HEAD_FILE, LOCK_FILE = ".head", ".lock"


class Publisher(Protocol):
    """A repository that takes whole commits.

    Attributes:
        name: for people.
    """

    @property
    def name(self) -> str:
        """Its name for people."""

    @property
    def on_public_hub(self) -> bool:
        """Whether it is on the public Hub."""

    def head(self) -> str | None:
        """Return the present commit, None for a repository that does not exist yet or is empty."""

    def files(self, head: str | None, below: str) -> dict[str, str]:
        """Return path -> digest of the files below a folder: SHA-256, or the SHA-1 by which git names them."""

    def read(self, head: str | None, path: str) -> bytes | None:
        """Return the content of a file, None where there is none."""

    def open_request(self, title: str) -> str | None:
        """Return the address of an open pull request of that title, None where there is none."""

    def commit(self, files: Mapping[str, bytes], message: str, parent: str | None, request: bool = False) -> str:
        """Write files in one commit on top of `parent` and return its address.

        Args:
            files: path -> content.
            message: title of the commit or the pull request.
            parent: what `head` returned.
            request: whether to propose it as a pull request.

        Raises:
            StaleParentError: `parent` is no longer the present commit.
            InputError: the repository refuses.
        """

    def link(self, path: str) -> str:
        """Return where people read a file."""


class FolderPublisher:
    """A plain folder as repository, for places without a hub; one writer at a time.

    Raises:
        ResultError: the folder cannot be written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser()

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    @property
    def on_public_hub(self) -> bool:
        """A folder is not."""
        return False

    def head(self) -> str | None:
        """The mark of the last commit."""
        path = self.folder / HEAD_FILE
        return path.read_text(encoding="utf-8").strip() if path.is_file() else None

    def files(self, head: str | None, below: str) -> dict[str, str]:
        """All files below a folder with their SHA-256."""
        found = sorted(path for path in (self.folder / below).rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): sha256(path) for path in found}

    def read(self, head: str | None, path: str) -> bytes | None:
        """The content of a file."""
        file = self.folder / path
        return file.read_bytes() if file.is_file() else None

    def open_request(self, title: str) -> str | None:
        """A folder has none."""
        return None

    def commit(self, files: Mapping[str, bytes], message: str, parent: str | None, request: bool = False) -> str:
        """Write the files, each whole or not at all; the mark last."""
        if request:
            raise ResultError(f"{self.name!r} is a folder: it takes no pull requests. Leave --create-pr out.")
        with self._held():
            if self.head() != parent:
                raise StaleParentError(f"{self.name!r} changed in the meantime.")
            for path, content in files.items():
                with atomic_path(self.folder / path) as temporary:
                    temporary.write_bytes(content)
            mark = uuid.uuid4().hex
            write_text(self.folder / HEAD_FILE, mark + "\n")
        return str(self.folder)

    def link(self, path: str) -> str:
        """The path of the file."""
        return str(self.folder / path)

    @contextmanager
    def _held(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / LOCK_FILE, timeout=60):
                yield
        except (OSError, Timeout) as error:
            raise ResultError(f"{self.name!r} cannot be written ({error}).") from error
