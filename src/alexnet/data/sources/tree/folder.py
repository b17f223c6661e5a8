"""Folders, local or on object storage."""

import errno
import os
from typing import NamedTuple

from alexnet import files
from alexnet.data.sources.names import Names
from alexnet.data.sources.tree.base import Span, Tree, parents, read_image_file
from alexnet.data.sources.tree.gather import Gathered
from alexnet.data.sources.tree.links import MOST_NAMES
from alexnet.data.sources.tree.rules import (
    DEVICE,
    HIDDEN_FILE,
    HIDDEN_FOLDER,
    LARGEST_MARK,
    MARKS,
    OWN,
    PICTURES,
    ROUND,
    TARGET,
    hidden,
    mark_of,
)
from alexnet.errors import AlexNetError, UsageError


class _Folder(NamedTuple):
    """A folder that is to be walked.

    Attributes:
        path: to open it.
        prefix: what goes before its names.
        real: its path without links.
        above: the real paths of the folders that the walk came through.
        linked: whether the walk came through a link.
    """

    path: str
    prefix: str
    real: str
    above: frozenset[str]
    linked: bool


class FolderTree(Tree):
    """A folder, local or remote; links are followed, but not back into a folder that they are in.

    Args:
        path: of the folder.
        without: a folder that is left out wherever it is met: the dataset that is being made of this one.
    """

    kind = "folder"

    def __init__(self, path: str, without: str | None = None):
        super().__init__(path)
        if files.is_remote(path):
            self._list_remote()
            return
        self._without = None if without is None or files.is_remote(without) else os.path.realpath(without)
        self._linked = 0  # names that the walk came to through links
        self._names: list[str] = []
        self._folders: set[str] = set()
        self._emptied: set[str] = set()  # folders that hold something left out, which is no photo's lack
        self._walk()
        names, _ = Names(self._names).sorted_last()
        self.names = names
        self.folders = sorted(self._folders - (self._emptied - parents(names)))

    def _list_remote(self) -> None:
        names = files.below(self.path)
        gathered = Gathered()
        gathered.folders = parents(names)
        for position, name in enumerate(names):
            if name.rpartition("/")[2] in MARKS:
                place = files.join(self.path, name)
                if gathered.wants(name, files.size(place)):
                    gathered.mark(position, name, files.read_bytes(place))
        self.names, _, self.folders = gathered.settled(Names(names))
        self.left_out, self.own = gathered.left_out, gathered.own

    def _walk(self) -> None:
        root = os.path.realpath(self.path)
        if self._without == root:
            self._without = None
        waiting = [_Folder(self.path, "", root, frozenset(), False)]
        while waiting:
            folder = waiting.pop()
            entries = self._entries(folder)
            kind = self._kind(folder, entries)
            if kind and not folder.prefix:
                self.own = kind
            elif kind:
                self._leave_out(OWN[kind], folder.prefix[:-1])
                self._folders.discard(folder.prefix[:-1])
                continue
            for entry in entries:
                inner = self._entered(folder, entry)
                if inner is not None:
                    waiting.append(inner)

    def _entries(self, folder: _Folder) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder.path) as entries:
                return list(entries)
        except OSError as error:
            raise AlexNetError(f"{folder.path}: cannot be read ({error.strerror}); allow it or leave it out") from error

    def _kind(self, folder: _Folder, entries: list[os.DirEntry[str]]) -> str | None:
        """What of this program's a folder is, by the files in it."""
        for entry in entries:
            if entry.name in MARKS:
                try:
                    if entry.is_file() and entry.stat().st_size <= LARGEST_MARK:
                        kind = mark_of(entry.name, read_image_file(entry.path))
                        if kind:
                            return kind
                except OSError:
                    continue
        if folder.prefix and entries and all(entry.name in PICTURES or hidden(entry.name) for entry in entries):
            return "folder of pictures" if any(entry.name in PICTURES for entry in entries) else None
        return None

    def _entered(self, folder: _Folder, entry: os.DirEntry[str]) -> _Folder | None:
        """The folder that an entry is, if it is one to walk; a file is noted."""
        name = folder.prefix + entry.name
        try:
            is_folder, is_file, is_link = entry.is_dir(), entry.is_file(), entry.is_symlink()
        except OSError as error:  # a link to itself, or into a folder that may not be looked at
            if error.errno == errno.ELOOP:
                self._leave_out(ROUND, name)
            elif not hidden(entry.name):
                self._names.append(name)  # said with its reason when it is read
            return None
        if hidden(entry.name):
            if is_folder:
                self._leave_out(HIDDEN_FOLDER, name)
            else:
                self.left_out.add(HIDDEN_FILE, name)
            return None
        if not is_folder:
            if is_file or (is_link and not os.path.exists(entry.path)):  # a broken link is said when it is read
                self._names.append(name)
                self._count(folder.linked)
            else:
                self.left_out.add(DEVICE, name)
            return None
        real = os.path.realpath(entry.path) if is_link else os.path.join(folder.real, entry.name)
        above = folder.above | {folder.real}
        if real in above:
            self._leave_out(ROUND, name)
            return None
        if real == self._without:
            self._leave_out(TARGET, name)
            return None
        self._folders.add(name)
        self._count(folder.linked or is_link)
        return _Folder(entry.path, name + "/", real, above, folder.linked or is_link)

    def _count(self, linked: bool) -> None:
        self._linked += linked
        if self._linked > MOST_NAMES:
            raise UsageError(f"{self.path}: its links make more than {MOST_NAMES:,} names of its files; remove some")

    def _leave_out(self, reason: str, name: str) -> None:
        self.left_out.add(reason, name)
        self._emptied |= parents([name])

    def place(self, member: int) -> str:
        """A member's own path."""
        return files.join(self.path, self.names[member])

    def read(self, member: int) -> bytes:
        return read_image_file(self.place(member))

    def span(self, member: int) -> Span:
        path = self.place(member)
        return Span(path, 0, files.size(path))
