"""Linear maps and convolutions of encoders at the speed of the CPU: oneDNN by way of torch's private operators.

torch computes a float32 linear map with MKL, which takes its AVX2 kernels on processors of other makers than Intel, and
a convolution over time with oneDNN in a layout that it has to turn before and behind every layer. Here both go to
oneDNN directly, with weights reordered once and kept, activations in the layout (batch, time, channels), and the
activation function or residual sum that follows in the same pass. The rule: in evaluation without gradients, on a CPU
for which torch itself took its AVX-512 kernels, in float32 or bfloat16; where MKL takes AVX-512 as well, `Linear` in
float32 with nothing to do in the same pass stays with it. It depends on the processor alone and on no measurement, so
that one machine gives the same bits in every process; `benchmarks/encoders.py` shows that it is the faster way. All
else, and everything with ECG_HUB_KERNELS=plain, goes through torch's public functions.

This is the only module that names the operators (`torch.ops.mkldnn`); `tests/ecg_hub/modeling/test_kernels.py` fails
when torch changes them.
"""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from operator import is_
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecg_hub.errors import InputError

SWITCH = "ECG_HUB_KERNELS"
CHOICES = ("auto", "plain")
VERSION = 1
"""Of the numerics of all encoders in evaluation: a change that moves the last digits of features raises it."""

# In groups of fewer channels, the AMX kernel of oneDNN 3.12 (torch 2.13) gives wrong numbers for bfloat16 where the
# kernel's length is a multiple of 16: off by as much as the output. One channel per group has a kernel of its own.
FEWEST_GROUPED_CHANNELS = 16

Activation = Literal["none", "relu", "swish", "gelu"]
PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": functional.relu,
    "swish": functional.silu,
    "gelu": functional.gelu,
}
# The first is exact, with the error function; the other operators take no algorithm.
_ALGORITHM = {"gelu": "none"}
_OPERATORS = (
    "_linear_pointwise",
    "_convolution_pointwise",
    "_reorder_linear_weight",
    "_reorder_convolution_weight",
    "_is_mkldnn_bf16_supported",
)
_switched_off: ContextVar[bool] = ContextVar("plain kernels", default=False)


@functools.cache
def onednn() -> bool:
    """Tell whether this machine takes oneDNN: AVX-512 is there, and nobody switched it off."""
    asked = os.environ.get(SWITCH, "auto") or "auto"
    if asked not in CHOICES:
        raise InputError(f"{SWITCH} is {asked!r}; allowed: {', '.join(CHOICES)}.")
    return asked == "auto" and torch.backends.cpu.get_cpu_capability() == "AVX512" and operators_present()


def operators_present() -> bool:
    """Tell whether this build of torch has the operators that are used here."""
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)


@functools.cache
def mkl_avx512() -> bool:
    """Tell whether MKL takes its AVX-512 kernels: the processor is Intel's, and nobody holds it to others."""
    told = os.environ.get("MKL_ENABLE_INSTRUCTIONS", "AVX512").upper()
    return _maker() == "GenuineIntel" and told.startswith("AVX512")


def _maker() -> str:
    """The maker of the processor as it names itself, "" where the system does not say."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")
    return platform.processor().rpartition(", ")[2]  # Windows: "Intel64 Family 6 Model 143 Stepping 8, GenuineIntel"


def numerics() -> str:
    """Name what decides the last digits of features on this machine, for keys of stored ones."""
    way = ("onednn+mkl" if mkl_avx512() else "onednn") if onednn() else "plain"
    return f"{VERSION}-{way}-{torch.backends.cpu.get_cpu_capability()}"


def fast_bfloat16() -> bool:
    """Tell whether this CPU multiplies bfloat16 in hardware (AMX or AVX-512 BF16), where it beats float32."""
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


@contextmanager
def plain() -> Iterator[None]:
    """Use torch's public functions within, for counting operations and for comparison."""
    token = _switched_off.set(True)
    try:
        yield
    finally:
        _switched_off.reset(token)


class Kept:
    """Keeps the latest value computed from given tensors; editing or exchanging any of them makes it stale."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the value."""
        self._key: tuple[Any, tuple[Tensor | None, ...], tuple[int, ...]] | None = None
        self._value: Any = None

    def get(self, what: Any, sources: tuple[Tensor | None, ...], compute: Callable[[], Any]) -> Any:
        """Return what `compute` gave for `what` and these tensors as they are, computing it if need be."""
        if any(tensor is not None and tensor.is_inference() for tensor in sources):
            return compute()  # inference tensors do not count their changes
        # The tensors themselves are kept: the id of a freed tensor may return.
        versions = tuple(-1 if tensor is None else tensor._version for tensor in sources)
        if self._key is None or not self._matches(what, sources, versions):
            self._value = compute()
            self._key = (what, sources, versions)
        return self._value

    def _matches(self, what: Any, sources: tuple[Tensor | None, ...], versions: tuple[int, ...]) -> bool:
        assert self._key is not None
        kept_what, kept_sources, kept_versions = self._key
        same = len(sources) == len(kept_sources) and all(map(is_, sources, kept_sources))
        return same and what == kept_what and versions == kept_versions

    # A copied or pickled model starts empty: the copy's tensors are others, and the value can be made again.
    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.clear()


class KeepsWeights(nn.Module):
    """A module that keeps its weights reordered, until `train()`, loading, or a change of dtype or device.

    Changes in place are noticed as well; code that edits `weight.data` has to call `eval()` afterwards.
    """

    @property
    def kept(self) -> Kept:
        """The reordered weights."""
        # Made when first asked for: transformers' own modules become ours after they were built (`adopt`).
        if "_kept" not in self.__dict__:
            self.__dict__["_kept"] = Kept()
        found: Kept = self.__dict__["_kept"]
        return found

    def train(self, mode: bool = True) -> Any:
        """Switch the mode and drop the reordered weights."""
        self.kept.clear()
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self.kept.clear()
        return super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.kept.clear()
        super()._load_from_state_dict(*args, **kwargs)

    def linear(
        self,
        x: Tensor,
        sources: tuple[Tensor | None, ...],
        weights: Callable[[], tuple[Tensor, Tensor | None]],
        activation: Activation = "none",
        folded: bool = True,
    ) -> Tensor:
        """Map (..., features in) to (..., features out).

        Args:
            x: the input.
            sources: the tensors that the weights are made of; the first has their dtype.
            weights: makes weight (out, in) and bias (out,).
            activation: what follows.
            folded: whether making the weights computes anything; where not, MKL may take them as they are.
        """
        dtype, (along, behind) = _fast_dtype(x, sources), _split(activation)
        of_mkl = not folded and dtype == torch.float32 and along == "none" and mkl_avx512()
        if dtype is None or of_mkl:
            return PLAIN[activation](functional.linear(x, *weights()))
        weight, bias = self.kept.get(
            (dtype, 1), sources, lambda: _ready_linear(weights, dtype, x.numel() // x.shape[-1])
        )
        scalars: list[Any] = []
        y: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(dtype), weight, bias, along, scalars, _ALGORITHM.get(along, "")
        )
        return behind(y)

    def convolve(
        self,
        x: Tensor,
        sources: tuple[Tensor | None, ...],
        weights: Callable[[], tuple[Tensor, Tensor | None]],
        *,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
        groups: int = 1,
        activation: Activation = "none",
        add: Tensor | None = None,
    ) -> Tensor | None:
        """Map (batch, channels in, samples) to (batch, channels out, samples out), in memory time before channels.

        Args:
            x: the input, fastest where its memory has time before channels as well.
            sources: the tensors that the weights are made of; the first has their dtype.
            weights: makes weight (out, in / groups, kernel) and bias (out,).
            stride: of the convolution.
            padding: zeros on the left and on the right.
            groups: of the convolution.
            activation: what follows, after `add`.
            add: is added, of the shape of the result.

        Returns:
            The result, or None where the plain way is to be taken.
        """
        asked, first = _fast_dtype(x, sources), sources[0]
        if asked is None or first is None:
            return None
        # Without groups as well, where time comes before channels: the first layer of an encoder has twelve.
        dtype = torch.float32 if 1 < first.shape[1] < FEWEST_GROUPED_CHANNELS else asked
        left, right = padding
        rows = x.to(dtype).transpose(1, 2).contiguous()
        kernel = first.shape[-1]
        if add is None and stride == groups == kernel == 1 and not left + right and dtype == asked:
            return self.linear(rows, sources, lambda: _as_map(weights()), activation).transpose(1, 2)
        if left != right:
            rows, left = functional.pad(rows, (0, 0, left, right)), 0
        image = rows.transpose(1, 2)[:, :, None]
        where = ([0, left], [1, stride], [1, 1], groups)
        weight, bias = self.kept.get(
            (dtype, 2), sources, lambda: _ready_convolution(weights, dtype, where, image.shape)
        )
        along, behind = _split(activation)
        algorithm = _ALGORITHM.get(along, "")
        operator, scalars = torch.ops.mkldnn._convolution_pointwise, list[Any]()
        if add is None:
            y: Tensor = operator(image, weight, bias, *where, along, scalars, algorithm)
        else:
            other = add.to(dtype).transpose(1, 2).contiguous().transpose(1, 2)[:, :, None]
            unary = None if along == "none" else along
            y = operator.binary(image, other, weight, bias, *where, "add", 1.0, unary, scalars, algorithm)
        return behind(y[:, :, 0]).to(asked)


class Linear(nn.Linear, KeepsWeights):
    """nn.Linear that goes the fastest way in evaluation without gradients."""

    def forward(self, input: Tensor, activation: Activation = "none") -> Tensor:
        """Map (..., in_features) to (..., out_features), and apply an activation."""
        parts = (self.weight, self.bias)
        return self.linear(input, parts, lambda: parts, activation, folded=False)


class Conv1d(nn.Conv1d, KeepsWeights):
    """nn.Conv1d, padded with zeros, that goes the fastest way in evaluation without gradients."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (batch, in_channels, samples) to (batch, out_channels, samples out)."""
        pad = self.padding[0]
        assert not isinstance(pad, str)
        y = self.convolve(
            input,
            (self.weight, self.bias),
            lambda: (self.weight, self.bias),
            stride=self.stride[0],
            padding=(pad, pad),
            groups=self.groups,
        )
        return super().forward(input) if y is None else y


def adopt(model: nn.Module) -> None:
    """Let the linear maps and plain convolutions below a module that transformers built go the fast way."""
    # Their class changes and not the modules: new ones would draw random numbers, and every seeded model would change.
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
        elif type(module) is nn.Conv1d and module.dilation == (1,) and module.padding_mode == "zeros":
            module.__class__ = Conv1d


def _split(activation: Activation) -> tuple[Activation, Callable[[Tensor], Tensor]]:
    """Divide an activation into what goes along with the product and what comes behind it."""
    # oneDNN's ReLU turns NaN into 0, and a damaged signal would get a score; torch's lets it pass.
    return ("none", functional.relu_) if activation == "relu" else (activation, PLAIN["none"])


def _fast_dtype(x: Tensor, sources: tuple[Tensor | None, ...]) -> torch.dtype | None:
    """The type to compute in, or None where the plain way is to be taken."""
    weight = sources[0]
    # A trace must show public operators, and can follow neither `onednn` nor what it asks.
    if torch.is_grad_enabled() or x.device.type != "cpu" or _traced():
        return None
    if not onednn() or _switched_off.get() or not x.numel():
        return None
    # Subclasses (quantised, distributed, fake tensors) have operators of their own.
    if type(x) is not Tensor or type(weight) not in (Tensor, nn.Parameter):
        return None
    assert weight is not None
    if weight.is_inference():  # its changes cannot be seen, and to reorder it in each pass is slower than the plain way
        return None
    cast = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if cast and x.dtype != torch.float64 else x.dtype
    if weight.device.type != "cpu" or (weight.dtype != x.dtype and not cast):
        return None
    return dtype if dtype == torch.float32 or (dtype == torch.bfloat16 and _bfloat16()) else None


@functools.cache
def _bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _traced() -> bool:
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    return traced or torch.compiler.is_compiling()


Ready = tuple[Tensor, Tensor | None]


def _as_map(parts: Ready) -> Ready:
    weight, bias = parts
    return weight[..., 0], bias


# Out of inference mode, so that the kept tensors serve any later pass.
@torch.inference_mode(False)
@torch.no_grad()
def _ready_linear(weights: Callable[[], Ready], dtype: torch.dtype, rows: int) -> Ready:
    weight, bias = weights()
    reordered = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype).contiguous(), rows)
    return reordered, None if bias is None else bias.detach().to(dtype).contiguous()


@torch.inference_mode(False)
@torch.no_grad()
def _ready_convolution(weights: Callable[[], Ready], dtype: torch.dtype, where: Any, shape: torch.Size) -> Ready:
    weight, bias = weights()
    flat = weight.detach().to(dtype).contiguous()[:, :, None]
    reordered = torch.ops.mkldnn._reorder_convolution_weight(flat, *where, list(shape))
    return reordered, None if bias is None else bias.detach().to(dtype).contiguous()
