"""Models: what AutoModel needs, and nothing about tasks or training.

Importing the package makes every model known to transformers' Auto classes. With ECG_HUB_LAZY=1 that waits until a
public name is used, so that command lines which only list things start without torch.
"""

from __future__ import annotations

import os as _os
from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ecg_hub.names import disable_xet as _disable_xet

if _TYPE_CHECKING:
    from ecg_hub.auto import AutoConfig as AutoConfig
    from ecg_hub.auto import AutoFeatureExtractor as AutoFeatureExtractor
    from ecg_hub.auto import AutoModel as AutoModel
    from ecg_hub.auto import AutoModelForECGClassification as AutoModelForECGClassification
    from ecg_hub.auto import AutoModelForPreTraining as AutoModelForPreTraining
    from ecg_hub.input.feature_extraction import ECGFeatureExtractor as ECGFeatureExtractor
    from ecg_hub.pipeline import ECGClassificationPipeline as ECGClassificationPipeline
    from ecg_hub.pipeline import load_pipeline as load_pipeline

__version__ = "0.1.0"

_HOMES = {
    "AutoConfig": "ecg_hub.auto",
    "AutoFeatureExtractor": "ecg_hub.auto",
    "AutoModel": "ecg_hub.auto",
    "AutoModelForECGClassification": "ecg_hub.auto",
    "AutoModelForPreTraining": "ecg_hub.auto",
    "ECGClassificationPipeline": "ecg_hub.pipeline",
    "ECGFeatureExtractor": "ecg_hub.input.feature_extraction",
    "load_pipeline": "ecg_hub.pipeline",
}


def load_dataset(
    name: str | _os.PathLike[str],
    data_dir: str | _os.PathLike[str] | None = None,
    cache_dir: str | _os.PathLike[str] | None = None,
    min_count: int | None = None,
    max_loss: float = 0.01,
    **thresholds: _Any,
) -> _Any:
    """Load a dataset from the folder of its published files.

    Args:
        name: dataset, for example "ptb-xl"; `ecg-eval ls datasets` lists them. Or the path of the YAML file that
            describes an archive of your own.
        data_dir: the dataset's folder; a description names its own.
        cache_dir: where the record store is written; None is the default cache.
        min_count: labels with fewer occurrences are dropped; None is the published 10, or what a mock tree brings.
        max_loss: share of unreadable records that is tolerated.
        **thresholds: further thresholds of the dataset's label rules.

    Returns:
        A DatasetDict with train, validation and test.
    """
    from dataset_scripts.load import load_dataset as load

    return load(name, data_dir=data_dir, cache_dir=cache_dir, min_count=min_count, max_loss=max_loss, **thresholds)


def _model_classes() -> dict[str, str]:
    """Return the public classes of all models with their modules."""
    from ecg_hub.catalog import models

    references = (reference for entry in models().values() for reference in entry.public_classes)
    return {name: module for module, _, name in (reference.partition(":") for reference in references)}


def _register() -> None:
    from ecg_hub.auto import register_all

    register_all()


def __getattr__(name: str) -> _Any:
    if name == "__all__":
        return sorted([*_HOMES, *_model_classes(), "__version__", "load_dataset"])
    home = _HOMES.get(name) or (_model_classes().get(name) if name[:1].isupper() else None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _register()
    value = getattr(_import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})


_disable_xet()
if _os.environ.get("ECG_HUB_LAZY") != "1":
    _register()
