"""The S4 convolution in blocks of tokens: products of small matrices, for the CPU.

Within a block of c tokens the kernel is a Toeplitz matrix (c, c). Farther back a token acts through the state alone, N
numbers per feature: what a block adds to the state, the state moved on by Abar^c from block to block, and what a state
adds to each token of its block. The chunked form of a linear recurrence; the same numbers as the Fourier transform
gives, within rounding, in time linear in the tokens. All of it is linear in C, and gradients are autograd's own.

Layout: (features, batch, tokens), so that every feature is one entry of a batched product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# Longer blocks cost more within, shorter ones more between; from 40 to 100 the difference is small.
_BLOCK, _SHORTEST, _LONGEST = 64, 32, 100


class Maps(NamedTuple):
    """The matrices of one layer as its C and D are now, for a block of c tokens; S states, both directions together."""

    within: Tensor  # (features, c, c), from the tokens of a block to the tokens of the same block
    enter: Tensor  # (features, c, S), from tokens to the state that leaves their block
    carry: Tensor  # (features, N, N), the state of a direction from one block to the next
    leave: Tensor  # (features, S, c), from the state that enters a block to its tokens


@dataclass(frozen=True)
class BlockBasis:
    """What no training changes, for blocks of c tokens; states as interleaved (re, im), N numbers.

    Attributes:
        states: what l steps leave of a unit input, Abar^l b, l = 0 to c; (features, N, c + 1).
        powers: the state's step Abar^1, Abar^2, Abar^4 and so on, below c; each (features, N, N).
        carry: Abar^c, transposed.
    """

    states: Tensor
    powers: tuple[Tensor, ...]
    carry: Tensor

    @classmethod
    def of(cls, abar: Tensor, first: Tensor, block: int, like: Tensor) -> BlockBasis:
        """Make it from Abar (features, 2 pairs, 2 pairs) and b (features, 2 pairs), complex128, to the kind of `like`.

        The second half of the states are the conjugates of the first.
        """
        pairs = first.shape[-1] // 2
        kept = moved_on(abar, first, block + 1)[:, :pairs]
        own, other = abar[:, :pairs, :pairs], abar[:, :pairs, pairs:]
        # (re, im) of A z + B conj(z), as a real matrix.
        real = torch.stack([own.real + other.real, other.imag - own.imag], dim=-1)
        imaginary = torch.stack([own.imag + other.imag, own.real - other.real], dim=-1)
        step = torch.stack([real, imaginary], dim=2).flatten(3).flatten(1, 2)
        doublings = math.ceil(math.log2(block)) if block > 1 else 0
        powers = tuple(torch.linalg.matrix_power(step, 2**k) for k in range(doublings))
        carry = torch.linalg.matrix_power(step, block).mT

        def sent(tensor: Tensor) -> Tensor:
            return tensor.to(like.device, like.dtype).contiguous()

        states = torch.stack([kept.real, kept.imag], dim=2).flatten(1, 2)
        return cls(sent(states), tuple(sent(power) for power in powers), sent(carry))

    def maps(self, c: Tensor, d: Tensor) -> Maps:
        """The matrices for C (directions, features, pairs, 2) and D (features,)."""
        features, block = len(d), self.states.shape[-1] - 1
        # K = 2 Re(C z): the conjugate half of the states adds the same real part once more.
        rows = (c * c.new_tensor([2.0, -2.0])).flatten(2).transpose(0, 1)  # (features, directions, N)
        forward, *backward = torch.bmm(rows, self.states[..., :block]).unbind(1)
        # In time from 1 - c to c - 1. The skip term is one more at time 0; backwards the kernel starts one token ahead.
        before = [kernel[:, : block - 1].flip(-1) for kernel in backward] or [c.new_zeros(features, block - 1)]
        response = torch.cat([before[0], forward[:, :1] + d[:, None], forward[:, 1:]], dim=1)
        within = response.unfold(1, block, 1).flip(1)
        steps = rows[:, :, None]
        # By doubling, as the columns of the basis.
        for power in self.powers:
            steps = torch.cat([steps, (steps.flatten(1, 2) @ power).view_as(steps)], dim=2)
        steps = steps[:, :, :block].transpose(2, 3)  # (features, directions, N, c)
        leave = [steps[:, 0], *(steps[:, 1].flip(-1) for _ in backward)]
        enter = [self.states[..., 1:].flip(-1).mT, *(self.states[..., :block].mT for _ in backward)]
        return Maps(within, torch.cat(enter, dim=2), self.carry, torch.cat(leave, dim=1))


def block_length(tokens: int) -> int:
    """How many tokens a block has: a divisor of the tokens where there is one of a good size."""
    if tokens <= _LONGEST:
        return tokens
    divisors = [c for c in range(_SHORTEST, _LONGEST + 1) if tokens % c == 0]
    # Without one the last block is filled with zeros.
    return min(divisors, key=lambda c: abs(c - _BLOCK)) if divisors else math.ceil(tokens / round(tokens / _BLOCK))


def convolve(u: Tensor, maps: Maps) -> Tensor:
    """Convolve (features, batch, tokens) with the kernels of the maps."""
    features, batch, tokens = u.shape
    block = maps.within.shape[-1]
    count = -(-tokens // block)
    if count * block > tokens:
        u = functional.pad(u, (0, count * block - tokens))
    blocks = u.reshape(features, batch * count, block)
    y = torch.bmm(blocks, maps.within)
    if count > 1:
        added = torch.bmm(blocks, maps.enter).view(features, batch, count, -1)
        size = maps.carry.shape[-1]
        states = [_carried(added[..., :size], maps.carry)]
        if added.shape[-1] > size:
            states.append(_carried(added[..., size:].flip(2), maps.carry).flip(2))
        y.baddbmm_(torch.cat(states, dim=-1).view(features, batch * count, -1), maps.leave)
    return y.view(features, batch, count * block)[..., :tokens]


def moved_on(abar: Tensor, first: Tensor, count: int) -> Tensor:
    """Abar^l b for l below `count`, (features, states, count)."""
    columns, power = first[..., None], abar
    # By doubling: the columns so far, moved on by a power of Abar, are the next as many.
    while columns.shape[-1] < count:
        columns = torch.cat([columns, power @ columns], dim=-1)
        power = power @ power
    return columns[..., :count]


def _carried(added: Tensor, carry: Tensor) -> Tensor:
    """The state that enters each block, of what each block adds; (features, batch, blocks, N)."""
    entering = [torch.zeros_like(added[:, :, 0])]
    for block in range(added.shape[2] - 1):
        entering.append(torch.baddbmm(added[:, :, block], entering[-1], carry))
    return torch.stack(entering, dim=2)
