"""Leaderboards: what models report of a dataset, and the page made of a repository of results."""

from __future__ import annotations

import mimetypes
from html import escape
from pathlib import Path

from starlette.responses import Response

from ecg_hub.server.calls import Call, Route
from ecg_hub.server.info import Query
from ecg_hub.server.naming import RequestError, check_path, encode
from ecg_hub.server.pages import link, page, table
from ecg_hub.server.repos import MAIN, Repo
from ecg_hub.server.routes_files import STATIC_POLICY, Download

PAGE = "page"
_WAIT = {"Refresh": "3", "Retry-After": "3", "Cache-Control": "no-store"}
_INDEX = "index.html"


def leaderboard(call: Call) -> Response:
    """GET /datasets/{repo}/leaderboard: what models report; .../leaderboard/page/...: the page of its results."""
    if call.address.kind != "datasets":
        raise RequestError(404, "Only datasets have leaderboards.")
    if call.address.tail[:1] == (PAGE,):
        return _made_page(call, "/".join(call.address.tail[1:]) or _INDEX)
    if call.address.tail:
        raise RequestError(404, "This hub does not offer that address.")
    repo = call.repo()
    rows = [
        [
            escape(row["taskId"]),
            str(row["rank"]),
            link(f"/{row['modelId']}", row["modelId"]),
            f"{row['value']:.6g}",
            link(f"/{row['modelId']}/blob/main/{encode(row['filename'])}", "reported"),
        ]
        for row in call.hub.catalog.leaderboard(repo.id, call.caller.known, derived=True)
    ]
    body = f"<h1>{link(f'/{repo.web_path}', repo.id)}: leaderboard</h1>"
    if call.hub.boards.holds_results(_tree(call, repo)):
        body += f"<p>{link(page_address(repo), 'The page of the results')}: every score that has its predictions is "
        body += "computed again, with intervals.</p>"
    body += "<p>Below, what the models' repositories report, unchecked.</p>"
    return page(f"Leaderboard - {repo.id}", body + table(["task", "rank", "model", "value", ""], rows, [1, 3]))


def board_list(call: Call) -> str:
    """Return a list of the leaderboards as HTML, with a heading; empty where there are none."""
    found = []
    for info in call.hub.catalog.search("datasets", Query(sort="lastModified"), call.caller.known):
        repo = call.hub.repos.get("datasets", info["id"])
        if call.hub.boards.holds_results(_tree(call, repo)):
            found.append(f"<li>{link(page_address(repo), repo.id)}</li>")
    return f"<h2>Leaderboards</h2><ul>{''.join(found)}</ul>" if found else ""


def page_address(repo: Repo) -> str:
    """Return where the page of a repository of results is shown."""
    return f"/{repo.web_path}/leaderboard/{PAGE}/{_INDEX}"


def _made_page(call: Call, path: str) -> Response:
    repo = call.repo()
    tree = _tree(call, repo)
    if not call.hub.boards.holds_results(tree):
        raise RequestError(404, f"{repo.id!r} holds no results that `ecg-eval push` wrote.")
    state, folder = call.hub.boards.page(repo.id, tree)
    if state == "failed":
        raise RequestError(500, f"The page of {repo.id!r} cannot be made; the hub's log says why.")
    if state == "making":
        body = f'<h1>{escape(repo.id)}</h1><p role="status">The scores are computed again from their predictions. '
        return page(f"Leaderboard - {repo.id}", body + "This page opens by itself when that is done.</p>", 202, _WAIT)
    return _file(folder, check_path(path))


def _file(folder: Path, path: str) -> Response:
    place = folder / path
    if not place.is_file():
        raise RequestError(404, f"The leaderboard has no file {path[:200]!r}.")
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    headers = {"Content-Security-Policy": STATIC_POLICY, "Cache-Control": "private, no-cache"}
    return Download(place, headers=headers, media_type=kind)


def _tree(call: Call, repo: Repo) -> str:
    return call.hub.history.read(repo, repo.state().heads[MAIN]).tree


ROUTES: dict[tuple[str, str, str], Route] = {("web", "GET", "leaderboard"): Route(leaderboard)}
