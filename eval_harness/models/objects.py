"""Encoders in memory: a PreTrainedModel, any nn.Module, or an object with `encode`, ready to be scored.

Nothing of the caller's model changes: what has parameters is copied, in float32 on the CPU and in eval mode.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ecg_hub.errors import InputError
from ecg_hub.origin import FOREIGN, origin_of, weights_digest
from eval_harness.models.custom_models import (
    CustomEncoder,
    custom_extractor,
    in_eval_mode,
    mode_mark,
    width_of,
    wrap_pretrained,
)
from eval_harness.models.loading import LoadedModel, release

FORMS = (
    "a name, folder or hub id; a PreTrainedModel; an nn.Module or an object with encode(signals), either with "
    "sampling_rate (Hz) and input_seconds; or a pair (model, ECGFeatureExtractor)"
)


def load_object(made: Any, name: str, preset: str = "benchmark") -> LoadedModel:
    """An encoder of a Python object.

    Args:
        made: a PreTrainedModel of ours; an nn.Module (its `encode`, else its `forward`) or another object with
            `encode`, with `sampling_rate` (Hz), `input_seconds` and optionally `lead_names` and `fingerprint`; or a
            pair of a model and the ECGFeatureExtractor that feeds it.
        name: how results call it.
        preset: of the feature extractor.

    Raises:
        InputError: what is missing for the object to be an encoder.
    """
    from ecg_hub.modeling.modeling_utils import ECGPreTrainedModel

    model, extractor = made if is_pair(made) else (made, None)
    model = model() if isinstance(model, type) else model
    if isinstance(model, ECGPreTrainedModel):
        return _load_ours(model, extractor, name, preset)
    own = _own_copy(model, name) if isinstance(model, nn.Module) else model
    extractor = custom_extractor(_with_input(own, name)) if extractor is None else extractor
    encoder = _encoder(own, extractor, name)
    return LoadedModel(
        id=name,
        encoder=encoder,
        extractor=extractor.with_preset(preset),
        entry=None,
        revision=None,
        weights_sha256=_digest(name, own, encoder.module),
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        preset=preset,
        origin=FOREIGN,
    )


def is_pair(made: Any) -> bool:
    """Whether something is a model with the feature extractor that feeds it."""
    return isinstance(made, tuple) and len(made) == 2 and hasattr(made[1], "with_preset")


def _load_ours(model: Any, extractor: Any, name: str, preset: str) -> LoadedModel:
    """A model of the hub's classes; of a classifier, its encoder."""
    from ecg_hub.catalog import by_model_type

    extractor = model.matching_extractor() if extractor is None else extractor
    if extractor is None:
        raise InputError(
            f"{name!r}: no feature extractor is known that feeds this {type(model).__name__}; give the pair (model, "
            "extractor)."
        )
    encoder = _own_copy(model.base_model, name)
    digest = weights_digest(encoder)
    origin = origin_of(encoder, digest)
    return LoadedModel(
        id=name,
        encoder=encoder,
        extractor=extractor.with_preset(preset),
        entry=by_model_type(encoder.config.model_type),
        revision=None,
        weights_sha256=digest,
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        preset=preset,
        origin=origin,
        released=origin.kind == "random" and release(encoder),
    )


def _own_copy(module: nn.Module, name: str) -> Any:
    """A copy on the CPU, in float32 and eval mode: what was trained half precision or on a GPU is scored alike."""
    try:
        return copy.deepcopy(module).to(device="cpu", dtype=torch.float32).eval()
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"{name!r}: {type(module).__name__} cannot be copied ({error}), and scoring must not change yours; give a "
            "module that copy.deepcopy takes, for example one freshly made with load_state_dict."
        ) from error


def _with_input(own: Any, name: str) -> Any:
    """The object, if it says what an ECG must look like."""
    missing = [part for part in ("sampling_rate", "input_seconds") if not hasattr(own, part)]
    if not callable(getattr(own, "encode", None)) and not isinstance(own, nn.Module):
        raise InputError(f"{name!r}: a {type(own).__name__} is no model. A model is {FORMS}.")
    if missing:
        raise InputError(
            f"{name!r} lacks {' and '.join(missing)}: without them nobody knows what it takes. Set them on the object, "
            "for example model.sampling_rate = 100 (Hz) and model.input_seconds = 10, or give the pair (model, "
            "ecg_hub.ECGFeatureExtractor)."
        )
    return own


def _encoder(own: Any, extractor: Any, name: str) -> CustomEncoder:
    encode = getattr(own, "encode", None)
    if encode is None and hasattr(own, "config") and hasattr(own, "base_model"):
        return wrap_pretrained(own)
    if encode is None and not isinstance(own, nn.Module):
        raise InputError(f"{name!r}: a {type(own).__name__} is no model. A model is {FORMS}.")
    # A bound method, not the module: as an attribute that would be registered, and its weights counted, twice.
    encode = own.forward if encode is None else encode
    module = own if isinstance(own, nn.Module) else None
    encode = in_eval_mode(own) if module is None else encode
    encoder = CustomEncoder(encode, width_of(encode, extractor.spec(), name), module)
    encoder.fingerprinted = hasattr(own, "fingerprint")
    return encoder


def _digest(name: str, own: Any, module: nn.Module | None) -> str:
    """What tells an encoder from another: its code, its weights, and its state or the `fingerprint` in place of it."""
    weights = "" if module is None else weights_digest(module)
    state = str(own.fingerprint) if hasattr(own, "fingerprint") else _state(own, name)
    parts = (name, *sorted(set(_sources(own, module))), weights, state)
    parts += mode_mark(own) if module is None else ()
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _state(own: Any, name: str) -> str:
    """Digest of everything that an object holds; of what a notebook or script defines also of the code."""
    from datasets.fingerprint import Hasher

    try:
        return str(Hasher.hash(own))
    except Exception as error:  # whatever pickle meets in a foreign object
        raise InputError(
            f"{name!r} cannot be told from another {type(own).__name__}: what it holds cannot be pickled ({error}). "
            "Give it a `fingerprint`, a text that changes with its weights."
        ) from error


def _sources(own: Any, module: nn.Module | None) -> Iterator[str]:
    """Digests of the files that define the object: what is imported is pickled by name alone."""
    definers: Iterable[Any] = [type(own), getattr(own, "encode", None), *map(type, module.modules() if module else ())]
    for definer in definers:
        try:
            file = Path(inspect.getfile(definer))
        except (TypeError, OSError):
            continue  # built in, or of a notebook
        # A script's own classes are pickled whole; its file changes with every option that it gives.
        if definer.__module__ != "__main__" and not definer.__module__.startswith("torch.") and file.is_file():
            yield hashlib.sha256(file.read_bytes()).hexdigest()
