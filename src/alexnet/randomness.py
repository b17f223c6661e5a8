"""The contract of randomness, in code: every random number of the project comes from here.

Randomness is a function, not a state: ``words(seed, purpose, step, ids, count)`` gives for each id its own
``count`` numbers, whatever else is asked for, in whatever order, on whatever device. The generator is
Philox4x32-10 (Salmon, Moraes, Dror, Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011), written in
64-bit integer tensor operations, so it gives the same bits on a CPU and a GPU.

Key: the seed and half of a hash of the purpose. Counter: block, id, step, and the other half of that hash.
"""

import functools
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
MULTIPLIER = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
CHUNK_BLOCKS = 1 << 15  # four int64 lanes of it stay in a core's cache


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Philox4x32-10: four words for each counter.

    Args:
        counter: four int64 tensors of one shape, each value in 0..2**32-1.
        key: two words in 0..2**32-1.

    Returns:
        Four int64 tensors of that shape, each value in 0..2**32-1.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c0 * MULTIPLIER[0], c2 * MULTIPLIER[1]
        # int64 products wrap, and the shift drags the sign along: the mask cuts both back to the 64-bit product.
        c0 = (p1 >> 32).bitwise_and_(MASK).bitwise_xor_(c1).bitwise_xor_(k0)
        c2 = (p0 >> 32).bitwise_and_(MASK).bitwise_xor_(c3).bitwise_xor_(k1)
        c1, c3 = p1.bitwise_and_(MASK), p0.bitwise_and_(MASK)
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


@functools.lru_cache(maxsize=1024)
def _purpose(purpose: str) -> tuple[int, int]:
    digest = hashlib.sha256(purpose.encode("utf-8")).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def words(seed: int, purpose: str, step: int, ids: Tensor, count: int, first_block: int = 0) -> Tensor:
    """Random 32-bit words: ``count`` for each id.

    Args:
        seed: 0..2**32-1.
        purpose: what they are for; different purposes are independent.
        step: epoch or step, 0..2**32-1.
        ids: (n,) int64, each 0..2**32-1; their device is where the words are drawn.
        count: words an id.
        first_block: leave out that many blocks of four words.

    Returns:
        (n, count) int64, each value uniform in 0..2**32-1.
    """
    if not 0 <= seed <= MASK:
        raise ValueError(f"seed {seed}: must be between 0 and {MASK}")
    k1, c3 = _purpose(purpose)
    blocks = -(-count // 4)
    block = torch.arange(first_block, first_block + blocks, dtype=torch.int64, device=ids.device)
    shape = (len(ids), blocks)
    lanes = philox(
        (
            block.expand(shape),
            ids[:, None].expand(shape),
            torch.full((), step, dtype=torch.int64, device=ids.device).expand(shape),
            torch.full((), c3, dtype=torch.int64, device=ids.device).expand(shape),
        ),
        (seed, k1),
    )
    return torch.stack(lanes, -1).view(len(ids), blocks * 4)[:, :count]


def uniform(seed: int, purpose: str, step: int, ids: Tensor, count: int) -> Tensor:
    """(n, count) float64, uniform in [0, 1) in steps of 2**-32."""
    return words(seed, purpose, step, ids, count).double().mul_(2.0**-32)


def integers(seed: int, purpose: str, step: int, ids: Tensor, limits: list[int]) -> Tensor:
    """(n, len(limits)) int64: column ``j`` uniform in 0..limits[j]-1 (bias below 2**-32 x limit)."""
    high = torch.tensor(limits, dtype=torch.int64, device=ids.device)
    return (words(seed, purpose, step, ids, len(limits)) * high) >> 32


def _box_muller(pairs: Tensor) -> Tensor:
    radius = pairs[..., 0::2].double().add_(0.5).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
    angle = pairs[..., 1::2].double().mul_(2.0**-31 * torch.pi)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1).flatten(-2)


def normal(seed: int, purpose: str, step: int, ids: Tensor, count: int) -> Tensor:
    """(n, count) float32, standard normal (Box-Muller). Drawn on the CPU, moved to the device of ``ids``."""
    drawn = words(seed, purpose, step, ids.cpu(), count + count % 2)
    return _box_muller(drawn)[:, :count].float().to(ids.device)


def _whole_tensor(seed: int, purpose: str, shape: tuple[int, ...], turn: Callable[[Tensor], Tensor]) -> Tensor:
    """One whole float32 tensor, drawn on the CPU piece by piece; ``turn`` makes numbers of an even count of words."""
    out = torch.empty(shape, dtype=torch.float32)
    flat = out.view(-1)
    whole = torch.zeros(1, dtype=torch.int64)

    inference = torch.is_inference_mode_enabled()  # a thread's own

    def draw(start: int) -> None:
        size = min(4 * CHUNK_BLOCKS, flat.numel() - start)
        with torch.inference_mode(inference):
            drawn = words(seed, purpose, 0, whole, size + size % 2, first_block=start // 4)
            flat[start : start + size] = turn(drawn)[0, :size]

    # A piece is too small for torch to share among threads; the pieces are as they are whoever draws them.
    with ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="random") as pool:
        for _ in pool.map(draw, range(0, flat.numel(), 4 * CHUNK_BLOCKS)):
            pass
    return out


def normal_tensor(seed: int, purpose: str, shape: tuple[int, ...]) -> Tensor:
    """One whole float32 tensor of standard normal numbers, drawn on the CPU: initial weights."""
    return _whole_tensor(seed, purpose, shape, _box_muller)


def uniform_tensor(seed: int, purpose: str, shape: tuple[int, ...], bound: float) -> Tensor:
    """One whole float32 tensor, uniform in ``-bound``..``bound``, drawn on the CPU: initial weights as torch's."""

    def turn(drawn: Tensor) -> Tensor:
        return drawn.double().add_(0.5).mul_(2.0**-31).sub_(1).mul_(bound)

    return _whole_tensor(seed, purpose, shape, turn)


def permutation(seed: int, purpose: str, epoch: int, count: int) -> Tensor:
    """(count,) int64: 0..count-1 in random order, by sorting one 64-bit word an index."""
    drawn = words(seed, purpose, epoch, torch.arange(count), 2)
    return torch.argsort((drawn[:, 0] << 31) | (drawn[:, 1] >> 1), stable=True)


def keep_mask(seed: int, layer: str, step: int, rows: Tensor, units: int, rate: float) -> Tensor:
    """The dropout mask of one layer (paper 4.2), 16 bits per unit.

    Args:
        seed, step: the run's seed and the training step.
        layer: the layer's name.
        rows: (n,) int64, the images' row ids.
        units: units of the layer in the whole net.
        rate: the probability that a unit is dropped; taken as a multiple of 2**-16 (0.5 is exact).

    Returns:
        (n, units) bool, true where the unit stays.
    """
    purpose, least = "dropout/" + layer, round(rate * 65536)
    if rows.is_cuda:
        from alexnet.native import cuda  # Triton takes long

        if cuda.usable():
            key, counter = _purpose(purpose)
            return cuda.keep_mask(rows, units, least, step, (seed, key), counter)
    drawn = words(seed, purpose, step, rows, -(-units // 2))
    halves = torch.stack([drawn & 0xFFFF, drawn >> 16], -1).flatten(1)[:, :units]
    return halves >= least
