"""Training of the attention pooling head in the folded form against the published one, which projects every token.

    python benchmarks/head.py [--dim 512] [--tokens 300] [--batch 64] [--labels 71] [--repeats 9]

Published: keys and values of all tokens, W_k x_t and W_v x_t, then one query's attention over them (arXiv 2509.25095).
Ours: `ecg_hub.modeling.heads.AttentionPoolingHead`, which applies the same matrices to one vector per head. A step is
forward, backward and AdamW with the protocol's numbers. Before anything is timed, logits and gradients are compared,
and the weights after three steps. Times are medians of CPU seconds on one thread; the two take turns.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn
from turns import check, in_turns, load

from ecg_hub.modeling.heads import AttentionPoolingHead
from eval_harness.config.protocol import Protocol

GOAL = 10.0
TOLERANCE = 2e-5


class PublishedHead(AttentionPoolingHead):
    """The same parameters, computed as published."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, dim) to logits (batch, num_labels)."""

        def split(x: Tensor) -> Tensor:
            return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

        query = split(self.q_proj(self.query).expand(len(tokens), -1, -1))
        key, value = split(self.k_proj(tokens)), split(self.v_proj(tokens))
        weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        logits: Tensor = self.c_proj((weights @ value).transpose(1, 2).flatten(1))
        return logits


def training_step(head: nn.Module, tokens: Tensor, targets: Tensor) -> Callable[[], None]:
    """One step of AdamW on a head, to be called again and again."""
    protocol = Protocol()
    optimizer = torch.optim.AdamW(head.parameters(), lr=protocol.learning_rate, weight_decay=protocol.weight_decay)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.binary_cross_entropy_with_logits(head(tokens), targets).backward()
        optimizer.step()

    return step


def largest_difference(ours: nn.Module, plain: nn.Module, tokens: Tensor, targets: Tensor) -> float:
    """How far two heads with the same weights differ: logits, gradients, each relative to its largest value."""
    found = []
    sides = []
    for head in (ours, plain):
        head.zero_grad(set_to_none=True)
        logits = head(tokens)
        nn.functional.binary_cross_entropy_with_logits(logits, targets).backward()
        sides.append([logits.detach(), *(p.grad.clone() for p in head.parameters() if p.grad is not None)])
    for own, other in zip(*sides, strict=True):
        found.append(float((own - other).abs().max() / other.abs().max()))
    return max(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--labels", type=int, default=71)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--least", type=float, default=GOAL, help="end with an error below this ratio")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokens = torch.randn(options.batch, options.tokens, options.dim)
    targets = (torch.rand(options.batch, options.labels) < 0.1).float()
    ours = AttentionPoolingHead(options.dim, options.labels)
    plain = PublishedHead(options.dim, options.labels)
    plain.load_state_dict(ours.state_dict())
    difference = largest_difference(ours, plain, tokens, targets)
    trained = copy.deepcopy(ours), copy.deepcopy(plain)
    for head in trained:
        step = training_step(head, tokens, targets)
        for _ in range(3):
            step()
    with torch.no_grad():
        drift = float((trained[0](tokens) - trained[1](tokens)).abs().max())
    if max(difference, drift) > TOLERANCE:
        raise SystemExit(f"the two forms differ by {difference:.1e}, after three steps by {drift:.1e}")
    steps = {"ours": training_step(ours, tokens, targets), "published": training_step(plain, tokens, targets)}
    seconds = in_turns(steps, options.repeats)
    ratio = seconds["published"] / seconds["ours"]
    report = {
        "dim": options.dim,
        "tokens": options.tokens,
        "batch": options.batch,
        "published_step_s": round(seconds["published"], 4),
        "folded_step_s": round(seconds["ours"], 4),
        "ratio": round(ratio, 1),
        "largest_difference": difference,
        "difference_after_3_steps": drift,
        "load": load(),
    }
    print(json.dumps(report, indent=1))
    check(ratio, options.least)


if __name__ == "__main__":
    main()
