"""What of a model folder may be sent: broken folders, foreign models, files that stay, paths of this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml

import ecg_hub
from ecg_hub.errors import CheckpointError, InputError, UnknownNameError
from ecg_hub.hub.cards import folder_withheld, keep_scores
from ecg_hub.hub.package import TRAINING_LOG, Package, pack, packed
from ecg_hub.names import PUBLIC_HUB, model_folder
from tests.support.checkpoints import SOURCE, convert_filled, save_tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder of S4, tiny, trained from scratch."""
    return save_tiny("s4", tmp_path / "model")


def card(package: Package) -> str:
    content = package.files["README.md"]
    assert isinstance(content, bytes)
    return content.decode()


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_only_files_of_the_list_are_sent(folder: Path) -> None:
    kept = ("training_args.bin", "optimizer.pt", "runs/events.log", "pytorch_model.bin", ".env")
    for name in (*kept, "LICENSE"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("secret")
    package = pack(folder, "mine")
    expected = {"README.md", "config.json", "preprocessor_config.json", "model.safetensors", "LICENSE"}
    assert set(package.files) == expected
    assert set(package.left_out) == set(kept)
    said = "\n".join(package.lines())
    assert f"model.safetensors  {(folder / 'model.safetensors').stat().st_size:,} bytes" in said
    assert "left out: .env, optimizer.pt" in said
    assert re.search(r"encoder, [\d,]+ parameters in float32", said)


def test_a_classifier_names_its_outputs_and_its_origin(tmp_path: Path) -> None:
    labels = {0: "NORM", 1: "MI"}
    folder = save_tiny("ecg-cpc", tmp_path / "m", SOURCE, labels=2, id2label=labels, thresholds=[0.4, 0.6])
    text = card(pack(folder, "m"))
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["license"], front["library_name"]) == ("cc-by-4.0", "transformers")
    assert "ecg-classification" in front["tags"]
    assert "Outputs (multi_label_classification): NORM, MI. Decision thresholds" in text
    assert f"`authors.pt` (1,234 bytes, sha256 `{SOURCE['sha256']}`, https://example.org/page)" in text
    assert "Published scores" not in text


def test_a_card_of_ones_own_stays_and_names_the_origin(tmp_path: Path) -> None:
    folder = save_tiny("ecg-cpc", tmp_path / "m", SOURCE)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Ours\n")
    text = card(pack(folder, "m"))
    assert text.startswith("---\nlicense: cc-by-4.0\n---\n# Ours\n")
    assert SOURCE["sha256"] in text
    (folder / "README.md").write_text(text)
    assert card(pack(folder, "m")) == text


def test_random_weights_are_said_to_be_random() -> None:
    with packed("random:ecg-cpc-tiny") as package:
        assert package.random
        assert "RANDOM WEIGHTS" in package.lines()[0]
        text = card(package)
        assert "Nothing was ever trained" in text
        assert "random-weights" in text
        assert "cc-by" not in text


def test_half_precision_is_said(folder: Path) -> None:
    model = ecg_hub.AutoModel.from_pretrained(folder).half()
    model.save_pretrained(folder)
    assert "parameters in float16" in pack(folder, "m").facts


def test_names_that_are_no_models(tmp_path: Path) -> None:
    for name, error, words in (
        ("ecg-cpd", UnknownNameError, "Did you mean 'ecg-cpc'"),
        ("ecg-cpc", CheckpointError, "ecg-hub pull ecg-cpc"),
        ("s4", CheckpointError, "random:s4"),
        ("some/where", CheckpointError, "ecg-hub mirror some/where --to DIR"),
        (str(tmp_path), InputError, "holds no config.json"),
    ):
        with pytest.raises(error, match=words), packed(name):
            pass


def test_a_short_name_is_the_converted_model() -> None:
    save_tiny("merl", model_folder("merl"))
    with packed("merl") as package:
        assert package.files["model.safetensors"] == model_folder("merl").resolve() / "model.safetensors"


@pytest.mark.heavy
def test_weights_that_are_not_the_published_ones_are_said(tmp_path: Path) -> None:
    words = "not the published weights of ECG-CPC: its config.json holds no record of a conversion"
    folder = save_tiny("ecg-cpc", tmp_path / "mine")
    assert words in "\n".join(pack(folder, "mine").lines())
    convert_filled("ecg-cpc", tmp_path / "authors")
    with packed("ecg-cpc") as package:
        assert "not the published" not in "\n".join(package.lines())


def test_a_folder_of_random_weights_says_so(tmp_path: Path) -> None:
    model = ecg_hub.AutoModel.from_pretrained("random:ecg-cpc-tiny", seed=5)
    model.save_pretrained(tmp_path)
    ecg_hub.AutoFeatureExtractor.from_pretrained("random:ecg-cpc-tiny").save_pretrained(tmp_path)
    card = "---\nlicense: mit\n---\n# The best model of all\n"
    for own in (None, card):
        if own is not None:
            (tmp_path / "README.md").write_text(own)
        package = pack(tmp_path, "mine")
        assert package.random
        assert package.lines()[0].startswith("mine: RANDOM WEIGHTS, never trained; ECG-CPC")
        text = bytes(package.files["README.md"]).decode()  # type: ignore[arg-type]
        assert "Random: drawn with seed 5 as `random:ecg-cpc-tiny`. Nothing was ever trained." in text
        assert text.startswith(own or "---\nlicense: unknown")


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _drop_a_weight(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    state.pop(sorted(state)[0])
    safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt"})


def _add_a_weight(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    safetensors.torch.save_file({**state, "more": torch.zeros(2)}, folder / "model.safetensors", {"format": "pt"})


def _nan(folder: Path) -> None:
    model = ecg_hub.AutoModel.from_pretrained(folder)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = float("nan")
    model.save_pretrained(folder)


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _other_type(folder: Path) -> None:
    edit(folder / "config.json", model_type="bert")


def _other_leads(folder: Path) -> None:
    extractor = ecg_hub.AutoFeatureExtractor.from_pretrained("random:ecg-jepa")
    extractor.save_pretrained(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncate, "does not load|cannot be read"),
        (_drop_a_weight, "lacks 1 of the weights"),
        (_add_a_weight, "holds weights that ECGS4Model lacks: more"),
        (_nan, "NaN or infinite"),
        (_pickle, r"no weights as safetensors. pytorch_model.bin may run code"),
        (_other_type, "'bert', which is none of ours"),
        (_other_leads, "preprocessor_config.json feeds"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "holds no JSON object"),
        (lambda folder: (folder / "config.json").write_bytes(b" " * (9 << 20)), "too large for a configuration"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), r"random:s4'\)\.save_pretrained"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("{}"), "it has no presets"),
    ],
)
def test_broken_folders_are_not_sent(damage: Any, words: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises((CheckpointError, InputError), match=words):
        pack(folder, "m")


def test_the_folder_it_was_loaded_from_is_dropped(folder: Path) -> None:
    edit(folder / "config.json", _name_or_path="/home/alice/study")
    config = pack(folder, "m").files["config.json"]
    assert isinstance(config, bytes)
    assert b"alice" not in config


@pytest.mark.parametrize(
    "value",
    ["/data/ward 7/model.pt", "C:\\study\\model.pt", "~/model.pt", "file:///data/x", "\\\\server\\share", ["a", "/x"]],
)
def test_paths_in_the_configuration(value: Any, folder: Path) -> None:
    edit(folder / "config.json", source={"file": value})
    with pytest.raises(InputError, match=r"config.json names a place on this machine(?s:.)*source.file"):
        pack(folder, "m")


def test_paths_in_card_extractor_and_weights(folder: Path) -> None:
    (folder / "README.md").write_text("Trained in /home/alice/study on 3 cards.")
    with pytest.raises(InputError, match=r"README\.md names a place on this machine(?s:.)*'/home/alice/study'"):
        pack(folder, "m")
    (folder / "README.md").write_text(f"From {folder.parent}.")
    with pytest.raises(InputError, match=r"README\.md names a place"):
        pack(folder, "m")
    (folder / "README.md").write_text("ecg-eval --data-root /data/ecg; https://example.org/home/x")
    pack(folder, "m")
    state = safetensors.torch.load_file(folder / "model.safetensors")
    safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt", "from": "/home/alice"})
    with pytest.raises(InputError, match=r"header of model\.safetensors names a place"):
        pack(folder, "m")


def test_a_training_log_is_read_before_it_is_sent(folder: Path) -> None:
    log = folder / TRAINING_LOG
    log.write_text('{"step": 1, "loss": 4.8}\n')
    assert TRAINING_LOG in pack(folder, "m").files
    log.write_text('{"step": 1, "loss": 4.8}\n{"step": 2, "probe": {"reason": "/home/me/x is missing"}}\n')
    with pytest.raises(InputError, match=r"Line 2 of training_log\.jsonl names a place on this machine"):
        pack(folder, "m")
    log.write_text('{"step": 1, "lo')
    with pytest.raises(CheckpointError, match=r"Line 1 of .* is not JSON"):
        pack(folder, "m")


def test_scores_in_a_card_are_kept() -> None:
    index = [{"name": "m", "results": []}]
    old = f"---\n{yaml.safe_dump({'license': 'mit', 'model-index': index})}---\n# One\n".encode()
    new = b"---\nlicense: apache-2.0\n---\n# Two\n"
    merged = keep_scores(new, old).decode()
    assert yaml.safe_load(merged.split("---\n")[1]) == {"license": "apache-2.0", "model-index": index}
    assert merged.endswith("# Two\n")
    assert keep_scores(b"---\nlicense: mit\n---\n# One\n", old) == old
    assert keep_scores(new, b"# no front matter\n") == new
    with pytest.raises(InputError, match="front matter that cannot be read"):
        keep_scores(new, b"---\n[\n---\n")


MIMIC = {"dataset": "mimic-iv-ecg", "run": "mimic", "mode": "finetune", "seed": 0, "began": "random"}


@pytest.mark.parametrize(
    "config",
    [{"credentialed": ["mimic-iv-ecg"]}, {"credentialed": ["ward-notes"]}, {"training": [MIMIC]}],
    ids=["head or encoder", "own data", "of an earlier version"],
)
def test_what_was_trained_on_credentialed_data_stays_inside(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny("ecg-cpc", tmp_path / "m", labels=2, **config)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"credentialed users(?s:.)*submit them to PhysioNet(?s:.)*--internal"):
        pack(folder, "m")
    card = pack(folder, "m", internal=True).files["README.md"]
    assert b"for colleagues who signed its agreement" in card
    assert folder_withheld(folder)
    with pytest.raises(InputError, match="credentialed users"):
        ecg_hub.AutoModelForECGClassification.from_pretrained(folder).push_to_hub("ward/m")
    monkeypatch.setenv("HF_ENDPOINT", PUBLIC_HUB)
    for internal in (False, True):
        with pytest.raises(InputError, match=r"credentialed|public one"):
            pack(folder, "m", internal=internal)


def test_simulated_records_of_credentialed_form_may_leave(tmp_path: Path) -> None:
    pack(save_tiny("ecg-cpc", tmp_path / "m", labels=2, training=[MIMIC | {"simulated": True}]), "m")
