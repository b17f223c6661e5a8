"""Who lives and how far each rank is, kept in the job's store, so that a failure can be told by name."""

import contextlib
import threading
import time

from alexnet.errors import AlexNetError, Elsewhere

BEAT_SECONDS = 1.0
LOOK_SECONDS = 2.5  # in which a rank that lives beats
LINGER_SECONDS = 6.0  # in which the others notice that a rank has failed, and look who
FAILURE, SPOKEN, LEFT = "alexnet/failure", "alexnet/spoken", "alexnet/left"


class Watch:
    """Beats for this rank in a thread of its own, and says of the others who does not.

    Args:
        rank, size: of this process, and of all.
    """

    def __init__(self, rank: int, size: int):
        import torch.distributed as dist

        self._store = dist.distributed_c10d._get_default_store()
        self._rank, self._size, self._step = rank, size, 0
        self._ended = threading.Event()
        self._store.set(self._key("step"), "0")
        self._thread = threading.Thread(target=self._beat, name="watch", daemon=True)
        self._thread.start()

    def _key(self, what: str, rank: int | None = None) -> str:
        return f"alexnet/{what}/{self._rank if rank is None else rank}"

    def at_step(self, step: int) -> None:
        """Remembers the step that begins."""
        self._step = step

    def _beat(self) -> None:
        with contextlib.suppress(Exception):  # the store is gone: so is the job
            while True:
                self._store.add(self._key("beat"), 1)
                self._store.set(self._key("step"), str(self._step))
                if self._ended.wait(BEAT_SECONDS):
                    return

    def close(self, linger: bool) -> None:
        """Beats no more.

        Args:
            linger: the job has failed: the rank that may hold the store waits, a while, for the others to read there.
        """
        self._ended.set()
        self._thread.join(2.0)
        with contextlib.suppress(Exception):
            count, until = self._store.add(LEFT, 1), time.monotonic() + LINGER_SECONDS
            while linger and self._rank == 0 and count < self._size and time.monotonic() < until:
                time.sleep(0.1)
                count = self._store.add(LEFT, 0)

    @property
    def step(self) -> int:
        """That is under way here."""
        return self._step

    def speaks(self, words: str) -> bool:
        """Whether this rank is the one that says what was wrong; the others know that it does."""
        try:
            self._store.set(FAILURE, words)
            return self._store.add(SPOKEN, 1) == 1
        except Exception:  # the store's host is gone
            return self._rank == 1

    def explain(self, error: Exception, timeout: float) -> AlexNetError | None:
        """What a failed exchange between ranks means; None where the error is something else.

        One rank says it; at the others it is ``Elsewhere``.
        """
        if not _of_exchange(error):
            self.speaks(f"{type(error).__name__}: {error}")
            return None
        try:
            waited = "timed out" in str(error).lower() or "timeout" in str(error).lower()
            before = self._beats()
            time.sleep(LOOK_SECONDS)
            if self._store.check([FAILURE]):
                return Elsewhere(self._store.get(FAILURE).decode(), 1)
            silent = [rank for rank, beat in enumerate(self._beats()) if beat == before[rank] and rank != self._rank]
            if self._store.add(SPOKEN, 1) > 1:
                return Elsewhere("another rank says what was wrong", 1)
            who = ", ".join(f"rank {rank} (last step {self._last_step(rank)})" for rank in silent)
            cause = f"{who} does not answer" if silent else "a connection between ranks broke, though all of them live"
            after = f" after {timeout:g} s" if waited else ""
        except Exception:  # the store's host is gone
            if self._rank != 1:
                return Elsewhere("rank 1 says what was wrong", 1)
            cause, after = "rank 0 (which holds the job's store) is gone", ""
        return AlexNetError(
            f"rank {self._rank}, step {self._step}: {cause}{after}; what was saved last is kept, and the same command "
            "goes on from there"
        )

    def _beats(self) -> list[int]:
        return [self._store.add(self._key("beat", rank), 0) for rank in range(self._size)]

    def _last_step(self, rank: int) -> str:
        key = self._key("step", rank)
        return self._store.get(key).decode() if self._store.check([key]) else "0"


def _of_exchange(error: Exception) -> bool:
    """Whether an error is of a collective operation rather than of what is computed."""
    import torch.distributed as dist

    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    signs = ("gloo", "connection closed by peer", "connection reset", "timed out waiting", "nccl", "socket")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)
