"""Named files in a folder or an archive, read without unpacking: what every layout stands on.

Names are relative, with ``/``. A folder, a plain tar and a zip are read at random, from many threads; a
compressed tar only from its beginning to its end. Links, devices, absolute names and names with ``..`` are
never followed.
"""

import errno
import lzma
import os
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from alexnet import files
from alexnet.errors import Failure, WrongUse


class Tree(Protocol):
    """Files by name."""

    path: str
    kind: str
    sequential: bool

    def names(self) -> list[str]:
        """Every file's name: sorted, or in the archive's order where the tree is sequential."""
        ...

    def folders(self) -> list[str]:
        """Every folder that the tree mentions, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """One file's bytes."""
        ...

    def stream(self, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        """The wanted files' names and bytes, in the order of ``names``."""
        ...


class _RandomAccess:
    sequential = False

    def names(self) -> list[str]:
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        raise NotImplementedError

    def stream(self, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        for name in self.names():
            if name in wanted:
                yield name, self.read(name)


class FolderTree(_RandomAccess):
    """A folder; links are followed, but not back into a folder that they are in."""

    kind = "folder"

    def __init__(self, path: str):
        self.path = path
        self._names: list[str] = []
        self._folders: list[str] = []
        self._walk(path, "", frozenset())
        self._names.sort()
        self._folders.sort()

    def _walk(self, folder: str, prefix: str, above: frozenset[str]) -> None:
        place = os.path.realpath(folder)
        if place in above:
            return
        try:
            entries = list(os.scandir(folder))
        except PermissionError as error:
            raise Failure(f"{folder}: cannot be read ({error.strerror}); allow it or leave it out") from error
        for entry in entries:
            if entry.is_dir():
                self._folders.append(prefix + entry.name)
                self._walk(entry.path, prefix + entry.name + "/", above | {place})
            elif entry.is_file():
                self._names.append(prefix + entry.name)

    def names(self) -> list[str]:
        return self._names

    def folders(self) -> list[str]:
        return self._folders

    def read(self, name: str) -> bytes:
        return Path(self.path, name).read_bytes()


def _safe(name: str) -> str | None:
    """A member's name without ``./``, or None where it points outside."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts or ":" in parts[0]:
        return None
    return "/".join(parts)


def _parents(names: list[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        while "/" in name:
            name = name.rsplit("/", 1)[0]
            if name in found:
                break
            found.add(name)
    return found


class TarTree(_RandomAccess):
    """An uncompressed tar: its members' places are listed once, then read directly."""

    kind = "tar archive"

    def __init__(self, path: str):
        self.path = path
        self._local = threading.local()
        self._places: dict[str, tuple[int, int]] = {}
        folders: set[str] = set()
        with _explained(path), files.open_read(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                name = _safe(member.name)
                if name and member.isdir():
                    folders.add(name)
                elif name and member.isreg():
                    self._places[name] = (member.offset_data, member.size)
            size = file.seek(0, os.SEEK_END)
        for name, (offset, length) in self._places.items():
            if offset + length > size:
                raise Failure(f"{path}: truncated in {name}; fetch the archive again")
        self._names = sorted(self._places)
        self._folders = sorted(folders | _parents(self._names))

    def names(self) -> list[str]:
        return self._names

    def folders(self) -> list[str]:
        return self._folders

    def read(self, name: str) -> bytes:
        if not hasattr(self._local, "file"):
            self._local.file = files.open_read(self.path)
        offset, size = self._places[name]
        self._local.file.seek(offset)
        return self._local.file.read(size)


class ZipTree(_RandomAccess):
    """A zip archive."""

    kind = "zip archive"

    def __init__(self, path: str):
        self.path = path
        self._local = threading.local()
        self._members: dict[str, str] = {}
        folders: set[str] = set()
        with _explained(path), files.open_read(path) as file, zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = _safe(member.filename)
                if name and member.is_dir():
                    folders.add(name)
                elif name:
                    self._members[name] = member.filename
        self._names = sorted(self._members)
        self._folders = sorted(folders | _parents(self._names))

    def names(self) -> list[str]:
        return self._names

    def folders(self) -> list[str]:
        return self._folders

    def read(self, name: str) -> bytes:
        if not hasattr(self._local, "archive"):
            self._local.archive = zipfile.ZipFile(files.open_read(self.path))
        try:
            return self._local.archive.read(self._members[name])
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise OSError(errno.EIO, f"damaged in the archive ({error})") from error


class CompressedTarTree:
    """A tar within gzip, bzip2 or xz: read from beginning to end, once to list it and once for the bytes."""

    kind = "compressed tar archive"
    sequential = True

    def __init__(self, path: str):
        self.path = path
        folders: set[str] = set()
        names: dict[str, None] = {}
        with _explained(path):
            for name, member, _ in self._members():
                if member.isdir():
                    folders.add(name)
                elif member.isreg():
                    names[name] = None
        self._names = list(names)
        self._folders = sorted(folders | _parents(self._names))

    def _members(self) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
        file: BinaryIO
        with files.open_read(self.path) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                name = _safe(member.name)
                if name:
                    yield name, member, archive

    def names(self) -> list[str]:
        return self._names

    def folders(self) -> list[str]:
        return self._folders

    def read(self, name: str) -> bytes:
        for _, data in self.stream({name}):
            return data
        raise KeyError(name)

    def stream(self, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        left = set(wanted)
        with _explained(self.path):
            for name, member, archive in self._members():
                if name in left and member.isreg():
                    left.remove(name)
                    content = archive.extractfile(member)
                    assert content is not None
                    yield name, content.read()
                if not left:
                    return


class _explained:
    """Turns what the archive modules raise on damage into one line."""

    def __init__(self, path: str):
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        broken = (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error)
        if isinstance(error, broken):
            raise Failure(f"{self.path}: damaged or not complete ({error}); fetch the archive again") from error


def open_tree(path: str | os.PathLike) -> Tree:
    """The tree at ``path``: a folder, a ``.tar``, ``.tar.gz``, ``.tar.bz2``, ``.tar.xz`` or ``.zip``.

    Raises:
        WrongUse: nothing there, or neither a folder nor an archive.
        Failure: a damaged archive.
    """
    path = os.fspath(path)
    if not files.exists(path):
        raise WrongUse(f"{path}: no such folder or archive")
    if os.path.isdir(path):
        return FolderTree(path)
    with files.open_read(path) as file:
        head = file.read(512)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return ZipTree(path)
    if head[:2] == b"\x1f\x8b" or head[:3] == b"BZh" or head[:6] == b"\xfd7zXZ\x00":
        return CompressedTarTree(path)
    if head[257:262] == b"ustar":
        return TarTree(path)
    raise WrongUse(f"{path}: neither a folder nor a .tar, .tar.gz, .tar.bz2, .tar.xz or .zip archive")
