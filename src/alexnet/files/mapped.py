"""A file's bytes for pyarrow, and whether they are still there."""

import mmap
import os

import pyarrow as pa

from alexnet.files import cache
from alexnet.files.remote import read_all
from alexnet.files.urls import is_remote


class MappedFile:
    """A file's bytes for pyarrow, memory-mapped without a copy; a remote one's from this machine's cache.

    Args:
        path: of the file.
        sha256: that the bytes of a remote file must have; not given, they are read into memory and not kept.

    Attributes:
        content: all bytes.

    Raises:
        ValueError: it is empty.
    """

    def __init__(self, path: str | os.PathLike, sha256: str | None = None):
        self._map = None
        if is_remote(path) and sha256 is None:
            self.content = pa.py_buffer(read_all(path))
            return
        with cache.opened(os.fspath(path), sha256) if is_remote(path) and sha256 else open(path, "rb") as file:
            # The map has the file's descriptor copied, and with it the lock that keeps the piece in the cache.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.content = pa.py_buffer(self._map)

    def lost(self) -> int:
        """By how many bytes the file is shorter than when it was mapped: reading these would end the process."""
        return 0 if self._map is None else max(0, len(self._map) - self._map.size())
