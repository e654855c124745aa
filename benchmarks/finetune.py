"""A step of fine-tuning on the CPU, against the plain loop on the same weights, windows and dropout.

    python benchmarks/finetune.py [ecg-cpc ecg-founder st-mem] [--batch 64] [--repeats 2] [--goal 1.5]

    plain   S4 by Fourier transforms, AdamW tensor by tensor, memory as the C library gives and takes it
    ours    what `Trainer` does: S4 in blocks, AdamW in one pass, freed memory kept

Both are forward, loss of 71 labels, backward and optimiser step of the whole model, in turns in one process, in CPU
seconds of one thread. The losses of all steps have to agree within 1e-4, and the gradients of the first within 1e-3 of
their largest. `parts` are the steps of ours. Ends with an error where ECG-CPC misses the goal.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from turns import check, load
from turns import cpu_seconds as seconds_of

import ecg_hub
from ecg_hub.modeling import s4
from ecg_hub.utils.memory import freed_memory_kept
from eval_harness.config.protocol import protocol
from eval_harness.models.adapting import adapt, parameter_groups

LABELS = [str(number) for number in range(71)]


@contextmanager
def by_transform() -> Iterator[None]:
    """S4 as other devices compute it."""
    kept, s4._IN_BLOCKS = s4._IN_BLOCKS, ()
    try:
        yield
    finally:
        s4._IN_BLOCKS = kept


class Loop:
    """One way to train: model, optimiser, and the losses so far."""

    def __init__(self, name: str, fused: bool) -> None:
        numbers = protocol("paper")
        torch.manual_seed(0)
        encoder = ecg_hub.AutoModel.from_pretrained(f"random:{name}")
        torch.manual_seed(1)
        self.model = adapt(encoder, "finetune", LABELS, "multi_label_classification", numbers, len(LABELS)).train()
        groups = parameter_groups(self.model, "finetune", numbers)
        self.optimizer = torch.optim.AdamW(groups, weight_decay=numbers.weight_decay, fused=fused)
        self.losses: list[float] = []
        self.first: list[torch.Tensor] = []
        self.parts: dict[str, float] = {}

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """One optimiser step; the dropout of step n is that of every other loop."""
        torch.manual_seed(len(self.losses))
        marks = [time.process_time()]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(self.model(x), y)
        marks.append(time.process_time())
        loss.backward()  # type: ignore[no-untyped-call]
        marks.append(time.process_time())
        if not self.losses:
            self.first = [p.grad.clone() for p in self.model.parameters() if p.grad is not None]
        self.losses.append(float(loss.detach()))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        marks.append(time.process_time())
        names = ("forward", "backward", "optimiser")
        self.parts = {name: round(b - a, 2) for name, a, b in zip(names, marks, marks[1:], strict=False)}


def compared(name: str, batch: int, repeats: int) -> dict[str, Any]:
    """Both ways in turns; the shortest of the rounds of each."""
    plain, ours = Loop(name, fused=False), Loop(name, fused=True)
    x = 0.3 * torch.randn(batch, 12, ours.model.encoder.config.samples)
    y = (torch.rand(batch, len(LABELS)) > 0.9).float()
    rounds: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(repeats + 1):
        with by_transform():
            rounds["plain"].append(seconds_of(lambda: plain.step(x, y)))
        with freed_memory_kept():
            rounds["ours"].append(seconds_of(lambda: ours.step(x, y)))
    apart = max(abs(a - b) for a, b in zip(plain.losses, ours.losses, strict=True))
    gradient = max(
        float((a - b).abs().max() / a.abs().max().clamp(min=1e-9)) for a, b in zip(plain.first, ours.first, strict=True)
    )
    if apart > 1e-4 or gradient > 1e-3:
        raise SystemExit(f"{name}: losses differ by {apart:.1e}, gradients by {gradient:.1e} of their largest")
    # The first round makes constants and takes memory.
    shortest = {way: min(values[1:]) for way, values in rounds.items()}
    return {
        "model": name,
        "batch": batch,
        **{f"{way}_s": round(value, 2) for way, value in shortest.items()},
        "ratio": round(shortest["plain"] / shortest["ours"], 2),
        "parts": ours.parts,
        "losses_apart": apart,
        "gradients_apart": gradient,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["ecg-cpc", "ecg-founder", "st-mem"])
    parser.add_argument("--batch", type=int, default=64, help="of a model with windows of 2.5 s; default: 64")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--goal", type=float, default=1.5, help="of ECG-CPC; 0 only compares")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = load()
    found = [compared(name, options.batch, options.repeats) for name in options.models]
    print(json.dumps({"steps": found, "load": f"{started}, then {load()}"}, indent=1))
    for row in found:
        if row["model"] == "ecg-cpc":
            check(row["ratio"], options.goal)


if __name__ == "__main__":
    main()
