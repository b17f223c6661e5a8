"""Rows of half-precision numbers in a file that only grows; a row is held against its checksum before it is used."""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from alexnet import files
from alexnet.errors import AlexNetError
from alexnet.search.checksums import row_sums

AT_ONCE = 8192  # rows of a pass over all


def padded(numbers: int) -> int:
    """The width of a row of so many numbers: a multiple of 8 bytes."""
    return -(-numbers // 4) * 4


class Rows:
    """The rows of a file, read when they are asked for: none stays in memory, however large the file is.

    Args:
        path: of the file.
        sums: (n,) uint64, the checksum of each row; what lies behind the last one is of an addition that was cut off.
        width: numbers in a row.

    Raises:
        AlexNetError: the file is too short.
    """

    def __init__(self, path: Path, sums: np.ndarray, width: int):
        self.path, self.width, self._sums = path, width, sums
        self._file, self._lock = open(path, "rb", buffering=0), threading.Lock()
        if os.fstat(self._file.fileno()).st_size < len(sums) * width * 2:
            raise self._shorter()

    def __len__(self) -> int:
        return len(self._sums)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(n, width) float16 of rows by their numbers. Raises ``AlexNetError`` where one is damaged."""
        size = 2 * self.width
        with self._lock:
            content = b"".join([self._read(row * size, size) for row in rows.tolist()])
        return self._checked(content, rows)

    def all(self) -> Iterator[tuple[int, np.ndarray]]:
        """Stretches of all rows, each with the number of its first."""
        for first in range(0, len(self), AT_ONCE):
            rows = np.arange(first, min(len(self), first + AT_ONCE))
            with self._lock:
                content = self._read(first * 2 * self.width, len(rows) * 2 * self.width)
            yield first, self._checked(content, rows)

    def _read(self, start: int, size: int) -> bytes:
        if hasattr(os, "pread"):  # one call of the system, not two
            return os.pread(self._file.fileno(), size, start)
        self._file.seek(start)
        return self._file.read(size)

    def _checked(self, content: bytes, rows: np.ndarray) -> np.ndarray:
        if len(content) != 2 * self.width * len(rows):
            raise self._shorter()
        taken = np.frombuffer(bytearray(content), np.float16).reshape(-1, self.width)
        wrong = np.flatnonzero(row_sums(taken) != self._sums[rows])
        if len(wrong):
            raise AlexNetError(
                f"{self.path}: damaged in row {int(rows[wrong[0]]):,} (its checksum differs from the one written with "
                "it); make the index again in another folder"
            )
        return taken

    def _shorter(self) -> AlexNetError:
        size = 2 * self.width * len(self)
        return AlexNetError(
            f"{self.path}: shorter than when it was written ({size:,} bytes); make the index again in another folder"
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
