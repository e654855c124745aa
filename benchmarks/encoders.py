"""Forward pass of each encoder before and after: torch's public functions, oneDNN directly, and that in bfloat16.

    OMP_NUM_THREADS=1 python benchmarks/encoders.py [NAME ...] [--batches 1 8 32] [--repeats 3]
    MKL_ENABLE_INSTRUCTIONS=AVX2 OMP_NUM_THREADS=1 python benchmarks/encoders.py     # MKL as it is on AMD
    OMP_NUM_THREADS=1 python benchmarks/encoders.py --against DIR     # "before" is the package in another checkout

The ten models of the paper at full size with seeded random weights, in evaluation, on noise of the length that the
preset `benchmark` feeds. All ways run in one process on one thread, the first two in turns. "Before" is the same model
with `ecg_hub.modeling.kernels` switched off: MKL for linear maps, convolutions and norms by torch's functions. With
`--against` it is the package of an older checkout, which runs in a process of its own, a pass at a time. Times
are the least CPU time of the repeats. The share of the peak is the operations of a pass (counted by
`ecg_hub.inference.bench`, activations and norms not among them) per second, over the best of three matrix products of
the package's own linear map, measured before the first model. On an Intel processor MKL is as fast as oneDNN; the
environment variable makes it take the kernels that it takes on others. Ends with an error where the float32 features
differ by more than rounding.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from models import TOLERANCE, encoder

from ecg_hub.inference.bench import count_macs
from ecg_hub.modeling import kernels
from ecg_hub.utils.memory import freed_memory_kept

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


class OtherCheckout:
    """A model of the package in another folder, in a process that answers with the seconds of a pass or its features.

    It has this folder's `models.encoder`, so that both have the same weights.
    """

    PROGRAM = """
import io, sys, time
import torch
from models import encoder
torch.set_num_threads(1)
model, out = encoder(sys.argv[1]), sys.stdout.buffer
with torch.no_grad():
    for line in sys.stdin:
        batch, config = int(line), model.config
        x = 0.3 * torch.randn(batch, len(config.lead_names), config.samples, generator=torch.Generator().manual_seed(0))
        started = time.process_time()
        features = model(x).last_hidden_state
        seconds, kept = time.process_time() - started, io.BytesIO()
        torch.save(features, kept)
        out.write(f"{seconds} {len(kept.getvalue())}\\n".encode() + kept.getvalue())
        out.flush()
"""

    def __init__(self, folder: Path, name: str) -> None:
        paths = os.pathsep.join([str(folder.resolve()), str(Path(__file__).parent.resolve())])
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, name],
            env={**os.environ, "PYTHONPATH": paths},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def pass_of(self, batch: int) -> tuple[float, torch.Tensor]:
        """CPU seconds of one pass, and its features."""
        asked, answers = self.process.stdin, self.process.stdout
        assert asked is not None
        assert answers is not None
        asked.write(f"{batch}\n".encode())
        asked.flush()
        seconds, size = answers.readline().split()
        return float(seconds), torch.load(io.BytesIO(answers.read(int(size))), weights_only=True)

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


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


def timed(model: Any, x: Any, repeats: int, other: OtherCheckout | None) -> tuple[torch.Tensor, float, float]:
    """The features before, and the least seconds of a pass before and after, in turns."""
    if other is None:
        features = before(lambda: model(x)).last_hidden_state
        first, second = least_seconds([lambda: before(lambda: model(x)), lambda: model(x)], repeats)
        return features, first, second
    (first, features), second = other.pass_of(len(x)), float("inf")
    for _ in range(repeats):
        first = min(first, other.pass_of(len(x))[0])
        second = min(second, *least_seconds([lambda: model(x)], 1))
    return features, first, second


def row(
    name: str, model: Any, batch: int, repeats: int, tops: tuple[float, float, float], other: OtherCheckout | None
) -> tuple[tuple[str, ...], bool]:
    """Cells of the table, and whether the features agree."""
    config = model.config
    x = 0.3 * torch.randn(batch, len(config.lead_names), config.samples, generator=torch.Generator().manual_seed(0))
    work = 2e-9 * batch * count_macs(model, x[:1])
    ours = model(x).last_hidden_state
    plain, first, second = timed(model, x, repeats, other)
    difference = float((plain - ours).abs().max() / plain.abs().max())
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
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout of the project")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tops = peaks()
    named = ("torch float32", "ours float32", "ours bfloat16")
    print(f"kernels {kernels.numerics()}, torch {torch.__version__}, MKL {os.environ.get('MKL_ENABLE_INSTRUCTIONS')}")
    print("peak GFLOP/s: " + ", ".join(f"{name} {top:.0f}" for name, top in zip(named, tops, strict=True)))
    print(f"| {' | '.join(COLUMNS)} |\n|---|" + "---:|" * (len(COLUMNS) - 1))
    wrong = []
    for name in options.names or TEN:
        model, other = encoder(name), OtherCheckout(options.against, name) if options.against else None
        for batch in options.batches:
            with freed_memory_kept():  # as wherever the package encodes many windows
                cells, agrees = row(name, model, batch, options.repeats, tops, other)
            print(f"| {' | '.join(cells)} |", flush=True)
            wrong += [] if agrees else [f"{name}, batch {batch}: features differ by {cells[-1]} of the largest"]
        if other is not None:
            other.close()
    print(f"load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
