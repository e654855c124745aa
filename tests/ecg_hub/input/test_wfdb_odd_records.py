"""WFDB records as hospitals and other software write them: each is read right, by the extractor's way in as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import DataError, InputError
from ecg_hub.input.recordings import canonical_record, wfdb_recording
from ecg_hub.input.samples import MISSING
from ecg_hub.input.wfdb import read_header, read_record
from ecg_hub.leads import LEADS

X = np.random.default_rng(0).integers(-900, 900, (400, 12)).astype("<i2")


def record(folder: Path, text: str | bytes, name: str = "r", **files: np.ndarray) -> Path:
    path = folder / f"{name}.hea"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for stem, data in files.items():
        (folder / f"{stem}.dat").write_bytes(np.ascontiguousarray(data).astype("<i2").tobytes())
    return path


def lines(scale: str = "1000/mV", form: str = "16", leads: tuple[str, ...] = LEADS, file: str = "r.dat") -> str:
    return "".join(f"{file} {form} {scale} 16 0 0  0 0 {lead}\n" for lead in leads)


def millivolt(path: Path) -> np.ndarray:
    """By both ways in, which must agree."""
    signal = read_record(path)
    stored = (signal.samples.astype(float) - signal.baseline) * signal.gain_uv / 1000
    stored[signal.samples == MISSING] = np.nan
    fed = canonical_record(wfdb_recording(path), nan="zero").signal.T
    np.testing.assert_allclose(np.nan_to_num(stored), fed, atol=6e-4)
    return stored


@pytest.mark.parametrize("sign", ["µ".encode(), "\u03bc".encode(), "µ".encode("latin-1"), b"u"])
@pytest.mark.parametrize("form", ["16", "24"])
def test_microvolts_by_any_sign_in_any_format(sign: bytes, form: str, tmp_path: Path) -> None:
    text = ("r 12 500 400\n" + lines("1/@V", form)).encode().replace(b"@", sign)
    path = record(tmp_path, text, r=X)
    if form == "24":
        wide = X.astype("<i4").reshape(-1).view(np.uint8).reshape(-1, 4)[:, :3]
        (tmp_path / "r.dat").write_bytes(wide.tobytes())
    np.testing.assert_allclose(millivolt(path), X / 1000, atol=1e-6)


def test_other_channels_cost_nothing_whatever_is_wrong_with_them(tmp_path: Path) -> None:
    extra = np.concatenate([X, X[:, :1]], axis=1)
    odd = "r.dat 16 1000/pm 16 0 0 0 0 RESP\n"
    for other in (odd, odd.replace("1000/pm", "much"), odd.replace("16 0 0", "x y z")):
        np.testing.assert_allclose(millivolt(record(tmp_path, "r 13 500 400\n" + lines() + other, r=extra)), X / 1000)
    absent = "r 14 500 400\n" + lines() + "gone.dat 212x4 20/mmHg 12 0 0 0 0 ABP\ngone.dat 212 20 12 0 0 0 0 PLETH\n"
    np.testing.assert_allclose(millivolt(record(tmp_path, absent, r=X)), X / 1000)


def test_frames_are_taken_apart(tmp_path: Path) -> None:
    framed = X.reshape(200, 2, 12).transpose(0, 2, 1)
    path = record(tmp_path, "r 12 250 200\n" + lines(form="16x2"), r=framed)
    np.testing.assert_allclose(millivolt(path), X / 1000)
    assert read_record(path).sampling_rate == wfdb_recording(path).sampling_rate == 500
    slow = "r.dat 16 1/mmHg 16 0 0 0 0 ABP\n"
    mixed = np.concatenate([framed.reshape(200, 24), X[:200, :1]], axis=1)
    np.testing.assert_allclose(
        millivolt(record(tmp_path, "r 13 250 200\n" + lines(form="16x2") + slow, r=mixed)), X / 1000
    )
    uneven = "r 12 250 200\n" + lines(form="16x2", leads=LEADS[:11]) + lines(leads=LEADS[11:])
    with pytest.raises(DataError, match=r"its leads have \[1, 2\] samples per frame, one number is expected"):
        read_record(record(tmp_path, uneven, r=mixed[:, :23]))


def test_segments_with_gaps_other_leads_and_other_gains(tmp_path: Path) -> None:
    record(tmp_path, "s_0 12 500 0\n" + lines("200/mV", "0", file="~"), "s_0")
    record(tmp_path, "s_1 12 500 100\n" + lines(file="s_1.dat"), "s_1", s_1=X[:100])
    record(
        tmp_path,
        "s_2 2 500 100\n" + lines("500/mV", leads=("V1", "I"), file="s_2.dat"),
        "s_2",
        s_2=X[100:200, [6, 0]] // 2,
    )
    path = record(tmp_path, "r/4 12 500 250\ns_0 0\ns_1 100\n~ 50\ns_2 100\n")
    out = millivolt(path)
    np.testing.assert_allclose(out[:100], X[:100] / 1000, atol=5e-4)
    np.testing.assert_allclose(out[150:, [0, 6]], X[100:200, [0, 6]] // 2 / 500, atol=5e-4)
    assert np.isnan(out[100:150]).all()
    assert np.isnan(out[150:, 1]).all()
    record(tmp_path, "s_2 12 250 100\n" + lines(file="s_2.dat"), "s_2", s_2=X[100:200])
    with pytest.raises(DataError, match=r"its segments are sampled at \[250.0, 500.0\] Hz"):
        read_record(path)
    record(tmp_path, "r/2 12 500 900\ns_1 100\ns_1 800\n")
    with pytest.raises(DataError, match=r"segment s_1 holds 100 samples, r.hea announces 800"):
        read_record(path)


def test_segments_of_one_gain_keep_their_integers(tmp_path: Path) -> None:
    for k in (1, 2):
        record(
            tmp_path,
            f"s_{k} 12 500 200\n" + lines(file=f"s_{k}.dat"),
            f"s_{k}",
            **{f"s_{k}": X[200 * k - 200 : 200 * k]},
        )
    signal = read_record(record(tmp_path, "r/2 12 500 400\ns_1 200\ns_2 200\n"))
    assert (signal.samples == X).all()
    assert (signal.gain_uv == 1).all()


@pytest.mark.parametrize("samples", ["0", ""])
def test_a_length_of_zero_is_not_stated(samples: str, tmp_path: Path) -> None:
    np.testing.assert_allclose(millivolt(record(tmp_path, f"r 12 500 {samples}\n" + lines(), r=X)), X / 1000)


def test_headers_of_the_first_challenge_edition(tmp_path: Path) -> None:
    path = record(tmp_path, "r.mat 12 500 400\n" + lines("4880/mV"), r=X)
    np.testing.assert_allclose(millivolt(path), X / 1000)
    assert "states a gain of 4880 units per mV; read as 1000" in read_header(path).remark
    path = record(tmp_path, "\ufeffr.mat 12 500 400\n" + lines(), r=X)
    assert read_header(path).remark == "its header, of an early edition of the Challenge, names the record 'r.mat'"
    # Such a gain is no error where the header is a sound one.
    np.testing.assert_allclose(
        millivolt(record(tmp_path, "r 12 500 400\n" + lines("4880/mV"), r=X)), X / 4880, atol=1e-6
    )


def test_other_names_of_leads(tmp_path: Path) -> None:
    names = (
        "Lead I",
        "EKG II",
        "III (mV)",
        "MDC_ECG_LEAD_AVR",
        "2:63",
        "aVF_mV",
        "C1",
        "c2",
        "V3 [uV]",
        "MV4",
        "ECG V5",
        "5.6.3-9-8",
    )
    np.testing.assert_allclose(millivolt(record(tmp_path, "r 12 500 400\n" + lines(leads=names), r=X)), X / 1000)


def test_electrodes_of_the_head_are_no_chest_leads(tmp_path: Path) -> None:
    names = ("I", "II", "C3", "C4", "O1", "EEG F3-A2")
    signal = read_record(record(tmp_path, "r 6 500 400\n" + lines(leads=names), r=X[:, :6]))
    assert (signal.samples[:, 6:] == MISSING).all()


def test_a_lead_twice_is_refused(tmp_path: Path) -> None:
    path = record(tmp_path, "r 3 500 400\n" + lines(leads=("I", "V1", "C1")), r=X[:, :3])
    with pytest.raises(DataError, match="lead V1 occurs twice, as 'V1' and as 'C1'"):
        read_record(path)
    with pytest.raises(InputError, match="V1 is named twice"):
        canonical_record(wfdb_recording(path))
