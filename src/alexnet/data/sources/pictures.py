"""Images without labels, as `predict` takes them: files, folders and archives, walked by the rules of all sources."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from alexnet import files
from alexnet.data.sources.tree import LIST, Content, FolderTree, Tree, is_image, open_archive, read_image_file
from alexnet.errors import UsageError
from alexnet.files import mistakes

Paths = str | bytes | os.PathLike | Iterable[str | bytes | os.PathLike]
Read = Callable[[], Content]


class OneFile(Tree):
    """A file that was named itself: an image, whatever it is called."""

    kind = "file"

    def __init__(self, path: str):
        super().__init__(path, [os.path.basename(path)])

    def read(self, member: int) -> bytes:
        return read_image_file(self.path)


class Pictures:
    """The images at one path.

    Attributes:
        tree: that holds them.
        members: their places in the tree, in the order in which they are read.
    """

    def __init__(self, tree: Tree, members: list[int] | None = None):
        self.tree = tree
        if members is None:
            own = enumerate(tree.names)
            members = [member for member, name in own if isinstance(tree, OneFile) or is_image(name)]
        self.members = members

    def name(self, member: int) -> str:
        """The path of an image, as a list has it; within an archive the archive's with the name behind it."""
        path, name = self.tree.path, self.tree.names[member]
        if self.tree.kind == LIST:
            return name
        if isinstance(self.tree, OneFile):
            return path
        if isinstance(self.tree, FolderTree) and not files.is_remote(path):
            return os.path.join(path, *name.split("/"))
        return f"{path.rstrip('/')}/{name}"

    def reads(self) -> Iterator[tuple[str, Read]]:
        """The name of each image and what reads it; of a compressed archive the bytes are there already."""
        if self.tree.sequential:
            for member, content in self.tree.stream(self.members):
                yield self.name(member), functools.partial(_same, content)
        else:
            for member in self.members:
                yield self.name(member), functools.partial(self.tree.read, member)


def _same(content: Content) -> Content:
    return content


def find_pictures(paths: Paths, note: Callable[[str], None] | None = None) -> list[Pictures]:
    """The images at paths: of a folder or an archive all at any depth, a file as it is given.

    Args:
        paths: one or several.
        note: called with a line on what was left out of a folder or archive.

    Raises:
        UsageError: nothing at a path, or no image in a folder or archive.
        AlexNetError: a damaged archive.
    """
    several = [paths] if isinstance(paths, str | bytes | os.PathLike) else paths
    pictures = []
    for path in map(os.fsdecode, several):
        tree = _tree(path)
        if tree.own:
            mistakes.refuse(path, "images", own=tree.own)
        pictures.append(Pictures(tree))
        if not pictures[-1].members:
            mistakes.refuse_other(path, "images")
            left_out = f"; {tree.left_out}" if tree.left_out else ""
            raise UsageError(f"{path}: holds no images{left_out}; give a folder or an archive of images")
        if note and tree.left_out:
            note(f"{path}: {tree.left_out}")
    return pictures


def _tree(path: str) -> Tree:
    if not path.strip() or not files.exists(path):
        mistakes.refuse(path, "images")
    if files.is_folder(path):
        return FolderTree(path)
    mistakes.refuse_other(path, "images")
    try:
        return open_archive(path) or OneFile(path)
    except OSError:  # said with its reason when it is read
        return OneFile(path)


def some_of(pictures: Sequence[Pictures], places: range) -> list[Pictures]:
    """The images whose places in the order of all of them lie in a range."""
    parts, first = [], 0
    for source in pictures:
        start, stop = (min(max(place - first, 0), len(source.members)) for place in (places.start, places.stop))
        if start < stop:
            parts.append(Pictures(source.tree, source.members[start:stop]))
        first += len(source.members)
    return parts


def batches(pictures: Iterable[Pictures], count: int) -> Iterator[list[tuple[str, Read]]]:
    """Names of images and what reads them, ``count`` at a time."""
    batch: list[tuple[str, Read]] = []
    for source in pictures:
        for pair in source.reads():
            batch.append(pair)
            if len(batch) == count:
                yield batch
                batch = []
    if batch:
        yield batch
