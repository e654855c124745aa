"""Forward pass of each encoder before and after: torch's public functions, oneDNN directly, and that in bfloat16.

    OMP_NUM_THREADS=1 python benchmarks/encoders.py [NAME ...] [--batches 1 8 32] [--repeats 3]
    MKL_ENABLE_INSTRUCTIONS=AVX2 OMP_NUM_THREADS=1 python benchmarks/encoders.py     # MKL as it is on AMD

The ten models of the paper at full size with seeded random weights, in evaluation, on noise of the length that the
preset `benchmark` feeds. All ways run in one process on one thread, the first two in turns. "Before" is the same model
with `ecg_hub.modeling.kernels` switched off: MKL for linear maps, convolutions and norms by torch's functions. Times
are the least CPU time of the repeats. The share of the peak is the operations of a pass (counted by
`ecg_hub.inference.bench`, activations and norms not among them) per second, over the best of three matrix products of
the package's own linear map, measured before the first model. On an Intel processor MKL is as fast as oneDNN; the
environment variable makes it take the kernels that it takes on others. Ends with an error where the float32 features
differ by more than rounding.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from models import TOLERANCE, encoder

from ecg_hub.inference.bench import count_macs
from ecg_hub.modeling import kernels

TEN = ["ecg-cpc", "s4", "net1d", "ecg-founder", "merl", "ecgfm-ked", "st-mem", "hubert-ecg", "ecg-fm", "ecg-jepa"]
PRODUCTS = ((4800, 512, 1024), (1600, 768, 3072), (1600, 3072, 768))
COLUMNS = (
    "model",
    "batch",
    "before ms",
    "after ms",
    "before / after",
    "share of peak",
    "bfloat16 ms",
    "before / bfloat16",
    "share of its peak",
    "largest difference",
)


def least_seconds(calls: list[Callable[[], Any]], repeats: int) -> list[float]:
    """Least CPU time of each, in turns."""
    least = [float("inf")] * len(calls)
    for _ in range(repeats):
        for index, call in enumerate(calls):
            started = time.process_time()
            call()
            least[index] = min(least[index], time.process_time() - started)
    return least


def in_bfloat16(call: Callable[[], Any]) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return call()


def before(call: Callable[[], Any]) -> Any:
    with kernels.plain():
        return call()


def peaks() -> tuple[float, float, float]:
    """GFLOP/s of matrix products: by torch's linear map, by ours in float32 and in bfloat16."""
    best = [0.0, 0.0, 0.0]
    for rows, inputs, outputs in PRODUCTS:
        layer, x = kernels.Linear(inputs, outputs).eval(), torch.randn(rows, inputs)

        def product(layer: Any = layer, x: Any = x) -> Any:
            return layer(x)

        half = x.bfloat16()
        calls = [
            lambda: before(product),
            product,
            lambda half=half, layer=layer: in_bfloat16(lambda: layer(half)),
        ]
        work = 2e-9 * rows * inputs * outputs
        best = [max(top, work / seconds) for top, seconds in zip(best, least_seconds(calls, 7), strict=True)]
    return best[0], best[1], best[2]


def row(
    name: str, model: Any, batch: int, repeats: int, tops: tuple[float, float, float]
) -> tuple[tuple[str, ...], bool]:
    """Cells of the table, and whether the features agree."""
    config = model.config
    x = 0.3 * torch.randn(batch, len(config.lead_names), config.samples, generator=torch.Generator().manual_seed(0))
    work = 2e-9 * batch * count_macs(model, x[:1])
    plain, ours = before(lambda: model(x)).last_hidden_state, model(x).last_hidden_state
    difference = float((plain - ours).abs().max() / plain.abs().max())
    first, second = least_seconds([lambda: before(lambda: model(x)), lambda: model(x)], repeats)
    # By itself, after a pass that does not count: weights are kept reordered for one type at a time.
    in_bfloat16(lambda: model(x[:1]))
    (third,) = least_seconds([lambda: in_bfloat16(lambda: model(x))], repeats)
    cells = (
        name,
        str(batch),
        f"{1e3 * first:.1f}",
        f"{1e3 * second:.1f}",
        f"{first / second:.2f}",
        f"{100 * work / second / tops[1]:.0f} %",
        f"{1e3 * third:.1f}",
        f"{first / third:.2f}",
        f"{100 * work / third / tops[2]:.0f} %",
        f"{difference:.0e}",
    )
    return cells, difference <= TOLERANCE


# Not in inference mode: weights that are made in it do not count their changes, and are never kept.
@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"default: {' '.join(TEN)}")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tops = peaks()
    named = ("torch float32", "ours float32", "ours bfloat16")
    print(f"kernels {kernels.numerics()}, torch {torch.__version__}, MKL {os.environ.get('MKL_ENABLE_INSTRUCTIONS')}")
    print("peak GFLOP/s: " + ", ".join(f"{name} {top:.0f}" for name, top in zip(named, tops, strict=True)))
    print(f"| {' | '.join(COLUMNS)} |\n|---|" + "---:|" * (len(COLUMNS) - 1))
    wrong = []
    for name in options.names or TEN:
        model = encoder(name)
        for batch in options.batches:
            cells, agrees = row(name, model, batch, options.repeats, tops)
            print(f"| {' | '.join(cells)} |", flush=True)
            wrong += [] if agrees else [f"{name}, batch {batch}: features differ by {cells[-1]} of the largest"]
    print(f"load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
