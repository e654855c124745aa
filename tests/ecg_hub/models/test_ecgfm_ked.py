"""ECGFM-KED beyond the contract suite: nested and flat files, doubled entries, its start, the input of its authors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from scipy import signal

from ecg_hub import catalog
from ecg_hub.errors import CheckpointError
from ecg_hub.input.recordings import wfdb_recording
from ecg_hub.leads import LEADS
from ecg_hub.modeling.auto import build_feature_extractor
from ecg_hub.models.ecgfm_ked.configuration_ecgfm_ked import ECGFMKEDConfig
from ecg_hub.models.ecgfm_ked.convert_ecgfm_ked import convert
from ecg_hub.weights.checkpoint import read_checkpoint
from ecg_hub.weights.state_dict import StateDictMapper
from tests.support.models import tiny

GOLDEN = Path(__file__).resolve().parent.parent.parent / "golden"
MIMIC_ORDER = [0, 1, 2, 3, LEADS.index("aVF"), LEADS.index("aVL"), 6, 7, 8, 9, 10, 11]


def published(model_type: str = "ecgfm_ked", prefix: str = "") -> dict[str, torch.Tensor]:
    """Names and shapes of a manifest; a main path and its copy are one tensor, as in the published file."""
    entries = json.loads((GOLDEN / model_type / "manifest.json").read_text())["entries"]
    state: dict[str, torch.Tensor] = {}
    for entry in entries:
        twin = state.get(prefix + entry.get("alias_of", ""))
        state[prefix + entry["name"]] = torch.zeros(entry["shape"]) if twin is None else twin
    return state


def test_the_nested_file(tmp_path: Path) -> None:
    """As the authors save it: beside the encoder a query network that also looks like a state dict."""
    content = {
        "model": {"decoder.weight": torch.zeros(3, 3)},
        "ecg_model": published(),
        "text_encoder": {"bert_model.embeddings.position_ids": torch.zeros(1, 512, dtype=torch.int64)},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4}]},
        "config": {"batch_size": 64},
        "epoch": 3,
    }
    torch.save(content, tmp_path / "file.pt")
    key = catalog.get("ecgfm-ked").weights.key
    checkpoint = read_checkpoint(tmp_path / "file.pt", usual_key=key)
    assert checkpoint.key == "ecg_model"
    entries = StateDictMapper(checkpoint.state)
    convert(entries)
    assert entries.taken == 1224
    assert entries.ignored == {}
    # Without saying which, the query network would be taken, and refused.
    assert read_checkpoint(tmp_path / "file.pt").key == "model"


def test_the_flat_files(tmp_path: Path) -> None:
    bare = convert(StateDictMapper(published()))
    state = {**published(prefix="ecg_model."), "model.decoder.weight": torch.zeros(3, 3)}
    entries = StateDictMapper(state)
    prefixed = convert(entries)
    assert prefixed.state.keys() == bare.state.keys()
    assert list(entries.ignored) == ["model.decoder.weight"]
    assert "ecg_model." in prefixed.notes[0]
    torch.save({"0.0.weight": torch.zeros(32, 12, 5)}, tmp_path / "flat.pt")
    assert read_checkpoint(tmp_path / "flat.pt", usual_key="ecg_model").key is None


def test_doubled_entries_must_agree() -> None:
    state = published()
    state["6.4.convpath.0.1.1.bias"] = torch.ones(128)
    with pytest.raises(CheckpointError, match=r"6\.4\.convs\.1 and 6\.4\.convpath\.0\.1 differ in norm\.bias"):
        convert(StateDictMapper(state))


def test_faults_are_listed() -> None:
    state = published()
    del state["7.2.convpath.0.2.1.running_mean"]
    state["5.0.idpath.1.0.weight"] = torch.empty(512, 256, 3)
    state["6.0.idpath.1.0.weight"] = torch.empty(512, 512, 1)
    with pytest.raises(CheckpointError) as error:
        convert(StateDictMapper(state))
    for line in (
        "missing: 7.2.convpath.0.2.1.running_mean (768,)",
        "wrong shape: 5.0.idpath.1.0.weight is (512, 256, 3), expected (512, 256, 1)",
        "unknown: 6.0.idpath.1.0.weight (512, 512, 1)",
    ):
        assert line in str(error.value)


@pytest.mark.parametrize("other", ["merl", "ecg_cpc", "net1d"])
def test_other_checkpoints(other: str) -> None:
    with pytest.raises(CheckpointError, match=r"missing: 0\.0\.weight"):
        convert(StateDictMapper(published(other)))


def test_layer_groups_have_the_published_sizes() -> None:
    config = ECGFMKEDConfig(num_labels=71)
    with torch.device("meta"):
        model = catalog.get("ecgfm-ked").load("classifier")(config)
    sizes = dict.fromkeys((*config.layer_groups, "head"), 0)
    for name, parameter in model.named_parameters():
        relative = name.removeprefix("ecgfm_ked.")
        group = next((g for g, prefixes in config.layer_groups.items() if relative.startswith(tuple(prefixes))), "head")
        sizes[group] += parameter.numel()
    assert sizes == {"late": 7_848_448, "early": 17_536, "head": 54_599}


@pytest.mark.parametrize(("samples", "tokens"), [(1, 1), (33, 2), (1000, 32), (5000, 157), (5001, 157)])
def test_any_length_works(samples: int, tokens: int) -> None:
    output = tiny("ecgfm-ked")(torch.zeros(1, 12, samples), output_hidden_states=True)
    assert output.last_hidden_state.shape == (1, tokens, 32)
    stem, *stages = (state.shape[1:] for state in output.hidden_states)
    assert stem == (-(-samples // 4), 8)
    assert [width for _, width in stages] == [16, 16, 32, 32]
    assert torch.allclose(output.pooler_output, output.last_hidden_state.mean(dim=1), atol=1e-6)


def test_residual_branches_start_at_zero() -> None:
    assert ECGFMKEDConfig().zero_init_residual
    x = torch.randn(2, 12, 1000)
    model = tiny("ecgfm-ked", zero_init_residual=True)
    assert not any(weight.any() for name, weight in model.named_parameters() if name.endswith("conv3.norm.weight"))
    before = model(x).pooler_output
    with torch.no_grad():
        model.stages[0][0].conv1.conv.weight.add_(1)
    assert torch.equal(model(x).pooler_output, before)
    spread = model.stages[2][0].conv2.conv.weight.std().item()
    assert spread == pytest.approx((2 / (8 * 5)) ** 0.5, rel=0.2)  # Kaiming normal: sqrt(2 / fan in)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 512}, "hidden_size is 512"),
        ({"stage_depths": [3, 4, 23]}, "one number of blocks to each width"),
    ],
)
def test_configurations_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        ECGFMKEDConfig(**changes)


def authors_input(record: np.ndarray) -> np.ndarray:
    """10 s at 500 Hz to 1,000 samples by Fourier, leads in the order of MIMIC-IV-ECG, no scaling."""
    return np.asarray(signal.resample(record.astype(np.float64), 1000, axis=1)[MIMIC_ORDER])


def test_native_input_is_that_of_the_authors() -> None:
    record = np.random.default_rng(0).standard_normal((12, 5000)).astype(np.float32)
    fe = build_feature_extractor(catalog.get("ecgfm-ked"))
    native = fe(record, sampling_rate=500, lead_names=LEADS, preset="native")["input_values"]
    np.testing.assert_allclose(native, authors_input(record)[None], atol=1e-5)
    benchmark = fe(record, sampling_rate=500, lead_names=LEADS)["input_values"]
    np.testing.assert_array_equal(benchmark, record[None])


def test_a_real_record(shared: Path) -> None:
    path = shared / "data/ptbxl/mini/records500/00000/00001_hr"
    fe, model = build_feature_extractor(catalog.get("ecgfm-ked")), tiny("ecgfm-ked")
    native = fe(path, preset="native")["input_values"]
    np.testing.assert_allclose(native, authors_input(wfdb_recording(path).values)[None], atol=1e-5)
    for values, tokens in ((native, 32), (fe(path, window="all")["input_values"], 157)):
        output = model(torch.from_numpy(values))
        assert output.last_hidden_state.shape == (1, tokens, 32)
        assert torch.isfinite(output.last_hidden_state).all()
