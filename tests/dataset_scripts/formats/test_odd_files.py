"""Files as recorders, watches and archives really write them: read right, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pandas as pd
import pytest

from dataset_scripts.custom.description import Description
from dataset_scripts.formats.files import read_file
from dataset_scripts.formats.registry import read_signal
from ecg_hub.errors import DataError, InputError
from ecg_hub.input.samples import MISSING, Signal
from ecg_hub.leads import LEADS
from tests.support.own_files import MUSE_LEADS, dicom_group, integers, muse_lead, muse_text, write_dicom, write_edf

X = integers(1000, peak=900).astype(np.int16)


def about(**fields: Any) -> Description:
    return Description.model_validate({"name": "a", "signals": ".", **fields})


def microvolt(signal: Signal) -> np.ndarray:
    values = (signal.samples.astype(np.float64) - signal.baseline) * signal.gain_uv.astype(np.float64)
    return np.where(signal.samples == MISSING, np.nan, values)


def test_edf_units_have_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, X, 250, unit="uV")
    whole = path.read_bytes()
    for written, said in ((b"uV", None), (b"\xc2\xb5V", None), (b"\xb5V", None), (b"", "uV"), (b"?V", "uV")):
        path.write_bytes(whole.replace(b"uV".ljust(8), written.ljust(8)))
        found = microvolt(read_signal(path, about(unit=said)))
        np.testing.assert_allclose(found, X * 0.1, atol=1e-3)
    with pytest.raises(DataError, match=r"is no unit of voltage; .*say for example unit: uV in the description"):
        read_signal(path, about())


def test_a_cut_edf_is_refused_and_an_unknown_length_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, X, 250)
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[: 256 * 13 + 3 * 6000 - 7])
    with pytest.raises(DataError, match=r"a\.edf is cut short: its header announces 4 data records, 2 are there"):
        read_signal(path, about())
    path.write_bytes(whole + b"more")
    assert "4 bytes more than its header announces" in read_signal(path, about()).remark
    whole[236:244] = b"-1".ljust(8)
    path.write_bytes(whole)
    signal = read_signal(path, about())
    assert len(signal.samples) == 1000
    assert "does not say how many data records" in signal.remark


def test_dicom_limb_and_chest_leads_in_two_groups(tmp_path: Path) -> None:
    limb, chest = dicom_group(X[:, :6], 500, LEADS[:6]), dicom_group(X[:, 6:], 500, LEADS[6:])
    for order in ((limb, chest), (chest, limb)):
        write_dicom(tmp_path / "a.dcm", *order)
        signal = read_signal(tmp_path / "a.dcm", about())
        np.testing.assert_allclose(microvolt(signal), X * 2.5)
        assert signal.remark == ""


def test_dicom_four_groups_one_after_another_lie_where_they_were_recorded(tmp_path: Path) -> None:
    groups = []
    for k in range(4):
        group = dicom_group(X[250 * k : 250 * k + 250, 3 * k : 3 * k + 3], 100, LEADS[3 * k : 3 * k + 3])
        group.MultiplexGroupTimeOffset = str(2500.0 * k)
        groups.append(group)
    write_dicom(tmp_path / "a.dcm", *groups)
    signal = read_signal(tmp_path / "a.dcm", about())
    found = microvolt(signal)
    assert found.shape == (1000, 12)
    for k in range(4):
        np.testing.assert_allclose(found[250 * k : 250 * k + 250, 3 * k : 3 * k + 3], groups_of(k) * 2.5)
    assert np.isnan(found).sum() == 1000 * 12 * 3 // 4
    assert "one group after another" in signal.remark


def groups_of(k: int) -> np.ndarray:
    return X[250 * k : 250 * k + 250, 3 * k : 3 * k + 3]


def test_dicom_a_long_strip_does_not_beat_twelve_leads(tmp_path: Path) -> None:
    strip = dicom_group(np.tile(X[:, 1:2], (6, 1)), 500, ["II"], label="STRIP")
    write_dicom(tmp_path / "a.dcm", strip, dicom_group(X, 500))
    signal = read_signal(tmp_path / "a.dcm", about())
    np.testing.assert_allclose(microvolt(signal), X * 2.5)
    assert signal.remark == "1 of 2 groups of leads are left out"


def test_dicom_without_preamble_and_what_is_no_dicom(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    write_dicom(path, dicom_group(X, 500))
    whole = path.read_bytes()
    # The file meta information is 132 bytes and a group whose length its first element states.
    begin = 132 + 12 + int.from_bytes(whole[140:144], "little")
    path.write_bytes(whole[begin:])
    np.testing.assert_allclose(microvolt(read_signal(path, about())), X * 2.5)
    for content in (b"", b"a text that is no DICOM", bytes(1000), b"%PDF-1.4\n" + bytes(300)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.dcm (is no DICOM file|cannot be read)") as caught:
            read_signal(path, about())
        assert "force=True" not in str(caught.value)


def test_muse_channels_beside_the_leads_and_several_strips(tmp_path: Path) -> None:
    eight = X[:, :8]
    text = muse_text(eight, 500)
    other = muse_lead("RESP", eight[:10, 0], LeadAmplitudeUnits="OHM", LeadSampleSize=4)
    strip = "<Waveform><WaveformType>Rhythm</WaveformType><SampleBase>500</SampleBase>" + muse_lead("II", eight[:, 1])
    text = text.replace("</Waveform></RestingECG>", f"{other}</Waveform>{strip}</Waveform></RestingECG>")
    (tmp_path / "a.xml").write_text(text)
    signal = read_signal(tmp_path / "a.xml", about())
    np.testing.assert_allclose(microvolt(signal)[:, [LEADS.index(m) for m in MUSE_LEADS]], eight * 4.88, rtol=1e-6)
    assert "1 of 2 rhythm strips are left out" in signal.remark


def write_csv(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


MV = {"unit": "mV", "sampling_rate": 500}


@pytest.mark.parametrize(
    "text",
    [
        "I;II\n0;0\n0,5;-1\n-;2\n",
        "\ufeffI;II\r\n0;0\r\n0,5;-1\r\n;2\r\n",
        "I (mV),Lead II (mV),note\n0,0,Jos\u00e9\n0.5,-1,x\nN/A,2,y\n".encode("latin-1"),
        "I\tII\n0\t0\n0,5\t-1\nnan\t2\n".encode("utf-16"),
        "Name,Jane Doe\n\nI,II\nmV,mV\n0,0\n0.5,-1\nNULL,2\n",
        "time,I,II,RESP\n0,0,0,a\n1,0.5,-1,b\n2,,2,c\n",
    ],
)
def test_csv_dialects(text: str | bytes, tmp_path: Path) -> None:
    found = microvolt(read_signal(write_csv(tmp_path / "a.csv", text), about(**MV)))
    np.testing.assert_allclose(found[:, :2], [[0, 0], [500, -1000], [np.nan, 2000]], atol=0.5)


WATCH = (
    'Name,Jane Doe\nDate of Birth,"Jan 1, 1970"\nDevice,"Watch6,2"\nSample Rate,512 hertz\n\n'
    "Lead,Lead I\nUnit,\u00b5V\n\n"
)


@pytest.mark.parametrize(
    "text",
    [
        WATCH + "".join(f"{k}.5\n" for k in range(50)),
        WATCH.replace("Lead I", "Ableitung I") + "".join(f'"{k},5"\n' for k in range(50)),
        WATCH.replace("Unit,\u00b5V", "").replace("Lead,Lead I", "Lead I (\u00b5V)")
        + "".join(f"{k}.5\n" for k in range(50)),
    ],
)
def test_exports_of_a_watch_say_their_rate_and_unit(text: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", text)
    signal = read_signal(path, about())
    assert signal.sampling_rate == 512
    np.testing.assert_allclose(microvolt(signal)[:, 0], np.arange(50) + 0.5, atol=1e-3)
    assert read_file(path).sampling_rate == 512
    with pytest.raises(DataError, match="states 512 Hz, the description says sampling_rate: 500"):
        read_signal(path, about(sampling_rate=500))
    with pytest.raises(DataError, match=r"states the unit .V, the description says unit: mV"):
        read_signal(path, about(unit="mV"))


@pytest.mark.parametrize(
    ("lines", "rate"),
    [
        (["Heart rate,72", "Sample Rate,512 hertz"], 512),
        (["Herzfrequenz: 72", "Abtastrate: 500"], 500),
        (["Filter,0.05-150 Hz", "Sampling frequency,500"], 500),
        (["Notch frequency,50", "Sampling frequency (Hz),500"], 500),
        (["Mains filter: 50 Hz; Sampling rate: 500 Hz"], 500),
        (["Sampling rate: 500, Filter: 50 Hz"], 500),
        (["Number of samples,5000", "Fréquence d'échantillonnage,250"], 250),
        (["Frequency,250"], 250),
        (["ECG, 12 leads, 500 Hz"], 500),
        (["Heart rate,72"], None),
        (["Ventricular rate: 72", "Filter: 0.5 - 40 Hz"], None),
        (["Number of samples,5000"], None),
        (["Sampling rate,500", "Sampling rate of the export,250"], None),
    ],
)
def test_a_rate_of_the_heart_or_of_a_filter_is_no_sampling_rate(
    lines: list[str], rate: int | None, tmp_path: Path
) -> None:
    samples = "".join(f"{k % 7},{k % 5}\n" for k in range(50))
    path = write_csv(tmp_path / "a.csv", "\n".join([*lines, "I (uV),II (uV)", samples]))
    if rate is None:
        with pytest.raises(InputError, match="states no sampling rate"):
            read_file(path)
        assert read_file(path, 400).sampling_rate == 400
    else:
        assert read_file(path).sampling_rate == rate


@pytest.mark.parametrize(
    "text",
    [
        "Name,Jane Doe\nDate of Birth,1970-01-01\nUnit,uV\n" + "12.5,0\n" * 50,
        "Jane Doe,1970-01-01\n1,2\n3,4\n",
        "Jane Doe\n" + "12.5\n" * 50,
    ],
)
def test_no_message_repeats_a_person(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_signal(write_csv(tmp_path / "a.csv", text), about(**MV))
    assert "Jane" not in str(caught.value)
    assert "1970" not in str(caught.value)


def test_what_a_library_quotes_of_a_damaged_file_is_not_repeated(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", X, 250)
    data = bytearray((tmp_path / "a.edf").read_bytes())
    data[252:256] = b"Jane"
    (tmp_path / "a.edf").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.edf cannot be read as edf: its header is damaged") as caught:
        read_signal(tmp_path / "a.edf", about())
    assert "Jane" not in str(caught.value)


def test_a_lead_twice_and_the_way_out(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", X[:, :3], 250, names=["I", "II", "Lead II"])
    with pytest.raises(
        DataError, match=r"lead II occurs twice, as 'II' and as 'Lead II'.*null for a channel to leave out"
    ):
        read_signal(tmp_path / "a.edf", about())
    signal = read_signal(tmp_path / "a.edf", about(lead_names={"Lead II": None}))
    np.testing.assert_allclose(microvolt(signal)[:, 1], X[:, 1] * 0.1, atol=1e-3)


def test_one_file_as_recording(tmp_path: Path) -> None:
    extra = edfio.EdfSignal(np.zeros(80), 20, label="Pleth", physical_dimension="", physical_range=(-1, 1))
    write_edf(tmp_path / "a.edf", X, 250, extra=[extra])
    recording = read_file(tmp_path / "a.edf")
    np.testing.assert_allclose(recording.values, X.T * 1e-4, atol=1e-5)
    assert (recording.sampling_rate, tuple(recording.lead_names), set(recording.units)) == (250, LEADS, {"mV"})
    (tmp_path / "a.csv").write_text("I,II\n0,0\n1,2\n")
    with pytest.raises(InputError, match=r"sampling_rate=500.* describe it in a YAML file .*`ecg-hub embed"):
        read_file(tmp_path / "a.csv")
    with pytest.raises(InputError, match="states no unit: give it, for example unit='mV'"):
        read_file(tmp_path / "a.csv", 500)
    assert read_file(tmp_path / "a.csv", 500, "mV").values[:2].tolist() == [[0, 1], [0, 2]]
    write_dicom(tmp_path / "IM0001", dicom_group(X, 500))
    np.testing.assert_allclose(read_file(tmp_path / "IM0001").values, X.T * 2.5e-3, atol=1e-5)
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(InputError, match=r"the ending '\.bin' names no format; known: \.hea, .*YAML"):
        read_file(tmp_path / "a.bin")


def test_gaps_and_flat_leads_are_said(tmp_path: Path) -> None:
    limb, chest = dicom_group(X[:, :6], 500, names=LEADS[:6]), dicom_group(X[:400, 6:], 500, names=LEADS[6:])
    write_dicom(tmp_path / "a.dcm", limb, chest)
    remark = read_signal(tmp_path / "a.dcm", about()).remark
    assert "its groups of leads differ in length" in remark
    assert "3600 samples are missing in V1, V2, V3, V4, V5, V6" in remark
    still = X.copy()
    still[:, 5] = 7
    write_edf(tmp_path / "b.edf", still, 250)
    assert read_signal(tmp_path / "b.edf", about()).remark == "aVF flat"


def test_empty_and_cut_files_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    (tmp_path / "a.csv").write_text("I,II\n1,2\n3,4\n5")
    for name, reason in (("a.parquet", "it is empty"), ("a.csv", "is cut short: its last row")):
        with pytest.raises(DataError, match=reason):
            read_signal(tmp_path / name, about(sampling_rate=500, unit="mV"))


def test_a_watch_with_decimal_commas(tmp_path: Path) -> None:
    """The line that names the lead has two cells, as has every number with a decimal comma below it."""
    head = "Name,Jane\nAbtastrate,512 Hertz\nAbleitung,Ableitung I\nEinheit,µV\n\n"
    (tmp_path / "a.csv").write_text(head + "".join(f"{value},25\n" for value in range(40)))
    signal = read_signal(tmp_path / "a.csv", about())
    np.testing.assert_allclose(microvolt(signal)[:, 0], np.arange(40) + 0.25)
    assert signal.sampling_rate == 512


@pytest.mark.parametrize("lines", ["Calibration,1,mV\nUnit,uV\n", "Unit,uV\nCalibration,1,mV\n"])
def test_the_unit_of_a_file_is_not_that_of_its_calibration(lines: str, tmp_path: Path) -> None:
    samples = "".join(f"{k % 40},{k % 30}\n" for k in range(80))
    path = write_csv(tmp_path / "a.csv", f"{lines}I,II\n{samples}")
    np.testing.assert_allclose(microvolt(read_signal(path, about(sampling_rate=500)))[:3, 0], [0, 1, 2])
    # Two of which nothing says that one is the unit of the samples.
    path = write_csv(tmp_path / "b.csv", f"Calibration,1,mV\nNoise,2,uV\nI,II\n{samples}")
    with pytest.raises(DataError, match="states no unit"):
        read_signal(path, about(sampling_rate=500))


@pytest.mark.parametrize(
    ("name", "step"),
    [("Time (s)", 0.004), ("time_ms", 4), ("t [ms]", 4.0), ("Zeit (\u00b5s)", 4000), ("Time (s)", 0.00401)],
)
def test_a_column_of_times_that_contradicts_the_rate_is_refused(name: str, step: float, tmp_path: Path) -> None:
    lines = [f"{k * step:.6g},{k % 40},{k % 30}" for k in range(80)]
    path = write_csv(tmp_path / "a.csv", "\n".join([f"{name},I,II", *lines]))
    assert read_signal(path, about(sampling_rate=250, unit="uV")).sampling_rate == 250
    with pytest.raises(DataError, match=r"samples a second, not 500 Hz"):
        read_signal(path, about(sampling_rate=500, unit="uV"))


@pytest.mark.parametrize("step", [0.004, 4, 4000, 4e6, 1])
def test_times_without_a_unit_contradict_the_rate_where_no_unit_fits(step: float, tmp_path: Path) -> None:
    lines = [f"{k * step:.9g},{k % 40},{k % 30}" for k in range(80)]
    path = write_csv(tmp_path / "a.csv", "\n".join(["time,I,II", *lines]))
    assert read_signal(path, about(sampling_rate=250, unit="uV")).sampling_rate == 250
    # Numbers of the samples say nothing of the rate.
    if step != 1:
        with pytest.raises(
            DataError, match=rf"its column 'time' has steps of {step:.4g}, not 500 Hz".replace("+", r"\+")
        ):
            read_signal(path, about(sampling_rate=500, unit="uV"))


def test_times_in_the_index_of_a_parquet_file_are_looked_at(tmp_path: Path) -> None:
    frame = pd.DataFrame({"I": np.arange(80) % 40, "II": np.arange(80) % 30})
    frame.set_index(pd.Index(np.arange(80) / 250, name="Time (s)")).to_parquet(tmp_path / "a.parquet")
    assert read_signal(tmp_path / "a.parquet", about(sampling_rate=250, unit="uV")).sampling_rate == 250
    with pytest.raises(DataError, match=r"'Time \(s\)' has 250 samples a second, not 500 Hz"):
        read_signal(tmp_path / "a.parquet", about(sampling_rate=500, unit="uV"))


def test_a_table_of_a_rate_that_is_not_whole_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "I,II\n" + "1,2\n" * 80)
    with pytest.raises(InputError, match=r"sampling_rate=62\.5 is no whole number of Hz.* as an array"):
        read_file(path, 62.5, "uV")


def test_gaps_and_rounded_times_contradict_no_rate(tmp_path: Path) -> None:
    times = {"gap": [k / 250 + 60 * (k > 40) for k in range(80)], "rounded": [round(k / 250, 2) for k in range(80)]}
    for name, column in times.items():
        lines = [f"{time},{k % 40},{k % 30}" for k, time in enumerate(column)]
        path = write_csv(tmp_path / f"{name}.csv", "\n".join(["Time (s),I,II", *lines]))
        assert read_signal(path, about(sampling_rate=250, unit="uV")).sampling_rate == 250


def test_comment_lines_and_bars_between_samples(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("I|II\n# begin\n1|2\n3|4\n# end\n")
    signal = read_signal(tmp_path / "a.csv", about(sampling_rate=500, unit="uV"))
    np.testing.assert_allclose(microvolt(signal)[:, :2], [[1, 2], [3, 4]])


def test_a_lead_twice_by_the_same_name_is_a_matter_of_the_file(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", X[:, :3], 250, names=["I", "II", "II"])
    with pytest.raises(DataError, match="rename or delete one of them in the file"):
        read_signal(tmp_path / "a.edf", about())


def test_a_lead_that_pandas_took_for_the_index(tmp_path: Path) -> None:
    pd.DataFrame(X, columns=list(LEADS)).set_index("I").to_parquet(tmp_path / "a.parquet")
    found = microvolt(read_signal(tmp_path / "a.parquet", about(sampling_rate=500, unit="uV")))
    np.testing.assert_allclose(found, X)


def test_what_xml_quotes_is_not_repeated(tmp_path: Path) -> None:
    text = muse_text(X[:, :8], 500)
    for changed in (
        text.replace("nobody", "&Jane;"),
        text.replace("<SampleBase>500", "<SampleBase>Jane"),
        '<!DOCTYPE a [<!ENTITY Jane "x">]>' + text[text.index("<RestingECG") :],
    ):
        (tmp_path / "a.xml").write_text(changed)
        with pytest.raises(DataError) as caught:
            read_signal(tmp_path / "a.xml", about(format="muse"))
        assert "Jane" not in str(caught.value)
