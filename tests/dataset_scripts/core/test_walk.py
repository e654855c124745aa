"""The folder of a dataset below a data root."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from dataset_scripts.core.walk import folder_of
from dataset_scripts.custom.dataset import open_custom
from dataset_scripts.load import prepare
from ecg_hub.errors import DataError, InputError
from ecg_hub.utils.remote import place


def test_folders_below_a_data_root(tmp_path: Path) -> None:
    assert folder_of("ptb-xl", tmp_path / "absent") == tmp_path / "absent" / "ptb-xl"
    assert folder_of("ptb-xl", tmp_path) == tmp_path / "ptb-xl"
    (tmp_path / "PTBXL").mkdir()
    (tmp_path / "ptb").mkdir()
    assert folder_of("ptb-xl", tmp_path) == tmp_path / "PTBXL"
    (tmp_path / "ptb_xl").mkdir()
    with pytest.raises(InputError, match="'PTBXL', 'ptb_xl', all of them spellings of 'ptb-xl'"):
        folder_of("ptb-xl", tmp_path)
    (tmp_path / "ptb-xl").mkdir()
    assert folder_of("ptb-xl", tmp_path) == tmp_path / "ptb-xl"


def test_a_root_behind_a_url_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fsspec.filesystem("memory")
    for folder in ("PTB_XL", "My-Archive"):
        files.pipe_file(f"/walk/{folder}/readme.txt", b"x")
    root = place("memory://walk")
    assert folder_of("ptb-xl", root) == root / "PTB_XL"
    # Wherever a dataset looks for its folder: by default, and for an archive of one's own.
    monkeypatch.setenv("ECG_DATA_ROOT", "memory://walk")
    with pytest.raises(DataError, match="PTB_XL"):
        prepare("ptb-xl")
    description = tmp_path / "my-archive.yaml"
    description.write_text("name: my-archive\nsignals: '*.edf'\n")
    assert open_custom(description).find_folder(root) == root / "My-Archive"
