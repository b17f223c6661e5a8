"""Max pooling on a CUDA device: a byte says where each value came from, and gradients are gathered, not added."""

import torch
from torch import Tensor

from alexnet.native import cuda


def runs(x: Tensor, size: int) -> bool:
    """Whether the kernels take this tensor and windows of that size."""
    return cuda.runs(x) and size < 16


class MaxPoolCuda(torch.autograd.Function):
    """The largest value of each window; its gradient goes to the first place that has it."""

    @staticmethod
    def forward(ctx, x: Tensor, size: int, stride: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        inputs = (x.shape[2], x.shape[3])
        y, where = cuda.max_pool(
            x, size, stride, (_outputs(inputs[0], size, stride), _outputs(inputs[1], size, stride))
        )
        ctx.save_for_backward(where)
        ctx.parameters = (size, stride, inputs)
        return y

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        (where,) = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        return cuda.max_pool_gradient(gradient, where, *ctx.parameters), None, None


def _outputs(length: int, size: int, stride: int) -> int:
    """Windows over ``length`` pixels, the last one may hang over the edge but not begin there: as torch counts them."""
    count = 1 + max(0, -(-(length - size) // stride))
    return count - ((count - 1) * stride >= length)


def max_pool(x: Tensor, size: int, stride: int) -> Tensor:
    """The largest value of each window of a tensor for which ``runs`` is true.

    Args:
        x: (N, C, H, W) float.
        size, stride: of the windows; the last one may hang over the far edge (2012 source).

    Returns:
        (N, C, H', W') of the same type, channels-last.
    """
    return MaxPoolCuda.apply(x, size, stride)  # pyright: ignore[reportReturnType]
