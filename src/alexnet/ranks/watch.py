"""Who lives and how far each rank is, kept in the job's store, so that a failure can be told by name."""

import contextlib
import threading
import time
import traceback

from alexnet.errors import AlexNetError, Elsewhere
from alexnet.files.waiting import within

BEAT_SECONDS = 1.0
LOOK_SECONDS, STORE_SECONDS = 2.5, 4.0  # in which a rank that lives beats, and the store answers
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
        self._ended, self._heard = threading.Event(), False
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
                self._heard = self._store.check([FAILURE])  # while the store is there: it goes with its rank
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
            within(LINGER_SECONDS, self._linger if linger and self._rank == 0 else self._leave, "store")

    def _leave(self) -> None:
        self._store.add(LEFT, 1)

    def _linger(self) -> None:
        while self._store.add(LEFT, 0) < self._size - 1:
            time.sleep(0.1)

    @property
    def step(self) -> int:
        """That is under way here."""
        return self._step

    def speaks(self, words: str) -> bool:
        """Whether this rank is the one that says what was wrong; the others know that it does."""

        def ask() -> bool:
            self._store.set(FAILURE, words)
            return self._store.add(SPOKEN, 1) == 1

        try:
            return within(STORE_SECONDS, ask, "store")
        except Exception:  # the store's host is gone, or stopped
            return self._rank == 1 and not self._heard

    def explain(self, error: Exception, timeout: float) -> AlexNetError | None:
        """What a failed exchange between ranks means; None where the error is something else.

        One rank says it; at the others it is ``Elsewhere``.
        """
        if not _of_exchange(error):
            self.speaks(f"{type(error).__name__}: {error}")
            return None
        try:
            cause = within(LOOK_SECONDS + STORE_SECONDS, lambda: self._cause(error), "store")
        except Exception:  # the store's host is gone, or stopped
            cause = "rank 0 does not answer" if self._rank == 1 and not self._heard else None
        if cause is None:
            return Elsewhere("another rank says what was wrong", 1)
        after = f" after {timeout:g} s" if "time" in str(error).lower() else ""
        return AlexNetError(
            f"rank {self._rank}, step {self._step}: {cause}{after}; what was saved last is kept, and the same command "
            "goes on from there"
        )

    def _cause(self, error: Exception) -> str | None:
        """Who does not beat any more; None where another rank says what was wrong."""
        before = self._beats()
        time.sleep(LOOK_SECONDS)
        silent = [rank for rank, beat in enumerate(self._beats()) if beat == before[rank] and rank != self._rank]
        if self._store.check([FAILURE]) or self._store.add(SPOKEN, 1) > 1:
            return None
        if not silent:
            return f"a connection between ranks broke, though all of them live ({str(error).splitlines()[0]})"
        who = " and ".join(f"rank {rank} (last heard of at step {self._last_step(rank)})" for rank in silent)
        return f"{who} {'do' if len(silent) > 1 else 'does'} not answer"

    def _beats(self) -> list[int]:
        return [self._store.add(self._key("beat", rank), 0) for rank in range(self._size)]

    def _last_step(self, rank: int) -> str:
        key = self._key("step", rank)
        return self._store.get(key).decode() if self._store.check([key]) else "0"


def _of_exchange(error: Exception) -> bool:
    """Whether an error was raised by a collective operation rather than by what is computed."""
    if not isinstance(error, RuntimeError) or error.__traceback__ is None:
        return False
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").startswith(("torch.distributed", "alexnet.ranks", "alexnet.training."))
