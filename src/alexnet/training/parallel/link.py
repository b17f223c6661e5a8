"""What the link between ranks does: a quick measurement, the same at all of them."""

import dataclasses
import statistics
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from alexnet.ranks import Ranks
from alexnet.training.parallel.costs import ring

SMALL, LARGE, SMALL_ROUNDS, LARGE_ROUNDS = 4, 1 << 20, 7, 3  # float32 numbers; how often each is summed
PATIENCE = 0.5  # seconds from which larger sums are not tried again


@dataclasses.dataclass(frozen=True)
class Link:
    """A link as ranks see it.

    Attributes:
        latency: seconds of one message.
        bandwidth: bytes a second that a rank sends in a sum, while it receives as many.
        direct: the same where ranks hand each other maps (``all_to_all``); as ``bandwidth`` if not given. gloo sends a
            large message and then receives one, so that it is about half.
    """

    latency: float
    bandwidth: float
    direct: float | None = None

    def seconds(self, sent: float, rounds: int, direct: bool = False) -> float:
        """Of bytes sent in so many messages that follow each other, in sums or directly."""
        return sent / (self.direct or self.bandwidth if direct else self.bandwidth) + rounds * self.latency

    def words(self) -> str:
        """For people: ``0.12 ms, 3.9 Gbit/s``."""
        return f"{1e3 * self.latency:.2g} ms, {8e-9 * self.bandwidth:.2g} Gbit/s"


def measure_link(ranks: Ranks, device: torch.device, large: int = LARGE) -> Link:
    """Latency by sums of 16 bytes, bandwidths by sums and exchanges of 4 MiB: in well under a second.

    The first rank's figures, at every rank.

    Args:
        ranks: two or more; all must call.
        device: where tensors lie.
        large: float32 numbers of the larger sums.
    """

    def seconds(count: int, act: Callable[[torch.Tensor], object] = dist.all_reduce) -> float:
        numbers = torch.zeros(count, device=device)
        dist.all_reduce(numbers[:1])  # the ranks wait for each other
        begun = time.perf_counter()
        act(numbers)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begun

    def swap(numbers: torch.Tensor) -> None:
        dist.all_to_all_single(torch.empty_like(numbers), numbers)

    large -= large % ranks.size
    seconds(LARGE // 16)  # connections open, buffers grow
    small = statistics.median(seconds(SMALL) for _ in range(SMALL_ROUNDS))
    summed = max(1e-9, _best(lambda: seconds(large), ranks, device) - small)
    latency, share = small / (2 * (ranks.size - 1)), (ranks.size - 1) / ranks.size
    swapped = max(1e-9, _best(lambda: seconds(large, swap), ranks, device) - latency)
    figures = [latency, ring(ranks.size) * 4 * large / summed, share * 4 * large / swapped]
    answer = torch.tensor(figures, dtype=torch.float64, device=device)
    dist.broadcast(answer, 0)
    return Link(*(float(figure) for figure in answer))


def _best(measure: Callable[[], float], ranks: Ranks, device: torch.device) -> float:
    """The shortest of a few, or the first where it is long at any rank."""
    times = [measure()]
    longest = torch.tensor(times, dtype=torch.float64, device=device)
    dist.all_reduce(longest, dist.ReduceOp.MAX)
    if float(longest[0]) < PATIENCE:
        times += [measure() for _ in range(LARGE_ROUNDS - 1)]
    return min(times)
