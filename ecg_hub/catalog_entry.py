"""What the catalogue says of one checkpoint: the fields of model.yaml and of the files in `checkpoints/`."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ecg_hub.packages as packages

MODELS_FOLDER = Path(__file__).resolve().parent / "models"
CHECKPOINTS = "checkpoints"
"""Folder beside a model.yaml with one file per further checkpoint of the architecture."""
DOWNLOADS = ("figshare", "hf", "zenodo")
"""Kinds of weights that a program may fetch."""
EMBEDDED = "embedded"
"""The kind of weights that lie in this package: a model folder of that alias in `checkpoints/`."""


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
class Pretraining:
    """How much of its corpora a model saw.

    Attributes:
        recordings: how many, or None if its authors' public texts do not tell us.
        text: the same in words, after "The model saw".
        approximate: whether `recordings` is a round number.
    """

    recordings: int | None
    text: str
    approximate: bool = False


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
        kind: "figshare", "hf", "zenodo", "manual" (a page with a link that no program may follow), "embedded" (in this
            package) or "none".
        page: page for people.
        file: name of the file there.
        article: number of the figshare article or zenodo record.
        repo: hub id for kind "hf".
        revision: commit or branch of that repository; None is its newest.
        member: file inside, if `file` is a zip archive.
        key: where in the file the weights are, if it holds several state dicts.
        sha256: digest of `file`, if published.
        md5: the same, where only an MD5 is published.
        size: bytes of `file`, rounded, where its authors state it.
        tensors_sha256: `ecg_hub.origin.weights_digest` of the converted encoder, if somebody has published it.
    """

    kind: str
    page: str | None = None
    file: str | None = None
    article: int | None = None
    repo: str | None = None
    revision: str | None = None
    member: str | None = None
    key: str | None = None
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None
    tensors_sha256: str | None = None

    @property
    def can_be_fetched(self) -> bool:
        """Whether a program may fetch the file; else people follow the page's links."""
        return self.kind in DOWNLOADS


@dataclass(frozen=True)
class Head:
    """The classifier that lies in the authors' file beside the encoder.

    Attributes:
        entries: beginning of its names in the file.
        num_labels: its outputs.
        labels: names of the outputs in order, or a text file beside the YAML with one per line; None: not known.
        kind: "linear" (one linear layer on the mean of the tokens, which the converter keeps) or "other" (no classifier
            of ours computes it; it is left out).
        pooling: how the tokens become what it reads.
        preset: preset whose input its authors trained it on.
        maximum: labels of which a record has the largest probability of its windows; of the others it has the mean.
        vocabulary: the name of its labels in the code table `heads`, which says what they mean.
        note: what is not certain about it.
    """

    entries: str
    num_labels: int
    labels: str | tuple[str, ...] | None = None
    kind: str = "linear"
    pooling: str = "mean"
    preset: str = "native"
    maximum: tuple[str, ...] = ()
    vocabulary: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        # YAML gives a list, and what is frozen must be hashable.
        object.__setattr__(self, "maximum", tuple(self.maximum))
        if self.labels is not None and not isinstance(self.labels, str):
            object.__setattr__(self, "labels", tuple(self.labels))


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
    """One checkpoint: an architecture with its own weights, or further weights of it.

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
        pretraining_corpora: corpora of its pre-training, in lower case.
        pretraining: how much of them it saw; None where it was not pre-trained, and of a further checkpoint.
        weights: where the published weights are.
        classes: the code.
        presets: presets of the feature extractor.
        tiny: changes to the configuration for `random:<alias>-tiny`.
        other_names: further short names of the same weights; looked up, and nowhere written.
        finetuning_corpora: corpora that its authors fine-tuned it on with labels.
        config: changes to the architecture's default configuration.
        head: the classifier in the authors' file, if there is one.
        note: what about these facts is inferred and not seen.
        proof: name of the golden case that its conversion is tested against, in tests/golden.
        parity: of "pooled" and "tokens" the largest difference on that case, `at_most`, and their size, `rms`.
        parent: of a further checkpoint, the alias of its architecture.
        package: the installed package that brings it.
        folder: the folder of its architecture, where model.yaml lies.
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
    other_names: tuple[str, ...] = ()
    finetuning_corpora: tuple[str, ...] = ()
    pretraining: Pretraining | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    head: Head | None = None
    note: str | None = None
    proof: str | None = None
    parity: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    parent: str | None = None
    package: str = packages.OWN
    folder: Path | None = field(default=None, compare=False, repr=False)

    @property
    def architecture(self) -> str:
        """Alias of the architecture, which is that of its default checkpoint."""
        return self.parent or self.alias

    @property
    def is_default(self) -> bool:
        """Whether it is the architecture itself, with the weights that its model.yaml names."""
        return self.parent is None

    @property
    def corpora(self) -> tuple[str, ...]:
        """All corpora that the weights have seen, with labels or without."""
        return tuple(dict.fromkeys((*self.pretraining_corpora, *self.finetuning_corpora)))

    @property
    def home(self) -> Path:
        """The folder of its architecture."""
        return self.folder or MODELS_FOLDER / self.model_type

    @property
    def class_names(self) -> tuple[str, str, str]:
        """Names of the configuration, the encoder and the classifier class."""
        return _name(self.classes.config), _name(self.classes.model), _name(self.classes.classifier)

    @property
    def embedded(self) -> Path | None:
        """The model folder in this package, or None where the weights come from elsewhere."""
        return self.home / CHECKPOINTS / self.alias if self.weights.kind == EMBEDDED else None

    @property
    def random_name(self) -> str:
        """The name of its architecture with random weights; of embedded weights that of the same size."""
        return f"random:{self.alias if self.embedded else self.architecture}"

    @property
    def card(self) -> Path:
        """The finished card; `python docs/pages.py` writes it."""
        return self.home / "card.md" if self.is_default else self.home / CHECKPOINTS / f"{self.alias}.md"

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON; without the folder, which is this machine's matter."""
        shown = {name: value for name, value in asdict(self).items() if name not in ("folder", "parent")}
        return {
            **shown,
            "architecture": self.architecture,
            "is_default": self.is_default,
            "labels": list(self.labels),
        }

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs of the head in the authors' file; empty where there is none or they are not known."""
        named = None if self.head is None else self.head.labels
        if isinstance(named, str):
            return tuple((self.home / CHECKPOINTS / named).read_text(encoding="utf-8").splitlines())
        return named or ()

    @property
    def keeps_head(self) -> bool:
        """Whether the authors' file holds a classifier that the converter keeps."""
        return self.head is not None and self.head.kind == "linear"

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
            return (
                f"{self.title} has no published weights: train it from scratch, or take 'random:{self.architecture}'."
            )
        if self.embedded:
            return f"{self.title} comes with the package: --model {self.alias}."
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
        return f"{published}\nor ask for random weights by name: 'random:{self.architecture}'."

    @property
    def _steps_by_hand(self) -> str:
        return (
            f"get {self.weights.file} from\n  {self.weights.page}\nand then run\n"
            f"  ecg-hub convert {self.alias} --checkpoint FILE"
        )

    def build_config(self, **changes: Any) -> Any:
        """Build the configuration of these weights, an object of the architecture's class."""
        # Copies, because a configuration may be changed by its user.
        return self.load("config")(**{**copy.deepcopy(dict(self.config)), **changes})

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


def _name(reference: str) -> str:
    return reference.partition(":")[2]
