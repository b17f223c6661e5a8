"""WebDataset: tars whose members come by the key, ``key.jpg`` with ``key.cls`` (a number, or the class's name)."""

import re

from alexnet.data.sources.tree import IMAGE_ENDINGS
from alexnet.data.sources.listing import Source, by_class
from alexnet.data.sources.table import split_of
from alexnet.data.sources.tree import FolderTree, TarTree, Tree
from alexnet.data.sources.words import find_words
from alexnet.errors import Failure

EXPECTED = "tars of key.jpg and key.cls"
NAMES = ("classnames.txt", "class_names.txt", "classes.txt")


def _tars(tree: Tree) -> list[int]:
    return [place for place, name in enumerate(tree.names) if name.endswith(".tar")]


def matches(tree: Tree) -> bool:
    """Whether it is such a tar, or a folder of tars of which the first is one."""
    if isinstance(tree, TarTree):
        return any(name.endswith(".cls") for name in tree.names)
    tars = _tars(tree) if isinstance(tree, FolderTree) else []
    try:
        return bool(tars) and any(name.endswith(".cls") for name in TarTree(tree.path, [tree.span(tars[0])]).names)
    except Failure:  # something else that is called so
        return False


def source(tree: Tree) -> Source:
    """The images of all tars; the split is in a tar's name (``imagenet-train-000001.tar``).

    Raises:
        Failure: an image without a class.
    """
    if isinstance(tree, TarTree):
        names = [tree.path.replace("\\", "/").split("/")[-1]]
        images = tree
    else:
        tars = _tars(tree)
        names = [tree.names[place] for place in tars]
        images = TarTree(tree.path, [tree.span(place) for place in tars], [f"{name}/" for name in names])
    labels: dict[str, str] = {}
    found: list[tuple[str, int]] = []
    for member, name in enumerate(images.names):
        folder, _, last = name.rpartition("/")
        stem, _, ending = last.partition(".")
        key = f"{folder}/{stem}"
        if ending.lower() == "cls":
            labels[key] = images.read(member).decode("utf-8", "replace").strip()
        elif f".{ending.lower()}" in IMAGE_ENDINGS:
            found.append((key, member))
    without = next((key for key, _ in found if not labels.get(key)), None)
    if without is not None:
        raise Failure(f"{tree.path}: {without} has an image and no class (.cls); make the shards again")
    splits = [split_of(name) for name in names]
    rows = [(splits[images.spans_of[member]], labels[key], member) for key, member in found]
    used = {name for _, name, _ in rows}
    told = _class_names(tree) if all(re.fullmatch(r"\d+", name) for name in used) else None
    if told is None and all(name.isdecimal() for name in used):
        told = {name: name for name in sorted(used, key=int)}
    if told is not None:
        unknown = next((name for name in sorted(used, key=int) if name not in told), None)
        if unknown is not None:
            raise Failure(f"{tree.path}: class {unknown} is used, but the list of class names has only {len(told)}")
        rows = [(split, told[name], member) for split, name, member in rows]
    classes = list(told.values()) if told is not None else None
    return by_class(images, "webdataset", rows, classes=classes, words=lambda classes: find_words(tree, classes))


def _class_names(tree: Tree) -> dict[str, str] | None:
    """The name of each class's number where a list lies beside the tars, one name a line."""
    for name in NAMES:
        text = tree.text(name) if isinstance(tree, FolderTree) else None
        if text:
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            return {str(number): line for number, line in enumerate(lines)}
    return None
