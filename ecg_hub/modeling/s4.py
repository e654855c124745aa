"""The S4 layer: a diagonal-plus-rank-1 state space model run as a long convolution, in plain PyTorch.

Paper: Gu, Goel, Re, "Efficiently Modeling Long Sequences with Structured State Spaces", arXiv 2111.00396 (NPLR form,
section 3; bilinear discretisation, equation 3; truncated generating function, lemma C.3).

Per feature the state matrix is A = diag(w) - P Q^T, the step is dt = exp(log_dt), and the kernel is
K[l] = Ctrue Abar^l Bbar with Abar = (I - dt/2 A)^-1 (I + dt/2 A) and Bbar = (I - dt/2 A)^-1 dt B. Only one of each pair
of conjugate states is stored, and what is stored as C is C~ = Ctrue (I - Abar^L0), tied to the length L0 it was trained
for (`kernel_length`). Because A, B and dt are never trained, K is linear in C with a constant basis
W[l] = (I - Abar^L0)^-1 Abar^l Bbar, computed once in double precision. That is exact for every length, below and above
L0, and leaves the parameters as they are. The CPU convolves in blocks of tokens (`ecg_hub.modeling.s4_blocks`), other
devices by the Fourier transform.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from ecg_hub.modeling.kernels import Kept, Linear
from ecg_hub.modeling.layers import DropPath
from ecg_hub.modeling.s4_blocks import BlockBasis, Maps, block_length, convolve, moved_on

# Per token: a feature of step dt remembers about 1 / dt tokens, that is 10 to 1,000.
_LOWEST_STEP, _HIGHEST_STEP = 1e-3, 1e-1
# Three times as fast there as the Fourier transform; on others nobody has measured it.
_IN_BLOCKS = ("cpu",)


class S4Convolution(nn.Module):
    """Convolves every feature with its own state space kernel and adds the skip term D u.

    Stays in float32 (or float64) whatever the dtype of the model: rounding `log_dt` or `w` to half precision moves the
    phases of the kernel by radians. The spectrum is kept only in evaluation mode without gradients, and dropped on
    `train()`, loading, and changes of dtype or device; code that edits `C.data` has to call `eval()` afterwards.

    Args:
        features: number of features, H.
        state_size: number of states per feature, N; N/2 conjugate pairs are stored.
        kernel_length: L0 in tokens, the length that the stored C belongs to.
        bidirectional: adds a second kernel that runs backwards in time and starts one token ahead.
    """

    log_dt: Tensor
    B: Tensor
    P: Tensor
    Q: Tensor
    w: Tensor

    def __init__(self, features: int, state_size: int, kernel_length: int, *, bidirectional: bool = False) -> None:
        super().__init__()
        pairs = state_size // 2
        self.kernel_length = kernel_length
        # float32 by name: transformers makes the dtype of the checkpoint torch's default while it builds the model.
        self.C = nn.Parameter(torch.empty(2 if bidirectional else 1, features, pairs, 2, dtype=torch.float32))
        self.D = nn.Parameter(torch.empty(features, dtype=torch.float32))
        # Buffers, as published: of all these only C and D are trained. They have to be loaded with C all the same: the
        # steps are random in each model, and C was trained in the basis that the others are written in.
        self.register_buffer("log_dt", torch.empty(features, dtype=torch.float32))
        for name in ("B", "P", "Q", "w"):
            self.register_buffer(name, torch.empty(features, pairs, 2, dtype=torch.float32))
        self._basis_cache = Kept()
        self._block_cache = Kept()
        self._response_cache = Kept()

    def forward(self, u: Tensor) -> Tensor:
        """Return y[t] = sum_s K[s] u[t-s] + D u[t] (and the backward kernel), shape (batch, features, tokens)."""
        return self.features_first(u.transpose(0, 1)).transpose(0, 1)

    def features_first(self, u: Tensor) -> Tensor:
        """The same for (features, batch, tokens)."""
        tokens = u.shape[-1]
        # Autocast would lower the product that makes the kernel.
        with torch.autocast(u.device.type, enabled=False):
            # In the dtype of C, which is never a half one.
            given = u.to(self.C.dtype)
            if u.device.type in _IN_BLOCKS:
                y = convolve(given, self._response(block_length(tokens), self._compute_maps))
            else:
                n, spectrum = _fft_length(tokens), self._response(tokens, self._compute_spectrum)
                y = torch.fft.irfft(torch.fft.rfft(given, n=n) * spectrum[:, None], n=n)[..., :tokens]
        return y.to(u.dtype)

    def kernel(self, tokens: int) -> Tensor:
        """Return the kernels K without the skip term, shape (directions, features, tokens)."""
        return torch.einsum("dhj,hjt->dht", self.C.flatten(-2), self._basis(tokens))

    def _response(self, tokens: int, compute: Callable[[int], Any]) -> Any:
        """What a device convolves with: matrices of blocks of so many tokens, or the spectrum for so many."""
        if self.training or torch.is_grad_enabled():
            return compute(tokens)
        return self._response_cache.get(tokens, (self.C, self.D, *self.buffers()), lambda: compute(tokens))

    def _compute_maps(self, block: int) -> Maps:
        # The basis is kept while training too: none of what it is made of is ever trained.
        basis: BlockBasis = self._block_cache.get(
            block, tuple(self.buffers()), lambda: self._compute_block_basis(block)
        )
        return basis.maps(self.C, self.D)

    def _compute_spectrum(self, tokens: int) -> Tensor:
        forward, *backward = self.kernel(tokens)
        n = _fft_length(tokens)
        response = functional.pad(forward, (0, n - tokens))
        for kernel in backward:
            # Circular position n - 1 - s is time -(s + 1): the backward kernel starts one token ahead.
            response = response + functional.pad(kernel.flip(-1), (n - tokens, 0))
        # The skip term is a kernel with D at time 0 and nothing else, whose spectrum is D everywhere.
        return torch.fft.rfft(response, n=n) + self.D[:, None]

    def _basis(self, tokens: int) -> Tensor:
        basis: Tensor = self._basis_cache.get(tokens, tuple(self.buffers()), lambda: self._compute_basis(tokens))
        return basis

    # Out of inference mode, because a later training pass may take the same constants from the cache.
    @torch.inference_mode(False)
    @torch.no_grad()
    def _compute_block_basis(self, block: int) -> BlockBasis:
        return BlockBasis.of(*self._recurrence(), block, self.C)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _compute_basis(self, tokens: int) -> Tensor:
        """Return the constant M with K = sum_j C_j M_j over the interleaved (re, im) values, (features, N, tokens)."""
        abar, first = self._recurrence()
        # The conjugate half of the states adds the same real part once more.
        kept = 2 * moved_on(abar, first, tokens)[:, : first.shape[-1] // 2]
        return torch.stack([kept.real, -kept.imag], dim=2).flatten(1, 2).to(self.C.device, self.C.dtype)

    def _recurrence(self) -> tuple[Tensor, Tensor]:
        """Return Abar and the b of K[l] = C~ Abar^l b, which is right at any length; complex128 on the CPU."""
        abar, bbar = self._discretise()
        # C is stored as C (I - Abar^L0), for one length; b takes that factor back.
        return abar, torch.linalg.solve(_identity_minus_power(abar, self.kernel_length), bbar[..., None])[..., 0]

    def _discretise(self) -> tuple[Tensor, Tensor]:
        """Return Abar (features, N, N) and Bbar (features, N) as complex128 on the CPU."""
        # In double precision, because Abar is raised to the power of the length.
        # On the CPU, because not every accelerator has double precision (MPS has none).
        dt = self.log_dt.detach().to("cpu", torch.float64).exp()
        w, b, p, q = (_with_conjugates(buffer) for buffer in (self.w, self.B, self.P, self.Q))
        half_step = dt[:, None, None] / 2 * (torch.diag_embed(w) - p[:, :, None] * q[:, None, :])
        identity = torch.eye(w.shape[-1], dtype=w.dtype)
        return (
            torch.linalg.solve(identity - half_step, identity + half_step),
            torch.linalg.solve(identity - half_step, (dt[:, None] * b)[..., None])[..., 0],
        )

    @torch.no_grad()
    def initialize(self) -> None:
        """HiPPO-LegS state matrix, log-uniform steps, random C and D (paper section 2.2 and appendix C).

        Values that came from a checkpoint stay; C is drawn as Ctrue and stored as C~ for the steps that are there.
        """
        features, pairs = self.log_dt.shape[0], self.w.shape[-2]
        w, b, p = hippo_legs(2 * pairs)
        for buffer, value in ((self.w, w), (self.B, b), (self.P, p), (self.Q, p.conj().resolve_conj())):
            # transformers' own functions leave alone what a checkpoint brought; a tensor's `copy_` would overwrite it.
            init.copy_(buffer, torch.view_as_real(value).expand(features, -1, -1).to(buffer))
        init.uniform_(self.log_dt, math.log(_LOWEST_STEP), math.log(_HIGHEST_STEP))
        init.normal_(self.D)
        # Complex standard normal has variance 1/2 in each part. (The published code conjugates what it draws, which
        # leaves the distribution as it is.)
        drawn = torch.view_as_complex(torch.randn(*self.C.shape, dtype=torch.float64) * math.sqrt(0.5))
        full = torch.cat([drawn, drawn.conj()], dim=-1)
        abar, _ = self._discretise()
        stored = torch.einsum("dhi,hij->dhj", full, _identity_minus_power(abar, self.kernel_length))[..., :pairs]
        init.copy_(self.C, torch.view_as_real(stored).to(self.C))
        self._forget()

    def train(self, mode: bool = True) -> S4Convolution:
        """Switch the mode and drop the spectrum."""
        self._response_cache.clear()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> S4Convolution:
        self._forget()

        def keep_precision(tensor: Tensor) -> Tensor:
            # `half()` and `to(dtype)` come here; float64 to float32 is let through, as is a change of device.
            moved: Tensor = fn(tensor)
            lowered = moved.is_floating_point() and moved.dtype.itemsize < tensor.dtype.itemsize
            return tensor.to(moved.device) if lowered and moved.dtype.itemsize < 4 else moved

        super()._apply(keep_precision, recurse)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._forget()
        super()._load_from_state_dict(*args, **kwargs)

    def _forget(self) -> None:
        self._basis_cache.clear()
        self._block_cache.clear()
        self._response_cache.clear()

    def extra_repr(self) -> str:
        """Sizes for the printed model."""
        directions, features, pairs, _ = self.C.shape
        return f"{features}, state_size={2 * pairs}, kernel_length={self.kernel_length}, directions={directions}"


class S4Layer(nn.Module):
    """S4 convolution, GELU, dropout, then a linear map with a gated linear unit; no residual."""

    def __init__(
        self, features: int, state_size: int, kernel_length: int, dropout: float, *, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.convolution = S4Convolution(features, state_size, kernel_length, bidirectional=bidirectional)
        # Whole features of a sample, for all tokens alike, as published (there by Dropout2d on 3-D input, or by hand).
        # Hence features come before tokens wherever it is called.
        self.dropout = nn.Dropout1d(dropout)
        self.output = Linear(features, 2 * features)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, features) to the same shape."""
        if x.device.type not in _IN_BLOCKS:
            z = self.dropout(functional.gelu(self.convolution(x.transpose(1, 2))))
            return functional.glu(self.output(z.transpose(1, 2)), dim=-1)
        # Turned once, and not back: a matrix product reads either order. As a matrix, which is turned in quick tiles.
        turned = x.flatten(0, 1).t().contiguous().view(x.shape[2], x.shape[0], x.shape[1])
        z = functional.gelu(self.convolution.features_first(turned))
        z = self.dropout(z.transpose(0, 1)).transpose(0, 1)
        return functional.glu(self.output(z.flatten(1).t()).view(*x.shape[:2], -1), dim=-1)


class S4Block(GradientCheckpointingLayer):
    """Post-norm residual block: LayerNorm(drop_path(dropout(S4(x))) + x)."""

    def __init__(
        self,
        features: int,
        state_size: int,
        kernel_length: int,
        dropout: float,
        *,
        drop_path: DropPath | None = None,
        layer_norm_eps: float = 1e-5,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.layer = S4Layer(features, state_size, kernel_length, dropout, bidirectional=bidirectional)
        self.dropout = nn.Dropout1d(dropout)
        self.drop_path = drop_path or DropPath()
        self.norm = nn.LayerNorm(features, eps=layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, features) to the same shape."""
        z = self.dropout(self.layer(x).transpose(1, 2)).transpose(1, 2)
        return self.norm(self.drop_path(z) + x)


def hippo_legs(state_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Diagonalise HiPPO-LegS + P P^T and keep one state of each conjugate pair."""
    # The phases of the eigenvectors are LAPACK's choice; since C is random, no distribution depends on them.
    n = torch.arange(state_size, dtype=torch.float64)
    scale = torch.sqrt(2 * n + 1)
    state = -(torch.tril(scale[:, None] * scale[None, :], -1) + torch.diag(n + 1))
    p = torch.sqrt(n + 0.5)
    # A + P P^T = -1/2 I + S with S skew-symmetric, so that i S is Hermitian and its eigenvectors are unitary.
    skew = state + p[:, None] * p[None, :] + 0.5 * torch.eye(state_size, dtype=torch.float64)
    frequencies, vectors = torch.linalg.eigh(-1j * skew)
    order = torch.argsort(frequencies, descending=True)[: state_size // 2]
    basis = vectors[:, order].conj().T
    w = torch.complex(torch.full_like(frequencies[order], -0.5), frequencies[order])
    return w, basis @ scale.to(basis.dtype), basis @ p.to(basis.dtype)


def _fft_length(tokens: int) -> int:
    # 2 T points hold the linear convolution of both directions; more are exact as well, so take a quick size.
    return int(next_fast_len(2 * tokens, real=True))


def _with_conjugates(pairs: Tensor) -> Tensor:
    half = torch.view_as_complex(pairs.detach().to("cpu", torch.float64).contiguous())
    return torch.cat([half, half.conj()], dim=-1)


def _identity_minus_power(matrix: Tensor, exponent: int) -> Tensor:
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype)
    return identity - torch.linalg.matrix_power(matrix, exponent)
