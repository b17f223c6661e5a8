"""An object read in ranges: all of it, several at once and in order; or here and there, as an open file."""

import collections
import io
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

from alexnet.files import remote

RANGE = 8 << 20  # bytes that are asked for at once
AT_ONCE = 4  # ranges of one object
BLOCK = 1 << 17  # bytes, where it is read here and there


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
    """An object opened for reading, seekable; each read is tried again as any call is."""
    entry = remote.look(path)
    if entry is None:
        raise FileNotFoundError(2, "no such object", os.fspath(path))
    if entry.size is None:
        return io.BytesIO(remote.read_all(path))
    return io.BufferedReader(_Reader(os.fsdecode(path), entry.size), BLOCK)  # pyright: ignore[reportArgumentType]


class _Reader(io.RawIOBase):
    """An object's bytes by ranges: those behind the last read come with it, so that a stream asks seldom."""

    def __init__(self, path: str, size: int):
        super().__init__()
        self._path, self._size, self._place = path, size, 0
        self._block, self._start, self._ahead = b"", 0, BLOCK

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if self._place < 0:
            raise OSError(22, "a place before the start")
        return self._place

    def readinto(self, room: Any) -> int:
        wanted = min(len(room), self._size - self._place)
        if wanted <= 0:
            return 0
        inside = self._place - self._start
        if not 0 <= inside < len(self._block):
            follows = inside == len(self._block)
            self._ahead = min(self._ahead * 2, RANGE) if follows else BLOCK
            end = min(self._size, self._place + max(wanted, self._ahead))
            data = remote.read_range(self._path, self._place, end)
            self._start, inside = self._place, 0
            if len(data) >= self._size and end - self._place < self._size:  # a server that knows no ranges
                self._start, inside = 0, self._place
            self._block = data
        part = self._block[inside : inside + wanted]
        room[: len(part)] = part
        self._place += len(part)
        return len(part)
