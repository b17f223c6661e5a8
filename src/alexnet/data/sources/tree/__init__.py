"""Named files in a folder or archives, read without unpacking, walked by one set of rules.

Links are followed where they stay inside (in a local folder, anywhere) and do not go round; hidden, system and trash
files and what this program itself has written are left out; whatever is left out is counted (``Tree.left_out``).
"""

import os

from alexnet import files
from alexnet.data.sources.tree.base import LARGEST, LIST, Content, FileTree, Span, Tree, read_image_file, within
from alexnet.data.sources.tree.folder import FolderTree
from alexnet.data.sources.tree.rules import IMAGE_ENDINGS, LeftOut, hidden, is_image, printable
from alexnet.data.sources.tree.tar import CompressedTarTree, TarTree, is_tar, peek
from alexnet.data.sources.tree.zip import ZipTree
from alexnet.errors import UsageError
from alexnet.files import mistakes

LISTS = (".csv", ".tsv", ".parquet", ".arrow")
OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "RAR",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"\x1f\x9d": "compress",
    b"LZIP": "lzip",
}

__all__ = [
    "IMAGE_ENDINGS",
    "LARGEST",
    "LIST",
    "CompressedTarTree",
    "Content",
    "FileTree",
    "FolderTree",
    "LeftOut",
    "Span",
    "TarTree",
    "Tree",
    "ZipTree",
    "hidden",
    "is_image",
    "open_archive",
    "open_tree",
    "peek",
    "printable",
    "read_image_file",
    "within",
]


def open_tree(path: str | os.PathLike, without: str | os.PathLike | None = None) -> Tree:
    """The tree at ``path``: a folder, an archive (tar, plain or compressed, or zip), or one file that lists images.

    Args:
        path: local, or a URL.
        without: a folder that is left out where it lies in this one.

    Raises:
        UsageError: nothing there, or nothing of these.
        AlexNetError: a damaged archive.
    """
    path = os.fsdecode(path)
    if not path.strip() or not files.exists(path):
        mistakes.refuse(path, "source")
    if files.is_folder(path):
        return FolderTree(path, None if without is None else os.fsdecode(without))
    if path.lower().endswith(LISTS):
        return FileTree(path)
    mistakes.refuse_other(path, "source")
    tree = open_archive(path)
    if tree is not None:
        return tree
    with files.open_read(path) as file:
        head = file.read(16)
    other = next((f"; a {name} archive: unpack it first" for mark, name in OTHERS.items() if head.startswith(mark)), "")
    raise UsageError(
        f"{path}: neither a folder nor a .tar, .tar.gz, .tar.bz2, .tar.xz or .zip archive, "
        f"nor a {', '.join(LISTS)} file{other}"
    )


def open_archive(path: str) -> Tree | None:
    """The archive that a file is, known by its first bytes; None where it is none.

    Raises:
        UsageError: an archive that cannot be read here.
        AlexNetError: a damaged one.
    """
    if not files.is_remote(path) and not os.path.isfile(path):  # a pipe would wait for who writes into it
        return None
    with files.open_read(path) as file:
        head = file.read(512)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return ZipTree(path)
    if head[:2] == b"\x1f\x8b" or head[:3] == b"BZh" or head[:6] == b"\xfd7zXZ\x00":
        return CompressedTarTree(path)
    empty = head == bytes(512) and path.lower().endswith(".tar")
    return TarTree(path) if empty or is_tar(head) else None
