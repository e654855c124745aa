"""Loading an encoder for scoring: only whole checkpoints, with what the result must say about them."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace
from typing import Any

import torch

from ecg_hub.errors import InputError
from eval_harness.contamination import declared, own_corpora
from eval_harness.own_models import load_own, own_extractor, wrap_pretrained
from eval_harness.own_names import TRIVIAL, is_own
from eval_harness.trivial import PENALTIES, feature_names


@dataclass(frozen=True)
class LoadedModel:
    """An encoder ready to be scored.

    Attributes:
        id: what the user asked for.
        entry: its catalogue entry, or None for a model type that is not ours.
        revision: commit of a hub repository, else None.
        weights_sha256: digest over names, types, shapes and values of all tensors.
        redrawn: whether the weights were drawn anew instead of those that the name stands for.
        released: whether nothing is pre-trained and weights train that the published fine-tuning leaves fixed.
    """

    id: str
    encoder: Any
    extractor: Any
    entry: Any
    revision: str | None
    weights_sha256: str
    parameters: int
    preset: str
    redrawn: bool = False
    released: bool = False

    @property
    def corpora(self) -> list[str] | None:
        """Declared pre-training corpora, or None when nothing is declared."""
        if self.is_trivial:
            return []
        return declared(self.encoder.config, self.entry)

    @property
    def own_corpora(self) -> list[str] | None:
        """Corpora that the model's own configuration declares; None where it declares none, or weights are random."""
        return None if self.is_trivial or self.is_random else own_corpora(self.encoder.config)

    @property
    def is_trivial(self) -> bool:
        """Whether it is the baseline without an encoder."""
        return self.id == TRIVIAL

    @property
    def is_random(self) -> bool:
        """Whether the weights are a random initialisation that was asked for by name."""
        return self.redrawn or self.id.startswith("random:")


def with_random_weights(loaded: LoadedModel, seed: int) -> LoadedModel:
    """The same architecture with weights drawn anew, as `random:` draws them.

    Raises:
        InputError: a model that is not of the hub's classes.
    """
    from ecg_hub import AutoModel
    from ecg_hub.modeling_utils import ECGPreTrainedModel

    if not isinstance(loaded.encoder, ECGPreTrainedModel):
        raise InputError(
            f"The weights of {loaded.id!r} cannot be drawn anew: it is not of the hub's classes. Leave out "
            "--post-train pretrained=false."
        )
    config = copy.deepcopy(loaded.encoder.config)
    config.source = config.pretraining = None  # nothing of what the weights had seen is left
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        encoder = AutoModel.from_config(config, dtype=torch.float32).eval()
    released = release(encoder)
    digest = weights_digest(encoder)
    return replace(loaded, encoder=encoder, revision=None, weights_sha256=digest, redrawn=True, released=released)


def release(encoder: Any) -> bool:
    """Let all weights of an encoder train; returns whether its published fine-tuning leaves some of them fixed.

    Weights that are fixed in fine-tuning are worth that by their pre-training; drawn at random they must train too.
    """
    fixed = any(not parameter.requires_grad for parameter in encoder.parameters())
    encoder.train_all_weights()
    return fixed


def load_model(name: str, mode: str, preset: str, seed: int) -> LoadedModel:
    """Load an encoder and its extractor for one mode.

    Mode `scratch` starts from random weights of the architecture, seeded, whatever the name. Weights are always held
    in float32; lower precision is autocast.

    Args:
        name: short name, folder, hub id, or `random:<short name>`.
        mode: a mode of the protocol.
        preset: "benchmark" or "native".
        seed: of random initialisation.

    Raises:
        CheckpointError: weights are missing, so that random ones would be scored.
        UnknownNameError: no such model.
    """
    import ecg_hub
    from ecg_hub.catalog import by_model_type
    from ecg_hub.modeling_utils import ECGPreTrainedModel
    from ecg_hub.names import resolve

    if name == TRIVIAL:
        return _load_trivial(preset)
    if is_own(name):
        return _load_own(name, mode, preset)
    source = _architecture(name) if mode == "scratch" else name
    keywords: dict[str, Any] = {"seed": seed} if source.startswith("random:") else {}
    encoder = ecg_hub.AutoModel.from_pretrained(source, dtype=torch.float32, **keywords)
    extractor = ecg_hub.AutoFeatureExtractor.from_pretrained(source)
    if not isinstance(extractor, ecg_hub.ECGFeatureExtractor):
        raise InputError(
            f"{name!r} comes with {type(extractor).__name__}, which does not say what an ECG must look like: save an "
            "ecg_hub.ECGFeatureExtractor beside the weights."
        )
    extractor = extractor.with_preset(preset)
    if not isinstance(encoder, ECGPreTrainedModel):
        encoder = wrap_pretrained(encoder)
    released = source.startswith("random:") and release(encoder)
    return LoadedModel(
        id=name,
        encoder=encoder,
        extractor=extractor,
        entry=by_model_type(encoder.config.model_type),
        revision=resolve(source).commit(),
        weights_sha256=weights_digest(encoder),
        parameters=sum(p.numel() for p in encoder.parameters()),
        preset=preset,
        released=released,
    )


def _load_trivial(preset: str) -> LoadedModel:
    """The baseline without an encoder: it takes records as they are, at any rate, of 2.5 s or more."""
    from types import SimpleNamespace

    extractor = own_extractor(SimpleNamespace(sampling_rate=500, input_seconds=2.5))
    digest = hashlib.sha256(f"{TRIVIAL}|{PENALTIES}|{feature_names()}".encode()).hexdigest()
    return LoadedModel(TRIVIAL, None, extractor.with_preset(preset), None, None, digest, 0, preset)


def _load_own(name: str, mode: str, preset: str) -> LoadedModel:
    """A Python object of the user's as an encoder."""
    if mode == "scratch":
        raise InputError(f"Mode 'scratch' trains a registered architecture; {name!r} is a Python object.")
    encoder, extractor, digest = load_own(name)
    return LoadedModel(
        id=name,
        encoder=encoder,
        extractor=extractor.with_preset(preset),
        entry=None,
        revision=None,
        weights_sha256=digest,
        parameters=sum(p.numel() for p in encoder.parameters()),
        preset=preset,
    )


def _architecture(name: str) -> str:
    """The random model of a name's architecture."""
    from ecg_hub.catalog import models

    if name.startswith("random:"):
        return name
    if name in models():
        return f"random:{name}"
    raise InputError(
        f"Mode 'scratch' trains a registered architecture from random weights; {name!r} is a folder or hub id. "
        "Use its short name: see `ecg-eval ls models`."
    )


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 over all parameters and buffers: name, dtype, shape and bytes, in order of name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{array.dtype}|{tuple(array.shape)}|".encode())
        digest.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
