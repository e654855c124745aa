"""Old names that stay valid for one release: each use says once, in a sentence, what the name is now.

A name is renamed in one place, where it is declared; the code behind it knows the new name alone.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def renamed_argument(old: str, new: str) -> Callable[[T], T]:
    """Let a function or a dataclass take a keyword argument under its old name, with a FutureWarning.

    Example:
        >>> import warnings
        >>> @renamed_argument("max_loss", "max_unreadable")
        ... def prepare(max_unreadable: float = 0.01) -> float:
        ...     return max_unreadable
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     prepare(max_loss=0.2)
        0.2
        >>> print(caught[0].message)
        max_loss is now called max_unreadable; the old name is gone with the next release.
    """

    def decorate(target: T) -> T:
        call: Any = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]

        @functools.wraps(call)
        def with_old_name(*args: Any, **kwargs: Any) -> Any:
            if old in kwargs:
                if new in kwargs:
                    raise TypeError(f"{old} is the old name of {new}: give {new} alone.")
                warnings.warn(renaming(old, new), FutureWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return call(*args, **kwargs)

        if not isinstance(target, type):
            return with_old_name  # type: ignore[return-value]
        target.__init__ = with_old_name  # type: ignore[misc]
        return target

    return decorate


def tell_renamed(old: str, new: str) -> None:
    """Say on stderr that an option or a key of a file has a new name."""
    print(f"note: {renaming(old, new)}", file=sys.stderr)


def renaming(old: str, new: str) -> str:
    """The sentence for a name that changed."""
    return f"{old} is now called {new}; the old name is gone with the next release."
