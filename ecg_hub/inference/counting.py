"""Counting what a forward pass takes, operation by operation: multiply-accumulates, and memory of tensors.

Both watch the operations that torch runs, so they hold for any model and do not depend on the machine.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def count_macs(model: nn.Module, x: Tensor) -> int:
    """Return the multiply-accumulate operations of one forward pass: half of its floating-point operations.

    Matrix products, convolutions and attention are counted by torch's FlopCounterMode. What that leaves out is added
    here: fused attention on the CPU, and what an S4 layer consists of, the fast Fourier transform of n real values,
    taken as 2.5 n log2(n) operations, and the product of spectra, 6 operations per complex number. Activations, norms,
    softmax and other element-wise work are not counted, as usual. Constants that a model keeps between passes (the
    kernels of S4) are computed before counting.
    """
    with torch.no_grad():
        model(x)  # makes the constants
        with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
            model(x)
    return round(counter.get_total_flops() / 2)


class TensorMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the memory of tensors while it is active.

    Counted is what is held by tensors, including those given at the start; what a kernel allocates for itself while it
    runs, fragments of the allocator, and the interpreter are not.
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()
        for tensor in held:
            self._follow(tensor.untyped_storage())

    def restart(self) -> None:
        """Forget the peak so far."""
        self.peak = self.live

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and follow the storages of its results."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage())
        return result

    def _follow(self, storage: Any) -> None:
        # Of the storage, not of the tensor: views share one, which is counted once.
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        # Not at exit, when nobody asks any more.
        weakref.finalize(storage, self._release, key, size).atexit = False

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *args: Any, **kwargs: Any) -> int:
    """Operations of scores and weighted sum; shapes (batch, heads, tokens, width)."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[2] * (width + value[3])


def _real_to_complex(shape: Sequence[int], dims: Sequence[int], *args: Any, **kwargs: Any) -> float:
    return _fourier(shape, dims)


def _complex_to_real(shape: Sequence[int], dims: Sequence[int], *args: Any, out_shape: Any = None, **kw: Any) -> float:
    return _fourier(out_shape, dims)


def _fourier(real_shape: Sequence[int], dims: Sequence[int]) -> float:
    points = math.prod(real_shape[dim] for dim in dims)
    return 2.5 * math.prod(real_shape) * math.log2(max(points, 1))


def _product(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
    # Products of real numbers are element-wise work, which is not counted; those of spectra stand for a convolution.
    return 6 * out_val.numel() if out_val.is_complex() else 0


_product._get_raw = True  # type: ignore[attr-defined]  # how FlopCounterMode hands over tensors instead of shapes

_FORMULAS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._fft_r2c: _real_to_complex,
    torch.ops.aten._fft_c2r: _complex_to_real,
    torch.ops.aten.mul: _product,
}
