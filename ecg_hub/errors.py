"""The exceptions of the project, one tree, and the helper that suggests names.

EcgHubError
├── UnknownNameError   a model, task, dataset, mode or lead that does not exist (also a ValueError)
├── InputError         a signal or argument that does not fit the contract (also a ValueError)
├── CheckpointError    weights that are missing, surplus, of the wrong shape or not safe to read
├── DataError          raw data that is absent, damaged or incomplete
└── ResultError        a result folder or file that cannot be written, read or continued
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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
