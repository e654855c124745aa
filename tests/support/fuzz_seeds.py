"""Valid files of every kind, and what reads each: what mutated inputs begin with."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
import safetensors.torch
import torch

from dataset_scripts.custom.description import Columns, is_description, read_description
from dataset_scripts.custom.table import parse_row, read_table
from dataset_scripts.formats.registry import read_signal
from dataset_scripts.published import chapman, echonext, sph
from dataset_scripts.readers.exams import read_index, read_tracing
from dataset_scripts.readers.signal_files import zip_index
from dataset_scripts.readers.tables import iterate_rows, read_sheet, read_text_table
from ecg_hub.input.formats.recording import stored_recording
from ecg_hub.input.recordings import canonical_record
from ecg_hub.leads import LEADS
from ecg_hub.weights.checkpoint import read_checkpoint
from tests.support.exam_parts import write_part
from tests.support.hospital import WRITERS, strip, write_hospital
from tests.support.own_files import dicom_group, integers, muse_text, write_description, write_dicom, write_edf

SAMPLES, RATE = 100, 100
PAGE = "the page of the data"
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Seed:
    """Valid files, and what reads them: a function of their folder that raises an EcgHubError where it refuses them."""

    files: Files
    read: Callable[[Path], Any]


@dataclass(frozen=True)
class Reading:
    """What a description says; see `dataset_scripts.formats.registry.Reading`."""

    format: str = "auto"
    sampling_rate: int | None = None
    unit: str | None = None
    lead_names: Mapping[str, str | None] = field(default_factory=dict)


def seeds(folder: Path) -> dict[str, Seed]:
    """Return seeds by name; `folder` is an empty one to write them in."""
    return {**_wfdb(), **_signals(folder), **_tables(folder), **_containers(folder), **_checkpoints(folder)}


def _both_ways(file: str, form: str, **said: Any) -> Callable[[Path], Any]:
    """Return what reads a file as one of an archive, and as one that an extractor is given."""

    def read(folder: Path) -> None:
        about = Reading(form, **said)
        try:
            read_signal(folder / file, about)
        finally:
            _extract(folder / file, about)

    return read


def _extract(path: Path, about: Reading) -> None:
    recording = stored_recording(path, about.sampling_rate, about.unit or "mV")
    if recording.sampling_rate is None:
        recording = SimpleNamespace(**{**vars(recording), "sampling_rate": RATE})
    canonical_record(recording, missing_leads="zero", nan="zero")


# Bytes of so many samples: formats that pack several samples are rounded up.
_WIDTHS = {"8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3}


def _wfdb() -> dict[str, Seed]:
    rng = np.random.default_rng(0)
    read = _both_ways("r.hea", "wfdb")
    found = {}
    for code, width in _WIDTHS.items():
        data = rng.integers(0, 256, int(np.ceil(SAMPLES * 12 * width)), dtype=np.uint8).tobytes()
        found[f"wfdb {code}"] = Seed({"r.hea": _header(code), "r.dat": data}, read)
    found["wfdb FLAC"] = Seed({"r.hea": _header("516", leads=LEADS[:8]), "r.dat": _flac()}, read)
    halves = {f"s{k}.hea": _header("16", f"s{k}") for k in (1, 2)}
    data = integers(SAMPLES).astype("<i2").tobytes()
    lines = f"r/3 12 {RATE} {2 * SAMPLES + 10}\ns1 {SAMPLES}\n~ 10\ns2 {SAMPLES}\n"
    found["wfdb segments"] = Seed({"r.hea": lines.encode(), **halves, "s1.dat": data, "s2.dat": data}, read)
    frames = _header("16").replace(b" 16 10000/mV", b" 16x2:1+4 10000(5)/mV")
    found["wfdb frames"] = Seed({"r.hea": frames, "r.dat": bytes(4) + data + data}, read)
    return found


def _header(code: str, name: str = "r", leads: Sequence[str] = LEADS) -> bytes:
    # Random bytes of 32 bits, too, come to millivolts.
    gain = {"24": 10**7, "32": 10**9}.get(code, 10_000)
    lines = [f"{name}.dat {code} {gain}/mV 16 0 0 0 0 {lead}" for lead in leads]
    return "\n".join([f"{name} {len(leads)} {RATE} {SAMPLES}", *lines, "# Age: 50", ""]).encode()


def _flac() -> bytes:
    import soundfile

    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", 96000, 8, subtype="PCM_16", format="FLAC") as file:
        file.write(integers(SAMPLES, 8).astype(np.int16))
    return stream.getvalue()


def _signals(folder: Path) -> dict[str, Seed]:
    digital = integers(SAMPLES)
    found = {}
    for form in WRITERS:
        path = write_hospital(folder, form, strip(SAMPLES), RATE)
        found[form] = Seed({path.name: path.read_bytes()}, _both_ways(path.name, form))
    write_edf(folder / "a.edf", digital, RATE)
    write_dicom(folder / "a.dcm", dicom_group(digital.astype(np.int16), RATE))
    pd.DataFrame(digital, columns=list(LEADS)).to_parquet(folder / "a.parquet")
    (folder / "a.xml").write_text(muse_text(digital, RATE), encoding="latin-1")
    for form, name in (("edf", "a.edf"), ("dicom", "a.dcm"), ("muse", "a.xml")):
        found[form] = Seed({name: (folder / name).read_bytes()}, _both_ways(name, form))
    bare = {"sampling_rate": RATE, "unit": "uV"}
    found["parquet"] = Seed(
        {"a.parquet": (folder / "a.parquet").read_bytes()}, _both_ways("a.parquet", "parquet", **bare)
    )
    comma = pd.DataFrame(digital, columns=list(LEADS)).to_csv(index=False)
    tabs = pd.DataFrame(digital / 10, columns=list(LEADS)).to_csv(index=False, sep="\t", decimal=",")
    watch = "Name,Jane Doe\nSample Rate,512 hertz\nLead,Lead I\nUnit,µV\n\n" + "".join(
        f"{k}.5\n" for k in range(SAMPLES)
    )
    found["csv"] = Seed({"a.csv": comma.encode()}, _both_ways("a.csv", "csv", **bare))
    found["csv tabs"] = Seed({"a.csv": tabs.encode()}, _both_ways("a.csv", "csv", **bare))
    found["csv watch"] = Seed({"a.csv": watch.encode()}, _both_ways("a.csv", "csv"))
    return found


_COLUMNS = Columns(record="id", patient="person", labels="diagnoses", targets=("rate",), age="years", sex="gender")


def _tables(folder: Path) -> dict[str, Seed]:
    frame = pd.DataFrame(
        {
            "id": [f"r{k}" for k in range(6)],
            "person": [f"p{k % 3}" for k in range(6)],
            "diagnoses": ["normal", "AF;old", "", "LBBB", "normal;AF", "AF"],
            "rate": [60.5, 70.0, 80.0, np.nan, 64.0, 70.0],
            "years": [30, 40, 50, 60, 70, 80],
            "gender": list("MFMFMF"),
        }
    )
    frame.to_excel(folder / "t.xlsx", index=False)
    frame.to_parquet(folder / "t.parquet")
    (folder / "t.csv").write_text(frame.to_csv(index=False))
    found = {
        f"table {end}": Seed({f"t.{end}": (folder / f"t.{end}").read_bytes()}, _own_table(f"t.{end}"))
        for end in ("csv", "xlsx", "parquet")
    }
    csv, xlsx = (folder / "t.csv").read_bytes(), (folder / "t.xlsx").read_bytes()
    found["text table"] = Seed({"t.csv": csv}, lambda at: read_text_table(at / "t.csv", ("id", "rate"), PAGE))
    found["rows"] = Seed({"t.csv": csv}, lambda at: list(iterate_rows(at / "t.csv", ("id", "rate"), PAGE)))
    found["sheet"] = Seed({"t.xlsx": xlsx}, lambda at: read_sheet(at / "t.xlsx", ("id", "rate"), PAGE))
    yaml = write_description(folder / "own.yaml").read_bytes()
    found["description"] = Seed(
        {"own.yaml": yaml}, lambda at: (is_description(at / "own.yaml"), read_description(at / "own.yaml"))
    )
    return found


def _own_table(file: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> None:
        for _, cells in read_table(folder / file, _COLUMNS, None).rows:
            try:
                parse_row(cells, _COLUMNS)
            # What a row that cannot be used raises; the archive loses that row.
            except ValueError:
                continue

    return read


def _containers(folder: Path) -> dict[str, Seed]:
    values = integers(SAMPLES).astype(np.float64)
    with h5py.File(folder / "s.h5", "w") as file:
        file.create_dataset("ecg", data=values.T.astype(np.float32), chunks=(12, 20), compression="gzip")
    write_part(folder / "part.hdf5", range(1, 6), chunks=(2, 50, 12), compression="gzip")
    np.save(folder / "x_waveforms.npy", np.zeros((3, 1, 100, 12)))
    frame = pd.DataFrame(values * 4.88, columns=list(LEADS))
    (folder / "c.csv").write_text(frame.to_csv(index=False))
    with zipfile.ZipFile(folder / "w.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("files/p1000/40001.hea", _header("16", "40001"))
        archive.writestr("files/p1000/40001.dat", integers(SAMPLES).astype("<i2").tobytes())
    readers: dict[str, tuple[str, Callable[[Path], Any]]] = {
        "hdf5 record": ("s.h5", lambda at: sph.read_h5(at)),
        "hdf5 part": ("part.hdf5", _read_part),
        "npy": ("x_waveforms.npy", _read_npy),
        "chapman csv": ("c.csv", lambda at: chapman.read_csv(at)),
        "zip": ("w.zip", _read_zip),
    }
    return {
        name: Seed({file: (folder / file).read_bytes()}, lambda at, file=file, read=read: read(at / file))  # type: ignore[misc]
        for name, (file, read) in readers.items()
    }


def _checkpoints(folder: Path) -> dict[str, Seed]:
    weights = {"w": torch.ones(3, 4), "row": torch.arange(8.0)[2:5].clone(), "n": torch.tensor(7)}
    state = {"state_dict": {**weights, "view": torch.arange(8.0)[2:5]}, "epoch": 3}
    torch.save(state, folder / "zip.pt")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(weights, folder / "w.safetensors", {"format": "pt"})
    for name, method in (("nested", zipfile.ZIP_STORED), ("packed", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(folder / f"{name}.zip", "w", method) as archive:
            archive.write(folder / "legacy.pt", "model/legacy.pt")
    found = {}
    for file in ("zip.pt", "legacy.pt", "w.safetensors", "nested.zip", "packed.zip"):
        found[f"checkpoint {file}"] = Seed({file: (folder / file).read_bytes()}, _checkpoint(file))
    return found


def _checkpoint(file: str) -> Callable[[Path], Any]:
    return lambda folder: read_checkpoint(folder / file)


def _read_part(path: Path) -> None:
    for row in range(min(len(read_index(path).exam_ids), 5)):
        read_tracing(path, row)


def _read_npy(path: Path) -> None:
    echonext.check_array(path, (3, 1, 100, 12), "the table has 3 rows", PAGE)
    echonext.read_record(path, 1)


def _read_zip(path: Path) -> None:
    index = zip_index.__wrapped__(path)
    for study in index.studies[:3]:
        index.read(int(study))
