"""Loading an encoder for scoring: only whole checkpoints, with what the result must say about them."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import ValidationError

from ecg_hub.errors import InputError
from ecg_hub.names import UNVERIFIED
from ecg_hub.origin import FOREIGN, Origin, origin_of, shown_name, unverified_text, weights_digest
from eval_harness.config.options import TRIVIAL, is_python_object, model_name
from eval_harness.config.protocol import PUBLISHED_HEAD
from eval_harness.models.custom_models import custom_extractor, load_custom, wrap_pretrained
from eval_harness.models.published_head import PublishedHead, load_published_head
from eval_harness.models.trivial import PENALTIES, feature_names
from eval_harness.results.contamination import config_corpora, config_train_only, declared
from eval_harness.results.schema import SourceFile

UNDECLARED = "undeclared"
"""Stands among the corpora for what weights had seen before a training that is known."""


@dataclass(frozen=True)
class LoadedModel:
    """An encoder ready to be scored.

    Attributes:
        id: what the user asked for; a short name that finds other weights than the catalogue's has `unverified:`
            before it.
        entry: its catalogue entry, or None for a model type that is not ours.
        revision: commit of a hub repository, else None.
        weights_sha256: digest over names, types, shapes and values of all tensors.
        redrawn: whether the weights were drawn anew instead of those that the name stands for.
        origin: where the weights come from; None of the baseline without an encoder.
        released: whether nothing is pre-trained and weights train that the published fine-tuning leaves fixed.
        published_head: in mode `published_head`, the classifier that the encoder is part of.
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
    origin: Origin | None = None
    released: bool = False
    published_head: PublishedHead | None = None

    @property
    def corpora(self) -> list[str] | None:
        """Declared pre-training corpora, or None when nothing is declared."""
        if self.is_trivial or self.is_random:
            return []
        return corpora_of(self.encoder.config, self.entry, self.origin)

    @property
    def config_corpora(self) -> list[str] | None:
        """Corpora that the model's own configuration declares; None where it declares none, or weights are random."""
        return None if self.is_trivial or self.is_random else trained_on(self.encoder.config, self.entry)

    @property
    def config_train_only(self) -> dict[str, str] | None:
        """Those of them of which only training records were read, with the fingerprint of their records and splits."""
        return None if self.is_trivial or self.is_random else config_train_only(self.encoder.config)

    @property
    def is_trivial(self) -> bool:
        """Whether it is the baseline without an encoder."""
        return self.id == TRIVIAL

    @property
    def is_random(self) -> bool:
        """Whether the weights are a random initialisation: asked for by name, or said so by their config.json."""
        named = self.redrawn or self.id.startswith("random:")
        return named or (self.origin is not None and self.origin.kind == "random")


def with_random_weights(loaded: LoadedModel, seed: int) -> LoadedModel:
    """The same architecture with weights drawn anew, as `random:` draws them."""
    from ecg_hub import AutoModel
    from ecg_hub.modeling.modeling_utils import ECGPreTrainedModel

    if not isinstance(loaded.encoder, ECGPreTrainedModel):
        raise InputError(
            f"The weights of {loaded.id!r} cannot be drawn anew: it is not of the hub's classes. Leave out "
            "--post-train pretrained=false."
        )
    config = copy.deepcopy(loaded.encoder.config)
    # Nothing of what the weights had seen is left.
    config.source = config.conversion = config.pretraining = config.training = None
    # The caller's generators stay where they were: the redraw decides nothing but these weights.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        encoder = AutoModel.from_config(config, dtype=torch.float32).eval()
    released = release(encoder)
    digest = weights_digest(encoder)
    origin = origin_of(encoder, digest)
    return replace(
        loaded, encoder=encoder, revision=None, weights_sha256=digest, redrawn=True, origin=origin, released=released
    )


def release(encoder: Any) -> bool:
    """Let all weights of an encoder train; returns whether its published fine-tuning leaves some of them fixed.

    Weights that are fixed in fine-tuning are worth that by their pre-training; drawn at random they must train too.
    """
    fixed = any(not parameter.requires_grad for parameter in encoder.parameters())
    encoder.train_all_weights()
    return fixed


def load_model(name: str, mode: str, preset: str, seed: int) -> LoadedModel:
    """Load an encoder and its extractor for one mode.

    Mode `scratch` starts from random weights of the architecture, seeded, whatever the name. In mode `published_head`
    the head comes along, and it is fed as its authors fed it, whatever the preset. Weights are always held in float32;
    lower precision is autocast.
    """
    import ecg_hub
    from ecg_hub.catalog import of_config
    from ecg_hub.modeling.modeling_utils import ECGPreTrainedModel
    from ecg_hub.names import resolve

    name = model_name(name)
    if name == TRIVIAL:
        return _load_trivial(preset)
    if is_python_object(name):
        return _load_custom(name, mode, preset)
    source = _architecture(name) if mode == "scratch" else name
    keywords: dict[str, Any] = {"seed": seed} if source.startswith("random:") else {}
    head = load_published_head(name, source) if mode == PUBLISHED_HEAD else None
    if head is None:
        # dtype by name: the default of transformers is that of the file, and the digest is over values and types.
        encoder = ecg_hub.AutoModel.from_pretrained(source, dtype=torch.float32, check_name=False, **keywords)
    else:
        encoder, preset = head.classifier.base_model, head.entry.head.preset
    extractor = ecg_hub.AutoFeatureExtractor.from_pretrained(source)
    if not isinstance(extractor, ecg_hub.ECGFeatureExtractor):
        raise InputError(
            f"{name!r} comes with {type(extractor).__name__}, which does not say what an ECG must look like: save an "
            "ecg_hub.ECGFeatureExtractor beside the weights."
        )
    extractor = extractor.with_preset(preset)
    if not isinstance(encoder, ECGPreTrainedModel):
        encoder = wrap_pretrained(encoder)
    digest = weights_digest(encoder)
    origin = origin_of(encoder, digest) if isinstance(encoder, ECGPreTrainedModel) else FOREIGN
    # After the digest and the origin, which know the weights, not what of them trains.
    released = origin.kind == "random" and release(encoder)
    return LoadedModel(
        id=name.removeprefix(UNVERIFIED) if source != name else shown_name(name, encoder, origin),
        encoder=encoder,
        extractor=extractor,
        entry=of_config(encoder.config),
        revision=resolve(source).commit(),
        weights_sha256=digest,
        parameters=sum(p.numel() for p in encoder.parameters()),
        preset=preset,
        origin=origin,
        released=released,
        published_head=head,
    )


def load_unfetched(name: str, preset: str) -> LoadedModel:
    """The architecture of a model with random weights, where the weights are not here and must not be fetched."""
    import ecg_hub
    from ecg_hub.catalog import checkpoints

    entry = checkpoints().get(name.removeprefix(UNVERIFIED))
    if entry is not None:
        config, extractor = entry.build_config(), entry.build_feature_extractor()
    else:  # of a model on a hub two small files say what it is
        config, extractor = ecg_hub.AutoConfig.from_pretrained(name), ecg_hub.AutoFeatureExtractor.from_pretrained(name)
    encoder = ecg_hub.AutoModel.from_config(config, dtype=torch.float32)
    parameters = sum(p.numel() for p in encoder.parameters())
    return LoadedModel(name, encoder, extractor.with_preset(preset), entry, None, "", parameters, preset)


def source_file(loaded: LoadedModel) -> SourceFile | None:
    """The authors' file that the weights are said to descend from, or None."""
    source = None if loaded.is_random else getattr(getattr(loaded.encoder, "config", None), "source", None)
    try:
        return None if not source else SourceFile(file=source["file"], sha256=source["sha256"])
    except (KeyError, TypeError, ValidationError):
        return None  # somebody's own words, not the converter's


def origin_notice(loaded: LoadedModel, name: str, mode: str, seed: int) -> str | None:
    """What to say where the encoder is not what its name may make a reader think."""
    origin = loaded.origin
    if loaded.is_random and (mode == "scratch" or loaded.redrawn or name.startswith("random:")):
        more = "; all of them train, also those that the published fine-tuning leaves fixed"
        return f"{name}: the encoder has random weights (seed {seed}), as asked{more * loaded.released}"
    if origin is not None and loaded.id.startswith(UNVERIFIED):
        return unverified_text(name, loaded.id, origin)
    if origin is not None and origin.kind in ("random", "unverified"):
        return f"{name}: {origin.kind} weights: {origin.reason}"
    return None


def corpora_of(config: Any, entry: Any, origin: Origin | None) -> list[str] | None:
    """What weights have seen: by their own configuration, and of the catalogue's checkpoint by the catalogue."""
    if origin is not None and origin.kind == "random":
        return []
    own = trained_on(config, entry)
    verified = origin is not None and origin.kind == "catalogue"
    return declared(config, entry) if own is None and verified else own


def trained_on(config: Any, entry: Any) -> list[str] | None:
    """What a configuration says that its weights were trained on, by `ecg-hub pretrain` and `--save-model`, or None."""
    steps = getattr(config, "training", None)
    before = config_corpora(config)
    if not steps:
        return before
    # The first step says what training began with; before it the catalogue knows, or nobody does.
    if before is None:
        began = steps[0].get("began")
        before = [] if began == "random" else list(entry.corpora) if began == "catalogue" else [UNDECLARED]
    return list(dict.fromkeys([*before, *(str(step["dataset"]) for step in steps)]))


def _load_trivial(preset: str) -> LoadedModel:
    """The baseline without an encoder: it takes records as they are, at any rate, of 2.5 s or more."""
    from types import SimpleNamespace

    # Only the length counts: it decides which records are long enough. Signals are read at their own rate.
    extractor = custom_extractor(SimpleNamespace(sampling_rate=500, input_seconds=2.5))
    # There are no weights: the recipe takes their place, so that a changed one is another run.
    digest = hashlib.sha256(f"{TRIVIAL}|{PENALTIES}|{feature_names()}".encode()).hexdigest()
    return LoadedModel(TRIVIAL, None, extractor.with_preset(preset), None, None, digest, 0, preset)


def _load_custom(name: str, mode: str, preset: str) -> LoadedModel:
    """A Python object of the user's as an encoder."""
    if mode == "scratch":
        raise InputError(f"Mode 'scratch' trains a registered architecture; {name!r} is a Python object.")
    encoder, extractor, digest = load_custom(name)
    return LoadedModel(
        id=name,
        encoder=encoder,
        extractor=extractor.with_preset(preset),
        entry=None,
        revision=None,
        weights_sha256=digest,
        parameters=sum(p.numel() for p in encoder.parameters()),
        preset=preset,
        origin=FOREIGN,
    )


def _architecture(name: str) -> str:
    """The random model of a name's architecture."""
    from ecg_hub.catalog import checkpoints

    if name.startswith("random:"):
        return name
    entry = checkpoints().get(name.removeprefix(UNVERIFIED))
    if entry is not None and not entry.is_default:
        raise InputError(
            f"Mode 'scratch' trains an architecture from random weights; {entry.alias!r} is a checkpoint of "
            f"{entry.architecture!r}: give --model {entry.architecture}."
        )
    if entry is not None:
        return f"random:{entry.alias}"
    raise InputError(
        f"Mode 'scratch' trains a registered architecture from random weights; {name!r} is a folder or hub id. "
        "Use its short name: see `ecg-eval ls models`."
    )
