"""Time of one forward pass of ECG-CPC or S4 against the straightforward form, on the same weights and input.

    python benchmarks/s4_forward.py [--model ecg-cpc] [--batch 64] [--samples N] [--repeats 3] [--threads 1]

Straightforward is what a port by the book does: convolution and batch norm as separate layers, the S4 kernel by the
Cauchy sum over all frequencies of its length (1,200 tokens, S4: 250) in every pass, one FFT over the whole batch, and
the tensor turned for every layer norm. Ours computes the same in other forms: the norm folded into the matrix product,
the kernel from a constant basis and kept between passes, slices of 16 windows that stay in reach of the allocator.

Both are reported in CPU seconds, with their ratio, the largest difference of the features, and the share of the time
that a bare matrix product of the same size takes (neither form can be faster than that).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import ecg_hub


def straightforward(model: Any, x: Tensor) -> Tensor:
    """Tokens (batch, tokens, dim) by the book."""
    if model.config.model_type == "ecg_s4":
        x, blocks = functional.conv1d(x, model.encoder.weight[..., None], model.encoder.bias), model.blocks
    else:
        blocks = model.predictor
        for layer in model.encoder.layers:
            x = functional.relu(layer.norm(layer.conv(x)))
    for block in blocks:
        z = s4_layer(block.layer, x)
        x = block.norm((z + x).transpose(1, 2)).transpose(1, 2)
    return x.transpose(1, 2)


def s4_layer(layer: Any, u: Tensor) -> Tensor:
    """One S4 layer on (batch, dim, tokens)."""
    tokens, conv = u.shape[-1], layer.convolution
    kernel = cauchy_kernel(conv)[..., :tokens]
    n = 2 * tokens
    both = functional.pad(kernel[0], (0, tokens))
    for backward in kernel[1:]:
        both = both + functional.pad(backward.flip(-1), (tokens, 0))
    y = torch.fft.irfft(torch.fft.rfft(u, n=n) * torch.fft.rfft(both, n=n), n=n)[..., :tokens]
    y = functional.gelu(y + u * conv.D[:, None])
    y = torch.einsum("oi,bit->bot", layer.output.weight, y) + layer.output.bias[:, None]
    return functional.glu(y, dim=1)


def cauchy_kernel(conv: Any) -> Tensor:
    """The kernels at their own length by the truncated generating function, (directions, dim, length)."""
    length, dt = conv.kernel_length, conv.log_dt.exp()[:, None]
    c, b, p, q, w = (torch.view_as_complex(t) for t in (conv.C, conv.B, conv.P, conv.Q, conv.w))
    omega = torch.exp(-2j * math.pi / length * torch.arange(length // 2))
    z = 2 * (1 - omega) / (1 + omega)
    poles = (dt * w)[..., None]

    def r(x: Tensor, y: Tensor) -> Tensor:
        product = (x * y)[..., None]
        return dt * (product / (z - poles) + product.conj() / (z - poles.conj())).sum(-2)

    response = 2 / (1 + omega) * (r(b, c) - r(b, q) * r(p, c) / (1 + r(p, q)))
    last = (dt * (b * c).real).sum(-1, keepdim=True)
    return torch.fft.irfft(torch.cat([response, last.to(response.dtype)], -1), n=length)


def matrix_products(batch: int, tokens: int, config: Any) -> Callable[[], None]:
    """The matrix products that both forms contain."""
    x = torch.randn(batch * tokens, config.hidden_size)
    wide = torch.randn(config.hidden_size, 2 * config.hidden_size)
    square = torch.randn(config.hidden_size, config.hidden_size)

    def run() -> None:
        for part in x.split(16 * tokens):
            for _ in range(config.num_hidden_layers):
                torch.mm(part, wide)
            for _ in range(getattr(config, "num_conv_layers", 1) - 1):
                torch.mm(part, square)

    return run


def cpu_seconds(run: Callable[[], Any], repeats: int) -> float:
    """Shortest of several runs, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("ecg-cpc", "s4"), default="ecg-cpc")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--samples", type=int, default=None, help="default: what the benchmark feeds (600, S4: 250)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = ecg_hub.AutoModel.from_pretrained(f"random:{options.model}")
    samples = options.samples or model.config.samples
    x = 0.3 * torch.randn(options.batch, 12, samples, generator=torch.Generator().manual_seed(0))
    ours, plain = model(x).last_hidden_state, straightforward(model, x)
    by_the_book = cpu_seconds(lambda: straightforward(model, x), options.repeats)
    fast = cpu_seconds(lambda: model(x), options.repeats)
    floor = cpu_seconds(matrix_products(options.batch, ours.shape[1], model.config), options.repeats)
    report = {
        "model": options.model,
        "batch": options.batch,
        "samples": samples,
        "straightforward_s": round(by_the_book, 3),
        "ours_s": round(fast, 3),
        "ratio": round(by_the_book / fast, 2),
        "matrix_products_s": round(floor, 3),
        "largest_difference": float((ours - plain).abs().max()),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
