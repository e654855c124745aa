"""The exceptions of the project, one tree, the helper that suggests names, and the exit codes of the commands.

EcgHubError
├── UnknownNameError   a model, task, dataset, mode or lead that does not exist (also a ValueError)
├── InputError         a signal or argument that does not fit the contract (also a ValueError)
├── CheckpointError    weights that are missing, surplus, of the wrong shape or not safe to read
├── DataError          raw data that is absent, damaged or incomplete
├── ResultError        a result folder or file that cannot be written, read or continued
└── RemoteError        a place behind a URL that holds nothing, does not answer, or lets nobody in
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum

MOST_LISTED, MOST_SHOWN = 12, 10
"""A list of allowed names is shown whole up to the first number; of a longer one as many as the second."""


class EcgHubError(Exception):
    """Base of all errors that are the user's to fix; command lines print them without a traceback."""


# Also a ValueError, so that code that knows nothing of this package catches it as what it is.
class InputError(EcgHubError, ValueError):
    """A signal or an argument that does not fit the contract."""


class UnknownNameError(InputError):
    """A name that is not registered."""


class CheckpointError(EcgHubError, ValueError):
    """Weights that are missing, surplus, of the wrong shape or not safe to read."""


class DataError(EcgHubError, ValueError):
    """Raw data that is absent, damaged or incomplete."""


class ResultError(EcgHubError, RuntimeError):
    """A result folder or file that cannot be written, read or continued."""


# No DataError: a record whose file could not be fetched is not a damaged one, and must not count as lost.
class RemoteError(EcgHubError):
    """A place behind a URL that holds nothing, does not answer, or lets nobody in."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest allowed names, or an empty string.

    Args:
        name: what the user wrote.
        allowed: the names that exist.

    Example:
        >>> did_you_mean("ecg-jeppa", ["ecg-jepa", "ecg-fm"])
        " Did you mean 'ecg-jepa'?"
        >>> did_you_mean("x", ["ecg-jepa"])
        ''
    """
    # Compared in lower case, since many names of leads and labels differ in case alone from what people write.
    lowered = {candidate.lower(): candidate for candidate in allowed}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=3, cutoff=0.6)
    if not close:
        return ""
    return " Did you mean " + " or ".join(repr(lowered[c]) for c in close) + "?"


def unknown_name(kind: str, name: str, allowed: Iterable[str], remedy: str = "") -> UnknownNameError:
    """Build the error for an unregistered name: quotes it, suggests, lists what exists and names the command.

    Of a long list the closest names are shown and the others counted.

    Example:
        >>> print(unknown_name("lead", "V7", ["V1", "V2"]))
        Unknown lead 'V7'. Known: V1, V2.
    """
    names = sorted(allowed)
    known = ", ".join(names) or "none"
    if len(names) > MOST_LISTED:
        lowered = {candidate.lower(): candidate for candidate in names}
        close = difflib.get_close_matches(name.lower(), list(lowered), n=MOST_SHOWN, cutoff=0.0)
        known = f"{', '.join(sorted(lowered[c] for c in close))} and {len(names) - len(close)} more"
    return UnknownNameError(f"Unknown {kind} {name!r}.{did_you_mean(name, names)} Known: {known}. {remedy}".strip())


class ExitCode(IntEnum):
    """How a command ended, for scripts and schedulers; `EXIT_CODES` says it in words."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    PARTLY = 3
    INTERRUPTED = 130
    UNREAD = 141
    TERMINATED = 143

    @classmethod
    def of(cls, done: int, failed: int) -> ExitCode:
        """Return the exit code of work in several parts, of which some failed.

        Example:
            >>> ExitCode.of(done=26, failed=0), ExitCode.of(done=25, failed=1), ExitCode.of(done=0, failed=2)
            (<ExitCode.DONE: 0>, <ExitCode.PARTLY: 3>, <ExitCode.ERROR: 1>)
        """
        if not failed:
            return cls.DONE
        return cls.PARTLY if done else cls.ERROR


EXIT_CODES: dict[ExitCode, str] = {
    ExitCode.DONE: "all that was asked for is done; modes that a model does not have are skipped",
    ExitCode.ERROR: "an error, said in one sentence; nothing was done, or a check does not hold",
    ExitCode.USAGE: "wrong usage: an option, a value or a name that does not exist",
    ExitCode.PARTLY: "some rows, records or repositories failed, the others are done",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C; the same command goes on",
    ExitCode.UNREAD: "whoever read the output took no more of it, such as `head`",
    ExitCode.TERMINATED: "ended by a time limit or `kill`; the same command goes on",
}
