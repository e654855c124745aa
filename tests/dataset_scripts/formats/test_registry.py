"""Every format is read back exactly, against what was written and against an independent reader where there is one."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.data import get_testdata_file

from dataset_scripts.core.spec import Signal
from dataset_scripts.custom.description import Description
from dataset_scripts.formats import channels
from dataset_scripts.formats.registry import format_of, read_signal
from ecg_hub.errors import DataError, InputError
from ecg_hub.input.samples import MISSING
from ecg_hub.leads import DERIVED_LEADS, LEADS
from tests.support.own_files import (
    MUSE_LEADS,
    dicom_group,
    integers,
    muse_text,
    write_dicom,
    write_edf,
)
from tests.support.records import write_record
from tests.support.wfdb_reader import wfdb

EIGHT = [LEADS.index(lead) for lead in MUSE_LEADS]


def about(**fields: Any) -> Description:
    return Description.model_validate({"name": "a", "signals": ".", **fields})


def microvolt(signal: Signal) -> np.ndarray:
    values = (signal.samples.astype(np.float64) - signal.baseline) * signal.gain_uv.astype(np.float64)
    return np.where(signal.samples == MISSING, np.nan, values)


def limb_leads(values: np.ndarray) -> np.ndarray:
    """The four derived leads of (samples, leads) with I and II first."""
    return np.stack([a * values[:, 0] + b * values[:, 1] for a, b in DERIVED_LEADS.values()], axis=1)


def test_edf_is_lossless(tmp_path: Path) -> None:
    digital = integers(2500)
    notes = [edfio.EdfAnnotation(1.0, None, "asystole")]
    write_edf(tmp_path / "a.edf", digital, 250, annotations=notes)
    signal = read_signal(tmp_path / "a.edf", about())
    assert np.array_equal(signal.samples, digital)
    assert signal.sampling_rate == 250
    assert signal.gain_uv == pytest.approx(np.full(12, 0.1))
    assert (signal.baseline == 0).all()
    assert signal.remark == ""


def test_edf_whose_zero_lies_between_two_units_is_within_half_a_microvolt(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", integers(500), 250, physical=(-5.0, 5.0), unit="mV")
    signal = read_signal(tmp_path / "a.edf", about())
    expected = np.stack([s.data for s in edfio.read_edf(tmp_path / "a.edf").signals], axis=1) * 1000
    assert np.abs(microvolt(signal) - expected).max() <= 0.5 * signal.gain_uv[0]
    assert signal.gain_uv[0] <= 1


def test_edf_that_uses_the_marker_of_missing_samples_is_shifted(tmp_path: Path) -> None:
    digital = integers(500)
    digital[7, 3] = -32768
    write_edf(tmp_path / "a.edf", digital, 250)
    signal = read_signal(tmp_path / "a.edf", about())
    assert (signal.samples != MISSING).all()
    assert np.array_equal(signal.samples.astype(int) - signal.baseline, digital)
    assert signal.baseline[3] != 0


def test_edf_leaves_out_other_channels_and_takes_odd_names(tmp_path: Path) -> None:
    other = edfio.EdfSignal(np.zeros(20), 10, label="Resp", physical_dimension="l", physical_range=(-1, 1))
    names = [f"Channel {k}" for k in range(12)]
    write_edf(tmp_path / "a.edf", integers(500), 250, names=names, extra=[other])
    with pytest.raises(DataError, match=r"'Channel 1'.*lead_names"):
        read_signal(tmp_path / "a.edf", about())
    signal = read_signal(tmp_path / "a.edf", about(lead_names=dict(zip(names, LEADS, strict=True))))
    assert np.array_equal(signal.samples, integers(500))


def test_edf_damage(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", integers(2500), 250)
    whole = (tmp_path / "a.edf").read_bytes()
    (tmp_path / "cut.edf").write_bytes(whole[:900])
    with pytest.raises(DataError, match=r"cut\.edf is cut short within its header"):
        read_signal(tmp_path / "cut.edf", about())
    write_edf(tmp_path / "unit.edf", integers(500), 250, unit="mmHg")
    with pytest.raises(DataError, match="'mmHg' is no unit of voltage"):
        read_signal(tmp_path / "unit.edf", about())
    fast = edfio.EdfSignal(np.zeros(1000), 500, label="V1", physical_dimension="uV", physical_range=(-1, 1))
    write_edf(tmp_path / "rates.edf", integers(500, 2), 250, names=["I", "II"], extra=[fast])
    with pytest.raises(DataError, match=r"\[250\.0, 500\.0\] Hz"):
        read_signal(tmp_path / "rates.edf", about())


def test_edf_with_gaps_is_refused(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", integers(500), 250, annotations=[edfio.EdfAnnotation(0.5, None, "x")])
    data = bytearray((tmp_path / "a.edf").read_bytes())
    assert data[192:197] == b"EDF+C"
    data[192:197] = b"EDF+D"
    first = data.find(b"+1\x14\x14")  # the time of the second data record
    data[first : first + 2] = b"+7"
    (tmp_path / "a.edf").write_bytes(data)
    with pytest.raises(DataError, match="gaps"):
        read_signal(tmp_path / "a.edf", about())


@pytest.mark.parametrize("scheme", ["MDC", "SCPECG", "meaning"])
def test_dicom_is_lossless(scheme: str, tmp_path: Path) -> None:
    digital = integers(5000).astype(np.int16)
    order = ["V6", "II", "I", *[lead for lead in LEADS if lead not in ("V6", "II", "I")]]
    median = dicom_group(np.zeros((600, 12), np.int16), 500, label="MEDIAN BEAT", originality="DERIVED")
    group = dicom_group(digital, 500, order, scheme=scheme, correction="2")
    write_dicom(tmp_path / "a.dcm", median, group)
    signal = read_signal(tmp_path / "a.dcm", about())
    assert np.array_equal(signal.samples, digital[:, [order.index(lead) for lead in LEADS]])
    assert (signal.gain_uv == 5.0).all()
    assert signal.sampling_rate == 500


def test_dicom_of_another_maker_agrees_with_pydicom() -> None:
    """A file of a real device that pydicom carries: a rhythm strip of 10 s and a median beat."""
    path = Path(str(get_testdata_file("waveform_ecg.dcm")))
    signal = read_signal(path, about())
    content = pydicom.dcmread(path)
    names = [c.ChannelSourceSequence[0].CodeMeaning for c in content.WaveformSequence[0].ChannelDefinitionSequence]
    order = [next(k for k, name in enumerate(names) if f"Lead {lead} " in f"{name} ") for lead in LEADS]
    assert np.allclose(microvolt(signal), content.waveform_array(0)[:, order], atol=1e-6)
    assert (signal.sampling_rate, len(signal.samples)) == (1000, 10000)


def test_dicom_unsigned_samples_baseline_and_padding(tmp_path: Path) -> None:
    digital = (integers(1000) + 32768).astype(np.uint16)
    digital[5, 4] = 0
    group = dicom_group(digital, 500, sensitivity="0.0025", unit="mV", baseline="-81.92", padding=0)
    write_dicom(tmp_path / "a.dcm", group)
    signal = read_signal(tmp_path / "a.dcm", about())
    values = microvolt(signal)
    assert np.isnan(values[5, 4])
    assert int(np.isnan(values).sum()) == 1
    expected = (digital.astype(float) * 0.0025 - 81.92) * 1000
    assert np.nanmax(np.abs(values - np.where(digital == 0, np.nan, expected))) < 1e-3
    assert (np.diff(signal.samples[10:, 0].astype(int)) == np.diff(digital[10:, 0].astype(int))).all()


def test_dicom_that_has_no_rhythm_strip(tmp_path: Path) -> None:
    write_dicom(tmp_path / "none.dcm")
    with pytest.raises(DataError, match=r"holds no waveform .*9\.1\.1"):
        read_signal(tmp_path / "none.dcm", about())
    write_dicom(tmp_path / "median.dcm", dicom_group(np.zeros((600, 12), np.int16), 500, originality="DERIVED"))
    with pytest.raises(DataError, match="no rhythm strip"):
        read_signal(tmp_path / "median.dcm", about())
    write_dicom(tmp_path / "unit.dcm", dicom_group(np.zeros((600, 12), np.int16), 500, unit="mm[Hg]"))
    with pytest.raises(DataError, match=r"lead 'I'.*mm\[Hg\]"):
        read_signal(tmp_path / "unit.dcm", about())
    companded = dicom_group(np.zeros((600, 12), np.int16), 500)
    companded.WaveformBitsAllocated, companded.WaveformSampleInterpretation = 8, "MB"
    companded.WaveformData = bytes(600 * 12)
    write_dicom(tmp_path / "law.dcm", companded)
    with pytest.raises(DataError, match="'MB' are companded"):
        read_signal(tmp_path / "law.dcm", about())
    (tmp_path / "text.dcm").write_text("this is no DICOM file")
    with pytest.raises(DataError, match=r"text\.dcm is no DICOM file"):
        read_signal(tmp_path / "text.dcm", about())


def test_dicom_that_is_cut_short(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", dicom_group(integers(5000).astype(np.int16), 500))
    whole = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.dcm is cut short: \d+ bytes of samples, 120000 announced"):
        read_signal(tmp_path / "a.dcm", about())


def test_muse_is_lossless_and_derives_four_leads(tmp_path: Path) -> None:
    digital = integers(5000, 8)
    (tmp_path / "a.xml").write_text(muse_text(digital, 500, prolog='<!DOCTYPE RestingECG SYSTEM "restecg.dtd">'))
    signal = read_signal(tmp_path / "a.xml", about())
    assert np.array_equal(signal.samples[:, EIGHT], digital)
    assert signal.gain_uv[0] == np.float32(4.88)
    expected = limb_leads(digital * float(np.float32(4.88)))
    assert np.abs(microvolt(signal)[:, 2:6] - expected).max() < 1e-6
    assert signal.sampling_rate == 500
    assert signal.remark == "III, aVR, aVL, aVF derived from I and II"


def test_derived_leads_of_unlike_gains_are_within_half_a_microvolt(tmp_path: Path) -> None:
    text = muse_text(integers(500, 8), 500).replace("4.88", "2.44", 9)  # the eight median leads and I
    (tmp_path / "a.xml").write_text(text)
    signal = read_signal(tmp_path / "a.xml", about())
    assert signal.gain_uv[:2].tolist() == [np.float32(2.44), np.float32(4.88)]
    expected = limb_leads(integers(500, 8)[:, :2] * signal.gain_uv[:2].astype(np.float64))
    assert np.abs(microvolt(signal)[:, 2:6] - expected).max() <= 0.5


def test_derived_leads_that_do_not_fit_are_coarser(tmp_path: Path) -> None:
    digital = integers(100, 8)
    digital[0, :2] = 32767, 32767
    digital[1, :2] = -32767, -32767
    (tmp_path / "a.xml").write_text(muse_text(digital, 500))
    signal = read_signal(tmp_path / "a.xml", about())
    expected = limb_leads(digital * float(np.float32(4.88)))
    error = np.abs(microvolt(signal)[:, 2:6] - expected).max(axis=0)
    assert (error <= 0.5 * signal.gain_uv[2:6] + 1e-6).all()
    assert signal.gain_uv[3] > signal.gain_uv[0]
    assert np.array_equal(signal.samples[:, 0].astype(int) - signal.baseline[0], digital[:, 0])


HOSTILE = {
    "bomb": '<!DOCTYPE RestingECG [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>',
    "file": '<!DOCTYPE RestingECG [<!ENTITY a SYSTEM "file:///etc/hostname">]>',
    "parameter": '<!DOCTYPE RestingECG [<!ENTITY % a SYSTEM "http://127.0.0.1:9/x.dtd"> %a;]>',
}


@pytest.mark.parametrize("prolog", HOSTILE.values(), ids=HOSTILE)
def test_hostile_xml_is_refused(prolog: str, tmp_path: Path) -> None:
    text = muse_text(integers(100, 8), 500, prolog=prolog).replace("nobody", "&a;" if "%" not in prolog else "x")
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=r"a\.xml is refused: it declares entities \(EntitiesForbidden\)"):
        read_signal(tmp_path / "a.xml", about())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"LeadAmplitudeUnits": "FURLONGS"}, "'FURLONGS' is no unit of voltage"),
        ({"LeadAmplitudeUnitsPerBit": "much"}, "LeadAmplitudeUnitsPerBit is missing or no number"),
        ({"LeadAmplitudeUnitsPerBit": "0"}, "the gain of 'I' or another lead is 0"),
        ({"LeadSampleCountTotal": 5000}, "holds 100 samples, 5000 are announced"),
        ({"LeadSampleSize": 4}, "samples of 4 bytes"),
        ({"WaveFormData": "not base64!"}, "lead 'I' holds no 16-bit samples"),
    ],
)
def test_muse_damage(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(muse_text(integers(100, 8), 500, **changes))
    with pytest.raises(DataError, match=message):
        read_signal(tmp_path / "a.xml", about())


def test_muse_other_roots_cut_files_and_checksums(tmp_path: Path) -> None:
    text = muse_text(integers(100, 8), 500)
    (tmp_path / "root.xml").write_text("<Report/>")
    with pytest.raises(DataError, match="'Report'"):
        read_signal(tmp_path / "root.xml", about())
    (tmp_path / "cut.xml").write_text(text[:3000])
    with pytest.raises(DataError, match=r"cut\.xml is no well-formed XML at line"):
        read_signal(tmp_path / "cut.xml", about())
    (tmp_path / "median.xml").write_text(text.replace("Rhythm", "Median"))
    with pytest.raises(DataError, match="0 waveforms of type 'Rhythm'"):
        read_signal(tmp_path / "median.xml", about())
    right = zlib.crc32(integers(100, 8)[:, 0].astype("<i2").tobytes())
    (tmp_path / "sum.xml").write_text(text.replace(str(right), "12345"))
    assert "samples of I do not fit their checksum" in read_signal(tmp_path / "sum.xml", about()).remark


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_integer_columns_are_lossless(form: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(integers(1000), columns=list(LEADS))
    frame.insert(0, "time", np.arange(1000) / 500)
    frame["note"] = "x"
    path = tmp_path / f"a.{form}"
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    signal = read_signal(path, about(sampling_rate=500, unit="4.88 uV"))
    assert np.array_equal(signal.samples, integers(1000))
    assert (signal.gain_uv == np.float32(4.88)).all()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_float_columns_are_quantised_and_gaps_stay_missing(form: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 0.5, (1000, 12))
    values[3, 4] = np.nan
    frame = pd.DataFrame(values, columns=list(LEADS))
    path = tmp_path / f"a.{form}"
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    found = microvolt(read_signal(path, about(sampling_rate=500, unit="mV")))
    assert np.isnan(found[3, 4])
    assert np.nanmax(np.abs(found - values * 1000)) <= 0.5


def test_csv_with_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeffI;II\n0,5;-0,25\n1,5;0,75\n", encoding="utf-8")
    found = microvolt(read_signal(tmp_path / "a.csv", about(sampling_rate=500, unit="mV")))
    assert np.allclose(found[:, :3], [[500, -250, -750], [1500, 750, -750]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("I,II\n1,2\n3,4,5\n", "cannot be read as csv"),
        ("I,II\n1,2,3\n3,4,5\n", "cannot be read as csv"),
        ("I,II\n1,x\n", "'II' holds cells that are no numbers"),
        ("a,b\n1,2\n", r"none of the twelve leads among 'a', 'b'.*lead_names"),
        ("", "cannot be read as csv"),
        ("I,II\n1,inf\n", "infinite"),
    ],
)
def test_csv_damage(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_signal(tmp_path / "a.csv", about(sampling_rate=500, unit="mV"))


def test_wfdb_format_16_keeps_its_integers(tmp_path: Path) -> None:
    write_record(tmp_path / "a", integers(1000)[:, :8].T / 200.0, 500, MUSE_LEADS, gain=200)
    signal = read_signal(tmp_path / "a.hea", about())
    assert np.array_equal(signal.samples[:, EIGHT], integers(1000)[:, :8])
    assert signal.remark == "III, aVR, aVL, aVF derived from I and II"
    assert np.allclose(microvolt(signal)[:, 2:6], limb_leads(integers(1000) * 5.0))


@pytest.mark.filterwarnings("ignore")  # the wfdb writer uses a keyword that pandas 3.1 deprecates
@pytest.mark.parametrize("form", ["212", "24", "16"])
def test_wfdb_other_formats_and_names(form: str, tmp_path: Path) -> None:
    digital = integers(1000, 12, peak=2000)
    names = [f"ch{k}" for k in range(12)]
    wfdb.wrsamp(
        "a", 250, ["mV"] * 12, names, d_signal=digital, fmt=[form] * 12, adc_gain=[200.0] * 12,
        baseline=list(range(12)), write_dir=str(tmp_path),
    )  # fmt: skip
    with pytest.raises(DataError, match="lead_names"):
        read_signal(tmp_path / "a.hea", about())
    signal = read_signal(tmp_path / "a.hea", about(lead_names=dict(zip(names, LEADS, strict=True))))
    assert np.array_equal(signal.samples, digital)
    assert signal.baseline.tolist() == list(range(12))
    assert (signal.gain_uv == 5.0).all()


def test_wfdb_without_its_signal_file(tmp_path: Path) -> None:
    write_record(tmp_path / "a", integers(1000).T / 1000.0, 500, LEADS)
    (tmp_path / "a.dat").unlink()
    with pytest.raises(DataError, match=r"a\.dat is missing"):
        read_signal(tmp_path / "a.hea", about())


def test_formats_by_ending_and_by_name(tmp_path: Path) -> None:
    assert format_of(Path("x/A.EDF"), about()) == "edf"
    assert format_of(Path("x/IM0001"), about(format="dicom")) == "dicom"
    with pytest.raises(DataError, match=r"ending '\.bin' names no format"):
        format_of(Path("x/a.bin"), about())
    (tmp_path / "a.csv").write_text("I,II\n1,2\n3,4\n")
    with pytest.raises(DataError, match="add unit: mV and sampling_rate: 500"):
        read_signal(tmp_path / "a.csv", about())
    with pytest.raises(DataError, match=r"gone\.edf is missing"):
        read_signal(tmp_path / "gone.edf", about())


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(channels, "import_module", refuse)
    (tmp_path / "a.edf").write_bytes(b"0")
    with pytest.raises(InputError, match="pip install edfio"):
        read_signal(tmp_path / "a.edf", about())


def test_dates_of_a_patient_are_not_needed(tmp_path: Path) -> None:
    """An EDF header without a readable start date is common after de-identification."""
    write_edf(tmp_path / "a.edf", integers(500), 250)
    data = bytearray((tmp_path / "a.edf").read_bytes())
    data[168:176] = b"xx.xx.xx"
    (tmp_path / "a.edf").write_bytes(data)
    assert len(read_signal(tmp_path / "a.edf", about()).samples) == 500
