"""The tests' own surroundings: nothing of the user's home, caches, tokens, hub or settings reaches them.

Libraries read most of these variables once, when they are imported: `enter` comes before any of them.
"""

from __future__ import annotations

import os
import site
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

# Settings of the user that change what a library reads, asks or prints.
PREFIXES = (
    *("ECG_", "HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_", "PYTORCH_"),
    *("XDG_", "MPL", "MATPLOTLIB", "AWS_"),
)
NAMES = (
    *("NETRC", "TORCH_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY"),
    *("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS"),
)
# What a person asks of the tests themselves.
KEPT = ("ECG_SCREENSHOTS",)


def surroundings(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment of the tests: that of the user without what concerns the user, all homes below `home`."""
    kept = {name: value for name, value in environment.items() if not _is_the_users(name)}
    return {
        **kept,
        # Packages that the user installed for himself are part of the Python that runs the tests.
        "PYTHONUSERBASE": site.getuserbase(),
        "HOME": str(home),
        "USERPROFILE": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "ECG_HUB_HOME": str(home / "ecg_hub"),
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "ECG_HUB_PACKAGES": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _is_the_users(name: str) -> bool:
    if name in KEPT:
        return False
    return name.startswith(PREFIXES) or name.upper() in NAMES


def enter() -> tempfile.TemporaryDirectory[str]:
    """Give this process, and those it starts, surroundings of their own; they go with the folder that is returned."""
    late = {"huggingface_hub", "datasets", "transformers", "matplotlib"} & sys.modules.keys()
    if late:
        raise RuntimeError(f"{', '.join(sorted(late))} imported before the tests have surroundings of their own")
    folder = tempfile.TemporaryDirectory(prefix="ecg-hub-tests-", ignore_cleanup_errors=True)
    own = surroundings(os.environ, Path(folder.name).resolve())
    os.environ.clear()
    os.environ.update(own)
    return folder
