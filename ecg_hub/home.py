"""The folder of converted models and caches, which names and the utilities below them both need."""

from __future__ import annotations

import os
from pathlib import Path

HOME_OPTION = "ECG_HUB_HOME"


def home() -> Path:
    """Return the folder of converted models and caches: $ECG_HUB_HOME, else the platform's cache folder / ecg_hub."""
    configured = os.environ.get(HOME_OPTION)
    if configured:
        return Path(configured).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("ecg_hub", appauthor=False)
