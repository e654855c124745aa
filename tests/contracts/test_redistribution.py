"""The contract of every model's licence: what model.yaml says is what `ecg-hub push` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecg_hub import catalog, names
from ecg_hub.errors import InputError
from ecg_hub.hub.package import pack
from tests.support.checkpoints import SOURCE, save_tiny

pytestmark = pytest.mark.parametrize("alias", catalog.models())


@pytest.fixture(autouse=True)
def own_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.mark.parametrize("labels", [0, 3], ids=["encoder", "classifier"])
def test_what_descends_from_the_authors_goes_by_their_licence(alias: str, labels: int, tmp_path: Path) -> None:
    entry = catalog.get(alias)
    folder = save_tiny(alias, tmp_path / "model", SOURCE, labels=labels)
    if entry.licence.redistribution:
        package = pack(folder, "model")
        assert not package.internal
        assert set(package.files) == {"README.md", "config.json", "preprocessor_config.json", "model.safetensors"}
    else:
        with pytest.raises(InputError, match=r"may not be passed on(?s:.)*Instead, each user(?s:.)*ecg-hub ") as error:
            pack(folder, "model")
        assert entry.licence.name in str(error.value)
        assert str(entry.weights.page) in str(error.value)
        assert "--internal" in str(error.value)


def test_what_was_trained_from_scratch_may_be_passed_on(alias: str, tmp_path: Path) -> None:
    package = pack(save_tiny(alias, tmp_path / "model", labels=2), "model")
    card = package.files["README.md"]
    assert isinstance(card, bytes)
    assert b"license: unknown" in card
    assert b"names no file of the authors" in card


def test_a_copy_inside_says_so(alias: str, tmp_path: Path) -> None:
    package = pack(save_tiny(alias, tmp_path / "model", SOURCE), "model", internal=True)
    card = package.files["README.md"]
    assert isinstance(card, bytes)
    assert package.internal
    assert "INTERNAL" in "\n".join(package.lines())
    assert b"## Internal copy" in card
    assert catalog.get(alias).licence.name in card.decode()


@pytest.mark.parametrize("address", [names.PUBLIC_HUB, "https://HuggingFace.co:443/", "https://hf.co"])
def test_no_public_hub_takes_an_internal_copy(
    alias: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    folder = save_tiny(alias, tmp_path / "model", SOURCE)
    with pytest.raises(InputError, match="--internal is for a hub of your own"):
        pack(folder, "model", internal=True)
    if not catalog.get(alias).licence.redistribution:
        with pytest.raises(InputError, match="may not be passed on") as error:
            pack(folder, "model")
        assert "--internal" not in str(error.value)
