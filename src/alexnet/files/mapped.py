"""A file's bytes for pyarrow, and whether they are still there."""

import mmap
import os

import pyarrow as pa

from alexnet.files.storage import is_remote, read_bytes


class MappedFile:
    """A file's bytes for pyarrow, without a copy: memory-mapped where it is local, read whole where it is remote.

    Args:
        path: of the file.

    Attributes:
        content: all bytes.

    Raises:
        ValueError: it is empty.
    """

    def __init__(self, path: str | os.PathLike):
        self._map = None
        if is_remote(path):
            self.content = pa.py_buffer(read_bytes(path))
            return
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.content = pa.py_buffer(self._map)

    def lost(self) -> int:
        """By how many bytes the file is shorter than when it was mapped: reading these would end the process."""
        return 0 if self._map is None else max(0, len(self._map) - self._map.size())
