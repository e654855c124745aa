"""The loss of ECG-CPC's pre-training as a matrix product per sequence, against the straightforward loop over tokens.

    python benchmarks/cpc_loss.py [--batch 64] [--tokens 1200] [--dim 512] [--negatives 128] [--timed 24] [--repeats 3]

Loop: for each token, gather positive and negatives of all sequences, multiply with the predictions, cross entropy; then
the backward pass (`tests/support/contrast.py` has the same form, without a bound on memory). All tokens at once would
keep 20 GB of candidates for the backward pass, so each token's graph is run backward by itself; and as every token
costs the same, `--timed` tokens, evenly spread, are timed and their time is scaled to all (0 times them all). Before
anything is timed, loss and gradients of both are compared, on fewer sequences. CPU seconds on one thread, in turns.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor
from torch.nn import functional
from turns import check, in_turns, load

from ecg_hub.modeling.contrastive import cpc_loss, sample_negatives

GOAL = 10.0
STEP = 14
TOLERANCE = 1e-4


def loop(predictions: Tensor, encoded: Tensor, negatives: Tensor, anchors: list[int]) -> float:
    """Mean loss over some tokens; the gradients of that mean are added to the leaves."""
    width, number = encoded.shape[2], negatives.shape[2]
    flat = encoded.reshape(-1, width)
    offset = torch.arange(len(encoded))[:, None] * encoded.shape[1]
    target = torch.zeros(len(encoded), dtype=torch.int64)
    total = 0.0
    for i in anchors:
        drawn = flat[(negatives[:, i] + offset).flatten()].view(-1, number, width)
        candidates = torch.cat([encoded[:, i + STEP][:, None], drawn], dim=1)
        scores = (predictions[:, i][:, None] * candidates).sum(-1)
        loss = functional.cross_entropy(scores, target) / len(anchors)
        loss.backward()
        total += loss.item()
    return total


def ours(predictions: Tensor, encoded: Tensor, negatives: Tensor) -> float:
    """Mean loss, with gradients."""
    losses, _ = cpc_loss(predictions, encoded, negatives, STEP)
    loss = losses.mean()
    loss.backward()
    return loss.item()


def leaves(batch: int, tokens: int, dim: int) -> tuple[Tensor, Tensor]:
    """Predictions and encoded tokens of about the size that a layer norm and a ReLU give."""
    generator = torch.Generator().manual_seed(0)
    encoded = torch.randn(batch, tokens, dim, generator=generator).relu() * dim**-0.5
    return torch.randn(batch, tokens - STEP, dim, generator=generator).requires_grad_(), encoded.requires_grad_()


def largest_difference(options: argparse.Namespace) -> float:
    """How far the two differ on two sequences: loss and gradients, each relative to its largest value."""
    sides = []
    negatives = sample_negatives(2, options.tokens, (STEP,), options.negatives)[:, 0]
    for way in ("ours", "loop"):
        made, encoded = leaves(2, options.tokens, options.dim)
        every = list(range(made.shape[1]))
        loss = ours(made, encoded, negatives) if way == "ours" else loop(made, encoded, negatives, every)
        assert made.grad is not None
        assert encoded.grad is not None
        sides.append((torch.tensor(loss), made.grad, encoded.grad))
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*sides, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=1200)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--negatives", type=int, default=128)
    parser.add_argument("--timed", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--least", type=float, default=GOAL, help="end with an error below this ratio")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    difference = largest_difference(options)
    if difference > TOLERANCE:
        raise SystemExit(f"the two ways differ by {difference:.1e}")
    made, encoded = leaves(options.batch, options.tokens, options.dim)
    negatives = sample_negatives(options.batch, options.tokens, (STEP,), options.negatives)[:, 0]
    anchors = made.shape[1]
    timed = options.timed or anchors
    chosen = torch.linspace(0, anchors - 1, timed).long().tolist()

    def fresh() -> None:
        made.grad = encoded.grad = None

    ways = {
        "ours": lambda: (fresh(), ours(made, encoded, negatives)),
        "loop": lambda: (fresh(), loop(made, encoded, negatives, chosen)),
    }
    seconds = in_turns(ways, options.repeats)
    whole = seconds["loop"] * anchors / timed
    ratio = whole / seconds["ours"]
    report = {
        "batch": options.batch,
        "tokens": options.tokens,
        "dim": options.dim,
        "negatives": options.negatives,
        "loop_tokens_timed": timed,
        "loop_s": round(whole, 1),
        "ours_s": round(seconds["ours"], 2),
        "ratio": round(ratio, 1),
        "largest_difference": difference,
        "load": load(),
    }
    print(json.dumps(report, indent=1))
    check(ratio, options.least)


if __name__ == "__main__":
    main()
