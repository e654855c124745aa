"""The pages that people look at, leaderboards among them."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from starlette.responses import RedirectResponse, Response

from ecg_hub.server.calls import Call, Route
from ecg_hub.server.history import Commit
from ecg_hub.server.info import Query
from ecg_hub.server.naming import KINDS, RequestError, check_path, encode, entry_not_found
from ecg_hub.server.pages import (
    MAX_CARD,
    MAX_RENDERED,
    link,
    page,
    render_markdown,
    size_text,
    table,
    tags,
)
from ecg_hub.server.repos import MAIN, Repo
from ecg_hub.server.routes_discussions import details
from ecg_hub.server.routes_files import INDEX, site_file
from ecg_hub.server.trees import File, Folder
from ecg_hub.utils.yaml import split_card

MAX_ROWS = 500
MAX_SHOWN = 500_000  # bytes of a text file on its page
PAGE = "page"
_WAIT = {"Refresh": "3", "Retry-After": "3", "Cache-Control": "no-store"}


def index(call: Call) -> Response:
    """GET /: leaderboards, all repositories, and how to use the hub."""
    lines = f"export HF_ENDPOINT={escape(call.base)}\nexport HF_HUB_DISABLE_XET=1"
    head = f"<h1>ECG hub</h1><p>Point the Hugging Face libraries here:</p><pre><code>{lines}</code></pre>"
    query = Query(sort="lastModified")
    lists = "".join(f"<h2>{kind.capitalize()}</h2>{_repo_table(call, kind, query)}" for kind in KINDS)
    if call.hub.options.docs is not None:
        head += f"<p>{link('/docs/', 'Documentation')}</p>"
    return page("ECG hub", head + board_list(call) + lists)


def list_page(call: Call) -> Response:
    """GET /models, /datasets, /spaces: repositories of a kind; `search` narrows them."""
    kind, search = call.address.kind, call.request.query_params.get("search", "")
    form = f'<form><label>Search <input name="search" value="{escape(search)}"></label></form>'
    query = Query(search=search, sort="lastModified")
    return page(f"{kind} - ECG hub", f"<h1>{kind.capitalize()}</h1>{form}{_repo_table(call, kind, query)}")


def repo_page(call: Call) -> Response:
    """GET /{repo} and /{repo}/tree/{revision}[/{path}]: files and the rendered README.md."""
    repo, state, commit, path = call.commit()
    revision = call.revision()[0]
    folder = call.hub.catalog.trees.find(commit.tree, path)
    if not isinstance(folder, Folder):
        raise entry_not_found(repo.id, path, commit.oid)
    about = call.hub.catalog.info(repo, commit, state, call.caller, files=False)
    parts = [_head(repo, commit, revision), tags([*about["tags"], *(["private"] if state.private else [])])]
    if repo.kind == "spaces" and call.hub.catalog.trees.find(commit.tree, "index.html"):
        parts.append(
            f"<p>{link(f'/{repo.web_path}/view/{encode(revision)}/index.html', 'Open the page of this space')}</p>"
        )
    if repo.kind == "datasets":
        parts.append(f"<p>{link(f'/{repo.web_path}/leaderboard', 'Leaderboard')}</p>")
    parts.append(_file_table(call, repo, revision, path, folder))
    if not call.caller.reads(state):
        parts.append("<p>This repository is gated: its files and its card are shown with a token.</p>")
    elif "README.md" in call.hub.catalog.trees.read(folder.oid):
        parts.append(f"<article>{_card(call, repo, commit, path)}</article>")
    return page(f"{repo.id} - ECG hub", "".join(parts))


def _card(call: Call, repo: Repo, commit: Commit, path: str) -> str:
    """The README.md of a folder as HTML, or where to read it as it is."""
    place = f"{call.revision()[0].replace('/', '%2F')}/{encode(path) + '/' if path else ''}"
    files, images = f"/{repo.web_path}/blob/{place}", f"/{repo.web_path}/resolve/{place}"
    text = call.hub.catalog.read_text(commit.tree, f"{path}/README.md" if path else "README.md", MAX_CARD)
    body = None if text is None else split_card(text)[1]
    if body is None or len(body) > MAX_RENDERED:
        note = f"Up to {MAX_RENDERED:,} characters of a README.md are shown here."
        return f"<p>{note} {link(f'{files}README.md', 'README.md as it is')}</p>"
    return render_markdown(body, files, images)


def blob_page(call: Call) -> Response:
    """GET /{repo}/blob/{revision}/{path}: a text file as text; anything else is downloaded."""
    repo, _, commit, path = call.commit()
    revision = call.revision()[0]
    if not isinstance(call.hub.catalog.trees.find(commit.tree, path), File):
        raise entry_not_found(repo.id, path, commit.oid)
    address = f"/{repo.web_path}/resolve/{revision.replace('/', '%2F')}/{encode(path)}"
    text = call.hub.catalog.read_text(commit.tree, path, MAX_SHOWN)
    # Larger or binary: the file itself, under its own address and policy.
    if text is None or "\0" in text:
        return RedirectResponse(address)
    body = f"<h2>{escape(path)}</h2><p>{link(f'{address}?download=true', 'Download')}</p><pre>{escape(text)}</pre>"
    return page(f"{path} - {repo.id}", _head(repo, commit, revision) + body)


def commits_page(call: Call) -> Response:
    """GET /{repo}/commits/{revision}: the history."""
    repo, _, commit, _ = call.commit()
    rows: list[list[str]] = []
    for one in call.hub.history.log(repo, commit.oid):
        if len(rows) == MAX_ROWS:
            break
        address = link(f"/{repo.web_path}/commit/{one.oid}", one.oid[:12])
        rows.append([address, escape(one.title), escape(one.author), escape(one.date)])
    return page(
        f"History - {repo.id}", _head(repo, commit, call.revision()[0]) + table(["commit", "", "by", "at"], rows)
    )


def commit_page(call: Call) -> Response:
    """GET /{repo}/commit/{commit}: what it changed."""
    repo, _, commit, _ = call.commit()
    trees = call.hub.catalog.trees
    # Of a first commit everything is new.
    old = call.hub.history.read(repo, commit.parents[0]).tree if commit.parents else None
    rows = []
    for path, before, after in trees.changes(old, commit.tree):
        word = "added" if before is None else "deleted" if after is None else "changed"
        rows.append([word, escape(path), size_text(after.size) if after else ""])
        if len(rows) == MAX_ROWS:
            break
    body = f"<h2>{escape(commit.title)}</h2><p>{escape(commit.author)}, {escape(commit.date)}</p>"
    body += f"<pre>{escape(commit.message)}</pre>" if commit.message else ""
    return page(
        f"{commit.title} - {repo.id}", _head(repo, commit, commit.oid) + body + table(["", "file", "size"], rows, [2])
    )


def discussions_page(call: Call) -> Response:
    """GET /{repo}/discussions[/{number}]: threads, and one thread with its changes."""
    repo = call.repo()
    state = repo.state()
    if not call.address.tail:
        rows = [
            [link(f"/{repo.web_path}/discussions/{one['num']}", f"#{one['num']} {one['title']}"), escape(one["status"])]
            for one in call.hub.discussions.all(repo, state)
        ][:MAX_ROWS]
        return page(f"Discussions - {repo.id}", f"<h1>{link(f'/{repo.web_path}', repo.id)}</h1>{table(['', ''], rows)}")
    thread = call.hub.discussions.read(repo, state, call.address.tail[0])
    shown = details(call, repo, state, thread, with_diff=True)
    parts = [f"<h1>{link(f'/{repo.web_path}', repo.id)} #{shown['num']}: {escape(shown['title'])}</h1>"]
    parts.append(f"<p>{'pull request' if shown['isPullRequest'] else 'discussion'}, {escape(shown['status'])}</p>")
    parts += [_event(event) for event in shown["events"]]
    if clashes := shown.get("filesWithConflicts"):
        parts.append(f"<p>Conflicts with the main branch: {escape(', '.join(clashes))}</p>")
    if shown.get("diff"):
        parts.append(f"<h2>Changes</h2><pre>{escape(shown['diff'][:MAX_SHOWN])}</pre>")
    return page(f"#{shown['num']} - {repo.id}", "".join(parts))


def _repo_table(call: Call, kind: str, query: Query) -> str:
    infos = call.hub.catalog.search(kind, query, call.caller)
    front = "" if kind == "models" else f"{kind}/"
    rows = [
        [
            link(f"/{front}{info['id']}", info["id"]),
            escape(info["lastModified"][:10]),
            size_text(info["usedStorage"]),
            escape(", ".join(info["tags"][:6])),
        ]
        for info in infos[:MAX_ROWS]
    ]
    if not rows:
        return '<p class="muted">none</p>'
    more = f'<p class="muted">{len(infos) - MAX_ROWS:,} more</p>' if len(infos) > MAX_ROWS else ""
    return table(["repository", "changed", "size", "tags"], rows, [2]) + more


def _head(repo: Repo, commit: Commit, revision: str) -> str:
    address = f"/{repo.web_path}"
    quoted = revision.replace("/", "%2F")
    links = [
        link(f"{address}/tree/{quoted}", "Files"),
        link(f"{address}/commits/{quoted}", "History"),
        link(f"{address}/discussions", "Discussions"),
    ]
    return (
        f"<h1>{link(address, repo.id)}</h1><p>{' · '.join(links)}</p>"
        f'<p class="muted">{escape(revision)} · {commit.oid[:12]} · {escape(commit.date)}</p>'
    )


def _file_table(call: Call, repo: Repo, revision: str, path: str, folder: Folder) -> str:
    quoted, rows = revision.replace("/", "%2F"), list[list[str]]()
    nodes = call.hub.catalog.trees.read(folder.oid)
    prefix = f"{path}/" if path else ""
    for name, node in sorted(nodes.items(), key=lambda item: (isinstance(item[1], File), item[0]))[:MAX_ROWS]:
        target = encode(prefix + name)
        if isinstance(node, Folder):
            rows.append([link(f"/{repo.web_path}/tree/{quoted}/{target}", f"{name}/"), "", ""])
        else:
            download = link(f"/{repo.web_path}/resolve/{quoted}/{target}?download=true", "download")
            rows.append([link(f"/{repo.web_path}/blob/{quoted}/{target}", name), size_text(node.size), download])
    more = f'<p class="muted">{len(nodes) - MAX_ROWS:,} more</p>' if len(nodes) > MAX_ROWS else ""
    return table([path or "file", "size", ""], rows, [1]) + more


def _event(event: dict[str, Any]) -> str:
    data, who = event["data"], f"{escape(event['author']['name'])}, {escape(event['createdAt'])}"
    texts = {
        "comment": lambda: f"<pre>{escape(data['latest']['raw'])}</pre>",
        "commit": lambda: f"commit {escape(data['oid'][:12])}: {escape(data['subject'])}",
        "status-change": lambda: f"now {escape(data['status'])}",
        "title-change": lambda: f"title now {escape(json.dumps(data['to'], ensure_ascii=False))}",
    }
    return f'<article><p class="muted">{who}</p>{texts[event["type"]]()}</article>'


NOTES = 300
"""Characters of what a model's repository says of a score that are shown."""


def leaderboard(call: Call) -> Response:
    """GET /datasets/{repo}/leaderboard: what models report; .../leaderboard/page/...: the page of its results."""
    if call.address.kind != "datasets":
        raise RequestError(404, "Only datasets have leaderboards.")
    if call.address.tail[:1] == (PAGE,):
        return _made_page(call, "/".join(call.address.tail[1:]) or INDEX)
    if call.address.tail:
        raise RequestError(404, "This hub does not offer that address.")
    repo = call.repo()
    rows = [
        [
            escape(row["taskId"]),
            str(row["rank"]),
            link(f"/{row['modelId']}", row["modelId"]),
            f"{row['value']:.6g}",
            # What was scored otherwise than others, and on part of the data, stands in the notes alone.
            escape(str(row["notes"] or "")[:NOTES]),
            link(f"/{row['modelId']}/blob/main/{encode(row['filename'])}", "reported"),
        ]
        for row in call.hub.catalog.leaderboard(repo.id, call.caller, derived=True)
    ]
    body = f"<h1>{link(f'/{repo.web_path}', repo.id)}: leaderboard</h1>"
    if call.hub.boards.holds_results(_tree(call, repo)):
        body += f"<p>{link(page_address(repo), 'The page of the results')}: every score that has its predictions is "
        body += "computed again, with intervals.</p>"
    body += "<p>Below, what the models' repositories report, unchecked.</p>"
    return page(f"Leaderboard - {repo.id}", body + table(["task", "rank", "model", "value", "notes", ""], rows, [1, 3]))


def board_list(call: Call) -> str:
    """Return a list of the leaderboards as HTML, with a heading; empty where there are none."""
    found = [
        (commit.date, repo)
        for repo, state, commit in call.hub.catalog.heads("datasets")
        if call.caller.sees(state) and call.hub.boards.holds_results(commit.tree)
    ]
    newest = sorted(found, key=lambda one: one[0], reverse=True)
    items = [f"<li>{link(page_address(repo), repo.id)}</li>" for _, repo in newest]
    return f"<h2>Leaderboards</h2><ul>{''.join(items)}</ul>" if items else ""


def page_address(repo: Repo) -> str:
    """Return where the page of a repository of results is shown."""
    return f"/{repo.web_path}/leaderboard/{PAGE}/{INDEX}"


def _made_page(call: Call, path: str) -> Response:
    repo = call.repo()
    call.require_files(repo)
    tree = _tree(call, repo)
    if not call.hub.boards.holds_results(tree):
        raise RequestError(404, f"{repo.id!r} holds no results that `ecg-eval push` wrote.")
    state, folder = call.hub.boards.page(repo.id, tree)
    if state == "failed":
        raise RequestError(500, f"The page of {repo.id!r} cannot be made; the hub's log says why.")
    if state == "making":
        body = f'<h1>{escape(repo.id)}</h1><p role="status">The scores are computed again from their predictions. '
        return page(f"Leaderboard - {repo.id}", body + "This page opens by itself when that is done.</p>", 202, _WAIT)
    return site_file(folder, check_path(path))


def _tree(call: Call, repo: Repo) -> str:
    return call.hub.history.read(repo, repo.state().heads[MAIN]).tree


ROUTES: dict[tuple[str, str, str], Route] = {
    ("site", "GET", ""): Route(index),
    ("web", "GET", "list"): Route(list_page),
    ("web", "GET", ""): Route(repo_page, shows="names"),
    ("web", "GET", "tree"): Route(repo_page, shows="names"),
    ("web", "GET", "blob"): Route(blob_page),
    ("web", "GET", "commits"): Route(commits_page, shows="names"),
    ("web", "GET", "commit"): Route(commit_page, shows="names"),
    ("web", "GET", "discussions"): Route(discussions_page, shows="names"),
    ("web", "GET", "leaderboard"): Route(leaderboard, shows="names"),
}
