"""What a model costs to run: parameters, multiply-accumulates, records per second, memory.

Multiply-accumulates and memory are counted by watching the operations that torch runs, so they hold for any model and
do not depend on the machine.
"""

from __future__ import annotations

import math
import statistics
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ecg_hub import catalog
from ecg_hub.errors import InputError
from ecg_hub.inference.records import usable_device
from ecg_hub.input.windows import eval_starts, window_length
from ecg_hub.modeling import kernels
from ecg_hub.names import canonical

RECORD_SECONDS = 10
_FEWEST_PASSES = 2


@dataclass(frozen=True)
class Speed:
    """What one batch size gives.

    Attributes:
        batch_size: records per forward pass.
        records_per_second: records of 10 s, from the median time of a forward pass; reading and preparing the records
            is not part of it.
        peak_memory_mb: largest memory in 10^6 bytes that tensors took at once: weights, input and activations. On
            CUDA as its allocator reports it.
    """

    batch_size: int
    records_per_second: float
    peak_memory_mb: float


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        model: the name that was asked for.
        preset: what it was fed: "benchmark" or "native".
        parameters: parameters of the encoder.
        windows: windows of a record of 10 s, as in validation and test; a rest shorter than the window is dropped.
        macs: multiply-accumulate operations per record of 10 s.
        speeds: one entry per batch size.
        device: where it ran.
        threads: threads of the CPU; 0 on other devices.
        torch: version of torch.
    """

    model: str
    preset: str
    parameters: int
    windows: int
    macs: int
    speeds: tuple[Speed, ...]
    device: str
    threads: int
    torch: str


def bench(
    name: str,
    *,
    preset: str = "benchmark",
    batch_sizes: Sequence[int] = (1, 32),
    device: str = "cpu",
    threads: int | None = None,
    seconds: float = 2.0,
) -> Cost:
    """Measure what the encoder of a model costs in evaluation, in float32, on noise.

    Costs do not depend on the values of the weights: a short name is measured with random ones, so that no weights
    file is needed.

    Args:
        name: short name, `random:<short name>`, folder or hub id.
        preset: "benchmark" or "native".
        batch_sizes: records of 10 s per forward pass; a batch holds all their windows.
        device: "cpu", "cuda", "cuda:1", "mps".
        threads: threads of the CPU; by default as torch is set.
        seconds: repeat the forward pass for so long, at least twice.

    Raises:
        InputError: a batch size, number of threads or time that is not positive, a device that is not there, or a
            preset with windows longer than 10 s.
        UnknownNameError: no such model or preset.
    """
    _check(batch_sizes, threads, seconds)
    target = usable_device(device)
    name = canonical(name)
    model, extractor = _model(name)
    spec = extractor.spec(preset)
    windows = len(eval_starts(window_length(RECORD_SECONDS, spec.sampling_rate), spec.samples))
    if not windows:
        raise InputError(f"The preset {preset!r} of {name!r} has windows of {spec.input_seconds} s, longer than 10 s.")
    shape = (len(spec.lead_names), spec.samples)
    # Counted on the CPU, before the model moves: the number does not depend on the device.
    macs = windows * count_macs(model, _noise(1, *shape))
    model.to(target)
    with _threads(threads):
        speeds = tuple(_speed(model, size, _noise(size * windows, *shape).to(target), seconds) for size in batch_sizes)
        used = torch.get_num_threads() if target.type == "cpu" else 0
    return Cost(name, preset, model.num_parameters(), windows, macs, speeds, str(target), used, torch.__version__)


def _model(name: str) -> tuple[Any, Any]:
    """A model in float32 and its extractor; of a short name the configuration of its checkpoint with random weights."""
    import ecg_hub

    entry = catalog.checkpoints().get(name)
    if entry is not None and not entry.is_default:
        model = ecg_hub.AutoModel.from_config(entry.build_config(), dtype=torch.float32)
        return model.eval(), entry.build_feature_extractor()
    source = name if entry is None else f"random:{name}"
    model = ecg_hub.AutoModel.from_pretrained(source, dtype=torch.float32).eval()
    return model, ecg_hub.AutoFeatureExtractor.from_pretrained(source)


def rows(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """Return costs as table rows, one mapping of column to value per model."""
    return [
        {
            "model": cost.model,
            "parameters": f"{cost.parameters:,}",
            "MACs per record": _large(cost.macs),
            "windows per record": cost.windows,
            **{f"records/s, batch {speed.batch_size}": _rounded(speed.records_per_second) for speed in cost.speeds},
            **{f"peak MB, batch {speed.batch_size}": _rounded(speed.peak_memory_mb) for speed in cost.speeds},
        }
        for cost in costs
    ]


def _speed(model: Any, batch_size: int, x: Tensor, seconds: float) -> Speed:
    # First, because its two passes fill the caches, which the timed passes then find full.
    memory = _peak_memory(model, x)
    times: list[float] = []
    with torch.no_grad():
        while len(times) < _FEWEST_PASSES or sum(times) < seconds:
            # On accelerators a call returns before the work is done.
            _wait(x.device)
            started = time.perf_counter()
            model(x)
            _wait(x.device)
            times.append(time.perf_counter() - started)
    # The median, which a pass that something else has slowed down does not move.
    return Speed(batch_size, batch_size / statistics.median(times), memory / 1e6)


def _peak_memory(model: Any, x: Tensor) -> int:
    """Return the peak in bytes of a second pass; the first one fills the caches, which stay counted."""
    with torch.no_grad():
        if x.device.type == "cuda":
            model(x)
            torch.cuda.reset_peak_memory_stats(x.device)
            model(x)
            return torch.cuda.max_memory_allocated(x.device)
        with TensorMemory([x, *model.parameters(), *model.buffers()]) as memory:
            model(x)
            memory.restart()
            model(x)
        return memory.peak


def _noise(*shape: int) -> Tensor:
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _wait(device: torch.device) -> None:
    """Wait until the device has done its work; the CPU always has."""
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check(batch_sizes: Sequence[int], threads: int | None, seconds: float) -> None:
    for what, values in (("batch size", batch_sizes), ("number of threads", [1 if threads is None else threads])):
        for value in values:
            if value < 1:
                raise InputError(f"The {what} is {value!r}; it must be at least 1.")
    if not seconds > 0:
        raise InputError(f"seconds is {seconds!r}; it must be positive.")


def _large(count: int) -> str:
    """Three significant digits in thousands (k), millions (M) or thousands of millions (G)."""
    unit, size = ("G", 1e9) if count >= 1e9 else ("M", 1e6) if count >= 1e6 else ("k", 1e3)
    return f"{count / size:#.3g}".rstrip(".") + f" {unit}"


def _rounded(value: float) -> float | int:
    """Three significant digits."""
    rounded = float(f"{value:.3g}")
    return int(rounded) if rounded >= 100 else rounded


def count_macs(model: nn.Module, x: Tensor) -> int:
    """Return the multiply-accumulate operations of one forward pass: half of its floating-point operations.

    Matrix products, convolutions and attention are counted by torch's FlopCounterMode. What that leaves out is added
    here: fused attention on the CPU, batched products that are added in place, and what an S4 layer consists of on
    other devices than the CPU, the fast Fourier transform of n real values, taken as 2.5 n log2(n) operations, and the
    product of spectra, 6 operations per complex number. Activations, norms, softmax and other element-wise work are not
    counted, as usual. Constants that a model keeps between passes (the kernels of S4) are computed before counting.
    """
    # By public operations: no counter knows of the others.
    with torch.no_grad(), kernels.plain():
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
            if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
                self._follow(leaf.untyped_storage())
            elif isinstance(leaf, Tensor):
                self._follow_opaque(leaf)
        return result

    def _follow_opaque(self, tensor: Tensor) -> None:
        """Count a tensor that shows no storage, as reordered weights; few, and each is seen once."""
        size = tensor.numel() * tensor.element_size()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(tensor, self._release_opaque, size).atexit = False

    def _release_opaque(self, size: int) -> None:
        self.live -= size

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


def _batched_product(added: Sequence[int], left: Sequence[int], right: Sequence[int], *args: Any, **kwargs: Any) -> int:
    return 2 * math.prod(left) * right[2]


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
    torch.ops.aten.baddbmm_: _batched_product,
    torch.ops.aten._fft_r2c: _real_to_complex,
    torch.ops.aten._fft_c2r: _complex_to_real,
    torch.ops.aten.mul: _product,
}
