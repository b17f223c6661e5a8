"""Tars of every format, plain, within one another, or compressed."""

import collections
import errno
import tarfile
import threading
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from alexnet import files
from alexnet.data.sources.names import Names
from alexnet.data.sources.tree.base import UNFORESEEN, Content, Span, Tree, check_size, explained, parents
from alexnet.data.sources.tree.gather import Gathered, tidy
from alexnet.data.sources.tree.links import Link
from alexnet.data.sources.tree.rules import DEVICE, UNKNOWN, hidden, printable
from alexnet.errors import AlexNetError, UsageError

OPEN_FILES = 32  # archives that a thread keeps open
BLOCK = 4096  # members
DUMPED_FOLDER = b"D"  # GNU tar's, of incremental archives
IGNORED = (b"V", b"N")  # a volume's label, old long names

Holes = list[tuple[int, int]]  # offset and length of each stretch of a sparse file that is there


class TarTree(Tree):
    """Uncompressed tars: where their members lie is listed once, in 40 bytes a member, then they are read directly.

    Args:
        path: for messages.
        spans: the tars, each a file or a stretch of one; the whole file ``path`` if not given.
        prefixes: what goes before the names of each span's members, with a slash at its end.

    Attributes:
        spans_of: (members,) int32, which span each member is in.
    """

    kind = "tar archive"

    def __init__(self, path: str, spans: Sequence[Span] | None = None, prefixes: Sequence[str] | None = None):
        self._spans = [Span(path, 0, files.size(path))] if spans is None else list(spans)
        self._local = threading.local()
        gathered = Gathered()
        blocks: list[np.ndarray] = []
        sparse: dict[int, Holes] = {}
        names = Names(self._listed(prefixes or [""] * len(self._spans), gathered, blocks, sparse))
        table = np.concatenate(blocks) if blocks else np.zeros((0, 3), np.int64)
        names, positions, folders = gathered.settled(names)
        self.spans_of = table[positions, 0].astype(np.int32)
        self._offsets, self._sizes = table[positions, 1].copy(), table[positions, 2].copy()
        holed = np.flatnonzero(np.isin(positions, list(sparse))) if sparse else ()
        self._sparse = {int(i): sparse[int(positions[i])] for i in holed}
        super().__init__(path, names, folders)
        self.left_out, self.own = gathered.left_out, gathered.own

    def _listed(
        self, prefixes: Sequence[str], gathered: Gathered, blocks: list[np.ndarray], sparse: dict[int, Holes]
    ) -> Iterator[str]:
        """The name of each file; (span, offset, size) of them go to ``blocks``, the maps of sparse ones apart."""
        block: list[tuple[int, int, int]] = []
        position = 0
        for index, (span, prefix) in enumerate(zip(self._spans, prefixes)):
            parent = ""
            for archive, member in _members(span):
                name = _file_name(member, prefix, position, gathered)
                if name is None:
                    continue
                yield name
                if name.rpartition("/")[0] != parent:
                    parent = name.rpartition("/")[0]
                    gathered.folders |= parents([name])
                holes = _holes(member)
                if holes is not None:
                    sparse[position] = holes
                if gathered.wants(name, member.size):
                    gathered.mark(position, name, _content(archive, member))
                block.append((index, member.offset_data, member.size))
                position += 1
                if len(block) == BLOCK:
                    blocks.append(np.array(block, np.int64))
                    block = []
        if block:
            blocks.append(np.array(block, np.int64))

    def read(self, member: int) -> bytes:
        check_size(int(self._sizes[member]))
        file = self._opened(self._spans[self.spans_of[member]].path)
        file.seek(self._offsets[member])
        holes = self._sparse.get(member)
        if holes is None:
            return file.read(self._sizes[member])
        content = bytearray(int(self._sizes[member]))
        for offset, length in holes:
            content[offset : offset + length] = file.read(length)
        if len(content) != self._sizes[member]:
            raise OSError(errno.EIO, "damaged in the archive (a sparse file's map does not fit it)")
        return bytes(content)

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
        if member in self._sparse:
            raise UsageError(
                f"{self.path}: {self.names[member]} is an archive stored with holes (tar -S), which cannot be read in "
                "place; unpack the outer one"
            )
        whole = self._spans[self.spans_of[member]]
        return Span(whole.path, int(self._offsets[member]), int(self._sizes[member]))


def _holes(member: tarfile.TarInfo) -> Holes | None:
    """Which stretches of a sparse file are there; None for any other."""
    holes: Any = member.sparse
    return None if holes is None else [(int(offset), int(length)) for offset, length in holes]


def _members(span: Span) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Every member of a tar, none of them kept."""
    with explained(span.path), files.open_read(span.path) as file:
        end = span.start + span.length
        if not span.length:
            return
        file.seek(span.start)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # or a million of them stay in memory  # pyright: ignore
                if member.offset >= end:  # a tar within a tar that lacks its closing blocks
                    return
                holes = _holes(member)
                stored = member.size if holes is None else sum(length for _, length in holes)
                if member.isreg() and member.offset_data + stored > end:
                    raise AlexNetError(f"{span.path}: truncated in {printable(member.name)}; fetch the archive again")
                yield archive, member


def _file_name(member: tarfile.TarInfo, prefix: str, position: int, gathered: Gathered) -> str | None:
    """A regular file's name; None for all else, of which ``gathered`` takes note.

    Args:
        member: of the archive.
        prefix: what goes before all names.
        position: how many files came before.
        gathered: takes folders and links.
    """
    if member.type in IGNORED:
        return None
    tidied = gathered.name(member.name)
    if not tidied:
        return None
    name = prefix + tidied
    if member.isreg():
        return name
    if member.isdir() or member.type == DUMPED_FOLDER:
        gathered.folders.add(name)
    elif member.islnk() or member.issym():
        target = member.linkname
        if member.islnk():
            target = prefix + (tidy(target) or "")
        gathered.links.append(Link(position, name, target, member.islnk(), prefix.rstrip("/")))
    else:
        gathered.left_out.add(DEVICE if member.isdev() else UNKNOWN, name)
    return None


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


class CompressedTarTree(Tree):
    """A tar within gzip, bzip2 or xz: read from beginning to end, once to list it and once for the bytes."""

    kind = "compressed tar archive"
    sequential = True

    def __init__(self, path: str):
        self.path = path
        gathered = Gathered()
        names, positions, folders = gathered.settled(Names(self._listed(gathered)))
        order = np.argsort(positions, kind="stable")
        self._positions = positions[order]
        super().__init__(path, names.take(order), folders)
        self.left_out, self.own = gathered.left_out, gathered.own

    def _files(self, gathered: Gathered) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
        """Name and member of every regular file."""
        position = 0
        with files.open_read(self.path) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # pyright: ignore
                name = _file_name(member, "", position, gathered)
                if name is not None:
                    yield name, member, archive
                    position += 1

    def _listed(self, gathered: Gathered) -> Iterator[str]:
        """The name of each file."""
        with explained(self.path):
            for position, (name, member, archive) in enumerate(self._files(gathered)):
                gathered.folders |= parents([name])
                if gathered.wants(name, member.size):
                    gathered.mark(position, name, _content(archive, member))
                yield name

    def stream(self, members: Sequence[int]) -> Iterator[tuple[int, Content]]:
        wanted: dict[int, list[int]] = {}
        for member in members:
            wanted.setdefault(int(self._positions[member]), []).append(member)
        with explained(self.path):
            for position, (_, member, archive) in enumerate(self._files(Gathered()) if wanted else ()):
                if position not in wanted:
                    continue
                try:
                    check_size(member.size)
                    content: Content = _content(archive, member)
                except OSError as error:
                    if error.errno is None:  # gzip's and bz2's word for damage
                        raise
                    content = error
                for number in wanted.pop(position):
                    yield number, content
                if not wanted:
                    return


def peek(span: Span, most: int) -> list[str]:
    """The names of a tar's first files, hidden and system ones aside; none where it is no tar."""
    gathered, names = Gathered(), []
    try:
        for _, member in _members(span):
            name = _file_name(member, "", 0, gathered)
            if name is not None and not hidden(name):
                names.append(name)
                if len(names) == most:
                    break
    except AlexNetError:
        return []
    return names


def is_tar(head: bytes) -> bool:
    """Whether a file that begins so is a tar, of any format: those before ustar have nothing but a checksum."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.TarError, *UNFORESEEN):
        return head[257:262] == b"ustar"
    return True
