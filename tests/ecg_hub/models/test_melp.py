"""MELP beyond the contract suite: its queries alone, its files, what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ecg_hub.errors import CheckpointError
from ecg_hub.models.melp.configuration_melp import MELPConfig
from ecg_hub.models.melp.convert_melp import convert
from ecg_hub.models.melp.modeling_melp import MELPPooler
from ecg_hub.weights.state_dict import StateDictMapper
from tests.support.fill import published_state, read_case

CASE = Path(__file__).resolve().parent.parent.parent / "golden" / "melp"
PREFIX = "ecg_encoder."


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """The state dict of the golden case in published names."""
    return published_state(*read_case(CASE))


@pytest.mark.heavy
def test_the_queries_read_what_the_published_ones_read(published: dict[str, torch.Tensor]) -> None:
    # Filled by rule the encoder's tokens are much alike: random ones show every mistake of the attention.
    _, arrays = read_case(CASE)
    state = convert(StateDictMapper(published)).state
    pooler = MELPPooler(MELPConfig())
    pooler.load_state_dict({k.removeprefix("pooler."): v for k, v in state.items() if k.startswith("pooler.")})
    with torch.no_grad():
        read = pooler(torch.from_numpy(arrays["pooler::input"]))
    np.testing.assert_allclose(read.numpy(), arrays["pooler::sequence"], atol=1e-5)


def test_a_file_of_the_ecg_side_alone_and_one_with_the_text_side(published: dict[str, torch.Tensor]) -> None:
    expected = convert(StateDictMapper(published)).state
    alone = {name.removeprefix(PREFIX): tensor for name, tensor in published.items()}
    whole = {**published, "lm_model.embeddings.weight": torch.zeros(1), "proj_t.0.weight": torch.zeros(1)}
    for state in (alone, whole):
        assert convert(StateDictMapper(state)).state.keys() == expected.keys()


def test_the_number_of_queries_is_that_of_the_file(published: dict[str, torch.Tensor]) -> None:
    name = f"{PREFIX}attn_pool_contrast.query"
    conversion = convert(StateDictMapper({**published, name: published[name][:12]}))
    assert conversion.config.num_queries == 12
    assert conversion.notes == ["12 queries"]


def test_a_block_more_is_refused(published: dict[str, torch.Tensor]) -> None:
    surplus = {f"{PREFIX}{PREFIX}encoder.layers.8.fc1.weight": torch.zeros(3072, 768)}
    with pytest.raises(CheckpointError, match=r"layers\.8\.fc1"):
        convert(StateDictMapper({**published, **surplus}))
