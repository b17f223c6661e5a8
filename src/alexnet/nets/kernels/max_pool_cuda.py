"""Max pooling on a CUDA device: a byte says where each value came from, and gradients are gathered, not added."""

import torch
from torch import Tensor

from alexnet.native import Window, cuda

MOST_WINDOW = 15  # pixels: a byte tells its square apart


def runs(x: Tensor, window: Window) -> bool:
    """Whether the kernels take this tensor and such windows; with gaps between them, torch counts them otherwise."""
    return cuda.runs(x) and window.stride <= window.size <= MOST_WINDOW


class MaxPoolCuda(torch.autograd.Function):
    """The largest value of each window; its gradient goes to the first place that has it."""

    @staticmethod
    def forward(ctx, x: Tensor, window: Window) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        inputs = (x.shape[2], x.shape[3])
        outputs = (window.outputs(inputs[0]), window.outputs(inputs[1]))
        y, where = cuda.max_pool(x, window.size, window.stride, outputs)
        ctx.save_for_backward(where)
        ctx.parameters = (window.size, window.stride, inputs)
        return y

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        (where,) = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        return cuda.max_pool_gradient(gradient, where, *ctx.parameters), None


def max_pool(x: Tensor, window: Window) -> Tensor:
    """The largest value of each window of a tensor for which ``runs`` is true.

    Args:
        x: (N, C, H, W) float.
        window: without padding; the last one may hang over the far edge (2012 source).

    Returns:
        (N, C, H', W') of the same type, channels-last.
    """
    return MaxPoolCuda.apply(x, window)  # pyright: ignore[reportReturnType]
