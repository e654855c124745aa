"""Layers that several models share: convolution with batch norm, and stochastic depth.

Paper: Huang et al., "Deep Networks with Stochastic Depth", arXiv 1603.09382. Post-training for ECG models uses it
(arXiv 2509.12991). A `DropPath` holds no parameters, so that its rate may change without changing a state dict.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecg_hub.errors import InputError
from ecg_hub.modeling.kernels import FEWEST_GROUPED_CHANNELS, KeepsWeights, Linear


def grouped_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """Convolve in groups; half precision of few channels per group is computed in float32 on a CPU."""
    cast = torch.is_autocast_enabled("cpu") and x.device.type == "cpu"
    dtype = torch.get_autocast_dtype("cpu") if cast else x.dtype
    few = 1 < weight.shape[1] < FEWEST_GROUPED_CHANNELS and groups > 1
    if not few or x.device.type != "cpu" or dtype.itemsize >= 4:
        return functional.conv1d(x, weight, bias, stride, padding, groups=groups)
    with torch.autocast("cpu", enabled=False):
        exact = functional.conv1d(
            x.float(), weight.float(), None if bias is None else bias.float(), stride, padding, groups=groups
        )
    return exact.to(dtype)


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm1d whose running statistics move once per step under gradient checkpointing as well.

    Checkpointing runs the forward pass again during the backward pass; PyTorch's own layer then takes the same batch
    into its running statistics a second time. The parameters and their names are those of BatchNorm1d.

    Attributes:
        starts_at_zero: for a model's `_init_weights`, whether the weight starts at 0, which mutes a residual branch.
            (transformers calls `_init_weights` on no module that holds no tensors itself, such as the block.)
    """

    starts_at_zero: bool = False

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (batch, channels, samples)."""
        if self.training and _in_backward():
            # Copies, because batch_norm writes the new statistics into what it is given.
            mean, variance = (None if kept is None else kept.clone() for kept in (self.running_mean, self.running_var))
            return functional.batch_norm(x, mean, variance, self.weight, self.bias, training=True, eps=self.eps)
        return super().forward(x)


class FeedForward(nn.Sequential):
    """A linear map, the exact GELU, and a linear map; the first two in one pass where that is possible."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., width) to the same."""
        enter, activation, leave = self
        # Another layer in the place of ours, an adapter's for example, knows nothing of activations.
        if not isinstance(enter, Linear):
            plain: Tensor = super().forward(input)  # type: ignore[no-untyped-call]
            return plain
        assert isinstance(activation, nn.GELU)
        y: Tensor = leave(enter(input, "gelu"))
        return y


class ConvNorm(KeepsWeights):
    """Convolution over time without bias, then batch norm; an odd kernel keeps the length, but for the stride.

    In evaluation mode the norm is a scale and a shift, which the convolution takes along where that is less work: where
    the weights are fewer than the outputs.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, stride: int = 1, eps: float = 1e-5):
        super().__init__()
        self.conv = nn.Conv1d(
            channels_in, channels_out, kernel_size, stride=stride, padding=(kernel_size - 1) // 2, bias=False
        )
        self.norm = BatchNorm(channels_out, eps=eps)

    def forward(self, x: Tensor, add: Tensor | None = None, relu: bool = False) -> Tensor:
        """Map (batch, channels_in, samples) to (batch, channels_out, samples / stride rounded up).

        `add` is added to the result, and ReLU applied, if asked for.
        """
        # The norm's own mode, which may be set apart from the module's: only fixed statistics can be folded in.
        if not self.norm.training:
            conv, pad = self.conv, (self.conv.kernel_size[0] - 1) // 2
            y = self.convolve(
                x,
                (conv.weight, *norm_tensors(self.norm)),
                lambda: folded(conv.weight, self.norm),
                stride=conv.stride[0],
                padding=(pad, pad),
                activation="relu" if relu else "none",
                add=add,
            )
            if y is not None:
                return y
        y = self._plain(x)
        y = y if add is None else y + add
        return functional.relu(y) if relu else y

    def _plain(self, x: Tensor) -> Tensor:
        weight, conv = self.conv.weight, self.conv
        outputs = len(x) * conv.out_channels * (x.shape[-1] // conv.stride[0])
        if self.norm.training or outputs < weight.numel():
            normed: Tensor = self.norm(conv(x))
            return normed
        return functional.conv1d(x, *folded(weight, self.norm), conv.stride, conv.padding)


def norm_tensors(norm: nn.BatchNorm1d) -> tuple[Tensor | None, ...]:
    """What the scale and shift of a batch norm with fixed statistics are made of."""
    return norm.weight, norm.bias, norm.running_mean, norm.running_var


def folded(weight: Tensor, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Return weight (out, ...) and bias of a map that includes the batch norm behind it, with fixed statistics."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # In float32, so that a model in half precision rounds the folded weights once.
    scale = norm.weight.float() * torch.rsqrt(norm.running_var.float() + norm.eps)
    shift = norm.bias.float() - norm.running_mean.float() * scale
    shaped = scale.view(-1, *[1] * (weight.ndim - 1))
    return (weight * shaped).to(weight.dtype), shift.to(weight.dtype)


def _in_backward() -> bool:
    """Tell whether autograd is running a backward pass on this thread, which is where checkpointing recomputes."""
    # A private name, for want of a public one; torch.utils.checkpoint itself asks the same question.
    return torch._C._current_graph_task_id() != -1


SCHEDULES = ("linear", "constant")
MODES = ("row", "batch")


class DropPath(nn.Module):
    """Sets a residual branch to zero for a share of the samples, in train mode only, and rescales the others.

    With rate 0, and in evaluation mode, the branch is returned as it is and no random number is drawn.

    Attributes:
        rate: probability of dropping, 0 <= rate < 1.
        depth: place of the block in its stack, from 0 (first) to 1 (last), for the linear schedule.
        mode: "row" drops each sample by itself, "batch" all samples of a batch together.
    """

    def __init__(self, rate: float = 0.0, depth: float = 1.0, mode: str = "row") -> None:
        super().__init__()
        self.rate = rate
        self.depth = depth
        self.mode = mode

    @classmethod
    def for_block(cls, config: Any, block: int, blocks: int) -> DropPath:
        """Build the module of one block."""
        # As timm counts: the first block never drops. With the paper's l / L it would drop too, at 1 / L of the rate.
        path = cls(depth=block / (blocks - 1) if blocks > 1 else 1.0)
        path.set_rate(config.drop_path_rate, config.drop_path_schedule)
        return path

    def set_rate(self, rate: float, schedule: str = "linear") -> None:
        """Set the rate of this block from the rate of the last block."""
        if not 0.0 <= rate < 1.0:
            raise InputError(f"drop_path_rate is {rate!r}; allowed: 0 <= rate < 1.")
        if schedule not in SCHEDULES:
            raise InputError(f"drop_path_schedule is {schedule!r}; allowed: {', '.join(map(repr, SCHEDULES))}.")
        self.rate = rate * self.depth if schedule == "linear" else rate

    @property
    def drops(self) -> bool:
        """Whether anything is dropped now."""
        return self.training and self.rate > 0.0

    def forward(self, branch: Tensor) -> Tensor:
        """Drop samples of a branch of shape (batch, ...)."""
        if not self.drops:
            return branch
        keep = 1.0 - self.rate
        samples = branch.shape[0] if self.mode == "row" else 1
        mask = torch.empty((samples,) + (1,) * (branch.ndim - 1), dtype=branch.dtype, device=branch.device)
        # Divided by `keep`, so that the branch has the same mean in train and in evaluation mode.
        return branch * mask.bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        """Rate for the printed model."""
        return f"rate={self.rate}"


def set_drop_path(model: nn.Module, rate: float, schedule: str = "linear", mode: str = "row") -> int:
    """Set the rate of the last residual block, 0 <= rate < 1, and by the schedule all others; return their number."""
    if mode not in MODES:
        raise InputError(f"Stochastic depth in mode {mode!r}; allowed: {', '.join(map(repr, MODES))}.")
    paths = [module for module in model.modules() if isinstance(module, DropPath)]
    for path in paths:
        path.set_rate(rate, schedule)
        path.mode = mode
    config = getattr(model, "config", None)
    if config is not None:
        config.drop_path_rate, config.drop_path_schedule = rate, schedule
    return len(paths)
