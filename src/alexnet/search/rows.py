"""Rows of half-precision numbers in a file that only grows; a row is held against its checksum before it is used."""

import contextlib
import mmap
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from alexnet import files
from alexnet.errors import AlexNetError
from alexnet.search.checksums import row_sums

AT_ONCE = 8192  # rows of a pass over all
MOST_RESIDENT = 128 << 20  # bytes of the file that stay mapped after they were read
MAPPED_AROUND = 1 << 16  # bytes that Linux maps where one is read


def padded(numbers: int) -> int:
    """The width of a row of so many numbers: a multiple of 8 bytes."""
    return -(-numbers // 4) * 4


class Rows:
    """The rows of a file, memory-mapped.

    Args:
        path: of the file.
        sums: (n,) uint64, the checksum of each row; what lies behind the last one is of an addition that was cut off.
        width: numbers in a row.

    Raises:
        AlexNetError: the file is too short.
    """

    def __init__(self, path: Path, sums: np.ndarray, width: int):
        self.path, self.width, self._sums = path, width, sums
        self._bytes = len(sums) * width * 2
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < self._bytes:
                raise self._shorter()
            self._map = mmap.mmap(file.fileno(), self._bytes, access=mmap.ACCESS_READ)
        self._rows = np.frombuffer(self._map, np.float16).reshape(len(sums), width)
        self._resident, self._lock = 0, threading.Lock()

    def __len__(self) -> int:
        return len(self._sums)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(n, width) float16 of rows by their numbers. Raises ``AlexNetError`` where one is damaged."""
        if self._map.size() < self._bytes:  # reading behind a file's end would end the process
            raise self._shorter()
        taken = self._rows[rows]
        wrong = np.flatnonzero(row_sums(taken) != self._sums[rows])
        if len(wrong):
            raise AlexNetError(
                f"{self.path}: damaged in row {int(rows[wrong[0]]):,} (its checksum differs from the one written with "
                "it); make the index again in another folder"
            )
        self._let_go(len(rows) * max(MAPPED_AROUND, 2 * self.width))
        return taken

    def all(self) -> Iterator[tuple[int, np.ndarray]]:
        """Stretches of all rows, each with the number of its first."""
        for first in range(0, len(self), AT_ONCE):
            yield first, self.take(np.arange(first, min(len(self), first + AT_ONCE)))

    def _let_go(self, count: int) -> None:
        """Gives mapped memory back now and then; the system keeps the file's pages for as long as there is room."""
        with self._lock:
            self._resident += count
            if self._resident > MOST_RESIDENT and hasattr(mmap, "MADV_DONTNEED"):
                self._map.madvise(mmap.MADV_DONTNEED)
                self._resident = 0

    def _shorter(self) -> AlexNetError:
        return AlexNetError(
            f"{self.path}: shorter than when it was written ({self._bytes:,} bytes); make the index again in another "
            "folder"
        )


def append(path: Path, before: int, width: int, parts: Iterable[np.ndarray]) -> np.ndarray:
    """Writes rows behind those that a file has, and has them put on the disk.

    Args:
        path: of the file; made where it is not there.
        before: rows that stay; what lies behind them is overwritten.
        width: numbers in a row.
        parts: (n, at most width) float16 each.

    Returns:
        (n,) uint64, the new rows' checksums.

    Raises:
        AlexNetError: the disk is full; the rows that were there stay.
    """
    sums = [np.zeros(0, np.uint64)]
    with files.explained(path), open(path, "r+b" if path.exists() else "w+b") as file:
        try:
            file.truncate(before * width * 2)
            file.seek(0, os.SEEK_END)
            for part in parts:
                rows = np.zeros((len(part), width), np.float16)
                rows[:, : part.shape[1]] = part
                file.write(rows.tobytes())
                sums.append(row_sums(rows))
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                file.truncate(before * width * 2)
            raise
    return np.concatenate(sums)
