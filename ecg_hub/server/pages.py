"""The hub's pages: plain HTML, no script, everything of others escaped; the tags of a README.md; pages of results."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from typing import Any, Literal

from starlette.responses import Response

from ecg_hub.server.storage import BlobStore, Disk
from ecg_hub.server.trees import Folder, TreeStore
from ecg_hub.utils import __version__

# No script runs on the hub's own pages, whatever slips into them.
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
STYLE = """\
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --paper: #fff; --ink: #1a1a1a; --link: #0b57a8; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e8e8e8; --link: #8ab8f0; } }
html { background: var(--paper); color: var(--ink); }
a { color: var(--link); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 0 1rem 3rem; }
header { display: flex; flex-wrap: wrap; gap: 1rem; padding: 1rem 0; border-bottom: 1px solid var(--line); }
header strong { margin-right: auto; }
table { border-collapse: collapse; display: block; max-width: 100%; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
code, pre { background: var(--soft); border-radius: 4px; font-size: .9em; padding: .1em .3em; }
pre { overflow-wrap: anywhere; padding: .8rem; white-space: pre-wrap; }
pre code { background: none; padding: 0; }
img { max-width: 100%; }
.tags span { background: var(--soft); border-radius: 1em; font-size: .85em; margin-right: .4em; padding: .1em .7em; }
.muted { opacity: .85; }
article { border-top: 1px solid var(--line); margin-top: 1.5rem; }
input { font: inherit; padding: .2rem .5rem; }
"""
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")


def page(title: str, body: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a whole page."""
    content = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><link rel="stylesheet" href="/static/hub.css"></head><body>
<header><strong><a href="/">ECG hub</a></strong><a href="/models">Models</a><a href="/datasets">Datasets</a>
<a href="/spaces">Spaces</a></header><main>
{body}
</main></body></html>
"""
    security = {"Content-Security-Policy": CSP, "Referrer-Policy": "same-origin", "Cache-Control": "private, no-cache"}
    return Response(
        content.encode("utf-8", "replace"),
        status,
        {**security, **(headers or {})},
        media_type="text/html; charset=utf-8",
    )


def table(columns: Iterable[str], rows: Iterable[Iterable[str]], numbers: Iterable[int] = ()) -> str:
    """Return a table; the cells are HTML, the column names plain text."""
    right, names = set(numbers), list(columns)
    kind = [' class="number"' if index in right else "" for index in range(len(names))]
    head = "".join(f'<th scope="col"{kind[index]}>{escape(name)}</th>' for index, name in enumerate(names))
    lines = [
        "<tr>" + "".join(f"<td{kind[index]}>{cell}</td>" for index, cell in enumerate(row)) + "</tr>" for row in rows
    ]
    return f'<table tabindex="0"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def link(href: str, text: str) -> str:
    """Return a link; both are plain text."""
    return f'<a href="{escape(href)}">{escape(text)}</a>'


def tags(names: Iterable[str]) -> str:
    """Return tags as a line."""
    return f'<p class="tags">{"".join(f"<span>{escape(name)}</span> " for name in names)}</p>'


def size_text(size: int) -> str:
    """Return a size in bytes as people read it: 1.4 MB."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


MAX_RENDERED = 1 << 16  # characters of Markdown that are rendered, in about a second of a processor
# Stand for where files and images lie; no Markdown holds a NUL, which the parser replaces.
_FILES, _IMAGES = "\0f", "\0i"


def render_markdown(text: str, files: str, images: str) -> str:
    """Return Markdown as HTML: HTML inside it is shown as text, scripts are impossible.

    Args:
        text: at most MAX_RENDERED characters.
        files: address of the folder that its relative links count from.
        images: the same for images.
    """
    return _rendered(text).replace(_FILES, escape(files)).replace(_IMAGES, escape(images))


# By content alone: the same card has as many addresses as there are names for its revision.
@lru_cache(maxsize=256)
def _rendered(text: str) -> str:
    tokens = _markdown().parse(text)
    for token in tokens:
        # Columns to the right; the page's policy lets no style attribute through.
        if "right" in str(token.attrs.pop("style", "")):
            token.attrSet("class", "number")
        if token.type == "table_open":
            token.attrSet("tabindex", "0")  # wide ones scroll, by keyboard as well
        for child in token.children or ():
            for name, base in (("href", _FILES), ("src", _IMAGES)):
                target = child.attrGet(name)
                if isinstance(target, str) and target and not _SCHEME.match(target) and target[0] not in "/#":
                    child.attrSet(name, base + target.removeprefix("./"))
            if child.type == "link_open":
                # A page that somebody's README links to learns nothing of this one and cannot steer it.
                child.attrSet("rel", "nofollow noopener noreferrer")
    return str(_markdown().renderer.render(tokens, _markdown().options, {}))


@cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


MAX_CARD = 1 << 19  # bytes of a README.md that are read


def card_tags(card: dict[str, Any], kind: str) -> list[str]:
    """Return the tags that a repository is listed and filtered by."""
    tags = [*_texts(card.get("tags"))]
    if kind == "models":
        tags += [*_texts(card.get("library_name")), *_texts(card.get("pipeline_tag"))]
    prefixes = ("license", "datasets", "base_model", "task_categories", "task_ids", "size_categories", "language")
    for key in prefixes:
        prefix = {"datasets": "dataset"}.get(key, key)
        bare = key == "language" and kind == "models"
        tags += [text if bare else f"{prefix}:{text}" for text in _texts(card.get(key))]
    return list(dict.fromkeys(tags))


def _texts(value: Any) -> Iterator[str]:
    items: Iterable[Any] = value if isinstance(value, list) else [value]
    return (str(item) for item in items if isinstance(item, str | int | float) and not isinstance(item, bool))


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
