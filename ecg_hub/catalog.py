"""The models that exist, read from their `model.yaml` files. Imports neither torch nor transformers.

Adding a model is adding a folder `ecg_hub/models/<name>/` with a `model.yaml`: docs/contributing/model.md.
"""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ecg_hub.errors import EcgHubError
from ecg_hub.utils import packages
from ecg_hub.utils.rows import Rows
from ecg_hub.utils.spelling import looked_up, registered

MODELS_FOLDER = Path(__file__).resolve().parent / "models"
KINDS = ("foundation", "supervised")
DOWNLOADS = ("figshare", "hf", "zenodo")
"""Kinds of weights that a program may fetch."""
WEIGHT_KINDS = (*DOWNLOADS, "manual", "none")


@dataclass(frozen=True)
class Licence:
    """Licence of the published weights.

    Attributes:
        name: as people write it.
        spdx: SPDX identifier, or None if there is none.
        redistribution: whether converted weights may be shared.
        note: what else the authors ask for.
    """

    name: str
    spdx: str | None
    redistribution: bool
    note: str | None = None

    def __str__(self) -> str:
        return f"{self.name}. {self.note or ''}".strip()


@dataclass(frozen=True)
class InputContract:
    """What the preset `benchmark` feeds: leads in order, seconds, rate in Hz, unit."""

    leads: tuple[str, ...]
    seconds: float
    sampling_rate: float
    unit: str

    def __post_init__(self) -> None:
        # YAML gives a list, and what is frozen must be hashable.
        object.__setattr__(self, "leads", tuple(self.leads))

    def __str__(self) -> str:
        return f"{len(self.leads)} x {self.seconds:g} s @ {self.sampling_rate:g} Hz"


@dataclass(frozen=True)
class Weights:
    """Where the published weights are.

    Attributes:
        kind: "figshare", "hf", "zenodo", "manual" (a page with a link that no program may follow) or "none".
        page: page for people.
        file: name of the file there.
        article: number of the figshare article or zenodo record.
        repo: hub id for kind "hf".
        member: file inside, if `file` is a zip archive.
        key: where in the file the weights are, if it holds several state dicts.
        sha256: digest of `file`, if published.
        tensors_sha256: `ecg_hub.origin.weights_digest` of the converted encoder, if somebody has published it.
    """

    kind: str
    page: str | None = None
    file: str | None = None
    article: int | None = None
    repo: str | None = None
    member: str | None = None
    key: str | None = None
    sha256: str | None = None
    tensors_sha256: str | None = None

    @property
    def can_be_fetched(self) -> bool:
        """Whether a program may fetch the file; else people follow the page's links."""
        return self.kind in DOWNLOADS


@dataclass(frozen=True)
class Classes:
    """The code of a model, each as "module:name".

    `pretraining` is None where the hub cannot pre-train the model, `converter` where its authors save it as it is here.
    """

    config: str
    model: str
    classifier: str
    converter: str | None = None
    pretraining: str | None = None
    feature_extractor: str = "ecg_hub.input.feature_extraction:ECGFeatureExtractor"


@dataclass(frozen=True)
class ModelEntry:
    """One model.

    Attributes:
        alias: short name, with hyphens.
        model_type: name in config.json, with underscores.
        title: name as the authors write it.
        kind: "foundation" or "supervised".
        summary: one sentence.
        paper: link.
        repository: link to the authors' code.
        licence: of the weights.
        input: what the preset `benchmark` feeds.
        dim: width of the features.
        parameters: number of parameters of the encoder.
        pretraining_corpora: corpora it has seen, in lower case.
        weights: where the published weights are.
        classes: the code.
        presets: presets of the feature extractor.
        tiny: changes to the configuration for `random:<alias>-tiny`.
        package: the installed package that brings it.
        folder: where its model.yaml lies.
    """

    alias: str
    model_type: str
    title: str
    kind: str
    summary: str
    paper: str
    repository: str
    licence: Licence
    input: InputContract
    dim: int
    parameters: int
    pretraining_corpora: tuple[str, ...]
    weights: Weights
    classes: Classes
    presets: Mapping[str, Mapping[str, Any]]
    tiny: Mapping[str, Any] = field(default_factory=dict)
    package: str = packages.OWN
    folder: Path | None = field(default=None, compare=False, repr=False)

    @property
    def class_names(self) -> tuple[str, str, str]:
        """Names of the configuration, the encoder and the classifier class."""
        return _name(self.classes.config), _name(self.classes.model), _name(self.classes.classifier)

    @property
    def card(self) -> Path:
        """The finished card; `python -m model_cards` writes it."""
        return (self.folder or MODELS_FOLDER / self.model_type) / "card.md"

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON; without the folder, which is this machine's matter."""
        return {name: value for name, value in asdict(self).items() if name != "folder"}

    @property
    def public_classes(self) -> tuple[str, ...]:
        """References "module:name" of the classes that users see."""
        classes = self.classes
        references = (classes.config, classes.model, classes.classifier, classes.pretraining)
        return tuple(reference for reference in references if reference is not None)

    @property
    def how_to_get(self) -> str:
        """One sentence: the commands by which the published weights are had."""
        if self.weights.kind == "none":
            return f"{self.title} has no published weights: train it from scratch, or take 'random:{self.alias}'."
        get = f"`ecg-hub pull {self.alias}`, or " if self.weights.can_be_fetched else ""
        return (
            f"For {self.title}: {get}`ecg-hub convert {self.alias} --checkpoint FILE` with {self.weights.file} of "
            f"{self.weights.page}; then --model {self.alias}, or AutoModel.from_pretrained({self.alias!r})."
        )

    @property
    def by_hand(self) -> str:
        """How the authors' file is got with a browser and converted, as the end of an error."""
        return f"With a browser, {self._steps_by_hand}"

    @property
    def ways(self) -> str:
        """Every way to published or random weights of this model that works, as the end of an error."""
        pulled = f"Get them with\n  ecg-hub pull {self.alias}\nor, with a browser, {self._steps_by_hand}"
        published = pulled if self.weights.can_be_fetched else self.by_hand
        return f"{published}\nor ask for random weights by name: 'random:{self.alias}'."

    @property
    def _steps_by_hand(self) -> str:
        return (
            f"get {self.weights.file} from\n  {self.weights.page}\nand then run\n"
            f"  ecg-hub convert {self.alias} --checkpoint FILE"
        )

    def build_feature_extractor(self) -> Any:
        """Build the feature extractor with the model's presets; `benchmark` is the default."""
        # Size and rate of the extractor itself are those of the default preset; others change them when chosen.
        benchmark = self.presets["benchmark"]
        return self.load("feature_extractor")(
            feature_size=len(benchmark["lead_names"]),
            sampling_rate=benchmark["sampling_rate"],
            # Copies: the extractor writes them to preprocessor_config.json and may be changed by its user.
            presets={name: dict(preset) for name, preset in self.presets.items()},
            preset="benchmark",
        )

    def load(self, role: str) -> Any:
        """Import one part of the model."""
        return load_reference(getattr(self.classes, role))


def load_reference(reference: str) -> Any:
    """Import what is written as "module:name"."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def models() -> dict[str, ModelEntry]:
    """Return all models by alias, in alphabetical order.

    Example:
        >>> list(models())[:4]
        ['ecg-cpc', 'ecg-fm', 'ecg-founder', 'ecg-jepa']
        >>> [alias for alias, entry in models().items() if entry.weights.kind == "none"]  # trained from scratch
        ['net1d', 's4']
    """
    return dict(_read_all())


def list_models(pattern: str | None = None, *, kind: str | None = None) -> Rows:
    """List the models, all or those that the filters keep. Reads data files alone; imports neither torch nor pandas.

    Args:
        pattern: of short names, for example "ecg-*".
        kind: "foundation" or "supervised".

    Returns:
        Rows: model (the short name, for `AutoModel.from_pretrained`), title, kind, model_type, leads (how many),
        rate_hz, window_s, dim, parameters, licence (of the weights), redistribution, pretraining_corpora (what they
        have seen), weights (where they are: figshare, hf, zenodo, manual, none).

    Raises:
        UnknownNameError: no such kind.

    Example:
        >>> list_models("ecg-f*").column("model"), list_models(kind="supervised").column("rate_hz")
        (['ecg-fm', 'ecg-founder'], [500, 100])
        >>> [row["model"] for row in list_models("ecg*") if row["redistribution"]]
        ['ecg-cpc', 'ecg-fm']
    """
    kind = None if kind is None else registered("kind of model", kind, KINDS)
    return Rows(
        {
            "model": entry.alias,
            "title": entry.title,
            "kind": entry.kind,
            "model_type": entry.model_type,
            "leads": len(entry.input.leads),
            "rate_hz": entry.input.sampling_rate,
            "window_s": entry.input.seconds,
            "dim": entry.dim,
            "parameters": entry.parameters,
            "licence": entry.licence.name,
            "redistribution": entry.licence.redistribution,
            "pretraining_corpora": entry.pretraining_corpora,
            "weights": entry.weights.kind,
        }
        for entry in models().values()
        if fnmatch.fnmatchcase(entry.alias, pattern or "*") and kind in (None, entry.kind)
    )


def built_in() -> dict[str, ModelEntry]:
    """Return the models of this package by alias, without those of other installed packages."""
    return {alias: entry for alias, entry in _read_all() if entry.package == packages.OWN}


def get(alias: str) -> ModelEntry:
    """Return one model.

    Args:
        alias: short name such as "ecg-cpc", in any spelling.

    Raises:
        UnknownNameError: if there is no such model; suggests the closest.

    Example:
        >>> entry = get("ecg-cpc")
        >>> str(entry.input), entry.dim, entry.parameters
        ('12 x 2.5 s @ 240 Hz', 512, 2932736)
        >>> entry.licence.spdx, entry.licence.redistribution
        ('CC-BY-4.0', True)
        >>> get("ecg-cpq")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.UnknownNameError: Unknown model 'ecg-cpq'. ...
    """
    return looked_up("model", alias, models(), "See `ecg-hub ls`; a folder or a hub id ORG/NAME works too.")


def by_model_type(model_type: str) -> ModelEntry | None:
    """Return the model with a `model_type` of config.json, or None if it is not one of ours.

    Example:
        >>> by_model_type("ecg_s4").alias  # names in config.json differ from short names
        's4'
        >>> by_model_type("bert") is None
        True
    """
    return next((entry for entry in models().values() if entry.model_type == model_type), None)


def public_classes() -> dict[str, str]:
    """Return the classes of all models that users see, with the modules where they are.

    Example:
        >>> public_classes()["ECGS4Model"]
        'ecg_hub.models.ecg_s4.modeling_ecg_s4'
    """
    references = (reference for entry in built_in().values() for reference in entry.public_classes)
    return {name: module for module, _, name in (reference.partition(":") for reference in references)}


def read_entry(path: Path) -> ModelEntry:
    """Read and check one model.yaml.

    Args:
        path: the file.

    Raises:
        EcgHubError: if a field is missing, unknown or has a value that is not allowed.

    Example:
        >>> str(read_entry(MODELS_FOLDER / "ecg_s4" / "model.yaml").input)
        '12 x 2.5 s @ 100 Hz'
    """
    # The parser in C where PyYAML has it, because every command reads all of these files.
    raw = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        parts = {"licence": Licence, "input": InputContract, "weights": Weights, "classes": Classes}
        entry = ModelEntry(**{key: parts[key](**value) if key in parts else value for key, value in raw.items()})
    except TypeError as error:
        allowed = ", ".join(item.name for item in fields(ModelEntry) if item.name not in ("package", "folder"))
        raise EcgHubError(f"{path}: {error}. Fields of a model: {allowed}.") from error
    # YAML knows lists only, and what is frozen should hold nothing that can be changed.
    object.__setattr__(entry, "pretraining_corpora", tuple(entry.pretraining_corpora))
    for name, value, choices in (("kind", entry.kind, KINDS), ("weights.kind", entry.weights.kind, WEIGHT_KINDS)):
        if value not in choices:
            raise EcgHubError(f"{path}: {name} is {value!r}; allowed: {', '.join(choices)}.")
    return entry


@lru_cache(maxsize=1)
def _read_all() -> tuple[tuple[str, ModelEntry], ...]:
    entries = [read_entry(path) for path in MODELS_FOLDER.glob("*/model.yaml")]
    own = {entry.alias: entry for entry in entries}
    types = {entry.model_type: entry.alias for entry in entries}
    listed = packages.listed("model", packages.MODELS, own, lambda offer: _offered(offer, types))
    return tuple(sorted({**own, **listed.added}.items()))


def _offered(offer: packages.Offer, types: Mapping[str, str]) -> list[tuple[str, ModelEntry]]:
    """The models of another package: folders with a model.yaml, or a ModelEntry."""
    folder = offer.folder
    if folder is None:
        loaded = offer.load()
        entries = list(loaded) if isinstance(loaded, list | tuple) else [loaded]
        if not all(isinstance(entry, ModelEntry) for entry in entries):
            raise EcgHubError(f"{offer.entry.value} is neither a folder with a model.yaml nor a ModelEntry.")
    else:
        files = [path for path in (folder / "model.yaml", *sorted(folder.glob("*/model.yaml"))) if path.is_file()]
        if not files:
            raise EcgHubError(f"The folder of {offer.entry.value} holds no model.yaml.")
        entries = [replace(read_entry(path), folder=path.parent) for path in files]
    for entry in entries:
        if entry.model_type in types:
            taken = types[entry.model_type]
            raise EcgHubError(f"model_type {entry.model_type!r} is that of {taken!r} of {packages.OWN}.")
    return [(entry.alias, replace(entry, package=offer.package)) for entry in entries]


def _name(reference: str) -> str:
    return reference.partition(":")[2]
