"""The response norm across maps in plain torch: no compiler needed, any device, any float type.

A tensor in channels-last order is a matrix of pixels by maps, and the window sum over neighboring maps is its
product with a band matrix, which the matrix unit does for almost nothing. With beta 0.75 the power is
``rsqrt(s) * sqrt(rsqrt(s))``. On a CPU the work goes block by block, so that all that is between reading ``x``
and writing ``y`` stays in the cache, and the sum is computed again on the way back rather than stored.

In the product 0 x NaN is NaN: a value that is not finite spoils all maps of its pixel, and no other pixel.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.nets.kernels.followed import followed

BLOCK_ELEMENTS = 1 << 19


@functools.lru_cache(maxsize=64)
def band(maps: int, size: int, towers: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(maps, maps): 1 where map ``i`` is in the window around map ``j`` of the same tower (paper 3.3)."""
    index = torch.arange(maps)
    distance = index[:, None] - index[None, :]
    near = (distance >= -(size // 2)) & (distance <= (size - 1) // 2)
    same = index[:, None] // (maps // towers) == index[None, :] // (maps // towers)
    return (near & same).to(device, dtype)


def _power(s: Tensor, beta: float, root: Tensor) -> Tensor:
    """``s ** -beta``; leaves ``s ** -0.5`` in ``s`` where beta is 0.75, and uses ``root`` as room."""
    torch.sqrt(s.rsqrt_(), out=root)
    return root.mul_(s) if beta == 0.75 else torch.pow(s, 2 * beta, out=root)


class ResponseNormFunction(torch.autograd.Function):
    """``y = x * (k + alpha * window sum of x**2) ** -beta``."""

    @staticmethod
    def forward(ctx, x: Tensor, size: int, towers: int, k: float, alpha: float, beta: float) -> Tensor:
        n, c, h, w = x.shape
        matrix = band(c, size, towers, x.dtype, x.device)
        flat = x.permute(0, 2, 3, 1).reshape(-1, c)
        y = torch.empty_like(flat)
        step = _block_rows(flat)
        room = torch.empty((2, min(step, len(flat)), c), dtype=x.dtype, device=x.device)
        for i in range(0, len(flat), step):
            xi = flat[i : i + step]
            a, s = room[0, : len(xi)], room[1, : len(xi)]
            torch.mm(torch.mul(xi, xi, out=a), matrix, out=s)
            torch.mul(xi, _power(s.mul_(alpha).add_(k), beta, a), out=y[i : i + step])
        ctx.save_for_backward(flat)
        ctx.parameters = (size, towers, k, alpha, beta, (n, h, w, c))
        return y.view(n, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        (flat,) = ctx.saved_tensors
        size, towers, k, alpha, beta, shape = ctx.parameters
        c = shape[-1]
        matrix = band(c, size, towers, flat.dtype, flat.device)
        gradient = gradients[0].permute(0, 2, 3, 1).reshape(-1, c)
        out = torch.empty_like(flat)
        step = _block_rows(flat)
        room = torch.empty((3, min(step, len(flat)), c), dtype=flat.dtype, device=flat.device)
        for i in range(0, len(flat), step):
            xi, gi = flat[i : i + step], gradient[i : i + step]
            a, s, b = room[0, : len(xi)], room[1, : len(xi)], room[2, : len(xi)]
            torch.mm(torch.mul(xi, xi, out=a), matrix, out=s)
            _power(s.mul_(alpha).add_(k), beta, a).mul_(gi)  # a = g s^-beta, s = s^-1/2
            # transposed: a map's gradient sums over the windows that it is in; s = g x s^(-beta-1)
            torch.mm(s.mul_(s).mul_(a).mul_(xi), matrix.t(), out=b)
            torch.addcmul(a, b, xi, value=-2 * alpha * beta, out=out[i : i + step])
        return out.view(shape).permute(0, 3, 1, 2), None, None, None, None, None


def _block_rows(flat: Tensor) -> int:
    if flat.device.type != "cpu":
        return max(1, len(flat))
    return max(1, BLOCK_ELEMENTS // flat.shape[1])


def check(x: Tensor, size: int, towers: int) -> None:
    """Raises ``ValueError`` where maps do not divide into the towers, or the size is below 1."""
    if size < 1:
        raise ValueError(f"size {size}: must be at least 1")
    if towers < 1 or x.shape[1] % towers:
        raise ValueError(f"{x.shape[1]} maps do not divide into {towers} towers")


def response_norm(
    x: Tensor, *, size: int, towers: int = 1, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75
) -> Tensor:
    """Local response normalization across maps (paper 3.3).

    Args:
        x: (N, C, H, W) float, fastest in channels-last memory format.
        size: maps in the window (the paper's n).
        towers: how many equal groups of maps know nothing of each other.
        k, alpha, beta: the paper's constants; alpha is *not* divided by the size.

    Returns:
        (N, C, H, W) of the same type, channels-last.

    Raises:
        ValueError: maps do not divide into the towers; a size below 1.
    """
    check(x, size, towers)
    if followed():
        return _as_one_formula(x, size, towers, k, alpha, beta)
    return ResponseNormFunction.apply(x, size, towers, k, alpha, beta)  # pyright: ignore[reportReturnType]


def _as_one_formula(x: Tensor, size: int, towers: int, k: float, alpha: float, beta: float) -> Tensor:
    """The same in operations that torch can follow and differentiate."""
    matrix = band.__wrapped__(x.shape[1], size, towers, x.dtype, x.device)
    sums = F.conv2d(x * x, matrix.t()[:, :, None, None])
    return x * (sums * alpha + k) ** -beta
