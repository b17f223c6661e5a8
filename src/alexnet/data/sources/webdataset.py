"""WebDataset: tars whose members come by the key, ``key.jpg`` with ``key.cls`` (a number, or the class's name)."""

import re

from alexnet.data.sources.listing import Source, by_class, labeled
from alexnet.data.sources.table import split_of
from alexnet.data.sources.text import label_of, lines_of
from alexnet.data.sources.tree import (
    IMAGE_ENDINGS,
    CompressedTarTree,
    FolderTree,
    TarTree,
    Tree,
    is_image,
    peek,
    printable,
)
from alexnet.data.sources.words import find_words
from alexnet.errors import AlexNetError

EXPECTED = "tars of key.jpg and key.cls"
PEEKED = 64  # members of a tar that are looked at to see what it is
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4", ".zip", ".7z", ".rar")
NAMES = ("classnames.txt", "class_names.txt", "classes.txt")


def _tars(tree: Tree) -> list[int]:
    return [member for member, name in enumerate(tree.names) if name.endswith(".tar")]


def matches(tree: Tree) -> bool:
    """Whether it is such a tar, most of whose images have a class beside them, or a folder that holds one."""
    if isinstance(tree, TarTree):
        classes = sum(name.endswith(".cls") for name in tree.names)
        return bool(classes) and 2 * classes >= sum(is_image(name) for name in tree.names)
    if not isinstance(tree, FolderTree):
        return False
    return any(any(name.endswith(".cls") for name in peek(tree.span(tar), PEEKED)) for tar in _tars(tree))


def missing(tree: Tree) -> str | None:
    """What a tree lacks that looks like WebDataset shards and is none that can be read, for an error; or None."""
    packed = next((name for name in tree.names if name.lower().endswith(PACKED)), None)
    if packed is not None:
        return f"{printable(packed)} is an archive within it: unpack it first (a .tar.gz of shards to .tar)"
    groups = [("", list(tree.names))] if isinstance(tree, TarTree | CompressedTarTree) else []
    if isinstance(tree, FolderTree):
        groups = [(f"{tree.names[tar]}: ", peek(tree.span(tar), PEEKED)) for tar in _tars(tree)]
    for where, names in groups:
        image = next((name for name in names if is_image(name)), None)
        if image is not None and (where or any(_key(name) == _key(image) and name != image for name in names)):
            return (
                f"{printable(where + image)} has no {printable(_key(image).rpartition('/')[2])}.cls beside it, a "
                "number or a class's name, by which WebDataset shards are read here (labels in .json or .txt are not)"
            )
    return None


def _key(name: str) -> str:
    folder, _, last = name.rpartition("/")
    return f"{folder}/{last.partition('.')[0]}"


def source(tree: Tree) -> Source:
    """The images of all tars; the split is in a tar's name (``imagenet-train-000001.tar``).

    Raises:
        AlexNetError: an image without a class.
    """
    if isinstance(tree, TarTree):
        names = [tree.path.replace("\\", "/").split("/")[-1]]
        images = tree
    else:
        tars = _tars(tree)
        names = [tree.names[tar] for tar in tars]
        images = TarTree(tree.path, [tree.span(tar) for tar in tars], [f"{name}/" for name in names])
    labels: dict[str, str | None] = {}
    members: list[tuple[str, int]] = []
    for member, name in enumerate(images.names):
        ending = name.rpartition("/")[2].partition(".")[2].lower()
        if ending == "cls":
            labels[_key(name)] = label_of(images.read(member), f"{images.path}: {name}")
        elif f".{ending}" in IMAGE_ENDINGS:
            members.append((_key(name), member))
    without = next((key for key, _ in members if key not in labels), None)
    if without is not None:
        raise AlexNetError(f"{tree.path}: {without} has an image and no class (.cls); make the shards again")
    splits = [split_of(name) for name in names]
    rows = [
        (splits[images.spans_of[member]], label, member)
        for key, member in members
        if (label := labels[key]) is not None
    ]
    unlabeled = len(members) - len(rows)
    listed = _class_names(tree) if rows and all(re.fullmatch(r"[0-9]+", label) for _, label, _ in rows) else None
    if listed is None:
        return labeled(images, "webdataset", rows, unlabeled, words=lambda classes: find_words(tree, classes))
    unknown = next((label for _, label, _ in rows if label not in listed), None)
    if unknown is not None:
        raise AlexNetError(f"{tree.path}: class {unknown} is used, but the list of class names has only {len(listed)}")
    return by_class(
        images,
        "webdataset",
        [(split, listed[label], member) for split, label, member in rows],
        classes=list(listed.values()),
        words=lambda classes: find_words(tree, classes),
        notes=[f"{unlabeled:,} images without a label left out"] if unlabeled else [],
    )


def _class_names(tree: Tree) -> dict[str, str] | None:
    """The name of each class's number where a list lies beside the tars, one name a line."""
    for name in NAMES:
        text = tree.text(name) if isinstance(tree, FolderTree) else None
        if text:
            where = f"{tree.path}: {name}"
            lines = [label_of(line, f"{where}: line {i:,}") for i, line in enumerate(lines_of(text), 1) if line.strip()]
            return {str(number): line for number, line in enumerate(lines) if line is not None}
    return None
