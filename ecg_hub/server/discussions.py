"""Discussions and pull requests: numbers, comments, status, and merging file by file."""

from __future__ import annotations

import difflib
import json
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from ecg_hub.server.history import Commit, CommitMessage, History, Operation
from ecg_hub.server.naming import RequestError, bad_request
from ecg_hub.server.repos import MAIN, Pull, Repo, State, now
from ecg_hub.server.storage import BlobStore, Disk, Together
from ecg_hub.server.trees import Draft, File

MAX_TEXT = 65536  # characters of a comment
MAX_DIFF = 200_000  # bytes of a file that is shown as differences

Thread = dict[str, Any]


class Discussions:
    """The files `discussions/<number>.json` of repositories; commits of pull requests stand in the state."""

    def __init__(self, disk: Disk, history: History, blobs: BlobStore) -> None:
        self.disk = disk
        self.history = history
        self.blobs = blobs

    def open(self, repo: Repo, author: str, title: str, text: str, pull: str | None) -> int:
        """Start a discussion, or a pull request that has no commits yet."""
        with repo.lock:
            state = repo.state()
            number = self.start(repo, state, author, title, text, pull)
            repo.save(state)
        return number

    def start(self, repo: Repo, state: State, author: str, title: str, text: str, pull: str | None) -> int:
        """Do what `open` does without saving: the number is not taken yet. The caller holds the lock."""
        title = title.strip()
        if not 3 <= len(title) <= 200:
            raise bad_request(f"A title has 3 to 200 characters; {title[:200]!r} has {len(title)}.")
        number, head = state.next, state.heads[MAIN]
        thread: Thread = {
            "num": number,
            "title": title,
            "author": author,
            "createdAt": now(),
            "status": "open",
            "isPullRequest": pull is not None,
            "events": [_comment(author, text)],
        }
        self._write(repo, thread)
        if pull is not None:
            state.pulls[str(number)] = Pull(head, head, pull)
        state.next += 1
        return number

    def propose(
        self, repo: Repo, operations: Sequence[Operation], message: CommitMessage, parent: str | None
    ) -> tuple[int, Commit]:
        """Open a pull request with its first commit, in one step; returns its number and the commit."""
        with repo.lock:
            state = repo.state()
            head = self.history.read(repo, state.heads[MAIN])
            if parent is not None and repo.resolve(parent, state) != head.oid:
                raise RequestError(412, f"{repo.id!r} has moved on: its head is {head.oid}, not {parent}.")
            tree = self.history.apply(head.tree, operations)
            if tree == head.tree:
                raise bad_request("The pull request would change nothing: every file is as in the main branch.")
            # A commit's title may be shorter than a discussion's.
            title = message.title.strip()[:200]
            number = self.start(
                repo,
                state,
                message.author,
                title if len(title) >= 3 else f"Changes {title}".strip(),
                message.message,
                "open",
            )
            # The state is saved last: nothing refers to what a crash leaves before that.
            commit = self.history.add(repo, tree, [head.oid], message)
            state.pulls[str(number)].head = commit.oid
            repo.save(state)
        return number, commit

    def read(self, repo: Repo, state: State, number: str) -> Thread:
        """Return a discussion with its present status."""
        if not number.isascii() or not number.isdigit() or len(number) > 9 or not 0 < int(number) < state.next:
            raise RequestError(404, f"{repo.id!r} has no discussion {number[:20]!r}.", "EntryNotFound")
        thread: Thread = json.loads((repo.folder / "discussions" / f"{int(number)}.json").read_bytes())
        # The state moves in one step with the branch; the status in the thread's file may be older.
        if pull := state.pulls.get(str(int(number))):
            thread["status"] = pull.status
        return thread

    def all(self, repo: Repo, state: State) -> Iterator[Thread]:
        """Yield the discussions, the newest first."""
        for number in range(state.next - 1, 0, -1):
            yield self.read(repo, state, str(number))

    def comment(self, repo: Repo, number: str, author: str, text: str) -> dict[str, Any]:
        """Add a comment; returns its event."""
        event = _comment(author, text)
        self._append(repo, number, event)
        return event

    def edit_comment(self, repo: Repo, number: str, comment: str, author: str, text: str | None) -> dict[str, Any]:
        """Replace the text of a comment, or hide it (`text` None); returns its event."""
        with repo.lock:
            thread = self.read(repo, repo.state(), number)
            for event in thread["events"]:
                if event["id"] == comment and event["type"] == "comment":
                    event["data"]["hidden"] = text is None
                    event["data"]["edited"] = True
                    event["data"]["latest"] = _text(author, "This comment has been hidden" if text is None else text)
                    event["data"]["history"].append(event["data"]["latest"])
                    self._write(repo, thread)
                    return dict(event)
        raise RequestError(404, f"Discussion {number} has no comment {comment[:50]!r}.", "EntryNotFound")

    def rename(self, repo: Repo, number: str, author: str, title: str) -> dict[str, Any]:
        """Change the title; returns the event."""
        if not 3 <= len(title.strip()) <= 200:
            raise bad_request(f"A title has 3 to 200 characters; {title[:200]!r} has {len(title.strip())}.")
        with repo.lock:
            thread = self.read(repo, repo.state(), number)
            event = _event("title-change", author, {"from": thread["title"], "to": title.strip()})
            thread["title"] = title.strip()
            thread["events"].append(event)
            self._write(repo, thread)
        return event

    def set_status(self, repo: Repo, number: str, author: str, status: object, text: str | None) -> dict[str, Any]:
        """Open or close; returns the event."""
        if status not in ("open", "closed"):
            raise bad_request(f"A status is 'open' or 'closed', not {status!r}.")
        with repo.lock:
            state = repo.state()
            thread = self.read(repo, state, number)
            if thread["status"] == "merged":
                raise bad_request(f"Pull request {number} is merged; it cannot be changed to {status!r}.")
            thread["status"] = str(status)
            event = _event("status-change", author, {"status": status})
            thread["events"] += [event, *([_comment(author, text)] if text else [])]
            self._write(repo, thread)
            # Of a pull request the state decides; a crash before it is saved leaves an event too many.
            if pull := state.pulls.get(number):
                pull.status = str(status)
                repo.save(state)
        return event

    def conflicts(self, repo: Repo, state: State, pull: Pull) -> list[str]:
        """Return the files that both the pull request and the main branch changed, in different ways."""
        ours = self._tree(repo, state.heads[MAIN])
        clashes = []
        for path, base, theirs in self.history.trees.changes(self._tree(repo, pull.base), self._tree(repo, pull.head)):
            node = self.history.trees.find(ours, path)
            # Untouched there, or changed to the very same: no clash.
            if node not in (base, theirs):
                clashes.append(path)
        return clashes

    def merge(self, repo: Repo, number: str, author: str, text: str | None) -> str:
        """Bring a pull request into the main branch; returns the commit."""
        with repo.lock:
            state = repo.state()
            thread = self.read(repo, state, number)
            pull = state.pulls.get(number)
            if pull is None:
                raise bad_request(f"Discussion {number} is not a pull request.")
            if pull.status not in ("draft", "open"):
                raise bad_request(f"Pull request {number} is {pull.status}; only an open one can be merged.")
            if clashes := self.conflicts(repo, state, pull):
                raise RequestError(409, f"The main branch changed these files as well: {', '.join(clashes[:20])}.")
            commit = self._merge(repo, state, pull, CommitMessage(author, f"{thread['title']} (#{number})", text or ""))
            # The branch before the thread: a crash in between loses an event, never the merge.
            state.heads[MAIN] = pull.merged = commit.oid
            pull.status = "merged"
            repo.save(state)
            thread["events"] += [
                *([_comment(author, text)] if text else []),
                _event("status-change", author, {"status": "merged"}),
            ]
            self._write(repo, thread)
            return commit.oid

    def _merge(self, repo: Repo, state: State, pull: Pull, message: CommitMessage) -> Commit:
        head = self.history.read(repo, state.heads[MAIN])
        draft = Draft(self.history.trees, head.tree)
        changes = self.history.trees.changes(self._tree(repo, pull.base), self._tree(repo, pull.head))
        # Deletions first: a file may have become a folder.
        for path, _, file in sorted(changes, key=lambda change: change[2] is not None):
            if file is not None:
                draft.put(path, file)
            elif isinstance(self.history.trees.find(head.tree, path), File):
                draft.delete(path, folder=False)
        with Together(self.disk) as files:
            tree = draft.write(files)
        return head if tree == head.tree else self.history.add(repo, tree, [head.oid, pull.head], message)

    def commits(self, repo: Repo, pull: Pull) -> list[Commit]:
        """Return the commits of a pull request, the oldest first."""
        own = []
        for commit in self.history.log(repo, pull.head):
            if commit.oid == pull.base:
                break
            own.append(commit)
        return own[::-1]

    def diff(self, repo: Repo, old: str, new: str) -> str:
        """Return the differences of two commits as text, file by file."""
        pieces = []
        for path, before, after in self.history.trees.changes(self._tree(repo, old), self._tree(repo, new)):
            first, second = self._lines(before), self._lines(after)
            head = f"diff --git a/{path} b/{path}\n"
            if first is None or second is None:
                pieces.append(f"{head}Binary files a/{path} and b/{path} differ\n")
                continue
            names = (f"a/{path}" if before else "/dev/null", f"b/{path}" if after else "/dev/null")
            pieces.append(head + "\n".join(difflib.unified_diff(first, second, *names, lineterm="")) + "\n")
        return "".join(pieces)

    def _lines(self, file: File | None) -> list[str] | None:
        if file is None:
            return []
        if file.lfs or file.size > MAX_DIFF:
            return None
        try:
            return self.blobs.read(file.sha256, MAX_DIFF).decode().splitlines()
        except UnicodeDecodeError:
            return None

    def _tree(self, repo: Repo, oid: str) -> str:
        return self.history.read(repo, oid).tree

    def _append(self, repo: Repo, number: str, event: dict[str, Any]) -> None:
        with repo.lock:
            thread = self.read(repo, repo.state(), number)
            thread["events"].append(event)
            self._write(repo, thread)

    def _write(self, repo: Repo, thread: Thread) -> None:
        content = json.dumps(thread, indent=1).encode()
        self.disk.write(repo.folder / "discussions" / f"{thread['num']}.json", content)


def commit_event(commit: Commit) -> dict[str, Any]:
    """Return a commit of a pull request as an event of its discussion."""
    data = {"subject": commit.title, "oid": commit.oid}
    return {
        "id": commit.oid,
        "type": "commit",
        "createdAt": commit.date,
        "author": {"name": commit.author, "type": "user"},
        "data": data,
    }


def _event(kind: str, author: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": secrets.token_hex(12),
        "type": kind,
        "createdAt": now(),
        "author": {"name": author, "type": "user"},
        "data": data,
    }


def _comment(author: str, text: str) -> dict[str, Any]:
    latest = _text(author, text)
    return _event("comment", author, {"edited": False, "hidden": False, "latest": latest, "history": [latest]})


def _text(author: str, text: str) -> dict[str, Any]:
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise bad_request(f"A comment is a text of at most {MAX_TEXT:,} characters.")
    return {"raw": text, "updatedAt": now(), "author": {"name": author, "type": "user"}}
