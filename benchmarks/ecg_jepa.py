"""How much the structured attention of ECG-JEPA saves, against computing all scores and masking them.

    OMP_NUM_THREADS=1 python benchmarks/ecg_jepa.py

Four ways through the same full-size encoder (random weights, 8 x 10 s at 250 Hz), taking turns in one process:

    structured    only the 57 of 400 keys that the pattern allows, large batches in slices: what the model does
    whole batch   the same without slices
    masked        dense masked attention, as the published code does it: all 400 x 400 scores of a head, mask, softmax
    fused         all scores, masked inside torch's scaled_dot_product_attention

Prints the median process CPU seconds of a forward pass, the ratio to the first way, and how far the features differ;
exits with an error where they differ by more than 5e-6. Most of a forward pass are the matrix products of projections
and feed-forward layers, which are the same in all four: the second table times the attention of one block alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import ecg_hub
from ecg_hub.models.ecg_jepa import modeling_ecg_jepa as jepa

# way: (attention implementation, structured attention, in slices)
WAYS = {
    "structured": ("sdpa", True, True),
    "whole batch": ("sdpa", True, False),
    "masked": ("eager", False, False),
    "fused": ("sdpa", False, False),
}
SLICE = jepa._CPU_SLICE
TOLERANCE = 5e-6


def set_way(model: Any, way: str, batch: int) -> None:
    implementation, structured, sliced = WAYS[way]
    model.config._attn_implementation, model.config.structured_attention = implementation, structured
    jepa._CPU_SLICE = SLICE if sliced else batch


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def turns(calls: dict[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds and last result of each call, after one round that is not counted."""
    seconds: dict[str, list[float]] = {way: [] for way in calls}
    results = {}
    for repeat in range(repeats + 1):
        for way, call in calls.items():
            took, results[way] = timed(call)
            if repeat:
                seconds[way].append(took)
    return {way: statistics.median(values) for way, values in seconds.items()}, results


def report(title: str, seconds: dict[str, float], results: dict[str, torch.Tensor]) -> None:
    print(title)
    for way, took in seconds.items():
        difference = (results[way] - results["structured"]).abs().max().item()
        ratio = took / seconds["structured"]
        print(f"  {way:12s} {1000 * took:9.1f} ms   {ratio:5.2f} x   largest difference {difference:.1e}")
        if difference > TOLERANCE:
            raise SystemExit(f"{way} differs by {difference}")


def forward(model: Any, way: str, x: torch.Tensor) -> torch.Tensor:
    set_way(model, way, len(x))
    pooled: torch.Tensor = model(x).pooler_output
    return pooled


def attention(way: str, x: torch.Tensor) -> torch.Tensor:
    """Attention of one block without its projections, in slices where the way has them."""
    implementation, structured, sliced = WAYS[way]
    parts = torch.split(x, SLICE if sliced else len(x))
    ways: dict[tuple[str, bool], Callable[..., torch.Tensor]] = {
        ("sdpa", True): jepa.cross_pattern_attention,
        ("eager", False): lambda *heads: jepa.masked_attention(*heads)[0],
        ("sdpa", False): fused,
    }
    return torch.cat([ways[implementation, structured](*part.unbind(1)) for part in parts])


def fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    mask = jepa.cross_pattern_mask(*query.shape[2:4])
    q, k, v = (tensor.flatten(2, 3) for tensor in (query, key, value))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).view(query.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="windows per forward pass")
    parser.add_argument("--repeats", type=int, default=5, help="counted rounds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = ecg_hub.AutoModel.from_pretrained("random:ecg-jepa")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for batch in options.batches:
            x = 0.3 * torch.randn(batch, 8, 2500, generator=generator)
            calls = {way: partial(forward, model, way, x) for way in WAYS}
            report(f"forward pass, batch {batch}, one thread", *turns(calls, options.repeats))
        for batch in options.batches:
            heads = torch.randn(batch, 3, 16, 8, 50, 48, generator=generator)
            calls = {way: partial(attention, way, heads) for way in WAYS}
            report(f"attention of one block, batch {batch}, one thread", *turns(calls, 4 * options.repeats))


if __name__ == "__main__":
    main()
