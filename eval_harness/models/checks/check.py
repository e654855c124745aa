"""One line of a validation: what was checked, how it went, what was seen, what helps; and how a check is run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ecg_hub.errors import EcgHubError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eval_harness.models.checks.subject import Subject

Status: TypeAlias = Literal["ok", "failed", "warning", "not applicable"]


@dataclass(frozen=True)
class ModelCheck:
    """The outcome of one check.

    Attributes:
        check: what was checked.
        status: "ok", "failed", "warning" (it can be scored, with a drawback) or "not applicable".
        seen: what was seen, in words.
        remedy: what helps; empty where nothing needs help.
    """

    check: str
    status: Status
    seen: str
    remedy: str = ""

    def as_row(self) -> dict[str, object]:
        """The row of a table."""
        return {"check": self.check, "result": self.status, "seen": self.seen, "what helps": self.remedy or None}

    def as_dict(self) -> dict[str, str]:
        """All fields, for JSON."""
        return asdict(self)


class ModelCheckError(EcgHubError, AssertionError):
    """A model that does not keep the contract; also an AssertionError, so that a test that asks for it fails by it."""


class FailedError(Exception):
    """Raised by a check that sees a violation, with what was seen and what helps."""

    status: Status = "failed"

    def __init__(self, seen: str, remedy: str = "") -> None:
        super().__init__(seen)
        self.seen, self.remedy = seen, remedy


class DrawbackError(FailedError):
    """Raised by a check whose finding costs something and forbids nothing."""

    status: Status = "warning"


class NotApplicableError(FailedError):
    """Raised by a check that has nothing to look at."""

    status: Status = "not applicable"


CheckFunction: TypeAlias = "Callable[[Subject], str]"
"""Looks at a subject and returns what was seen; raises `FailedError` or one of its kinds, or what the model raises."""


def run_check(name: str, function: CheckFunction, subject: Subject) -> ModelCheck:
    """Run one check; an exception of the model's is a failure as well."""
    try:
        with _quiet():
            return ModelCheck(name, "ok", function(subject))
    except FailedError as found:
        return ModelCheck(name, found.status, found.seen, found.remedy)
    except Exception as error:  # whatever somebody else's code raises is what was seen
        return ModelCheck(name, "failed", first_line(error), "The model must not raise here.")
    finally:
        # After a failure too: the next check must not meet a model in train mode.
        subject.reset()


def failures(checks: Sequence[ModelCheck]) -> list[ModelCheck]:
    """The checks that failed."""
    return [check for check in checks if check.status == "failed"]


def require(checks: Sequence[ModelCheck], name: str) -> None:
    """Raise ModelCheckError if a check failed, with a line for each."""
    failed = failures(checks)
    if failed:
        lines = [f"  {check.check}: {check.seen} {check.remedy}".rstrip() for check in failed]
        raise ModelCheckError("\n".join([f"{name} fails {len(failed)} of {len(checks)} checks:", *lines]))


def first_line(error: BaseException) -> str:
    """An exception in one line: its type and the first line of its text."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what a model warns of and logs, and the bars of transformers, out of the table."""
    from transformers.utils import logging as of_transformers

    before, bars = logging.root.manager.disable, of_transformers.is_progress_bar_enabled()
    # For the whole process, because nobody knows which loggers a foreign model writes to.
    logging.disable(logging.WARNING)
    of_transformers.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        if bars:
            of_transformers.enable_progress_bar()
