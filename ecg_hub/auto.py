"""AutoModel, AutoFeatureExtractor and their like: transformers' classes that know our short names too.

Nothing is monkey-patched. After `import ecg_hub` the plain transformers classes load folders and hub ids of our models;
these subclasses resolve a name first (`resolve`), and build seeded random models on request.

Makes every model of the catalogue known to transformers' Auto classes and pipelines.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from dataclasses import fields
from typing import Any

import torch
import transformers
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES
from transformers.pipelines import PIPELINE_REGISTRY

import ecg_hub.catalog as catalog
from ecg_hub.catalog import ModelEntry, models
from ecg_hub.errors import CheckpointError, InputError, did_you_mean
from ecg_hub.input.feature_extraction import ECGFeatureExtractor
from ecg_hub.names import Resolved, home, model_folder, resolve
from ecg_hub.origin import is_catalogue, origin_of, shown_name, unverified_text
from ecg_hub.pipeline import TASK, ECGClassificationPipeline

__all__ = [
    "AutoConfig",
    "AutoFeatureExtractor",
    "AutoModel",
    "AutoModelForECGClassification",
    "AutoModelForPreTraining",
    "Resolved",
    "build_config",
    "build_feature_extractor",
    "home",
    "model_folder",
    "resolve",
]

Name = str | os.PathLike[str]
logger = logging.getLogger(__name__)

_HUB_KEYWORDS = frozenset(
    (
        "cache_dir",
        "force_download",
        "local_files_only",
        "proxies",
        "revision",
        "subfolder",
        "token",
        "trust_remote_code",
    )
)


def _register_models() -> None:
    """Make all models known to transformers, also where another package has taken a model type in the meantime."""

    register_all()


class AutoConfig(transformers.AutoConfig):
    """transformers.AutoConfig that also takes short names and `random:<alias>`."""

    @classmethod
    def from_pretrained(cls, name: Name, **kwargs: Any) -> Any:
        """Load or build a configuration.

        Args:
            name: folder, short name, hub id, `random:<alias>` or `random:<alias>-tiny`.
            **kwargs: as in transformers.

        Raises:
            UnknownNameError: no such model.
            CheckpointError: the weights of a known model are not there.
        """
        resolved = resolve(name)
        if resolved.kind in ("random", "scratch"):
            return build_config(resolved, **kwargs)
        _register_models()
        return super().from_pretrained(resolved.target, **kwargs)


class AutoFeatureExtractor(transformers.AutoFeatureExtractor):
    """transformers.AutoFeatureExtractor that also takes short names and `random:<alias>`."""

    @classmethod
    def from_pretrained(cls, name: Name, **kwargs: Any) -> Any:
        """Load or build a feature extractor.

        Args:
            name: folder, short name, hub id, `random:<alias>` or `random:<alias>-tiny`.
            **kwargs: as in transformers.

        Raises:
            UnknownNameError: no such model.
            CheckpointError: the weights of a known model are not there.
        """
        resolved = resolve(name)
        if resolved.kind in ("random", "scratch"):
            return build_feature_extractor(catalog.get(resolved.target))
        _register_models()
        try:
            return super().from_pretrained(resolved.target, **kwargs)
        except OSError:
            # The authors' own repositories have none either, and say what they are.
            AutoConfig.from_pretrained(name, **{key: kwargs[key] for key in _HUB_KEYWORDS & kwargs.keys()})
            raise


class _ShortNames:
    """`from_pretrained` of the model classes."""

    @classmethod
    def from_pretrained(cls, name: Name, *args: Any, seed: int = 0, check_name: bool = True, **kwargs: Any) -> Any:
        """Load a model, or build a random one that was asked for by name.

        Args:
            name: folder, short name, hub id, `random:<alias>` or `random:<alias>-tiny`.
            *args: as in transformers.
            seed: of a `random:` model; the global random state is neither used nor changed.
            check_name: log a warning where a short name finds other weights than those that it stands for.
            **kwargs: as in transformers; `new_head=True` lets a classifier start with a random head.

        Raises:
            UnknownNameError: no such model.
            CheckpointError: the weights of a known model are not there, or a checkpoint lacks some of them.
        """
        resolved = resolve(name)
        if resolved.kind == "scratch":
            raise CheckpointError(
                f"{resolved.alias!r} has no published weights: it is trained from scratch. Ask for random ones by "
                f"name, 'random:{resolved.alias}'."
            )
        _register_models()
        if resolved.kind == "random":
            return _build_random(cls, resolved, seed, **kwargs)
        loaded = super().from_pretrained(resolved.target, *args, **kwargs)  # type: ignore[misc]
        if check_name and resolved.alias is not None:
            _check_name(resolved, loaded[0] if isinstance(loaded, tuple) else loaded)
        return loaded


class AutoModel(_ShortNames, transformers.AutoModel):
    """transformers.AutoModel that also takes short names and `random:<alias>`; returns the encoder."""


class AutoModelForPreTraining(_ShortNames, transformers.AutoModelForPreTraining):
    """transformers.AutoModelForPreTraining that also takes short names; of the models that the hub can pre-train."""


class AutoModelForECGClassification(_ShortNames, _BaseAutoModelClass):
    """Loads the classifier that belongs to a configuration: encoder and head."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


def build_config(resolved: Resolved, **kwargs: Any) -> Any:
    """Build the configuration of a `random:` name.

    Args:
        resolved: what the name stands for.
        **kwargs: further changes to the configuration; keywords about downloading mean nothing here.

    Raises:
        InputError: a keyword that the configuration does not have.
    """
    entry = catalog.get(resolved.target)
    config_class = entry.load("config")
    known = {*(item.name for item in fields(config_class)), "num_labels", "attn_implementation", "output_attentions"}
    changes = {name: value for name, value in kwargs.items() if name not in _HUB_KEYWORDS}
    for name in changes:
        if name not in known:
            raise InputError(f"{config_class.__name__} has no field {name!r}.{did_you_mean(name, known)}")
    return config_class(**{**(entry.tiny if resolved.tiny else {}), **changes})


def build_feature_extractor(entry: catalog.ModelEntry) -> Any:
    """Build the feature extractor of a model from its catalogue entry.

    Args:
        entry: the model.
    """
    from ecg_hub.input.feature_extraction import ECGFeatureExtractor

    benchmark = entry.presets["benchmark"]
    return ECGFeatureExtractor(
        feature_size=len(benchmark["lead_names"]),
        sampling_rate=benchmark["sampling_rate"],
        presets={name: dict(preset) for name, preset in entry.presets.items()},
        preset="benchmark",
    )


def _check_name(resolved: Resolved, model: Any) -> None:
    """Say where a short name finds other weights than those that it stands for."""
    if model.dtype != torch.float32:  # the record of the conversion is about float32
        return
    origin = origin_of(model)
    if not is_catalogue(model, str(resolved.alias), origin):
        logger.warning(unverified_text(resolved.name, shown_name(resolved.name, model, origin), origin))


def _build_random(cls: Any, resolved: Resolved, seed: int, **kwargs: Any) -> Any:
    dtype = kwargs.pop("dtype", None)
    dtype = torch.float32 if dtype in (None, "auto") else dtype
    want_info = kwargs.pop("output_loading_info", False)
    kwargs.pop("new_head", None)
    config = kwargs.pop("config", None) or build_config(resolved, **kwargs)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        model = cls.from_config(config, dtype=dtype).eval()
    model.name_or_path = model.config.name_or_path = resolved.name
    model.config.random_weights = {"name": resolved.name, "seed": seed}
    info: dict[str, Any] = {key: set() for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")}
    return (model, info) if want_info else model


def register_all() -> None:
    """Register all models and the pipeline; doing it twice changes nothing."""
    for entry in models().values():
        register(entry)
    if TASK not in PIPELINE_REGISTRY.supported_tasks:
        PIPELINE_REGISTRY.register_pipeline(
            TASK, ECGClassificationPipeline, pt_model=AutoModelForECGClassification, type="multimodal"
        )


def register(entry: ModelEntry) -> None:
    """Register one model with the Auto classes.

    Args:
        entry: its catalogue entry.
    """
    config = entry.load("config")
    # Its `get` knows nothing of what was registered.
    there = CONFIG_MAPPING[entry.model_type] if entry.model_type in CONFIG_MAPPING else config  # noqa: SIM401
    if there is not config:
        logger.warning(
            f"{there.__module__} has registered the model type {entry.model_type!r} too: from now on the Auto classes "
            f"load ecg_hub's {config.__name__}. Use the other package's classes by their names."
        )
    transformers.AutoConfig.register(entry.model_type, config, exist_ok=True)
    transformers.AutoModel.register(config, entry.load("model"), exist_ok=True)
    transformers.AutoFeatureExtractor.register(config, ECGFeatureExtractor, exist_ok=True)
    AutoModelForECGClassification.register(config, entry.load("classifier"), exist_ok=True)
    if entry.classes.pretraining is not None:
        transformers.AutoModelForPreTraining.register(config, entry.load("pretraining"), exist_ok=True)
