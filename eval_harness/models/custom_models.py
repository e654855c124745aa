"""Encoders that are not ours: a Python object with `encode`, or any PreTrainedModel with an ECG feature extractor.

    --model python:my_encoder.py:Encoder       a file, and a class, function or object in it
    --model python:my_package.module:Encoder   an importable module

The code named on the command line is run; nothing is ever fetched.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import nn

from ecg_hub.errors import InputError
from ecg_hub.leads import LEADS
from ecg_hub.modeling.heads import build_head
from eval_harness.config.options import FORM, PREFIX


class CustomEncoder(nn.Module):
    """Gives a foreign encoder the form that the harness expects.

    Args:
        encode: (batch, leads, samples) in mV -> tokens (batch, tokens, dim) or pooled features (batch, dim); None takes
            `last_hidden_state` of the module.
        hidden_size: dim.
        module: the nn.Module whose parameters are trained in mode `finetune`; None where there is none.
    """

    def __init__(self, encode: Any, hidden_size: int, module: Any) -> None:
        super().__init__()
        self.module = module
        self._encode = encode
        self.fingerprinted = False
        # One group: nobody has said which layers are early.
        groups = {"late": ["module."], "early": []}
        # Data for credentialed users that whoever made the encoder says it has seen (`ecg_hub.origin`).
        said = getattr(getattr(module, "config", None), "credentialed", None)
        self.config = SimpleNamespace(hidden_size=hidden_size, model_type="own", layer_groups=groups, credentialed=said)

    def forward(self, input_values: torch.Tensor) -> Any:
        """`last_hidden_state` (batch, tokens, dim) and `pooler_output`, their mean."""
        if self._encode is None:
            tokens = self.module(input_values=input_values).last_hidden_state
        else:
            tokens = self._encode(input_values)
        # Pooled features become one token, so that every head of the protocol takes them.
        tokens = tokens[:, None] if tokens.ndim == 2 else tokens
        return SimpleNamespace(last_hidden_state=tokens, pooler_output=tokens.mean(dim=1))


class CustomClassifier(nn.Module):
    """An own encoder under a head of the protocol."""

    def __init__(self, encoder: CustomEncoder, pooling: str, labels: int, heads: int) -> None:
        super().__init__()
        self.base_model = encoder
        # Of its own: what is noted here of one run's data is not true of the next head on the same encoder.
        self.config = copy.copy(encoder.config)
        self.head = build_head(pooling, encoder.config.hidden_size, labels, heads)


def features_may_be_kept(encoder: Any) -> bool:
    """Whether features of an encoder may be used again by a later call.

    What an object without parameters computes may depend on files that the digest does not see.
    """
    return not isinstance(encoder, CustomEncoder) or encoder.module is not None or encoder.fingerprinted


def load_custom(name: str, named: str | None = None) -> tuple[CustomEncoder, Any, str]:
    """Load a Python object as an encoder.

    The object (or what a class or function of that name returns) has `encode` (an `nn.Module` may have its `forward` in
    place of it), `sampling_rate` (Hz), `input_seconds`, and optionally `lead_names` (default: the twelve) and
    `fingerprint` (a text that changes with the weights).
    """
    made = import_object(name)
    # A bound method, not the module: as an attribute that would be registered, and its weights counted, twice.
    encode = getattr(made, "encode", made.forward if isinstance(made, nn.Module) else None)
    missing = [part for part in ("sampling_rate", "input_seconds") if not hasattr(made, part)]
    missing = ["encode"] * (encode is None) + missing
    if missing:
        raise InputError(
            f"{name!r} lacks {', '.join(missing)}. An encoder has encode(signals), signals (batch, leads, samples) in "
            "mV -> (batch, tokens, dim), or is an nn.Module whose forward does that; sampling_rate in Hz; "
            "input_seconds."
        )
    extractor = custom_extractor(made)
    # A module is in train mode when it is made: the window below would move the statistics of its batch norms.
    module = made.eval() if isinstance(made, nn.Module) else None
    encode = encode if module is not None else in_eval_mode(made)
    encoder = CustomEncoder(encode, width_of(encode, extractor.spec(), name), module)
    encoder.fingerprinted = hasattr(made, "fingerprint")
    return encoder, extractor, _digest(named or name, made, module)


def held_modules(made: Any) -> list[nn.Module]:
    """The modules that an object with `encode` reaches by attributes, its own and its class's, or names in `encode`."""
    part = made.encode if isinstance(made.encode, functools.partial) else functools.partial(made.encode)
    # Below decorators such as torch.no_grad.
    function = inspect.unwrap(getattr(part.func, "__func__", part.func))
    waiting = [made, part.func, part.args, part.keywords, getattr(part.func, "__self__", None)]
    waiting += vars(type(made)).values()
    if isinstance(function, FunctionType):
        named = inspect.getclosurevars(function)
        waiting += [*named.nonlocals.values(), *named.globals.values()]
    found: list[nn.Module] = []
    seen: set[int] = set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, (str, type, ModuleType, FunctionType)):
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            found.append(thing)
        elif isinstance(thing, (list, tuple)):
            waiting += thing
        elif isinstance(thing, Mapping) or hasattr(thing, "__dict__"):
            waiting += (thing if isinstance(thing, Mapping) else vars(thing)).values()
    return found


def in_eval_mode(made: Any) -> Callable[[torch.Tensor], Any]:
    """`encode` of an object that is no module itself, with what it holds of them in eval mode while it runs.

    A module is in train mode when it is made: batch norms would mix the records of a batch, and dropout would drop.
    """

    def encode(signals: torch.Tensor) -> Any:
        # Looked for each time: an object may load its network when it is first asked.
        held = [module for module in held_modules(made) if any(part.training for part in module.modules())]
        modes = [(part, part.training) for module in held for part in module.modules()]
        for module in held:
            module.eval()
        try:
            return made.encode(signals)
        finally:
            # By `train` first, at which some drop what they had computed for evaluation.
            for module in held:
                module.train()
            for part, mode in modes:
                part.training = mode

    return encode


def mode_mark(made: Any) -> tuple[str, ...]:
    """What tells an object whose modules are in train mode from what it was when they were left so."""
    return ("eval",) * any(part.training for module in held_modules(made) for part in module.modules())


def custom_extractor(made: Any) -> Any:
    """The feature extractor of an object's input."""
    from ecg_hub.input.feature_extraction import ECGFeatureExtractor

    leads = list(getattr(made, "lead_names", LEADS))
    preset = {
        "sampling_rate": made.sampling_rate,
        "input_seconds": made.input_seconds,
        "lead_names": leads,
        "steps": list(getattr(made, "steps", ())),
    }
    return ECGFeatureExtractor(len(leads), made.sampling_rate, presets={"benchmark": preset})


def wrap_pretrained(model: Any) -> CustomEncoder:
    """A PreTrainedModel of another library: tokens are its `last_hidden_state`."""
    width = getattr(model.config, "hidden_size", None)
    if not isinstance(width, int):
        raise InputError(
            f"{type(model).__name__} says no hidden_size in its config; wrap it in an object with encode(): {FORM}."
        )
    return CustomEncoder(None, width, model)


def import_object(name: str) -> Any:
    """The object of a name, or what a class or function of that name returns."""
    imported = _import(name)
    # A class has `encode` too, unbound: the type is asked first. A module would run its forward pass if called.
    there = not isinstance(imported, type) and (hasattr(imported, "encode") or isinstance(imported, nn.Module))
    return imported if there else imported()


def _import(name: str) -> Any:
    where, _, attribute = name.removeprefix(PREFIX).rpartition(":")
    if not where or not attribute:
        raise InputError(f"{name!r} does not name a Python object; write {FORM}.")
    try:
        module = _from_file(Path(where).expanduser()) if where.endswith(".py") else importlib.import_module(where)
    except ImportError as error:
        raise InputError(f"{name!r} cannot be imported: {error}.") from error
    if not hasattr(module, attribute):
        public = ", ".join(entry for entry in vars(module) if not entry.startswith("_"))
        raise InputError(f"{where!r} has no {attribute!r}; it has: {public}.")
    return getattr(module, attribute)


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"There is no file {str(path)!r}; write {FORM}.")
    # With a digest of the path: two files of one name are two modules.
    own_name = f"ecg_hub_own_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(own_name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{str(path)!r} cannot be imported; write {FORM}.")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs, as importlib asks for: dataclasses and pickle look a class's module up by name.
    sys.modules[own_name] = module
    spec.loader.exec_module(module)
    return module


def width_of(encode: Any, spec: Any, name: str) -> int:
    """The width of the features, from one window of zeros."""
    leads = len(spec.lead_names)
    with torch.inference_mode():
        # Two windows: with one, a tensor without a batch axis would pass for features.
        features = encode(torch.zeros(2, leads, spec.samples))
    if not isinstance(features, torch.Tensor) or features.ndim not in (2, 3) or len(features) != 2:
        shape = tuple(features.shape) if hasattr(features, "shape") else type(features).__name__
        raise InputError(
            f"{name!r}: encode() gave {shape!r} for two windows of {(leads, spec.samples)!r}; (2, tokens, dim) or "
            "(2, dim) is expected."
        )
    return int(features.shape[-1])


def _digest(name: str, made: Any, module: nn.Module | None) -> str:
    from ecg_hub.origin import weights_digest

    # The file of the class alone: what it imports is not followed, which `fingerprint` is for.
    source = Path(inspect.getfile(type(made))).read_bytes()
    weights = "" if module is None else weights_digest(module)
    parts = [name, hashlib.sha256(source).hexdigest(), weights, str(getattr(made, "fingerprint", ""))]
    parts += mode_mark(made) if module is None else ()
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
