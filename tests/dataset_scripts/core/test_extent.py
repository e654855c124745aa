"""Part of a release is told from the whole of it: by records, by labels, by folds."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dataset_scripts import catalog
from dataset_scripts.catalog import datasets, get
from dataset_scripts.core.extent import Copy, Extent, extent
from dataset_scripts.core.spec import Release, split_sizes
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock import write
from dataset_scripts.tools.verify import verify

COUNTED = Release(
    version="2", records=110, label_hashes={"label_all": "a" * 64}, fold_sha256="f" * 64,
    split_sizes=split_sizes(80, 10, 10),
)  # fmt: skip
TOTAL = Release(version="2", records=110)
WHOLE = Copy(
    version="2", read=110, records=split_sizes(80, 10, 10), label_sha256={"label_all": "a" * 64, "label_x": "b" * 64},
    fold_sha256="f" * 64,
)  # fmt: skip


class TestExtent:
    @pytest.mark.parametrize("release", [COUNTED, TOTAL])
    def test_all_of_a_release_is_whole(self, release: Release) -> None:
        assert extent(release, WHOLE) == Extent("whole", {})

    @pytest.mark.parametrize("release", [COUNTED, TOTAL])
    def test_a_part_that_was_used_names_the_splits_that_differ(self, release: Release) -> None:
        found = extent(release, WHOLE, split_sizes(80, 9, 4))
        assert found == Extent("partial", {"records": "9/10 validation; 4/10 test"})

    def test_a_copy_that_lacks_a_record_is_partial(self) -> None:
        copy = replace(WHOLE, read=109, records=split_sizes(79, 10, 10), label_sha256={"label_all": "c" * 64})
        assert extent(COUNTED, copy).differences == {"records": "79/80 train"}
        assert extent(TOTAL, copy).differences == {"records": "109/110 in all"}

    def test_more_records_than_the_release_are_not_the_release(self) -> None:
        copy = replace(WHOLE, read=111, records=split_sizes(80, 10, 11))
        assert extent(COUNTED, copy) == Extent("partial", {"records": "11/10 test"})
        assert extent(TOTAL, copy) == Extent("partial", {"records": "111/110 in all"})

    def test_other_labels_or_folds_of_the_same_records(self) -> None:
        copy = replace(WHOLE, label_sha256={"label_all": "c" * 64, "label_x": "b" * 64}, fold_sha256="0" * 64)
        expected = {"release_labels": "label_all other than 2", "release_folds": "other than 2"}
        assert extent(COUNTED, copy) == Extent("partial", expected)
        limited = extent(COUNTED, copy, split_sizes(5, 5, 5))
        assert limited.differences == {"records": "5/80 train; 5/10 validation; 5/10 test", **expected}

    def test_what_cannot_be_shown_is_unknown(self) -> None:
        used = split_sizes(80, 10, 10)
        assert extent(TOTAL, None, used).state == "unknown"
        assert extent(None, WHOLE).state == "unknown"
        assert extent(COUNTED, None, used).state == "whole"
        assert extent(COUNTED, None, split_sizes(80, 10, 9)).differences == {"records": "9/10 test"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write("ptb-xl", tmp_path_factory.mktemp("extent") / "ptb-xl", records=40, seed=4)
    (folder / "mock.json").unlink()
    return folder


@pytest.fixture(scope="module")
def release(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Release:
    copy = prepare("ptb-xl", tree, cache_dir=tmp_path_factory.mktemp("cache")).copy
    return Release(
        version="1.0.3", records=copy.read, label_hashes=copy.label_sha256, fold_sha256=copy.fold_sha256,
        split_sizes=copy.records,
    )  # fmt: skip


@pytest.fixture
def opened(tree: Path, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Prepared]:
    known = {**datasets(), "ptb-xl": replace(get("ptb-xl"), releases=(release,))}
    monkeypatch.setattr(catalog, "datasets", lambda: known)

    def open_(edit: Callable[[list[dict[str, str]]], None] | None = None, **options: float) -> Prepared:
        folder = Path(shutil.copytree(tree, tmp_path / "raw"))
        table = folder / "ptbxl_database.csv"
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = list(rows[0])
        if edit is not None:
            edit(rows)
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        return prepare("ptb-xl", folder, cache_dir=tmp_path / "cache", **options)

    return open_


class TestTree:
    """A PTB-XL that does not say it is simulated, with the facts of its own."""

    @pytest.mark.heavy
    def test_the_whole_of_it_differs_in_nothing(self, opened: Callable[..., Prepared]) -> None:
        assert opened().deviations == {}

    def test_a_record_that_is_not_listed(self, opened: Callable[..., Prepared], release: Release) -> None:
        found = opened(lambda rows: rows.remove(next(row for row in rows if row["strat_fold"] == "10")))
        tests = release.split_sizes["test"]
        assert found.deviations == {"records": f"{tests - 1}/{tests} test"}

    def test_a_record_that_cannot_be_read(self, opened: Callable[..., Prepared], release: Release) -> None:
        def misplace(rows: list[dict[str, str]]) -> None:
            next(row for row in rows if row["strat_fold"] == "9")["filename_hr"] = "records500/00000/nowhere_hr"

        validation = release.split_sizes["validation"]
        found = opened(misplace, max_unreadable=0.5)
        assert found.deviations == {"records": f"{validation - 1}/{validation} validation"}

    def test_other_labels(self, opened: Callable[..., Prepared]) -> None:
        found = opened(lambda rows: rows[0].update(scp_codes="{'PSVT': 100.0}"))
        assert list(found.deviations) == ["release_labels"]
        assert "label_all" in found.deviations["release_labels"]

    def test_folds_that_changed_places(self, opened: Callable[..., Prepared]) -> None:
        def exchange(rows: list[dict[str, str]]) -> None:
            one = rows[0]
            other = next(row for row in rows if row["strat_fold"] != one["strat_fold"])
            one["strat_fold"], other["strat_fold"] = other["strat_fold"], one["strat_fold"]

        assert opened(exchange).deviations == {"release_folds": "other than 1.0.3"}


class TestKnownReleases:
    def test_1_0_1_without_the_removed_records_is_compared_with_1_0_3(self) -> None:
        dataset = get("ptb-xl")
        for version, thresholds, expected in (
            (None, {}, "1.0.3"),
            ("1.0.1", {}, "1.0.1"),
            ("1.0.1", {"exclude_removed": True}, "1.0.3"),
        ):
            release = dataset.known_release(version, thresholds)
            assert release is not None
            assert release.version == expected

    def test_records_of_another_part_in_the_folder_are_not_counted(self, tmp_path: Path) -> None:
        """The Challenge has Chapman and Ningbo in one series of names, and people keep them in one folder."""
        folder = write("ningbo", tmp_path / "ningbo", records=12, seed=1)
        (folder / "mock.json").unlink()
        (header,) = list(folder.rglob("*.hea"))[:1]
        for suffix in (".hea", ".mat"):
            text = header.with_suffix(suffix).read_bytes().replace(header.stem.encode(), b"JS00001")
            header.with_name(f"JS00001{suffix}").write_bytes(text)
        found = prepare("ningbo", folder, cache_dir=tmp_path / "cache", folds=2, max_unreadable=0.2)
        assert sum(found.exclusions.values()) == 1
        assert found.deviations["records"] == "12/34905 in all"
        records = next(f.text for f in verify(get("ningbo"), folder).findings if f.subject == "records")
        assert records.startswith("12 ")
