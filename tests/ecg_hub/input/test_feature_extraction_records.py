"""WFDB records as input of the feature extractor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.input.feature_extraction import ECGFeatureExtractor
from ecg_hub.input.recordings import wfdb_recording
from ecg_hub.input.resampling import resample
from ecg_hub.input.wfdb import load_wfdb
from ecg_hub.leads import LEADS
from tests.support.extraction import MIMIC_ORDER, signal, values
from tests.support.own_files import dicom_group, integers, write_dicom, write_edf
from tests.support.records import write_record


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_record_path(extractor: ECGFeatureExtractor, tmp_path: Path, suffix: str) -> None:
    x = signal()
    write_record(tmp_path / "a", x, 500, [lead.upper() for lead in LEADS])
    stored = np.round(x * 1000) / 1000
    expected = values(extractor(stored, 500, LEADS))
    np.testing.assert_allclose(values(extractor(tmp_path / f"a{suffix}")), expected, atol=1e-6)
    np.testing.assert_allclose(values(extractor(str(tmp_path / f"a{suffix}"))), expected, atol=1e-6)


def test_header_decides_rate_names_and_units(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    x = signal(4000)
    names = [*MIMIC_ORDER, "vx"]
    rows = np.concatenate([x[[LEADS.index(lead) for lead in MIMIC_ORDER]], signal(4000, 1)])
    write_record(tmp_path / "b", rows * 1000, 400, names, unit="uV", gain=1.0)
    expected = values(extractor(np.round(x * 1000), 400.0, LEADS, unit="uV", window="all"))
    np.testing.assert_allclose(values(extractor(tmp_path / "b", window="all")), expected, atol=1e-6)
    np.testing.assert_array_equal(values(extractor([tmp_path / "b"], 400)), values(extractor(tmp_path / "b")))


def test_paths_and_arrays_in_one_list(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    x = signal()
    write_record(tmp_path / "m", x, 500, LEADS)
    batch = extractor([x, tmp_path / "m"], 500, LEADS)
    assert batch["record_index"].tolist() == [0, 1]
    np.testing.assert_allclose(values(batch)[0], values(batch)[1], atol=2e-3)


def test_lead_names_given_for_a_record_replace_the_headers(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    write_record(tmp_path / "c", signal(), 500, [f"channel {row}" for row in range(12)])
    with pytest.raises(UnknownNameError, match=r"record '.*c': Unknown lead 'channel 0'"):
        extractor(tmp_path / "c")
    assert values(extractor(tmp_path / "c", lead_names=LEADS)).shape == (1, 12, 600)


CABRERA = ("aVL", "I", "aVR", "II", "aVF", "III", "V6", "V5", "V4", "V3", "V2", "V1")


@pytest.mark.parametrize("name", ["a.csv", "a.edf", "a.dcm", "groups.dcm"])
def test_lead_names_given_for_a_file_are_in_the_order_of_the_file(
    name: str, extractor: ECGFeatureExtractor, tmp_path: Path
) -> None:
    stored = integers(1500).astype(np.int16)
    path, said = tmp_path / name, {}
    if name.endswith(".csv"):
        path.write_text("\n".join(",".join(map(str, row)) for row in [CABRERA, *(stored * 0.001).tolist()]) + "\n")
        said = {"sampling_rate": 500, "unit": "mV"}
    elif name.endswith(".edf"):
        write_edf(path, stored, 500, CABRERA, physical=(-32768, 32767))
    else:
        parts = [slice(0, 6), slice(6, 12)] if name == "groups.dcm" else [slice(0, 12)]
        write_dicom(path, *(dicom_group(stored[:, k], 500, CABRERA[k], sensitivity="1") for k in parts))
    for given in (CABRERA, LEADS, CABRERA[::-1]):
        expected = values(extractor(stored.T, 500, given, unit="uV"))
        np.testing.assert_allclose(values(extractor(path, lead_names=given, **said)), expected, atol=1e-3)
    with pytest.raises(InputError, match=r"11 lead names are given for its 12 leads \(aVL, I, "):
        extractor(path, lead_names=LEADS[:11], **said)


def test_samples_marked_as_missing_are_nan(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    x = signal()
    x[7, 3] = np.nan
    write_record(tmp_path / "d", x, 500, LEADS)
    with pytest.raises(InputError, match=r"Lead V2 has 1 NaN samples, the first at 3"):
        extractor(tmp_path / "d")
    stored = np.round(np.nan_to_num(x) * 1000) / 1000
    expected = values(extractor(stored, 500, LEADS))
    np.testing.assert_allclose(values(extractor(tmp_path / "d", nan="zero")), expected, atol=1e-6)


def test_a_damaged_record_is_named(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    path = tmp_path / "e"
    write_record(path, signal(), 500, LEADS)
    data, header = path.with_suffix(".dat"), path.with_suffix(".hea")
    whole = data.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 1, 0):
        data.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"record '.*e': e\.dat holds \d+ bytes of signal, its header announces"):
            extractor(path)
    data.unlink()
    with pytest.raises(InputError, match=r"record '.*e': e\.dat is missing"):
        extractor(path)
    data.write_bytes(whole)
    for text in ("", "not a header\n", "e 0 500 5000\n"):
        header.write_text(text)
        with pytest.raises(InputError, match=r"e\.hea is not a WFDB header|its header lists no signal"):
            extractor(path)
    header.unlink()
    with pytest.raises(InputError, match=r"header .*e\.hea' does not exist"):
        extractor([path])


def test_a_header_without_rate_needs_one(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    write_record(tmp_path / "f", signal(), 500, LEADS)
    header = tmp_path / "f.hea"
    header.write_text(header.read_text().replace("f 12 500 5000", "# made by hand\n\nf 12", 1))
    with pytest.raises(InputError, match="sampling_rate is missing"):
        extractor(tmp_path / "f")
    assert values(extractor(tmp_path / "f", 500, window="all")).shape == (4, 12, 600)


def test_arguments_that_contradict_the_header(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    write_record(tmp_path / "g", signal(), 500, LEADS)
    with pytest.raises(InputError, match="sampling_rate=250 was given, but the file says 500 Hz"):
        extractor(tmp_path / "g", 250)
    with pytest.raises(InputError, match="unit='uV' was given"):
        extractor(tmp_path / "g", unit="uV")
    write_record(tmp_path / "h", signal(), 500, LEADS, unit="mmHg")
    with pytest.raises(UnknownNameError, match="Unknown unit 'mmHg'"):
        extractor(tmp_path / "h")


def test_published_files(extractor: ECGFeatureExtractor, shared: Path) -> None:
    folder = shared / "data" / "ptbxl" / "mini"
    for name, rate in (("records500/00000/00001_hr", 500), ("records100/00000/00001_lr", 100)):
        record = load_wfdb().rdrecord(str(folder / name))
        assert record.sig_name[3:6] == ["AVR", "AVL", "AVF"]
        x = record.p_signal.T.astype(np.float32)
        width = int(2.5 * rate)
        by_hand = np.stack([resample(x[:, s : s + width], rate, 240) for s in range(0, 4 * width, width)])
        np.testing.assert_allclose(values(extractor(folder / name, window="all")), by_hand, atol=1e-6)
        np.testing.assert_array_equal(
            values(extractor(folder / name, window="all")), values(extractor(x, rate, LEADS, window="all"))
        )


def test_published_file_with_orthogonal_leads(extractor: ECGFeatureExtractor, shared: Path) -> None:
    header = next((shared / "data" / "ptb").rglob("s0010_re.hea"))
    out = values(extractor(header, window="all"))
    assert out.shape == (15, 12, 600)
    assert 0.3 < np.abs(out).max() < 20


@pytest.mark.heavy
def test_both_ways_of_reading_give_the_same_numbers(shared: Path, tmp_path: Path) -> None:
    """Plain format 16 is read by this package itself, bit for bit as the `wfdb` package does."""
    x = signal()
    x[7, 3] = np.nan
    write_record(tmp_path / "gaps", x, 500, LEADS, gain=733.1)
    stems = [tmp_path / "gaps"]
    for place in ("ptbxl/mini/records100", "ptb", "ningbo", "cpsc2018", "cpsc_extra", "georgia"):
        stems += [path.with_suffix("") for path in sorted((shared / "data" / place).rglob("*.hea"))[:10]]
    compared = 0
    for stem in stems:
        # Of some there is the header alone, and those of an early edition the general reader refuses.
        if (
            not stem.with_suffix(".mat").exists() and not stem.with_suffix(".dat").exists()
        ) or "old" in stem.parent.name:
            continue
        recording = wfdb_recording(stem)
        reference = load_wfdb().rdrecord(str(stem))
        np.testing.assert_array_equal(recording.values, reference.p_signal.T)
        assert (recording.sampling_rate, recording.lead_names) == (reference.fs, reference.sig_name)
        assert recording.units == reference.units
        compared += 1
    assert compared > 20


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("form", ["212", "24", "32", "80", "508"])
def test_other_formats_give_the_numbers_of_the_general_reader(form: str, tmp_path: Path) -> None:
    digital = np.random.default_rng(0).integers(-100, 100, (501, 3))
    write = {"fmt": [form] * 3, "adc_gain": [200.0, 73.1, 1e3], "baseline": [0, 5, -7], "write_dir": str(tmp_path)}
    load_wfdb().wrsamp("r", 250, ["mV", "uV", "mV"], ["I", "II", "V1"], d_signal=digital, **write)
    reference = load_wfdb().rdrecord(str(tmp_path / "r"))
    np.testing.assert_array_equal(wfdb_recording(tmp_path / "r").values, reference.p_signal.T)
