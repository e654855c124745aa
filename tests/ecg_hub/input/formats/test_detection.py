"""What a file is, by its content: dialects of XML, encodings, prologs, and files that are none of these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecg_hub.input.formats.detection import detect_format
from tests.support.hospital import WRITERS, strip
from tests.support.own_files import integers, muse_text, write_dicom, write_edf

ROOTS = {"AnnotatedECG": "aecg", "restingecgdata": "sierra", "ECG": "mortara", "RestingECG": "muse"}
PROLOGS = [
    "",
    '<?xml version="1.0"?>\n',
    "\n<!-- written by <ECG> software -->\n<!-- again -->",
    '<?xml version="1.0"?><!DOCTYPE x SYSTEM "x.dtd"><?style ?>',
    '<!DOCTYPE x [<!ENTITY a "<ECG>">]>\n',
]


@pytest.mark.parametrize("prolog", PROLOGS)
@pytest.mark.parametrize("root", ROOTS)
def test_xml_goes_by_its_root_whatever_stands_before(root: str, prolog: str, tmp_path: Path) -> None:
    for name in (root, f"p:{root}"):
        for codec in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
            (tmp_path / "a.txt").write_bytes(f'{prolog}<{name} xmlns:p="urn:x" a="ü"></{name}>'.encode(codec))
            assert detect_format(tmp_path / "a.txt") == ROOTS[root]


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_written_files_are_recognised_by_their_beginning(form: str, tmp_path: Path) -> None:
    content = WRITERS[form][0](strip(500, 2), 500, ["I", "II"])
    (tmp_path / "a").write_bytes(content[:600])
    assert detect_format(tmp_path / "a") == form


def test_older_formats_are_recognised(tmp_path: Path) -> None:
    write_edf(tmp_path / "a", integers(500), 250)
    assert detect_format(tmp_path / "a") == "edf"
    write_dicom(tmp_path / "b")
    assert detect_format(tmp_path / "b") == "dicom"
    (tmp_path / "c").write_text(muse_text(integers(10, 8), 500))
    assert detect_format(tmp_path / "c") == "muse"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"data": 1}',
        b"<html/>",
        b"<ECGs/>",
        b"I,II\n1,2\n",
        b"\0" * 400,
        b"ISHNE",
        b"ANN  1.0" + bytes(600),
    ],
)
def test_other_files_are_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    assert detect_format(tmp_path / "a") is None


def test_noise_is_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        (tmp_path / "a").write_bytes(rng.bytes(300))
        assert detect_format(tmp_path / "a") is None
