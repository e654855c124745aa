"""`ecg-hub data export`: where the description goes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataset_scripts.mock import write
from eval_harness.cli.hub.main import main


def test_a_description_is_printed_or_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "export", "ptb-xl"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["name"] == "PTB-XL"

    target = tmp_path / "ptb-xl.json"
    assert main(["data", "export", "ptb-xl", "--format", "croissant", "-o", str(target)]) == 0
    assert target.read_text(encoding="utf-8") == text
    assert capsys.readouterr().out == f"{target}\n"


@pytest.mark.heavy
def test_that_of_shards_lies_beside_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards, cache = tmp_path / "shards", tmp_path / "cache"
    raw = write("ptb-xl", tmp_path / "raw", records=20, seed=0)
    words = ["data", "prepare", "ptb-xl", "--data-dir", str(raw), "--cache-dir", str(cache), "--shards", str(shards)]
    assert main(words) == 0
    assert main(["data", "export", "ptb-xl", "--shards", str(shards)]) == 0

    assert capsys.readouterr().out.endswith(f"{shards / 'croissant.json'}\n")
    files = json.loads((shards / "croissant.json").read_text(encoding="utf-8"))["distribution"]
    assert {file["@id"] for file in files} == {"shards", *(f"data/{path.name}" for path in (shards / "data").iterdir())}
    # The shards are still complete for whoever reads them.
    assert main(words) == 0


def test_a_folder_without_shards_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "export", "ptb-xl", "--shards", str(tmp_path)]) == 1
    assert "no finished shards" in capsys.readouterr().err


def test_an_unknown_dataset_is_refused_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "export", "ptb-xll"]) == 2
    assert "ptb-xl" in capsys.readouterr().err
