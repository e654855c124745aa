from __future__ import annotations

import pytest

from ecg_hub.utils.repo_names import check_name, check_path, check_ref


@pytest.mark.parametrize("name", ["ecg-cpc", "ORG_1", "a.b", "x" * 96])
def test_names_that_are_allowed(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a--b", "a..b", "a/b", "x" * 97, "weights.git", "API", "resolve"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a namespace"):
        check_name(name, "namespace")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "it is empty"),
        (None, "it is empty"),
        ("/etc/passwd", "an empty part"),
        ("a/../b", r"'\.\.'"),
        ("a\\b", "backslash"),
        ("a\n", "control character"),
        ("a\x9b2Jb", "steers a terminal"),
        ("invoice\u202egnp.exe", "turns the direction"),
        ("a\u200b.txt", "cannot be seen"),
        ("mod\u2060el.safetensors", "cannot be seen"),
        ("mod\xadel.safetensors", "cannot be seen"),
        ("\u3164", "cannot be seen"),
        ("a\U000e0041b", "cannot be seen"),
        (".GIT/config", r"named \.git"),
        ("a / b", "begins or ends with a space"),
        ("\udcff", "not valid Unicode"),
        ("a/" * 32 + "b", "deeper than 32 folders"),
        ("ä" * 128, "longer than 255 bytes"),
    ],
)
def test_paths_that_are_refused(path: object, reason: str) -> None:
    with pytest.raises(ValueError, match=f"cannot be a path in a repository: .*{reason}"):
        check_path(path)


def test_paths_and_references_that_are_allowed() -> None:
    assert check_path("data/train-00000.parquet") == "data/train-00000.parquet"
    assert check_ref("v1.0/beta+2", "tag") == "v1.0/beta+2"


@pytest.mark.parametrize("name", ["", "a..b", "a//b", "a/", "a.", "a.lock", "refs/pr/1", "0" * 40])
def test_references_that_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a branch"):
        check_ref(name, "branch")
