"""Data: the record store, the label tables, the mock trees.

    from dataset_scripts import load_dataset, prepare, SignalReader

The public names load what they need on first use, so that listing datasets stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataset_scripts.catalog import datasets, get
    from dataset_scripts.core.labels import label_matrix, multi_hot
    from dataset_scripts.load import Prepared, load_dataset, prepare
    from dataset_scripts.reader import SignalReader

__all__ = [
    "Prepared",
    "SignalReader",
    "datasets",
    "get",
    "label_matrix",
    "load_dataset",
    "multi_hot",
    "prepare",
]

_HOMES = {
    "Prepared": "load",
    "SignalReader": "reader",
    "datasets": "catalog",
    "get": "catalog",
    "label_matrix": "core.labels",
    "load_dataset": "load",
    "multi_hot": "core.labels",
    "prepare": "load",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
