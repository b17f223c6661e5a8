"""The processes that torchrun starts, as ranks: sums, agreement, and one line from one of them when something fails."""

import contextlib
import datetime
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from alexnet.errors import AlexNetError, Elsewhere, Interrupted, UsageError
from alexnet.ranks.watch import Watch

if TYPE_CHECKING:  # imported where there is more than one rank: a command of one process starts without
    from torch import Tensor

T = TypeVar("T")
TIMEOUT_SECONDS = 60.0
TIMEOUT, UNSHARED = "ALEXNET_TIMEOUT", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
LAUNCHER = "ALEXNET_LAUNCHER"  # in the environment: the process that started this one, and holds the run's folder
LOOK_SECONDS = 1.0  # between looks whether it lives
_CURRENT: list["Ranks"] = []
_BROKEN: list[int] = []  # ranks of this process whose job failed


class Ranks:
    """The ranks of a job as one of them sees them; a job of one process has one.

    Attributes:
        rank, size: of this process, and of all.
        local: this process's place among those of its machine: its GPU.
        timeout: seconds after which a rank that is waited for is given up.
    """

    def __init__(self, rank: int = 0, size: int = 1, local: int = 0, timeout: float = TIMEOUT_SECONDS):
        self.rank, self.size, self.local, self.timeout = rank, size, local, timeout
        self.watch: Watch | None = None

    @property
    def first(self) -> bool:
        """Whether this process speaks, writes and decides for all."""
        return self.rank == 0

    def sum(self, tensor: "Tensor") -> "Tensor":
        """A tensor's sum over all ranks, in place."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(tensor)
        return tensor

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """For each flag whether any rank has it."""
        if self.size == 1:
            return list(flags)
        import torch

        return [bool(value) for value in self.sum(torch.tensor(list(flags), dtype=torch.int64))]

    def gather(self, value: T) -> list[T]:
        """A small value of each rank, in their order."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def to_first(self, value: T) -> list[T]:
        """A value of each rank, in their order, at the first rank; none at the others."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object(value, values)
        return values or []

    def agree(self, act: Callable[[], T]) -> T:
        """What ``act`` returns here, if it does at every rank; else the error of the first rank where it failed.

        Raises:
            AlexNetError: as ``act`` at that rank; ``Elsewhere`` where that rank says it.
        """
        try:
            outcome, error = act(), None
        except AlexNetError as raised:
            outcome, error = None, raised
        statuses = self.gather(0 if error is None else _status_of(error))
        failed = next((rank for rank, status in enumerate(statuses) if status), None)
        if failed is not None and failed != self.rank:
            raise Elsewhere(f"rank {failed} says what was wrong", statuses[failed])
        if error is not None:
            raise error
        return outcome  # pyright: ignore[reportReturnType]

    def by_first(self, act: Callable[[], T]) -> T:
        """What ``act`` returns at the first rank, at every rank; it is called there alone. Raises as ``agree``."""
        outcome = self.agree(act if self.first else lambda: None)
        return outcome if self.size == 1 else self._broadcast(outcome)  # pyright: ignore[reportReturnType]

    def _broadcast(self, value: T) -> T:
        import torch.distributed as dist

        values: list[Any] = [value]
        dist.broadcast_object_list(values, 0)
        return values[0]

    def check_same(self, facts: Sequence[tuple[str, object, str]]) -> None:
        """Raises ``UsageError`` where ranks differ in one of the facts.

        Args:
            facts: what it is, its value here, and what to do where it differs.
        """
        everywhere = self.gather([str(value) for _, value, _ in facts])
        for number, (what, _, remedy) in enumerate(facts):
            values = [values[number] for values in everywhere]
            other = next((rank for rank, value in enumerate(values) if value != values[0]), None)
            if other is not None:
                raise UsageError(
                    f"rank {other} has another {what} than rank 0 ({values[other]}, not {values[0]}); {remedy}"
                )


def _status_of(error: BaseException) -> int:
    if isinstance(error, UsageError):
        return 2
    return 130 if isinstance(error, Interrupted | KeyboardInterrupt) else 1


def alone() -> Ranks:
    """A job of one process."""
    return Ranks()


def current() -> Ranks:
    """The ranks that this process is one of: those that it joined, or itself alone."""
    return _CURRENT[-1] if _CURRENT else alone()


def broken() -> bool:
    """Whether a job of this process has failed: threads of its connections may abort the process when it ends."""
    return bool(_BROKEN)


def under_torchrun() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1") or 1) > 1 and "RANK" in os.environ


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Within the block this process is one of the ranks that torchrun started; without torchrun it is alone.

    Whatever escapes at one rank ends all, and one of them says why.

    Raises:
        UsageError: the environment cannot be meant.
        AlexNetError: a rank was waited for in vain, or is gone.
    """
    if _CURRENT or not under_torchrun():
        yield current()
        return
    ranks = _from_environment()
    hush_torch()
    _end_with_launcher()
    import torch.distributed as dist

    _start(ranks)
    ranks.watch = Watch(ranks.rank, ranks.size)
    _CURRENT.append(ranks)
    failed = True
    try:
        yield ranks
        failed = False
    except (AlexNetError, KeyboardInterrupt) as error:
        if not isinstance(error, Elsewhere) and not ranks.watch.speaks(str(error)):
            raise Elsewhere(str(error), _status_of(error)) from error
        raise
    except Exception as error:
        said = ranks.watch.explain(error, ranks.timeout)
        if said is None:
            error.add_note(f"rank {ranks.rank}, step {ranks.watch.step}")
            raise
        raise said from error
    finally:
        _CURRENT.pop()
        if failed:  # whatever the error: the others may be amid an exchange with this rank
            _BROKEN.append(ranks.rank)
        with contextlib.suppress(Exception):  # of a group that has failed
            dist.destroy_process_group()
        ranks.watch.close(linger=failed)


def hush_torch() -> None:
    """Errors alone of torch's C++, whose warnings have stack traces; to be called before torch is imported."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def _end_with_launcher() -> None:
    """Asks this process to end, as SIGTERM does, when the launcher that started it has ended; without one: nothing.

    A launcher that is killed can ask nobody. Its processes save and end, in place of training on unseen.
    """
    launcher = os.environ.get(LAUNCHER, "").partition(" ")[0]
    if not launcher.isdecimal():
        return

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="launcher", daemon=True).start()


def _from_environment() -> Ranks:
    environ = os.environ
    try:
        rank, size, local = (int(environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        timeout = float(environ.get(TIMEOUT, TIMEOUT_SECONDS))
    except ValueError as error:
        raise UsageError(f"RANK, WORLD_SIZE, LOCAL_RANK, {TIMEOUT}: must be numbers ({error})") from error
    if not 0 <= rank < size or timeout <= 0:
        raise UsageError(f"RANK {rank}, WORLD_SIZE {size}, {TIMEOUT} {timeout}: cannot be meant; start it by torchrun")
    if int(environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0 and environ.get(UNSHARED) != "1":
        raise UsageError(
            f"torchrun --max-restarts: a restarted job would read addresses of the one that died; set {UNSHARED}=1 for "
            f"torchrun (`{UNSHARED}=1 torchrun ...`), or use alexnet's own --devices"
        )
    return Ranks(rank, size, local, timeout)


def _start(ranks: Ranks) -> None:
    """Makes the process group; waits for all ranks."""
    import torch
    import torch.distributed as dist

    cuda = torch.cuda.is_available()
    if cuda:
        if ranks.local >= torch.cuda.device_count():
            raise UsageError(
                f"rank {ranks.rank}: is process {ranks.local + 1} of its machine, which has "
                f"{torch.cuda.device_count()} GPUs; start fewer, or hide the GPUs (CUDA_VISIBLE_DEVICES=)"
            )
        torch.cuda.set_device(ranks.local)
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=datetime.timedelta(seconds=ranks.timeout)
        )
    except (RuntimeError, ValueError) as error:
        raise AlexNetError(
            f"rank {ranks.rank} of {ranks.size}: not all ranks came together in {ranks.timeout:g} s "
            f"({str(error).splitlines()[0]}); see that every machine runs the same torchrun line"
        ) from error
