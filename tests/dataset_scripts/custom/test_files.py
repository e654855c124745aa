"""What counts as a record: hidden files, segments, links; and which file a table means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataset_scripts.core.fingerprint import raw_fingerprint
from dataset_scripts.custom import open_custom
from dataset_scripts.custom.dataset import _listed, record_readers
from dataset_scripts.custom.description import Description
from dataset_scripts.custom.files import FileIndex, list_files
from tests.support.own_files import write_description


def about(**fields: Any) -> Description:
    return Description.model_validate({"name": "a", "signals": "ecg", **fields})


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


HIDDEN = (
    "ecg/._a.edf",
    "ecg/.x.edf",
    "ecg/.ipynb_checkpoints/a.edf",
    "ecg/__MACOSX/a.edf",
    "ecg/.git/b.edf",
    *(
        f"ecg/{name}"
        for name in (
            "@eaDir/a.edf",
            "~$a.edf",
            "Thumbs.db",
            "desktop.ini",
            "b.edf.part",
            "b.edf~",
            "$RECYCLE.BIN/a.edf",
        )
    ),
)


@pytest.mark.parametrize("signals", ["ecg", "ecg/**/*.edf", "ecg/**/*", "**/*.edf"])
def test_hidden_files_are_no_records(signals: str, tmp_path: Path) -> None:
    touch(tmp_path, "ecg/a.edf", "ecg/2024/b.edf", *HIDDEN)
    assert list_files(tmp_path, about(signals=signals)) == ["ecg/2024/b.edf", "ecg/a.edf"]


def test_patterns(tmp_path: Path) -> None:
    touch(tmp_path, "ecg/a.edf", "ecg/b/c.edf", "ecg/b/d/e.edf", "ecg/b/f.EDF", "ecg/[x].edf")
    for signals, found in {
        "ecg/*.edf": ["ecg/[x].edf", "ecg/a.edf"],
        "ecg/*/*.edf": ["ecg/b/c.edf"],
        "ecg/?/c.*": ["ecg/b/c.edf"],
        "ecg/**/e.edf": ["ecg/b/d/e.edf"],
        "*/b/**/*.[eE]*": ["ecg/b/c.edf", "ecg/b/d/e.edf", "ecg/b/f.EDF"],
        "ecg/[[]*": ["ecg/[x].edf"],
    }.items():
        assert list_files(tmp_path, about(signals=signals)) == found, signals


@pytest.mark.parametrize("signals", ["ecg", "ecg/**/*.edf"])
def test_links_are_followed_each_file_once_and_circles_end(signals: str, tmp_path: Path) -> None:
    touch(tmp_path, "disk/2023/a.edf", "ecg/own/b.edf", "ecg/c.edf")
    links = {"ecg/far": "disk", "ecg/0own": "ecg/own", "ecg/own/up": "ecg", "ecg/own/self": "ecg/own"}
    for link, target in links.items():
        (tmp_path / link).symlink_to(tmp_path / target)
    (tmp_path / "ecg/0c.edf").symlink_to(tmp_path / "ecg/c.edf")
    (tmp_path / "ecg/loop").symlink_to(tmp_path / "ecg/loop")
    assert list_files(tmp_path, about(signals=signals)) == ["ecg/c.edf", "ecg/far/2023/a.edf", "ecg/own/b.edf"]
    description = write_description(tmp_path / "a.yaml", signals=signals, table=None, columns=None, folds=None)
    dataset = open_custom(description)
    before = raw_fingerprint(dataset, tmp_path, 0)
    touch(tmp_path, "disk/2023/d.edf")
    assert raw_fingerprint(dataset, tmp_path, 0) != before


def test_segments_stand_with_their_record(tmp_path: Path) -> None:
    touch(tmp_path, "ecg/s_1.dat")
    whole = "# made\nr/3 1 500 20\ns_0 0\ns_1 10\n~ 10\n"
    for name, text in {"r": whole, "s_0": "s_0 1 500 0\n", "s_1": "s_1 1 500 10\n"}.items():
        (tmp_path / f"ecg/{name}.hea").write_text(text)
    (tmp_path / "ecg/alone.hea").write_text("alone 1 500 10\n")
    (tmp_path / "ecg/empty.hea").write_text("")
    assert list_files(tmp_path, about()) == ["ecg/alone.hea", "ecg/empty.hea", "ecg/r.hea"]
    (tmp_path / "ecgs.csv").write_text("id\nr\nalone\n")
    path = write_description(tmp_path / "a.yaml", columns={"record": "id"}, folds=None)
    assert [name for name, _ in record_readers(path)] == ["r", "alone"]
    scan = open_custom(path).scan(tmp_path, 0)
    assert [item.file for item in scan.excluded] == ["ecg/empty.hea"]


def test_records_are_found_without_leading_zeros_and_in_another_case() -> None:
    index = FileIndex(["ecg/0012.edf", "ecg/R7.edf", "ecg/x/03.edf", "ecg/y/3.edf"], about())
    assert index.find("12") == index.find("12.0") == "ecg/0012.edf"
    assert index.find("r7") == "ecg/R7.edf"
    assert index.find("3") == "ecg/y/3.edf"
    with pytest.raises(ValueError, match=r"several signal files are named '003': ecg/x/03.edf, ecg/y/3.edf"):
        index.find("003")
    with pytest.raises(ValueError, match="no signal file named 'r12'"):
        index.find("r12")


@pytest.mark.parametrize("rows", [("012", "12"), ("12", "012")])
def test_a_file_is_of_the_record_that_names_it_exactly_whichever_row_comes_first(
    rows: tuple[str, str], tmp_path: Path
) -> None:
    touch(tmp_path, "ecg/12.edf")
    (tmp_path / "records.csv").write_text("\n".join(["id", *rows]) + "\n")
    described = about(table="records.csv", columns={"record": "id"})
    found, lost, _ = _listed(described, tmp_path)
    assert [(row["record_id"], row["file"]) for row in found] == [("12", "ecg/12.edf")]
    assert [item.record_id for item in lost] == ["012"]


def test_a_table_may_name_a_file_by_any_of_its_paths(tmp_path: Path) -> None:
    touch(tmp_path, "ecg/2024/a.edf", "ecg/2024/b.edf")
    (tmp_path / "ecg/current").symlink_to(tmp_path / "ecg/2024")
    (tmp_path / "ecgs.csv").write_text("id\ncurrent/a\nb\n")
    path = write_description(tmp_path / "a.yaml", columns={"record": "id"}, folds=None)
    scan = open_custom(path).scan(tmp_path, 0)
    assert scan.table["file"].tolist() == ["ecg/current/a.edf", "ecg/2024/b.edf"]
    assert not scan.lost
    assert not scan.excluded


@pytest.mark.parametrize("record", ["a", "./a", "ecg/a", "ecg/a.edf", ".\\ecg\\A.edf"])
def test_a_record_may_be_named_by_its_path(record: str) -> None:
    assert FileIndex(["ecg/a.edf", "ecg/b.edf"], about()).find(record) == "ecg/a.edf"
