"""The contract of every further checkpoint: its YAML file, its names in the authors' file, and their features."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import ecg_hub
from dataset_scripts.codes import read_codes
from ecg_hub import catalog
from ecg_hub.catalog_reading import read_folder
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.hub.cards import made_card
from ecg_hub.hub.package import read_json
from ecg_hub.modeling.auto import build_feature_extractor
from ecg_hub.origin import withheld
from ecg_hub.spelling import normalised
from ecg_hub.weights.conversion import convert
from ecg_hub.weights.recognition import check_file, convert_as
from eval_harness.models.loading import load_model
from eval_harness.results.contamination import declared, known_datasets, state
from model_cards.checkpoint import checkpoint_card
from tests.contracts.test_model_parity import published_sizes
from tests.support.checkpoints import convert_filled
from tests.support.fill import make_input, published_state, read_case
from tests.support.hub_cards import check_model_card
from tests.support.models import LARGE, tiny
from tests.support.pages import ROOT, fences

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FURTHER = [alias for alias, entry in catalog.checkpoints().items() if not entry.is_default]
OF_FILES = [alias for alias in FURTHER if catalog.get(alias).weights.file is not None]
"""Those of the authors' files, which are converted; the others lie in the package."""
SECOND_FILES = {"ecg-founder-150": "ecg-founder", "st-mem-encoder": "st-mem", "merl-res18-full": "merl"}
"""Golden cases of other files with the weights of an architecture's own checkpoint."""
HEADS = [alias for alias, entry in catalog.checkpoints().items() if entry.keeps_head]


def cases() -> list[Any]:
    """One golden case per proof, with the first checkpoint that it proves."""
    proofs = {proof: catalog.get(alias) for proof, alias in SECOND_FILES.items()}
    for alias in OF_FILES:
        entry = catalog.get(alias)
        if (GOLDEN / str(entry.proof)).name not in {other.model_type for other in catalog.models().values()}:
            proofs.setdefault(str(entry.proof), entry)
    return [
        pytest.param(proof, entry.alias, id=proof, marks=[pytest.mark.heavy] if entry.parameters > LARGE else [])
        for proof, entry in sorted(proofs.items())
    ]


def names_only(alias: str) -> dict[str, torch.Tensor]:
    """The published names of a checkpoint, with shapes and no memory for values where values are not looked at."""
    entry = catalog.get(alias)
    manifest, arrays = read_case(GOLDEN / str(entry.proof))
    if entry.parameters < LARGE:
        state = published_state(manifest, arrays)
    else:
        state = {item["name"]: torch.zeros(()).expand(item["shape"]) for item in manifest["entries"]}
    head = entry.head
    if head is None or head.kind != "linear":
        return state
    # Siblings of a proof differ in the number of outputs.
    fits = {name for name in state if name.startswith(head.entries)}
    return {name: tensor[: head.num_labels] if name in fits else tensor for name, tensor in state.items()}


def test_the_example_of_the_page_is_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = fences(ROOT / "docs" / "contributing" / "checkpoint.md", "yaml")
    folder = tmp_path / "net1d"
    shutil.copytree(catalog.MODELS_FOLDER / "net1d", folder)
    (folder / catalog.CHECKPOINTS / "example-small.yaml").write_text(example, encoding="utf-8")
    (entry,) = (entry for entry in read_folder(folder) if entry.alias == "example-small")
    entry = dataclasses.replace(entry, folder=folder)
    known = catalog._read_all()
    monkeypatch.setattr(catalog, "_read_all", lambda: (*known, (entry.alias, entry)))
    test_the_file_agrees_with_the_model(entry.alias)
    test_labels_are_those_of_the_head(entry.alias)
    test_every_published_name_is_accounted_for(entry.alias)
    check_model_card(checkpoint_card(entry))


@pytest.mark.parametrize("alias", FURTHER)
def test_the_file_agrees_with_the_model(alias: str) -> None:
    entry = catalog.get(alias)
    config = entry.build_config()
    with torch.device("meta"):
        model = entry.load("model")(config)
    assert model.num_parameters() == entry.parameters
    # A parameter in no group would train at no rate of its own, or not at all.
    prefixes = [prefix for group in config.layer_groups.values() for prefix in group]
    names = [name for name, _ in model.named_parameters()]
    assert all(sum(name.startswith(prefix) for prefix in prefixes) == 1 for name in names)
    assert all(any(name.startswith(prefix) for name in names) for prefix in prefixes)
    assert config.hidden_size == entry.dim
    assert tuple(config.lead_names) == entry.input.leads
    assert (config.sampling_rate, config.input_seconds) == (entry.input.sampling_rate, entry.input.seconds)
    assert set(entry.presets) == {"benchmark", "native"}
    extractor = build_feature_extractor(entry)
    for preset in entry.presets:
        assert set(extractor.spec(preset).lead_names) == set(config.lead_names)
    own = yaml.safe_load((entry.home / catalog.CHECKPOINTS / f"{alias}.yaml").read_text())
    # Fields of the configuration by name: transformers keeps a misspelt one beside them.
    assert set(own.get("config") or {}) <= {*type(config).__dataclass_fields__}


@pytest.mark.parametrize("alias", FURTHER)
def test_a_tiny_one_loads_as_the_checkpoint(alias: str, tmp_path: Any) -> None:
    entry = catalog.get(alias)
    shape = {name: value for name, value in entry.config.items() if name in ("lead_names", "sampling_rate")}
    model = tiny(entry.architecture, **shape)
    model.config.conversion = {"model": alias, "weights_sha256": "0" * 64}
    model.save_pretrained(tmp_path / "first")
    ecg_hub.AutoModel.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    assert catalog.of_config(ecg_hub.AutoConfig.from_pretrained(tmp_path / "second")) is entry


@pytest.mark.parametrize("alias", FURTHER)
def test_labels_are_those_of_the_head(alias: str) -> None:
    entry = catalog.get(alias)
    assert len(entry.labels) == len(set(entry.labels))
    if entry.labels:
        assert entry.head is not None
        assert len(entry.labels) == entry.head.num_labels
    assert all(label.strip() == label for label in entry.labels)


@pytest.mark.parametrize("alias", OF_FILES)
def test_every_published_name_is_accounted_for(alias: str) -> None:
    entries, conversion = convert_as(catalog.get(alias), names_only(alias))
    assert conversion.config.to_dict() == catalog.get(alias).build_config().to_dict()
    assert entries.taken + len(entries.ignored) >= len(entries.names)


@pytest.mark.parametrize(("proof", "alias"), cases())
def test_parity(proof: str, alias: str, tmp_path: Path) -> None:
    """Published names, through the converter with the checkpoint's sizes, against the published implementation."""
    entry = catalog.get(alias)
    manifest, arrays = read_case(GOLDEN / proof)
    state = published_state(manifest, arrays)
    model = converted(entry, state, tmp_path) if entry.keeps_head else encoder_of(entry, state)
    assert model.base_model.num_parameters() == entry.parameters
    assert entry.parameters in published_sizes(manifest) or not published_sizes(manifest)
    case = manifest["input"]
    x = make_input(case["leads"], case["samples"], manifest["golden"]["batch"], manifest["golden"]["seed"])
    x = torch.from_numpy(arrays.get("preprocessed", x))
    with torch.no_grad():
        output = model.base_model(x)
    assert output.last_hidden_state.shape[1] == manifest["tokens"]
    tokens = output.last_hidden_state[:, arrays["token_index"]]
    close(tokens, arrays["sequence"])
    close(output.pooler_output, arrays["pooled"])
    if entry.keeps_head:
        with torch.no_grad():
            close(model(x).logits, arrays["logits"])
        labels = manifest.get("labels") or [f"LABEL_{index}" for index in range(manifest["n_labels"])]
        assert list(model.config.id2label.values()) == labels
        assert list(entry.labels) == (manifest.get("labels") or [])


def encoder_of(entry: catalog.ModelEntry, state: dict[str, torch.Tensor]) -> Any:
    """The encoder of a state dict in published names."""
    _, conversion = convert_as(entry, state)
    with torch.device("meta"):
        model = entry.load("model")(conversion.config)
    model.load_state_dict(conversion.state, strict=True, assign=True)
    return model.eval()


def converted(entry: catalog.ModelEntry, state: dict[str, torch.Tensor], folder: Path) -> Any:
    """The classifier of a state dict in published names, by way of a file and a converted folder."""
    torch.save(state, folder / "authors.pt")
    summary = convert(entry.alias, folder / "authors.pt", folder / "model")
    assert summary.parameters == entry.parameters
    return ecg_hub.AutoModelForECGClassification.from_pretrained(folder / "model")


@pytest.mark.parametrize("alias", HEADS)
def test_the_outputs_of_a_head_have_a_code_or_a_reason(alias: str) -> None:
    entry = catalog.get(alias)
    assert entry.head is not None
    assert set(entry.head.maximum) <= set(entry.labels)
    assert entry.head.preset in entry.presets
    if not entry.labels:
        assert entry.head.vocabulary is None
        return
    rows = [row for row in read_codes("head_labels") if row["vocabulary"] == entry.head.vocabulary]
    said = {row["label"]: row for row in rows}
    assert len(said) == len(rows)
    assert set(entry.labels) <= set(said)
    for label in entry.labels:
        assert bool(said[label]["code"]) != bool(said[label]["reason"]), label


def test_no_row_of_the_table_is_of_no_head() -> None:
    heads = {(catalog.get(alias).head.vocabulary, label) for alias in HEADS for label in catalog.get(alias).labels}  # type: ignore[union-attr]
    assert {(row["vocabulary"], row["label"]) for row in read_codes("head_labels")} == heads


@pytest.mark.parametrize("alias", FURTHER)
def test_the_card_is_made_from_its_sources(alias: str) -> None:
    entry = catalog.get(alias)
    assert entry.card.is_file(), f"{entry.card} is missing: run `python docs/pages.py`"
    text = entry.card.read_text(encoding="utf-8")
    assert text == checkpoint_card(entry), "run `python docs/pages.py`"
    facts = check_model_card(text)
    assert facts.get("datasets") == list(entry.corpora)
    for fact in (entry.title, entry.licence.name, entry.paper, f"{entry.parameters:,}", *entry.labels[:3]):
        assert fact in text
    assert (entry.note or "") in text
    seen = {name for name in known_datasets() if state(entry.corpora, name) == "seen"}
    line = next((line for line in text.splitlines() if line.startswith("- seen in")), "")
    assert set(filter(None, line.partition(": ")[2].split(", "))) == seen


def close(ours: torch.Tensor, expected: np.ndarray) -> None:
    size = float(np.sqrt(np.square(expected).mean()))
    assert (ours - torch.from_numpy(expected)).abs().max().item() <= 1e-4 * max(1.0, size)


def test_no_two_names_are_spellings_of_one() -> None:
    names = [*catalog.short_names(), *(f"{alias}-tiny" for alias in catalog.models())]
    assert len({normalised(name) for name in names}) == len(names)
    assert not [alias for alias in catalog.checkpoints() if alias.endswith("-tiny") and alias != "merl-vit-tiny"]


def test_random_weights_are_those_of_an_architecture() -> None:
    with pytest.raises(InputError, match="'random:hubert-ecg'"):
        ecg_hub.AutoModel.from_pretrained("random:hubert-ecg-large")


WRONG_FILES = {
    "clef-small": "clef-large",
    "ecg-cpc": "ecg-cpc-ps",
    "ecg-fm-mimic-iv-finetuned": "deepecg-ssl-77",
    "hubert-ecg-small": "hubert-ecg-small-cardiolearning",
}
MORE_WRONG_FILES = {
    "clef-medium": "ecg-founder-1lead",
    "ecg-cpc-ps": "ecg-s4-jepa-ps",
    "ecg-fm": "melp-repro",
    "ecg-founder": "ecg-founder-1lead",
    "ecgfm-ked": "xresnet1d101-ptbxl",
    "hubert-ecg": "hubert-ecg-large",
}


@pytest.mark.parametrize(
    ("alias", "other"),
    [
        *WRONG_FILES.items(),
        *(pytest.param(*pair, marks=pytest.mark.heavy) for pair in MORE_WRONG_FILES.items()),
    ],
)
def test_the_file_of_another_checkpoint_is_named(alias: str, other: str) -> None:
    with pytest.raises(CheckpointError, match=rf"By its entries it is (one of [\w, -]*)?{other}\b"):
        convert_as(catalog.get(alias), names_only(other))


PUBLISHED = [alias for alias, entry in catalog.checkpoints().items() if entry.weights.file is not None]


def others(alias: str) -> list[str]:
    """Checkpoints with files of other names and shapes: the next of the architecture, and one of other authors."""
    entry = catalog.get(alias)
    alike = {other.alias for other in catalog.look_alikes(entry)}
    # In a circle, so that every file of a family is offered to one of the others.
    start = PUBLISHED.index(alias) + 1
    circle = [*PUBLISHED[start:], *PUBLISHED[: start - 1]]
    family = [other for other in circle if catalog.get(other).architecture == entry.architecture and other not in alike]
    foreign = [
        other
        for other in PUBLISHED
        if catalog.get(other).repository != entry.repository and catalog.get(other).architecture != entry.architecture
    ]
    return [*family[:1], foreign[PUBLISHED.index(alias) % 7]]


@pytest.mark.heavy
@pytest.mark.parametrize("alias", PUBLISHED)
def test_every_other_file_is_refused_by_its_name(alias: str) -> None:
    entry = catalog.get(alias)
    for other in others(alias):
        with pytest.raises(CheckpointError) as caught:
            convert_as(entry, names_only(other))
        assert re.search(rf"By its entries it is (one of [\w, -]*)?{other}\b", str(caught.value)), other
    head = entry.head
    if head is not None and not entry.is_default:
        encoder = {name: tensor for name, tensor in names_only(alias).items() if not name.startswith(head.entries)}
        with pytest.raises(CheckpointError, match="without the head"):
            convert_as(entry, encoder)
        if head.kind == "linear" and head.labels is not None:
            state = names_only(alias)
            state |= {f"{head.entries}weight": torch.zeros(1009, entry.dim), f"{head.entries}bias": torch.zeros(1009)}
            with pytest.raises(CheckpointError, match=rf"1009 outputs.*Its encoder is that of .*{alias}"):
                convert_as(entry, state)


@pytest.mark.heavy
def test_an_encoder_with_another_head_is_named() -> None:
    state = names_only("ecg-fm-mimic-iv-finetuned")
    state["proj.weight"] = torch.zeros(5, 768)
    with pytest.raises(CheckpointError, match=r"5 outputs.*encoder is that of .*ecg-fm-mimic-iv-finetuned"):
        convert_as(catalog.get("ecg-fm-mimic-iv-finetuned"), state)


@pytest.mark.heavy
def test_the_encoder_alone_is_not_the_fine_tuned_checkpoint() -> None:
    state = {name: tensor for name, tensor in names_only("ecg-founder-1lead").items() if "dense." not in name}
    with pytest.raises(CheckpointError, match="without the head"):
        convert_as(catalog.get("ecg-founder-1lead"), state)


def test_a_file_with_the_name_of_another_of_the_same_shapes() -> None:
    digest = "0" * 64
    with pytest.raises(CheckpointError, match="ecg-hub convert ecg-jepa-random"):
        check_file("random_epoch100.pth", digest, catalog.get("ecg-jepa"))
    check_file("mine.pth", digest, catalog.get("ecg-jepa"))


def test_a_published_digest_decides_whatever_the_file_is_called() -> None:
    digest = str(catalog.get("ecg-fm").weights.sha256)
    with pytest.raises(CheckpointError, match=r"by its SHA-256 .* file of ECG-FM: `ecg-hub convert ecg-fm "):
        check_file("base_ssl.pt", digest, catalog.get("deepecg-ssl"))
    check_file("base_ssl.pt", digest, catalog.get("ecg-fm"))


def test_files_that_look_alike_are_known() -> None:
    alike = {
        alias: {other.alias for other in catalog.look_alikes(catalog.get(alias))} for alias in catalog.checkpoints()
    }
    assert alike["ecg-s4-jepa-ps"] == {"ecg-s4-data2vec-ps", "ecg-s4-dinosr-ps", "ecg-s4-hubert-ps"}
    assert (alike["deepecg-ssl"], alike["deepecg-ssl-77"]) == ({"ecg-fm"}, set())
    assert alike["deepecg-ssl-lvef-40"] == {"deepecg-ssl-af-5y", "deepecg-ssl-lvef-50"}


@pytest.fixture(params=["clef-small", "xresnet1d101-ptbxl"])
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A small checkpoint, converted as its short name is looked up."""
    convert_filled(request.param, tmp_path / "authors")
    return str(request.param)


@pytest.mark.heavy
def test_everything_that_judges_weights_goes_by_the_checkpoint(installed: str, tmp_path: Path) -> None:
    entry = catalog.get(installed)
    loaded = load_model(installed, "linear", "benchmark", 0)
    assert (loaded.id, loaded.entry.alias) == (installed, installed)
    assert loaded.origin is not None
    assert loaded.origin.kind == "catalogue"
    assert loaded.corpora == list(entry.corpora)
    # Trained and saved again under another name: licence and corpora are still those of the checkpoint.
    loaded.encoder.config.training = [{"dataset": "sph", "began": "catalogue"}]
    loaded.encoder.save_pretrained(tmp_path / "mine")
    loaded.extractor.save_pretrained(tmp_path / "mine")
    config = read_json(tmp_path / "mine" / "config.json")
    assert (withheld(config) is None) == entry.licence.redistribution
    again = load_model(str(tmp_path / "mine"), "linear", "benchmark", 0)
    assert again.corpora == [*entry.corpora, "sph"]
    assert again.entry.alias == installed
    assert entry.title in made_card(again.entry, config, "encoder")


def test_a_config_of_an_earlier_version_is_of_the_architecture(tmp_path: Path) -> None:
    model = tiny("net1d")
    model.config.conversion = None
    model.save_pretrained(tmp_path)
    found = catalog.of_config(read_json(tmp_path / "config.json"))
    assert found is catalog.get("net1d")
    # An alias of another architecture is no statement about these weights.
    assert catalog.of_config({"model_type": "net1d", "conversion": {"model": "ecg-fm"}}) is found


def test_a_fine_tuned_checkpoint_has_seen_its_labels() -> None:
    entry = catalog.get("hubert-ecg-small-cardiolearning")
    assert state(entry.corpora, "ptb-xl") == "seen"
    assert state(catalog.get("hubert-ecg-small").corpora, "ptb-xl") == "unknown"
    assert declared(entry.build_config(), entry) == list(entry.corpora)


def test_training_from_scratch_is_of_the_architecture() -> None:
    with pytest.raises(InputError, match="give --model net1d"):
        load_model("clef-small", "scratch", "benchmark", 0)
