"""Repositories: create, delete, move, settings; what they are, lists, branches, tags, history."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from ecg_hub.server.calls import Call, Route, answer_json
from ecg_hub.server.history import Commit, CommitMessage
from ecg_hub.server.info import Query, shorten
from ecg_hub.server.naming import RequestError, bad_request, check_kind, check_ref, revision_not_found
from ecg_hub.server.repos import MAIN, Repo, State, now, split_id

MAX_PAGE, COMMITS_PAGE = 1000, 100
_VISIBILITY = {"public": False, "private": True}
# What a list may be asked for; `direction` is sent by earlier clients, always for descending order.
_ASKED = (
    *("search", "author", "filter", "pipeline_tag", "gated", "sort", "direction", "skip", "limit"),
    *("full", "cardData", "config", "expand", "expand[]"),
)


def create(call: Call) -> Response:
    """POST /api/repos/create."""
    body = call.body
    kind, repo_id = check_kind(body.get("type")), _named(call)
    private = _private(body)
    first = call.hub.history.first(call.author)
    state = State(now(), bool(private), sdk=str(body["sdk"])[:50] if body.get("sdk") else None, heads={MAIN: first[0]})
    try:
        repo = call.hub.repos.create(kind, repo_id, state, first)
    except RequestError as error:
        if error.status != 409:
            raise
        # create_repo(exist_ok=True) reads the address out of the refusal, spelled as it is here.
        headers = error.all_headers()
        repo = call.hub.repos.get(kind, error.message.split("'")[1])
        return answer_json({"error": error.message, "url": _url(call, repo)}, 409, headers)
    return answer_json({"url": _url(call, repo), "name": repo.id, "id": repo.id})


def delete(call: Call) -> Response:
    """DELETE /api/repos/delete."""
    repo = call.hub.repos.get(check_kind(call.body.get("type")), _named(call))
    # The record goes before its pages: a page of a deleted repository may be stale, never the other way round.
    call.hub.repos.delete(repo)
    if repo.kind == "datasets":
        call.hub.boards.forget(repo.id)
    return answer_json({})


def move(call: Call) -> Response:
    """POST /api/repos/move."""
    default = call.hub.options.namespace
    kind = check_kind(call.body.get("type"))
    repo = call.hub.repos.get(kind, split_id(call.body.get("fromRepo"), default))
    # The old name's leaderboard page is dropped; the new one is drawn when it is first asked for.
    moved = call.hub.repos.move(repo, split_id(call.body.get("toRepo"), default))
    if kind == "datasets":
        call.hub.boards.forget(repo.id)
    return answer_json({"url": _url(call, moved)})


def settings(call: Call) -> Response:
    """PUT /api/{kind}/{repo}/settings: visibility and gating."""
    repo, private = call.repo(), _private(call.body)
    gated = call.body.get("gated", None)
    if gated not in (None, False, "auto", "manual"):
        raise bad_request(f"gated is false, 'auto' or 'manual', not {gated!r}.")
    with repo.lock:
        state = repo.state()
        state.private = state.private if private is None else private
        state.gated = state.gated if gated is None else gated
        repo.save(state)
    return answer_json({"private": state.private, "gated": state.gated})


def info(call: Call) -> Response:
    """GET /api/{kind}/{repo} and .../revision/{revision}."""
    repo, state, commit, _ = call.commit()
    about = call.hub.catalog.info(repo, commit, state, call.caller, blobs=call.flag("blobs"))
    expand = call.request.query_params.getlist("expand") + call.request.query_params.getlist("expand[]")
    if expand:
        return answer_json(shorten(about, expand, False, False, False))
    # Long, and asked for by `expand` alone.
    about.pop("evalResults", None)
    return answer_json(about)


def list_repos(call: Call) -> Response:
    """GET /api/{kind}: search, author, filter, gated, sort, limit, full, cardData, config, expand; pages by Link."""
    params = call.request.query_params
    # Left out without a word, a filter would give repositories that are not what was asked for.
    if unknown := [name for name in params if name not in _ASKED]:
        raise bad_request(f"This hub does not filter by {unknown[0][:50]!r}; it knows {', '.join(_ASKED)}.")
    filters = [*params.getlist("filter"), *params.getlist("pipeline_tag")]
    gated = call.flag("gated") if "gated" in params else None
    query = Query(params.get("search", ""), params.get("author"), filters, params.get("sort", ""), gated)
    start, size = _number(params.get("skip"), 0), min(_number(params.get("limit"), MAX_PAGE) or MAX_PAGE, MAX_PAGE)
    expand = params.getlist("expand") + params.getlist("expand[]")
    full, card, config = call.flag("full"), call.flag("cardData"), call.flag("config")
    infos = call.hub.catalog.search(call.address.kind, query, call.caller, files=full or "siblings" in expand)
    shown = [shorten(one, expand, full, card, config) for one in infos[start : start + size]]
    return answer_json(shown, headers=_next_page(call, start, size, len(infos)))


def refs(call: Call) -> Response:
    """GET /api/{kind}/{repo}/refs."""
    state = call.repo().state()
    answer = {
        "branches": [_ref(name, f"refs/heads/{name}", oid) for name, oid in sorted(state.heads.items())],
        "tags": [_ref(name, f"refs/tags/{name}", oid) for name, oid in sorted(state.tags.items())],
        "converts": [],
    }
    if call.flag("include_prs"):
        answer["pullRequests"] = [_ref(n, f"refs/pr/{n}", state.pulls[n].head) for n in sorted(state.pulls, key=int)]
    return answer_json(answer)


def commits(call: Call) -> Response:
    """GET /api/{kind}/{repo}/commits/{revision}: the history, newest first; pages by Link."""
    repo, _, commit, _ = call.commit()
    history = list(call.hub.history.log(repo, commit.oid))
    params = call.request.query_params
    start, size = (
        _number(params.get("skip"), 0),
        min(_number(params.get("limit"), COMMITS_PAGE) or COMMITS_PAGE, MAX_PAGE),
    )
    shown = [_commit(one) for one in history[start : start + size]]
    return answer_json(shown, headers=_next_page(call, start, size, len(history)))


def create_branch(call: Call) -> Response:
    """POST /api/{kind}/{repo}/branch/{name}."""
    repo, name = call.repo(), check_ref("/".join(call.address.tail), "branch")
    with repo.lock:
        state = repo.state()
        if name in state.heads:
            raise RequestError(409, f"Reference already exists: branch {name!r} of {repo.id!r}.")
        # No 409, which create_branch(exist_ok=True) takes for the branch: a tag may be cited in results, and of two
        # things under its name the one that moves would be read.
        if name in state.tags:
            raise bad_request(f"{name!r} is a tag of {repo.id!r}: choose another name for the branch.")
        state.heads[name] = repo.resolve(str(call.body.get("startingPoint") or MAIN), state)
        repo.save(state)
    return answer_json({})


def delete_branch(call: Call) -> Response:
    """DELETE /api/{kind}/{repo}/branch/{name}."""
    repo, name = call.repo(), "/".join(call.address.tail)
    if name == MAIN:
        raise RequestError(403, f"The branch {MAIN!r} cannot be deleted.")
    with repo.lock:
        state = repo.state()
        if state.heads.pop(name, None) is None:
            raise revision_not_found(repo.id, name)
        repo.save(state)
    return answer_json({})


def create_tag(call: Call) -> Response:
    """POST /api/{kind}/{repo}/tag/{revision}."""
    repo, name = call.repo(), check_ref(call.body.get("tag"), "tag")
    with repo.lock:
        state = repo.state()
        if name in state.tags:
            raise RequestError(409, f"Reference already exists: tag {name!r} of {repo.id!r}.")
        if name in state.heads:
            raise bad_request(f"{name!r} is a branch of {repo.id!r}: choose another name for the tag.")
        state.tags[name] = repo.resolve(call.revision()[0], state)
        repo.save(state)
    return answer_json({})


def delete_tag(call: Call) -> Response:
    """DELETE /api/{kind}/{repo}/tag/{name}."""
    repo, name = call.repo(), "/".join(call.address.tail)
    with repo.lock:
        state = repo.state()
        if state.tags.pop(name, None) is None:
            raise revision_not_found(repo.id, name)
        repo.save(state)
    return answer_json({})


def squash(call: Call) -> Response:
    """POST /api/{kind}/{repo}/super-squash/{branch}."""
    title = str(call.body.get("message") or "Super-squash")
    new = call.hub.history.squash(call.repo(), call.revision()[0], CommitMessage(call.author, title))
    return answer_json({"commitOid": new.oid})


def auth_check(call: Call) -> Response:
    """GET /api/{kind}/{repo}/auth-check and .../auth-check/write."""
    # The client asks here before it downloads, to tell "gated" from "absent": both are what a route to files answers.
    call.repo()
    if call.address.tail == ("write",):
        call.require_write()
    return answer_json({})


def leaderboard(call: Call) -> Response:
    """GET /api/datasets/{repo}/leaderboard: what models report in `.eval_results`."""
    if call.address.kind != "datasets":
        raise RequestError(404, "Only datasets have a leaderboard.")
    derived = call.request.query_params.get("base_model", "").lower() == "false"
    return answer_json(call.hub.catalog.leaderboard(call.repo().id, call.caller, derived))


def _named(call: Call) -> str:
    name, organization = call.body.get("name"), call.body.get("organization")
    if not isinstance(name, str) or not name:
        raise bad_request("The request names no repository.")
    return split_id(f"{organization}/{name}" if organization else name, call.hub.options.namespace)


def _private(body: dict[str, Any]) -> bool | None:
    visibility = body.get("visibility")
    # huggingface_hub 2 sends `visibility`, versions before it `private`.
    if visibility is None:
        return body["private"] if isinstance(body.get("private"), bool) else None
    if not isinstance(visibility, str) or visibility not in _VISIBILITY:
        raise bad_request(f"A repository is 'public' or 'private', not {visibility!r}.")
    return _VISIBILITY[visibility]


def _url(call: Call, repo: Repo) -> str:
    return f"{call.base}/{repo.web_path}"


def _ref(name: str, ref: str, oid: str) -> dict[str, str]:
    return {"name": name, "ref": ref, "targetCommit": oid}


def _commit(commit: Commit) -> dict[str, Any]:
    return {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.message,
        "date": commit.date,
        "authors": [{"user": commit.author}],
    }


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    # `isdigit` alone accepts superscripts and other scripts' digits, which int() refuses or reads.
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise bad_request(f"{text[:50]!r} is not a whole number.")
    return int(text)


def _next_page(call: Call, start: int, size: int, total: int) -> dict[str, str]:
    # No link on the last page: the client follows links until there is none.
    if start + size >= total:
        return {}
    query = [(key, value) for key, value in call.request.query_params.multi_items() if key != "skip"]
    # As it was sent: decoded, the slash of `refs%2Fpr%2F1` would be one of the path.
    path = call.request.scope["raw_path"].decode("ascii")
    return {"Link": f'<{call.base}{path}?{urlencode([*query, ("skip", start + size)])}>; rel="next"'}


ROUTES: dict[tuple[str, str, str], Route] = {
    ("site", "POST", "api/repos/create"): Route(create, write=True, body="json"),
    ("site", "DELETE", "api/repos/delete"): Route(delete, write=True, body="json"),
    ("site", "POST", "api/repos/move"): Route(move, write=True, body="json"),
    ("api", "GET", "list"): Route(list_repos),
    ("api", "GET", ""): Route(info, shows="names"),
    ("api", "GET", "revision"): Route(info, shows="names"),
    ("api", "PUT", "settings"): Route(settings, write=True, body="json"),
    ("api", "GET", "refs"): Route(refs, shows="names"),
    ("api", "GET", "commits"): Route(commits, shows="names"),
    ("api", "POST", "branch"): Route(create_branch, write=True, body="json"),
    ("api", "DELETE", "branch"): Route(delete_branch, write=True),
    ("api", "POST", "tag"): Route(create_tag, write=True, body="json"),
    ("api", "DELETE", "tag"): Route(delete_tag, write=True),
    ("api", "POST", "super-squash"): Route(squash, write=True, body="json"),
    ("api", "GET", "auth-check"): Route(auth_check),
    ("api", "GET", "leaderboard"): Route(leaderboard, shows="names"),
}
