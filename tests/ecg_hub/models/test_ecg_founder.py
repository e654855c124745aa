"""ECGFounder beyond the contract suite and Net1D: its checkpoint, and the input of its authors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import signal

from ecg_hub import catalog
from ecg_hub.errors import CheckpointError
from ecg_hub.input.recordings import wfdb_recording
from ecg_hub.leads import LEADS
from ecg_hub.modeling.auto import build_feature_extractor
from ecg_hub.models.ecg_founder.configuration_ecg_founder import ECGFounderConfig
from ecg_hub.models.ecg_founder.convert_ecg_founder import convert
from ecg_hub.models.net1d.configuration_net1d import Net1DConfig
from ecg_hub.weights.state_dict import StateDictMapper
from tests.support.models import tiny

GOLDEN = Path(__file__).resolve().parent.parent.parent / "golden"


def published(model_type: str, prefix: str = "") -> dict[str, torch.Tensor]:
    """Names and shapes of a manifest, without values."""
    entries = json.loads((GOLDEN / model_type / "manifest.json").read_text())["entries"]
    return {prefix + entry["name"]: torch.empty(entry["shape"], device="meta") for entry in entries}


def test_the_published_checkpoint() -> None:
    state = published("ecg_founder")
    entries = StateDictMapper({**state, "dense.weight": torch.empty(150, 1024), "dense.bias": torch.empty(150)})
    conversion = convert(entries)
    assert isinstance(conversion.config, ECGFounderConfig)
    assert entries.taken == 202
    assert entries.heads == {"dense.weight": (150, 1024), "dense.bias": (150,)}


@pytest.mark.parametrize("other", ["net1d", "ecg_s4", "ecg_cpc"])
def test_other_checkpoints(other: str) -> None:
    # A Net1D of the benchmark has the same names but for a prefix, so that nothing but the prefix tells them apart.
    state = published(other, prefix="model." if other == "net1d" else "")
    with pytest.raises(CheckpointError, match=r"missing: first_conv\.conv\.weight"):
        convert(StateDictMapper(state))


def test_same_network_as_net1d() -> None:
    ours, other = ECGFounderConfig().to_dict(), Net1DConfig().to_dict()
    assert {key for key in ours if ours[key] != other.get(key)} == {"model_type"}
    x = torch.randn(2, 12, 1250)
    assert torch.equal(tiny("ecg-founder")(x).pooler_output, tiny("net1d")(x).pooler_output)


def authors_input(record: np.ndarray) -> np.ndarray:
    """Notch, band-pass, running median and z-score over all leads, in double precision, filters in transfer form."""
    y = signal.filtfilt(*signal.iirnotch(50, 30, 500), record.astype(np.float64), axis=-1)
    y = signal.filtfilt(*signal.butter(4, [0.67, 40], btype="bandpass", fs=500), y, axis=-1)
    y = y - np.stack([signal.medfilt(row, 201) for row in y])
    return (y - y.mean()) / (y.std() + 1e-8)


def test_native_input_is_that_of_the_authors() -> None:
    t = np.arange(5000) / 500
    rng = np.random.default_rng(0)
    beats = np.exp(-(((t % 0.8) - 0.4) ** 2) / 2e-4) * np.linspace(0.2, 1.5, 12)[:, None]
    record = (beats + 0.3 * np.sin(2 * np.pi * 0.3 * t) + 0.1 * rng.standard_normal((12, 5000))).astype(np.float32)
    fe = build_feature_extractor(catalog.get("ecg-founder"))
    native = fe(record, sampling_rate=500, lead_names=LEADS, preset="native")["input_values"]
    assert native.shape == (1, 12, 5000)
    np.testing.assert_allclose(native[0], authors_input(record), atol=2e-4)
    benchmark = fe(record, sampling_rate=500, lead_names=LEADS)["input_values"]
    np.testing.assert_array_equal(benchmark[0], record[:, :1250])


def test_a_real_record(shared: Path) -> None:
    path = shared / "data/ptbxl/mini/records500/00000/00001_hr"
    fe, model = build_feature_extractor(catalog.get("ecg-founder")), tiny("ecg-founder")
    native = fe(path, preset="native")["input_values"]
    np.testing.assert_allclose(native[0], authors_input(wfdb_recording(path).values), atol=2e-4)
    for values, shape in ((native, (1, 12, 5000)), (fe(path, window="all")["input_values"], (4, 12, 1250))):
        assert values.shape == shape
        output = model(torch.from_numpy(values))
        assert output.last_hidden_state.shape == (len(values), shape[2] // 250, 32)
        assert torch.isfinite(output.last_hidden_state).all()
