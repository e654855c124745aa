"""An own archive of files of hospitals: found by content or by the format described, stored exactly."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from dataset_scripts.custom.dataset import record_readers
from dataset_scripts.custom.description import Description, Format
from dataset_scripts.formats.registry import ENDINGS, FORMATS, all_endings, format_of, read_signal
from ecg_hub.errors import DataError
from ecg_hub.input.formats.reader import READERS
from ecg_hub.input.samples import MISSING
from ecg_hub.leads import LEADS
from tests.support.hospital import WRITERS, strip, write_hospital
from tests.support.own_files import integers, muse_text

LIMB = LEADS[:6]


def about(form: str = "auto") -> Description:
    return Description.model_validate({"name": "a", "signals": ".", "format": form})


def test_a_description_may_name_every_format() -> None:
    assert get_args(Format) == FORMATS
    assert set(READERS) < set(FORMATS)
    for form in READERS:
        assert all_endings(form)


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_a_file_is_stored_as_it_is(form: str, tmp_path: Path) -> None:
    names = LIMB if form == "kardia" else LEADS
    digital = strip(1500, len(names))
    path = write_hospital(tmp_path, form, digital, 500, names)
    for described in (form, "auto"):
        signal = read_signal(path, about(described))
        assert np.array_equal(signal.samples[:, : len(names)], digital)
        assert signal.gain_uv[:6] == pytest.approx(WRITERS[form][1])
        assert (signal.baseline == 0).all()
        assert signal.sampling_rate == 500
    if form == "kardia":
        assert (signal.samples[:, 6:] == MISSING).all()
        assert signal.remark == "no lead V1, V2, V3, V4, V5, V6"


def test_dialects_of_xml_lie_side_by_side(tmp_path: Path) -> None:
    for form in ("aecg", "sierra", "mortara"):
        write_hospital(tmp_path, form, strip(600)).rename(tmp_path / f"{form}.xml")
    (tmp_path / "muse.xml").write_text(muse_text(integers(600, 8), 500))
    (tmp_path / "other.xml").write_text("<Report/>")
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / "a.yaml").write_text("name: mixed\nsignals: .\n")
    reasons = {}
    for name, read in record_readers(tmp_path / "a.yaml"):
        try:
            reasons[name] = str(read().sampling_rate)
        except DataError as error:
            reasons[name] = str(error)
    assert reasons.pop("other").startswith("other.xml is no MUSE export: its root element is 'Report'")
    # JSON beside the signals is no record unless the description says so.
    assert reasons == dict.fromkeys(("aecg", "sierra", "mortara", "muse"), "500")


def test_content_wins_over_the_ending(tmp_path: Path) -> None:
    path = write_hospital(tmp_path, "scp", strip(600)).rename(tmp_path / "a.ecg")
    assert format_of(path, about()) == "scp"
    assert ENDINGS[".ecg"] == "ishne"
    with pytest.raises(DataError, match="no ISHNE file"):
        read_signal(path, about("ishne"))


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_a_table_finds_records_by_their_names(form: str, tmp_path: Path) -> None:
    names = LIMB if form == "kardia" else LEADS
    (tmp_path / "ecg").mkdir()
    for k in range(2):
        path = write_hospital(tmp_path / "ecg", form, strip(1000, len(names), seed=k), 500, names)
        path.rename(path.with_stem(f"r{k}"))
    (tmp_path / "table.csv").write_text("id,person\nr0,a\nr1,b\n")
    (tmp_path / "a.yaml").write_text(
        f"name: own\nsignals: ecg\nformat: {form}\ntable: table.csv\ncolumns: {{record: id, patient: person}}\n"
    )
    read = {name: reader() for name, reader in record_readers(tmp_path / "a.yaml")}
    assert sorted(read) == ["r0", "r1"]
    assert np.array_equal(read["r1"].samples[:, : len(names)], strip(1000, len(names), seed=1))
