"""Forward pass of each encoder against the plain form of the same mathematics (`benchmarks/eager.py`).

    OMP_NUM_THREADS=1 python benchmarks/models.py [NAME ...] [--repeats 9] [--batches 1 32] [--markdown]

Full-size models with seeded random weights, on noise of the length that the preset `benchmark` feeds. Both sides run in
one process on one thread and take turns; a round is one pass of each, and every other round begins with the other side.
Every row is a fresh process, since what ran before decides how the memory allocator treats large blocks.
Times are medians of process CPU seconds, the ratio is the median over rounds of plain / ours: above 1, ours is faster.
Ends with an error where the outputs differ by more than rounding, or where ours is slower by more than `--slack`.

By default batches of 1 and 32 windows, and of 1 and 8 for the transformers of 85 M parameters and more.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import eager
import torch
from torch import Tensor, nn

import ecg_hub
from ecg_hub import catalog

# Rounding may differ by this much, relative to the largest feature.
TOLERANCE = 2e-5
LARGE = 50_000_000
COLUMNS = ("model", "batch", "plain ms", "ours ms", "plain / ours", "spread", "largest difference")


@dataclass(frozen=True)
class Comparison:
    """One model at one batch size; seconds of CPU per pass, and how far the features differ."""

    alias: str
    batch: int
    plain_s: float
    ours_s: float
    ratio: float
    spread: tuple[float, float]
    difference: float
    largest: float

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        low, high = self.spread
        times = f"{1000 * self.plain_s:.1f}", f"{1000 * self.ours_s:.1f}"
        return (
            self.alias,
            str(self.batch),
            *times,
            f"{self.ratio:.2f}",
            f"{low:.2f}-{high:.2f}",
            f"{self.difference:.0e}",
        )


def encoder(name: str) -> Any:
    """A seeded random encoder whose batch norms do something, as those of a trained one."""
    model = ecg_hub.AutoModel.from_pretrained(f"random:{name}").eval()
    generator = torch.Generator().manual_seed(1)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d):
            for values, low, high in ((norm.weight, 0.5, 1.0), (norm.running_var, 0.5, 1.5)):
                assert values is not None
                values.data.uniform_(low, high, generator=generator)
            for values in (norm.bias, norm.running_mean):
                assert values is not None
                values.data.normal_(0, 0.05, generator=generator)
    return model


def cpu_seconds(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def measure(name: str, batch: int, repeats: int) -> Comparison:
    """Compare in this process; see `compare`."""
    torch.set_num_threads(1)
    return compare(name, encoder(name), batch, repeats)


@torch.no_grad()
def compare(name: str, model: Any, batch: int, repeats: int) -> Comparison:
    """Check that both sides agree, then time them in turns.

    Args:
        name: what the model is called in the table.
        model: an encoder in evaluation mode.
        batch: windows per pass.
        repeats: rounds.
    """
    config, generator = model.config, torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(batch, len(config.lead_names), config.samples, generator=generator)
    sides: tuple[Callable[[], Any], ...] = (lambda: eager.features(model, x), lambda: model(x))
    (tokens, pooled), ours = sides[0](), sides[1]()
    pairs = ((tokens, ours.last_hidden_state), (pooled, ours.pooler_output))
    difference = max(_difference(plain, own) for plain, own in pairs)
    seconds: tuple[list[float], list[float]] = ([], [])
    for round_ in range(repeats):
        for side in (0, 1) if round_ % 2 == 0 else (1, 0):
            seconds[side].append(cpu_seconds(sides[side]))
    ratios = sorted(plain / own for plain, own in zip(*seconds, strict=True))
    spread = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    middle = statistics.median(seconds[0]), statistics.median(seconds[1])
    largest = max(1.0, float(tokens.abs().max()))
    return Comparison(name, batch, *middle, statistics.median(ratios), spread, difference, largest)


def _difference(plain: Tensor, own: Tensor) -> float:
    return float((plain - own).abs().max())


def failures(rows: list[Comparison], slack: float) -> list[str]:
    """What is wrong with a table: outputs that differ, a model that is slower than the plain form."""
    found = []
    for row in rows:
        place = f"{row.alias}, batch {row.batch}"
        if row.difference > TOLERANCE * row.largest:
            found.append(f"{place}: features differ by {row.difference:.1e} of {row.largest:.1e}")
        if row.ratio < 1 - slack:
            found.append(f"{place}: slower than the plain form, {row.ratio:.2f}")
    return found


def line(cells: tuple[str, ...], markdown: bool) -> str:
    if markdown:
        return f"| {' | '.join(cells)} |"
    return "".join(
        cell.ljust(14) if column == 0 else cell.rjust(20 if column == 6 else 13) for column, cell in enumerate(cells)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"default: all of {', '.join(catalog.models())}")
    parser.add_argument(
        "--batches", type=int, nargs="+", help="windows per pass; default 1 32, or 1 8 for large models"
    )
    parser.add_argument("--repeats", type=int, default=9, help="rounds, default 9")
    parser.add_argument("--slack", type=float, default=0.03, help="how much slower is still noise, default 0.03")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    print(line(COLUMNS, options.markdown))
    if options.markdown:
        print("|---|" + "---:|" * (len(COLUMNS) - 1))
    rows = []
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name in options.names or catalog.models():
            large = catalog.get(name).parameters > LARGE
            for batch in options.batches or ((1, 8) if large else (1, 32)):
                rows.append(pool.apply(measure, (name, batch, options.repeats)))
                print(line(rows[-1].cells(), options.markdown), flush=True)
    print(f"\nload average {', '.join(f'{load:.2f}' for load in os.getloadavg())}, torch {torch.__version__}")
    if problems := failures(rows, options.slack):
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
