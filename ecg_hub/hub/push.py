"""`ecg-hub push`: a model in a repository on the hub at $HF_ENDPOINT, in one commit, and nothing if it is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError
from ecg_hub.hub.cards import keep_scores, named
from ecg_hub.hub.client import MAIN, Commit, HubRepository, Stored, check_id, is_there, until_committed
from ecg_hub.hub.package import CARD, Package
from ecg_hub.names import endpoint
from ecg_hub.utils.repo_names import check_ref


@dataclass(frozen=True)
class Plan:
    """Where and how a package is sent.

    Attributes:
        repo: "ORG/NAME".
        branch: branch to commit to; None is the default one.
        request: propose a pull request instead of committing.
        private: the repository has to be private; one that is made is.
        tag: name that stands for the commit afterwards.
        message: title of the commit; None names the model.
    """

    repo: str
    branch: str | None = None
    request: bool = False
    private: bool = False
    tag: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        check_id(self.repo)
        # Refused by the hub, a tag would be missing on a commit that is made by then.
        for option, name in (("--revision", self.branch), ("--tag", self.tag)):
            if name is not None:
                try:
                    check_ref(name, "branch or tag")
                except ValueError as error:
                    raise InputError(f"{option}: {error}") from None
        if self.request and self.tag:
            raise InputError("--tag names a commit, and --create-pr makes none yet. Tag it when it is merged.")
        if self.request and self.branch not in (None, MAIN):
            raise InputError(f"--create-pr proposes a change of {MAIN!r}; leave --revision out.")


@dataclass(frozen=True)
class PushSummary:
    """What a push did.

    Attributes:
        repo: the repository.
        sent: paths that were sent.
        removed: weight files of another division that were removed.
        commit: the commit that holds the model now.
        link: page of the commit, or of the pull request.
        plan: how it was sent.
        loader: the class that loads it.
    """

    repo: str
    sent: tuple[str, ...]
    removed: tuple[str, ...]
    commit: str
    link: str
    plan: Plan
    loader: str

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        revision = self.plan.tag or self.plan.branch
        more = f', revision="{revision}"' if revision not in (None, MAIN) else ""
        what = f"sent {', '.join(self.sent)}: {self.link}" if self.sent else f"nothing to do: {self.link} holds it"
        return [
            what,
            *([f"removed {', '.join(self.removed)}"] if self.removed else []),
            *([f"tag {self.plan.tag} stands for {self.commit}"] if self.plan.tag else []),
            *(
                []
                if self.plan.request
                else [f'load it with: ecg_hub.{self.loader}.from_pretrained("{self.repo}"{more})']
            ),
        ]


def send(package: Package, plan: Plan, api: Any = None) -> PushSummary:
    """Send a package; what the repository holds already is not sent again."""
    remote = HubRepository(plan.repo, "model", api)
    card = package.files[CARD]
    if isinstance(card, bytes):
        package = replace(package, files={**package.files, CARD: named(card, plan.repo)})
    _prepare(remote, package, plan)
    return until_committed(remote.name, lambda _: _attempt(remote, package, plan))


def _prepare(remote: HubRepository, package: Package, plan: Plan) -> None:
    """See to repository and branch; an internal package never goes where others may read."""
    info = remote.info()
    if info is None:
        # None leaves it to the organisation's own default, which may be private.
        remote.create(private=True if plan.private or package.internal else None)
        info = remote.info()
    if info is None:
        raise InputError(f"{remote.name} is not there, or your token may not see it.")
    # Asked again after it was made: what counts is what the hub made of it.
    if (package.internal or plan.private) and not info.private:
        raise InputError(
            f"{remote.name} is there and public: choose another --repo, or make it private first: "
            f"HfApi().update_repo_settings({plan.repo!r}, visibility='private')."
        )
    if plan.branch not in (None, MAIN):
        remote.create_branch(str(plan.branch))


def _attempt(remote: HubRepository, package: Package, plan: Plan) -> PushSummary:
    head = remote.head(plan.branch)
    if head is None:
        raise InputError(f"{remote.name} has no branch {plan.branch!r}.")
    there = remote.files(head)
    files = _with_scores(remote, head, there, package.files)
    changed = {path: content for path, content in files.items() if not is_there(there, path, content)}
    # Weights that were cut into other files would stay beside these, and might be loaded instead.
    gone = tuple(path for path in there if _is_weights(path) and path not in files)
    taken = remote.tags().get(plan.tag) if plan.tag else None
    # Before anything is sent: refused afterwards, the commit would stand without its tag.
    if taken is not None and (taken != head or changed or gone):
        raise InputError(f"Tag {plan.tag!r} of {remote.name} stands for {taken} already; choose another.")
    if changed or gone:
        done = _commit(remote, package, plan, head, changed, gone)
    else:
        done = Commit(head, f"{endpoint()}/{plan.repo}/tree/{head}")
    # After a cut in front of this, the same command finds nothing changed and sets the tag.
    if plan.tag and taken is None:
        remote.tag(plan.tag, done.oid)
    # A hub may find that nothing differs, and answer with the commit that it had.
    sent = () if done.oid == head else tuple(changed)
    return PushSummary(plan.repo, sent, gone if sent else (), done.oid, done.link, plan, package.loader)


def _commit(
    remote: HubRepository,
    package: Package,
    plan: Plan,
    head: str,
    changed: dict[str, Path | bytes],
    gone: tuple[str, ...],
) -> Commit:
    """Make the commit, unless a pull request proposes the same already."""
    title = plan.message or f"{package.entry.title}, {package.facts}, by ecg-hub"
    if plan.request:
        # A second proposal of the same would only wait beside the first.
        for revision, link in remote.requests(title).items():
            proposed = remote.files(revision)
            if all(is_there(proposed, path, content) for path, content in package.files.items()):
                return Commit(head, link)
    return remote.commit(changed, title, head, gone=gone, branch=plan.branch, request=plan.request)


def _with_scores(
    remote: HubRepository, head: str, there: dict[str, Stored], files: dict[str, Path | bytes]
) -> dict[str, Path | bytes]:
    """Keep the scores in the card of the repository (`ecg-eval push --model-index`) while the weights are the same."""
    # Scores hold for the weights that they were made with; they go with the old card otherwise.
    card = files[CARD]
    if not isinstance(card, bytes) or CARD not in there or is_there(there, CARD, card):
        return files
    if not all(is_there(there, path, content) for path, content in files.items() if _is_weights(path)):
        return files
    old = remote.read(head, CARD)
    return files if old is None else {**files, CARD: keep_scores(card, old)}


def _is_weights(path: str) -> bool:
    return "/" not in path and path.endswith((".safetensors", ".safetensors.index.json"))
