"""Sources of the model cards: the hand-written parts are checked, nothing is left over, and making cards is light."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ecg_hub import catalog
from ecg_hub.errors import EcgHubError
from ecg_hub.weights.conversion import model_card
from eval_harness.results import contamination
from model_cards import card
from model_cards.__main__ import main

GOOD = "## What it is\n\na\n\n## What differs from the published code\n\nb\n\n## Limits\n\nc\n\n## Citation\n\nd\n"


@pytest.fixture
def part(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine" / "card_part.md"


def test_sections_of_a_hand_written_part(part: Path) -> None:
    part.write_text(GOOD)
    assert card.hand_written(part) == {
        "What it is": "a",
        "What differs from the published code": "b",
        "Limits": "c",
        "Citation": "d",
    }


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("## Limits", "## Limitations"),
        GOOD.replace("\nc\n", "\n"),
        GOOD + "\n## Limits\n\nagain\n",
        GOOD + "\n## Usage\n\nmore\n",
        "before\n\n" + GOOD,
    ],
)
def test_a_wrong_hand_written_part(part: Path, text: str) -> None:
    part.write_text(text)
    with pytest.raises(EcgHubError, match=r"mine/card_part\.md needs the sections What it is, .*Limits"):
        card.hand_written(part)


def test_a_missing_hand_written_part_and_card(part: Path) -> None:
    with pytest.raises(EcgHubError, match=r"Write mine/card_part\.md"):
        card.hand_written(part)
    entry = catalog.get("ecg-cpc")
    object.__setattr__(other := type(entry)(**vars(entry)), "model_type", "mine")
    with pytest.raises(EcgHubError, match=r"run `python docs/pages\.py`"):
        model_card(other)


def test_nothing_is_left_over() -> None:
    aliases = set(catalog.models())
    texts = sorted(catalog.MODELS_FOLDER.glob("*/*.md"))
    folders = [entry.card.parent for entry in catalog.models().values()]
    assert texts == sorted(folder / name for folder in folders for name in ("card.md", "card_part.md"))
    assert list(card.FOLDER.glob("*.md")) == []
    assert set(card.measured()) == aliases
    declared = {corpus for entry in catalog.checkpoints().values() for corpus in entry.corpora}
    assert set(card.corpora()) == declared, "model_cards/corpora.yaml describes the corpora of the models, no others"


def test_corpora_of_the_benchmark_have_the_size_of_their_data_set() -> None:
    known = {"chapman": 10646, "ningbo": 34905, "code-15": 345779, "mimic-iv-ecg": 800035}
    assert {name: card.corpora()[name].records for name in known} == known


def test_a_new_data_set_changes_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {alias: card.overlap(entry) for alias, entry in catalog.built_in().items()}
    listed = {**contamination.corpora(), "example-ecg": contamination.Contents(frozenset({"example-ecg"}))}
    monkeypatch.setattr(contamination, "corpora", lambda: listed)
    assert "example-ecg" in contamination.known_datasets()
    assert {alias: card.overlap(entry) for alias, entry in catalog.built_in().items()} == before
    assert before["ecg-cpc"] == "- not seen: all"


def test_what_a_model_lacks_is_said_with_the_remedy() -> None:
    entry = catalog.get("ecg-cpc")
    for change, remedy in (
        ({"parity": {}}, "test_model_parity"),
        ({"pretraining": None}, "pretraining is missing"),
        ({"pretraining_corpora": ("nowhere",)}, r"corpora\.yaml"),
        ({"alias": "new"}, r"`python docs/pages\.py` counts them"),
    ):
        with pytest.raises(EcgHubError, match=remedy):
            card.complete_card(dataclasses.replace(entry, folder=entry.home, **change))  # type: ignore[arg-type]


def test_all_cards_are_written(tmp_path: Path) -> None:
    main(["--output", str(tmp_path)])
    for alias in catalog.checkpoints():
        assert (tmp_path / f"{alias}.md").read_bytes() == catalog.get(alias).card.read_bytes()


def test_measured_numbers_keep_their_form() -> None:
    text = card.MEASURED.read_text(encoding="utf-8")
    assert text.startswith("# Counted by")
    assert list(yaml.safe_load(text)) == list(catalog.models())


def test_making_a_card_imports_nothing_heavy() -> None:
    code = (
        "import json, sys\nfrom ecg_hub import catalog\nfrom model_cards.card import complete_card\n"
        "complete_card(catalog.get('st-mem'))\n"
        "print(json.dumps([m for m in ('torch', 'transformers', 'datasets', 'pandas') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
