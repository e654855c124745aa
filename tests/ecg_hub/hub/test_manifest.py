"""The manifest of a mirror is read as something that a stranger wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.errors import DataError, EcgHubError
from ecg_hub.hub import manifest as module
from ecg_hub.hub.manifest import (
    FILE,
    Manifest,
    MirroredFile,
    MirroredRepository,
    public_origin,
    read_manifest,
    write_manifest,
)

FILE_ENTRY = {"path": "config.json", "size": 2, "sha256": "0" * 64}
REPOSITORY = {"kind": "model", "id": "org/name", "commit": "a" * 40, "revision": "main", "files": [FILE_ENTRY]}


def write(folder: Path, repositories: list[dict[str, Any]], **more: Any) -> None:
    content = {"format": "ecg-hub mirror", "version": 1, "made_by": "x", "repositories": repositories, **more}
    (folder / FILE).write_text(json.dumps(content))


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, [REPOSITORY])
    manifest = read_manifest(tmp_path)
    other = MirroredRepository(kind="dataset", id="org/name", commit=None, revision="main", files=())
    changed = manifest.with_repository(other).with_repository(other)
    write_manifest(tmp_path, changed)
    assert read_manifest(tmp_path) == changed
    assert [one.folder for one in changed.repositories] == ["datasets/org/name", "models/org/name"]
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o644


def test_labels_stand_for_content() -> None:
    files = tuple(MirroredFile(path=name, size=1, sha256=digit * 64) for name, digit in (("a", "1"), ("b", "2")))
    words: dict[str, Any] = {"kind": "model", "id": "local/s4", "revision": "main"}
    one = MirroredRepository(**words, commit=None, files=files)
    turned = MirroredRepository(**words, commit=None, files=files[::-1])
    assert one.label == turned.label
    assert one.label.startswith("copy-")
    assert MirroredRepository(**words, commit=None, files=files[:1]).label != one.label
    assert MirroredRepository(**words, commit="b" * 40, files=files).label == "upstream-bbbbbbbbbbbb"


def test_only_the_public_address_travels() -> None:
    assert public_origin("https://huggingface.co") == "https://huggingface.co"
    assert public_origin("http://10.0.0.7:8000") is None


BAD_PATHS = (
    *(
        "../x",
        "/etc/passwd",
        "a/../../x",
        "a//b",
        "./a",
        "a/.",
        "",
        "a\\..\\b",
        "a\nb",
        "a\x00b",
        "a\x7fb",
        ".git/config",
    ),
    *("a/.GIT/hooks/x", " a", "x" * 300, "/".join("a" * 40)),
)


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("field", ["files", "left_out"])
def test_no_path_leads_out_of_its_repository(path: str, field: str, tmp_path: Path) -> None:
    value: list[Any] = [{**FILE_ENTRY, "path": path}] if field == "files" else [path]
    write(tmp_path, [{**REPOSITORY, field: value}])
    with pytest.raises(DataError, match=f"repositories.0.{field}.0"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("id", text)
            for text in ("../x", "name", "a/b/c", "a/..", "/a", "a/b\n", "a/b.git", "a\\b/c", "models/x", 5)
        ),
        *(("kind", text) for text in ("file", "", None)),
        *(("commit", text) for text in ("main", "A" * 40, "a" * 41, "a" * 40 + "\n")),
        *(("tags", tags) for tags in (["../x"], ["a b"], ["refs/heads/main"], "v1", ["b" * 40])),
        *(("origin", text) for text in ("http://10.0.0.7:8000", "https://huggingface.co.evil.example")),
        *(("files", [{**FILE_ENTRY, name: wrong}]) for name, wrong in (("size", -1), ("size", "2"), ("size", True))),
        *(("files", [{**FILE_ENTRY, "sha256": wrong}]) for wrong in ("0" * 63, "G" * 64, "0" * 64 + "\n")),
        ("files", [FILE_ENTRY, FILE_ENTRY]),
        ("files", [{**FILE_ENTRY, "path": "a"}, {**FILE_ENTRY, "path": "a/b"}]),
        ("licence", "x" * 2000),
        ("command", "rm -rf"),
    ],
)
def test_what_is_not_of_the_form_is_refused(field: str, value: Any, tmp_path: Path) -> None:
    write(tmp_path, [{**REPOSITORY, field: value}])
    with pytest.raises(DataError, match="damaged or of another version") as error:
        read_manifest(tmp_path)
    assert len(str(error.value)) < 3000


def test_repositories_that_would_lie_in_one_place(tmp_path: Path) -> None:
    write(tmp_path, [REPOSITORY, {**REPOSITORY, "id": "ORG/Name"}])
    with pytest.raises(DataError, match="named twice"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("version", [2, "1", None])
def test_another_version(version: Any, tmp_path: Path) -> None:
    write(tmp_path, [REPOSITORY], version=version)
    with pytest.raises(DataError, match="version: Input should be 1"):
        read_manifest(tmp_path)


def test_one_that_is_cut_empty_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no ecg-hub-mirror\.json(?s:.)*ecg-hub mirror ID --to DIR"):
        read_manifest(tmp_path)
    write(tmp_path, [REPOSITORY])
    whole = (tmp_path / FILE).read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        (tmp_path / FILE).write_bytes(whole[:length])
        with pytest.raises(DataError, match="damaged"):
            read_manifest(tmp_path)
    (tmp_path / FILE).write_bytes(b'{"a":' * 100_000)
    with pytest.raises(DataError, match="damaged"):
        read_manifest(tmp_path)
    (tmp_path / FILE).rename(tmp_path / "elsewhere.json")
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(DataError, match="is no mirror"):
        read_manifest(tmp_path)


def test_a_large_one_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / FILE).open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(DataError, match="has 100,000,000 bytes; a manifest has at most 67,108,864"):
        read_manifest(tmp_path)


def test_one_that_could_not_be_read_again_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(EcgHubError, match="too many files"):
        write_manifest(tmp_path, Manifest())
    assert not (tmp_path / FILE).exists()
