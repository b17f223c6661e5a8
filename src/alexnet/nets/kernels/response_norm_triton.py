"""The response norm across maps on CUDA: one Triton kernel forward, one backward, each element read from the cache.

Channels-last tensors are flat runs in which an element's window is its neighbors; sums are float32 and are taken again
on the way back rather than stored (paper 3.3).
"""

# What Triton compiles is no Python to a checker of types:
# pyright: reportPossiblyUnboundVariable=false, reportArgumentType=false, reportGeneralTypeIssues=false
import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for CUDA brings it; torch for CPU doesn't
    triton = None

BLOCK = 1024


def runs(x: Tensor) -> bool:
    """Whether the kernels take this tensor."""
    return triton is not None and x.is_cuda and x.dtype in (torch.float32, torch.bfloat16, torch.float16)


if triton is not None:

    @triton.jit
    def scale_of(x, at, place, inside, k, alpha, maps, each, size: tl.constexpr):
        """``k + alpha * window sum of x**2`` of the elements ``at``, whose places among the maps are ``place``."""
        first = place // each * each
        sums = tl.zeros(at.shape, tl.float32)
        for j in tl.static_range(size):
            near = place + j - size // 2
            own = inside & (near >= first) & (near < first + each)
            value = tl.load(x + at + j - size // 2, mask=own, other=0.0).to(tl.float32)
            sums += value * value
        return k + alpha * sums

    @triton.jit
    def forward_kernel(x, y, count, k, alpha, beta, maps, each, size: tl.constexpr, block: tl.constexpr):
        at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
        inside = at < count
        place = (at % maps).to(tl.int32)
        s = scale_of(x, at, place, inside, k, alpha, maps, each, size)
        value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(y + at, value * tl.exp2(-beta * tl.log2(s)), mask=inside)

    @triton.jit
    def backward_kernel(x, gradient, out, count, k, alpha, beta, maps, each, size: tl.constexpr, block: tl.constexpr):
        at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
        inside = at < count
        place = (at % maps).to(tl.int32)
        first = place // each * each
        sums = tl.zeros(at.shape, tl.float32)
        own = tl.zeros(at.shape, tl.float32)
        for j in tl.static_range(size):  # the windows that an element is in: those of (size - 1) // 2 before, on
            near = place + j - (size - 1) // 2
            there = inside & (near >= first) & (near < first + each)
            shifted = at + j - (size - 1) // 2
            s = scale_of(x, shifted, near, there, k, alpha, maps, each, size)
            g = tl.load(gradient + shifted, mask=there, other=0.0).to(tl.float32)
            value = tl.load(x + shifted, mask=there, other=0.0).to(tl.float32)
            scaled = g * tl.exp2(-beta * tl.log2(s))
            sums += tl.where(there, scaled * value / s, 0.0)
            if j == (size - 1) // 2:
                own = scaled
        value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + at, own - 2 * alpha * beta * value * sums, mask=inside)


class ResponseNormTriton(torch.autograd.Function):
    """``y = x * (k + alpha * window sum of x**2) ** -beta``."""

    @staticmethod
    def forward(ctx, x: Tensor, size: int, towers: int, k: float, alpha: float, beta: float) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        y = torch.empty_like(x)
        ctx.save_for_backward(x)
        ctx.parameters = (k, alpha, beta, x.shape[1], x.shape[1] // towers, size, BLOCK)
        if x.numel():
            forward_kernel[(-(-x.numel() // BLOCK),)](x, y, x.numel(), *ctx.parameters)
        return y

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        (x,) = ctx.saved_tensors
        gradient = gradients[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(x)
        if x.numel():
            backward_kernel[(-(-x.numel() // BLOCK),)](x, gradient, out, x.numel(), *ctx.parameters)
        return out, None, None, None, None, None


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
    if size < 1:
        raise ValueError(f"size {size}: must be at least 1")
    if towers < 1 or x.shape[1] % towers:
        raise ValueError(f"{x.shape[1]} maps do not divide into {towers} towers")
    return ResponseNormTriton.apply(x, size, towers, k, alpha, beta)  # pyright: ignore[reportReturnType]
