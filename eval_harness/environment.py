"""The versions and the machine a result was made with, and nothing that identifies the user."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("ecg-hub", "torch", "transformers", "datasets", "accelerate", "numpy", "scipy", "pyarrow", "wfdb")


def environment(device: str = "cpu", processes: int = 1) -> dict[str, str]:
    """Versions of what computes the scores, Python, platform, device and processes."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()}-{platform.machine()}"}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {**found, "device": device, "processes": str(processes)}
