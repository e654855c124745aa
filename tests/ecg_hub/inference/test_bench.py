"""What `ecg-hub bench` measures, on tiny models, and the table in the documentation."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from ecg_hub import catalog
from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.inference import bench as module
from ecg_hub.inference.bench import Cost, Speed, TensorMemory, bench, count_macs, rows
from ecg_hub.modeling import kernels
from ecg_hub.modeling.s4 import S4Convolution
from ecg_hub.models.ecg_jepa.modeling_ecg_jepa import cross_pattern_attention
from tests.support.models import signals, tiny

DOCS = Path(__file__).resolve().parents[3] / "docs" / "costs.md"


def quick(name: str, **keywords: object) -> Cost:
    return bench(name, **{"seconds": 1e-3, "threads": 1, "batch_sizes": (1, 2), **keywords})  # type: ignore[arg-type]


def test_a_cost() -> None:
    model = tiny("st-mem")
    # Reordered weights are counted as well, and do not grow with the batch.
    with kernels.plain():
        cost = quick("random:st-mem-tiny")
    assert (cost.model, cost.preset, cost.device, cost.threads) == ("random:st-mem-tiny", "benchmark", "cpu", 1)
    assert cost.parameters == model.num_parameters()
    assert cost.windows == 4  # 2.4 s each, the last 0.4 s of 10 s are dropped
    assert cost.macs == 4 * count_macs(model, signals(model.config, batch=1))
    assert cost.torch == torch.__version__
    assert [speed.batch_size for speed in cost.speeds] == [1, 2]
    assert all(speed.records_per_second > 0 for speed in cost.speeds)
    weights = 4 * (cost.parameters + sum(buffer.numel() for buffer in model.buffers()))
    small, large = (speed.peak_memory_mb * 1e6 - weights for speed in cost.speeds)
    window = 4 * 12 * 600
    assert small > 4 * window
    assert large > 1.9 * small


def test_native_windows_are_longer() -> None:
    cost = quick("random:st-mem-tiny", preset="native", batch_sizes=(1,))
    assert cost.windows == 1
    model = tiny("st-mem")
    assert cost.macs == count_macs(model, torch.zeros(1, 12, 2250))


def test_windows_per_record() -> None:
    found = {name: quick(f"random:{name}-tiny", batch_sizes=(1,)).windows for name in ("ecg-cpc", "ecg-jepa")}
    assert found == {"ecg-cpc": 4, "ecg-jepa": 1}


def test_a_batch_holds_all_windows_of_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    fed = []

    def note(model: object, batch_size: int, x: torch.Tensor, seconds: float) -> Speed:
        fed.append((batch_size, tuple(x.shape)))
        return Speed(batch_size, 1.0, 1.0)

    monkeypatch.setattr(module, "_speed", note)
    quick("random:st-mem-tiny")
    quick("random:ecg-jepa-tiny")
    assert fed == [(1, (4, 12, 600)), (2, (8, 12, 600)), (1, (1, 8, 2500)), (2, (2, 8, 2500))]


def test_a_short_name_needs_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    import ecg_hub

    asked = []
    load = ecg_hub.AutoModel.from_pretrained

    def note(name: str, **keywords: object) -> object:
        asked.append(name)
        return load("random:s4-tiny", **keywords)

    monkeypatch.setattr(ecg_hub.AutoModel, "from_pretrained", note)
    for name in ("ecg-cpc", "s4"):  # one without its weights, one that has none
        assert quick(name, batch_sizes=(1,)).model == name
    assert asked == ["random:ecg-cpc", "random:s4"]


def test_a_folder(tmp_path: Path) -> None:
    from ecg_hub.modeling.auto import build_feature_extractor

    tiny("ecg-jepa").save_pretrained(tmp_path)
    build_feature_extractor(catalog.get("ecg-jepa")).save_pretrained(tmp_path)
    assert quick(str(tmp_path), batch_sizes=(1,)).macs == quick("random:ecg-jepa-tiny", batch_sizes=(1,)).macs


def test_speed_is_records_by_the_median_second(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 10.0, 14.0, 20.0, 22.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(ticks))
    cost = quick("random:s4-tiny", batch_sizes=(3,), seconds=6.5)
    assert cost.speeds[0].records_per_second == pytest.approx(3 / 2)


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    assert quick("random:s4-tiny", batch_sizes=(1,), threads=before + 1).threads == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"batch_sizes": (0,)}, "batch size is 0"),
        ({"threads": 0}, "number of threads is 0"),
        ({"seconds": 0.0}, "seconds is 0.0"),
        ({"device": "abacus"}, "Device 'abacus' cannot be used here"),
    ],
)
def test_wrong_options(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quick("random:s4-tiny", **keywords)


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="ecg-jepa"):
        quick("ecg-jeppa")
    with pytest.raises(UnknownNameError, match="benchmark"):
        quick("random:s4-tiny", preset="benchmrk")


def test_rows() -> None:
    cost = Cost(
        model="m",
        preset="benchmark",
        parameters=1234567,
        windows=4,
        macs=12_345_678_901,
        speeds=(Speed(1, 0.123456, 99.96), Speed(32, 1234.5, 5678.9)),
        device="cpu",
        threads=1,
        torch="2.13.0",
    )
    assert rows([cost]) == [
        {
            "model": "m",
            "parameters": "1,234,567",
            "MACs per record": "12.3 G",
            "windows per record": 4,
            "records/s, batch 1": 0.123,
            "records/s, batch 32": 1230,
            "peak MB, batch 1": 100,
            "peak MB, batch 32": 5680,
        }
    ]


@pytest.mark.parametrize(
    ("macs", "text"),
    [(999, "0.999 k"), (54_321, "54.3 k"), (2_000_000, "2.00 M"), (345_678_901, "346 M"), (10**9, "1.00 G")],
)
def test_large_numbers(macs: int, text: str) -> None:
    cost = Cost("m", "benchmark", 1, 1, macs, (), "cpu", 1, "2.13.0")
    assert rows([cost])[0]["MACs per record"] == text


def documented() -> dict[str, list[str]]:
    """Cells of the table in the documentation by model."""
    lines = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if re.match(r"\| [a-z][a-z0-9-]* \|", line)]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells if row[0] != "model"}


def test_the_documentation_lists_every_model() -> None:
    table = documented()
    missing = set(catalog.models()) - set(table)
    assert not missing, f"add the lines of `ecg-hub bench {','.join(missing)} --format markdown` to docs/costs.md"
    assert {name: cells[0] for name, cells in table.items()} == {
        alias: f"{entry.parameters:,}" for alias, entry in catalog.models().items()
    }


@pytest.mark.heavy
@pytest.mark.parametrize("alias", catalog.models())
def test_documented_operations(alias: str) -> None:
    # Nothing is timed: four windows six times over would cost ten times what is counted does.
    [row] = rows([bench(alias, batch_sizes=())])
    assert [row["MACs per record"], str(row["windows per record"])] == documented()[alias][1:3]


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)  # type: ignore[operator,no-any-return]


def test_matrix_products_and_convolutions() -> None:
    assert count_macs(nn.Linear(5, 7), torch.zeros(2, 3, 5)) == 2 * 3 * 5 * 7
    conv = nn.Conv1d(6, 8, kernel_size=3, stride=2, groups=2)
    assert count_macs(conv, torch.zeros(4, 6, 21)) == 4 * 8 * 10 * (6 // 2) * 3
    assert count_macs(Call(lambda x: torch.einsum("bij,bkj->bik", x, x)), torch.zeros(2, 3, 4)) == 2 * 3 * 3 * 4
    assert count_macs(nn.Sequential(nn.GELU(), nn.LayerNorm(5)), torch.zeros(2, 5)) == 0


def test_fused_attention() -> None:
    q, k, v = torch.zeros(2, 3, 10, 4), torch.zeros(2, 3, 20, 4), torch.zeros(2, 3, 20, 4)
    fused = Call(lambda x: functional.scaled_dot_product_attention(x, k, v))
    by_hand = Call(lambda x: (x @ k.transpose(-1, -2)).softmax(-1) @ v)
    assert count_macs(fused, q) == count_macs(by_hand, q) == 2 * 3 * 10 * 20 * (4 + 4)


def test_structured_attention_counts_what_it_computes() -> None:
    heads = torch.randn(2, 3, 8, 50, 6)
    scores = 2 * 3 * 8 * 50 * (50 + 8)
    assert count_macs(Call(lambda x: cross_pattern_attention(x, x, x)), heads) == scores * (6 + 6)


@pytest.mark.parametrize("tokens", [300, 301])
def test_s4_is_counted_by_its_fourier_transforms(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecg_hub.modeling.s4._IN_BLOCKS", ())
    layer = S4Convolution(features=6, state_size=4, kernel_length=300)
    layer.initialize()
    points = 600 if tokens == 300 else 625  # the next sizes that a fast Fourier transform likes
    transform = 2.5 * points * math.log2(points)
    product = 6 * (points // 2 + 1)
    expected = 2 * 6 * (2 * transform + product) / 2
    assert count_macs(layer.eval(), torch.zeros(2, 6, tokens)) == pytest.approx(expected, abs=1)


def test_s4_is_counted_by_its_blocks() -> None:
    layer = S4Convolution(features=6, state_size=4, kernel_length=300)
    layer.initialize()
    within, states, between = 300 * 60, 2 * 300 * 4, 4 * 4 * 4  # five blocks of 60 tokens, four steps from one to next
    assert count_macs(layer.eval(), torch.zeros(2, 6, 300)) == 2 * 6 * (within + states + between)


def test_a_transformer_by_hand() -> None:
    model = tiny("st-mem")
    width, hidden, tokens, patches = 32, 64, 120, 96
    block = tokens * (3 * width * width + width * width + 2 * width * hidden) + 2 * tokens * tokens * width
    assert count_macs(model, signals(model.config, batch=1)) == patches * 75 * width + 2 * block
    assert count_macs(tiny("st-mem", attn_implementation="eager"), signals(model.config, batch=1)) == (
        patches * 75 * width + 2 * block
    )


def test_memory_of_tensors() -> None:
    held = torch.zeros(100)
    with TensorMemory([held]) as memory:
        assert memory.live == 400
        x = torch.zeros(1000)
        y = x * 2
        assert (memory.live, memory.peak) == (8400, 8400)
        part = y[:10]
        del y
        assert memory.live == 8400  # a view keeps the whole
        del part
        assert (memory.live, memory.peak) == (4400, 8400)
        held[:5].mul_(2)
        assert memory.live == 4400  # in place, and a view of what was there
        memory.restart()
        z = x.view(10, 100) + 1
        assert (memory.live, memory.peak) == (8400, 8400)
        del z
    del x
    assert memory.live == 400


def test_memory_of_intermediate_results() -> None:
    chain = nn.Sequential(*(nn.Linear(1000, 1000, bias=False) for _ in range(4)))
    x = torch.zeros(1, 1000)
    with torch.no_grad(), TensorMemory([x, *chain.parameters()]) as memory:
        chain(x)
    weights = 4 * 4 * 1000 * 1000
    assert memory.peak == weights + 3 * 4000  # the input, and two neighbours at a time
