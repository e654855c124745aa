"""What a leaderboard says of a model beside its scores, and which entries belong to it: `model_meta.json`."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, ValidationError

from ecg_hub.catalog import ModelEntry, models
from ecg_hub.errors import ResultError
from ecg_hub.names import UNVERIFIED
from eval_harness.config.options import TRIVIAL
from eval_harness.publish.names import public_id, settings
from eval_harness.results.schema import Count, Result, Sha256, Strict, in_words

META_VERSION: Final = "1.0"
Kind = Literal["foundation", "supervised", "random", "trivial", "other"]
BASELINES = frozenset({"supervised", "random", "trivial"})
"""Kinds that carry no pre-training: what a foundation model must beat."""

Link = Annotated[str, Field(pattern=r"^https?://[^\s<>\"']+$", max_length=500)]
Text = Annotated[str, Field(max_length=500)]


class LicenceInfo(Strict):
    """Licence of the weights: as people write it, and its SPDX identifier where it has one."""

    name: Text
    spdx: Text | None = None


class ModelMeta(Strict):
    """One model at one revision, scored in one way.

    Attributes:
        id: name the model is published under.
        revision: commit on the hub, or None.
        weights_sha256: digest of the weights; of a hub model too.
        kind: "foundation" or "supervised" (registered architectures), "random" (random weights), "trivial" (no
            encoder), "other" (everybody else's models).
        title: name in prose.
        parameters: of the encoder.
        licence: of the weights; None where nobody stated it.
        paper: link.
        repository: link.
        pretraining_corpora: declared; None where nothing is.
        settings: what was asked for other than the usual protocol, preset and seed.
        entries: "mode/task" -> SHA-256 of the entry's file.
    """

    schema_version: Literal["1.0"] = META_VERSION
    id: Annotated[str, Field(min_length=1, max_length=200)]
    revision: Text | None = None
    weights_sha256: Sha256 | None = None
    kind: Kind
    title: Text
    parameters: Count | None = None
    licence: LicenceInfo | None = None
    paper: Link | None = None
    repository: Link | None = None
    pretraining_corpora: list[Text] | None = None
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    entries: dict[str, Sha256] = Field(default_factory=dict)

    def text(self) -> str:
        """Return the file's content; the same for the same values."""
        ordered = self.model_copy(update={"entries": dict(sorted(self.entries.items()))})
        return ordered.model_dump_json(indent=1) + "\n"


def describe(result: Result, licence: str | None = None) -> ModelMeta:
    """Return what is known of a result's model, without entries."""
    model = result.model
    entry = catalogue_entry(model.id)
    name = public_id(model.id, model.revision, model.origin)
    common: dict[str, Any] = {
        "id": name,
        "revision": model.revision,
        "weights_sha256": model.weights_sha256,
        "parameters": model.parameters,
        "settings": settings(result),
    }
    if model.id == TRIVIAL:
        return ModelMeta(**common, kind="trivial", title="Age, sex, heart rate and amplitudes", pretraining_corpora=[])
    if entry is None:
        stated = None if licence is None else LicenceInfo(name=licence)
        corpora = model.pretraining_corpora
        if model.origin == "random":
            return ModelMeta(**common, kind="random", title=f"{name}, random weights", pretraining_corpora=[])
        title = f"{name.removeprefix(UNVERIFIED)}, unverified weights" if model.origin == "unverified" else name
        return ModelMeta(**common, kind="other", title=title, licence=stated, pretraining_corpora=corpora)
    links: dict[str, Any] = {"paper": entry.paper, "repository": entry.repository}
    if model.id.startswith("random:") or (begins_at_random(result) and result.mode != "scratch"):
        small = ", tiny" if model.id.endswith("-tiny") else ""
        return ModelMeta(
            **common, kind="random", title=f"{entry.title}{small}, random weights", pretraining_corpora=[], **links
        )
    return ModelMeta(
        **common,
        kind="supervised" if entry.kind == "supervised" or result.mode == "scratch" else "foundation",
        title=entry.title,
        licence=LicenceInfo(name=entry.licence.name, spdx=entry.licence.spdx),
        pretraining_corpora=[] if result.mode == "scratch" else list(entry.pretraining_corpora),
        **links,
    )


def begins_at_random(result: Result) -> bool:
    """Return whether the encoder began with random weights, whatever its name stands for."""
    return result.model.id.startswith("random:") or result.model.origin == "random" or draws_anew(result)


def draws_anew(result: Result) -> bool:
    """Return whether the run drew random weights of the architecture that its model's name stands for."""
    return result.mode == "scratch" or result.protocol.deviations.get("post_train.pretrained") is False


def catalogue_entry(model: str) -> ModelEntry | None:
    """Return the catalogue entry of a short name, with or without `random:`; None for every other model."""
    alias = model.removeprefix("random:")
    return models().get(alias.removesuffix("-tiny") if model.startswith("random:") else alias)


def read_meta(content: bytes | str, place: str) -> ModelMeta:
    """Read model_meta.json."""
    try:
        return ModelMeta.model_validate_json(content)
    except ValidationError as error:
        raise ResultError(f"{place} is not a description of a model: {in_words(error)}.") from error


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()
