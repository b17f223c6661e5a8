"""The response norm within a map in plain torch: any device, any float type; the sum is computed again on the way back.

The window sum over a map's neighborhood is an average pool times the window's area, padded with zeros: at the borders
the window is clipped and the divisor stays.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def _window_sum(x: Tensor, size: int) -> Tensor:
    return F.avg_pool2d(x, size, 1, size // 2, count_include_pad=True, divisor_override=1)


class WithinMapNormFunction(torch.autograd.Function):
    """``y = x * (k + alpha * window sum of x**2) ** -beta``."""

    @staticmethod
    def forward(ctx, x: Tensor, size: int, k: float, alpha: float, beta: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.parameters = (size, k, alpha, beta)
        return _window_sum(x * x, size).mul_(alpha).add_(k).pow_(-beta).mul_(x)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        (x,) = ctx.saved_tensors
        size, k, alpha, beta = ctx.parameters
        (g,) = gradients
        s = _window_sum(x * x, size).mul_(alpha).add_(k)
        power = s.pow(-beta)
        inner = _window_sum(power.div(s).mul_(g).mul_(x), size)
        return torch.addcmul(power.mul_(g), inner, x, value=-2 * alpha * beta), None, None, None, None


def within_map_norm(x: Tensor, *, size: int, k: float = 1.0, alpha: float = 1e-3, beta: float = 0.75) -> Tensor:
    """Local response normalization within each map (2012 source, ``cnorm2``; the paper does not mention it).

    Args:
        x: (N, C, H, W) float.
        size: side of the square window, odd; clipped at the borders.
        k, alpha, beta: as for the norm across maps; alpha is *not* divided by the window's area.

    Returns:
        (N, C, H, W) of the same type.

    Raises:
        ValueError: an even size.
    """
    if size % 2 == 0:
        raise ValueError(f"size {size}: must be odd")
    return WithinMapNormFunction.apply(x, size, k, alpha, beta)  # pyright: ignore[reportReturnType]
