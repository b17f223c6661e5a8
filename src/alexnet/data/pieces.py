"""A dataset's shards, opened when they are wanted: memory-mapped, checked, and those far away fetched ahead."""

import collections
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

import pyarrow as pa

from alexnet import files
from alexnet.data.format import BATCH_ROWS, SCHEMA, SCHEMA_1, Rows, Shard
from alexnet.errors import AlexNetError, UsageError
from alexnet.files.cache import CacheFull
from alexnet.files.mapped import MappedFile

AHEAD = 2  # shards that are fetched before anybody asks for them
PATIENCE = 10.0  # seconds in which what others have in use may be let go


class Pieces:
    """The record batches of shards, for any number of threads.

    Where the dataset is on object storage, a shard is mapped from this machine's cache. The next ones of its split are
    fetched meanwhile; and where the cache is full of what is open here, what was not used for longest is closed.

    Args:
        path: the dataset's folder.
        shards: as ``dataset.json`` says.
        version: of the format.
    """

    def __init__(self, path: str, shards: Sequence[Shard], version: int):
        self.path, self.shards, self._version = path, shards, version
        self._remote = files.is_remote(path)
        self._open: collections.OrderedDict[int, tuple[MappedFile, list[Rows]]] = collections.OrderedDict()
        self._coming: dict[int, Future[None]] = {}
        self._wanted: set[int] = set()  # shards that somebody asked for
        self._lock = threading.Lock()

    def rows(self, index: int) -> list[Rows]:
        """A shard's record batches. Raises ``AlexNetError`` where it is missing, damaged, or was cut off."""
        entry = self._open.get(index)
        while entry is None:
            with self._lock:
                self._wanted.add(index)
                fetch = None if index in self._open else self._begin(index, patient=True)
                ahead = self._next(index)
                for other in ahead:
                    self._begin(other, patient=False)
            if fetch:
                fetch.result()
            entry = self._open.get(index)
        if self._remote:
            with self._lock:
                if index in self._open:
                    self._open.move_to_end(index)
        lost = entry[0].lost()
        if lost:
            raise AlexNetError(
                f"{files.join(self.path, self.shards[index].file)}: lost {lost:,} bytes while it was read; put the "
                f"file back, or prepare the dataset again (see `alexnet verify {self.path}`)"
            )
        return entry[1]

    def _begin(self, index: int, patient: bool) -> "Future[None] | None":
        """Has a shard opened: a local one at once, one far away in a thread; who waits for it meets its errors."""
        if not self._remote:
            self._open[index] = self._opened(index)
            return None
        fetch = self._coming.get(index)
        if fetch is None or (patient and fetch.done() and fetch.exception()):
            fetch = self._coming[index] = Future()
            # No thread of a pool: it would be waited for at the end of the process, a whole shard long
            threading.Thread(target=self._fetch, args=(index, fetch, patient), name="shard", daemon=True).start()
        return fetch

    def _fetch(self, index: int, fetch: "Future[None]", patient: bool) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                entry = self._opened(index)
                break
            except CacheFull as error:
                with self._lock:  # who comes to want it meanwhile does not meet this error
                    given_up = not patient and index not in self._wanted
                    if given_up:
                        self._coming.pop(index, None)
                    closed = not given_up and bool(self._open) and self._open.popitem(last=False)
                if given_up:  # without the traceback, which would keep what is open here open
                    return fetch.set_exception(CacheFull(str(error), error.waiting))
                if not closed and (time.monotonic() > end or not error.waiting):
                    return self._failed(index, fetch, error)
                time.sleep(0 if closed else 0.1)
            except BaseException as error:
                return self._failed(index, fetch, error)
        with self._lock:
            self._open[index] = entry
            self._coming.pop(index, None)
        fetch.set_result(None)
        return None

    def _failed(self, index: int, fetch: "Future[None]", error: BaseException) -> None:
        with self._lock:
            self._coming.pop(index, None)
        fetch.set_exception(error)

    def _next(self, index: int) -> list[int]:
        """Shards to fetch ahead: of the same split, those behind this one first, once more than one was wanted."""
        room = AHEAD - len(self._coming) + (index in self._coming)
        if not self._remote or len(self._wanted) < 2 or room <= 0:
            return []
        split = [i for i, shard in enumerate(self.shards) if shard.split == self.shards[index].split]
        order = [i for i in split if i > index] + [i for i in split if i < index]
        return [i for i in order if i not in self._wanted and i not in self._open and i not in self._coming][:room]

    def _opened(self, index: int) -> tuple[MappedFile, list[Rows]]:
        shard = self.shards[index]
        path = files.join(self.path, shard.file)
        try:
            mapped = MappedFile(path, shard.sha256) if self._remote else MappedFile(path)
            batches = list(pa.ipc.open_stream(pa.BufferReader(mapped.content)))
            for batch in batches:
                batch.validate(full=True)  # offsets and names; the images' bytes are not touched
        except FileNotFoundError as error:
            raise AlexNetError(f"{path}: missing; prepare the dataset again or fetch that shard") from error
        except (UsageError, AlexNetError):
            raise
        except PermissionError as error:
            raise AlexNetError(f"{path}: cannot be read (permission denied); allow reading it") from error
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise AlexNetError(f"{path}: damaged ({reason}); see `alexnet verify {self.path}`") from error
        expected = SCHEMA_1 if self._version == 1 else SCHEMA
        whole = all(batch.num_rows == BATCH_ROWS for batch in batches[:-1])
        if sum(batch.num_rows for batch in batches) != shard.rows or not whole:
            raise AlexNetError(f"{path}: damaged (not {shard.rows} rows); see `alexnet verify {self.path}`")
        if batches and not batches[0].schema.equals(expected):
            raise AlexNetError(f"{path}: damaged (other columns); see `alexnet verify {self.path}`")
        return mapped, [Rows(batch, self._version) for batch in batches]
