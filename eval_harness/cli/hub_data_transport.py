"""How the bytes of a dataset travel: by the same resumable, checked download that fetches model weights."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from ecg_hub.errors import CheckpointError, DataError
from ecg_hub.hub.download import Patience, RemoteFile, download, fetch_json, open_client


class HttpTransport:
    """A `dataset_scripts.hosts.Transport` over HTTP whose connections stay open between files.

    Args:
        remedy: closing sentence of error messages, such as where people find the data.
        patience: how often a broken connection is taken up again.
    """

    def __init__(self, remedy: str = "", patience: Patience | None = None) -> None:
        self._remedy = remedy
        self._patience = patience
        self._client = open_client()

    def __enter__(self) -> HttpTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def document(self, url: str) -> Any:
        """Return a JSON document; errors as in `Transport`."""
        try:
            return fetch_json(RemoteFile(f"list {url!r}", url, remedy=self._remedy), self._patience)
        except CheckpointError as error:
            raise DataError(str(error)) from error

    def file(self, url: str, target: Path, size: int | None, checksum: str | None, quiet: bool) -> None:
        """Fetch a file; errors as in `Transport`."""
        remote = RemoteFile(target.name, url, size, checksum, self._remedy)
        try:
            download(remote, target.parent, patience=self._patience, quiet=quiet, client=self._client)
        except CheckpointError as error:
            if isinstance(error.__cause__, OSError):  # its remedy names the folder of model weights
                raise error.__cause__ from None
            raise DataError(str(error)) from error
