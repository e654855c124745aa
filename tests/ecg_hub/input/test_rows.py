"""Rows and batches of `load_dataset` as input; tests/contracts/test_datasets.py holds them against a run's own path."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from dataset_scripts import SignalReader, load_dataset
from ecg_hub.errors import InputError
from ecg_hub.input.feature_extraction import ECGFeatureExtractor
from ecg_hub.input.rows import is_batch, row_recording
from ecg_hub.input.samples import MISSING
from ecg_hub.leads import LEADS


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset("mock/ptb-xl", split="train", mock=40, cache_dir=tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def extractor() -> ECGFeatureExtractor:
    return ECGFeatureExtractor()


def row(**changes: Any) -> dict[str, Any]:
    signal = np.random.default_rng(0).integers(-400, 400, (1250, 12)).astype(np.int16)
    scale = {"gain_uv": np.full(12, 4.88, np.float32), "baseline": np.full(12, -20, np.int32)}
    return {"record_id": "r1", "signal": signal, **scale, "sampling_rate": 500, **changes}


@pytest.mark.parametrize("form", [None, "numpy", "torch"])
def test_every_format_of_datasets_gives_the_values_of_the_record(
    train: Dataset, extractor: ECGFeatureExtractor, form: str | None
) -> None:
    reader, formatted = SignalReader(train), train.with_format(form)
    arrays = [np.ascontiguousarray(reader.window_mv(index).T) for index in range(3)]
    expected = extractor(arrays, 500, LEADS, window="all")["input_values"]
    for signals in (formatted[:3], [formatted[index] for index in range(3)]):
        batch = extractor(signals, window="all")
        np.testing.assert_array_equal(batch["input_values"], expected)
        assert batch["record_index"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    np.testing.assert_array_equal(extractor(formatted[2], window="all")["input_values"], expected[8:])


def test_map_makes_a_column_of_it(train: Dataset, extractor: ECGFeatureExtractor) -> None:
    few = train.select(range(6))
    expected = extractor(few[:])["input_values"]
    for batched, mapped in ((True, few.map(extractor, batched=True, batch_size=4)), (False, few.map(extractor))):
        values = np.array(mapped["input_values"][:], dtype=np.float32)
        np.testing.assert_array_equal(values if batched else values[:, 0], expected)
        assert mapped["record_id"][:] == few["record_id"][:]
    windows = few.map(extractor, batched=True, fn_kwargs={"window": "all"}, remove_columns=few.column_names)
    assert windows["record_index"][:] == np.repeat(range(6), 4).tolist()


def test_scale_unit_and_missing_samples_come_from_the_row(extractor: ECGFeatureExtractor) -> None:
    given = row()
    given["signal"][7, 3] = MISSING
    recording = row_recording(given)
    assert recording.values.dtype == np.float32
    assert (recording.sampling_rate, tuple(recording.lead_names), recording.units) == (500, LEADS, ["mV"] * 12)
    millivolt = (given["signal"].T.astype(np.float64) + 20) * 4.88 / 1000
    assert np.argwhere(np.isnan(recording.values)).tolist() == [[3, 7]]
    millivolt[3, 7] = 0.0
    np.testing.assert_allclose(np.nan_to_num(recording.values), millivolt, atol=1e-6)
    np.testing.assert_allclose(
        extractor(given)["input_values"], extractor(millivolt, 500, LEADS)["input_values"], atol=1e-6
    )
    with pytest.raises(InputError, match=r"record 'r1': Lead aVR has 1 NaN samples, the first at 7"):
        extractor(given, nan="raise")


def test_z_scores_pass_unchanged(extractor: ECGFeatureExtractor) -> None:
    signal = np.random.default_rng(0).normal(size=(1250, 12)).astype(np.float32)
    given = row(signal=signal.tolist(), gain_uv=[float("nan")] * 12)
    assert row_recording(given).units == ["zscore"] * 12
    expected = extractor(signal.T, 500, LEADS, unit="zscore")["input_values"]
    np.testing.assert_array_equal(extractor(given)["input_values"], expected)


def test_a_repair_travels_in_the_row() -> None:
    given = row(gain_uv=[100.0] * 12, baseline=[0] * 12, clip_mv=3.0)
    given["signal"][100:110, 0] = MISSING
    values = row_recording(given).values
    assert np.abs(values).max() == 3.0
    assert np.isnan(row_recording({**given, "clip_mv": None}).values).sum() == 10
    assert not np.isnan(values).any()


def test_what_a_row_says_no_argument_overrides(extractor: ECGFeatureExtractor) -> None:
    assert extractor(row(), sampling_rate=500.0)["input_values"].shape == (1, 12, 600)
    for arguments, text in (
        ({"sampling_rate": 250}, "sampling_rate=250 was given, but the row says 500 Hz"),
        ({"unit": "uV"}, "unit='uV' was given, but a row of load_dataset states its own units"),
        ({"lead_names": LEADS}, "was given, but a row of load_dataset has the twelve leads"),
    ):
        with pytest.raises(InputError, match=text):
            extractor(row(), **arguments)


def test_a_rate_that_is_not_whole_stays_what_it_is(extractor: ECGFeatureExtractor) -> None:
    assert row_recording(row(sampling_rate=62.5)).sampling_rate == 62.5
    assert isinstance(row_recording(row(sampling_rate=np.float64(500))).sampling_rate, int)
    with pytest.raises(InputError, match=r"the row says 62\.5 Hz"):
        extractor(row(sampling_rate=62.5), sampling_rate=62)


def test_a_whole_dataset_is_no_signal(extractor: ECGFeatureExtractor, train: Dataset) -> None:
    with pytest.raises(InputError, match=r"A whole dataset was given as one signal. Pass a row `ds\[0\]`"):
        extractor(train)


def test_rows_that_lack_something_are_named(extractor: ECGFeatureExtractor) -> None:
    with pytest.raises(InputError, match="lacks gain_uv, baseline"):
        extractor({"signal": [[0] * 12], "sampling_rate": 500})
    with pytest.raises(InputError, match="lacks signal"):
        extractor({"sampling_rate": [500], "gain_uv": [[1.0] * 12], "baseline": [[0] * 12]})
    with pytest.raises(
        InputError, match=r"record 'r1': The signal of a row is \(samples, 12\), not of shape \(12, 1250\)"
    ):
        extractor(row(signal=row()["signal"].T))
    with pytest.raises(InputError, match="empty list"):
        extractor({name: [] for name in row()})


def test_batches_are_known_from_rows() -> None:
    assert is_batch({name: [value] for name, value in row().items()})
    assert not is_batch(row())
    assert not is_batch([row()])
    assert not is_batch(np.zeros((12, 5000)))


def test_an_extractor_can_be_sent_to_other_processes(train: Dataset, extractor: ECGFeatureExtractor) -> None:
    other = pickle.loads(pickle.dumps(extractor))
    np.testing.assert_array_equal(other(train[0])["input_values"], extractor(train[0])["input_values"])


def test_a_pipeline_takes_rows(train: Dataset, tmp_path: Path) -> None:
    from ecg_hub import AutoFeatureExtractor, AutoModelForECGClassification, ECGClassificationPipeline

    name = "random:ecg-cpc-tiny"
    model = AutoModelForECGClassification.from_pretrained(name, num_labels=2)
    model.head_is_new = False
    classify = ECGClassificationPipeline(model=model, feature_extractor=AutoFeatureExtractor.from_pretrained(name))
    array = np.ascontiguousarray(SignalReader(train).window_mv(0).T)
    assert classify(train[0]) == classify(array, sampling_rate=500, lead_names=LEADS)
    assert len(classify([train[0], train[1]])) == 2
