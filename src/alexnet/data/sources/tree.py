"""Named files in a folder or archives, read without unpacking: what every layout stands on.

Names are relative, with ``/``; a file is asked for by its place among the names. A folder, plain tars and a zip
are read at random, from many threads; a compressed tar only from its beginning to its end. In archives links,
devices, absolute names and names with ``..`` are never followed.
"""

import bisect
import collections
import errno
import lzma
import os
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from alexnet import files
from alexnet.data.sources.names import Names
from alexnet.errors import Failure, WrongUse

LARGEST = 1 << 29  # bytes of one image file; more is damage or an attack
OPEN_FILES = 32  # archives that a thread keeps open

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
    """

    kind = "tree"
    sequential = False

    def __init__(self, path: str, names: Sequence[str] = (), folders: Sequence[str] = ()):
        self.path, self.names, self.folders = path, names, folders

    def read(self, member: int) -> bytes | np.ndarray:
        """The bytes of one file by its place among the names. Raises ``OSError`` where they can't be had."""
        for _, content in self.stream([member]):
            if isinstance(content, OSError):
                raise content
            return content
        raise Failure(f"{self.path}: {self.names[member]} is not there any more; it changed while it was read")

    def stream(self, members: Sequence[int]) -> Iterator[tuple[int, Content]]:
        """The contents of members, given in rising order, one after the other."""
        for member in members:
            try:
                yield member, self.read(member)
            except OSError as error:
                yield member, error

    def span(self, member: int) -> Span:
        """Where a member's bytes lie. Raises ``WrongUse`` where they lie nowhere in one piece."""
        raise WrongUse(
            f"{self.path}: {self.names[member]} is an archive within a {self.kind}, which cannot be read in place; "
            "unpack the outer one"
        )

    def find(self, name: str) -> int | None:
        """The place of the file whose name or last part is ``name``, the one least deep; None if there is none."""
        found = [(each.count("/"), place) for place, each in enumerate(self.names) if each.split("/")[-1] == name]
        return min(found)[1] if found else None

    def text(self, name: str) -> str | None:
        """A small text file's content, found as by ``find``."""
        place = self.find(name)
        if place is None:
            return None
        content = self.read(place)
        assert isinstance(content, bytes)
        return content.decode("utf-8-sig", "replace")


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise OSError(errno.EFBIG, f"{size:,} bytes, which is no image")


class FolderTree(Tree):
    """A folder, local or remote; links are followed, but not back into a folder that they are in."""

    kind = "folder"

    def __init__(self, path: str):
        names: list[str] = []
        folders: list[str] = []
        if files.is_remote(path):
            names = files.below(path)
            folders = sorted(_parents(names))
        else:
            self._walk(path, "", frozenset(), names, folders)
        super().__init__(path, Names(sorted(names)), sorted(folders))

    def _walk(self, folder: str, prefix: str, above: frozenset[str], names: list[str], folders: list[str]) -> None:
        place = os.path.realpath(folder)
        if place in above:
            return
        try:
            entries = list(os.scandir(folder))
        except PermissionError as error:
            raise Failure(f"{folder}: cannot be read ({error.strerror}); allow it or leave it out") from error
        for entry in entries:
            if entry.is_dir():
                folders.append(prefix + entry.name)
                self._walk(entry.path, prefix + entry.name + "/", above | {place}, names, folders)
            elif entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):  # a broken link is told of
                names.append(prefix + entry.name)

    def place(self, member: int) -> str:
        """A member's own path."""
        return files.join(self.path, self.names[member])

    def read(self, member: int) -> bytes:
        place = self.place(member)
        if not files.is_remote(place):
            _check_size(os.path.getsize(place))
        return files.read_bytes(place)

    def span(self, member: int) -> Span:
        place = self.place(member)
        return Span(place, 0, files.size(place))


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


def _safe(name: str) -> str | None:
    """A member's name without ``./``, or None where it points outside."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts or ":" in parts[0]:
        return None
    return "/".join(parts)


def _parents(names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        while "/" in name:
            name = name.rsplit("/", 1)[0]
            if name in found:
                break
            found.add(name)
    return found


class TarTree(Tree):
    """Uncompressed tars: where their members lie is listed once, in 40 bytes a member, then they are read directly.

    Args:
        path: for messages.
        spans: the tars, each a file or a stretch of one; the whole file ``path`` if not given.
        prefixes: what goes before the names of each span's members.

    Attributes:
        spans_of: (members,) int32, which span each member is in.
    """

    kind = "tar archive"

    def __init__(self, path: str, spans: Sequence[Span] | None = None, prefixes: Sequence[str] | None = None):
        self._spans = [Span(path, 0, files.size(path))] if spans is None else list(spans)
        self._local = threading.local()
        self._folders: set[str] = set()
        places: list[np.ndarray] = []
        names = Names(self._listed(prefixes or [""] * len(self._spans), places))
        found = np.concatenate(places) if places else np.zeros((0, 3), np.int64)
        names, order = names.sorted_last()
        self.spans_of = found[order, 0].astype(np.int32)
        self._offsets, self._sizes = found[order, 1].copy(), found[order, 2].copy()
        super().__init__(path, names, sorted(self._folders))

    def _listed(self, prefixes: Sequence[str], places: list[np.ndarray]) -> Iterator[str]:
        """The name of each member; (span, offset, size) of them go to ``places``, in blocks."""
        block: list[tuple[int, int, int]] = []
        for index, (span, prefix) in enumerate(zip(self._spans, prefixes)):
            parent = ""
            for name, offset, size in _members(span, self._folders):
                yield prefix + name
                if name.rpartition("/")[0] != parent:
                    parent = name.rpartition("/")[0]
                    self._folders |= _parents([prefix + name])
                block.append((index, offset, size))
                if len(block) == 4096:
                    places.append(np.array(block, np.int64))
                    block = []
        if block:
            places.append(np.array(block, np.int64))

    def read(self, member: int) -> bytes:
        _check_size(int(self._sizes[member]))
        file = self._opened(self._spans[self.spans_of[member]].path)
        file.seek(self._offsets[member])
        return file.read(self._sizes[member])

    def _opened(self, path: str) -> BinaryIO:
        """A file, opened once in each thread; those used last stay open."""
        opened: collections.OrderedDict[str, BinaryIO] | None = getattr(self._local, "opened", None)
        if opened is None:
            opened = self._local.opened = collections.OrderedDict()
        if path not in opened:
            if len(opened) == OPEN_FILES:
                opened.popitem(last=False)[1].close()
            opened[path] = files.open_read(path)
        opened.move_to_end(path)
        return opened[path]

    def span(self, member: int) -> Span:
        whole = self._spans[self.spans_of[member]]
        return Span(whole.path, int(self._offsets[member]), int(self._sizes[member]))


def _members(span: Span, folders: set[str]) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of every regular file in a tar, keeping none of them; adds its folders."""
    with _explained(span.path), files.open_read(span.path) as file:
        end = span.start + span.length
        if not span.length:
            return
        file.seek(span.start)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # or a million of them stay in memory  # pyright: ignore
                if member.offset >= end:  # a tar within a tar that lacks its closing blocks
                    return
                name = _safe(member.name)
                if name and member.isdir():
                    folders.add(name)
                elif name and member.isreg():
                    if member.offset_data + member.size > end:
                        raise Failure(f"{span.path}: truncated in {name}; fetch the archive again")
                    yield name, member.offset_data, member.size


class ZipTree(Tree):
    """A zip archive."""

    kind = "zip archive"

    def __init__(self, path: str):
        found: dict[str, zipfile.ZipInfo] = {}
        folders: set[str] = set()
        with _explained(path):
            self._archive = zipfile.ZipFile(files.open_read(path))  # its members may be read from many threads
            for member in self._archive.infolist():
                name = _safe(member.filename)
                if name and member.is_dir():
                    folders.add(name)
                elif name:
                    found[name] = member
        names = sorted(found)
        self._members = [found[name] for name in names]
        super().__init__(path, names, sorted(folders | _parents(names)))

    def read(self, member: int) -> bytes:
        _check_size(self._members[member].file_size)
        try:
            return self._archive.read(self._members[member])
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, *UNFORESEEN) as error:
            raise OSError(errno.EIO, f"damaged in the archive ({error})") from error


class CompressedTarTree(Tree):
    """A tar within gzip, bzip2 or xz: read from beginning to end, once to list it and once for the bytes."""

    kind = "compressed tar archive"
    sequential = True

    def __init__(self, path: str):
        self.path = path
        folders: set[str] = set()
        names: dict[str, int] = {}
        with _explained(path):
            for name, member, _ in self._members():
                if member.isdir():
                    folders.add(name)
                elif member.isreg():
                    names.setdefault(name, len(names))
        super().__init__(path, Names(names), sorted(folders | _parents(list(names))))

    def _members(self) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
        file: BinaryIO
        with files.open_read(self.path) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # pyright: ignore
                name = _safe(member.name)
                if name:
                    yield name, member, archive

    def stream(self, members: Sequence[int]) -> Iterator[tuple[int, Content]]:
        wanted = {self.names[member]: member for member in members}
        with _explained(self.path):
            for name, member, archive in self._members() if wanted else ():
                if not member.isreg() or name not in wanted:
                    continue
                place = wanted.pop(name)
                try:
                    _check_size(member.size)
                except OSError as error:
                    yield place, error
                    continue
                content = archive.extractfile(member)
                assert content is not None
                yield place, content.read()
                if not wanted:
                    return


class _explained:
    """Turns what the archive modules raise on damage into one line."""

    def __init__(self, path: str):
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        broken = (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, NotImplementedError)
        # gzip and bz2 raise OSError without a number, a seek to an impossible place EINVAL
        damaged = isinstance(error, OSError) and error.errno in (None, errno.EINVAL, errno.EOVERFLOW)
        if isinstance(error, (*broken, *UNFORESEEN)) or damaged:
            raise Failure(f"{self.path}: damaged or not complete ({error}); fetch the archive again") from error


LISTS = (".csv", ".tsv", ".parquet", ".arrow")


def open_tree(path: str | os.PathLike) -> Tree:
    """The tree at ``path``: a folder, an archive (tar, plain or compressed, or zip), or one file that lists images.

    Raises:
        WrongUse: nothing there, or nothing of these.
        Failure: a damaged archive.
    """
    path = os.fspath(path)
    if not files.exists(path):
        raise WrongUse(f"{path}: no such folder or archive")
    if files.is_folder(path):
        return FolderTree(path)
    if path.lower().endswith(LISTS):
        return FileTree(path)
    with files.open_read(path) as file:
        head = file.read(512)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return ZipTree(path)
    if head[:2] == b"\x1f\x8b" or head[:3] == b"BZh" or head[:6] == b"\xfd7zXZ\x00":
        return CompressedTarTree(path)
    if head[257:262] == b"ustar":
        return TarTree(path)
    raise WrongUse(
        f"{path}: neither a folder nor a .tar, .tar.gz, .tar.bz2, .tar.xz or .zip archive, "
        f"nor a {', '.join(LISTS)} file"
    )


def within(parts: Sequence[int], place: int) -> tuple[int, int]:
    """Of pieces that begin at ``parts``: which one a place is in, and where in it."""
    piece = bisect.bisect_right(parts, place) - 1
    return piece, place - parts[piece]
