"""Raw files from hosts on this machine that imitate PhysioNet, figshare and Zenodo."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from dataset_scripts.catalog import datasets, get
from dataset_scripts.core.spec import ECGDataset, Release, Source
from dataset_scripts.tools import download as module
from dataset_scripts.tools.download import STATE_FOLDER, Downloaded, download, instructions
from dataset_scripts.tools.hosts import Hosts, Transport, figshare_parts, physionet_parts
from ecg_hub.errors import DataError, InputError
from ecg_hub.utils.files import parse_sums
from ecg_hub.utils.http import RetryPolicy
from tests.support.hosts import Host, md5, running

AT_ONCE = RetryPolicy(retries=2, wait_seconds=0)
NO_RETRY = RetryPolicy(retries=0)
BASE = "/files/ptb-xl/1.0.3/"
TREE = {
    "ptbxl_database.csv": b"ecg_id\n1\n",
    "records500/00000/00001_hr.dat": bytes(range(256)) * 400,
    "records500/00000/00001_hr.hea": b"00001_hr 12 500 5000\n",
    "records100/00000/00001_lr.dat": b"low rate",
    "an odd name #1.txt": b"odd",
}


def sums(tree: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(content).hexdigest()} {name}\n" for name, content in tree.items()).encode()


def zipped(tree: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in tree.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(tree: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in tree.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with running(Host()) as running_host:
        yield running_host


@pytest.fixture
def physionet(host: Host) -> Host:
    host.files = {BASE + name.replace(" ", "%20").replace("#", "%23"): content for name, content in TREE.items()}
    host.files[BASE + "SHA256SUMS.txt"] = sums(TREE)
    return host


def dataset(*sources: Source, **changes: object) -> ECGDataset:
    return replace(get("ptb-xl"), sources=sources, **changes)  # type: ignore[arg-type]


def fetch(host: Host, folder: Path, wanted: ECGDataset, patience: RetryPolicy = AT_ONCE) -> Downloaded:
    hosts = Hosts(f"{host.url}/files", f"{host.url}/v2", f"{host.url}/api")
    with Transport("Look at PAGE.", patience) as transport:
        return download(wanted, folder, transport, hosts=hosts, quiet=True)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and STATE_FOLDER not in path.parts
    }


PTBXL = Source(host="physionet", ref="ptb-xl/1.0.3")


class TestPhysioNet:
    def test_a_whole_project_with_its_checksum_list(self, physionet: Host, tmp_path: Path) -> None:
        done = fetch(physionet, tmp_path / "new", dataset(PTBXL))
        assert done.files == len(TREE)
        assert done.unchecked == ()
        assert content(tmp_path / "new") == {**TREE, "SHA256SUMS.txt": sums(TREE)}

    def test_the_same_call_again_asks_for_the_list_only(self, physionet: Host, tmp_path: Path) -> None:
        fetch(physionet, tmp_path, dataset(PTBXL))
        physionet.requests.clear()
        fetch(physionet, tmp_path, dataset(PTBXL))
        assert [path for _, path, _ in physionet.requests] == [BASE + "SHA256SUMS.txt"]

    def test_a_damaged_file_is_fetched_again(self, physionet: Host, tmp_path: Path) -> None:
        fetch(physionet, tmp_path, dataset(PTBXL))
        (tmp_path / "ptbxl_database.csv").write_bytes(b"ecg_id\n2\n")
        fetch(physionet, tmp_path, dataset(PTBXL))
        assert content(tmp_path)["ptbxl_database.csv"] == TREE["ptbxl_database.csv"]

    def test_patterns_choose_and_cut_the_checksum_list(self, physionet: Host, tmp_path: Path) -> None:
        chosen = dataset(replace(PTBXL, files=("*.csv", "records500")))
        fetch(physionet, tmp_path, chosen)
        wanted = [name for name in TREE if name.endswith(".csv") or name.startswith("records500/")]
        found = content(tmp_path)
        assert sorted(parse_sums(found.pop("SHA256SUMS.txt").decode())) == sorted(wanted) == sorted(found)

    def test_a_folder_of_a_project(self, physionet: Host, tmp_path: Path) -> None:
        fetch(physionet, tmp_path, dataset(replace(PTBXL, ref="ptb-xl/1.0.3/records500", folder="signals")))
        found = content(tmp_path)
        assert set(found) == {f"signals/00000/00001_hr.{end}" for end in ("dat", "hea")} | {"signals/SHA256SUMS.txt"}

    def test_a_pattern_that_chooses_nothing(self, physionet: Host, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no file 'records1000' in 'ptb-xl/1\.0\.3': it was moved"):
            fetch(physionet, tmp_path, dataset(replace(PTBXL, files=("records1000",))))

    def test_an_interrupted_file_is_continued(self, physionet: Host, tmp_path: Path) -> None:
        large = dataset(replace(PTBXL, files=("*.dat",)))
        physionet.cuts = [len(sums(TREE)), 40_000]
        with pytest.raises(DataError, match=r"00001_hr\.dat stopped after 40,000 bytes .*same command continues"):
            fetch(physionet, tmp_path, large, NO_RETRY)
        fetch(physionet, tmp_path, large, NO_RETRY)
        assert physionet.asked(BASE + "records500/00000/00001_hr.dat") == [None, "bytes=40000-"]
        assert content(tmp_path)["records500/00000/00001_hr.dat"] == TREE["records500/00000/00001_hr.dat"]

    def test_a_wrong_checksum_leaves_nothing(self, physionet: Host, tmp_path: Path) -> None:
        physionet.files[BASE + "ptbxl_database.csv"] = b"ecg_id\n3\n"
        with pytest.raises(DataError, match=r"ptbxl_database\.csv came with .* another checksum .* Look at PAGE"):
            fetch(physionet, tmp_path, dataset(PTBXL))
        found = content(tmp_path)
        assert "ptbxl_database.csv" not in found
        assert len(found) == len(TREE), "the other files are there, and the list"

    def test_files_that_are_gone_are_counted_and_the_others_fetched(self, physionet: Host, tmp_path: Path) -> None:
        for name in ("ptbxl_database.csv", "records500/00000/00001_hr.hea"):
            del physionet.files[BASE + name]
        with pytest.raises(DataError, match=r"2 of 5 files could not be fetched; .*(?s:.*)has no .*404") as error:
            fetch(physionet, tmp_path, dataset(PTBXL))
        assert "same command continues" in str(error.value)
        assert len(content(tmp_path)) == 4

    def test_no_such_project(self, host: Host, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"has no SHA256SUMS\.txt \(404"):
            fetch(host, tmp_path, dataset(PTBXL))

    @pytest.mark.heavy
    def test_many_files_over_several_connections(self, host: Host, tmp_path: Path) -> None:
        tree = {f"training/{k:03d}.mat": bytes([k]) * k for k in range(1, 60)}
        host.files = {f"/files/c/1/{name}": data for name, data in tree.items()}
        host.files["/files/c/1/SHA256SUMS.txt"] = sums(tree)
        many = dataset(Source(host="physionet", ref="c/1"))
        fetch(host, tmp_path, many)
        assert content(tmp_path) == {**tree, "SHA256SUMS.txt": sums(tree)}
        for name in tree:
            del host.files[f"/files/c/1/{name}"]
            (tmp_path / name).unlink()
        with pytest.raises(DataError, match=f"{module.MOST_FAILURES} files could not be fetched"):
            fetch(host, tmp_path, many)

    def test_a_list_that_leaves_the_folder_is_not_followed(self, host: Host, tmp_path: Path) -> None:
        host.files["/files/c/1/SHA256SUMS.txt"] = sums({"../evil": b"", "/etc/evil": b""})
        with pytest.raises(DataError, match="lists no files"):
            fetch(host, tmp_path, dataset(Source(host="physionet", ref="c/1")))


class TestFigshareAndZenodo:
    def test_an_article(self, host: Host, tmp_path: Path) -> None:
        host.documents["/v2/articles/7/files"] = [
            {"id": 1, "name": "a.csv", "size": 3, "computed_md5": md5(b"one")},
            {"id": 2, "name": "b.csv", "size": 3, "computed_md5": "", "supplied_md5": md5(b"two")},
        ]
        host.files = {"/v2/file/download/1": b"one", "/v2/file/download/2": b"two"}
        fetch(host, tmp_path, dataset(Source(host="figshare", ref="7")))
        assert content(tmp_path) == {"a.csv": b"one", "b.csv": b"two"}

    def test_a_collection_of_more_than_one_page(
        self, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dataset_scripts.tools.hosts.PAGE_ARTICLES", 1)
        pages = [[{"id": 7}], [{"id": 8}], []]
        monkeypatch.setattr(Transport, "document", lambda self, url: answer(url))

        def answer(url: str) -> object:
            if "/collections/9/articles" in url:
                page = re.search(r"[?&]page=(\d+)", url)
                assert page is not None
                return pages[int(page[1]) - 1]
            number = url.partition("/articles/")[2].partition("/")[0]
            return [{"id": number, "name": f"{number}.csv", "size": 1, "computed_md5": md5(number.encode())}]

        host.files = {"/v2/file/download/7": b"7", "/v2/file/download/8": b"8"}
        fetch(host, tmp_path, dataset(Source(host="figshare", ref="collections/9")))
        assert content(tmp_path) == {"7.csv": b"7", "8.csv": b"8"}

    def test_a_zenodo_record_whose_archives_are_unpacked_once(self, host: Host, tmp_path: Path) -> None:
        packed = zipped({"exams_part0.hdf5": b"signals" * 1000, "deep/er.txt": b"x"})
        host.documents["/api/records/4916206"] = {
            "files": [zenodo(host, "exams.csv", b"id"), zenodo(host, "p0.zip", packed)]
        }
        host.files = {"/get/exams.csv": b"id", "/get/p0.zip": packed}
        source = dataset(Source(host="zenodo", ref="10.5281/zenodo.4916206", unpack=True, folder="raw"))
        done = fetch(host, tmp_path, source)
        assert done.unpacked == {"raw/p0.zip": 2}
        expected = {"raw/exams.csv": b"id", "raw/exams_part0.hdf5": b"signals" * 1000, "raw/deep/er.txt": b"x"}
        assert content(tmp_path) == expected
        again = fetch(host, tmp_path, source)
        assert again.unpacked == {}
        assert host.asked("/get/p0.zip") == [None]
        (tmp_path / "raw/exams_part0.hdf5").unlink()
        assert fetch(host, tmp_path, source).unpacked == {"raw/p0.zip": 2}, "what was unpacked may be gone"
        assert content(tmp_path) == expected

    def test_a_tar_whose_name_says_gzip(self, host: Host, tmp_path: Path) -> None:
        packed = tarred({"./records/A00001.h5": b"h5", "records/A00002.h5": b"h5 too"})
        host.documents["/api/records/1"] = {"files": [zenodo(host, "records.tar.gz", packed)]}
        host.files = {"/get/records.tar.gz": packed}
        fetch(host, tmp_path, dataset(Source(host="zenodo", ref="1", unpack=True)))
        assert content(tmp_path) == {"records/A00001.h5": b"h5", "records/A00002.h5": b"h5 too"}

    def test_unpacking_that_was_interrupted_goes_on(self, host: Host, tmp_path: Path) -> None:
        packed = zipped({"a.bin": b"a" * 10, "b.bin": b"b" * 10})
        host.documents["/api/records/1"] = {"files": [zenodo(host, "all.zip", packed)]}
        host.files = {"/get/all.zip": packed}
        (tmp_path / "all.zip").write_bytes(packed)
        (tmp_path / "a.bin").write_bytes(b"a" * 10)
        (tmp_path / "b.bin").write_bytes(b"b" * 3)
        fetch(host, tmp_path, dataset(Source(host="zenodo", ref="1", unpack=True)))
        assert content(tmp_path) == {"a.bin": b"a" * 10, "b.bin": b"b" * 10}
        assert host.asked("/get/all.zip") == []

    @pytest.mark.parametrize(
        ("packed", "message"),
        [
            (zipped({"../evil": b"x"}), "outside its folder"),
            (b"PK\x03\x04 no zip at all", "cannot be unpacked"),
        ],
    )
    def test_an_archive_that_is_not_unpacked(self, packed: bytes, message: str, host: Host, tmp_path: Path) -> None:
        host.documents["/api/records/1"] = {"files": [zenodo(host, "all.zip", packed)]}
        host.files = {"/get/all.zip": packed}
        with pytest.raises(DataError, match=message):
            fetch(host, tmp_path / "raw", dataset(Source(host="zenodo", ref="1", unpack=True)))
        assert not (tmp_path / "evil").exists()
        assert set(content(tmp_path / "raw")) == {"all.zip"}

    @pytest.mark.parametrize("document", [{"entries": []}, [1, 2], {"files": [{"key": "x"}]}])
    def test_a_list_in_another_form(self, document: object, host: Host, tmp_path: Path) -> None:
        host.documents["/api/records/1"] = document
        with pytest.raises(DataError, match=r"lists the files of '1' in a form that is not known"):
            fetch(host, tmp_path, dataset(Source(host="zenodo", ref="1")))

    def test_no_such_record(self, host: Host, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"404 .*moved or withdrawn\. Look at PAGE"):
            fetch(host, tmp_path, dataset(Source(host="zenodo", ref="1")))

    @pytest.mark.parametrize(
        ("ref", "parts"),
        [
            ("27078763", ("articles", 27078763)),
            ("articles/27078763", ("articles", 27078763)),
            ("collections/4560497", ("collections", 4560497)),
            ("10.6084/m9.figshare.c.4560497.v2", ("collections", 4560497)),
            ("10.6084/m9.figshare.27078763", ("articles", 27078763)),
        ],
    )
    def test_names_of_figshare_items(self, ref: str, parts: tuple[str, int]) -> None:
        assert figshare_parts(ref) == parts

    def test_names_that_are_none(self) -> None:
        with pytest.raises(InputError, match="'collections/ID'"):
            figshare_parts("ECG data")
        with pytest.raises(InputError, match="'project/version'"):
            physionet_parts("ptb-xl")


def zenodo(host: Host, name: str, data: bytes) -> dict[str, object]:
    link = {"self": f"{host.url}/get/{name}"}
    return {"key": name, "size": len(data), "checksum": f"md5:{md5(data)}", "links": link}


class TestUrl:
    def test_a_file_without_a_published_checksum(self, host: Host, tmp_path: Path) -> None:
        host.files["/x/My%20table.csv"] = b"1"
        done = fetch(host, tmp_path, dataset(Source(host="url", ref=f"{host.url}/x/My%20table.csv")))
        assert done.unchecked == ("My table.csv",)
        assert content(tmp_path) == {"My table.csv": b"1"}

    def test_the_release_may_know_its_checksum(self, host: Host, tmp_path: Path) -> None:
        host.files["/x/table.csv"] = b"1"
        known = {"table.csv": hashlib.sha256(b"2").hexdigest()}
        release = Release(version="1", records=1, files=known)
        with pytest.raises(DataError, match="another checksum"):
            fetch(host, tmp_path, dataset(Source(host="url", ref=f"{host.url}/x/table.csv"), releases=(release,)))


class TestRefusals:
    @pytest.mark.parametrize("access", ["restricted", "credentialed"])
    def test_data_behind_an_agreement_are_never_fetched(self, access: str, physionet: Host, tmp_path: Path) -> None:
        closed = dataset(PTBXL, access=access, redistribution=False)
        with pytest.raises(InputError) as error:
            fetch(physionet, tmp_path / "raw", closed)
        text = str(error.value)
        assert "https://physionet.org/content/ptb-xl/1.0.3/" in text
        command = (
            f"wget -r -N -c -np -nH --cut-dirs=3 -R 'index.html*' -P {tmp_path / 'raw'} --user USERNAME --ask-password "
            "https://physionet.org/files/ptb-xl/1.0.3/"
        )
        assert command in text
        assert physionet.requests == []
        assert not (tmp_path / "raw").exists()

    def test_a_dataset_without_an_address(self, host: Host, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"there is only a page, https://physionet\.org"):
            fetch(host, tmp_path, dataset())

    def test_a_synthetic_tree_is_not_mixed_with_real_files(self, physionet: Host, tmp_path: Path) -> None:
        (tmp_path / "mock.json").write_text("{}")
        with pytest.raises(InputError, match="synthetic tree"):
            fetch(physionet, tmp_path, dataset(PTBXL))

    def test_two_downloads_into_one_folder(self, physionet: Host, tmp_path: Path) -> None:
        (tmp_path / STATE_FOLDER).mkdir()
        with FileLock(tmp_path / STATE_FOLDER / "lock"), pytest.raises(DataError, match="Another process"):
            fetch(physionet, tmp_path, dataset(PTBXL))


class TestDisk:
    def test_too_small_for_what_the_host_announces(
        self, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.documents["/api/records/1"] = {"files": [{**zenodo(host, "big.zip", b""), "size": 600}]}
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1_000))
        with pytest.raises(DataError, match=r"disk of .* is full \(1,200 bytes are missing, 1,000 are free\)"):
            fetch(host, tmp_path, dataset(Source(host="zenodo", ref="1", unpack=True)))

    def test_full_while_writing(self, host: Host, tmp_path: Path) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("no /dev/full here")
        host.documents["/api/records/1"] = {"files": [zenodo(host, "a.csv", b"content")]}
        host.files["/get/a.csv"] = b"content"
        (tmp_path / "a.csv.part").symlink_to("/dev/full")
        about = {"url": f"{host.url}/get/a.csv", "size": 7, "checksum": f"md5:{md5(b'content')}"}
        (tmp_path / "a.csv.part.json").write_text(json.dumps(about))
        with pytest.raises(DataError, match=r"is full .*another folder; the same command continues"):
            fetch(host, tmp_path, dataset(Source(host="zenodo", ref="1")))

    def test_a_folder_that_cannot_be(self, physionet: Host, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match="cannot be written"):
            fetch(physionet, tmp_path / "file" / "raw", dataset(PTBXL))


@pytest.mark.parametrize("name", sorted(datasets()))
def test_every_registered_dataset_says_how_to_get_it(name: str) -> None:
    found = get(name)
    text = "\n".join(instructions(found, "/data"))
    assert "/data" in text
    if found.access == "open" and found.sources:
        assert "--download" in text
    else:
        assert found.page in text
        assert "--download" not in text
    for source in found.sources:
        if source.host == "figshare":
            figshare_parts(source.ref)
        if source.host == "physionet":
            physionet_parts(source.ref)
