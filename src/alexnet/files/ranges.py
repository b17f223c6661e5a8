"""An object read in ranges: all of it, several at once and in order; or here and there, as an open file."""

import collections
import io
import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

from alexnet.files import remote

RANGE = 8 << 20  # bytes that are asked for at once
AT_ONCE = 4  # ranges of one object
BLOCK = 1 << 17  # bytes, where it is read here and there
IN_A_ROW = 3  # reads near each other, after which a whole range is fetched, and the next one meanwhile
KEPT_BLOCKS = 12  # ranges that those who read an object share


def pieces(url: str, size: int | None) -> Iterator[bytes]:
    """An object's bytes, in pieces of ``RANGE``, ``AT_ONCE`` of which are asked for together."""
    if size is None:
        yield remote.read_all(url)
        return
    if not size:
        return
    first = remote.read_range(url, 0, min(RANGE, size))
    yield first[:size]
    if len(first) >= size:  # all of it, from a server that knows no ranges
        return
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ranges")
    pending: collections.deque[Future[bytes]] = collections.deque()
    try:
        for start in range(RANGE, size, RANGE):
            pending.append(pool.submit(remote.read_range, url, start, min(start + RANGE, size)))
            if len(pending) == AT_ONCE:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def open_object(path: str | os.PathLike) -> BinaryIO:
    """An object opened for reading, seekable; each read is tried again as any call is.

    Those of a process that have one object open share what they read: an archive that several threads go through is
    fetched once.
    """
    entry = remote.look(path)
    if entry is None:
        raise FileNotFoundError(2, "no such object", os.fspath(path))
    if entry.size is None:
        return io.BytesIO(remote.read_all(path))
    key = (os.fsdecode(path), entry.size, entry.tag)
    with _LOCK:
        blocks = _OPEN.get(key)
        if blocks is None:
            blocks = _OPEN[key] = _Blocks(key[0], entry.size)
    return io.BufferedReader(_Reader(blocks), BLOCK)  # pyright: ignore[reportArgumentType]


class _Blocks:
    """An object's bytes: by small ranges where they are wanted here and there, by large ones where in a row.

    Args:
        path: of the object.
        size: its bytes.
    """

    def __init__(self, path: str, size: int):
        self._path, self.size = path, size
        self._blocks: collections.OrderedDict[int, Future[bytes]] = collections.OrderedDict()
        self._lock = threading.Lock()
        self._end, self._row = 0, 0  # of the last read; how many were near the one before

    def read(self, place: int, count: int) -> tuple[int, bytes]:
        """Bytes around a place, and where they begin; at least one of those asked for is among them."""
        index = place // RANGE
        with self._lock:
            near = abs(place - self._end) <= RANGE
            self._row, self._end = (self._row + 1 if near else 0), place + count
            known = index in self._blocks
            if known or self._row > IN_A_ROW:
                for wanted in (index, index + 1):
                    self._begin(wanted)
                block = self._blocks[index]
            else:
                block = None
        if block is not None:
            return index * RANGE, block.result()
        end = min(self.size, place + max(count, BLOCK))
        data = remote.read_range(self._path, place, end)
        whole = len(data) >= self.size and end - place < self.size  # from a server that knows no ranges
        return (0 if whole else place), data

    def _begin(self, index: int) -> None:
        """Has a block fetched, in a thread that nobody waits for at the end of the process."""
        if index * RANGE >= self.size:
            return
        block = self._blocks.get(index)
        if block is None or (block.done() and block.exception()):
            block = self._blocks[index] = Future()
            threading.Thread(target=self._fetch, args=(index, block), name="block", daemon=True).start()
        self._blocks.move_to_end(index)
        while len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)

    def _fetch(self, index: int, block: "Future[bytes]") -> None:
        start, end = index * RANGE, min(self.size, (index + 1) * RANGE)
        try:
            data = remote.read_range(self._path, start, end)
            block.set_result(data[start:end] if len(data) > end - start else data)
        except BaseException as error:
            block.set_exception(error)


_OPEN: "weakref.WeakValueDictionary[tuple[str, int, str], _Blocks]" = weakref.WeakValueDictionary()
_LOCK = threading.Lock()


class _Reader(io.RawIOBase):
    """A place in an object."""

    def __init__(self, blocks: _Blocks):
        super().__init__()
        self._blocks, self._place = blocks, 0
        self._start, self._data = 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._blocks.size}[whence]
        if self._place < 0:
            raise OSError(22, "a place before the start")
        return self._place

    def readinto(self, room: Any) -> int:
        wanted = min(len(room), self._blocks.size - self._place)
        if wanted <= 0:
            return 0
        if not 0 <= self._place - self._start < len(self._data):
            self._start, self._data = self._blocks.read(self._place, wanted)
        inside = self._place - self._start
        part = self._data[inside : inside + wanted]
        room[: len(part)] = part
        self._place += len(part)
        return len(part)
