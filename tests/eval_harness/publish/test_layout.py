"""Where a result lies follows from the result, and distinguishes what was asked for differently."""

from __future__ import annotations

import pytest

from ecg_hub.errors import InputError
from eval_harness.publish.layout import entry_path, public_id, revision_folder, settings
from eval_harness.results.schema import ProtocolInfo
from tests.support.results import result

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("model", "revision", "expected"),
    [
        ("ecg-cpc", None, "ecg-cpc"),
        ("org/name", COMMIT, "org/name"),
        ("models/mine", None, "mine"),
        ("/home/someone/secret/mine", None, "mine"),
        ("./mine", None, "mine"),
        ("~/mine", None, "mine"),
        ("C:\\Users\\someone\\mine", None, "mine"),
        ("random:ecg-cpc-tiny", None, "random:ecg-cpc-tiny"),
        ("python:/home/someone/code.py:make", None, "python:code:make"),
        ("python:package.module:make", None, "python:package.module:make"),
    ],
)
def test_paths_of_a_machine_are_not_published(model: str, revision: str | None, expected: str) -> None:
    assert public_id(model, revision) == expected


@pytest.mark.parametrize("folder", ["./ecg-cpc", "/home/someone/ecg-cpc", "models/ecg-cpc", "C:\\models\\ecg-cpc"])
def test_a_folder_called_like_a_published_model_does_not_become_it(folder: str) -> None:
    assert public_id(folder) == public_id(folder, origin="random") == "unverified:ecg-cpc"
    assert public_id(folder, origin="catalogue") == "ecg-cpc"
    assert public_id("unverified:ecg-cpc") == "unverified:ecg-cpc"


def test_place_of_a_hub_model() -> None:
    model = {"id": "org/name", "revision": COMMIT, "weights_sha256": "a" * 64, "preset": "benchmark"}
    found = result(model=model, protocol={"name": "paper"})
    assert entry_path(found) == f"results/org__name/{COMMIT}/linear/ptbxl_super.json"


def test_models_without_a_commit_are_named_by_their_weights() -> None:
    found = result(protocol={"name": "paper"})
    assert entry_path(found) == "results/random__ecg-cpc/weights-aaaaaaaaaaaaaaaa/linear/ptbxl_super.json"


def test_what_was_asked_for_is_part_of_the_place() -> None:
    model = {"id": "ecg-cpc", "weights_sha256": "a" * 64, "preset": "native"}
    deviations = {"epochs": 3, "learning_rate": 0.01, "labels": "4/5", "batch_size": 32}
    found = result(model=model, seed=7, protocol={"name": "fast", "deviations": deviations})
    assert settings(found) == {
        "protocol": "fast", "preset": "native", "seed": 7, "epochs": 3, "learning_rate": 0.01,
    }  # fmt: skip
    assert revision_folder(found) == "weights-aaaaaaaaaaaaaaaa+fast+native+epochs-3+learning_rate-0.01+seed-7"


def test_values_cannot_leave_the_folder() -> None:
    found = result(protocol=ProtocolInfo(name="../../up", deviations={"dtype": "a/b"}))
    assert "/" not in revision_folder(found)


@pytest.mark.parametrize("model", ["<script>", "..", "a b", "-x", "ü"])
def test_a_name_that_makes_no_folder_is_refused(model: str) -> None:
    with pytest.raises(InputError, match="cannot be published under this name"):
        entry_path(result(model={"id": model, "weights_sha256": "a" * 64, "preset": "benchmark"}))


def test_nameless_weights_are_refused() -> None:
    with pytest.raises(InputError, match="neither a commit nor weights_sha256"):
        entry_path(result(model={"id": "ecg-cpc", "preset": "benchmark"}))
