"""Files of a revision: download with ranges, list, look up by path, and static spaces."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import FileResponse, Response

from ecg_hub.server.calls import Call, Route, answer_json
from ecg_hub.server.history import Commit
from ecg_hub.server.naming import RequestError, bad_request, check_path, encode, entry_not_found
from ecg_hub.server.repos import Repo
from ecg_hub.server.storage import CHUNK
from ecg_hub.server.trees import File, Folder, Node, listing

PAGE, EXPANDED_PAGE = 1000, 50  # entries
MAX_PATHS = 10_000
INDEX = "index.html"
# A file of a repository is somebody's: shown by a browser, it may not act in the hub's name.
_SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; sandbox"
STATIC_POLICY = (
    "default-src 'self' 'unsafe-inline' data: blob:; frame-ancestors 'self'; form-action 'none'; "
    "sandbox allow-scripts allow-popups"
)
_ACTIVE = ("text/html", "application/xhtml+xml", "text/javascript", "application/javascript", "text/xml")


class Download(FileResponse):
    """A file sent in pieces of 1 MiB."""

    chunk_size = CHUNK


def resolve(call: Call) -> Response:
    """GET or HEAD /{repo}/resolve/{revision}/{path}: one file; honours Range and If-None-Match."""
    repo, commit, path, file = _file(call)
    kind = _media_type(path)
    headers = {
        "X-Repo-Commit": commit.oid,
        "ETag": f'"{file.etag}"',
        "Content-Security-Policy": _SANDBOX,
        "Content-Disposition": _disposition(call, path),
        # A branch moves on; the client asks again, and what it has is confirmed by the ETag.
        "Cache-Control": "private, no-cache",
    }
    if file.lfs:
        headers |= {"X-Linked-Size": str(file.size), "X-Linked-Etag": f'"{file.sha256}"'}
    if call.request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    blob = call.hub.blobs.path(file.sha256)
    return Download(blob, headers=headers, media_type=kind, stat_result=_stat(blob, repo, path))


def view(call: Call) -> Response:
    """GET /spaces/{repo}/view/{revision}/{path}: a page of a static space, kept apart from the hub itself."""
    if call.address.kind != "spaces":
        raise RequestError(404, "Only spaces are shown as pages.")
    repo, _, path, file = _file(call, default=INDEX)
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    headers = {"ETag": f'"{file.etag}"', "Content-Security-Policy": STATIC_POLICY, "Cache-Control": "private, no-cache"}
    blob = call.hub.blobs.path(file.sha256)
    return Download(blob, headers=headers, media_type=kind, stat_result=_stat(blob, repo, path))


def tree(call: Call) -> Response:
    """GET /api/{kind}/{repo}/tree/{revision}[/{path}]: recursive, expand; pages by Link."""
    repo, _, commit, path = call.commit()
    trees = call.hub.catalog.trees
    node = trees.find(commit.tree, check_path(path) if path else "")
    if not isinstance(node, Folder):
        raise entry_not_found(repo.id, path, commit.oid)
    prefix = f"{path}/" if path else ""
    if call.flag("recursive"):
        entries = list(trees.walk(node.oid, prefix))
    else:
        entries = [(prefix + name, inner) for name, inner in trees.read(node.oid).items()]
    size = EXPANDED_PAGE if call.flag("expand") else PAGE
    start = _cursor(call)
    headers = {"X-Repo-Commit": commit.oid}
    if start + size < len(entries):
        query = [(key, value) for key, value in call.request.query_params.multi_items() if key != "cursor"]
        # Of this commit: the branch may move on before the next page is asked for.
        address = f"{call.base}/api/{call.address.kind}/{repo.id}/tree/{commit.oid}{'/' + encode(path) if path else ''}"
        headers["Link"] = f'<{address}?{urlencode([*query, ("cursor", start + size)])}>; rel="next"'
    return answer_json(_entries(call, repo, commit, entries[start : start + size]), headers=headers)


def paths_info(call: Call) -> Response:
    """POST /api/{kind}/{repo}/paths-info/{revision}: the files and folders among `paths` that exist."""
    repo, _, commit, _ = call.commit()
    paths = call.body.get("paths", [])
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths) or len(paths) > MAX_PATHS:
        raise bad_request(f"paths is a list of at most {MAX_PATHS:,} paths.")
    entries: list[tuple[str, Node]] = []
    # A path that is not there is left out, not refused: so the client learns that it is absent.
    for path in dict.fromkeys(path.strip("/") for path in paths):
        node = call.hub.catalog.trees.find(commit.tree, path)
        if path and node is not None:
            entries.append((path, node))
    flag = call.body.get("expand", False)
    expand = str(flag[0] if isinstance(flag, list) and flag else flag).lower() in ("true", "1")
    return answer_json(_entries(call, repo, commit, entries, expand), headers={"X-Repo-Commit": commit.oid})


def _entries(
    call: Call, repo: Repo, commit: Commit, entries: list[tuple[str, Node]], expand: bool | None = None
) -> list[dict[str, Any]]:
    shown = [listing(path, node) for path, node in entries]
    if call.flag("expand") if expand is None else expand:
        last = call.hub.history.last_changes(repo, commit.oid, [path for path, _ in entries])
        for entry in shown:
            change = last[entry["path"]]
            entry["lastCommit"] = {"id": change.oid, "title": change.title, "date": change.date}
    return shown


def _file(call: Call, default: str = "") -> tuple[Repo, Commit, str, File]:
    repo, _, commit, path = call.commit()
    path = check_path(path or default)
    node = call.hub.catalog.trees.find(commit.tree, path)
    if not isinstance(node, File):
        raise entry_not_found(repo.id, path, commit.oid)
    return repo, commit, path, node


def site_file(folder: Path, path: str, policy: str = STATIC_POLICY) -> Response:
    """Return a file of a folder on this machine: a made page, or the documentation."""
    file = folder / path
    # A link may lead out of the folder.
    if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
        raise RequestError(404, f"There is no page or file {path[:200]!r} here.")
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    headers = {"Content-Security-Policy": policy, "Cache-Control": "private, no-cache"}
    return Download(file, headers=headers, media_type=kind)


def _stat(blob: Path, repo: Repo, path: str) -> Any:
    try:
        return blob.stat()
    except FileNotFoundError:
        message = (
            f"The content of {path!r} of {repo.id!r} is lost from the hub's disk: restore {blob.name} from a backup."
        )
        raise RequestError(500, message) from None


def _media_type(path: str) -> str:
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    # A page or script of somebody's is shown as text, not run in the hub's name.
    return "text/plain" if kind in _ACTIVE or kind.startswith("text/") else kind


def _disposition(call: Call, path: str) -> str:
    name = quote(path.split("/")[-1], safe="")
    form = "attachment" if call.flag("download") else "inline"
    return f"{form}; filename*=UTF-8''{name}; filename=\"{name}\""


def _cursor(call: Call) -> int:
    text = call.request.query_params.get("cursor", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise bad_request("The cursor is not one that this hub gave out.")
    return int(text)


ROUTES: dict[tuple[str, str, str], Route] = {
    ("web", "GET", "resolve"): Route(resolve),
    ("web", "GET", "view"): Route(view),
    ("api", "GET", "tree"): Route(tree, shows="names"),
    ("api", "POST", "paths-info"): Route(paths_info, shows="names", body="json"),
}
