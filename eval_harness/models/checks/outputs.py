"""Checks of what comes out: shapes, the same numbers again, whatever the batch, the seed and the precision."""

from __future__ import annotations

import inspect
import time
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from eval_harness.models.checks.check import DrawbackError, FailedError, NotApplicableError, first_line
from eval_harness.models.checks.subject import Subject, tokens_of

BATCHES = (1, 2, 5)
WHOLE = 18
"""Windows of the batch that is compared row by row: more than the slices in which large batches are run."""
ROW_TOLERANCE = 1e-5
"""Share of the features' size by which they may depend on the batch."""
LOW_TOLERANCE = 0.1
"""The same of weights in bfloat16."""
FROZEN_HEADS = 16
"""The published attention pooling splits the width by so many heads."""


def output_shapes(subject: Subject) -> str:
    """Tokens (batch, tokens, dim) and pooled features (batch, dim), for several batch sizes."""
    for batch in BATCHES:
        with torch.no_grad():
            output = subject.call(subject.signals(batch))
        tokens = tokens_of(output)
        if tokens.ndim not in (2, 3) or len(tokens) != batch:
            raise FailedError(
                f"{tuple(tokens.shape)} for {batch} windows", "Return (batch, tokens, dim) or (batch, dim)."
            )
        if not torch.isfinite(tokens).all():
            raise FailedError(f"features of {batch} windows of noise are not finite", "Look for a division by zero.")
        if subject.kind in ("hub", "pretrained"):
            _check_named(subject, output, tokens, batch)
    width = tokens.shape[-1]
    if width % FROZEN_HEADS:
        raise DrawbackError(
            f"dim {width} is no multiple of {FROZEN_HEADS}", f"Mode frozen needs one: {FROZEN_HEADS} heads split it."
        )
    return f"{'x'.join(map(str, tokens.shape[1:]))} per window, batches of {', '.join(map(str, BATCHES))}"


def _check_named(subject: Subject, output: Any, tokens: Tensor, batch: int) -> None:
    """Names and widths of a PreTrainedModel's output."""
    width = getattr(subject.config, "hidden_size", None)
    if tokens.ndim != 3 or tokens.shape[-1] != width:
        raise FailedError(
            f"last_hidden_state {tuple(tokens.shape)}, hidden_size {width!r}",
            "Return (batch, tokens, hidden_size) and state hidden_size in the config.",
        )
    pooled = getattr(output, "pooler_output", None)
    if subject.is_hub and (pooled is None or tuple(pooled.shape) != (batch, width)):
        shape = None if pooled is None else tuple(pooled.shape)
        raise FailedError(f"pooler_output {shape}", f"Return (batch, {width}): one vector per window.")
    if subject.is_hub and not tokens.is_contiguous():
        raise FailedError("last_hidden_state is not contiguous", "Return last_hidden_state.contiguous().")


def hidden_states(subject: Subject) -> str:
    """The output of each stage, if and only if it is asked for."""
    if not subject.is_hub and "output_hidden_states" not in inspect.signature(subject.module.forward).parameters:
        raise NotApplicableError("forward takes no output_hidden_states")
    x = subject.signals()
    with torch.no_grad():
        plain, asked = subject.call(x), subject.call(x, output_hidden_states=True)
    states = getattr(asked, "hidden_states", None)
    if getattr(plain, "hidden_states", None) is not None:
        raise FailedError("hidden_states without being asked for", "Return None unless output_hidden_states is true.")
    if states is None or len(states) < 2 or any(len(state) != len(x) for state in states):
        raise FailedError(
            f"hidden_states {None if states is None else [tuple(state.shape) for state in states]}",
            "Return a tuple of two or more tensors, batch first.",
        )
    return f"{len(states)} stages"


def batch_of_one(subject: Subject) -> str:
    """Features of a window do not depend on the batch that it is in."""
    x = subject.signals(WHOLE)
    whole = subject.encode(x)
    alone = torch.cat([subject.encode(row[None]) for row in x])
    worst = (whole - alone).abs().max().item() / _size(whole)
    # Not `worst > ...`, which NaN would pass: every comparison with it is false.
    if not worst <= ROW_TOLERANCE:
        raise FailedError(
            f"a row alone differs from the same row of {WHOLE} by {worst:.1g} of the features' size",
            "Nothing may be computed over the batch in evaluation: no batch statistics, no normalisation across it.",
        )
    graph = (whole - subject.features(x).detach()).abs().max().item() / _size(whole)
    if not graph <= ROW_TOLERANCE:
        raise FailedError(f"features with gradients differ by {graph:.1g} of their size", "One computation for both.")
    return f"alone, among {WHOLE} and with gradients a row differs by {max(worst, graph):.1g} of the features' size"


def determinism(subject: Subject) -> str:
    """The same input gives the same features, bit for bit, whatever the random state."""
    x = subject.signals()
    kept = x.clone()
    outputs = []
    for seed in (0, 1):
        # Without a list torch saves the state of every accelerator, which starts CUDA on each.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            outputs.append(subject.encode(x))
    first, again = outputs
    if not torch.equal(x, kept):
        raise FailedError("forward changes its input", "Write `x = x * 2`, not `x *= 2`: the batch is used again.")
    if not torch.equal(first, again):
        worst = (first - again).abs().max().item() / _size(first)
        raise FailedError(
            f"two passes differ by {worst:.1g} of the features' size",
            "Dropout, masking and layer drop are off in evaluation: use self.training, or nn.Dropout.",
        )
    return "two passes are equal, bit for bit"


def no_random_numbers(subject: Subject) -> str:
    """Evaluation draws no random numbers, so that scoring does not change what is trained after it."""
    with torch.random.fork_rng(devices=[]):
        before = torch.random.get_rng_state()
        subject.encode(subject.signals())
        after = torch.random.get_rng_state()
    if not torch.equal(before, after):
        raise FailedError("the forward pass draws random numbers", "Draw a mask or dropout only if self.training.")
    return "the forward pass draws none"


def float32(subject: Subject) -> str:
    """float32 in, float32 out."""
    if isinstance(subject.model, nn.Module):
        held = {parameter.dtype for parameter in subject.model.parameters() if parameter.is_floating_point()}
        if held - {torch.float32}:
            raise FailedError(f"weights in {', '.join(map(str, sorted(held, key=str)))}", "Call .float() on the model.")
    dtype = subject.encode(subject.signals()).dtype
    if dtype != torch.float32:
        raise FailedError(f"features in {dtype}", "Return features.float().")
    return "weights and features"


def bfloat16(subject: Subject) -> str:
    """Weights in bfloat16 give nearly the same features; without them only --dtype float32 can be used."""
    _ = subject.module
    exact, low = subject.encode(subject.signals()), subject.copy()
    low.model.to(torch.bfloat16)
    # The hub's classes cast their input; others are fed what their weights are.
    x = subject.signals() if subject.is_hub else subject.signals().bfloat16()
    try:
        features = low.encode(x)
    except Exception as error:  # not supported, for whatever reason
        raise DrawbackError(f"not supported ({first_line(error)})", "Score it in float32, the default.") from error
    worst = (features.float() - exact).abs().max().item() / _size(exact)
    if not worst < LOW_TOLERANCE:
        raise DrawbackError(f"features differ by {worst:.2g} of their size", "Score it in float32, the default.")
    return f"features differ by {worst:.1g} of their size"


def cost(subject: Subject) -> str:
    """What a window costs: time on this machine, parameters, their memory."""
    x = subject.signals(8)
    subject.encode(x)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        subject.encode(x)
        times.append(time.perf_counter() - begin)
    spent = f"{1000 * median(times) / len(x):.1f} ms per window on the CPU ({torch.get_num_threads()} threads)"
    if not isinstance(subject.model, nn.Module):
        return spent
    tensors = [*subject.model.parameters(), *subject.model.buffers()]
    parameters = sum(parameter.numel() for parameter in subject.model.parameters())
    return f"{spent}, {parameters:,} parameters, {sum(t.nbytes for t in tensors) / 2**20:.1f} MiB"


def _size(features: Tensor) -> float:
    """The scale that differences are compared with: root mean square, at least 1."""
    return max(1.0, features.float().square().mean().sqrt().item())
