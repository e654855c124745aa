"""What the server answers when it refuses, in the headers that huggingface_hub reads."""

from __future__ import annotations

from collections.abc import Mapping


class RequestError(Exception):
    """A request that is refused.

    Attributes:
        status: HTTP status.
        message: one sentence for the person at the client; never holds a token.
        code: value of `X-Error-Code`, by which huggingface_hub chooses its exception.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})

    def all_headers(self) -> dict[str, str]:
        """Return the headers of the answer; the message is cut to what a header can carry."""
        plain = "".join(letter if " " <= letter <= "~" else "?" for letter in self.message)[:1000]
        headers = {"X-Error-Message": plain, **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        return headers


def repo_not_found(repo: str) -> RequestError:
    """Build the refusal for a repository that does not exist, or that the caller may not know of."""
    return RequestError(404, f"There is no repository {repo!r} here.", "RepoNotFound")


def revision_not_found(repo: str, revision: str) -> RequestError:
    """Build the refusal for a branch, tag or commit that does not exist."""
    return RequestError(404, f"{repo!r} has no revision {revision!r}.", "RevisionNotFound")


def entry_not_found(repo: str, path: str, commit: str) -> RequestError:
    """Build the refusal for a file that a commit does not hold; the client keeps the absence under that commit."""
    message = f"{repo!r} holds no {path!r} at {commit[:12]}."
    return RequestError(404, message, "EntryNotFound", {"X-Repo-Commit": commit})


def bad_request(message: str) -> RequestError:
    """Build the refusal for a malformed request."""
    return RequestError(400, message)


def too_large(message: str) -> RequestError:
    """Build the refusal for something over a limit."""
    return RequestError(413, message)
