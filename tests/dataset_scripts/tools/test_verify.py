"""A raw folder compared with a release: every kind of difference is told in plain words."""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dataset_scripts.catalog import datasets, get
from dataset_scripts.core.spec import ECGDataset, Release
from dataset_scripts.mock import write
from dataset_scripts.tools.raw_files import absent_records, split_absent
from dataset_scripts.tools.verify import Verification, verify
from ecg_hub.errors import InputError
from ecg_hub.utils.files import parse_sums, sums_text

RECORDS = 24


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mock PTB-XL that does not say so."""
    folder = write("ptb-xl", tmp_path_factory.mktemp("verify") / "ptb-xl", records=RECORDS, seed=4)
    (folder / "mock.json").unlink()
    return folder


@pytest.fixture
def folder(tree: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(tree, tmp_path / "ptb-xl"))


def rows(tree: Path) -> list[dict[str, str]]:
    with (tree / "ptbxl_database.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def sha256(content: bytes | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


@pytest.fixture(scope="module")
def known(tree: Path) -> ECGDataset:
    """PTB-XL with the facts of the tree, computed here from its table."""
    codes = [sorted(ast.literal_eval(row["scp_codes"])) for row in rows(tree)]
    counts = Counter(code for record in codes for code in record)
    ids = [row["ecg_id"] for row in rows(tree)]
    folds = [int(row["strat_fold"]) for row in rows(tree)]
    release = Release(
        version="1.0.3",
        records=RECORDS,
        label_counts={"label_all": counts},
        label_numbers={"label_all": sum(count >= 10 for count in counts.values())},
        label_hashes={"label_all": sha256("".join(f"{i}:{','.join(c)}\n" for i, c in zip(ids, codes, strict=True)))},
        fold_sizes=[folds.count(fold) for fold in range(1, 11)],
        fold_sha256=sha256("".join(f"{i},{fold}\n" for i, fold in zip(ids, folds, strict=True))),
        files={"scp_statements.csv": sha256((tree / "scp_statements.csv").read_bytes())},
    )
    return replace(get("ptb-xl"), releases=(release,))


def faults(result: Verification) -> list[str]:
    return [finding.text for finding in result.findings if finding.verdict not in ("ok", "note")]


def edit(folder: Path, change: Callable[[list[dict[str, str]]], None]) -> None:
    table = rows(folder)
    columns = list(table[0])
    change(table)
    with (folder / "ptbxl_database.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


class TestAll:
    @pytest.mark.parametrize("signals", [False, True])
    def test_every_fact_holds(self, signals: bool, known: ECGDataset, tree: Path) -> None:
        result = verify(known, tree, signals=signals)
        assert faults(result) == []
        assert result.holds
        assert result.release == "1.0.3"
        expected = {"records", "signal files", "checksums", "label_all", "folds"} | ({"signals"} if signals else set())
        assert {finding.subject for finding in result.findings} == expected
        assert sum(finding.subject == "label_all" for finding in result.findings) == 3
        assert sum(finding.subject == "folds" for finding in result.findings) == 2

    def test_nothing_is_written_to_the_folder(self, known: ECGDataset, folder: Path) -> None:
        before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
        verify(known, folder, signals=True)
        assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before

    def test_a_synthetic_tree_never_passes(self, known: ECGDataset, folder: Path) -> None:
        (folder / "mock.json").write_text(json.dumps({"synthetic": True}))
        result = verify(known, folder)
        assert faults(result) == []
        assert result.synthetic
        assert not result.holds
        assert "synthetic" in result.findings[0].text

    def test_a_dataset_of_which_nothing_is_known(self, tree: Path) -> None:
        result = verify(replace(get("ptb-xl"), releases=()), tree)
        assert result.release is None
        assert "no facts are known" in result.findings[0].text
        assert [finding.subject for finding in result.findings] == ["release", "signal files"]


class TestDifferences:
    def test_missing_signal_files_are_named_by_record(self, known: ECGDataset, folder: Path) -> None:
        names = [row["filename_hr"] for row in rows(folder)]
        (folder / f"{names[2]}.dat").unlink()
        (folder / f"{names[5]}.hea").unlink()
        result = verify(known, folder)
        assert faults(result) == [f"2 of 24 records are missing: 3, 6 (for one, {names[2]}.dat)"]
        assert not result.holds

    def test_a_damaged_signal_shows_when_signals_are_read(self, known: ECGDataset, folder: Path) -> None:
        name = rows(folder)[2]["filename_hr"]
        (folder / f"{name}.dat").write_bytes(b"short")
        assert verify(known, folder).holds
        (text, *rest) = faults(verify(known, folder, signals=True))
        assert text.startswith(f"1 of 24 records is unreadable: 3 ({name}): ")
        assert rest, "its labels are missing from the counts"

    def test_label_counts_are_told_label_by_label(self, known: ECGDataset, folder: Path) -> None:
        def change(table: list[dict[str, str]]) -> None:
            table[0]["scp_codes"] = "{'NORM': 100.0, 'WPW': 100.0}"

        counts = Counter(code for row in rows(folder) for code in ast.literal_eval(row["scp_codes"]))
        edit(folder, change)
        texts = faults(verify(known, folder))
        assert any(text.startswith("label_all: ") and f"WPW {counts['WPW'] + 1} instead of {counts['WPW']}" in text
                   for text in texts)  # fmt: skip
        assert "label_all: some record has other labels (by SHA-256)" in texts

    def test_swapped_labels_keep_the_counts_but_not_the_hash(self, known: ECGDataset, folder: Path) -> None:
        def change(table: list[dict[str, str]]) -> None:
            other = next(row for row in table if row["scp_codes"] != table[0]["scp_codes"])
            table[0]["scp_codes"], other["scp_codes"] = other["scp_codes"], table[0]["scp_codes"]

        edit(folder, change)
        assert faults(verify(known, folder)) == ["label_all: some record has other labels (by SHA-256)"]

    def test_a_moved_fold(self, known: ECGDataset, folder: Path) -> None:
        def change(table: list[dict[str, str]]) -> None:
            table[0]["strat_fold"] = "9" if table[0]["strat_fold"] != "9" else "10"

        edit(folder, change)
        sizes, digest = faults(verify(known, folder))
        assert sizes.startswith("fold sizes ")
        assert " instead of " in sizes
        assert digest == "some record is in another fold than published (by SHA-256)"

    def test_a_row_that_is_gone_and_one_that_is_damaged(self, known: ECGDataset, folder: Path) -> None:
        def change(table: list[dict[str, str]]) -> None:
            del table[4]
            table[7]["scp_codes"] = "{"

        edit(folder, change)
        texts = faults(verify(known, folder))
        assert texts[0] == "23 records instead of 24"
        assert texts[1].startswith("1 of 23 rows is damaged: 9 (ptbxl_database.csv): scp_codes '{'")

    def test_a_file_that_the_release_knows(self, known: ECGDataset, folder: Path) -> None:
        with (folder / "scp_statements.csv").open("a") as file:
            file.write("\n")
        assert faults(verify(known, folder)) == ["1 of 1 files is other than the release says: scp_statements.csv"]

    def test_a_file_that_the_release_lists_and_nobody_has(self, known: ECGDataset, tree: Path) -> None:
        release = replace(known.releases[0], files={"extra.bin": "0" * 64})
        assert faults(verify(replace(known, releases=(release,)), tree)) == ["extra.bin is missing"]


class TestChecksumLists:
    @pytest.fixture
    def listed(self, folder: Path) -> Path:
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        sums = {name: f"sha256:{sha256((folder / name).read_bytes())}" for name in names}
        sums |= {f"records100/00000/{k:05d}_lr.dat": f"sha256:{'0' * 64}" for k in range(3)}
        (folder / "SHA256SUMS.txt").write_text(sums_text(sums))
        return folder

    def test_folders_that_were_left_out_are_no_fault(self, known: ECGDataset, listed: Path) -> None:
        result = verify(known, listed)
        assert result.holds
        assert any(finding.text.startswith("nothing of records100/ is there (3 files)") for finding in result.findings)

    def test_a_listed_file_is_missing(self, known: ECGDataset, listed: Path) -> None:
        (listed / "LICENSE.txt").unlink()
        (text,) = faults(verify(known, listed))
        assert text.endswith("listed files is missing: LICENSE.txt")

    def test_tables_are_compared_at_once_and_signals_when_they_are_read(self, known: ECGDataset, listed: Path) -> None:
        name = rows(listed)[0]["filename_hr"] + ".dat"
        content = (listed / name).read_bytes()
        (listed / name).write_bytes(content[:-2] + b"\0\1")
        assert verify(known, listed).holds
        texts = faults(verify(known, listed, signals=True))
        assert any(text.endswith(f"files is other than the checksum list says: {name}") for text in texts)

    def test_lists_in_the_usual_forms(self) -> None:
        text = f"{'a' * 64}  one\n{'B' * 32} *two words.txt\n{'c' * 64} ./three\n# four\n{'d' * 64} ../five\n"
        assert parse_sums(text) == {"one": f"sha256:{'a' * 64}", "two words.txt": f"md5:{'b' * 32}",
                                    "three": f"sha256:{'c' * 64}"}  # fmt: skip

    def test_a_folder_in_use_is_never_left_out(self) -> None:
        names = ["records500/1.dat", "records100/1.dat", "table.csv"]
        assert split_absent(names, set(), ["records500"]) == (["records500/1.dat", "table.csv"], {"records100": 1})
        assert split_absent(names, set(), ["."]) == (names, {})


class TestRecordsAndFiles:
    @pytest.mark.parametrize("named", ["r/{}", "r/{}.hea"])
    def test_both_files_of_a_record_are_needed(self, named: str) -> None:
        ids = ["0", "1", "2", "3"]
        present = {f"r/{k}.{end}" for k in ids for end in ("hea", "dat")} - {"r/1.dat", "r/2.hea"}
        absent = absent_records((".hea", ".dat"), ids, [named.format(k) for k in ids], present)
        assert absent == {"1": "r/1.dat", "2": "r/2.hea"}

    def test_a_file_of_many_records(self) -> None:
        files = ["part0.hdf5", "part0.hdf5", "part1.hdf5", "part1.hdf5"]
        absent = absent_records((".hdf5",), ["0", "1", "2", "3"], files, {"part0.hdf5"})
        assert absent == {"2": "part1.hdf5", "3": "part1.hdf5"}

    def test_formats_side_by_side_need_nothing_of_each_other(self) -> None:
        files = ["r/0.csv", "r/1.csv", "r/2.hea", "r/3.hea", "r/4.edf", "r/5.hea"]
        present = {*files, "r/2.dat", "r/3.dat"}
        suffixes = (".hea", ".edf", ".csv", ".dat", ".mat")
        assert absent_records(suffixes, list("012345"), files, present) == {"5": "r/5.dat"}

    def test_nothing_is_there(self) -> None:
        assert absent_records((".hea", ".dat"), ["1"], ["r/1"], set()) == {"1": "r/1"}


class TestRequests:
    def test_a_folder_without_tables(self, known: ECGDataset, tmp_path: Path) -> None:
        result = verify(known, tmp_path)
        (text,) = faults(result)
        assert "lacks ptbxl_database.csv" in text
        assert "https://physionet.org" in text
        assert not result.holds

    def test_a_folder_of_another_dataset(self, tree: Path) -> None:
        other = next(other for other in datasets().values() if other.name != "ptb-xl" and other.table_files)
        (text,) = faults(verify(other, tree))
        assert "It looks like the folder of ptb-xl" in text

    def test_a_release_of_which_nothing_is_known(self, known: ECGDataset, tree: Path) -> None:
        with pytest.raises(InputError, match=r"release '1\.0\.4' of PTB-XL.* Known: 1\.0\.3"):
            verify(known, tree, release="1.0.4")

    def test_the_rate_that_is_there(self, known: ECGDataset, folder: Path) -> None:
        write("ptb-xl", folder.parent / "low", records=RECORDS, seed=4, sampling_rates=(100,))
        result = verify(known, folder.parent / "low")
        assert any(finding.text == "the records at 100 Hz were looked at; the published rate is 500 Hz"
                   for finding in result.findings)  # fmt: skip

    def test_labels_from_headers_are_left_open(self, known: ECGDataset, tree: Path) -> None:
        more = replace(known, metadata_columns={**known.metadata_columns, "from_header": "string"})
        result = verify(more, tree)
        assert faults(result) == [
            "labels and folds were not compared: they come from the records' own files; read those with --signals"
        ]
        assert verify(more, tree, signals=True).holds


def test_the_160_real_records(shared: Path) -> None:
    result = verify(get("ptb-xl"), shared / "data/ptbxl/mini", signals=True)
    texts = {finding.subject: finding.text for finding in result.findings}
    assert texts["signals"] == "all 160 records can be read"
