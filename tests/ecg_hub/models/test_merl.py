"""MERL beyond the contract suite: its two published files, its layer groups, the input of its authors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from ecg_hub import catalog
from ecg_hub.errors import CheckpointError
from ecg_hub.input.recordings import wfdb_recording
from ecg_hub.leads import LEADS
from ecg_hub.modeling.auto import build_feature_extractor
from ecg_hub.models.merl.configuration_merl import MERLConfig
from ecg_hub.models.merl.convert_merl import convert
from ecg_hub.weights.state_dict import StateDictMapper
from tests.support.models import tiny

GOLDEN = Path(__file__).resolve().parent.parent.parent / "golden"
MIMIC_ORDER = [0, 1, 2, 3, LEADS.index("aVF"), LEADS.index("aVL"), 6, 7, 8, 9, 10, 11]


def published(model_type: str = "merl", prefix: str = "") -> dict[str, torch.Tensor]:
    """Names and shapes of a manifest, without values."""
    entries = json.loads((GOLDEN / model_type / "manifest.json").read_text())["entries"]
    return {prefix + entry["name"]: torch.empty(entry["shape"], device="meta") for entry in entries}


def test_the_file_of_the_encoder() -> None:
    entries = StateDictMapper({**published(), "linear.weight": torch.empty(10, 512), "linear.bias": torch.empty(10)})
    conversion = convert(entries)
    assert entries.taken == 120
    assert set(entries.ignored) == {"linear.weight", "linear.bias"}
    assert conversion.notes == []


def test_the_file_of_the_whole_model() -> None:
    state = published(prefix="ecg_encoder.")
    others = ("ecg_encoder.linear.weight", "downconv.weight", "att_pool_head.positional_embedding", "proj_t.0.weight")
    entries = StateDictMapper(
        {**state, **{name: torch.empty(1) for name in (*others, "lm_model.embeddings.word.weight")}}
    )
    conversion = convert(entries)
    assert entries.taken == 120
    assert len(entries.ignored) == 5
    assert conversion.state.keys() == convert(StateDictMapper(published())).state.keys()
    assert "ecg_encoder." in conversion.notes[0]


def test_faults_are_listed() -> None:
    state = published()
    del state["layer3.1.bn2.running_var"]
    state["layer2.0.shortcut.0.weight"] = torch.empty(128, 64, 3)
    state["layer1.2.conv1.weight"] = torch.empty(64, 64, 3)
    with pytest.raises(CheckpointError) as error:
        convert(StateDictMapper(state))
    for line in (
        "missing: layer3.1.bn2.running_var (256,)",
        "wrong shape: layer2.0.shortcut.0.weight is (128, 64, 3), expected (128, 64, 1)",
        "unknown: layer1.2.conv1.weight (64, 64, 3)",
    ):
        assert line in str(error.value)


@pytest.mark.parametrize("other", ["ecgfm_ked", "ecg_cpc", "net1d"])
def test_other_checkpoints(other: str) -> None:
    with pytest.raises(CheckpointError, match=r"missing: conv1\.weight"):
        convert(StateDictMapper(published(other)))


def test_layer_groups_have_the_published_sizes() -> None:
    config = MERLConfig(num_labels=71)
    with torch.device("meta"):
        model = catalog.get("merl").load("classifier")(config)
    sizes = dict.fromkeys((*config.layer_groups, "head"), 0)
    for name, parameter in model.named_parameters():
        relative = name.removeprefix("merl.")
        group = next((g for g, prefixes in config.layer_groups.items() if relative.startswith(tuple(prefixes))), "head")
        sizes[group] += parameter.numel()
    assert sizes == {"late": 3_612_160, "early": 236_672, "head": 36_423}


@pytest.mark.parametrize(("samples", "tokens"), [(1, 1), (15, 1), (17, 2), (1250, 79), (5000, 313)])
def test_any_length_works(samples: int, tokens: int) -> None:
    output = tiny("merl")(torch.zeros(1, 12, samples), output_hidden_states=True)
    assert output.last_hidden_state.shape == (1, tokens, 32)
    stem, *stages = (state.shape[1:] for state in output.hidden_states)
    assert stem == (-(-samples // 2), 8)
    assert stages[-1] == (tokens, 32)
    assert torch.allclose(output.pooler_output, output.last_hidden_state.mean(dim=1), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 256}, "hidden_size is 256"),
        ({"stage_depths": [2, 2, 2]}, "four values each"),
        ({"stage_depths": [2, 2, 2, 0]}, "four values each"),
    ],
)
def test_configurations_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        MERLConfig(**changes)


def authors_input(record: np.ndarray) -> np.ndarray:
    """The record of MIMIC-IV-ECG, its leads in that order, scaled to 0 .. 1 by its extremes over all leads."""
    scaled = (record - record.min()) / (record.max() - record.min())
    return np.asarray(scaled[MIMIC_ORDER])


def test_native_input_is_that_of_the_authors() -> None:
    record = np.random.default_rng(0).standard_normal((12, 5000)).astype(np.float32)
    fe = build_feature_extractor(catalog.get("merl"))
    native = fe(record, sampling_rate=500, lead_names=LEADS, preset="native")["input_values"]
    np.testing.assert_allclose(native, authors_input(record)[None], atol=1e-6)
    benchmark = fe(record, sampling_rate=500, lead_names=LEADS)["input_values"]
    np.testing.assert_array_equal(benchmark, record[None, :, :1250])


def test_a_real_record(shared: Path) -> None:
    path = shared / "data/ptbxl/mini/records500/00000/00001_hr"
    fe, model = build_feature_extractor(catalog.get("merl")), tiny("merl")
    native = fe(path, preset="native")["input_values"]
    np.testing.assert_allclose(native, authors_input(wfdb_recording(path).values)[None], atol=1e-5)
    for values, tokens in ((native, 313), (fe(path, window="all")["input_values"], 79)):
        output = model(torch.from_numpy(values))
        assert output.last_hidden_state.shape == (len(values), tokens, 32)
        assert torch.isfinite(output.last_hidden_state).all()
