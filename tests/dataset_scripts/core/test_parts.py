"""Jobs that each write a part of a record store, and the store that is put together of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset_scripts import mock, prepare
from dataset_scripts.core import shards
from dataset_scripts.load import prepare_part
from eval_harness.cli.hub.main import main


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_parts_make_the_store_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = mock.write("ptb-xl", tmp_path / "ptb-xl", records=66)
    whole = prepare("ptb-xl", raw, cache_dir=tmp_path / "one")
    assert [prepare_part("ptb-xl", raw, (part, 2), cache_dir=tmp_path / "many") for part in (2, 1)] == [(1, 2), (1, 64)]
    # The parts are found: nothing is read again.
    monkeypatch.setattr(shards, "read_record", lambda *_: pytest.fail("a record was read a second time"))
    merged = prepare("ptb-xl", raw, cache_dir=tmp_path / "many")
    assert merged.fingerprint == whole.fingerprint
    assert files(merged.store) == files(whole.store)


@pytest.mark.parametrize("shard", ["0/2", "3/2"])
def test_a_part_that_is_none_is_refused(shard: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "ptb-xl", "--mock", "--shard", shard]) == 1
    assert "from 1 to N" in capsys.readouterr().err
