"""A file for HDF5, which may crash the process where a write fails: here it never sees one fail."""

import contextlib
import io
from typing import BinaryIO


class Guarded(io.RawIOBase):
    """A file that is written and read at places. After a write has failed nothing is written any more.

    Args:
        file: opened for writing; closed by its owner.
    """

    def __init__(self, file: BinaryIO):
        self._file, self._reader, self._offset = file, open(file.name, "rb"), 0
        self._size = 0
        self._error: OSError | None = None

    def check(self) -> None:
        """Raises the ``OSError`` of the first write that failed."""
        if self._error:
            raise self._error

    def close(self) -> None:
        self._reader.close()
        super().close()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._offset = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._size}[whence]
        return self._offset

    def write(self, data) -> int:
        count = memoryview(data).nbytes
        if self._error is None:
            try:
                self._file.seek(self._offset)
                self._file.write(data)
            except OSError as error:
                self._error = error
        self._offset += count
        self._size = max(self._size, self._offset)
        return count

    def readinto(self, room) -> int:
        view = memoryview(room).cast("B")
        self.flush()
        self._reader.seek(self._offset)
        count = self._reader.readinto(view)  # pyright: ignore[reportAttributeAccessIssue]
        view[count:] = bytes(len(view) - count)
        self._offset += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._offset if size is None else size
        self.flush()
        if self._error is None:
            try:
                self._file.truncate(self._size)
            except OSError as error:
                self._error = error
        return self._size

    def flush(self) -> None:
        if self._error is None and not self._file.closed:
            try:
                self._file.flush()
            except OSError as error:
                self._error = error


@contextlib.contextmanager
def checked(file: Guarded):
    """Raises, when the block ends, what kept the file from being written."""
    try:
        yield
    finally:
        file.check()
