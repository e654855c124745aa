from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import DataError
from ecg_hub.input.samples import MISSING
from ecg_hub.input.wfdb import read_header, read_record
from ecg_hub.leads import LEADS
from tests.support.wfdb_reader import wfdb

SAMPLES = np.random.default_rng(0).integers(-3000, 3000, size=(50, 12)).astype("<i2")


def write_record(
    folder: Path, lines: list[str], data: np.ndarray = SAMPLES, name: str = "r", offset: int = 0, comments: str = ""
) -> Path:
    header = f"{name} {len(lines)} 500 {len(data)}\n" + "\n".join(lines) + "\n" + comments
    (folder / f"{name}.hea").write_text(header)
    (folder / f"{name}.dat").write_bytes(b"x" * offset + data.astype("<i2").tobytes())
    return folder / f"{name}.hea"


def lines(form: str = "16", gain: str = "1000.0(0)/mV", leads: tuple[str, ...] = LEADS) -> list[str]:
    sums = SAMPLES.sum(axis=0, dtype=np.int64) % 65536
    return [f"r.dat {form} {gain} 16 0 {SAMPLES[0, i]} {sums[i]} 0 {lead}" for i, lead in enumerate(leads)]


def test_samples_come_back_exactly_as_a_general_reader_gives_them(tmp_path: Path) -> None:
    signal = read_record(write_record(tmp_path, lines()))
    reference = wfdb.rdrecord(str(tmp_path / "r"), physical=False)
    assert (signal.samples == reference.d_signal).all()
    assert (signal.samples == SAMPLES).all()
    assert (signal.gain_uv == 1.0).all()
    assert (signal.baseline == 0).all()
    assert signal.sampling_rate == 500
    assert signal.remark == ""


@pytest.mark.parametrize(
    ("form", "gain", "offset", "gain_uv", "baseline"),
    [
        ("16+24", "1000/mV", 24, 1.0, 0),
        ("16x1+24", "1000.0(0)/mV", 24, 1.0, 0),
        ("16", "200/mv", 0, 5.0, 0),
        ("16", "2000", 0, 0.5, 0),
        ("16", "0", 0, 5.0, 0),
        ("16", "42444.15189873418(-13120)/mV", 0, 1000.0 / 42444.15189873418, -13120),
        ("16", "4.88/uV", 0, 1.0 / 4.88, 0),
    ],
)
def test_forms_of_the_signal_line(
    tmp_path: Path, form: str, gain: str, offset: int, gain_uv: float, baseline: int
) -> None:
    signal = read_record(write_record(tmp_path, lines(form, gain), offset=offset))
    assert (signal.samples == SAMPLES).all()
    assert signal.gain_uv == pytest.approx(np.full(12, gain_uv), rel=1e-7)
    assert (signal.baseline == baseline).all()


def test_leads_are_ordered_by_name_and_absent_ones_are_missing(tmp_path: Path) -> None:
    names = ("aVF", "aVL", "v1", "I", "II", "III", "aVR", "vx", "V3", "V5", "vz", "vy")
    signal = read_record(write_record(tmp_path, lines(leads=names)))
    assert (signal.samples[:, 0] == SAMPLES[:, 3]).all()
    assert (signal.samples[:, 4] == SAMPLES[:, 1]).all()
    assert (signal.samples[:, [7, 9, 11]] == MISSING).all()
    assert signal.remark == "no lead V2, V4, V6"


def test_signals_in_two_files_are_joined(tmp_path: Path) -> None:
    rows = lines()
    rows[9:] = [row.replace("r.dat", "r.xyz") for row in rows[9:]]
    path = write_record(tmp_path, rows, SAMPLES)
    (tmp_path / "r.dat").write_bytes(SAMPLES[:, :9].tobytes())
    (tmp_path / "r.xyz").write_bytes(SAMPLES[:, 9:].tobytes())
    assert (read_record(path).samples == SAMPLES).all()


def test_comments_carriage_returns_and_odd_record_lines_are_read(tmp_path: Path) -> None:
    path = write_record(tmp_path, lines(), comments="#Age: 43\n# Dx: 1, 2\n")
    text = path.read_text().replace("r 12 500 50", "r 12 500/1(0) 50 29-Mar-2021 11:17:48").replace("\n", "\r\n")
    path.write_bytes(text.encode())
    header = read_header(path)
    assert header.comments == ["Age: 43", "Dx: 1, 2"]
    assert (header.sampling_rate, header.samples, len(header.signals)) == (500, 50, 12)
    assert (read_record(path).samples == SAMPLES).all()


def test_a_header_without_length_takes_it_from_the_file(tmp_path: Path) -> None:
    path = write_record(tmp_path, lines())
    path.write_text(path.read_text().replace("r 12 500 50", "r 12 500"))
    assert (read_record(path).samples == SAMPLES).all()


def test_a_file_shorter_than_announced_is_damage(tmp_path: Path) -> None:
    path = write_record(tmp_path, lines())
    (tmp_path / "r.dat").write_bytes(SAMPLES.tobytes()[:-2])
    with pytest.raises(DataError, match=r"r\.dat holds 1198 bytes of signal, its header announces 1200"):
        read_record(path)


def test_missing_files_are_damage(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"r\.hea is missing"):
        read_record(tmp_path / "r.hea")
    path = write_record(tmp_path, lines())
    (tmp_path / "r.dat").unlink()
    with pytest.raises(DataError, match=r"r\.dat is missing"):
        read_record(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the record line is missing"),
        ("r twelve 500 50\n", "invalid literal"),
        ("r 2 500 50\nr.dat 16 1000/mV 16 0 0 0 0 I\n", "2 signals announced, 1 described"),
        ("r 1 500 50\nr.dat 16 much/mV 16 0 0 0 0 I\n", "gain 'much/mV' cannot be read"),
        ("r 1 500 50\nr.dat\n", "list index out of range"),
    ],
)
def test_damaged_headers_are_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "r.hea").write_text(text)
    with pytest.raises(DataError, match=r"r\.hea is not a WFDB header: .*" + reason):
        read_record(tmp_path / "r.hea")


def test_a_lead_in_a_unit_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lead aVL: unit 'mmHg' is no unit of voltage; allowed: V, mV, uV, nV"):
        read_record(write_record(tmp_path, [*lines()[:4], lines(gain="100/mmHg")[4], *lines()[5:]]))


def test_wrong_checksums_and_surplus_bytes_are_remarks(tmp_path: Path) -> None:
    path = write_record(tmp_path, lines())
    changed = SAMPLES.copy()
    changed[3, 4] += 1
    (tmp_path / "r.dat").write_bytes(changed.tobytes() + b"surplus!")
    remark = read_record(path).remark
    assert "the samples of aVL do not add up to the header's checksum" in remark
    assert "r.dat holds 8 bytes more than its header announces" in remark


def test_signed_checksums_are_right_too(tmp_path: Path) -> None:
    sums = SAMPLES.sum(axis=0, dtype=np.int64) % 65536
    rows = [f"r.dat 16 1000/mV 16 0 0 {int(s) - 65536} 0 {lead}" for s, lead in zip(sums, LEADS, strict=True)]
    assert read_record(write_record(tmp_path, rows)).remark == ""


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("form", ["212", "24", "32"])
def test_other_formats_go_through_the_general_reader(tmp_path: Path, form: str) -> None:
    digital = np.random.default_rng(1).integers(-2000, 2000, size=(40, 2))
    wfdb.wrsamp(
        "other", fs=250, units=["mV", "mV"], sig_name=["II", "V1"], d_signal=digital, fmt=[form] * 2,
        adc_gain=[200.0, 100.0], baseline=[0, 5], write_dir=str(tmp_path),
    )  # fmt: skip
    signal = read_record(tmp_path / "other.hea")
    microvolt = (signal.samples[:, [1, 6]].astype(float) - signal.baseline[[1, 6]]) * signal.gain_uv[[1, 6]]
    assert microvolt == pytest.approx((digital - [0, 5]) * [5.0, 10.0])
    assert (signal.samples[:, 0] == MISSING).all()
    assert signal.sampling_rate == 250


@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_integers_beyond_16_bit_are_quantised(tmp_path: Path) -> None:
    digital = np.random.default_rng(1).integers(-(2**20), 2**20, size=(40, 1))
    wfdb.wrsamp(
        "wide", fs=250, units=["mV"], sig_name=["II"], d_signal=digital, fmt=["24"], adc_gain=[1e6], baseline=[0],
        write_dir=str(tmp_path),
    )  # fmt: skip
    signal = read_record(tmp_path / "wide.hea")
    assert signal.samples[:, 1] * signal.gain_uv[1] == pytest.approx(digital[:, 0] / 1000.0, abs=0.02)


def test_real_records_equal_the_general_reader(shared: Path) -> None:
    folder = shared / "data/ptbxl/mini/records100/00000"
    for path in sorted(folder.glob("*.hea"))[:20]:
        signal = read_record(path)
        reference = wfdb.rdrecord(str(path.with_suffix("")), physical=False)
        assert (signal.samples == reference.d_signal).all()
        assert signal.remark == ""
        assert signal.gain_uv.tolist() == [1000.0 / gain for gain in reference.adc_gain]


@pytest.mark.parametrize("place", ["ptb", "ningbo", "cpsc2018", "cpsc_extra", "georgia"])
def test_other_real_wfdb_sources_equal_the_general_reader(shared: Path, place: str) -> None:
    checked = 0
    for path in sorted((shared / "data" / place).rglob("*.hea")):
        try:
            reference = wfdb.rdrecord(str(path.with_suffix("")), physical=False)
        except Exception:
            continue
        columns = [[n.lower() for n in reference.sig_name].index(lead.lower()) for lead in LEADS]
        signal = read_record(path)
        assert (signal.samples == reference.d_signal[:, columns]).all()
        assert signal.gain_uv == pytest.approx([1000.0 / reference.adc_gain[c] for c in columns])
        assert signal.baseline.tolist() == [reference.baseline[c] for c in columns]
        checked += 1
    assert checked
