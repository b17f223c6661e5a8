"""Named files in a folder or archives, read without unpacking: what every layout stands on.

Names are relative, with ``/``; a file is asked for by its place among the names. A folder, plain tars and a zip
are read at random, from many threads; a compressed tar only from its beginning to its end.
"""

import bisect
import errno
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alexnet import files
from alexnet.data.sources.text import decode
from alexnet.data.sources.tree.rules import LeftOut
from alexnet.errors import AlexNetError, UsageError
from alexnet.files.remote import read_all

LIST = "list of files"  # the kind of a tree whose names are paths
LARGEST = 1 << 29  # bytes of one image file; more is damage or an attack

# What Python's archive modules raise on damage that they did not foresee (found by tests/fuzz).
UNFORESEEN = (ValueError, OverflowError, TypeError, IndexError, KeyError, AttributeError, struct.error)

Content = bytes | np.ndarray | OSError  # an image file, decoded pixels, or why neither can be had


class Span(NamedTuple):
    """A stretch of a file: all of a tar, or a tar within a tar."""

    path: str
    start: int
    length: int


class Tree:
    """Files by name.

    Attributes:
        path: folder or archive.
        kind: for people.
        sequential: whether the bytes can only be had in order.
        names: every file's name: sorted, or in the archive's order where the tree is sequential.
        folders: every folder that the tree mentions, sorted.
        left_out: what is there and not listed.
        own: what the whole tree is where it is one of this program's: a ``dataset``, a ``run``, an ``export``.
    """

    kind = "tree"
    sequential = False

    def __init__(self, path: str, names: Sequence[str] = (), folders: Sequence[str] = ()):
        self.path, self.names, self.folders = path, names, folders
        self.left_out = LeftOut()
        self.own: str | None = None

    def read(self, member: int) -> bytes | np.ndarray:
        """The bytes of one file by its place among the names. Raises ``OSError`` where they can't be had."""
        for _, content in self.stream([member]):
            if isinstance(content, OSError):
                raise content
            return content
        raise AlexNetError(f"{self.path}: {self.names[member]} is not there any more; it changed while it was read")

    def stream(self, members: Sequence[int]) -> Iterator[tuple[int, Content]]:
        """The contents of members, given in rising order, one after the other."""
        for member in members:
            try:
                yield member, self.read(member)
            except OSError as error:
                yield member, error

    def span(self, member: int) -> Span:
        """Where a member's bytes lie. Raises ``UsageError`` where they lie nowhere in one piece."""
        raise UsageError(
            f"{self.path}: {self.names[member]} is an archive within a {self.kind}, which cannot be read in place; "
            "unpack the outer one"
        )

    def find(self, name: str) -> int | None:
        """The place of the file whose name or last part is ``name``, the one least deep; None if there is none."""
        places = [(other.count("/"), i) for i, other in enumerate(self.names) if other.split("/")[-1] == name]
        return min(places)[1] if places else None

    def text(self, name: str) -> str | None:
        """A small text file's content, found as by ``find``. Raises ``UsageError`` where it is no UTF-8."""
        member = self.find(name)
        if member is None:
            return None
        try:
            content = self.read(member)
        except OSError as error:
            raise AlexNetError(
                f"{self.path}/{self.names[member]}: cannot be read ({error.strerror or error})"
            ) from error
        assert isinstance(content, bytes)
        return decode(content, f"{self.path}/{self.names[member]}")


class FileTree(Tree):
    """One file that lists or holds images itself: a CSV, a Parquet file."""

    kind = "file"

    def __init__(self, path: str):
        super().__init__(path, [Path(path).name])

    def place(self, member: int) -> str:
        """The file's own path."""
        return self.path

    def read(self, member: int) -> bytes:
        return files.read_bytes(self.path)

    def text(self, name: str) -> str | None:
        return decode(self.read(0), self.path)


def check_size(size: int) -> None:
    """Raises ``OSError`` for a file too large to be an image."""
    if size > LARGEST:
        raise OSError(errno.EFBIG, f"{size:,} bytes, which is no image")


def read_image_file(path: str) -> bytes:
    """The bytes of an image file, local or remote.

    Raises:
        OSError: it cannot be read, is larger than an image can be, or is a pipe, a device or a folder.
    """
    if files.is_remote(path):
        return read_all(path, LARGEST)
    status = os.stat(path)  # before it is opened: a pipe would wait for who writes into it
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "a pipe, socket or device, no image file")
    check_size(status.st_size)
    with open(path, "rb") as file:
        data = file.read(LARGEST + 1)
    check_size(len(data))
    return data


def parents(names: Iterable[str]) -> set[str]:
    """Every folder that a name lies in."""
    folders: set[str] = set()
    for name in names:
        while "/" in name:
            name = name.rsplit("/", 1)[0]
            if name in folders:
                break
            folders.add(name)
    return folders


class explained:
    """Turns what the archive modules raise on damage into one line."""

    def __init__(self, path: str):
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, zipfile.BadZipFile) and "multiple disks" in str(error):
            raise UsageError(f"{self.path}: is one part of a split zip; join the parts or unzip them first") from error
        broken = (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, NotImplementedError)
        # gzip and bz2 raise OSError without a number, a seek to an impossible place EINVAL
        damaged = isinstance(error, OSError) and error.errno in (None, errno.EINVAL, errno.EOVERFLOW)
        if isinstance(error, (*broken, *UNFORESEEN)) or damaged:
            raise AlexNetError(f"{self.path}: damaged or not complete ({error}); fetch the archive again") from error


def within(parts: Sequence[int], place: int) -> tuple[int, int]:
    """Of pieces that begin at ``parts``: which one a place is in, and where in it."""
    piece = bisect.bisect_right(parts, place) - 1
    return piece, place - parts[piece]
