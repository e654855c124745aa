"""Files that announce more than they hold, name what is not theirs, or grow when they are read: each one record."""

from __future__ import annotations

import gzip
import os
import resource
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pydicom
import pytest

from dataset_scripts.catalog import get
from dataset_scripts.core.shards import read_record
from dataset_scripts.custom.dataset import open_custom
from dataset_scripts.custom.table import read_table
from dataset_scripts.formats.registry import read_signal
from dataset_scripts.load import prepare, read_mock
from dataset_scripts.published.echonext import check_array
from dataset_scripts.published.sph import read_h5
from dataset_scripts.readers.exams import read_index
from dataset_scripts.readers.signal_files import zip_index
from dataset_scripts.tools.hosts import unpack
from ecg_hub.errors import DataError, EcgHubError
from ecg_hub.input.formats.recording import stored_recording
from ecg_hub.input.samples import shown_names
from ecg_hub.leads import LEADS
from ecg_hub.utils.untrusted import record_bounds
from ecg_hub.utils.yaml import read_mapping
from tests.support.exam_parts import write_part
from tests.support.fuzz_seeds import Reading
from tests.support.hangs import ends
from tests.support.own_files import dicom_group, integers, write_archive, write_dicom, write_edf

MEMORY_MB = 640


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Let this process have no more than it has and 640 MB, and end."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_MB * 2**20, before[1]))
    try:
        with ends():
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def header(
    folder: Path, *, record: str = "r 12 500 100", form: str = "16", file: str = "r.dat", gain: str = "1000/mV 16 0"
) -> Path:
    """Write a header of twelve leads, and samples beside it."""
    lines = [f"{file} {form} {gain} 0 0 0 {lead}" for lead in LEADS]
    (folder / "r.hea").write_text("\n".join([record, *lines]) + "\n")
    (folder / "r.dat").write_bytes(integers(100).astype("<i2").tobytes())
    return folder / "r.hea"


@pytest.mark.parametrize("form", ["16", "212", "80"])
@pytest.mark.parametrize("file", ["../secret.bin", "/dev/zero", "pipe.dat", "/etc/passwd", "~"])
def test_a_header_names_plain_files_below_it(form: str, file: str, tmp_path: Path, little_memory: None) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(2400))
    folder = tmp_path / "records"
    folder.mkdir()
    os.mkfifo(folder / "pipe.dat")
    path = header(folder, form=form, file=file)
    with pytest.raises(DataError, match=r"outside the folder of the record|not a plain file|is missing"):
        read_signal(path, Reading())
    with pytest.raises(EcgHubError, match=r"outside the folder of the record|not a plain file|is missing"):
        stored_recording(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"record": "r 12 500 1000000000"}, "1000000000|announces"),
        ({"record": "r 12 500 1000000000", "form": "212"}, "announces 12,000,000,000 samples, 45,776.4 MB"),
        ({"record": "r 12 500 8000000", "form": "212"}, "its header announces 8000000 samples of 12"),
        ({"form": "16:999999999"}, "announces 12,000,001,188 samples"),
        ({"form": "16:5000"}, "shifts a signal by 5000 samples of 100"),
        ({"form": "212x999999999"}, "announces"),
        ({"record": "r 100000 500 100"}, "100000 signals announced, 12 described"),
    ],
)
def test_wfdb_sizes(changes: dict[str, str], message: str, tmp_path: Path, little_memory: None) -> None:
    with pytest.raises(DataError, match=message):
        read_signal(header(tmp_path, **changes), Reading())


def test_one_lead_for_a_day_becomes_twelve(tmp_path: Path, little_memory: None) -> None:
    (tmp_path / "r.hea").write_text("r 1 500 12000000\nr.dat 16 1000/mV 16 0 0 0 0 I\n")
    with (tmp_path / "r.dat").open("wb") as file:
        file.truncate(24_000_000)
    for read in (lambda path: read_signal(path, Reading()), stored_recording):
        with pytest.raises(EcgHubError, match=r"with twelve leads, announces 144,000,000 samples, 549\.3 MB"):
            read(tmp_path / "r.hea")


@pytest.mark.parametrize(
    "changes",
    [
        {"record": "r 12 inf 100"},
        {"record": "r 12 nan 100"},
        {"gain": "1000(18446744073709551616)/mV 16 0"},
        {"gain": "1e999/mV 16 0"},
        {"gain": f"1000/mV 16 {'9' * 400}"},
    ],
    ids=["rate inf", "rate nan", "baseline", "gain", "zero"],
)
def test_numbers_of_a_header_beyond_all_numbers(changes: dict[str, str], tmp_path: Path) -> None:
    for read in (lambda path: read_signal(path, Reading()), stored_recording):
        with pytest.raises(EcgHubError, match=r"r\.hea is not a WFDB header"):
            read(header(tmp_path, **changes))


def test_segments_that_announce_much_or_lie_outside(tmp_path: Path, little_memory: None) -> None:
    (tmp_path / "m.hea").write_text("m/2 12 500 0\nr 100\n~ 2000000000\n")
    header(tmp_path)
    with pytest.raises(DataError, match=r"m\.hea announces 2,000,000,100 samples"):
        read_signal(tmp_path / "m.hea", Reading())
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "m.hea").write_text("m/1 12 500 100\n../r 100\n")
    with pytest.raises(DataError, match="outside the folder"):
        read_signal(tmp_path / "below" / "m.hea", Reading())


@pytest.mark.heavy
def test_a_hundred_thousand_leads_and_a_million_columns(tmp_path: Path, little_memory: None) -> None:
    lines = [f"r.dat 16 1000/mV 16 0 0 0 0 x{k}" for k in range(100_000)]
    (tmp_path / "r.hea").write_text("\n".join(["r 100000 500 100", *lines]))
    with pytest.raises(DataError, match="has 100,000 channels; up to 10,000 are read"):
        read_signal(tmp_path / "r.hea", Reading())
    (tmp_path / "a.csv").write_text(",".join(f"c{k}" for k in range(1_000_000)) + "\n" + "1," * 999_999 + "1\n")
    with pytest.raises(DataError, match="has 1,000,000 channels"):
        read_signal(tmp_path / "a.csv", Reading(unit="mV", sampling_rate=500))
    (tmp_path / "b.csv").write_text("I\n" + "\n" * 12_000_000)
    with pytest.raises(DataError, match="with a line per sample, announces 144,000,012 samples"):
        read_signal(tmp_path / "b.csv", Reading(unit="mV", sampling_rate=500))


def test_names_cost_no_time() -> None:
    # A pattern whose parts could all be empty took ten seconds for twelve dashes, and hours for twenty.
    with ends():
        assert shown_names(["ch" + "-" * 20 + "#"]) == "1 name"


def test_dicom_lengths_offsets_and_deflated_bombs(tmp_path: Path, little_memory: None) -> None:
    path = tmp_path / "a.dcm"
    write_dicom(path, dicom_group(integers(100).astype(np.int16), 500))
    whole = path.read_bytes()
    # The length of the samples in its explicit form: tag, OW, two bytes, four bytes.
    at = whole.index(b"\x00\x54\x10\x10OW")
    path.write_bytes(whole[: at + 8] + struct.pack("<I", 0xFFFFFFF0) + whole[at + 12 :])
    # Read as far as it goes or refused, whichever the reader of elements prefers; 4 GB are set aside for neither.
    with suppress(DataError):
        read_signal(path, Reading("dicom"))
    late = dicom_group(integers(100)[:, :1].astype(np.int16), 500, names=("V1",))
    late.MultiplexGroupTimeOffset = "9e12"
    write_dicom(path, dicom_group(integers(100)[:, :2].astype(np.int16), 500, names=("I", "II")), late)
    with pytest.raises(DataError, match="with its groups where their time offsets say, announces"):
        read_signal(path, Reading("dicom"))
    content = pydicom.dcmread(path)
    content.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    content.save_as(path)
    head = path.read_bytes()
    begin = 144 + struct.unpack_from("<I", head, 140)[0]
    deflater = zlib.compressobj(wbits=-15)
    bomb = b"".join([*(deflater.compress(bytes(2**20)) for _ in range(40)), deflater.flush()])
    path.write_bytes(head[:begin] + bomb)
    with record_bounds(32), pytest.raises(DataError, match="expands to more than 32 MB"):
        read_signal(path, Reading("dicom"))


@pytest.mark.parametrize(
    "inner", ["<a/>" * 2_000_000, "<a" + " a = '1'" * 2_000_000 + "/>"], ids=["elements", "attributes"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_of_marks_alone(tmp_path: Path, little_memory: None, inner: str, encoding: str) -> None:
    (tmp_path / "a.xml").write_text(f"<RestingECG>{inner}</RestingECG>", encoding)
    with pytest.raises(DataError, match="too many elements"):
        read_signal(tmp_path / "a.xml", Reading("muse"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_csv_of_line_ends_alone(tmp_path: Path, little_memory: None, encoding: str) -> None:
    (tmp_path / "a.csv").write_text("I\n1" + "\u2029" * 12_000_000, encoding)
    with pytest.raises(DataError, match="with a line per sample"):
        read_signal(tmp_path / "a.csv", Reading(unit="mV", sampling_rate=500))


def test_parquet_of_a_value_that_repeats(tmp_path: Path, little_memory: None) -> None:
    pd.DataFrame({"I": np.zeros(12_000_000, np.int8)}).to_parquet(tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    with pytest.raises(DataError, match="announces 144,000,000 samples"):
        read_signal(tmp_path / "a.parquet", Reading(unit="mV", sampling_rate=500))


def test_hdf5_that_points_elsewhere_or_announces_much(tmp_path: Path, little_memory: None) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["ecg"] = np.zeros((12, 100), np.float32)
    (tmp_path / "secret.bin").write_bytes(bytes(4800))
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["ecg"] = h5py.ExternalLink("other.h5", "ecg")
    with pytest.raises(DataError, match="a link to another file"):
        read_h5(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("ecg", (12, 100), "f4", external=[(str(tmp_path / "secret.bin"), 0, 4800)])
    with pytest.raises(DataError, match="lie in another file"):
        read_h5(path)
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((12, 100), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "ecg", (12, 100))
        file.create_virtual_dataset("ecg", layout)
    with pytest.raises(DataError, match="lie in another file"):
        read_h5(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("ecg", (12, 10**9), "f4", chunks=(12, 1000))
    with pytest.raises(DataError, match="announces 12,000,000,000 samples"):
        read_h5(path)
    write_part(path, range(3))
    with h5py.File(path, "a") as file:
        del file["exam_id"]
        file["exam_id"] = h5py.ExternalLink("other.h5", "ecg")
    with pytest.raises(DataError, match="a link to another file"):
        read_index(path)


def test_npy_headers_are_python_and_end_in_one_error(tmp_path: Path, little_memory: None) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 1, 10, 12)))
    whole = (tmp_path / "a.npy").read_bytes()
    for changed in (
        whole.replace(b"(3, 1, 10, 12)", b"(3, 1, 10, '''"),
        whole.replace(b"(3, 1, 10, 12)", b"(9**9**9, 1, 2"),
        whole.replace(b"(3, 1, 10, 12)", b"(3, 99999999, "),
        whole.replace(b"'descr'", b"(((((((" + b"'"),
        whole[:9],
    ):
        (tmp_path / "a.npy").write_bytes(changed)
        with pytest.raises(DataError, match=r"no whole \.npy file"):
            check_array(tmp_path / "a.npy", (3, 1, 10, 12), "there are 3 rows", "the page")
    os.mkfifo(tmp_path / "b.npy")
    with pytest.raises(DataError, match="a pipe"):
        check_array(tmp_path / "b.npy", (3, 1, 10, 12), "there are 3 rows", "the page")


def test_zip_members_that_grow_or_lie_beyond_the_end(tmp_path: Path, little_memory: None) -> None:
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p1/40001.hea", "40001 1 500 100\n40001.dat 16 1000/mV 16 0 0 0 0 I\n")
        with archive.open("p1/40001.dat", "w") as member:
            for _ in range(40):
                member.write(bytes(2**20))
        archive.writestr("p1/40002.hea", "40002 1 500 100\n../../../../etc/passwd 16 1000/mV 16 0 0 0 0 I\n")
        archive.writestr(f"p1/{10**30}.hea", "")
    index = zip_index.__wrapped__(path)
    assert index.studies.tolist() == [40001, 40002]
    with record_bounds(32), pytest.raises(DataError, match=r"40001\.dat expands to more than 32 MB"):
        index.read(40001)
    with pytest.raises(DataError, match="outside the folder"):
        index.read(40002)
    whole = path.read_bytes()
    end = whole.rindex(b"PK\x05\x06")
    path.write_bytes(whole[: end + 12] + struct.pack("<I", 0xFFFFFFF0) + whole[end + 16 :])
    with pytest.raises(DataError, match="lies beyond its end"):
        zip_index.__wrapped__(path)


def test_stored_members_of_any_size_and_positions_beyond_every_file(tmp_path: Path, little_memory: None) -> None:
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("p1/40001.hea", "40001 1 500 100\n40001.dat 16 1000/mV 16 0 0 0 0 I\n")
    index, whole = zip_index.__wrapped__, path.read_bytes()
    for size in (30 * 2**20, 0xFFFFFFFE):
        changed = bytearray(bytes(40 * 2**20) + whole)
        end, entry = changed.rindex(b"PK\x05\x06"), changed.rindex(b"PK\x01\x02")
        local = changed.index(b"PK\x03\x04")
        changed[local + 18 : local + 22] = struct.pack("<I", size)
        changed[entry + 42 : entry + 46] = struct.pack("<I", local)
        changed[end + 16 : end + 20] = struct.pack("<I", entry)
        path.write_bytes(changed)
        with record_bounds(16), pytest.raises(DataError, match="up to 16 MB are read"):
            index(path).read(40001)
    changed[entry + 42 : entry + 46] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(changed)
    with pytest.raises(DataError, match="a member lies beyond its end"):
        index(path)


def test_archives_that_lie_or_are_encrypted_end_in_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.bin", bytes(100))
    whole = path.read_bytes()
    local, entry = whole.index(b"PK\x03\x04"), whole.index(b"PK\x01\x02")
    for change, message in (
        ({entry + 20: struct.pack("<I", 3 << 30)}, "members are said to take"),
        ({local + 6: b"\1", entry + 8: b"\1"}, "cannot be unpacked"),
        ({local + 7: b"\x08", entry + 9: b"\x08", entry + 46: b"\xff"}, "cannot be unpacked"),
    ):
        content = bytearray(whole)
        for place, value in change.items():
            content[place : place + len(value)] = value
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            unpack(path, tmp_path / "out", quiet=True)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("whole", [True, False])
def test_tar_headers_that_grow(tmp_path: Path, kind: bytes, whole: bool, little_memory: None) -> None:
    header = tarfile.TarInfo("a")
    header.type, header.size = kind, 40 * 2**20 if whole else 7 * 2**30
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(40 * 2**20))
    with pytest.raises(DataError, match=r"cannot be unpacked \(a header of"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out", quiet=True)


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"thresholds": [[]]}', '{"thresholds": 5}', "\xff"])
def test_what_says_that_a_tree_is_simulated_is_somebodys_too(tmp_path: Path, content: str) -> None:
    (tmp_path / "mock.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match="is not a JSON object"):
        read_mock(tmp_path, get("ptb-xl"))


def test_archives_that_expand_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataset_scripts.tools.hosts.SMALL_ARCHIVE", 2**20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(4):
            archive.writestr(f"{k}.bin", bytes(2**21))
    with pytest.raises(DataError, match="expands to more than 200 times its size"):
        unpack(tmp_path / "a.zip", tmp_path / "out", quiet=True)
    assert len(list((tmp_path / "out").iterdir())) < 4


@pytest.mark.heavy
def test_workbooks_and_tables_that_grow(tmp_path: Path, little_memory: None) -> None:
    columns = open_columns(tmp_path)
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("xl/workbook.xml", bytes(40 * 2**20))
    with record_bounds(32), pytest.raises(DataError, match="expands to 40 MB; up to 32 MB"):
        read_table(tmp_path / "t.xlsx", columns, None)
    packed = struct.pack("<I", (tmp_path / "t.xlsx").stat().st_size * 1000)
    content = bytearray((tmp_path / "t.xlsx").read_bytes())
    at = content.index(b"PK\x01\x02") + 20  # where the directory says what a part takes in the file
    content[at : at + 4] = packed
    (tmp_path / "t.xlsx").write_bytes(content)
    with pytest.raises(DataError, match="members are said to take"):
        read_table(tmp_path / "t.xlsx", columns, None)
    pd.DataFrame({"id": np.zeros(51_000_000, np.int8)}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="has 51,000,000 cells; up to 50,000,000 are read"):
        read_table(tmp_path / "t.parquet", columns, None)
    pd.DataFrame({"id": ["Mainz"]}).to_parquet(tmp_path / "t.parquet", compression="none")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes().replace(b"Mainz", b"M\xffinz"))
    with pytest.raises(DataError, match="cannot be read: UnicodeDecodeError"):
        read_table(tmp_path / "t.parquet", columns, None)
    (tmp_path / "broken.xlsx").write_bytes(b"PK\x03\x04 no workbook")
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "broken.xlsx", columns, None)
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(DataError, match="does not exist"):
        read_table(tmp_path / "t.csv", columns, None)


def open_columns(folder: Path):  # type: ignore[no-untyped-def]
    from dataset_scripts.custom.description import Columns

    return Columns(record="id")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000,
        "? [a]\n: 1\n",
        "? {a: b}\n: 1\n",
        "a: 2024-13-41\n",
        "a: &x [*x]\n",
        "a: " + "9" * 5000 + "\n",
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{n}: &{n} [{', '.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)),
        "\n".join(f"k{k}: 1" for k in range(200_000)),
    ],
    ids=["nested", "list as name", "mapping as name", "no date", "itself", "digits", "references", "many"],
)
def test_descriptions_end_in_one_error(text: str, tmp_path: Path, little_memory: None) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(EcgHubError, match=r"own\.yaml: (not valid YAML|cannot be read)"):
        read_mapping(tmp_path / "own.yaml")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_archive(tmp_path, records=12, patients=12, seconds=2.0)
    return tmp_path


def test_one_hostile_record_costs_one_record(archive: Path, tmp_path: Path) -> None:
    lines = "".join(f"r001.dat 212 1/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
    (archive / "ecg" / "r001.hea").write_text(f"r001 12 250 1000000000\n{lines}")
    (archive / "ecg" / "r002.hea").write_text("r002 1 250 500\n../../secret.bin 16 1/mV 16 0 0 0 0 I\n")
    write_edf(archive / "ecg" / "r003.edf", integers(500), 250)
    found = prepare(
        archive / "my_hospital.yaml", cache_dir=tmp_path / "cache", max_unreadable=0.5, min_count=0, num_proc=1
    )
    lost = found.report[found.report["status"] == "lost"].set_index("record_id")["reason"]
    assert {"r001", "r002"} <= set(lost.index)
    assert "announces" in lost["r001"]
    assert "outside the folder" in lost["r002"]


def test_the_bound_of_a_description_and_of_the_call(archive: Path, tmp_path: Path) -> None:
    path = archive / "my_hospital.yaml"
    with path.open("a") as file:
        file.write("max_record_mb: 0.01\n")
    with pytest.raises(DataError, match=r"records of up to 0\.01 MB are read"):
        prepare(path, cache_dir=tmp_path / "cache", min_count=0)
    found = prepare(path, cache_dir=tmp_path / "cache", min_count=0, max_record_mb=1)
    assert (found.report["status"] == "ok").all()
    with record_bounds(1):
        dataset = open_custom(path).bound()
    record = next(dataset.scan(archive, 250).records(0, 1))
    with pytest.raises(DataError, match=r"0\.01 MB"):
        read_record(dataset, archive, record)


def test_each_bound_has_a_store_of_its_own(archive: Path, tmp_path: Path) -> None:
    path = archive / "my_hospital.yaml"
    stores = {prepare(path, cache_dir=tmp_path / "c", min_count=0, max_record_mb=mb).store for mb in (None, 512, 600)}
    assert sorted("600mb" in str(store) for store in stores) == [False, True]


def test_reasons_in_the_report_are_written_out(archive: Path, tmp_path: Path) -> None:
    (archive / "ecg" / "r001.hea").write_text("r001 1 250 500\nx\x1b[2J.dat 16 1/mV 16 0 0 0 0 I\n")
    found = prepare(archive / "my_hospital.yaml", cache_dir=tmp_path / "c", max_unreadable=0.5, min_count=0)
    reason = found.report.set_index("record_id").loc["r001", "reason"]
    assert reason == r"x\x1b[2J.dat is missing"


def test_links_in_a_published_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataset_scripts.catalog import get
    from dataset_scripts.mock import mock_root

    monkeypatch.setenv("ECG_HUB_HOME", str(tmp_path / "home"))
    raw = mock_root(tmp_path / "mock", "ptb-xl", 20) / "ptb-xl"
    dataset = get("ptb-xl")
    record = next(dataset.scan(raw, 500).records(0, 1))
    signal = raw / f"{record.file}.dat"
    (tmp_path / "secret.bin").write_bytes(signal.read_bytes())
    (tmp_path / "other.dat").write_bytes(signal.read_bytes())
    for place, target, refused in (
        (raw, "secret.bin", True),
        (raw, "other.dat", False),
        (tmp_path / "home" / "data" / "ptb-xl", "other.dat", True),
    ):
        if not place.exists():
            place.parent.mkdir(parents=True)
            raw.rename(place)
        path = place / f"{record.file}.dat"
        path.unlink()
        path.symlink_to(tmp_path / target)
        if refused:
            with pytest.raises(DataError, match="a link that leads out of the data folder"):
                read_record(dataset, place, record)
        else:
            assert len(read_record(dataset, place, record).samples) > 0
