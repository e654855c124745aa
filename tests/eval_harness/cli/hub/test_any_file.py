"""`embed`, `predict` and `data prepare` on files as people have them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ecg_hub import AutoFeatureExtractor
from ecg_hub.errors import InputError
from ecg_hub.leads import LEADS
from eval_harness.cli.hub.main import main
from tests.support.own_files import dicom_group, integers, muse_text, write_description, write_dicom, write_edf
from tests.support.records import write_record

X = integers(5000, peak=900).astype(np.int16)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    write_edf(tmp_path / "a.edf", X, 500)
    write_dicom(tmp_path / "b.dcm", dicom_group(X, 500, sensitivity="0.1"))
    (tmp_path / "c.xml").write_text(muse_text(X[:, [0, 1, 6, 7, 8, 9, 10, 11]], 500, LeadAmplitudeUnitsPerBit="0.1"))
    extra = np.concatenate([X, X[:, :1]], axis=1).T / 10_000
    write_record(tmp_path / "d", extra, 500, [*LEADS, "RESP"], gain=10_000)
    return [tmp_path / name for name in ("a.edf", "b.dcm", "c.xml", "d.hea")]


def test_embed_takes_a_file_of_any_format(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "f.parquet"
    assert main(["embed", "random:ecg-cpc-tiny", *map(str, files), "-o", str(target)]) == 0
    vectors = np.stack(pq.read_table(target)["features"].to_numpy())
    # The same leads, but for the four that MUSE derives, give the same vectors.
    np.testing.assert_allclose(vectors[[0, 1]], vectors[[3, 3]], atol=1e-3)
    (tmp_path / "e.csv").write_text("I,II\n1,2\n")
    for wrong, message in (
        (tmp_path / "e.csv", "states no sampling rate: give it, for example --sampling-rate 500, with --unit mV where"),
        (tmp_path, "is a folder. Describe it in a YAML file"),
        (tmp_path / "gone.edf", "No record at .*gone.edf"),
    ):
        assert main(["embed", "random:ecg-cpc-tiny", str(wrong), "-o", str(target)]) == 1
        assert re.search(message, capsys.readouterr().err)


def test_a_table_is_told_its_rate_and_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extractor = AutoFeatureExtractor.from_pretrained("random:ecg-cpc-tiny")
    expected = extractor(X.T / 10_000, sampling_rate=500, lead_names=LEADS)["input_values"]
    path, target = tmp_path / "a.csv", str(tmp_path / "f.parquet")
    pd.DataFrame(X / 10, columns=[*LEADS]).to_csv(path, index=False)
    for given, said in (({}, "sampling_rate=500, with unit='mV'"), ({"sampling_rate": 500}, "unit='mV'")):
        with pytest.raises(InputError, match=f"for example {said}"):
            extractor(path, **given)
    np.testing.assert_allclose(extractor(path, sampling_rate=500, unit="uV")["input_values"], expected, atol=1e-4)
    words = ["embed", "random:ecg-cpc-tiny", str(path), "-o", target, "--sampling-rate", "500"]
    assert main(words) == 1
    assert "for example --unit mV; or" in capsys.readouterr().err
    assert main([*words, "--unit", "uV"]) == 0
    assert f"{target}: 1 record, " in capsys.readouterr().out


def test_the_extractor_takes_a_file_of_any_format(files: list[Path]) -> None:
    extractor = AutoFeatureExtractor.from_pretrained("random:ecg-cpc-tiny")
    expected = extractor(X.T / 10_000, sampling_rate=500, lead_names=LEADS)["input_values"]
    for path in (files[0], files[1], files[3]):
        np.testing.assert_allclose(extractor(path)["input_values"], expected, atol=1e-4)
    with pytest.raises(ValueError, match="unit='uV' was given, but the file states its own units"):
        extractor(files[0], unit="uV")
    with pytest.raises(ValueError, match="sampling_rate=250 was given, but the file says 500 Hz"):
        extractor(files[1], sampling_rate=250)


def test_flat_leads_are_told_by_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, factor in (("good", 1), ("flat", 0)):
        write_record(tmp_path / name, X.T * factor / 1000, 500, LEADS)
        write_edf(tmp_path / f"{name}.edf", X * factor, 500)
    description = write_description(
        tmp_path / "a.yaml", signals=".", format="edf", table=None, columns=None, folds=None, min_count=1
    )
    names = [str(tmp_path / "good.hea"), str(tmp_path / "flat.hea"), str(description)]
    with caplog.at_level(logging.WARNING):
        assert main(["embed", "random:ecg-cpc-tiny", *names, "-o", str(tmp_path / "f.parquet")]) == 0
    told = [record.getMessage() for record in caplog.records if "Flat" in record.getMessage()]
    assert [message.partition(":")[0] for message in told] == [
        f"Flat leads in record {str(tmp_path / 'flat.hea')!r}",
        "Flat leads in record 'flat'",
    ]


def test_prepare_says_what_was_lost_and_what_is_odd(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ecg").mkdir()
    for k in range(6):
        frame = pd.DataFrame(X[:1000, :6] / 1000, columns=[*LEADS[:6]])
        frame.to_parquet(tmp_path / f"ecg/r{k}.parquet")
    for k in range(2):
        (tmp_path / f"ecg/bad{k}.parquet").write_bytes(b"no parquet")
    path = write_description(
        tmp_path / "a.yaml", table=None, columns=None, folds=None, min_count=1, unit="mV", sampling_rate=500
    )
    with caplog.at_level(logging.WARNING):
        code = main(["data", "prepare", str(path), "--cache-dir", str(tmp_path / "c"), "--max-unreadable", "0.5"])
    out = " ".join(capsys.readouterr().out.split())
    assert code == 0
    assert "lost: 2 of 8 records: bad0.parquet cannot be read as parquet" in out
    assert "remark: 6 of 6 records: no lead V1, V2, V3, V4, V5, V6" in out
    assert "published" not in out
    assert any("no record holds lead V1, V2, V3, V4, V5, V6" in record.getMessage() for record in caplog.records)
