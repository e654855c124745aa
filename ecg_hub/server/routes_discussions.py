"""Discussions and pull requests, as far as huggingface_hub's client goes."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from ecg_hub.server.calls import Call, Route, answer_json
from ecg_hub.server.discussions import Thread, commit_event
from ecg_hub.server.naming import RequestError, bad_request
from ecg_hub.server.repos import MAIN, Repo, State

PAGE = 50


def list_or_read(call: Call) -> Response:
    """GET /api/{kind}/{repo}/discussions[/{number}]."""
    return _read(call) if call.address.tail else _list(call)


def create_or_change(call: Call) -> Response:
    """POST /api/{kind}/{repo}/discussions[/{number}/{what}]: open one, or comment, edit, rename, close, merge."""
    tail = call.address.tail
    if not tail:
        return _create(call)
    repo = call.repo()
    number = str(call.hub.discussions.read(repo, repo.state(), tail[0])["num"])
    if len(tail) == 4 and tail[1] == "comment" and tail[3] in ("edit", "hide"):
        text = _text(call, "content") if tail[3] == "edit" else None
        event = call.hub.discussions.edit_comment(repo, number, tail[2], call.author, text)
        return answer_json({"updatedComment": event})
    if len(tail) == 2 and tail[1] in _CHANGES:
        return answer_json(_CHANGES[tail[1]](call, repo, number))
    raise RequestError(404, "This hub does not offer that address.")


def _comment(call: Call, repo: Repo, number: str) -> dict[str, Any]:
    return {"newMessage": call.hub.discussions.comment(repo, number, call.author, _text(call, "comment"))}


def _title(call: Call, repo: Repo, number: str) -> dict[str, Any]:
    return {"newTitle": call.hub.discussions.rename(repo, number, call.author, _text(call, "title"))}


def _status(call: Call, repo: Repo, number: str) -> dict[str, Any]:
    status, text = call.body.get("status"), call.body.get("comment")
    return {"newStatus": call.hub.discussions.set_status(repo, number, call.author, status, text)}


def _merge(call: Call, repo: Repo, number: str) -> dict[str, Any]:
    return {"mergeCommitId": call.hub.discussions.merge(repo, number, call.author, call.body.get("comment"))}


_CHANGES = {"comment": _comment, "title": _title, "status": _status, "merge": _merge}


def _create(call: Call) -> Response:
    # What create_pull_request opens has no commits yet; the first one may come days later.
    pull = "draft" if call.body.get("pullRequest") is True else None
    title, text = _text(call, "title"), str(call.body.get("description") or "")
    repo = call.repo()
    number = call.hub.discussions.open(repo, call.author, title, text, pull)
    return answer_json(
        {"num": number, "url": f"{call.base}/{repo.web_path}/discussions/{number}", "pullRequest": bool(pull)}
    )


def _list(call: Call) -> Response:
    repo, params = call.repo(), call.request.query_params
    state = repo.state()
    kind, status, author = params.get("type", "all"), params.get("status", "all"), params.get("author")
    threads = [
        thread
        for thread in call.hub.discussions.all(repo, state)
        if (kind == "all" or thread["isPullRequest"] == (kind == "pull_request"))
        and (status == "all" or (thread["status"] in ("open", "draft")) == (status == "open"))
        and (author is None or thread["author"] == author)
    ]
    page = params.get("p", "0")
    start = PAGE * (int(page) if page.isascii() and page.isdigit() and len(page) < 9 else 0)
    shown = [_summary(repo, thread) for thread in threads[start : start + PAGE]]
    return answer_json({"discussions": shown, "count": len(threads), "start": start})


def _read(call: Call) -> Response:
    repo = call.repo()
    state = repo.state()
    thread = call.hub.discussions.read(repo, state, call.address.tail[0])
    return answer_json(details(call, repo, state, thread, with_diff=call.flag("diff")))


def details(call: Call, repo: Repo, state: State, thread: Thread, with_diff: bool) -> dict[str, Any]:
    """Return a discussion with its events, for the client and for the page."""
    discussions, events = call.hub.discussions, list(thread["events"])
    answer = _summary(repo, thread)
    if pull := state.pulls.get(str(thread["num"])):
        # Commits stand in the history, everything else in the thread.
        events += [commit_event(commit) for commit in discussions.commits(repo, pull)]
        changes = {"base": f"refs/heads/{MAIN}"}
        if pull.merged:
            changes["mergeCommitId"] = pull.merged
        answer["changes"] = changes
        answer["filesWithConflicts"] = [] if pull.merged else discussions.conflicts(repo, state, pull)
        if with_diff and call.caller.reads(state):
            answer["diff"] = discussions.diff(repo, pull.base, pull.head)
    answer["events"] = sorted(events, key=lambda event: str(event["createdAt"]))
    return answer


def _summary(repo: Repo, thread: Thread) -> dict[str, Any]:
    return {
        "num": thread["num"],
        "title": thread["title"],
        "author": {"name": thread["author"], "type": "user"},
        "createdAt": thread["createdAt"],
        "status": thread["status"],
        "isPullRequest": thread["isPullRequest"],
        "repo": {"name": repo.id, "type": repo.kind.removesuffix("s")},
    }


def _text(call: Call, name: str) -> str:
    value = call.body.get(name)
    if not isinstance(value, str) or not value.strip():
        raise bad_request(f"The request lacks the text {name!r}.")
    return value


ROUTES: dict[tuple[str, str, str], Route] = {
    ("api", "GET", "discussions"): Route(list_or_read, shows="names"),
    ("api", "POST", "discussions"): Route(create_or_change, write=True, body="json"),
}
