"""AutoModel, AutoFeatureExtractor and their like: transformers' classes that know our short names too.

Nothing is monkey-patched. After `import ecg_hub` the plain transformers classes load folders and hub ids of our models;
these subclasses resolve a name first (`resolve`), and build seeded random models on request.
"""

from __future__ import annotations

import copy
import logging
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
import transformers
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

import ecg_hub.catalog as catalog
from ecg_hub.errors import CheckpointError, EcgHubError, InputError, did_you_mean
from ecg_hub.home import home
from ecg_hub.names import OFFLINE, Resolved, model_folder, network_forbidden, resolve
from ecg_hub.origin import is_catalogue, origin_of, shown_name, unverified_text
from ecg_hub.registration import register_all, register_classes, sound_models
from ecg_hub.weights.fetch import find_weights

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

# About downloading: a `random:` model accepts them, since programs pass them for every model, and has no use for them.
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


class AutoConfig(transformers.AutoConfig):
    """transformers.AutoConfig that also takes short names and `random:<alias>`."""

    @classmethod
    def from_pretrained(cls, name: Name, **kwargs: Any) -> Any:
        """Load or build a configuration.

        Args:
            name: folder, short name, hub id, `random:<alias>` or `random:<alias>-tiny`.
            **kwargs: as in transformers, changes to fields among them.

        Returns:
            The configuration of the model, for example an ECGCPCConfig: `sampling_rate` (Hz), `lead_names` and
            `input_seconds` say what the model wants to be fed.

        Raises:
            UnknownNameError: no such model.
            CheckpointError: the weights of a known model are not there and cannot be fetched; names what helps.
            InputError: a folder without config.json, or of a `random:` model a field that does not exist.

        Example:
            >>> config = AutoConfig.from_pretrained("random:ecg-cpc")
            >>> config.hidden_size, config.sampling_rate, config.input_seconds
            (512, 240, 2.5)
            >>> AutoConfig.from_pretrained("random:ecg-cpc", hiden_size=48)
            Traceback (most recent call last):
                ...
            ecg_hub.errors.InputError: ECGCPCConfig has no field 'hiden_size'. ...
        """
        resolved = find_weights(name, **kwargs)
        if resolved.kind in ("random", "scratch"):
            return build_config(resolved, **kwargs)
        _register()
        with _files_of_theirs(name, resolved.target, kwargs):
            return super().from_pretrained(resolved.target, **_local(kwargs))


class AutoFeatureExtractor(transformers.AutoFeatureExtractor):
    """transformers.AutoFeatureExtractor that also takes short names and `random:<alias>`."""

    @classmethod
    def from_pretrained(cls, name: Name, **kwargs: Any) -> Any:
        """Load or build a feature extractor.

        Args:
            name: folder, short name, hub id, `random:<alias>` or `random:<alias>-tiny`.
            **kwargs: as in transformers; `preset` chooses the default one, for example "native".

        Returns:
            The ECGFeatureExtractor that turns signals into the model's `input_values`, with the presets `benchmark`
            (what the paper fed; the default) and `native` (what the authors' pre-training fed).

        Raises:
            UnknownNameError: no such model.
            CheckpointError: the hub of your own that might have it does not answer.
            InputError: a folder without config.json.

        Example:
            >>> extractor = AutoFeatureExtractor.from_pretrained("random:ecg-jepa")
            >>> extractor.spec().lead_names  # eight of the twelve leads
            ('I', 'II', 'V1', 'V2', 'V3', 'V4', 'V5', 'V6')
            >>> sorted(extractor.presets)
            ['benchmark', 'native']
        """
        resolved = find_weights(name, input_only=True, **kwargs)
        # Of published weights that are not here too: what a model is fed stands in the catalogue.
        if resolved.kind in ("random", "scratch", "published"):
            extractor, changes = build_feature_extractor(catalog.get(resolved.target)), set(kwargs) - _HUB_KEYWORDS
            for keyword in sorted(changes - {"preset"}):
                # Of a folder transformers would change that attribute; left out here, it would be a default in silence.
                hint = did_you_mean(keyword, ["preset"])
                raise InputError(
                    f"The feature extractor of {os.fspath(name)!r} takes no {keyword!r}.{hint} What it feeds are its "
                    "presets: give preset=, or build an ecg_hub.ECGFeatureExtractor of your own."
                )
            return extractor.with_preset(kwargs["preset"]) if kwargs.get("preset") is not None else extractor
        _register()
        try:
            with _files_of_theirs(name, resolved.target, kwargs):
                return super().from_pretrained(resolved.target, **_local(kwargs))
        except OSError:
            # The authors' own repositories have none either, and say what they are.
            AutoConfig.from_pretrained(name, **{key: kwargs[key] for key in _HUB_KEYWORDS & kwargs.keys()})
            raise


class _ShortNames:
    """`from_pretrained` of the model classes."""

    _has_head = True

    @classmethod
    def from_pretrained(cls, name: Name, *args: Any, seed: int = 0, check_name: bool = True, **kwargs: Any) -> Any:
        """Load a model, or build a random one that was asked for by name.

        Published weights of a short name are fetched, checked and converted when they are first used, and lie below
        $ECG_HUB_HOME from then on; their licence goes to standard error. ECG_HUB_OFFLINE=1 or HF_HUB_OFFLINE=1 forbids
        it.

        Args:
            name: folder, short name, hub id, `random:<alias>` or `random:<alias>-tiny`.
            *args: as in transformers.
            seed: of a `random:` model; the global random state is neither used nor changed.
            check_name: log a warning where a short name finds other weights than those that it stands for.
            **kwargs: as in transformers, `dtype` for example (the checkpoint's if not given); `new_head=True` lets a
                classifier start with a random head. Of a short name `cache_dir` stands in for $ECG_HUB_HOME,
                `force_download` fetches again, `local_files_only` fetches nothing.

        Returns:
            The model, in evaluation mode; with `output_loading_info=True` a pair of it and what transformers reports.

        Raises:
            UnknownNameError: no such model.
            CheckpointError: the weights of a known model are not there and cannot be fetched (names what helps), or a
                checkpoint lacks some of them.
            InputError: a folder without config.json, or of a `random:` model a field that does not exist.

        Example:
            >>> model = AutoModel.from_pretrained("random:ecg-cpc-tiny", seed=1)
            >>> extractor = AutoFeatureExtractor.from_pretrained("random:ecg-cpc-tiny")
            >>> signal = torch.randn(12, 5000, generator=torch.Generator().manual_seed(0)).numpy()  # ten seconds
            >>> from ecg_hub.leads import LEADS
            >>> inputs = extractor(signal, sampling_rate=500, lead_names=LEADS, window="all", return_tensors="pt")
            >>> with torch.no_grad():
            ...     output = model(**inputs)
            >>> output.pooler_output.shape  # four windows of 2.5 s
            torch.Size([4, 32])
            >>> AutoModel.from_pretrained("s4")
            Traceback (most recent call last):
                ...
            ecg_hub.errors.CheckpointError: 's4' has no published weights: it is trained from scratch. ...
        """
        resolved = find_weights(name, wants_head=cls._has_head and not kwargs.get("new_head"), **kwargs)
        if resolved.kind == "scratch":
            raise CheckpointError(
                f"{resolved.alias!r} has no published weights: it is trained from scratch. Ask for random ones by "
                f"name, 'random:{resolved.alias}'."
            )
        _register()
        if resolved.kind == "random":
            return _build_random(cls, resolved, seed, **kwargs)
        with _files_of_theirs(name, resolved.target, kwargs):
            loaded = super().from_pretrained(resolved.target, *args, **_local(kwargs))  # type: ignore[misc]
        if check_name and resolved.alias is not None:
            _check_name(resolved, loaded[0] if isinstance(loaded, tuple) else loaded)
        return loaded


class AutoModel(_ShortNames, transformers.AutoModel):
    """transformers.AutoModel that also takes short names and `random:<alias>`; returns the encoder."""

    _has_head = False


class AutoModelForPreTraining(_ShortNames, transformers.AutoModelForPreTraining):
    """transformers.AutoModelForPreTraining that also takes short names; of the models that the hub can pre-train."""


class AutoModelForECGClassification(_ShortNames, _BaseAutoModelClass):
    """Loads the classifier that belongs to a configuration: encoder and head.

    Example:
        >>> model = AutoModelForECGClassification.from_pretrained("random:ecg-cpc-tiny", num_labels=3)
        >>> with torch.no_grad():
        ...     logits = model(torch.zeros(2, 12, 600)).logits
        >>> logits.shape  # (windows, labels); probabilities are their sigmoid
        torch.Size([2, 3])
    """

    # transformers has no Auto class for this task and no public way to make one. The mapping starts empty: the classes
    # of its own models have another input.
    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


def _local(keywords: dict[str, Any]) -> dict[str, Any]:
    """Keywords of transformers, which knows of HF_HUB_OFFLINE and not of our variable."""
    # Left open, it would ask whoever sits at the terminal whether to run the code.
    keywords = {"trust_remote_code": False, **keywords}
    return {**keywords, "local_files_only": True} if network_forbidden().startswith(OFFLINE) else keywords


@contextmanager
def _files_of_theirs(name: Name, target: str, keywords: dict[str, Any]) -> Iterator[None]:
    """Say in our words that a model needs Python code that lies beside its weights, or has no configuration."""
    try:
        yield
    except EcgHubError:
        raise
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        # transformers has no exception of its own for it, and advises an option that our commands do not have.
        if "trust_remote_code" in str(error):
            raise InputError(
                f"{os.fspath(name)!r} is loaded by Python code that lies beside its weights (auto_map in its "
                "config.json), and that is never run here. Allowed are the architectures that `ecg-hub ls` lists and "
                "those of packages that you install. If you trust the code, load the model in a file of your own and "
                "give that: ecg-eval --model python:FILE:NAME."
            ) from error
        if (damage := _damage(target, keywords)) is None:
            raise
        raise CheckpointError(f"{os.fspath(name)!r} cannot be loaded: {damage}.") from error


def _damage(target: str, keywords: dict[str, Any]) -> str | None:
    """What is wrong with somebody's config.json or preprocessor_config.json, or None."""
    local = _local({key: keywords[key] for key in _HUB_KEYWORDS & keywords.keys()})
    for file, read in (
        ("config.json", transformers.PretrainedConfig.get_config_dict),
        ("preprocessor_config.json", transformers.FeatureExtractionMixin.get_feature_extractor_dict),
    ):
        try:
            content, _ = read(target, **local)
            kind = content.get("model_type", "")
        except RecursionError:
            return f"its {file} is nested too deeply"
        except (ValueError, TypeError, AttributeError):
            return f"its {file} is not a mapping of names to values"
        except OSError:
            continue  # there is none, which is told elsewhere
        if file == "config.json" and (not isinstance(kind, str) or kind not in CONFIG_MAPPING):
            return f"its config.json names the architecture {str(kind)[:50]!r}, which `ecg-hub ls` does not list"
    return None


def _register() -> None:
    """Make all models known, also where another package has taken a model type in the meantime."""
    register_all()
    register_classes(AutoModelForECGClassification._model_mapping, "classifier", sound_models())


def build_config(resolved: Resolved, **kwargs: Any) -> Any:
    """Build the configuration of a `random:` name.

    Args:
        resolved: what the name stands for.
        **kwargs: further changes to the configuration; keywords about downloading mean nothing here.

    Raises:
        InputError: a keyword that the configuration does not have.

    Example:
        >>> tiny, full = resolve("random:ecg-cpc-tiny"), resolve("random:ecg-cpc")
        >>> build_config(tiny).hidden_size, build_config(full).hidden_size
        (32, 512)
    """
    entry = catalog.get(resolved.target)
    config_class = entry.load("config")
    # The three are keywords of transformers' base class that are no fields.
    allowed = {*(item.name for item in fields(config_class)), "num_labels", "attn_implementation", "output_attentions"}
    changes = {name: value for name, value in kwargs.items() if name not in _HUB_KEYWORDS}
    for name in changes:
        # transformers would keep a misspelt name as a further attribute and build the default model.
        if name not in allowed:
            raise InputError(f"{config_class.__name__} has no field {name!r}.{did_you_mean(name, allowed)}")
    own = copy.deepcopy(dict(entry.tiny if resolved.tiny else entry.config))
    return config_class(**{**own, **changes})


def build_feature_extractor(entry: catalog.ModelEntry) -> Any:
    """Build the feature extractor of a model from its catalogue entry.

    Args:
        entry: the model.

    Example:
        >>> build_feature_extractor(catalog.get("st-mem")).spec().input_seconds
        2.4
    """
    return entry.build_feature_extractor()


def _check_name(resolved: Resolved, model: Any) -> None:
    """Say where a short name finds other weights than those that it stands for."""
    if model.dtype != torch.float32:  # the record of the conversion is about float32
        return
    origin = origin_of(model)
    if not is_catalogue(model, str(resolved.alias), origin):
        logger.warning(unverified_text(resolved.name, shown_name(resolved.name, model, origin), origin))


def _build_random(cls: Any, resolved: Resolved, seed: int, **kwargs: Any) -> Any:
    dtype = kwargs.pop("dtype", None)
    # "auto" is the dtype of the checkpoint, and there is none.
    dtype = torch.float32 if dtype in (None, "auto") else dtype
    want_info = kwargs.pop("output_loading_info", False)
    kwargs.pop("new_head", None)
    config = kwargs.pop("config", None) or build_config(resolved, **kwargs)
    # In a fork of the generator, so that building a model changes nobody else's random numbers.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        # In evaluation mode, as `from_pretrained` leaves every model.
        model = cls.from_config(config, dtype=dtype).eval()
    model.name_or_path = model.config.name_or_path = resolved.name
    model.config.random_weights = {"name": resolved.name, "seed": seed}
    info: dict[str, Any] = {key: set() for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")}
    return (model, info) if want_info else model


_register()
