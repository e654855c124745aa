"""Pages made of repositories of results, such as a leaderboard: made when asked for, kept until the results change."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ecg_hub.server.history import Folder, TreeStore
from ecg_hub.server.storage import BlobStore, Disk
from ecg_hub.utils import __version__

State = Literal["ready", "making", "failed"]
PageCommand = Callable[[Path, Path, Path, str], list[str]]
"""Command line that makes a page, of: folder of results, folder to write, file to remember work in, heading."""

RESULTS, META = "results", "model_meta.json"
_log = logging.getLogger(__name__)


class Boards:
    """The folder `pages/NS/NAME/KEY`; KEY stands for the content of the results. It can be deleted at any time."""

    def __init__(self, disk: Disk, trees: TreeStore, blobs: BlobStore, command: PageCommand | None) -> None:
        self._disk, self._trees, self._blobs, self._command = disk, trees, blobs, command
        self._folder = disk.root / "pages"
        # The guard is held for moments, to look at states; the turn for the minutes that a page takes.
        self._guard, self._turn = threading.Lock(), threading.Lock()
        self._states: dict[Path, State] = {}
        self._process: subprocess.Popen[str] | None = None
        self._closed = False
        self.holds_results = lru_cache(maxsize=4096)(self._holds_results)

    def _holds_results(self, tree: str) -> bool:
        """Return whether a revision has `results/MODEL/REVISION/model_meta.json`, and pages are made here."""
        top = self._trees.find(tree, RESULTS) if self._command else None
        models = self._trees.read(top.oid).values() if isinstance(top, Folder) else ()
        folders = [self._trees.read(model.oid).values() for model in models if isinstance(model, Folder)]
        revisions = [node for nodes in folders for node in nodes if isinstance(node, Folder)]
        return any(META in self._trees.read(revision.oid) for revision in revisions)

    def page(self, repo: str, tree: str) -> tuple[State, Path]:
        """Return how far the page of a revision is, and its folder; begins to make it if nobody has."""
        top = self._trees.find(tree, RESULTS)
        key = hashlib.sha256(f"{__version__}|{top.oid if isinstance(top, Folder) else tree}".encode()).hexdigest()[:40]
        target = self._folder / repo / key
        # It was renamed to here, so it is whole.
        if target.is_dir():
            return "ready", target
        with self._guard:
            state = self._states.get(target)
            if state is None and not self._closed:
                self._states[target] = "making"
                threading.Thread(target=self._make, args=(repo, tree, target), name="ecg-hub page", daemon=True).start()
        return state or "making", target

    def forget(self, repo: str) -> None:
        """Remove the pages of a repository that is deleted or moved."""
        shutil.rmtree(self._folder / repo, ignore_errors=True)

    def close(self) -> None:
        """Stop what is being made; nothing half-made is ever shown."""
        with self._guard:
            self._closed = True
            if self._process is not None:
                self._process.terminate()

    def _make(self, repo: str, tree: str, target: Path) -> None:
        scratch, made = self._disk.scratch(), False
        try:
            with self._turn:  # one at a time: it computes scores again
                self._export(tree, scratch / "results-repository")
                if self._run(repo, scratch):
                    self._forget_others(target)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.rename(scratch / "page", target)
                    made = True
        except Exception:
            _log.exception("the page of %s cannot be made", repo)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            with self._guard:
                # It stays so until the results change: the next visitor's attempt would only fail again.
                self._states[target] = "failed"
                if made:
                    del self._states[target]

    def _export(self, tree: str, folder: Path) -> None:
        """Lay the results out as files: links to the content where the file system has them."""
        top = self._trees.find(tree, RESULTS)
        assert isinstance(top, Folder)
        for path, node in self._trees.walk(top.oid, f"{RESULTS}/"):
            if isinstance(node, Folder):
                continue
            copy, blob = folder / path, self._blobs.path(node.sha256)
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(blob, copy)
            except OSError:
                shutil.copyfile(blob, copy)

    def _run(self, repo: str, scratch: Path) -> bool:
        assert self._command is not None
        folders = scratch / "results-repository", scratch / "page"
        command = self._command(*folders, self._folder / "computed.json", repo)
        with self._guard:
            if self._closed:
                return False
            # Within the guard: `close` either sees the process or keeps it from starting.
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        _, complaint = self._process.communicate()
        with self._guard:
            code, self._process = self._process.returncode, None
        if code and not self._closed:
            _log.error("the page of %s cannot be made: %s", repo, complaint[-4000:])
        return code == 0

    def _forget_others(self, target: Path) -> None:
        """Remove the pages of earlier results."""
        for other in target.parent.glob("*"):
            if other != target:
                shutil.rmtree(other, ignore_errors=True)
