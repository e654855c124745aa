"""Cards of models that are not the catalogue's: valid for the Hub, true of the weights, and their code runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_hub import AutoFeatureExtractor, AutoModelForECGClassification, catalog
from ecg_hub.hub.card_parts import FOLDER, base_model, encoder_code, front_matter
from ecg_hub.hub.cards import named, write_card
from ecg_hub.hub.package import pack, packed
from ecg_hub.inference.pipeline import load_pipeline
from ecg_hub.leads import LEADS
from tests.support.checkpoints import SOURCE, save_tiny
from tests.support.hub_cards import check_model_card, code

TRAINED = {"dataset": "ptb-xl", "run": "ptbxl_super", "mode": "finetune", "seed": 0, "began": "catalogue"}


def card_of(folder: Path) -> str:
    content = pack(folder, "m").files["README.md"]
    assert isinstance(content, bytes)
    return content.decode()


def run(card: str, folder: Path) -> None:
    example = code(card)
    assert f'"{FOLDER}"' in example
    exec(compile(example.replace(f'"{FOLDER}"', repr(str(folder))), "README.md", "exec"), {"__name__": "card"})


@pytest.mark.parametrize("alias", catalog.models())
def test_the_code_of_an_encoder_and_of_a_classifier_runs(
    alias: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(card_of(save_tiny(alias, tmp_path / "encoder")), tmp_path / "encoder")
    hidden, pooled = capsys.readouterr().out.splitlines()
    assert hidden.startswith("torch.Size([")
    assert pooled.startswith("torch.Size([")

    save_tiny(alias, tmp_path / "classifier", labels=2, id2label={0: "NORM", 1: "MI"})
    run(card_of(tmp_path / "classifier"), tmp_path / "classifier")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["NORM", "MI"]


def test_the_code_of_a_classifier_prints_what_the_pipeline_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It printed mean logits, and the card says beside it where thresholds of probabilities lie."""
    folder = save_tiny("ecg-cpc", tmp_path / "m", SOURCE, labels=2, id2label={0: "NORM", 1: "MI"})
    run(card_of(folder), folder)
    printed = {name: float(score) for name, score in map(str.split, capsys.readouterr().out.splitlines())}
    signal = np.random.default_rng(0).normal(0, 0.2, (12, 5000))
    given = load_pipeline(folder)(signal, sampling_rate=500, lead_names=LEADS)
    assert printed == pytest.approx({score["label"]: score["score"] for score in given}, abs=1e-6)


def test_a_model_trained_from_the_authors_file_names_it_on_the_hub(tmp_path: Path) -> None:
    folder = save_tiny("ecg-fm", tmp_path / "m", SOURCE, labels=2, training=[TRAINED, TRAINED])
    facts = check_model_card(card_of(folder))

    assert (facts["base_model"], facts["base_model_relation"]) == ("wanglab/ecg-fm", "finetune")
    assert facts["license"] == "mit"
    assert facts["pipeline_tag"] == "other"
    assert facts["datasets"] == [*catalog.get("ecg-fm").pretraining_corpora, "ptb-xl"]
    assert "Since then ecg-hub has trained them on ptb-xl; scores" in card_of(folder)


def test_a_model_whose_authors_are_elsewhere_names_no_base_model(tmp_path: Path) -> None:
    facts = check_model_card(card_of(save_tiny("ecg-cpc", tmp_path / "m", SOURCE)))
    assert not {"base_model", "base_model_relation"} & set(facts)
    assert facts["datasets"] == ["heedb-1.0"]


def test_a_model_trained_from_scratch_owes_nothing_to_the_authors(tmp_path: Path) -> None:
    facts = check_model_card(card_of(save_tiny("ecg-fm", tmp_path / "m", training=[TRAINED])))
    assert facts["license"] == "unknown"
    assert facts["datasets"] == ["ptb-xl"]
    assert "base_model" not in facts


def test_random_weights_have_a_card_that_says_so() -> None:
    with packed("random:ecg-cpc-tiny") as package:
        content = package.files["README.md"]
        assert isinstance(content, bytes)
        facts = check_model_card(content.decode())
    assert "random-weights" in facts["tags"]
    assert not {"datasets", "base_model"} & set(facts)


def test_weights_of_unknown_origin_are_not_said_to_have_begun_at_random(tmp_path: Path) -> None:
    folder = save_tiny("s4", tmp_path / "model", labels=2)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"training": []}
    path.write_text(json.dumps(config), encoding="utf-8")
    assert "How they came about is not recorded: `config.json` names no file of the authors" in card_of(folder)
    path.write_text(json.dumps(config | {"training": [TRAINED]}), encoding="utf-8")
    assert "Trained by ecg-hub on ptb-xl: `config.json` names no file" in card_of(folder)


def test_a_trained_head_on_random_weights_is_not_said_to_be_untrained(tmp_path: Path) -> None:
    folder = save_tiny("s4", tmp_path / "m", labels=2)
    path = folder / "config.json"
    drawn = {"random_weights": {"name": "random:s4-tiny", "seed": 0}}
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | drawn), encoding="utf-8")
    assert "drawn with seed 0 as `random:s4-tiny`. Nothing was ever trained but the head." in card_of(folder)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"random_weights": {}}), encoding="utf-8")
    assert "drawn as `random weights of ecg_s4`. " in card_of(folder), "no seed is known"


def test_a_card_says_what_the_extractor_beside_the_weights_feeds(tmp_path: Path) -> None:
    folder = save_tiny("ecg-cpc", tmp_path / "m", labels=2)
    assert ", 2.5 s at 240 Hz, mV;" in card_of(folder)
    AutoFeatureExtractor.from_pretrained(folder).with_preset("native").save_pretrained(folder)
    assert ", 10 s at 240 Hz, mV;" in card_of(folder)
    write_card(folder, AutoModelForECGClassification.from_pretrained(folder))
    assert ", 10 s at 240 Hz, mV;" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_card_written_beside_weights_is_the_one_that_push_would_make(tmp_path: Path) -> None:
    import ecg_hub

    folder = save_tiny("s4", tmp_path / "m", labels=2)
    write_card(folder, ecg_hub.AutoModelForECGClassification.from_pretrained(folder))
    text = (folder / "README.md").read_text(encoding="utf-8")
    check_model_card(text)
    assert "Classifier with 2 outputs, " in text
    assert card_of(folder) == text


def test_names_that_the_hub_does_not_take_are_left_out() -> None:
    fields: dict[str, Any] = front_matter(
        catalog.get("s4"),
        title="T",
        licence={"license": "mit"},
        datasets=["ptb-xl", "my data", "ptb-xl"],
        relation="merge",
    )
    assert fields["datasets"] == ["ptb-xl"]
    assert "base_model_relation" not in fields


def test_base_models_are_repositories_of_the_hub() -> None:
    known = {alias: base_model(entry) for alias, entry in catalog.models().items() if base_model(entry)}
    assert known == {
        "ecg-fm": "wanglab/ecg-fm",
        "ecg-founder": "PKUDigitalHealth/ECGFounder",
        "hubert-ecg": "Edoardo-BS/hubert-ecg-base",
        "melp": "fuyingw/MELP_Encoder",
        "xecg": "riccardolunelli/xECG_base_model_v1",
    }


def test_a_pushed_card_loads_from_its_repository() -> None:
    card = f"# M\n\n{encoder_code(FOLDER)}\n\nSaved in FOLDER.\n".encode()
    sent = named(card, "org/mine").decode()
    assert 'ecg_hub.AutoModel.from_pretrained("org/mine")' in sent
    assert "Saved in FOLDER." in sent
    assert f'"{FOLDER}"' not in sent
