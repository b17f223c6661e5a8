"""Several processes of one machine without torchrun's command line: what ``--devices`` starts."""

import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence

from alexnet.errors import UsageError, check_number
from alexnet.ranks.group import UNSHARED, hush_torch

MOST_DEVICES, MOST_RESTARTS = 1024, 3
GRACE_SECONDS = 1  # after one has failed, for the others to say why and to leave
ASKED = (signal.SIGTERM, signal.SIGINT)  # signals that ask for an end, not a fault


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Signals that end a process are handled as before when the block is done; torch's launcher leaves its own."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has two
    before = {number: signal.getsignal(number) for number in (getattr(signal, name, None) for name in names) if number}
    try:
        yield
    finally:
        for number, handler in before.items():
            with contextlib.suppress(TypeError, ValueError):  # set by C; not the main thread
                signal.signal(number, handler)


def devices_of(asked: str) -> int:
    """How many processes ``--devices`` asks for.

    Raises:
        UsageError: no number, or ``all`` on a machine without GPUs.
    """
    if asked != "all":
        try:
            count = int(asked)
        except ValueError:
            raise UsageError(f"--devices {asked}: give a number of processes, or all for one per GPU") from None
        check_number("--devices", count, 1, MOST_DEVICES)
        return count
    import torch

    if not torch.cuda.is_available():
        raise UsageError("--devices all: this machine has no GPU; give a number of processes, such as 2")
    return torch.cuda.device_count()


def without_devices(arguments: Sequence[str]) -> list[str]:
    """A command's words but ``--devices`` and its value: what each process runs."""
    kept, words = [], iter(arguments)
    for word in words:
        if word == "--devices":
            next(words, None)
        elif not word.startswith("--devices="):
            kept.append(word)
    return kept


def launch(count: int, arguments: Sequence[str], cores: int, say: Callable[[str], object]) -> int:
    """Runs ``alexnet ARGUMENTS`` as so many processes that share the work; returns its exit status.

    Where a process is killed, all are started again, up to three times, and resume from the last checkpoint.

    Args:
        count: of processes.
        arguments: of the command.
        cores: of this machine, shared by the processes.
        say: is told of restarts.
    """
    hush_torch()
    environment = {UNSHARED: "1"}
    if "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, cores // count))
    os.environ.update(environment)
    exits = _run(count, arguments)
    for attempt in range(1, 1 + MOST_RESTARTS):
        killed = [rank for rank, code in exits.items() if code < 0 and -code not in ASKED]
        if not killed:
            break
        name = signal.Signals(-exits[killed[0]]).name
        say(
            f"rank {killed[0]} was killed ({name}); starting all {count} again, from the last checkpoint if there is "
            f"one (restart {attempt} of {MOST_RESTARTS})"
        )
        exits = _run(count, arguments)
    statuses = {code if code > 0 else 128 - code for code in exits.values()} - {0}
    for status in (130, 2, 1):
        if status in statuses:
            return status
    return next(iter(statuses), 0)


def _run(count: int, arguments: Sequence[str]) -> dict[int, int]:
    """The exit codes of the processes that failed, by rank; negative: the signal that ended it."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for logger in list(logging.root.manager.loggerDict):  # torch gives each a level of its own
        if logger.startswith("torch.distributed.elastic"):
            logging.getLogger(logger).setLevel(logging.CRITICAL)  # what failed is said by the ranks
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id="alexnet",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        report = contextlib.redirect_stderr(io.StringIO())  # torchrun's own repeats what the ranks have said
        with handlers_kept(), report, _killing_soon():
            elastic_launch(config, sys.executable)("-m", "alexnet", *arguments)
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    except SignalException:
        return {0: 130}
    return {}


@contextlib.contextmanager
def _killing_soon() -> Iterator[None]:
    """torchrun waits 30 seconds for ranks that wait for one that is dead; here they are killed after one.

    A signal to this process still leaves all of them half a minute to save. There is no option for it.
    """
    from torch.distributed.elastic.multiprocessing.api import PContext

    close = PContext.close

    def close_soon(context: PContext, death_sig: signal.Signals | None = None, timeout: int = GRACE_SECONDS) -> None:
        close(context, death_sig, timeout)

    PContext.close = close_soon  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        PContext.close = close
