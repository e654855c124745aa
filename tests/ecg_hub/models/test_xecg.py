"""xECG beyond the contract suite: padding, direction of the blocks, exchanged gate names, initialisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from ecg_hub.errors import CheckpointError
from ecg_hub.models.xecg.configuration_xecg import XECGConfig
from ecg_hub.models.xecg.convert_xecg import convert
from ecg_hub.models.xecg.modeling_xecg import XECGMLSTM, XECGSLSTM, XECGModel
from ecg_hub.weights.state_dict import StateDictMapper
from tests.support.fill import make_input, published_state, read_case
from tests.support.models import tiny

CASE = Path(__file__).resolve().parent.parent.parent / "golden" / "xecg"


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """The state dict of the golden case in published names."""
    return published_state(*read_case(CASE))


@pytest.mark.heavy
def test_padding_and_stages_are_the_published_ones(published: dict[str, torch.Tensor]) -> None:
    _, arrays = read_case(CASE)
    conversion = convert(StateDictMapper(published))
    model = XECGModel(conversion.config).eval()
    model.load_state_dict(conversion.state)
    x = torch.from_numpy(make_input(12, 1000))
    padded = x.clone()
    padded[:, :, 600:] = 0
    padded[:, :, 75] = 0  # one sample: the first of patch 3, which so counts as padding
    with torch.no_grad():
        states = model(x, output_hidden_states=True).hidden_states
        pooled = model(padded).pooler_output
    np.testing.assert_allclose(pooled.numpy(), arrays["padded::pooled"], atol=1e-4 * 4)
    for block in range(4):
        # The published stack hands on reversed tokens; ours are in the order of time.
        state = states[block + 1].flip(1) if block % 2 else states[block + 1]
        seen = state[:, arrays["token_index"]].numpy()
        np.testing.assert_allclose(seen, arrays[f"probe::block{block}_out"], atol=5e-4)


def test_a_record_of_padding_alone_has_no_features() -> None:
    model = tiny("xecg")
    with torch.no_grad():
        assert not model(torch.zeros(1, 12, 250)).pooler_output.any()


def test_every_second_block_sees_what_comes_after() -> None:
    model = XECGModel(XECGConfig(hidden_size=16, block_types=["s", "m"], intermediate_size=8)).eval()
    x = torch.from_numpy(make_input(12, 250))
    later = x.clone()
    later[:, :, 200:] += 1
    with torch.no_grad():
        first, second = (model(values, output_hidden_states=True).hidden_states for values in (x, later))
    assert torch.equal(first[1][:, :8], second[1][:, :8]), "the first block reads forward"
    assert not torch.allclose(first[2][:, :8], second[2][:, :8], atol=1e-6), "the second one backward"


def test_the_matrix_memory_equals_its_recurrence() -> None:
    """Equations 19 to 27 of arXiv 2405.04517, token by token, in float64."""
    torch.manual_seed(0)
    cell = XECGMLSTM(XECGConfig(hidden_size=16, num_heads=2, projection_block_size=2)).double()
    torch.nn.init.normal_(cell.input_gate.weight)
    torch.nn.init.normal_(cell.forget_gate.weight)
    query, key, value = torch.randn(3, 1, 12, 32, dtype=torch.float64)
    joined = torch.cat([query, key, value], dim=-1)
    gates = [gate(joined)[0] for gate in (cell.input_gate, cell.forget_gate)]
    heads = [part[0].unflatten(-1, (2, 16)) for part in (query, key, value)]
    memory, count, level = torch.zeros(2, 16, 16).double(), torch.zeros(2, 16).double(), torch.full((2,), -torch.inf)
    for step in range(12):
        q, k, v = (part[step] for part in heads)
        i, f = (gate[step] for gate in gates)
        decay = torch.nn.functional.logsigmoid(f)
        new = torch.maximum(decay + level, i)
        kept, entering = torch.exp(decay + level - new), torch.exp(i - new)
        memory = kept[:, None, None] * memory + entering[:, None, None] * (v[:, :, None] * k[:, None, :] / 4)
        count = kept[:, None] * count + entering[:, None] * k / 4
        level = new
        below = torch.maximum((count * q).sum(-1).abs(), torch.exp(-level)) + 1e-6
        expected = ((memory @ q[:, :, None])[..., 0] / below[:, None]).flatten()
        torch.testing.assert_close(cell._remember(query, key, value)[0, step], expected)


def test_gates_are_called_by_what_they_do(published: dict[str, torch.Tensor]) -> None:
    state = convert(StateDictMapper(published)).state
    source = "core.model.blocks.0.xlstm"
    assert torch.equal(state["blocks.0.mixer.input_gate.weight"], published[f"{source}.fgate.weight"])
    assert torch.equal(state["blocks.0.mixer.forget_gate.weight"], published[f"{source}.igate.weight"])


def test_the_layout_without_a_gpu_is_refused(published: dict[str, torch.Tensor]) -> None:
    name = "core.model.blocks.0.xlstm.slstm_cell._recurrent_kernel_"
    with pytest.raises(CheckpointError, match="_recurrent_kernel_"):
        convert(StateDictMapper({**published, name: published[name].transpose(1, 2)}))


def test_forget_gates_begin_as_those_of_xlstm() -> None:
    model = XECGModel(XECGConfig(hidden_size=16, block_types=["s", "m", "s"], intermediate_size=8))
    cells = [block.mixer for block in model.blocks]
    for cell, power in zip((cells[0], cells[2]), (0.3, 1.6), strict=True):
        assert isinstance(cell, XECGSLSTM)
        bias = cell.recurrent_bias.view(4, 4, 4)
        torch.testing.assert_close(bias[:, 1], (5 - 12 * (torch.arange(4) / 3) ** power).expand(4, 4))
        assert not bias[:, [0, 2, 3]].any()
    assert isinstance(cells[1], XECGMLSTM)
    assert cells[1].forget_gate.bias.tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize("change", [{"block_types": []}, {"num_heads": 3}, {"block_types": ["x"]}])
def test_shapes_that_cannot_be_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(StrictDataclassError):
        XECGConfig(**change)
