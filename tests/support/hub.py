"""A hub of our own on a free port of 127.0.0.1, and the Hugging Face libraries pointed at it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from huggingface_hub import HfApi

WRITE, READ = "hf_a-token-that-writes", "hf_a-token-that-reads"
MB = 10**6


@dataclass(frozen=True)
class TestHub:
    """A running hub.

    Attributes:
        url: its address.
        root: its folder.
        token_file: holds `write_token` (of "alice") and `read_token` (of "bob").
        home: HF_HOME of the clients.
    """

    __test__ = False  # not a test class

    url: str
    root: Path
    token_file: Path
    home: Path
    write_token: str = WRITE
    read_token: str = READ

    def api(self, token: str | bool | None = None) -> HfApi:
        """A client that may write; another token, or False for none."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.url, token=self.write_token if token is None else token)

    def environment(self, token: str | None = None) -> dict[str, str]:
        """The environment of a user of this hub, for a process of its own."""
        own = ("HF_", "TRANSFORMERS_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(own)}
        return {
            **kept,
            "HF_ENDPOINT": self.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": token or self.write_token,
            "HF_HOME": str(self.home),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONWARNINGS": "ignore",
        }

    def run(self, code: str, *arguments: str, token: str | None = None) -> str:
        """Run Python code in a process of its own and return what it prints; fails with what it complains of."""
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, env=self.environment(token), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout


def write_tokens(path: Path) -> Path:
    """Write a token file with the two tokens."""
    path.write_text(f"# tokens of the tests\n{WRITE} alice\nread:{READ} bob\n")
    path.chmod(0o600)
    return path


def point_libraries(monkeypatch: pytest.MonkeyPatch, hub: TestHub) -> None:
    """Point the libraries of this process at a hub; they read the environment only when they are imported."""
    import datasets.config
    import huggingface_hub.constants
    import huggingface_hub.hf_api
    import transformers.utils.hub

    for name, value in hub.environment().items():
        if name.startswith("HF_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    values: dict[str, Any] = {
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(hub.home),
        "HF_HUB_CACHE": str(hub.home / "hub"),
    }
    for name, value in values.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.url)
    # One for the process, made at first use with the endpoint of then.
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)
    monkeypatch.setattr(sys.modules["huggingface_hub.utils.tqdm"], "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", hub.home / "datasets")
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", str(hub.home))


class Impatient:
    """asyncio for uvicorn: it looks every hundredth of a second, not every tenth, whether it is to stop."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / 10)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestHub]:
    """A hub of this test's own with two tokens, and huggingface_hub, transformers and datasets pointed at it."""
    from huggingface_hub import close_session

    from ecg_hub.server.calls import Options
    from ecg_hub.server.serve import in_background
    from eval_harness.cli.hub.serve import page_command

    monkeypatch.setattr("uvicorn.server.asyncio", Impatient())
    token_file = write_tokens(tmp_path / "tokens")
    background = in_background(tmp_path / "hub", Options(min_free=MB, page_command=page_command), token_file)
    with warnings.catch_warnings(), background as running:
        warnings.filterwarnings("ignore", "Use 'content=", DeprecationWarning)  # a call of huggingface_hub's own
        server = TestHub(running.url, tmp_path / "hub", token_file, tmp_path / "hf_home")
        point_libraries(monkeypatch, server)
        yield server
        close_session()  # before the server stops: it waits for open connections
