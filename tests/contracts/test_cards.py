"""The contract of every model card: made from its sources, valid for the Hub, and its commands and code run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from transformers.pipelines import SUPPORTED_TASKS

import ecg_hub
from ecg_hub import catalog
from ecg_hub.modeling.auto import build_feature_extractor
from ecg_hub.names import model_folder
from eval_harness.cli.eval import main as evaluate
from eval_harness.cli.hub import main as hub
from eval_harness.results.published import scores
from model_cards.__main__ import count
from model_cards.card import complete_card, corpora, hand_written, measured, parity
from tests.support.hub_cards import check_model_card, code
from tests.support.models import tiny

pytestmark = pytest.mark.parametrize("alias", catalog.models())


def card(alias: str) -> str:
    path = catalog.get(alias).card
    assert path.is_file(), f"{path} is missing: write card_part.md beside model.yaml, then run `python docs/pages.py`"
    return path.read_text(encoding="utf-8")


def blocks(alias: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", card(alias), flags=re.MULTILINE | re.DOTALL)


def test_the_card_is_made_from_its_sources(alias: str) -> None:
    assert card(alias) == complete_card(catalog.get(alias)), "run `python docs/pages.py`"


def test_metadata_are_valid_for_the_hub(alias: str) -> None:
    facts, entry = check_model_card(card(alias)), catalog.get(alias)
    assert facts["pipeline_tag"] in SUPPORTED_TASKS
    assert entry.model_type in facts["tags"]
    assert facts.get("datasets", []) == list(entry.pretraining_corpora)
    assert ("base_model" in facts) == (entry.weights.page or "").startswith("https://huggingface.co/")
    assert ("metrics" in facts) == any(score.model == alias for score in scores())
    # Scores of others are not results of these files; a change of form is none of the Hub's relations.
    assert not {"model-index", "base_model_relation"} & set(facts)


def test_the_card_says_what_it_has_to(alias: str) -> None:
    entry, text = catalog.get(alias), card(alias)
    for fact in (
        entry.title,
        entry.summary,
        entry.paper,
        entry.repository,
        f"{entry.parameters:,}",
        entry.licence.name,
    ):
        assert fact in text, fact
    for preset in entry.presets:
        assert f"| `{preset}` |" in text
    for section in hand_written(catalog.get(alias).card.with_name("card_part.md")).values():
        assert section in text
    assert "not a medical device" in text
    titles = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    for title in (
        "What it is",
        "Use",
        "Input",
        "Pre-training data",
        "How it was checked",
        "Limits",
        "Licence",
        "Citation",
    ):
        assert title in titles
    assert len(titles) == len(set(titles))


def test_pretraining_data_are_known_or_said_to_be_unknown(alias: str) -> None:
    entry = catalog.get(alias)
    for name in entry.pretraining_corpora:
        corpus = corpora()[name]
        assert corpus.title in card(alias)
        assert (f"{corpus.records:,}" if corpus.records is not None else "unknown") in card(alias)
    if entry.pretraining_corpora:
        assert entry.pretraining is not None
        assert entry.pretraining.text in card(alias)
    else:
        assert "None: trained from scratch" in card(alias)
        assert entry.pretraining is None


def test_every_published_score_and_flag_is_quoted(alias: str) -> None:
    own = [score for score in scores() if score.model == alias]
    assert bool(own) == ("## Published scores" in card(alias))
    for score in own:
        assert f"{score.point:.3f} ({score.low:.3f} to {score.high:.3f})" in card(alias)
        assert all(flag.text in card(alias) for flag in score.flags)


def test_the_code_of_the_card_runs(
    alias: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = code(card(alias))
    entry = catalog.get(alias)
    if entry.weights.kind == "none":
        example = example.replace(f"random:{alias}", f"random:{alias}-tiny")
    else:  # as if converted: a small model where the short name is looked up
        tiny(alias).save_pretrained(model_folder(alias))
        build_feature_extractor(entry).save_pretrained(model_folder(alias))
    exec(compile(example, f"{alias}.md", "exec"), {"__name__": "card"})
    printed = capsys.readouterr().out.split("\n")
    windows, tokens = re.search(r"\((\d+) windows, (\d+) tokens,", example).groups()  # type: ignore[union-attr]
    width = tiny(alias).config.hidden_size
    assert printed[0] == str(torch.Size([int(windows), int(tokens), width]))
    assert printed[1] == str(torch.Size([int(windows), width]))


def test_the_commands_of_the_card_parse(alias: str) -> None:
    modules = {"ecg-eval": evaluate, "ecg-hub": hub}
    lines = [line for block in blocks(alias, "console") for line in block.splitlines()]
    assert lines
    for line in lines:
        program, *words = shlex.split(line.removeprefix("$ "), comments=True)
        if program == "ecg-eval" and words[0].startswith("--"):
            words.insert(0, "run")
        modules[program].build_parser().parse_args(words)


def test_measured_numbers_cover_both_presets(alias: str) -> None:
    numbers = measured()[alias]
    assert set(numbers.macs) == set(numbers.tokens) == set(catalog.get(alias).presets)
    assert set(parity(catalog.get(alias))) == {"pooled", "tokens"}


@pytest.mark.heavy
def test_multiply_accumulates_are_those_of_the_full_size_model(alias: str) -> None:
    macs, tokens = count(catalog.get(alias))
    assert (macs, tokens) == (measured()[alias].macs, measured()[alias].tokens), "run `python -m model_cards --measure`"


def test_a_converted_folder_gets_the_whole_card(alias: str, tmp_path: Path) -> None:
    from ecg_hub.weights.conversion import write_model_folder

    model = tiny(alias)
    model.config.source = {
        "file": "weights.pth",
        "size": 1234,
        "sha256": "a" * 64,
        "page": "https://example.org/weights",
    }
    write_model_folder(model, catalog.get(alias), tmp_path / "model")
    text = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert text.startswith(card(alias))
    for fact in ("## These weights", "`weights.pth` (1,234 bytes)", "a" * 64, "https://example.org/weights"):
        assert fact in text
    assert ModelCard(text).data.to_dict() == ModelCard(card(alias)).data.to_dict()
    assert ecg_hub.AutoModel.from_pretrained(tmp_path / "model").config.source["size"] == 1234
