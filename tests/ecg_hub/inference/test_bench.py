"""What `ecg-hub bench` measures, on tiny models, and the table in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from ecg_hub import catalog
from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.inference import bench as module
from ecg_hub.inference.bench import Cost, Speed, bench, rows
from ecg_hub.inference.counting import count_macs
from tests.support.models import signals, tiny

DOCS = Path(__file__).resolve().parents[3] / "docs" / "costs.md"


def quick(name: str, **keywords: object) -> Cost:
    return bench(name, **{"seconds": 1e-3, "threads": 1, "batch_sizes": (1, 2), **keywords})  # type: ignore[arg-type]


def test_a_cost() -> None:
    model = tiny("st-mem")
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
    from ecg_hub.auto import build_feature_extractor

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
    [row] = rows([bench(alias, batch_sizes=(1,), seconds=1e-3)])
    assert [row["MACs per record"], str(row["windows per record"])] == documented()[alias][1:3]
