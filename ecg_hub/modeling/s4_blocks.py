"""The S4 convolution as matrix products over blocks of tokens, for evaluation of large batches on a CPU.

A kernel K[l] = c A^l b of N states needs no transform: within a block of m tokens it is a Toeplitz matrix, and what
earlier blocks leave behind are N numbers (Gu et al., arXiv 2111.00396, equation 1, taken m steps at a time). For a
feature and direction that is (m + 2 N) multiplications a token and one product over the blocks, against two Fourier
transforms of twice the length with their copies. Everything is built in double precision and is exact, like the
transform, up to rounding; the matrices are row maps, so that a batch is multiplied from the left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Shorter blocks make the product over the blocks large, longer ones the Toeplitz matrices.
_BLOCK = 40
_SHORTEST, _LONGEST = 24, 64


@dataclass(frozen=True)
class Direction:
    """One direction of the kernel.

    Attributes:
        enter: (features, m, N), from a block's tokens to the states that it leaves behind.
        carry: (features, blocks N, blocks N), from those to the states that each block finds.
        leave: (features, N, m), from these to the block's outputs.
    """

    enter: Tensor
    carry: Tensor
    leave: Tensor


@dataclass(frozen=True)
class Blocks:
    """The convolution for one number of tokens.

    Attributes:
        block: tokens of a block, m.
        count: number of blocks; the last one may be filled up with zeros.
        within: (features, m, m), from a block's tokens to its own outputs, skip term included.
        directions: what passes between blocks.
    """

    block: int
    count: int
    within: Tensor
    directions: tuple[Direction, ...]

    def __call__(self, u: Tensor) -> Tensor:
        """Convolve (batch, features, tokens)."""
        batch, features, tokens = u.shape
        total = self.block * self.count
        # Features first and contiguous: every product below is one of a batch of matrices, features of them.
        padded = u.new_zeros(features, batch, total) if total > tokens else u.new_empty(features, batch, total)
        padded[..., :tokens] = u.transpose(0, 1)
        rows = padded.view(features, batch * self.count, self.block)
        y = torch.bmm(rows, self.within)
        for way in self.directions:
            left = torch.bmm(rows, way.enter).view(features, batch, -1)
            found = torch.bmm(left, way.carry).view(features, batch * self.count, -1)
            y.baddbmm_(found, way.leave)
        return y.view(features, batch, total)[..., :tokens].transpose(0, 1)


def block_length(tokens: int) -> int:
    """Tokens of a block: a divisor of their number near the best length, if there is one."""
    divisors = [size for size in range(_SHORTEST, _LONGEST + 1) if tokens % size == 0]
    return min(divisors, key=lambda size: abs(size - _BLOCK), default=_BLOCK)


def build_blocks(tokens: int, transition: Tensor, entry: Tensor, readouts: Tensor, skip: Tensor) -> Blocks:
    """Build the matrices.

    Args:
        tokens: number of tokens.
        transition: A, (features, N, N), real, float64.
        entry: b, (features, N).
        readouts: c of the forward and, if there is one, of the backward kernel, (directions, features, N).
        skip: D, (features,).

    Returns:
        The convolution, in float64.
    """
    size = block_length(tokens)
    count = -(-tokens // size)
    states = [entry]  # A^l b
    for _ in range(size - 1):
        states.append((transition @ states[-1][..., None])[..., 0])
    reached = torch.stack(states, dim=1)  # (features, l, N)
    jump = torch.linalg.matrix_power(transition, size)
    lag = torch.arange(size)[None, :] - torch.arange(size)[:, None]  # [s, t] = t - s
    within = skip[:, None, None] * torch.eye(size, dtype=skip.dtype)
    directions = []
    for backward, readout in enumerate(readouts):
        kernel = (reached @ readout[..., None])[..., 0]  # (features, l)
        # The backward kernel starts one token ahead: K[0] belongs to the next token.
        steps = -lag - 1 if backward else lag
        within = within + torch.where(steps >= 0, kernel[:, steps.clamp(min=0)], 0.0)
        # c A^l for all l, as columns: the transposed recursion.
        columns = [readout]
        for _ in range(size):
            columns.append((transition.transpose(1, 2) @ columns[-1][..., None])[..., 0])
        leave = torch.stack(columns[:size][::-1] if backward else columns[1:], dim=2)
        enter = reached if backward else reached.flip(1)
        directions.append(Direction(enter.contiguous(), _carry(jump, count, bool(backward)), leave.contiguous()))
    return Blocks(size, count, within, tuple(directions))


def _carry(jump: Tensor, count: int, backward: bool) -> Tensor:
    """What blocks leave, (blocks, N), to what blocks find: A^(m (j - i - 1)) from block i to a later block j."""
    features, states, _ = jump.shape
    full = jump.new_zeros(features, count, states, count, states)
    power = torch.eye(states, dtype=jump.dtype).expand(features, -1, -1)
    for apart in range(1, count):
        for first in range(count - apart):
            source, target = (first + apart, first) if backward else (first, first + apart)
            full[:, source, :, target] = power.transpose(1, 2)
        power = jump @ power
    return full.flatten(3, 4).flatten(1, 2)


def moved(blocks: Blocks, like: Tensor) -> Blocks:
    """The same matrices in the dtype of a tensor."""
    directions = tuple(
        Direction(way.enter.to(like.dtype), way.carry.to(like.dtype), way.leave.to(like.dtype))
        for way in blocks.directions
    )
    return Blocks(blocks.block, blocks.count, blocks.within.to(like.dtype), directions)
