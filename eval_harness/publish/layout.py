"""Where a result lies in a results repository, and what stands beside it of its model (`model_meta.json`).

`results/<model>/<revision>/<mode>/<task>.json` is derived from the result itself:
<model> is `org__name`. <revision> is the commit of a hub model, or `weights-` and the beginning of the digest of the
weights where there is no commit (folders, random and from-scratch models, baselines), followed by what was asked for
other than the usual: `+fast`, `+native`, `+seed-3`, `+epochs-5`. One folder so holds one way of scoring one model.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import fields
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, ValidationError

from ecg_hub.catalog import ModelEntry, checkpoints, models
from ecg_hub.errors import InputError, ResultError
from ecg_hub.names import UNVERIFIED
from eval_harness.config.options import PREFIX as PYTHON
from eval_harness.config.options import TRIVIAL, is_python_object
from eval_harness.config.protocol import Protocol
from eval_harness.results.schema import Count, Result, Sha256, Strict, in_words

RESULTS = "results"
META_FILE = "model_meta.json"
USUAL_PROTOCOL, USUAL_PRESET = "paper", "benchmark"
WEIGHTS_DIGITS = 16
FORCED = frozenset({"batch_size", "min_count", "name"})
"""Protocol fields that the data can force (a small train set, a copy with other thresholds): no setting of the run."""

# It begins with a letter or digit, so that no part is "..", hidden, or an option of a command.
PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
ENTRY = re.compile(rf"{RESULTS}/({PART.pattern})/({PART.pattern})/([a-z][a-z0-9_]*)/([a-z][a-z0-9_]*)\.json")
PREDICTIONS = re.compile(
    rf"{RESULTS}/({PART.pattern})/({PART.pattern})/([a-z][a-z0-9_]*)/predictions/([a-z][a-z0-9_]*)\.parquet"
)
META = re.compile(rf"{RESULTS}/({PART.pattern})/({PART.pattern})/{META_FILE}")
_SETTINGS = (*(f.name for f in fields(Protocol) if f.name not in FORCED), "limit", "dtype", "feature_dtype")


META_VERSION: Final = "1.0"
Kind = Literal["foundation", "supervised", "random", "trivial", "other"]
BASELINES = frozenset({"supervised", "random", "trivial"})
"""Kinds that carry no pre-training: what a foundation model must beat."""

Link = Annotated[str, Field(pattern=r"^https?://[^\s<>\"']+$", max_length=500)]
Text = Annotated[str, Field(max_length=500)]


def public_id(model: str, revision: str | None = None, origin: str | None = None) -> str:
    """Return the name a model is published under: the paths of folders and files are cut down to their last part.

    A folder that is called like a published model keeps that name only with the weights of that model.
    """
    if is_python_object(model):
        source, _, name = model.removeprefix(PYTHON).rpartition(":")
        return f"{PYTHON}{_last(source).removesuffix('.py')}:{name}"
    if model.startswith("random:"):
        return model
    # With a revision ORG/NAME is a model of the hub; the same text without one can only be a folder.
    is_path = model.startswith((".", "~", "/", os.sep)) or "\\" in model or ("/" in model and revision is None)
    if not is_path:
        return model
    name = _last(model)
    # A folder called ecg-cpc is not ecg-cpc unless its weights were shown to be.
    return f"{UNVERIFIED}{name}" if name in models() and origin != "catalogue" else name


def model_folder(model: str, revision: str | None = None, origin: str | None = None) -> str:
    """Return the folder name of a published model: `org__name`, `random__ecg-cpc`."""
    name = public_id(model, revision, origin).replace(":", "__").replace("/", "__")
    if not PART.fullmatch(name):
        raise InputError(
            f"Model {model!r} cannot be published under this name: use letters, digits, '.', '_' and '-', beginning "
            "with a letter or digit."
        )
    return name


def settings(result: Result) -> dict[str, JsonValue]:
    """Return what was asked for other than the usual: protocol, preset, seed, and changed numbers."""
    asked: dict[str, JsonValue] = {}
    if result.protocol.name != USUAL_PROTOCOL:
        asked["protocol"] = result.protocol.name
    if result.model.preset != USUAL_PRESET:
        asked["preset"] = result.model.preset
    if result.seed:
        asked["seed"] = result.seed
    return asked | {name: result.protocol.deviations[name] for name in _SETTINGS if name in result.protocol.deviations}


def revision_folder(result: Result) -> str:
    """Return the name of the revision and its settings."""
    model = result.model
    if model.revision:
        name = model.revision
    elif model.weights_sha256:
        name = f"weights-{model.weights_sha256[:WEIGHTS_DIGITS]}"
    else:
        raise InputError(f"The result of {model.id!r} on {result.task} names neither a commit nor weights_sha256.")
    asked = settings(result)
    parts = [str(asked.pop(key)) for key in ("protocol", "preset") if key in asked]
    parts += [f"{key}-{value}" for key, value in sorted(asked.items())]
    return "+".join([name, *(re.sub(r"[^A-Za-z0-9._-]", "_", part) for part in parts)])


def entry_folder(result: Result) -> str:
    """Return the folder of a result's model and revision, below which the modes lie."""
    model = result.model
    return f"{RESULTS}/{model_folder(model.id, model.revision, model.origin)}/{revision_folder(result)}"


def entry_path(result: Result) -> str:
    """Return where a result lies."""
    return f"{entry_folder(result)}/{result.mode}/{result.task}.json"


def predictions_path(result: Result) -> str:
    """Return where the predictions of a result lie, beside it under the name that it gives itself."""
    return f"{entry_folder(result)}/{result.mode}/predictions/{result.run}.parquet"


def _last(path: str) -> str:
    # A run may have been made on another system than the one that publishes it.
    windows = "\\" in path
    return (PureWindowsPath(path) if windows else PurePosixPath(path)).name


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
    # Trained from scratch is no random encoder: all its weights were trained on the task.
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
        pretraining_corpora=[] if result.mode == "scratch" else list(entry.corpora),
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
    if model.startswith("random:"):
        return models().get(model.removeprefix("random:").removesuffix("-tiny"))
    return checkpoints().get(model)


def read_meta(content: bytes | str, name: str) -> ModelMeta:
    """Read model_meta.json."""
    try:
        return ModelMeta.model_validate_json(content)
    except ValidationError as error:
        raise ResultError(f"{name} is not a description of a model: {in_words(error)}.") from error


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()
