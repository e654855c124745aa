"""Convolution with batch norm, the unit that the residual networks are built of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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
            mean, variance = (None if kept is None else kept.clone() for kept in (self.running_mean, self.running_var))
            return functional.batch_norm(x, mean, variance, self.weight, self.bias, training=True, eps=self.eps)
        return super().forward(x)


class ConvNorm(nn.Module):
    """Convolution over time without bias, then batch norm; padding keeps the length, but for the stride.

    In evaluation mode the norm is a scale and a shift, which the convolution takes along where that is less work: where
    the weights are fewer than the outputs.

    Args:
        channels_in: width of the input.
        channels_out: width of the output.
        kernel_size: odd number of samples.
        stride: samples per output.
        eps: epsilon of the norm.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, stride: int = 1, eps: float = 1e-5):
        super().__init__()
        self.conv = nn.Conv1d(
            channels_in, channels_out, kernel_size, stride=stride, padding=(kernel_size - 1) // 2, bias=False
        )
        self.norm = BatchNorm(channels_out, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels_in, samples) to (batch, channels_out, samples / stride rounded up)."""
        weight, conv = self.conv.weight, self.conv
        outputs = len(x) * conv.out_channels * (x.shape[-1] // conv.stride[0])
        if self.norm.training or outputs < weight.numel():
            normed: Tensor = self.norm(conv(x))
            return normed
        scale, shift = self._affine()
        folded = (weight * scale[:, None, None]).to(weight.dtype)
        return functional.conv1d(x, folded, shift.to(weight.dtype), conv.stride, conv.padding)

    def _affine(self) -> tuple[Tensor, Tensor]:
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.float() * torch.rsqrt(norm.running_var.float() + norm.eps)
        return scale, norm.bias.float() - norm.running_mean.float() * scale


def _in_backward() -> bool:
    """Tell whether autograd is running a backward pass on this thread, which is where checkpointing recomputes."""
    return torch._C._current_graph_task_id() != -1
