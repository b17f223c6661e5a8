"""The response norm within a map by the compiled library, in one pass each way."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from alexnet import native
from alexnet.nets.kernels import stage_native


def runs(x: Tensor, beta: float) -> bool:
    """Whether the compiled path takes this tensor and this exponent."""
    return beta == native.BETA and stage_native.runs(x)


class WithinMapNormFunction(torch.autograd.Function):
    """``y = x * (k + alpha * window sum of x**2) ** -0.75``, computed in float32."""

    @staticmethod
    def forward(ctx, x: Tensor, size: int, k: float, alpha: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.parameters = (size, k, alpha)
        return native.within_map_norm_forward(x, size, k, alpha)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        gradient = gradients[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        return native.within_map_norm_backward(x, gradient, *ctx.parameters), None, None, None


def within_map_norm(x: Tensor, *, size: int, k: float, alpha: float) -> Tensor:
    """Local response normalization within each map, with an exponent of 0.75 (2012 source).

    Args:
        x: (N, C, H, W) bfloat16 or float32 on the CPU, for which ``runs`` is true; any strides.
        size, k, alpha: as for ``within_map_norm_torch``.

    Returns:
        (N, C, H, W) of the same type, channels-last.

    Raises:
        ValueError: an even size.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if torch.is_grad_enabled() and x.requires_grad:
        return WithinMapNormFunction.apply(x, size, k, alpha)  # pyright: ignore[reportReturnType]
    return native.within_map_norm_forward(x, size, k, alpha)
