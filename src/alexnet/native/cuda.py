"""What CUDA devices run of this project, compiled by Triton at first use: norm, pooling, masks, update.

Tensors are channels-last: a matrix of pixels by maps. Sums are float32. No kernel adds in an order that changes, so
that a training repeats itself bit by bit. Imported only where there is such a device: Triton takes long.
"""

# What Triton compiles is no Python to a checker of types:
# pyright: reportPossiblyUnboundVariable=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalMemberAccess=false, reportIndexIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportAttributeAccessIssue=false
import functools

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for CUDA brings it; torch for CPU doesn't
    triton = None

TYPES = (torch.float32, torch.bfloat16, torch.float16)
FLAT = 1024  # elements that a program of a flat kernel takes
NORM_ROWS = 64  # of a tile of the norm
POOL_ELEMENTS = 1024  # of a tile of the pooling
MARGIN = 32  # maps beside a tile that windows of the norm reach into, twice
WIDEST = 128  # maps of a tile
MOST_WINDOW = MARGIN // 2  # maps in a window of the norm


@functools.cache
def usable() -> bool:
    """Whether Triton compiles here, tried once: it needs a C compiler for what starts its kernels."""
    if triton is None:
        return False
    try:
        keep_mask(torch.zeros(1, dtype=torch.int64, device="cuda"), 8, 0, 0, (0, 0), 0)
    except Exception:  # whatever it lacks: torch's own kernels run
        return False
    return True


def runs(*tensors: Tensor) -> bool:
    """Whether the kernels take these tensors."""
    return all(tensor.is_cuda and tensor.dtype in TYPES for tensor in tensors) and usable()


def _tile(channels: int) -> tuple[int, int, int]:
    """Maps that a tile of the norm gives, maps that it sees, and how many of these lie before the first one."""
    if channels <= WIDEST:
        return channels, max(16, triton.next_power_of_2(channels)), 0
    return WIDEST - 2 * MARGIN, WIDEST, MARGIN


if triton is not None:

    @triton.jit
    def banded(value, band, terms: tl.constexpr):
        """Products with a matrix of 0 and 1 in so many terms of bf16, three for float32's precision; 0: in float32."""
        if terms == 0:
            return tl.dot(value, band.to(tl.float32), input_precision="ieee")
        sums = tl.zeros(value.shape, tl.float32)
        for _ in tl.static_range(terms):
            part = value.to(tl.bfloat16)
            sums = tl.dot(part, band.to(tl.bfloat16), sums)
            value = value - part.to(tl.float32)
        return sums

    @triton.jit
    def tile_of(rows, channels: tl.constexpr, gives: tl.constexpr, sees: tl.constexpr, before: tl.constexpr,
                block: tl.constexpr):  # fmt: skip
        """Where a tile's elements lie, from its first row on; which there are; which it gives."""
        first = tl.program_id(0).to(tl.int64) * block
        row = tl.arange(0, block)
        column = tl.program_id(1) * gives - before + tl.arange(0, sees)
        there = (first + row < rows)[:, None] & ((column >= 0) & (column < channels))[None, :]
        own = (column >= tl.program_id(1) * gives) & (column < (tl.program_id(1) + 1) * gives)
        return first * channels, row[:, None] * channels + column[None, :], there, there & own[None, :]

    @triton.jit
    def windows(size: tl.constexpr, sees: tl.constexpr, back: tl.constexpr):
        """(sees, sees) whether a map is in another's window; ``back``: the other way round."""
        near = tl.arange(0, sees)[:, None] - tl.arange(0, sees)[None, :]
        near = -near if back else near
        return (near >= -(size // 2)) & (near <= (size - 1) // 2)

    @triton.jit
    def norm_forward(x, y, rows, k, alpha, beta, channels: tl.constexpr, gives: tl.constexpr, sees: tl.constexpr,
                     before: tl.constexpr, size: tl.constexpr, terms: tl.constexpr, block: tl.constexpr):  # fmt: skip
        first, at, there, own = tile_of(rows, channels, gives, sees, before, block)
        value = tl.load(x + first + at, mask=there, other=0.0).to(tl.float32)
        s = k + alpha * banded(value * value, windows(size, sees, False), terms)
        tl.store(y + first + at, value * tl.exp2(-beta * tl.log2(s)), mask=own)

    @triton.jit
    def norm_backward(x, gradient, out, rows, k, alpha, beta, channels: tl.constexpr, gives: tl.constexpr,
                      sees: tl.constexpr, before: tl.constexpr, size: tl.constexpr, terms: tl.constexpr,
                      block: tl.constexpr):  # fmt: skip
        first, at, there, own = tile_of(rows, channels, gives, sees, before, block)
        value = tl.load(x + first + at, mask=there, other=0.0).to(tl.float32)
        g = tl.load(gradient + first + at, mask=there, other=0.0).to(tl.float32)
        s = k + alpha * banded(value * value, windows(size, sees, False), terms)
        scaled = g * tl.exp2(-beta * tl.log2(s))
        sums = banded(scaled * value / s, windows(size, sees, True), terms)
        tl.store(out + first + at, scaled - 2 * alpha * beta * value * sums, mask=own)

    @triton.jit
    def place_of(at, rows, columns: tl.constexpr, lines: tl.constexpr):
        """Image, row and column of the pixels ``at``, and which there are."""
        return at // (lines * columns), at // columns % lines, at % columns, at < rows

    @triton.jit
    def pool_forward(x, y, where, pixels, maps: tl.constexpr, height: tl.constexpr, width: tl.constexpr,
                     out_height: tl.constexpr, out_width: tl.constexpr, size: tl.constexpr, stride: tl.constexpr,
                     block: tl.constexpr, wide: tl.constexpr):  # fmt: skip
        at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
        image, row, column, there = place_of(at, pixels, out_width, out_height)
        own = tl.program_id(1) * wide + tl.arange(0, wide)
        best = tl.full((block, wide), float("-inf"), tl.float32)
        chosen = tl.zeros((block, wide), tl.int32)
        for i in tl.static_range(size):
            for j in tl.static_range(size):
                y_in, x_in = row * stride + i, column * stride + j
                inside = there & (y_in < height) & (x_in < width)
                from_ = ((image * height + y_in) * width + x_in) * maps
                value = tl.load(x + from_[:, None] + own[None, :], mask=inside[:, None], other=float("-inf"))
                value = value.to(tl.float32)
                better = (value > best) | (value != value)
                best = tl.where(better, value, best)
                chosen = tl.where(better, i * size + j, chosen)
        to = at[:, None] * maps + own[None, :]
        tl.store(y + to, best, mask=there[:, None])
        tl.store(where + to, chosen, mask=there[:, None])

    @triton.jit
    def pool_backward(gradient, where, out, pixels, maps: tl.constexpr, height: tl.constexpr, width: tl.constexpr,
                      out_height: tl.constexpr, out_width: tl.constexpr, size: tl.constexpr, stride: tl.constexpr,
                      block: tl.constexpr, wide: tl.constexpr):  # fmt: skip
        at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
        image, row, column, there = place_of(at, pixels, width, height)
        own = tl.program_id(1) * wide + tl.arange(0, wide)
        sums = tl.zeros((block, wide), tl.float32)
        for i in tl.static_range((size + stride - 1) // stride):
            for j in tl.static_range((size + stride - 1) // stride):
                y_out, x_out = row // stride - i, column // stride - j
                y_in, x_in = row - y_out * stride, column - x_out * stride  # within that window
                inside = there & (y_out >= 0) & (y_out < out_height) & (y_in < size)
                inside = inside & (x_out >= 0) & (x_out < out_width) & (x_in < size)
                from_ = (((image * out_height + y_out) * out_width + x_out) * maps)[:, None] + own[None, :]
                chosen = tl.load(where + from_, mask=inside[:, None], other=255).to(tl.int32)
                g = tl.load(gradient + from_, mask=inside[:, None], other=0.0).to(tl.float32)
                sums += tl.where(chosen == (y_in * size + x_in)[:, None], g, 0.0)
        tl.store(out + at[:, None] * maps + own[None, :], sums, mask=there[:, None])

    @triton.jit
    def update(w, v, gradient, low, count, momentum, rate, decay, keeps: tl.constexpr, block: tl.constexpr):
        at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
        inside = at < count
        weight = tl.load(w + at, mask=inside)
        velocity = momentum * tl.load(v + at, mask=inside) - rate * tl.load(gradient + at, mask=inside).to(tl.float32)
        velocity = velocity - decay * weight
        tl.store(v + at, velocity, mask=inside)
        tl.store(w + at, weight + velocity, mask=inside)
        if keeps:
            tl.store(low + at, weight + velocity, mask=inside)

    @triton.jit(do_not_specialize=["step", "key0", "key1", "counter3", "least"])
    def philox_mask(ids, out, count, units, blocks, least, step, key0, key1, counter3, block: tl.constexpr):
        at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)  # four words each, two units a word
        inside = at < count
        c0, c1 = (at % blocks).to(tl.uint32), tl.load(ids + at // blocks, mask=inside, other=0).to(tl.uint32)
        c2 = tl.zeros((block,), tl.uint32) + step.to(tl.uint32)
        c3 = tl.zeros((block,), tl.uint32) + counter3.to(tl.uint32)
        k0, k1 = key0.to(tl.uint32), key1.to(tl.uint32)
        m0, m1 = tl.full((block,), 0xD2511F53, tl.uint32), tl.full((block,), 0xCD9E8D57, tl.uint32)
        for _ in tl.static_range(10):
            high0, high1 = tl.umulhi(m0, c0), tl.umulhi(m1, c2)
            c0, c1, c2, c3 = high1 ^ c1 ^ k0, m1 * c2, high0 ^ c3 ^ k1, m0 * c0
            k0, k1 = k0 + tl.full((), 0x9E3779B9, tl.uint32), k1 + tl.full((), 0xBB67AE85, tl.uint32)
        to, left = at // blocks * units + at % blocks * 8, units - at % blocks * 8
        put_halves(out, to, left, c0, least, inside)
        put_halves(out, to + 2, left - 2, c1, least, inside)
        put_halves(out, to + 4, left - 4, c2, least, inside)
        put_halves(out, to + 6, left - 6, c3, least, inside)

    @triton.jit
    def put_halves(out, to, left, word, least, inside):
        """Two units of a mask from a word: its lower half is the first one's."""
        tl.store(out + to, ((word & 0xFFFF).to(tl.int32) >= least).to(tl.int8), mask=inside & (left > 0))
        tl.store(out + to + 1, ((word >> 16).to(tl.int32) >= least).to(tl.int8), mask=inside & (left > 1))


def _terms(x: Tensor) -> int:
    """Of bf16, that hold the square of what a tensor has; Triton's interpreter, on a CPU, has no such products."""
    return (3 if x.dtype == torch.float32 else 2) if x.is_cuda else 0


def _run_norm(
    kernel, tensors: tuple[Tensor, ...], size: int, towers: int, k: float, alpha: float, beta: float
) -> Tensor:
    """What a kernel of the norm writes of tensors that lie alike, channels-last; of the first it takes the shape."""
    x = tensors[0]
    out, channels = torch.empty_like(x), x.shape[1] // towers
    if x.numel():
        rows, (gives, sees, before) = x.numel() // channels, _tile(channels)
        kernel[(triton.cdiv(rows, NORM_ROWS), triton.cdiv(channels, gives))](
            *tensors, out, rows, float(k), float(alpha), float(beta), channels, gives, sees, before, size, _terms(x),
            NORM_ROWS,
        )  # fmt: skip
    return out


def norm(x: Tensor, size: int, towers: int, k: float, alpha: float, beta: float) -> Tensor:
    """(N, C, H, W) ``x * (k + alpha * window sum of x**2) ** -beta`` (paper 3.3); ``x`` is channels-last."""
    return _run_norm(norm_forward, (x,), size, towers, k, alpha, beta)


def norm_gradient(
    x: Tensor, gradient: Tensor, size: int, towers: int, k: float, alpha: float, beta: float
) -> Tensor:  # fmt: skip
    """(N, C, H, W) the gradient of ``norm`` by its input; both tensors are channels-last, of one type."""
    return _run_norm(norm_backward, (x, gradient), size, towers, k, alpha, beta)


def _pooled(pixels: int, maps: int) -> tuple[tuple[int, int], int, int]:
    """The grid of a pooling's kernel, pixels of a program and maps of it."""
    wide = min(128, maps & -maps)
    block = POOL_ELEMENTS // wide
    return (triton.cdiv(pixels, block), maps // wide), block, wide


def max_pool(x: Tensor, size: int, stride: int, outputs: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Overlapping max pooling (paper 3.4) of a channels-last tensor; what hangs over the edges is left out.

    Args:
        x: (N, C, H, W) float.
        size, stride: of the windows; size**2 < 255.
        outputs: rows and columns of windows; each window has a pixel inside.

    Returns:
        (N, C, H', W') the largest of each window, and (N, C, H', W') uint8 which one that is: the first of several.
    """
    count, maps, height, width = x.shape
    y = torch.empty((count, maps, *outputs), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    where = torch.empty_like(y, dtype=torch.uint8)
    pixels = count * outputs[0] * outputs[1]
    if y.numel():
        grid, block, wide = _pooled(pixels, maps)
        pool_forward[grid](x, y, where, pixels, maps, height, width, *outputs, size, stride, block, wide)
    return y, where


def max_pool_gradient(
    gradient: Tensor, where: Tensor, size: int, stride: int, inputs: tuple[int, int]
) -> Tensor:  # fmt: skip
    """(N, C, H, W) the gradient of ``max_pool`` by its input of ``inputs`` rows and columns."""
    count, maps, *outputs = gradient.shape
    out = torch.empty(
        (count, maps, *inputs), dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last
    )
    pixels = count * inputs[0] * inputs[1]
    if out.numel():
        grid, block, wide = _pooled(pixels, maps)
        pool_backward[grid](gradient, where, out, pixels, maps, *inputs, *outputs, size, stride, block, wide)
    return out


def momentum_step(
    w: Tensor, v: Tensor, gradient: Tensor, low: Tensor | None, momentum: float, lr: float, weight_decay: float
) -> None:
    """``v <- momentum v - lr (gradient + weight_decay w)``, ``w <- w + v`` in one pass; ``low`` becomes ``w``, rounded.

    All lie in memory alike; ``w`` and ``v`` are float32.
    """
    if w.numel():
        keeps = low is not None
        update[(triton.cdiv(w.numel(), FLAT),)](
            w, v, gradient, low if keeps else w, w.numel(), float(momentum), float(lr), float(lr * weight_decay),
            keeps, FLAT,
        )  # fmt: skip


def keep_mask(ids: Tensor, units: int, least: int, step: int, key: tuple[int, int], counter: int) -> Tensor:
    """(n, units) bool: where 16 bits of Philox4x32-10 are at least ``least``, of ``randomness.keep_mask``.

    Args:
        ids: (n,) int64, the second word of the counter.
        units: of a row, two a word.
        least: 0..65536.
        step, counter: third and fourth word of the counter.
        key: of the generator.
    """
    out = torch.empty((len(ids), units), dtype=torch.int8, device=ids.device)
    blocks = -(-units // 8)
    if out.numel():
        count = len(ids) * blocks
        philox_mask[(triton.cdiv(count, 256),)](ids, out, count, units, blocks, least, step, *key, counter, 256)
    return out.view(torch.bool)
