"""The wfdb package, the independent reader that ours is tested against."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():  # wfdb 4.3 uses a pandas keyword that pandas 3.1 deprecates
    warnings.simplefilter("ignore")
    import wfdb

__all__ = ["wfdb"]
