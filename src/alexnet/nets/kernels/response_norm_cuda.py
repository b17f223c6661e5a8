"""The response norm across maps on a CUDA device: each direction reads its inputs once and writes its outputs once.

The window sum is taken again on the way back rather than stored (paper 3.3).
"""

import torch
from torch import Tensor

from alexnet.native import cuda
from alexnet.nets.kernels.response_norm_torch import check


def runs(x: Tensor, size: int) -> bool:
    """Whether the kernels take this tensor and windows of that size."""
    return cuda.runs(x) and size <= cuda.MOST_WINDOW


class ResponseNormCuda(torch.autograd.Function):
    """``y = x * (k + alpha * window sum of x**2) ** -beta``."""

    @staticmethod
    def forward(ctx, x: Tensor, size: int, towers: int, k: float, alpha: float, beta: float) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x)
        ctx.parameters = (size, towers, k, alpha, beta)
        return cuda.norm(x, *ctx.parameters)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        (x,) = ctx.saved_tensors
        gradient = gradients[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        return cuda.norm_gradient(x, gradient, *ctx.parameters), None, None, None, None, None


def response_norm(x: Tensor, *, size: int, towers: int, k: float, alpha: float, beta: float) -> Tensor:
    """Local response normalization across maps (paper 3.3), for tensors for which ``runs`` is true.

    Args:
        x: (N, C, H, W) float on CUDA; channels-last costs no copy.
        size, towers, k, alpha, beta: as for ``response_norm_torch.response_norm``.

    Returns:
        (N, C, H, W) of the same type, channels-last.

    Raises:
        ValueError: maps do not divide into the towers; a size below 1.
    """
    check(x, size, towers)
    return ResponseNormCuda.apply(x, size, towers, k, alpha, beta)  # pyright: ignore[reportReturnType]
