"""The images at a path as an index sees them: names, labels, and what tells a changed file without reading it."""

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from alexnet import files
from alexnet.data.dataset import Dataset
from alexnet.data.sources.pictures import OneFile, Pictures, Read, find_pictures
from alexnet.data.sources.tree import Content, FolderTree, Tree

UNKNOWN = (-1, -1)  # a stamp that no file has: it is read to see whether it changed


class DatasetTree(Tree):
    """The images of a dataset, decoded."""

    kind = "dataset"

    def __init__(self, path: str):
        self.dataset = Dataset(path)
        super().__init__(path, [self.dataset.name(row) for row in range(len(self.dataset))])

    def read(self, member: int) -> np.ndarray:
        return self.dataset.image(member)


class Source:
    """The images at a path.

    Args:
        path: a folder, archive, image file or dataset.
        note: called with a line on what is left out.
        words: what people call classes, by their folder's name.

    Attributes:
        path: absolute.
        names: of its images; a file that was named itself has an empty one.
        labels: the folder that an image lies in, or its class; empty where there is none.

    Raises:
        UsageError: nothing there, or no images.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        note: Callable[[str], None] | None = None,
        words: Mapping[str, str] = MappingProxyType({}),
    ):
        path = os.fsdecode(path)
        self.path = files.absolute(path)
        if files.is_folder(path) and files.exists(files.join(path, "dataset.json")):
            tree = DatasetTree(path)
            self._pictures = Pictures(tree, list(range(len(tree.names))))
        else:
            self._pictures = find_pictures(path, note)[0]
        alone = isinstance(self.tree, OneFile)
        self.names = ["" if alone else self.tree.names[member] for member in self._pictures.members]
        labels = map(self._label, range(len(self.names)))
        self.labels = [words.get(label, label) for label in labels]

    @property
    def tree(self) -> Tree:
        """What holds the images."""
        return self._pictures.tree

    def __len__(self) -> int:
        return len(self.names)

    def keep(self, places: Sequence[int]) -> None:
        """Forgets all images but some."""
        self._pictures = Pictures(self.tree, [self._pictures.members[place] for place in places])
        self.names, self.labels = ([texts[place] for place in places] for texts in (self.names, self.labels))

    def shown(self, place: int) -> str:
        """An image's path, for people."""
        return self._pictures.name(self._pictures.members[place])

    def _label(self, place: int) -> str:
        if isinstance(self.tree, DatasetTree):
            return self.tree.dataset.words[int(self.tree.dataset.labels[place])].partition(", ")[0]
        return (self.names[place] or self.path).rpartition("/")[0].rpartition("/")[2]

    def stamps(self) -> np.ndarray:
        """(n, 2) int64: size and time of each image's file; those of its archive."""
        if isinstance(self.tree, DatasetTree):
            content = int(self.tree.dataset.fingerprint[:15], 16)
            return np.array([(place, content) for place in range(len(self))], np.int64).reshape(-1, 2)
        if files.is_remote(self.path):
            return np.array([UNKNOWN] * len(self), np.int64)
        if isinstance(self.tree, FolderTree):
            paths = [os.path.join(self.path, *name.split("/")) for name in self.names]
            return np.array([_stamp(path) for path in paths], np.int64)
        return np.array([_stamp(self.path)] * len(self), np.int64)

    def some(self, places: Sequence[int]) -> "Hashed":
        """Images by their places, whose contents are hashed as they are read."""
        return Hashed(self.tree, [self._pictures.members[place] for place in places])


class Hashed(Pictures):
    """Pictures whose contents' SHA-256 are known once they were read.

    Attributes:
        hashes: 32 bytes by member.
    """

    def __init__(self, tree: Tree, members: list[int]):
        super().__init__(tree, members)
        self.hashes: dict[int, bytes] = {}

    def reads(self) -> Iterator[tuple[str, Read]]:
        for member, (name, read) in zip(self.members, super().reads()):
            yield name, functools.partial(self._read, member, read)

    def _read(self, member: int, read: Read) -> Content:
        content = read()
        if not isinstance(content, OSError):
            self.hashes[member] = digest(content)
        return content


def digest(content: bytes | np.ndarray) -> bytes:
    """SHA-256 of an image file's bytes, or of pixels."""
    return hashlib.sha256(content if isinstance(content, bytes) else content.tobytes()).digest()


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return UNKNOWN
    return status.st_size, status.st_mtime_ns
