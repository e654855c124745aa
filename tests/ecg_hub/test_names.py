"""Names: folders, short names, hub ids, random models, and the messages for the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ecg_hub import catalog, names
from ecg_hub.errors import CheckpointError, InputError, UnknownNameError
from ecg_hub.home import home
from ecg_hub.names import Resolved, disable_xet, entry_of, model_folder, resolve


def model_at(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def own_hub(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A self-hosted hub; the set holds the names that it knows."""
    known: set[str] = set()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.file_exists", lambda repo, filename: repo in known)
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    return known


def test_a_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = model_at(tmp_path / "ecg-cpc")
    model_at(model_folder("ecg-cpc"))
    monkeypatch.chdir(tmp_path)
    assert resolve("ecg-cpc") == Resolved("ecg-cpc", "folder", str(here.resolve()), "ecg-cpc")
    assert resolve(here) == Resolved(str(here), "folder", str(here.resolve()))


def test_then_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = model_at(model_folder("ecg-cpc"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ecg-cpc").mkdir()  # a folder without config.json is no model and hides nothing
    assert resolve("ecg-cpc") == Resolved("ecg-cpc", "folder", str(local.resolve()), "ecg-cpc")


def test_then_a_hub_of_ones_own(own_hub: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="does not hold them"):
        resolve("ecg-cpc")
    own_hub |= {"ecg-cpc", "ward-3-classifier"}
    assert resolve("ecg-cpc") == Resolved("ecg-cpc", "hub", "ecg-cpc", "ecg-cpc")
    assert resolve("ward-3-classifier") == Resolved("ward-3-classifier", "hub", "ward-3-classifier")
    (tmp_path / "ecg-cpc").mkdir()
    with pytest.raises(InputError, match="hides the model"):
        resolve("ecg-cpc")


def test_a_hub_that_does_not_answer(own_hub: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(repo: str, filename: str) -> bool:
        raise OSError("connection refused")

    monkeypatch.setattr("huggingface_hub.file_exists", refuse)
    with pytest.raises(CheckpointError, match="connection refused") as raised:
        resolve("ecg-cpc")
    assert "ecg-hub pull ecg-cpc" in str(raised.value)


def test_else_the_two_commands() -> None:
    with pytest.raises(CheckpointError) as raised:
        resolve("ecg-cpc")
    text = str(raised.value)
    assert "ecg-hub pull ecg-cpc" in text
    assert "ecg-hub convert ecg-cpc --checkpoint FILE" in text
    assert str(home()) in text


def test_hub_ids_are_left_to_transformers() -> None:
    assert resolve("org/name") == Resolved("org/name", "hub", "org/name")


def test_random_models() -> None:
    assert resolve("random:ecg-cpc") == Resolved("random:ecg-cpc", "random", "ecg-cpc", "ecg-cpc")
    assert resolve("random:ecg-cpc-tiny").tiny
    with pytest.raises(UnknownNameError, match="Did you mean 'random:ecg-cpc'"):
        resolve("random:ecg-cpcc")


@pytest.mark.parametrize(
    ("name", "error", "proposed"),
    [
        ("random:ecg-cpc-tny", UnknownNameError, "Did you mean 'random:ecg-cpc-tiny'"),
        ("ecg-cpc-tiny", UnknownNameError, r"Did you mean 'random:ecg-cpc-tiny'\?"),
        ("merl_vit_tiny", UnknownNameError, r"Did you mean 'random:merl-vit-tiny'\?"),
        ("random:hubert-ecg-large-tiny", InputError, "'random:hubert-ecg-tiny'; 'hubert-ecg-large' is a checkpoint"),
        ("random:hubert-ecg-base", InputError, "'random:hubert-ecg'; 'hubert-ecg-base' is a checkpoint"),
    ],
)
def test_what_stands_beside_random_models(name: str, error: type[Exception], proposed: str) -> None:
    with pytest.raises(error, match=proposed):
        resolve(name)


def test_every_architecture_has_its_random_models_once() -> None:
    for alias in catalog.models():
        found = [resolve(form) for form in (f"random:{alias}", f"random:{alias}-tiny")]
        assert [(one.target, one.tiny) for one in found] == [(alias, False), (alias, True)]
        assert all(entry_of(form) is catalog.get(alias) for form in (alias, f"random:{alias}", f"{alias}-tiny"))


def test_models_without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from ecg_hub import catalog

    entry = catalog.get("ecg-cpc")
    bare = replace(entry, alias="bare", weights=replace(entry.weights, kind="none"))
    monkeypatch.setattr(catalog, "_read_all", lambda: (("bare", bare),))
    assert resolve("bare") == Resolved("bare", "scratch", "bare", "bare")


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'ecg-cpc'"):
        resolve("ecg-cpx")
    with pytest.raises(InputError, match="There is no folder"):
        resolve(tmp_path / "absent")
    with pytest.raises(InputError, match="There is no folder 'results/ecg-cpc/linear/model/ptbxl_super'"):
        resolve("results/ecg-cpc/linear/model/ptbxl_super")  # a hub id has one slash at most
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"no config\.json.*notes\.txt"):
        resolve(str(tmp_path))


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert home() == Path(os.environ["ECG_HUB_HOME"])
    monkeypatch.delenv("ECG_HUB_HOME")
    assert home().name == "ecg_hub"


def test_xet_is_off_for_a_hub_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", names.PUBLIC_HUB + "/")
    disable_xet()
    assert "HF_HUB_DISABLE_XET" not in os.environ
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8000")
    disable_xet()
    assert os.environ["HF_HUB_DISABLE_XET"] == "1"
    assert constants.HF_HUB_DISABLE_XET is True
    monkeypatch.delenv("HF_HUB_DISABLE_XET")


def test_commit_of_something_that_is_not_on_a_hub(tmp_path: Path) -> None:
    assert resolve(model_at(tmp_path / "model")).commit() is None
    assert Resolved("org/name", "hub", "org/name").commit() is None  # offline
