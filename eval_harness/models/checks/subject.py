"""What is checked: a model of whatever kind, in one form that all checks look at."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ecg_hub.errors import InputError
from ecg_hub.modeling.modeling_utils import ECGPreTrainedModel
from eval_harness.config.options import PREFIX
from eval_harness.models.checks.check import FailedError, NotApplicableError, first_line
from eval_harness.models.custom_models import custom_extractor, import_object, in_eval_mode

Kind = Literal["hub", "pretrained", "module", "object"]
AMPLITUDE = 0.3
"""Standard deviation in mV of the noise that is fed: about that of an ECG."""


@dataclass
class Subject:
    """A model under check.

    Attributes:
        name: for messages.
        model: what was given.
        kind: "hub" (of the hub's base classes), "pretrained" (a PreTrainedModel of another library), "module" (an
            nn.Module) or "object" (something with `encode`).
        extractor: its ECGFeatureExtractor, or None.
        lacks: why there is no extractor.
    """

    name: str
    model: Any
    kind: Kind
    extractor: Any = None
    lacks: str = ""

    @property
    def config(self) -> Any:
        """The configuration of a PreTrainedModel."""
        if self.kind not in ("hub", "pretrained"):
            raise NotApplicableError("only a PreTrainedModel has a configuration")
        return self.model.config

    @property
    def is_hub(self) -> bool:
        """Whether the model is of the hub's base classes, for which the whole contract holds."""
        return self.kind == "hub"

    @property
    def module(self) -> nn.Module:
        """The part with parameters."""
        if not isinstance(self.model, nn.Module):
            raise NotApplicableError("the object is no nn.Module")
        return self.model

    @property
    def shape(self) -> tuple[int, int]:
        """Leads and samples of the window that the preset `benchmark` feeds."""
        if self.is_hub:
            return len(self.config.lead_names), int(self.config.samples)
        if self.extractor is None:
            raise NotApplicableError("what to feed is unknown", "See the check 'input contract'.")
        spec = self.extractor.spec()
        return len(spec.lead_names), int(spec.samples)

    def signals(self, batch: int = 2, seed: int = 0, samples: int | None = None) -> Tensor:
        """Noise as input, (batch, leads, samples) in mV."""
        leads, usual = self.shape
        generator = torch.Generator().manual_seed(seed)
        return AMPLITUDE * torch.randn(batch, leads, samples or usual, generator=generator)

    def call(self, x: Tensor, **keywords: Any) -> Any:
        """The model's own output."""
        if self.kind in ("hub", "pretrained"):
            return self.model(input_values=x, **keywords)
        if self.kind == "object":
            return in_eval_mode(self.model)(x)  # as it is scored
        return (self.model.encode if hasattr(self.model, "encode") else self.model)(x)

    def tokens(self, x: Tensor) -> Tensor:
        """Tokens (batch, tokens, dim), or pooled features (batch, dim) of a model that gives no tokens."""
        return tokens_of(self.call(x))

    def features(self, x: Tensor) -> Tensor:
        """Logits of a classifier, else pooled features, else tokens: what the checks compare."""
        output = self.call(x)
        named = (getattr(output, name, None) for name in ("logits", "pooler_output"))
        found = next((value for value in named if isinstance(value, Tensor)), None)
        return tokens_of(output) if found is None else found

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Features without gradients, in evaluation mode."""
        return self.features(x)

    def other(self, model: Any) -> Subject:
        """The same subject with another model in it."""
        return Subject(self.name, model, self.kind, self.extractor, self.lacks)

    def copy(self) -> Subject:
        """A copy that may be trained, cast or broken."""
        return self.other(copy.deepcopy(self.model))

    def reset(self) -> None:
        """Back to evaluation without gradients, as every check begins."""
        if isinstance(self.model, nn.Module):
            self.model.eval()
            self.model.zero_grad(set_to_none=True)


def subject_of(given: Any) -> Subject:
    """Make a subject of a model: a name, a path, FILE.py:NAME, a class or an object.

    What was given as an object is copied first, so that its mode, gradients and statistics stay as they are.
    """
    if isinstance(given, str | os.PathLike):
        text = os.fspath(given)
        if text.startswith(PREFIX) or ".py:" in text:
            return _of_object(import_object(PREFIX + text.removeprefix(PREFIX)), text)
        if text.endswith(".py"):
            raise InputError(
                f"{text!r} names a file, not what is in it; write {text}:NAME, NAME being a class or object."
            )
        return _of_name(text)
    if isinstance(given, type):
        return _of_object(given(), given.__name__)
    return _of_object(copy.deepcopy(given) if isinstance(given, nn.Module) else given, type(given).__name__)


def _of_object(made: Any, name: str) -> Subject:
    if not isinstance(made, nn.Module) and not hasattr(made, "encode"):
        raise InputError(
            f"{name} is a {type(made).__name__}: neither an nn.Module nor an object with encode(signals); "
            "docs/your_own_model.md shows both."
        )
    if isinstance(made, PreTrainedModel):
        subject = Subject(name, made, "hub" if isinstance(made, ECGPreTrainedModel) else "pretrained")
        subject.extractor, subject.lacks = _extractor_of_config(made)
    else:
        subject = Subject(name, made, "module" if isinstance(made, nn.Module) else "object")
        subject.extractor, subject.lacks = _extractor_of_attributes(made)
    subject.reset()
    return subject


def _of_name(name: str) -> Subject:
    import ecg_hub
    from ecg_hub.names import locate

    resolved = locate(name)
    # An architecture without published weights is checked as it starts its training.
    source = f"random:{resolved.alias}" if resolved.kind == "scratch" else name
    # By name: transformers takes the dtype of the file else, and a checkpoint in half precision would fail `float32`.
    model = ecg_hub.AutoModel.from_pretrained(source, dtype=torch.float32, check_name=False)
    subject = Subject(name, model, "hub" if isinstance(model, ECGPreTrainedModel) else "pretrained")
    try:
        extractor = ecg_hub.AutoFeatureExtractor.from_pretrained(source)
    except Exception as error:  # of whatever library the file beside the weights names
        subject.lacks = first_line(error)
    else:
        own = isinstance(extractor, ecg_hub.ECGFeatureExtractor)
        subject.extractor = extractor if own else None
        subject.lacks = "" if own else f"{type(extractor).__name__} does not say what an ECG must look like"
    subject.reset()
    return subject


def _extractor_of_config(model: Any) -> tuple[Any, str]:
    """The feature extractor that feeds what a configuration asks for."""
    from ecg_hub.catalog import of_config

    entry = of_config(model.config)
    if entry is not None:
        return entry.build_feature_extractor(), ""
    return _extractor_of_attributes(model.config)


def _extractor_of_attributes(made: Any) -> tuple[Any, str]:
    missing = [name for name in ("sampling_rate", "input_seconds") if not hasattr(made, name)]
    if missing:
        return None, f"{type(made).__name__} states no {' and no '.join(missing)}"
    try:
        return custom_extractor(made), ""
    except Exception as error:  # values of any type may stand in somebody's attributes
        return None, first_line(error)


def contract_of(subject: Subject) -> SimpleNamespace:
    """Rate in Hz, leads and seconds as the model states them, absent ones None."""
    stating = subject.model.config if subject.kind in ("hub", "pretrained") else subject.model
    names: Sequence[str] | None = getattr(stating, "lead_names", None)
    return SimpleNamespace(
        sampling_rate=getattr(stating, "sampling_rate", None),
        input_seconds=getattr(stating, "input_seconds", None),
        lead_names=None if names is None else list(names),
    )


def tokens_of(output: Any) -> Tensor:
    """The tokens of an output: itself, or its `last_hidden_state`."""
    found = getattr(output, "last_hidden_state", output)
    if not isinstance(found, Tensor):
        raise FailedError(
            f"{type(output).__name__} without a tensor last_hidden_state",
            "Return a tensor, or an object with last_hidden_state.",
        )
    return found
