"""Makes the models of the catalogue known to transformers, without importing transformers and without loading a model.

Whoever asks transformers for a model of ours asks one of its modules; what we have to add is added as soon as such a
module is imported, and at once if it is there already. So `import ecg_hub` costs nothing, and the plain classes work
after it. What is added is what transformers has for its own models: configurations, which are cheap, and references to
the other classes, which are loaded when somebody looks them up.
"""

from __future__ import annotations

import logging
import sys
from collections import UserDict
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

from ecg_hub.catalog import ModelEntry, load_reference, models
from ecg_hub.packages import OWN

logger = logging.getLogger(__name__)


class References(UserDict[Any, Any]):
    """Classes by configuration; one that is written "module:name" is loaded when it is looked up."""

    # No dict: transformers copies these contents with `dict(...)`, which would pass by `__getitem__` of a dict.
    def __getitem__(self, key: Any) -> Any:
        value = self.data[key]
        if isinstance(value, str):
            value = self.data[key] = load_reference(value)
        return value


def register(entry: ModelEntry) -> None:
    """Register one model with those modules of transformers that are imported; twice changes nothing."""
    for name, step in _STEPS.items():
        if name in sys.modules:
            step(sys.modules[name], [entry])


def register_all() -> None:
    """Register all models, also where another package has taken a model type in the meantime."""
    # Nothing is imported to find out what is sound as long as nobody has asked for transformers.
    for entry in sound_models() if _STEPS.keys() & sys.modules.keys() else ():
        register(entry)


def sound_models() -> tuple[ModelEntry, ...]:
    """Return the models whose configuration can be imported; one of another package that cannot costs a warning."""
    return tuple(entry for entry in models().values() if entry.package == OWN or _is_sound(entry.alias))


@cache
def _is_sound(alias: str) -> bool:
    entry = models()[alias]
    try:
        config = entry.load("config")
        if config.model_type != entry.model_type:
            raise TypeError(f"{config.__name__}.model_type is {config.model_type!r}")
    except Exception as error:  # whatever the code of another package raises: transformers is imported without it
        logger.warning(f"{entry.package}: model {alias!r} cannot be used: {type(error).__name__}: {error}")
        return False
    return True


def register_classes(mapping: Any, role: str, entries: Sequence[ModelEntry]) -> None:
    """Put references to classes into one of transformers' mappings from configuration to class."""
    if not isinstance(mapping._extra_content, References):
        mapping._extra_content = References(mapping._extra_content)
    for entry in entries:
        reference = getattr(entry.classes, role)
        if reference is not None:
            # By its configuration class, which has to be loaded; the class that it leads to need not be.
            mapping._extra_content[entry.load("config")] = reference


def install() -> None:
    """Register with what is imported of transformers, and with the rest as soon as it is."""
    # Once, also where the package is imported again; in front of the finders that would give another loader.
    if not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())
    register_all()


def _configurations(module: ModuleType, entries: Sequence[ModelEntry]) -> None:
    mapping = module.CONFIG_MAPPING
    for entry in entries:
        config = entry.load("config")
        # Its `get` knows nothing of what was registered.
        there = mapping[entry.model_type] if entry.model_type in mapping else config  # noqa: SIM401
        if there is not config:
            logger.warning(
                f"{there.__module__} has registered the model type {entry.model_type!r} too: from now on the Auto "
                f"classes load ecg_hub's {config.__name__}. Use the other package's classes by their names."
            )
        module.AutoConfig.register(entry.model_type, config, exist_ok=True)


def _models(module: ModuleType, entries: Sequence[ModelEntry]) -> None:
    register_classes(module.MODEL_MAPPING, "model", entries)
    register_classes(module.MODEL_FOR_PRETRAINING_MAPPING, "pretraining", entries)


def _feature_extractors(module: ModuleType, entries: Sequence[ModelEntry]) -> None:
    register_classes(module.FEATURE_EXTRACTOR_MAPPING, "feature_extractor", entries)


def _pipeline(module: ModuleType, entries: Sequence[ModelEntry]) -> None:
    import_module("ecg_hub.inference.pipeline")  # registers its task


_STEPS: dict[str, Callable[[ModuleType, Sequence[ModelEntry]], None]] = {
    "transformers.models.auto.configuration_auto": _configurations,
    "transformers.models.auto.modeling_auto": _models,
    "transformers.models.auto.feature_extraction_auto": _feature_extractors,
    "transformers.pipelines": _pipeline,
}


class _Loader(SourceFileLoader):
    """Executes a module of transformers, then registers with it."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _STEPS[module.__name__](module, sound_models())


class _AfterImport(MetaPathFinder):
    """Finds the modules of `_STEPS` where Python does, and gives them the loader that registers."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _STEPS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        # From a zip file or as compiled code it is found as usual; `ecg_hub.modeling.auto` registers in any case.
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec
