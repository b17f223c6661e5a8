"""Zip archives, as Windows, macOS and Unix write them."""

import errno
import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator

from alexnet import files
from alexnet.data.sources.names import Names
from alexnet.data.sources.tree.base import UNFORESEEN, Tree, check_size, explained, parents
from alexnet.data.sources.tree.gather import Gathered
from alexnet.data.sources.tree.links import Link
from alexnet.data.sources.tree.rules import DEVICE, NOTHING, is_image, printable
from alexnet.errors import UsageError

WINDOWS, UNIX = 0, 3  # what system made a member
ENCRYPTED, PATCHED, UTF8, STRONG = 0x1, 0x20, 0x800, 0x40
METHODS = {
    *(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA),
    *([zipfile.ZIP_ZSTANDARD] if hasattr(zipfile, "ZIP_ZSTANDARD") else []),  # pyright: ignore
}
METHOD_NAMES = {1: "Shrink", 6: "Implode", 9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
LONGEST_TARGET = 4096  # bytes of a symbolic link's text
DRIVE = re.compile(r"[A-Za-z]:(?=/|\Z)")
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError, *UNFORESEEN)


class ZipTree(Tree):
    """A zip archive.

    Raises:
        UsageError: its images are encrypted, or compressed in a way that Python lacks.
        AlexNetError: damaged.
    """

    kind = "zip archive"

    def __init__(self, path: str):
        gathered = Gathered()
        regular: list[zipfile.ZipInfo] = []
        with explained(path):
            self._archive = zipfile.ZipFile(files.open_read(path))  # its members may be read from many threads
            all_names = Names(self._listed(gathered, regular))
        names, positions, folders = gathered.settled(all_names)
        self._members = [regular[position] for position in positions]
        super().__init__(path, list(names), folders)
        self.left_out, self.own = gathered.left_out, gathered.own
        for name, member in zip(self.names, self._members):
            if is_image(name) and (why := _unreadable(member)):
                raise UsageError(f"{path}: {printable(name)} is {why}; unzip it elsewhere and give the folder")

    def _listed(self, gathered: Gathered, regular: list[zipfile.ZipInfo]) -> Iterator[str]:
        """The name of each file; its member goes to ``regular``."""
        for member in self._archive.infolist():
            written = _written_name(member)
            name = gathered.name(written)
            if not name:
                continue
            gathered.folders |= parents([name])
            kind = stat.S_IFMT(member.external_attr >> 16) if member.create_system == UNIX else 0
            if written.endswith("/") or kind == stat.S_IFDIR:
                gathered.folders.add(name)
            elif kind == stat.S_IFLNK:
                target = self._target(member)
                if target is None:
                    gathered.left_out.add(NOTHING, name)
                else:
                    gathered.links.append(Link(len(regular), name, target, hard=False))
            elif kind not in (0, stat.S_IFREG):
                gathered.left_out.add(DEVICE, name)
            else:
                if gathered.wants(name, member.file_size) and not _unreadable(member):
                    gathered.mark(len(regular), name, self._archive.read(member))
                regular.append(member)
                yield name

    def _target(self, member: zipfile.ZipInfo) -> str | None:
        """What a symbolic link says; None where that cannot be read."""
        if member.file_size > LONGEST_TARGET or _unreadable(member):
            return None
        try:
            return self._archive.read(member).decode("utf-8", "surrogateescape")
        except DAMAGE:
            return None

    def read(self, member: int) -> bytes:
        info = self._members[member]
        check_size(info.file_size)
        why = _unreadable(info)
        if why:
            raise OSError(errno.EIO, f"{why}; unzip the archive elsewhere and give the folder")
        try:
            return self._archive.read(info)
        except DAMAGE as error:
            raise OSError(errno.EIO, f"damaged in the archive ({error})") from error


def _written_name(member: zipfile.ZipInfo) -> str:
    """A member's name as the system that made it meant it.

    Without the mark of UTF-8 it is in the code page of old DOS, or in whatever the Unix system had: what reads as
    UTF-8 is that.
    """
    name = member.filename
    if not member.flag_bits & UTF8 and not name.isascii():
        try:
            raw = name.encode("cp437")
            name = raw.decode("utf-8", "strict" if member.create_system == WINDOWS else "surrogateescape")
        except UnicodeError:
            name = member.filename
    if member.create_system != WINDOWS:
        return name
    name = name.replace("\\", "/")
    drive = DRIVE.match(name)
    return name[drive.end() :] if drive else name


def _unreadable(member: zipfile.ZipInfo) -> str | None:
    """Why Python cannot read a member, or None."""
    if member.flag_bits & (ENCRYPTED | STRONG):
        return "encrypted"
    if member.compress_type not in METHODS or member.flag_bits & PATCHED:
        method = METHOD_NAMES.get(member.compress_type, f"method {member.compress_type}")
        return f"compressed by {method}, which Python lacks"
    return None
